/* SPDX-License-Identifier: MIT
 *
 * The mapping door. Async-signal-safe throughout: the region's lock blocks all signals, and nothing here allocates.
 *
 * A range is walked run by run. Outside of regions and where the program's own mappings lie, the kernel does what was
 * asked; holes of the region are what the kernel would call unmapped; on memory, each call does what it would do to
 * private anonymous memory, by the region's operations where they give exactly that, else after the range has been
 * cut out.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "../sys/readable.h"
#include "span.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef PIDFD_SELF
#define PIDFD_SELF_THREAD       (-10000)
#define PIDFD_SELF_THREAD_GROUP (-10001)
#endif

/* The kernel's gap below what grows downward, and how far at most room is made for one whose growth nothing limits. */
#define GROWS_GAP  ((size_t)2 << 20)
#define GROWS_MOST ((size_t)1 << 30)

/* How much is copied at a time. */
#define COPY_SLICE ((size_t)2 << 20)

/* ---- munmap ---- */

long heap_munmap(void *address, size_t length)
{
	uint64_t mask;
	long error;

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

/* What the region can be: no more and no less than this. */
static bool is_plain(int protection, int flags)
{
	return protection == (PROT_READ | PROT_WRITE) &&
	       (flags & ~(MAP_NORESERVE | MAP_FIXED | MAP_FIXED_NOREPLACE)) == (MAP_PRIVATE | MAP_ANONYMOUS);
}

static long map_over(char *address, size_t length, int protection, int flags, int file, off_t offset)
{
	const long arguments[6] = { (long)address, (long)length, protection, flags, file, offset };

	return span_put_over(address, length, SYS_mmap, arguments);
}

static long map_fixed_span(struct span *span)
{
	int error = 0;

	if (span->kind == REGION_MEMORY) {
		region_discard(span->region, span_offset(span), span->length);
		return 0;
	}
	/* The region's again, if it can be now. */
	if (span->kind == REGION_ISLAND)
		error = region_give(span->region, span_offset(span), span->length);
	else if (span->kind == REGION_FOREIGN)
		error = region_reclaim(span->region, span_offset(span), span->length);
	if (error == 0)
		error = region_take_now(span->region, span_offset(span), span->length);
	return -error;
}

/* What grows downward does so into free address space, and a hole is none: as far as it may grow, and the gap that
 * the kernel keeps below. */
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
	for (char *at = start; at < address;) { /* the hole that ends there */
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
			return raw_mmap(address, length, protection, flags, file, offset); /* finds what is in its way, or our reservation */
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
			if (error == -EAGAIN) /* it is not what it was taken for */
				continue;
			if (error < 0) {
				result = error;
				break;
			}
			at += span.length;
		}
	} else {
		result = map_over(address, length, protection, flags, file, offset);
		if (result == (long)address && (flags & MAP_GROWSDOWN))
			make_room_below(address);
	}
	region_unlock(&mask);
	return result;
}

/* The kernel refuses a single request for more than the machine has (overcommit by heuristic). A region's memory is
 * promised by nobody, so such a request is the kernel's to answer. */
#define LARGE_REQUEST ((size_t)256 << 20)

static bool exceeds_machine(size_t length)
{
	struct sysinfo machine;

	return length >= LARGE_REQUEST && sys_call1(SYS_sysinfo, &machine) == 0 &&
	       length / machine.mem_unit > machine.totalram + machine.totalswap;
}

static long map_once(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	heap_look_at_inherited();
	if (is_young_kind(flags) && protection == (PROT_READ | PROT_WRITE) && length >= HEAP_SMALLEST && length <= ADDRESSES_END)
		heap_grows((flags & MAP_NORESERVE) && length >= HEAP_RESERVATION ? heap_threshold() - 1 : length);
	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && offset % (off_t)HEAP_PAGE == 0 && span_touches(address, length))
		return map_fixed(address, length, protection, flags, file, offset);
	return raw_mmap(address, length, protection, flags, file, offset);
}

static long map(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	long result = map_once(address, length, protection, flags, file, offset);

	return result == -ENOMEM && heap_makes_room() ? map_once(address, length, protection, flags, file, offset) : result;
}

long heap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	long result = map(address, length, protection, flags, file, offset);

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
	region_unlock(&mask);
	return error;
}

/* ---- mprotect ---- */

static long protect_span(struct span *span, long protection)
{
	long error;

	if (span->kind == REGION_FOREIGN) {
		error = sys_call3(SYS_mprotect, span->start, span->length, protection);
		if (span->young && error == 0)
			span_note_young(span->start, span->length, (int)protection & (PROT_READ | PROT_WRITE | PROT_EXEC));
		return error;
	}
	if (span->kind == REGION_MEMORY && protection == (PROT_READ | PROT_WRITE)) /* changes nothing, but what was put there past us */
		return sys_call3(SYS_mprotect, span->start, span->length, protection);
	error = span_cut(span);
	if (error == 0)
		error = sys_call3(SYS_mprotect, span->start, span->length, protection);
	if (error == 0)
		region_set_island(span->region, span_offset(span), span->length, (int)protection & (PROT_READ | PROT_WRITE | PROT_EXEC), span->advice);
	return error;
}

/* Of rights that the kernel would refuse before it looks at any memory. */
#define RIGHTS (PROT_READ | PROT_WRITE | PROT_EXEC | 8 /* PROT_SEM */)

long heap_mprotect(void *address, size_t length, int protection)
{
	long error;

	if ((protection & PROT_WRITE) && length <= ADDRESSES_END) /* of what was reserved; by malloc, page by page */
		heap_grows(length);
	if ((protection & ~RIGHTS) != 0 || !span_touches(address, length))
		return sys_call3(SYS_mprotect, address, length, protection);
	/* As malloc does it, page by page. */
	if (protection == (PROT_READ | PROT_WRITE) && length < HEAP_SMALLEST && heap_open_quietly(address, length, &error))
		return error;
	return span_walk(address, length, false, protect_span, protection);
}

struct keyed {
	int protection, key;
};

static atomic_bool uses_keys;

bool heap_uses_keys(void)
{
	return atomic_load_explicit(&uses_keys, memory_order_relaxed);
}

static long protect_with_key(struct span *span, long argument)
{
	const struct keyed *keyed = (const struct keyed *)argument;
	long error = span_cut(span);

	if (span->young)
		span_forget_young(span->start, span->length);
	if (error == 0)
		error = sys_call4(SYS_pkey_mprotect, span->start, span->length, keyed->protection, keyed->key);
	if (error == 0 && span->kind == REGION_ISLAND)
		region_set_island(span->region, span_offset(span), span->length, keyed->protection & (PROT_READ | PROT_WRITE | PROT_EXEC), span->advice);
	return error;
}

long heap_pkey_mprotect(void *address, size_t length, int protection, int key)
{
	struct keyed keyed = { protection, key };

	heap_forget_early(address, length);
	if ((protection & ~RIGHTS) != 0 || !span_touches(address, length))
		return sys_call4(SYS_pkey_mprotect, address, length, protection, key);
	if (key == -1)
		return heap_mprotect(address, length, protection);
	atomic_store_explicit(&uses_keys, true, memory_order_relaxed);
	/* Of a page where nothing is, whether there is such a key. */
	if (sys_call4(SYS_pkey_mprotect, HEAP_PAGE, HEAP_PAGE, protection, key) == -EINVAL)
		return -EINVAL;
	return span_walk(address, length, false, protect_with_key, (long)&keyed);
}

/* ---- madvise ---- */

/* Advice that would make several mappings of one, and is not worth that; nothing depends on it being taken. */
static bool is_mere_advice(long advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DOFORK:
	case MADV_KEEPONFORK:
	case MADV_DODUMP:
	case MADV_UNMERGEABLE:
		return true;
	default:
		return false;
	}
}

/* Advice that changes no mapping, which the kernel takes for the memory of a file as for other. */
static bool is_passing_advice(long advice)
{
	switch (advice) {
	case MADV_WILLNEED:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return true;
	default:
		return false;
	}
}

/* Memory of which the kernel knows no more after it than before, or what it would forget with the next mapping. */
static bool leaves_young(long advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_NOHUGEPAGE:
	case MADV_DOFORK:
	case MADV_KEEPONFORK:
	case MADV_DODUMP:
	case MADV_UNMERGEABLE:
		return true;
	default:
		return is_passing_advice(advice);
	}
}

static long advise_span(struct span *span, long advice)
{
	long error;

	if (advice == MADV_HUGEPAGE || advice == MADV_COLLAPSE)
		span_make_large(span, advice == MADV_COLLAPSE);
	if (span->kind == REGION_FOREIGN) {
		if (span->young && !leaves_young(advice))
			span_forget_young(span->start, span->length);
		return sys_call3(SYS_madvise, span->start, span->length, advice);
	}
	if (advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_DONTNEED_LOCKED) {
		if (span->kind == REGION_MEMORY)
			return span_zero(span);
		/* The kernel's own refusal, of locked memory for one. */
		error = sys_call3(SYS_madvise, span->start, span->length, advice == MADV_FREE ? MADV_DONTNEED : advice);
		return error < 0 ? error : span_zero(span);
	}
	if (span->kind == REGION_MEMORY && is_mere_advice(advice))
		return 0;
	if (is_passing_advice(advice))
		return sys_call3(SYS_madvise, span->start, span->length, advice);
	if (advice == MADV_REMOVE) /* of memory that no file is behind */
		return -EINVAL;
	/* What splits no mapping of the kernel's must not make two of one here. */
	if (advice == MADV_COLLAPSE)
		return sys_call3(SYS_madvise, span->start, span->length, advice);
	error = advice == MADV_WIPEONFORK || advice == MADV_GUARD_INSTALL || advice == MADV_GUARD_REMOVE ? span_make_anonymous(span) : span_cut(span);
	if (error == 0)
		error = sys_call3(SYS_madvise, span->start, span->length, advice);
	if (error == 0 && span->kind == REGION_ISLAND)
		span_note_advice(span, advice == MADV_DONTFORK    ? KEPT_DONTFORK
				  : advice == MADV_DONTDUMP  ? KEPT_DONTDUMP
				  : advice == MADV_MERGEABLE ? KEPT_MERGEABLE
							     : 0,
			    advice == MADV_DOFORK          ? KEPT_DONTFORK
			    : advice == MADV_DODUMP        ? KEPT_DONTDUMP
			    : advice == MADV_UNMERGEABLE   ? KEPT_MERGEABLE
							   : 0);
	return error;
}

long heap_madvise(void *address, size_t length, int advice)
{
	long error;

	if (!leaves_young(advice))
		heap_forget_early(address, length);
	if (!span_touches(address, length))
		return sys_call3(SYS_madvise, address, length, advice);
	/* Of nothing, whether the kernel knows it. */
	error = sys_call3(SYS_madvise, address, 0, advice);
	if (error < 0)
		return error;
	error = span_walk(address, length, advice != MADV_POPULATE_READ && advice != MADV_POPULATE_WRITE, advise_span, advice);
	heap_look_at_inherited();
	return error;
}

static bool is_self(int process)
{
	char path[48] = "/proc/self/fdinfo/", text[512] = "";
	char digits[12];
	size_t length = strlen(path), count = 0;
	const char *line;
	int file;
	long pid = 0;

	if (process == PIDFD_SELF_THREAD || process == PIDFD_SELF_THREAD_GROUP)
		return true;
	if (process < 0)
		return false;
	for (int rest = process; count == 0 || rest > 0; rest /= 10)
		digits[count++] = (char)('0' + rest % 10);
	while (count > 0)
		path[length++] = digits[--count];
	path[length] = '\0';
	file = sys_open(path, O_RDONLY, 0);
	if (file < 0)
		return false;
	if (sys_read(file, text, sizeof text - 1) < 0)
		text[0] = '\0';
	sys_close(file);
	line = strstr(text, "Pid:");
	if (line == NULL)
		return false;
	for (line += 4; *line == ' ' || *line == '\t'; line++)
		;
	for (; *line >= '0' && *line <= '9'; line++)
		pid = pid * 10 + (*line - '0');
	return pid == sys_call0(SYS_getpid);
}

long heap_process_madvise(int process, const struct iovec *pieces, size_t count, int advice, unsigned flags)
{
	bool ours = false, sound = true;
	long error, done = 0;

	/* The kernel's refusals first, for no pieces. */
	error = sys_call5(SYS_process_madvise, process, pieces, 0, advice, flags);
	if (atomic_load_explicit(&heap_home_count, memory_order_relaxed) == 0 || error < 0 || count == 0 || count > 1024 || !is_self(process) ||
	    !sys_is_readable(pieces, count * sizeof *pieces))
		return sys_call5(SYS_process_madvise, process, pieces, count, advice, flags);
	for (size_t i = 0; i < count; i++) {
		sound = sound && pieces[i].iov_len <= SSIZE_MAX; /* all are refused for one that is not */
		ours = ours || span_touches(pieces[i].iov_base, pieces[i].iov_len);
	}
	if (!ours || !sound)
		return sys_call5(SYS_process_madvise, process, pieces, count, advice, flags);
	for (size_t i = 0; i < count; i++) {
		/* What is not ours by the call itself, which permits fewer kinds of advice than madvise; ours only if
		 * it permits this one. */
		if (!span_touches(pieces[i].iov_base, pieces[i].iov_len))
			error = sys_call5(SYS_process_madvise, process, &pieces[i], 1, advice, flags);
		else
			error = heap_madvise(pieces[i].iov_base, pieces[i].iov_len, advice);
		if (error < 0)
			return done > 0 ? done : error;
		done += (long)pieces[i].iov_len;
	}
	return done;
}

/* ---- Locks, and what is told about memory ---- */

static long lock_all(void *address, size_t length, unsigned flags)
{
	return flags == 0 ? sys_call2(SYS_mlock, address, length) : sys_call3(SYS_mlock2, address, length, flags);
}

/* The kernel tells by refusing to have it invalidated. */
static bool is_locked(const char *page)
{
	return sys_call3(SYS_msync, page, HEAP_PAGE, MS_ASYNC | MS_INVALIDATE) == -EBUSY;
}

static void note_locks(char *at, char *end, unsigned flags)
{
	while (at < end) {
		struct span span = span_at(at, end);
		if (span.kind == REGION_ISLAND && is_locked(span.start))
			span_note_advice(&span, KEPT_LOCKED | (flags & MLOCK_ONFAULT ? KEPT_ONFAULT : 0), KEPT_ONFAULT);
		at += span.length;
	}
}

/* Addresses of locks need not be those of pages. */
static void *down(void *address, size_t *length)
{
	size_t into = (uintptr_t)address % HEAP_PAGE;

	if (*length > SIZE_MAX - 2 * HEAP_PAGE)
		return address;
	*length += *length > 0 ? into : 0;
	return (char *)address - into;
}

long heap_mlock2(void *address, size_t length, unsigned flags)
{
	size_t whole = length;
	char *start = down(address, &whole), *end, *at = start;
	uint64_t mask;
	long error;

	heap_forget_early(start, whole);
	if (!span_touches(start, whole))
		return lock_all(address, length, flags);
	/* Of nothing, whether the kernel would. */
	error = lock_all(start, 0, flags);
	if (error < 0)
		return error;
	end = start + span_round_up(whole);
	heap_meet_child();
	region_lock(&mask);
	while (at < end && error == 0) {
		struct span span = span_true_at(at, end);
		error = span.kind == REGION_HOLE ? -ENOMEM : span_cut(&span);
		if (span.young)
			span_forget_young(span.start, span.length);
		at += error == 0 ? span.length : 0;
	}
	/* The kernel marks as locked whatever is there up to the first hole, and then, if there was none, has the
	 * pages brought, which may fail. */
	if (error == 0)
		error = lock_all(start, (size_t)(end - start), flags);
	else if (at > start)
		(void)lock_all(start, (size_t)(at - start), MLOCK_ONFAULT);
	note_locks(start, at, flags);
	region_unlock(&mask);
	span_check_pieces();
	return error;
}

long heap_mlock(void *address, size_t length)
{
	return heap_mlock2(address, length, 0);
}

static long unlock_span(struct span *span, long unused)
{
	(void)unused;
	if (span->kind == REGION_MEMORY)
		return 0;
	if (span->kind == REGION_ISLAND)
		span_note_advice(span, 0, KEPT_LOCKED | KEPT_ONFAULT);
	return sys_call2(SYS_munlock, span->start, span->length);
}

long heap_munlock(void *address, size_t length)
{
	size_t whole = length;
	void *start = down(address, &whole);

	if (!span_touches(start, whole))
		return sys_call2(SYS_munlock, address, length);
	return span_walk(start, whole, false, unlock_span, 0);
}

static long keep_span(struct span *span, long unused)
{
	(void)unused;
	if (span->young)
		span_forget_young(span->start, span->length);
	return span_cut(span);
}

void heap_keep(const void *address, size_t length)
{
	size_t whole = length;
	void *start = down((void *)(uintptr_t)address, &whole);

	heap_forget_early(start, whole);
	if (span_touches(start, whole))
		(void)span_walk(start, whole, true, keep_span, 0);
}

static long make_span_anonymous(struct span *span, long unused)
{
	(void)unused;
	if (span->young)
		span_forget_young(span->start, span->length);
	return span->kind == REGION_FOREIGN ? 0 : span_make_anonymous(span);
}

void heap_make_anonymous(void *address, size_t length)
{
	heap_forget_early(address, length);
	if (span_touches(address, length))
		(void)span_walk(address, length, true, make_span_anonymous, 0); /* what could not be stays private memory with a file behind it */
}

/* Locked memory must stay where it is. Of flags that there are not, or of the last one alone, nothing is locked. */
long heap_mlockall(int flags)
{
	if ((flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) == 0 && (flags & (MCL_CURRENT | MCL_FUTURE)) != 0)
		heap_leave(ODF_REASON_HEAP_LOCKED);
	return sys_call1(SYS_mlockall, flags);
}

static long nothing(struct span *span, long unused)
{
	(void)span, (void)unused;
	return 0;
}

bool heap_meets_hole(void *address, size_t length)
{
	return span_touches(address, length) && span_walk(address, length, false, nothing, 0) != 0;
}

long heap_mincore(void *address, size_t length, unsigned char *states)
{
	char *at = address, *end = at + span_round_up(length);
	uint64_t mask;
	long result = 0;

	if (!span_touches(address, length))
		return sys_call3(SYS_mincore, address, length, states);
	heap_meet_child();
	region_lock(&mask); /* what is being settled is nowhere for a moment */
	while (at < end && result == 0) {
		struct span span = span_true_at(at, end);
		if (span.kind == REGION_HOLE)
			result = -ENOMEM;
		at += span.length;
	}
	if (result == 0)
		result = sys_call3(SYS_mincore, address, length, states);
	region_unlock(&mask);
	return result;
}

/* ---- mremap ---- */

/* Piece by piece, giving back what was copied where that is memory of the region's, so that not both are there at
 * once. */
static void copy_out(char *to, const struct span *from, size_t length, bool give_back)
{
	for (size_t at = 0; at < length; at += COPY_SLICE) {
		size_t size = length - at < COPY_SLICE ? length - at : COPY_SLICE;
		span_copy(to + at, from->start + at, size);
		if (give_back && from->kind == REGION_MEMORY)
			region_discard(from->region, span_offset(from) + at, size);
	}
}

/* Memory that the program mapped so, in whatever state it is here. */
static bool is_programs(const struct span *span)
{
	return span->kind == REGION_MEMORY || span->kind == REGION_ISLAND || span->young;
}

/* What follows with the same rights is of the same mapping, although a part of it was cut out once. Of what is the
 * kernel's it knows itself. */
static void extend(struct span *span, char *end)
{
	while (span->start + span->length < end) {
		struct span next = span_at(span->start + span->length, end);
		bool both = span->kind == REGION_FOREIGN && next.kind == REGION_FOREIGN;
		bool alike = is_programs(span) && is_programs(&next) && next.region == span->region && next.protection == span->protection &&
			     next.advice == span->advice;
		if (!both && !alike)
			return;
		if (!both && next.kind != span->kind)
			span->kind = REGION_ISLAND;
		span->young = span->young && next.young;
		span->length += next.length;
	}
}

/* Where the memory goes: like a mapping of its own. */
static long new_place(const struct span *from, size_t length, void *fixed)
{
	odf_region *region = heap_region(); /* once: another thread may give it up */

	if (fixed != NULL)
		return map_over(fixed, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (from->kind == REGION_MEMORY && !region_is_in_place(from->region) && length >= HEAP_SMALLEST && region != NULL) {
		size_t offset = region_find_hole(region, length, HEAP_PAGE);
		if (offset != SIZE_MAX && region_take(region, offset, length) == 0) {
			heap_note_placed(length);
			return (long)((char *)odf_region_base(region) + offset);
		}
		if (offset != SIZE_MAX)
			(void)region_give(region, offset, length);
	}
	return raw_mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* What a mapping has grown by is under the same advice as the rest of it. */
static bool advise_alike(char *at, char *end, unsigned advice)
{
	while (advice != 0 && at < end) {
		struct span span = span_at(at, end);
		if (span_cut(&span) != 0)
			return false;
		span_keep_advice(span.start, span.length, advice);
		span_note_advice(&span, advice, 0);
		at += span.length;
	}
	return true;
}

/* Into what the kernel has free there. */
static bool grow_in_window(const struct span *span, size_t length)
{
	char *end = span->start + span->length;
	size_t more = length - span->length;
	long result = raw_mmap(end, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (result != (long)end) {
		if (result >= 0 || result < -4095)
			(void)sys_call2(SYS_munmap, result, more);
		return false;
	}
	/* It is to be one mapping with what is there. */
	if (region_overlay(span->region, (size_t)(end - span->base), more) == 0 && advise_alike(end, end + more, span->advice))
		return true;
	(void)span_unmap(end, end + more);
	return false;
}

static bool grow_in_place(const struct span *span, size_t length)
{
	char *end = span->start + span->length, *wanted = span->start + length;
	struct region_extent behind;

	if (span->protection != (PROT_READ | PROT_WRITE) || wanted > span->base + odf_region_capacity(span->region))
		return false;
	if (region_is_in_place(span->region))
		return grow_in_window(span, length);
	for (char *at = end; at < wanted; at += behind.length) {
		behind = region_run_at(span->region, (size_t)(at - span->base), (size_t)(wanted - span->base));
		if (behind.kind != REGION_HOLE)
			return false;
	}
	if (region_take_now(span->region, (size_t)(end - span->base), (size_t)(wanted - end)) == 0 && advise_alike(end, wanted, span->advice))
		return true;
	(void)region_give(span->region, (size_t)(end - span->base), (size_t)(wanted - end));
	return false;
}

static long move_span(struct span *span, size_t length, int flags, void *fixed)
{
	size_t common = span->length < length ? span->length : length;
	bool stays = flags & MREMAP_DONTUNMAP;
	int protection = span->kind == REGION_MEMORY ? PROT_READ | PROT_WRITE : span->protection;
	long place;

	/* Its rights would keep it from being read; it goes away, or is nothing but zeros, in a moment. */
	if (!(protection & PROT_READ) && sys_call3(SYS_mprotect, span->start, span->length, PROT_READ | protection) < 0)
		return -ENOMEM;
	place = new_place(span, length, fixed);
	if (place < 0 && place > -4096)
		return place;
	copy_out((char *)place, span, common, !stays);
	if (protection != (PROT_READ | PROT_WRITE))
		(void)sys_call3(SYS_mprotect, place, length, protection); /* an island's memory goes to the kernel */
	span_keep_advice((char *)place, length, span->advice);
	if (!stays) {
		(void)span_unmap(span->start, span->start + span->length);
		return place;
	}
	for (char *at = span->start, *end = at + span->length; at < end;) {
		struct span part = span_at(at, end);
		(void)span_zero(&part);
		at += part.length;
	}
	return place;
}

static bool is_sound(const void *old, size_t old_length, size_t length, int flags, const void *fixed)
{
	if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0 || !span_is_aligned(old) || length == 0 || length > SIZE_MAX / 2)
		return false;
	if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE))
		return false;
	if ((flags & MREMAP_DONTUNMAP) && old_length != length)
		return false;
	if (!(flags & MREMAP_FIXED))
		return true;
	if ((uintptr_t)fixed > ADDRESSES_END || length > ADDRESSES_END - (uintptr_t)fixed)
		return false;
	return span_is_aligned(fixed) && ((const char *)fixed + span_round_up(length) <= (const char *)old ||
				     (const char *)old + span_round_up(old_length) <= (const char *)fixed);
}

/* What is to be moved is looked at before it is copied. */
static struct span checked_span_at(char *at, char *end)
{
	struct span span = span_true_at(at, end);

	if (span.kind == REGION_MEMORY && region_check(span.region, span_offset(&span), span.length) == 0)
		span = span_at(at, end);
	return span;
}

static long remap_locked(char *old, size_t old_length, size_t length, int flags, void *fixed)
{
	struct span span = checked_span_at(old, old + old_length);
	long arguments[6] = { (long)old, (long)old_length, (long)length, flags, (long)fixed, 0 };

	if (span.kind == REGION_HOLE)
		return -EFAULT;
	if ((flags & MREMAP_FIXED) && length < old_length) { /* what is not to be moved goes first */
		long error = span_unmap(old + length, old + old_length);
		if (error < 0)
			return error;
		arguments[1] = (long)(old_length = length);
		span = span_at(old, old + old_length);
	}
	extend(&span, old + old_length);
	if (span.kind == REGION_FOREIGN && span.length < old_length) {
		/* What follows is not the kernel's to unmap or move; whether anything is there at all is its to say. */
		long error = sys_call5(SYS_mremap, old, HEAP_PAGE, HEAP_PAGE, 0, 0);
		if (error < 0 && error > -4096)
			return error;
		error = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) || length > old_length ? -EFAULT : span_unmap(old + length, old + old_length);
		return error < 0 ? error : (long)old;
	}
	if (span.kind == REGION_FOREIGN)
		return flags & MREMAP_FIXED ? span_put_over(fixed, length, SYS_mremap, arguments)
					    : sys_call5(SYS_mremap, old, old_length, length, flags, fixed);
	if (length <= old_length && !(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))) {
		long error = span_unmap(old + length, old + old_length);
		return error < 0 ? error : (long)old;
	}
	if (span.length != old_length)
		return -EFAULT; /* more than one mapping */
	if (length > old_length && exceeds_machine(length))
		return -ENOMEM;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && grow_in_place(&span, length))
		return (long)old;
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	/* The hint of a move that leaves its place mapped is the new address. */
	return move_span(&span, length, flags, flags & MREMAP_FIXED ? fixed : NULL);
}

static bool is_plain_memory(char *at, size_t length)
{
	for (char *end = at + length; at < end;) {
		struct span span = span_at(at, end);
		if (!is_programs(&span) || span.protection != (PROT_READ | PROT_WRITE) || span.advice != 0)
			return false;
		at += span.length;
	}
	return true;
}

/* What is anonymous memory of the kernel's where it has come to lie or grown, is young there. */
static void note_moved(char *old, size_t old_length, char *place, size_t length, int flags, bool plain)
{
	if (place != old && !(flags & MREMAP_DONTUNMAP))
		span_forget_young(old, old_length);
	if (plain)
		span_note_young(place, length, PROT_READ | PROT_WRITE);
	else
		span_forget_young(place, length);
}

static long remap(void *old, size_t old_length, size_t length, int flags, void *fixed)
{
	bool early = heap_has_early(old);
	uint64_t mask;
	long result;

	if (length > old_length && length - old_length <= ADDRESSES_END)
		heap_grows(length - old_length);
	heap_forget_early(old, old_length);
	if (flags & MREMAP_FIXED)
		heap_forget_early(fixed, length);
	if (!span_touches(old, old_length == 0 ? 1 : old_length) && !((flags & MREMAP_FIXED) && span_touches(fixed, length))) {
		result = sys_call5(SYS_mremap, old, old_length, length, flags, fixed);
		if (early && old_length > 0 && (result >= 0 || result < -4095))
			heap_note_early((void *)result, span_round_up(length), true);
		return result;
	}
	if (!is_sound(old, old_length, length, flags, fixed))
		return -EINVAL;
	heap_meet_child();
	region_lock(&mask);
	if (span_is_sealed(old, (char *)old + span_round_up(old_length)) || ((flags & MREMAP_FIXED) && span_is_sealed(fixed, (char *)fixed + span_round_up(length)))) {
		result = -EPERM;
	} else if (old_length > 0) {
		bool plain = is_plain_memory(old, span_round_up(old_length));
		result = remap_locked(old, span_round_up(old_length), span_round_up(length), flags, fixed);
		if (result >= 0 || result < -4095)
			note_moved(old, span_round_up(old_length), (char *)result, span_round_up(length), flags, plain);
	} else { /* a second view: there is none of private memory */
		struct span span = span_at(old, (char *)old + HEAP_PAGE);
		result = span.kind == REGION_HOLE      ? -EFAULT
			 : span.kind == REGION_FOREIGN ? sys_call5(SYS_mremap, old, old_length, length, flags, fixed)
						       : -EINVAL;
	}
	region_unlock(&mask);
	return result;
}

long heap_mremap(void *old, size_t old_length, size_t length, int flags, void *fixed)
{
	long result = remap(old, old_length, length, flags, fixed);

	return result == -ENOMEM && length > old_length && heap_makes_room() ? remap(old, old_length, length, flags, fixed) : result;
}
