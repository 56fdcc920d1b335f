/* SPDX-License-Identifier: MIT
 *
 * What the mapping door's calls are made of: the walk over a range, run by run, and what is done to one of them.
 * Async-signal-safe; under the region's lock where nothing else is said.
 */
#include <errno.h>
#include <string.h>

#include "span.h"

/* A range that the kernel would look at: whole pages, not empty, and some of it in one of our regions. Everything
 * else is the kernel's to refuse. */
bool span_touches(const void *address, size_t length)
{
	const char *start = address;
	int count = atomic_load_explicit(&heap_home_count, memory_order_acquire);

	if (count == 0 || region_is_amid() || !span_is_aligned(address) || length == 0 ||
	    (uintptr_t)start > ADDRESSES_END || length > ADDRESSES_END - (uintptr_t)start)
		return false;
	for (int i = 0; i < count; i++)
		if (start < heap_homes[i].end && heap_homes[i].start < start + span_round_up(length))
			return true;
	return false;
}

static struct span span_in(const struct heap_home *home, char *at, size_t length)
{
	struct region_extent run = region_run_at(home->region, (size_t)(at - home->start),
						 (size_t)(at - home->start) + length);
	struct span span = {
		.start = at,
		.length = run.length,
		.region = home->region,
		.base = home->start,
		.kind = (enum region_kind)run.kind,
		.protection = run.protection,
		.advice = run.advice,
		.inherited = region_is_inherited(home->region),
		.sealed = run.sealed,
	};

	/* What children do not get: holes; and memory, where it was LIVE when they were made past the library. */
	if (span.inherited &&
	    (span.kind == REGION_HOLE || (span.kind == REGION_MEMORY && region_is_absent(home->region))))
		span.kind = REGION_FOREIGN;
	span.young = span.kind == REGION_FOREIGN && run.young && !span.inherited;
	return span;
}

struct span span_at(char *at, char *end)
{
	struct span span = { .start = at, .length = (size_t)(end - at), .kind = REGION_FOREIGN };
	int count = atomic_load_explicit(&heap_home_count, memory_order_acquire);

	/* Regions that this process inherited are memory like any other, and its own may lie where they are. The
	 * newest one that has something there has it; where none has, it is the newest one's to have. */
	for (int i = count - 1; i >= 0; i--) {
		const struct heap_home *home = &heap_homes[i];
		struct span here;
		if (at >= home->end || at + span.length <= home->start)
			continue;
		if (at < home->start) {
			span.length = (size_t)(home->start - at);
			continue;
		}
		if (at + span.length > home->end)
			span.length = (size_t)(home->end - at);
		if (span.region != NULL && span.kind != REGION_FOREIGN)
			continue;
		here = span_in(home, at, span.length);
		span.length = here.length;
		if (span.region == NULL || here.kind != REGION_FOREIGN || (here.young && !span.young))
			span = here;
	}
	return span;
}

/* Islands with MADV_DONTFORK were not inherited: this process, a child, does not have them. */
void heap_forget_what_is_not_here(odf_region *region, size_t length)
{
	for (size_t at = 0; at < length;) {
		struct region_extent run = region_run_at(region, at, length);
		if (run.kind == REGION_ISLAND && (run.advice & KEPT_DONTFORK))
			region_lose_end(region, at, run.length);
		else if (run.kind == REGION_ISLAND && (run.advice & KEPT_LOCKED)) /* which no child has */
			region_set_island(region, at, run.length, run.protection,
					  run.advice & ~(KEPT_LOCKED | KEPT_ONFAULT));
		at += run.length;
	}
}

size_t span_offset(const struct span *span)
{
	return (size_t)(span->start - span->base);
}

/* The same; what looks like a hole may have been filled by a system call past the library, and is looked at before it
 * is taken for one. */
struct span span_true_at(char *at, char *end)
{
	struct span span = span_at(at, end);

	if (span.kind == REGION_HOLE && region_check(span.region, span_offset(&span), span.length) == 0)
		span = span_at(at, end);
	return span;
}

void span_look(char *at, char *end)
{
	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++) {
		const struct heap_home *home = &heap_homes[i];
		char *from = at > home->start ? at : home->start, *to = end < home->end ? end : home->end;
		if (from < to)
			(void)region_check(home->region, (size_t)(from - home->start), (size_t)(to - from));
	}
}

static long walk(void *address, size_t length, bool past_holes, bool look, span_function *function, long argument)
{
	char *at = address, *end = at + span_round_up(length);
	long result = 0;
	uint64_t mask;

	heap_meet_child();
	region_lock(&mask);
	if (look)
		span_look(at, end);
	while (at < end) {
		struct span span = span_true_at(at, end);
		long error = span.kind == REGION_HOLE ? -ENOMEM : function(&span, argument);
		if (error < 0) {
			result = error;
			if (!past_holes || error != -ENOMEM)
				break;
		}
		at += span.length;
	}
	region_unlock(&mask);
	span_check_pieces();
	return result;
}

long span_walk(void *address, size_t length, bool past_holes, span_function *function, long argument)
{
	return walk(address, length, past_holes, false, function, argument);
}

long span_walk_looking(void *address, size_t length, bool past_holes, span_function *function, long argument)
{
	return walk(address, length, past_holes, true, function, argument);
}

/* Makes an island of a span of memory, for what the kernel is to do to it. Where this turns out to be several things
 * it is the first of them. */
long span_cut(struct span *span)
{
	while (span->kind == REGION_MEMORY) {
		int error = region_cut(span->region, span_offset(span), span->length);
		if (error != 0 && error != EAGAIN)
			return -error;
		*span = span_at(span->start, span->start + span->length);
	}
	return 0;
}

/* As good as it goes: the caller has had its answer. */
void span_keep_advice(char *start, size_t length, unsigned advice)
{
	if (advice & KEPT_DONTFORK)
		(void)sys_call3(SYS_madvise, start, length, MADV_DONTFORK);
	if (advice & KEPT_DONTDUMP)
		(void)sys_call3(SYS_madvise, start, length, MADV_DONTDUMP);
	if (advice & KEPT_MERGEABLE)
		(void)sys_call3(SYS_madvise, start, length, MADV_MERGEABLE);
	if (advice & KEPT_SMALL)
		(void)sys_call3(SYS_madvise, start, length, MADV_NOHUGEPAGE);
	if (advice & KEPT_LOCKED)
		(void)sys_call3(SYS_mlock2, start, length, advice & KEPT_ONFAULT ? MLOCK_ONFAULT : 0);
}

void span_note_advice(const struct span *span, unsigned set, unsigned clear)
{
	region_set_island(span->region, span_offset(span), span->length, span->protection,
			  (span->advice & ~clear) | set);
}

long span_zero(struct span *span)
{
	if (span->kind == REGION_MEMORY)
		return -region_discard(span->region, span_offset(span), span->length);
	if (span->advice & KEPT_KEYED)
		return -ENOMEM;
	/* An island may show the file, where the kernel's own zeros are the file's content. */
	if (!region_map_zeros(span->start, span->length, span->protection))
		return -ENOMEM;
	span_keep_advice(span->start, span->length, span->advice);
	return 0;
}

/* Pages of zeros are not copied, so that they take no memory at the target. Where there is no page nothing is read: the
 * region's file would get one for each that is. */
bool span_copy(char *to, const char *from, size_t length)
{
	static const char zeros[HEAP_PAGE];
	bool any = false;

	for (size_t at = 0, size; at < length; at += size) {
		unsigned char there[REGION_THERE_MOST];
		size = length - at < sizeof there * HEAP_PAGE ? length - at : sizeof there * HEAP_PAGE;
		region_look_there(from + at, size, there);
		for (size_t page = 0; page < size / HEAP_PAGE; page++) {
			const char *source = from + at + page * HEAP_PAGE;
			if (!(there[page] & 1))
				continue;
			any = true;
			if (memcmp(source, zeros, HEAP_PAGE) != 0)
				memcpy(to + at + page * HEAP_PAGE, source, HEAP_PAGE);
		}
	}
	return any;
}

bool span_open(const struct span *span)
{
	if ((span->protection & PROT_READ) != 0 ||
	    sys_call3(SYS_mprotect, span->start, span->length, PROT_READ | span->protection) == 0)
		return true;
	span_close(span); /* some of it may be */
	return false;
}

void span_close(const struct span *span)
{
	if ((span->protection & PROT_READ) == 0)
		(void)sys_call3(SYS_mprotect, span->start, span->length, span->protection);
}

/* A fork pays for each piece that it finds, about what it pays for a MiB of page tables otherwise; and each is two
 * mappings more while FROZEN. */
#define PIECES_LEAST 512

void span_check_pieces(void)
{
	static atomic_size_t asked_at;
	size_t pieces = 0, bytes;

	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++)
		if (!region_is_inherited(heap_homes[i].region))
			pieces += region_piece_count(heap_homes[i].region);
	if (pieces <= PIECES_LEAST || pieces < atomic_load_explicit(&asked_at, memory_order_relaxed) + PIECES_LEAST / 4)
		return;
	bytes = region_resident_bytes();
	if (bytes == 0)
		return; /* cannot be told at this moment */
	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++)
		/* memory that the program took out of it, by asking for large pages for one */
		if (!region_is_inherited(heap_homes[i].region))
			bytes += region_foreign_bytes(heap_homes[i].region);
	atomic_store_explicit(&asked_at, pieces, memory_order_relaxed);
	if (pieces > PIECES_LEAST + (bytes >> 20))
		heap_leave(ODF_REASON_HEAP_PIECES);
}

static long unmap_span(struct span *span, long unused)
{
	(void)unused;
	if (span->kind == REGION_FOREIGN &&
	    (span->region == NULL || span->inherited || region_is_in_place(span->region))) {
		long error = sys_call2(SYS_munmap, span->start, span->length);
		if (error == 0)
			span_forget_young(span->start, span->length);
		if (span->young)
			span_note_unmapped(span->length);
		return error;
	}
	if (region_is_in_place(span->region))
		span_note_unmapped(span->length);
	if (span->kind == REGION_FOREIGN)
		return -region_reclaim(span->region, span_offset(span), span->length);
	return -region_give(span->region, span_offset(span), span->length);
}

/* Holes are nothing to complain about here. */
long span_unmap(char *at, char *end)
{
	while (at < end) {
		struct span span = span_true_at(at, end);
		long error = span.kind == REGION_HOLE ? 0 : unmap_span(&span, 0);
		if (error < 0)
			return error;
		at += span.length;
	}
	return 0;
}

/* A call that failed may have unmapped what was there, and then it is lost all the same. Run by run: a hole that was
 * in the range before says nothing of the rest. */
static void lose_what_is_gone(const struct heap_home *home, size_t from, size_t length)
{
	for (size_t at = from, end = from + length; at < end;) {
		struct region_extent run = region_run_at(home->region, at, end);
		if (sys_call3(SYS_msync, home->start + at, run.length, MS_ASYNC) == -ENOMEM) {
			region_lose_end(home->region, at, run.length);
			region_forget_young(home->region, at, run.length);
		}
		at += run.length;
	}
}

/* What lies in a region of the range is lost by a call. */
static long lose_around(char *address, size_t length, long (*call)(void *argument), void *argument)
{
	char *end = address + span_round_up(length);
	int count = atomic_load_explicit(&heap_home_count, memory_order_acquire);
	long result = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < count; i++) {
			const struct heap_home *home = &heap_homes[i];
			char *from = address > home->start ? address : home->start,
			     *to = end < home->end ? end : home->end;
			size_t offset = (size_t)(from - home->start), size = (size_t)(to - from);
			if (from >= to)
				continue;
			if (pass == 0 && region_lose_begin(home->region, offset, size) != 0)
				return -ENOMEM; /* of what was begun nothing can be seen */
			if (pass == 1 && result < 0 && result >= -4095) {
				lose_what_is_gone(home, offset, size);
			} else if (pass == 1) {
				region_lose_end(home->region, offset, size);
				region_forget_young(home->region, offset, size);
			}
		}
		if (pass == 0)
			result = call(argument);
	}
	return result;
}

struct system_call {
	long number;
	const long *arguments;
};

static long make_call(void *argument)
{
	const struct system_call *call = argument;
	const long *a = call->arguments;

	return sys_call6(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Another mapping comes to lie in the range, all at once, as the kernel does it. */
long span_put_over(char *address, size_t length, long number, const long arguments[6])
{
	struct system_call call = { number, arguments };

	return lose_around(address, length, make_call, &call);
}

long span_lose_by(char *address, size_t length, long (*call)(void *argument), void *argument)
{
	return lose_around(address, length, call, argument);
}

bool span_is_all_hole(char *at, char *end)
{
	while (at < end) {
		struct span span = span_true_at(at, end);
		if (span.kind != REGION_HOLE)
			return false;
		at += span.length;
	}
	return true;
}

bool span_is_sealed(char *at, char *end)
{
	while (at < end) {
		struct span span = span_at(at, end);
		if (span.sealed)
			return true;
		at += span.length;
	}
	return false;
}

/* An address range in which the kernel places no mapping by itself, nor one of MAP_32BIT: a gap among the program's
 * mappings stays a gap. */
#define APART_FROM ((uintptr_t)15 << 40)
#define APART_SIZE ((uintptr_t)4 << 40)
#define APART_STEP ((uintptr_t)4 << 20)

void *span_apart(size_t length)
{
	static _Atomic(uintptr_t) used;
	uintptr_t random = (uintptr_t)&used / HEAP_PAGE * APART_STEP; /* as the loader has placed us */

	return (void *)(APART_FROM +
			(random + atomic_fetch_add(&used, length / APART_STEP * APART_STEP + 2 * APART_STEP)) %
				APART_SIZE);
}

/* For advice about anonymous memory only, or what only the kernel knows of later: the memory leaves the region. What
 * other threads write there meanwhile may be lost, which is theirs to prevent, as for the moment from which on the
 * advice holds. */
long span_make_anonymous(struct span *span, int protection)
{
	char *from = span->start;
	size_t length = span->length;
	unsigned advice = span->advice;
	long copy, error = 0;

	if (span->advice & KEPT_KEYED)
		return -ENOMEM;
	/* The list may be older than what a call that was not seen has mapped there. */
	if ((advice & KEPT_LOCKED) && region_is_unfiltered() && !region_is_locked(from, length))
		advice &= ~(KEPT_LOCKED | KEPT_ONFAULT);
	/* In one piece, as it is one mapping. */
	copy = raw_mmap(span_apart(length), length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);
	if (copy < 0 && copy > -4096)
		return -ENOMEM;
	if (!span_open(span))
		error = -ENOMEM;
	else
		(void)span_copy((char *)copy, from, length);
	if (error == 0 && protection != (PROT_READ | PROT_WRITE))
		error = sys_call3(SYS_mprotect, copy, length, protection);
	if (error == 0) {
		const long arguments[6] = {
			copy, (long)length, (long)length, MREMAP_MAYMOVE | MREMAP_FIXED, (long)from, 0,
		};
		error = span_put_over(from, length, SYS_mremap, arguments);
	}
	if (error < 0 && error > -4096) {
		(void)sys_call2(SYS_munmap, copy, length);
		span_close(span);
		return error;
	}
	span->kind = REGION_FOREIGN;
	span_keep_advice(span->start, span->length, advice);
	return 0;
}
