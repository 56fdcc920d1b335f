/* SPDX-License-Identifier: MIT
 *
 * Process titles: the kernel tells others a process's command line and environment as they are in its memory, and since
 * Linux 4.17 only where no file is behind that. Where a program says that they lie elsewhere than at the top of its
 * stack, that place is no region's. Without memory of a region this is a look at the calls before.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>

#include "../heap/heap.h"
#include "../sys/readable.h"
#include "preload.h"

/* Longer ones there are not: the kernel starts no program with more. */
#define TITLE_MOST ((uintptr_t)8 << 20)

static void keep(uintptr_t start, uintptr_t end)
{
	if (start < end && end - start <= TITLE_MOST)
		heap_keep_anonymous((const void *)start, end - start);
}

/* One bound by itself, in whichever order they come. */
static void note_bound(unsigned which, uintptr_t value)
{
	static _Atomic(uintptr_t) bounds[4];
	bool is_end = which % 2 == 1;
	uintptr_t other = atomic_load(&bounds[which ^ 1]), start = is_end ? other : value, end = is_end ? value : other;

	atomic_store(&bounds[which], value);
	keep(is_end ? value - 1 : value, is_end ? value : value + 1); /* the other one may be what it always was */
	keep(start, end);
}

void preload_before_title(unsigned long what, unsigned long value, unsigned long size)
{
	const struct prctl_mm_map *map = (const struct prctl_mm_map *)value;

	if (what >= PR_SET_MM_ARG_START && what <= PR_SET_MM_ENV_END)
		note_bound((unsigned)(what - PR_SET_MM_ARG_START), value);
	if (what != PR_SET_MM_MAP || size != sizeof *map || !sys_is_readable(map, sizeof *map))
		return;
	keep(map->arg_start, map->arg_end);
	keep(map->env_start, map->env_end);
}
