/* SPDX-License-Identifier: MIT
 *
 * ODF_REGION_HUGE: gathers the pages of the file into large ones. The kernel maps a large page of a file into a private
 * view by one entry, where small pages take one fault for each sixteen. The first write to a page still copies 4 KiB.
 * Only tables of which all 2 MiB are there are gathered, so that no memory is added. Without the lock: only the place
 * of the file's content in memory changes, and a fork that comes meanwhile waits for one such copy at most.
 */
#include <errno.h>

#include "internal.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* How often a pass looks for new memory: it takes a hundredth of one core at most. */
#define PASS_LEAST_NS 1000000000u
#define PASS_SHARE    100
#define AGAIN_NS 1000000u
#define WORK_NS  5000000u

static bool all_there(char *piece)
{
	unsigned char there[REGION_TABLE / REGION_PAGE];

	if (sys_call3(SYS_mincore, piece, REGION_TABLE, there) < 0)
		return false;
	for (size_t i = 0; i < sizeof there; i++)
		if (!(there[i] & 1))
			return false;
	return true;
}

static bool is_memory(const struct odf_region *region, size_t table)
{
	size_t end;
	bool memory;

	region_lock_as_keeper();
	memory = region_extent_at(region, table, table + REGION_TABLE, &end) == NULL && end == table + REGION_TABLE;
	region_unlock_as_keeper();
	return memory;
}

uint64_t region_gather(struct odf_region *region, uint64_t now)
{
	size_t end = region->capacity / REGION_TABLE * REGION_TABLE;
	uint64_t after;

	if (now < region->huge_ns)
		return region->huge_ns;
	while (region->huge_at < end && region_clock() - now < WORK_NS) {
		char *piece = region->home + region->huge_at;
		long error = is_memory(region, region->huge_at) && all_there(piece)
				     ? sys_call3(SYS_madvise, piece, REGION_TABLE, MADV_COLLAPSE)
				     : 0;
		if (error == -EINVAL && region->huge_at == 0) /* the kernel does not know it, or not for this memory */
			return region->huge_ns = UINT64_MAX;
		/* if it failed, for lack of memory or because of a pinned page, the next pass may succeed */
		region->huge_at += REGION_TABLE;
	}
	if (region->huge_at < end) {
		region->huge_spent += region_clock() - now;
		return region_clock() + AGAIN_NS;
	}
	region->huge_at = 0;
	region->huge_spent += region_clock() - now;
	after = region->huge_spent * PASS_SHARE;
	region->huge_spent = 0;
	return region->huge_ns = region_clock() + (after > PASS_LEAST_NS ? after : PASS_LEAST_NS);
}
