/* SPDX-License-Identifier: MIT
 *
 * The mapping door: mmap, munmap, mprotect. With it advice.c, known.c (locks, and what else the kernel knows of memory)
 * and remap.c. All of it is async-signal-safe: the region's lock blocks all signals, and nothing here allocates.
 *
 * A call handles its range run by run. Outside of regions, and in foreign places in them, the kernel does what was
 * asked. Holes of a region count as unmapped. On memory of a region each call does what it would do to private
 * anonymous memory: by the region's operations if they do exactly that, otherwise after the memory was cut out.
 */
#include <errno.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "span.h"

/* The gap that the kernel keeps below a mapping that grows downward, and the most room that is made for one without a
 * limit. */
#define GROWS_GAP  ((size_t)2 << 20)
#define GROWS_MOST ((size_t)1 << 30)

/* ---- munmap ---- */

static long unmap_part(void *address, size_t length, const void *unused)
{
	(void)unused;
	return heap_munmap(address, length);
}

long heap_munmap(void *address, size_t length)
{
	uint64_t mask;
	long error;

	address = span_untagged(address);
	if (own_meets(address, length))
		return own_around(address, length, length >= OWN_WIDE, unmap_part, NULL);
	heap_forget_early(address, length);
	if (!span_touches(address, length))
		return sys_call2(SYS_munmap, address, length);
	heap_meet_child();
	region_lock(&mask);
	error = span_is_sealed(address, (char *)address + span_round_up(length))
			? -EPERM
			: span_unmap(address, (char *)address + span_round_up(length));
	region_unlock(&mask);
	span_check_pieces();
	heap_look_at_inherited();
	return error;
}

/* ---- mmap ---- */

/* Only private anonymous memory with read and write permission can be put into a region at once. */
static bool is_plain(int protection, int flags)
{
	return protection == (PROT_READ | PROT_WRITE) &&
	       (flags & ~(MAP_NORESERVE | MAP_FIXED | MAP_FIXED_NOREPLACE)) == (MAP_PRIVATE | MAP_ANONYMOUS);
}

long span_map_over(char *address, size_t length, int protection, int flags, int file, off_t offset)
{
	const long arguments[6] = { (long)address, (long)length, protection, flags, file, offset };

	return span_put_over(address, length, SYS_mmap, arguments);
}

static long map_fixed_span(struct span *span)
{
	int error = 0;

	if (span->kind == REGION_MEMORY) {
		(void)region_discard(span->region, span_offset(span), span->length);
		return 0;
	}
	/* Becomes memory of the region again, if possible now. */
	if (span->kind == REGION_ISLAND)
		error = region_give(span->region, span_offset(span), span->length);
	else if (span->kind == REGION_FOREIGN)
		error = region_reclaim(span->region, span_offset(span), span->length);
	if (error == 0)
		error = region_take_now(span->region, span_offset(span), span->length);
	return -error;
}

/* A mapping that grows downward needs free address space, and a hole is none. So holes are opened as far as it may
 * grow, and for the gap that the kernel keeps below. */
static void make_room_below(char *address)
{
	struct span below = span_at(address - HEAP_PAGE, address);
	size_t room = GROWS_GAP;
	struct rlimit64 limit;
	char *start;

	if (below.region == NULL || below.inherited)
		return;
	if (sys_call4(SYS_prlimit64, 0, RLIMIT_STACK, NULL, &limit) == 0)
		room += limit.rlim_cur < GROWS_MOST ? span_round_up((size_t)limit.rlim_cur) : GROWS_MOST;
	start = (size_t)(address - below.base) > room ? address - room : below.base;
	for (char *at = start; at < address;) { /* finds the hole that ends at `address` */
		struct span span = span_at(at, address);
		at += span.length;
		if (span.kind != REGION_HOLE)
			start = at;
	}
	if (start < address)
		(void)region_open(below.region, (size_t)(start - below.base), (size_t)(address - start));
}

static long map_fixed(char *address, size_t length, int protection, int flags, int file, off_t offset)
{
	char *end = address + span_round_up(length);
	struct span first;
	uint64_t mask;
	long result;

	heap_meet_child();
	region_lock(&mask);
	if (!(flags & MAP_FIXED_NOREPLACE) && span_is_sealed(address, end)) {
		region_unlock(&mask);
		return -EPERM;
	}
	if (flags & MAP_FIXED_NOREPLACE) {
		if (!span_is_all_hole(address, end)) {
			region_unlock(&mask);
			/* the kernel finds what is in the way, or our reservation */
			return raw_mmap(address, length, protection, flags, file, offset);
		}
		flags = (flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED;
	}
	first = span_at(address, end);
	if (is_plain(protection, flags) && first.region != NULL && first.region == heap_region() &&
	    end <= first.base + odf_region_capacity(first.region)) {
		result = (long)address;
		for (char *at = address; at < end;) {
			struct span span = span_at(at, end);
			long error = map_fixed_span(&span);
			if (error == -EAGAIN) /* the list has changed */
				continue;
			if (error < 0) {
				result = error;
				break;
			}
			at += span.length;
		}
	} else {
		result = span_map_over(address, length, protection, flags, file, offset);
		if (result == (long)address && (flags & MAP_GROWSDOWN))
			make_room_below(address);
	}
	region_unlock(&mask);
	return result;
}

bool span_exceeds_machine(size_t length)
{
	struct sysinfo machine;

	/* A filter could punish this question. */
	return length >= LARGE_REQUEST && region_is_unfiltered() && sys_call1(SYS_sysinfo, &machine) == 0 &&
	       length / machine.mem_unit > machine.totalram + machine.totalswap;
}

/* The program maps writable memory, which counts towards waking. */
static void note_wanted(size_t length, int protection, bool reserved)
{
	if (protection == HEAP_ALL_RIGHTS)
		heap_note_executable(length);
	if (reserved)
		heap_note_reserved();
	heap_grows(reserved ? heap_threshold() - 1 : length);
}

static long map_once(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	heap_look_at_inherited();
	if (is_young_kind(flags) && (protection & PROT_WRITE) && length >= HEAP_SMALLEST_YOUNG &&
	    length <= ADDRESSES_END)
		note_wanted(length, protection, (flags & MAP_NORESERVE) && length >= HEAP_RESERVATION);
	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && offset % (off_t)HEAP_PAGE == 0 &&
	    span_touches(address, length))
		return map_fixed(address, length, protection, flags, file, offset);
	return raw_mmap(address, length, protection, flags, file, offset);
}

static long map(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	long result;

	if ((protection & PROT_WRITE) && (flags & MAP_TYPE) == MAP_PRIVATE && length <= ADDRESSES_END)
		heap_before_data(length);
	result = map_once(address, length, protection, flags, file, offset);
	if (result == -ENOMEM && heap_makes_room())
		result = map_once(address, length, protection, flags, file, offset);
	return result;
}

struct mapping {
	char *address;
	int protection, flags, file;
	off_t offset;
};

static long map_part(void *address, size_t length, const void *argument)
{
	const struct mapping *whole = argument;

	return heap_mmap(address, length, whole->protection, whole->flags, whole->file,
			 whole->offset + ((char *)address - whole->address));
}

long heap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	long result;

	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED && own_meets(address, length)) {
		const struct mapping whole = { address, protection, flags, file, offset };
		result = length < OWN_WIDE ? -ENOMEM : own_around(address, length, false, map_part, &whole);
		return result < 0 && result >= -4095 ? result : (long)address;
	}
	result = map(address, length, protection, flags, file, offset);
	if (result >= 0 || result < -4095)
		heap_note_mapped((void *)result, length, protection, flags);
	return result;
}

long heap_mmap_within(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	long result = map(address, length, protection, flags, file, offset);

	if (result >= 0 || result < -4095)
		heap_note_malloced((void *)result, length, protection, flags);
	return result;
}

long heap_give_back(void *address, size_t length, long (*call)(void *argument), void *argument)
{
	uint64_t mask;
	long error;

	heap_forget_early(address, length);
	if (!span_touches(address, length))
		return call(argument);
	heap_meet_child();
	region_lock(&mask);
	error = span_lose_by(address, length, call, argument);
	if (error == 0)
		span_note_unmapped(span_round_up(length));
	region_unlock(&mask);
	return error;
}

/* ---- mprotect ---- */

/* A security module may ask more for pages of a file (SELinux: execmod, and execute of the file) than for anonymous
 * memory, which this would be without the library. The memory is then made anonymous, unless other threads may go on
 * writing: it could not be copied. */
static bool is_refused_as_a_file(const struct span *span, long error, long protection)
{
	return (error == -EACCES || error == -EPERM) && (protection & PROT_EXEC) && span->kind == REGION_ISLAND &&
	       !span->sealed && (!(protection & PROT_WRITE) || heap_is_alone());
}

static long protect_span(struct span *span, long protection)
{
	long error;

	if (span->kind == REGION_FOREIGN) {
		error = sys_call3(SYS_mprotect, span->start, span->length, protection);
		if (span->young && error == 0)
			span_note_young(span->start, span->length,
					(int)protection & (PROT_READ | PROT_WRITE | PROT_EXEC));
		return error;
	}
	/* changes only what a raw system call has mapped there */
	if (span->kind == REGION_MEMORY && protection == span->protection)
		return sys_call3(SYS_mprotect, span->start, span->length, protection);
	error = span_cut(span);
	if (error == 0)
		error = sys_call3(SYS_mprotect, span->start, span->length, protection);
	if (is_refused_as_a_file(span, error, protection))
		return span_make_anonymous(span, (int)protection) == 0 ? 0 : error;
	if (error == 0)
		region_set_island(span->region, span_offset(span), span->length,
				  (int)protection & (PROT_READ | PROT_WRITE | PROT_EXEC), span->advice);
	return error;
}

/* Memory that is to get rights which no region has is taken out of its region. */
static bool is_beyond_us(const void *address, size_t length, int protection)
{
	if ((protection & ~SPAN_RIGHTS) == 0)
		return false;
	heap_keep(address, length);
	return true;
}

static long protect(void *address, size_t length, long rights, long unused)
{
	int protection = (int)rights;
	long error;

	(void)unused;
	if ((protection & PROT_WRITE) && length <= ADDRESSES_END) { /* reserved memory; malloc does it page by page */
		heap_before_data(length);
		note_wanted(length, protection, false);
	}
	if (protection == HEAP_ALL_RIGHTS && length >= HEAP_SMALLEST_YOUNG && length <= ADDRESSES_END &&
	    heap_state() == ODF_HEAP_AWAKE)
		heap_make_window(address, length, protection);
	if (is_beyond_us(address, length, protection) || !span_touches(address, length))
		return sys_call3(SYS_mprotect, address, length, protection);
	/* malloc does this page by page. */
	if (protection == (PROT_READ | PROT_WRITE) && length < HEAP_SMALLEST &&
	    heap_open_quietly(address, length, &error))
		return error;
	return span_walk(address, length, false, protect_span, protection);
}

long heap_mprotect(void *address, size_t length, int protection)
{
	const struct own_request request = { SYS_mprotect, protection, 0, false, protect };

	address = span_untagged(address);
	return own_is_asked(address, length) ? own_ask(address, length, &request)
					     : protect(address, length, protection, 0);
}

struct keyed {
	int protection, key;
};

static atomic_bool uses_keys;

bool heap_uses_keys(void)
{
	return atomic_load_explicit(&uses_keys, memory_order_relaxed);
}

/* Memory with a key could not be copied later by a thread that has no right to it, and the copy would lack the key. So
 * the memory becomes the kernel's now, if no thread can write to it meanwhile; otherwise an island. */
static long prepare_for_key(struct span *span)
{
	if (span->kind == REGION_FOREIGN)
		return 0;
	return heap_is_alone() && span_make_anonymous(span, span->protection) == 0 ? 0 : span_cut(span);
}

static long protect_with_key(struct span *span, long argument)
{
	const struct keyed *keyed = (const struct keyed *)argument;
	long error = prepare_for_key(span);

	if (span->young)
		span_forget_young(span->start, span->length);
	if (error == 0)
		error = sys_call4(SYS_pkey_mprotect, span->start, span->length, keyed->protection, keyed->key);
	if (is_refused_as_a_file(span, error, keyed->protection) &&
	    span_make_anonymous(span, span->protection) == 0)
		error = sys_call4(SYS_pkey_mprotect, span->start, span->length, keyed->protection, keyed->key);
	if (error == 0 && span->kind == REGION_ISLAND) {
		span->protection = keyed->protection & (PROT_READ | PROT_WRITE | PROT_EXEC);
		span_note_advice(span, KEPT_KEYED, 0);
	}
	return error;
}

static long protect_all_with_key(void *address, size_t length, long protection, long key)
{
	struct keyed keyed = { (int)protection, (int)key };

	heap_forget_early(address, length);
	if (is_beyond_us(address, length, (int)protection) || !span_touches(address, length))
		return sys_call4(SYS_pkey_mprotect, address, length, protection, key);
	if (key == -1)
		return protect(address, length, protection, 0);
	atomic_store_explicit(&uses_keys, true, memory_order_relaxed);
	/* On a page where nothing is mapped: whether there is such a key. */
	if (sys_call4(SYS_pkey_mprotect, HEAP_PAGE, HEAP_PAGE, protection, key) == -EINVAL)
		return -EINVAL;
	return span_walk(address, length, false, protect_with_key, (long)&keyed);
}

long heap_pkey_mprotect(void *address, size_t length, int protection, int key)
{
	const struct own_request request = { SYS_pkey_mprotect, protection, key, false, protect_all_with_key };

	address = span_untagged(address);
	return own_is_asked(address, length) ? own_ask(address, length, &request)
					     : protect_all_with_key(address, length, protection, key);
}
