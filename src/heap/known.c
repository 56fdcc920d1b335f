/* SPDX-License-Identifier: MIT
 * Locks and policies of memory, and what else the kernel knows of it or tells about it (mapping.c).
 * Async-signal-safe. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <string.h>

#include "span.h"

static long lock_all(void *address, size_t length, unsigned flags)
{
	return flags == 0 ? sys_call2(SYS_mlock, address, length) : sys_call3(SYS_mlock2, address, length, flags);
}

static void note_locks(char *at, char *end, unsigned flags)
{
	while (at < end) {
		struct span span = span_at(at, end);
		if (span.kind == REGION_ISLAND && region_is_locked(span.start, HEAP_PAGE))
			span_note_advice(&span, KEPT_LOCKED | (flags & MLOCK_ONFAULT ? KEPT_ONFAULT : 0), KEPT_ONFAULT);
		at += span.length;
	}
}

/* These calls take addresses within a page. */
static void *down(void *address, size_t *length)
{
	size_t into = (uintptr_t)address % HEAP_PAGE;

	address = span_untagged(address);
	if (*length > SIZE_MAX - 2 * HEAP_PAGE)
		return address;
	*length += *length > 0 ? into : 0;
	return (char *)address - into;
}

static long lock(void *address, size_t length, long kind, long unused)
{
	unsigned flags = (unsigned)kind;
	size_t whole = length;
	char *start = down(address, &whole), *end, *at = start;
	uint64_t mask;
	long error;

	(void)unused;
	heap_forget_early(start, whole);
	if (!span_touches(start, whole))
		return lock_all(address, length, flags);
	/* With length 0: whether the kernel would do it. */
	error = lock_all(start, 0, flags);
	if (error < 0)
		return error;
	end = start + span_round_up(whole);
	heap_meet_child();
	region_lock(&mask);
	span_look(start, end);
	while (at < end && error == 0) {
		struct span span = span_true_at(at, end);
		error = span.kind == REGION_HOLE ? -ENOMEM : span_cut(&span);
		if (span.young)
			span_forget_young(span.start, span.length);
		at += error == 0 ? span.length : 0;
	}
	/* The kernel marks memory as locked up to the first hole. If there is none it then brings the pages in, which
	 * may fail. */
	if (error == 0)
		error = lock_all(start, (size_t)(end - start), flags);
	else if (at > start)
		(void)lock_all(start, (size_t)(at - start), MLOCK_ONFAULT);
	note_locks(start, at, flags);
	region_unlock(&mask);
	span_check_pieces();
	return error;
}

long heap_mlock2(void *address, size_t length, unsigned flags)
{
	const struct own_request request = { SYS_mlock2, (long)flags, 0, false, lock };
	size_t whole = length;
	void *start = down(address, &whole);

	return own_is_asked(start, whole) ? own_ask(start, whole, &request) : lock(address, length, (long)flags, 0);
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

static long unlock(void *address, size_t length, long unused, long unused_too)
{
	size_t whole = length;
	void *start = down(address, &whole);

	(void)unused, (void)unused_too;
	if (!span_touches(start, whole))
		return sys_call2(SYS_munlock, address, length);
	return span_walk_looking(start, whole, false, unlock_span, 0);
}

long heap_munlock(void *address, size_t length)
{
	const struct own_request request = { SYS_munlock, 0, 0, false, unlock };
	size_t whole = length;
	void *start = down(address, &whole);

	return own_is_asked(start, whole) ? own_ask(start, whole, &request) : unlock(address, length, 0, 0);
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

bool heap_is_alone(void)
{
	return (region_is_unfiltered() || heap_state() == ODF_HEAP_AWAKE) && region_has_one_thread();
}

/* The nodes from which the program may have memory. Under a filter, which may kill for the question, several are
 * assumed. A kernel without nodes refuses the question. */
static bool has_several_nodes(void)
{
	unsigned long nodes[128] = { 0 }; /* as many as a kernel can be built for, and more */
	int count = 0;

	if (!region_is_unfiltered())
		return true;
	if (sys_call5(SYS_get_mempolicy, NULL, nodes, sizeof nodes * 8, NULL, MPOL_F_MEMS_ALLOWED) < 0)
		return false;
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		count += __builtin_popcountl(nodes[i]);
	return count > 1;
}

/* Memory that is taken into a region is copied to the keeper's node. Memory in a region has the policy of the file,
 * which would hold for whatever comes to lie there later. */
void heap_place(const void *address, size_t length, int mode)
{
	if ((mode & ~MPOL_MODE_FLAGS) != MPOL_DEFAULT && has_several_nodes())
		heap_keep(address, length);
}

static long make_span_anonymous(struct span *span, long unused)
{
	(void)unused;
	if (span->young)
		span_forget_young(span->start, span->length);
	return span->kind == REGION_FOREIGN ? 0 : span_make_anonymous(span, span->protection);
}

void heap_make_anonymous(void *address, size_t length)
{
	heap_forget_early(address, length);
	/* Memory for which this fails stays private with a file behind it. */
	if (span_touches(address, length))
		(void)span_walk(address, length, true, make_span_anonymous, 0);
}

static long forget_span_young(struct span *span, long unused)
{
	(void)unused;
	if (span->young)
		span_forget_young(span->start, span->length);
	return 0;
}

void heap_keep_anonymous(const void *address, size_t length)
{
	size_t whole = length;
	void *start = down((void *)(uintptr_t)address, &whole);

	/* If other threads may be writing, the memory stays what it is, so that none of their writes is lost. */
	if (!span_touches(start, whole) || heap_is_alone())
		heap_make_anonymous(start, whole);
	else
		(void)span_walk(start, whole, true, forget_span_young, 0);
}

/* Locked memory must not be moved. With unknown flags, or MCL_ONFAULT alone, the kernel locks nothing. */
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
	address = span_untagged(address);
	return span_touches(address, length) && span_walk(address, length, false, nothing, 0) != 0;
}

long heap_mincore(void *address, size_t length, unsigned char *states)
{
	char *at = address = span_untagged(address), *end = at + span_round_up(length);
	uint64_t mask;
	long result = 0;

	if (!span_touches(address, length))
		return sys_call3(SYS_mincore, address, length, states);
	heap_meet_child();
	region_lock(&mask); /* memory that is being settled is unmapped for a moment */
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
