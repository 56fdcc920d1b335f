/* SPDX-License-Identifier: MIT
 *
 * Large pages that the program asks for, array by array as numpy does, or for all of its memory. Where the kernel gives
 * large pages only on request, a file in memory has none. So memory that was not written yet leaves the region: as
 * anonymous memory it can have large pages, and a fork copies one entry for 2 MiB of it where it would copy 512. The
 * ends of an array that fill no large page stay, as they would have small pages, which a region forks faster. Memory in
 * use stays too: the kernel would not make large pages of it at once either. Measured, bench/RESULTS.md.
 *
 * Async-signal-safe; under the region's lock unless stated otherwise.
 */
#include <errno.h>
#include <sys/prctl.h>

#include "span.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define LARGE ((size_t)2 << 20)

/* By trying it, as several settings decide. */
static bool try_one(void)
{
	long area = raw_mmap(NULL, 2 * LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);
	unsigned char there = 0;
	volatile char *block;

	if (area < 0 && area > -4096)
		return false;
	block = (volatile char *)(((uintptr_t)area + LARGE - 1) / LARGE * LARGE);
	if (sys_call3(SYS_madvise, block, LARGE, MADV_HUGEPAGE) == 0) {
		block[0] = 1;
		(void)sys_call3(SYS_mincore, block + LARGE - HEAP_PAGE, HEAP_PAGE, &there);
	}
	(void)sys_call2(SYS_munmap, area, 2 * LARGE);
	return there & 1;
}

bool heap_large_pages_are_given(void)
{
	enum { UNKNOWN, GIVEN = 100, TRIES = 3 }; /* a try may fail as memory is fragmented */
	static atomic_int known;
	int value = atomic_load_explicit(&known, memory_order_relaxed);
	long forbidden;

	/* A filter may punish the try, and also the question, unless the heap was tried under it (sandbox.c). */
	if (!region_is_unfiltered() && (value != GIVEN || heap_state() != ODF_HEAP_AWAKE))
		return false;
	forbidden = sys_call5(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
	if (forbidden > 0 && !(forbidden & 2)) /* 2, Linux 6.18: except where asked for */
		return false;
	if (value < TRIES) {
		value = try_one() ? GIVEN : value + 1;
		atomic_store_explicit(&known, value, memory_order_relaxed);
	}
	return value == GIVEN;
}

/* MADV_COLLAPSE needs anonymous memory: what is in use is copied, as the kernel does as well. Memory that several
 * threads may write cannot be copied. */
static void free_all(char *at, char *end)
{
	at = (char *)(((uintptr_t)at + LARGE - 1) / LARGE * LARGE);
	end = (char *)((uintptr_t)end / LARGE * LARGE);
	while (at < end) {
		struct span part = span_at(at, end);
		if (part.kind == REGION_MEMORY &&
		    (!region_has_one_thread() || span_make_anonymous(&part, part.protection) != 0))
			return;
		at += part.length;
	}
}

void span_make_large(struct span *span, bool all)
{
	char *start = span->start, *end = start + span->length;

	if (span->kind != REGION_MEMORY || region_has_large_pages() || !heap_large_pages_are_given())
		return;
	if (region_free_fresh(span->region, span_offset(span), span->length) == 0 && all)
		free_all(start, end);
	*span = span_at(start, end);
}
