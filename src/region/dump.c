/* SPDX-License-Identifier: MIT
 *
 * What a core dump has. The kernel writes shared memory without a name whole, so what is LIVE is in the dump; but a
 * private view of a file it writes only if the process, or the one that it is a copy of, has written to that mapping.
 * So where dumps are made, a freeze writes to one page of each mapping that it makes, what is there: then home is in
 * the dumps of the parent and of its children, at the addresses at which the program knows it. It costs a page and a
 * microsecond for each, and later forks copy the page tables of that mapping, as if the program had written there.
 * Aside is the same memory at other addresses, and never in a dump.
 *
 * Async-signal-safe.
 */
#include <fcntl.h>
#include <sys/resource.h>

#include "../sys/proc.h"
#include "internal.h"

/* The kernel hands dumps to a program, whatever the limit of their size is: but for a limit of 1. */
static atomic_bool handed_over;

void region_note_core_pattern(void)
{
	int file = sys_open("/proc/sys/kernel/core_pattern", PROC_READ, 0);
	char first = '\0';

	if (file < 0)
		return;
	if (sys_read(file, &first, 1) == 1)
		atomic_store_explicit(&handed_over, first == '|', memory_order_relaxed);
	sys_close(file);
}

/* When the program asked last; the keeper may not, and has limits of its own. */
static atomic_bool made;

void region_ask_for_dumps(void)
{
	struct rlimit64 limit;
	uint64_t none = atomic_load_explicit(&handed_over, memory_order_relaxed) ? 1 : 0;

	if (!region_lock_is_keepers() && sys_call4(SYS_prlimit64, 0, RLIMIT_CORE, NULL, &limit) == 0)
		atomic_store_explicit(&made, limit.rlim_cur != none, memory_order_relaxed);
}

/* [home + from, + size) is writable, and mappings that are as long as the template's chunks, or one. Whoever is
 * writing there as well: nothing is changed. Past the capacity the file has no pages, and an access is a fault. */
void region_mark_for_dumps(const struct odf_region *region, size_t from, size_t size)
{
	size_t chunk = region->chunk != 0 ? region->chunk : SIZE_MAX, limit = from + size;

	if (limit > region->capacity)
		limit = region->capacity;
	if (from >= limit || !atomic_load_explicit(&made, memory_order_relaxed))
		return;
	for (size_t at = from; at < limit; at = chunk < limit - at / chunk * chunk ? (at / chunk + 1) * chunk : limit)
		(void)__atomic_fetch_or(region->home + at, 0, __ATOMIC_RELAXED);
}
