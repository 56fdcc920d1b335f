/* SPDX-License-Identifier: MIT
 *
 * The parts that the mapping door's calls are made of: the walk over a range, run by run, and what is done to one run.
 * Async-signal-safe; under the region's lock unless stated otherwise.
 */
#include <errno.h>
#include <string.h>

#include "span.h"

/* The kernel would accept the range (whole pages, not empty), and it meets one of our regions. The kernel refuses other
 * ranges. */
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

	/* A child does not get holes; nor does one that a raw system call made get memory that was LIVE then. */
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

	/* Inherited regions are ordinary memory, and the process's own may lie at the same addresses. The place belongs
	 * to the newest region that has something there; if none has, to the newest. */
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

/* This process is a child: it has not inherited islands with MADV_DONTFORK. */
void heap_forget_what_is_not_here(odf_region *region, size_t length)
{
	for (size_t at = 0; at < length;) {
		struct region_extent run = region_run_at(region, at, length);
		if (run.kind == REGION_ISLAND && (run.advice & KEPT_DONTFORK))
			region_lose_end(region, at, run.length);
		else if (run.kind == REGION_ISLAND && (run.advice & KEPT_LOCKED)) /* no child inherits locks */
			region_set_island(region, at, run.length, run.protection,
					  run.advice & ~(KEPT_LOCKED | KEPT_ONFAULT));
		at += run.length;
	}
}

size_t span_offset(const struct span *span)
{
	return (size_t)(span->start - span->base);
}

/* The same as span_at, but a hole is checked first, as a raw system call may have filled it. */
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

/* Makes an island of a span of memory, so that the kernel's calls can work on it. If the span turns out to be several
 * things, it becomes the first of them. */
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

/* A raw system call may have mapped other memory there since the lock was noted, or have unlocked it. */
unsigned span_true_advice(const struct span *span)
{
	bool outdated = (span->advice & KEPT_LOCKED) && region_is_unfiltered() &&
			!region_is_locked(span->start, span->length);

	return outdated ? span->advice & ~(KEPT_LOCKED | KEPT_ONFAULT) : span->advice;
}

/* Failures are ignored: the program's call has been answered. */
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

void span_forget_ended_locks(char *at, char *end)
{
	while (at < end) {
		struct span span = span_at(at, end);
		if (span.kind == REGION_ISLAND && span_true_advice(&span) != span.advice)
			span_note_advice(&span, 0, KEPT_LOCKED | KEPT_ONFAULT);
		at += span.length;
	}
}

long span_zero(struct span *span)
{
	if (span->kind == REGION_MEMORY)
		return -region_discard(span->region, span_offset(span), span->length);
	if (span->advice & KEPT_KEYED)
		return -ENOMEM;
	/* An island may be a view of the file, and its pages would show the file's content if the kernel discarded
	 * them. */
	if (!region_map_zeros(span->start, span->length, span->protection))
		return -ENOMEM;
	span_keep_advice(span->start, span->length, span->advice);
	return 0;
}

/* Pages of zeros are not copied, so that they take no memory at the target. Absent pages are not read, as the region's
 * file would get a page for each read. */
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
	span_close(span); /* some of it may be readable now */
	return false;
}

void span_close(const struct span *span)
{
	if ((span->protection & PROT_READ) == 0)
		(void)sys_call3(SYS_mprotect, span->start, span->length, span->protection);
}

/* A fork takes about as long for each piece as it otherwise takes for a MiB of page tables; and each piece is two more
 * mappings while FROZEN. */
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
		return; /* it cannot be told now */
	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++)
		/* memory that the program took out, as by asking for large pages */
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

/* A hole is no error here. */
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

/* A call that failed may have unmapped memory all the same, and that memory is lost. Run by run, as a hole that was in
 * the range before tells nothing about the rest. */
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

/* Makes a call by which the range loses its memory in regions. */
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
				return -ENOMEM; /* the program sees nothing of what was begun */
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

/* Makes a system call that puts another mapping over the range, at once, as the kernel does it. */
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

/* An address range in which the kernel places no mapping by itself, not even with MAP_32BIT: gaps between the program's
 * mappings stay gaps. */
#define APART_FROM ((uintptr_t)15 << 40)
#define APART_SIZE ((uintptr_t)4 << 40)
#define APART_STEP ((uintptr_t)4 << 20)

void *span_apart(size_t length)
{
	static _Atomic(uintptr_t) used;
	uintptr_t random = (uintptr_t)&used / HEAP_PAGE * APART_STEP; /* by where the loader has put us */

	return (void *)(APART_FROM +
			(random + atomic_fetch_add(&used, length / APART_STEP * APART_STEP + 2 * APART_STEP)) %
				APART_SIZE);
}

/* The memory leaves the region, for advice that only anonymous memory can have, or that only the kernel keeps. Writes
 * of other threads during the copy may be lost. The program has to prevent them, as it has to at the moment from which
 * the advice holds. */
long span_make_anonymous(struct span *span, int protection)
{
	char *from = span->start;
	size_t length = span->length;
	unsigned advice = span_true_advice(span);
	long copy, error = 0;

	if (span->advice & KEPT_KEYED)
		return -ENOMEM;
	/* A single copy, as it is a single mapping. */
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
