/* SPDX-License-Identifier: MIT
 *
 * What core dumps contain. The kernel writes shared memory without a name in full, so LIVE memory is in a dump. But it
 * writes a private view of a file only if the process, or the process that it is a copy of, has written to that
 * mapping. So if core dumps are made, a freeze writes to one page of each mapping that it makes, without changing it:
 * then home is in the dumps of the parent and of its children, at the addresses by which the program knows it. For each
 * mapping that costs a page and a microsecond, and later forks copy its page tables, as if the program had written
 * there. Aside is the same memory at other addresses, and never in a dump.
 *
 * Async-signal-safe.
 */
#include <fcntl.h>
#include <sys/resource.h>

#include "../sys/proc.h"
#include "internal.h"

/* The kernel pipes core dumps to a program. It does so whatever RLIMIT_CORE is, unless that is 1. */
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

/* Core dumps were made when the program asked last. The keeper may not ask, and has limits of its own. */
static atomic_bool made;

void region_ask_for_dumps(void)
{
	struct rlimit64 limit;
	uint64_t none = atomic_load_explicit(&handed_over, memory_order_relaxed) ? 1 : 0;

	if (!region_lock_is_keepers() && sys_call4(SYS_prlimit64, 0, RLIMIT_CORE, NULL, &limit) == 0)
		atomic_store_explicit(&made, limit.rlim_cur != none, memory_order_relaxed);
}

/* [home + from, + size) is writable; its mappings are as long as the template's chunks, or it is one mapping. Nothing
 * changes, even if another thread writes there at that moment. Beyond the capacity the file has no pages, and an access
 * is a fault. */
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
