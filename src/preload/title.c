/* SPDX-License-Identifier: MIT
 *
 * Process titles. /proc/PID/cmdline and environ read the process's memory, and since Linux 4.17 only if no file is
 * behind it. If a program moves these from the top of its stack (PR_SET_MM), that memory is taken out of its region. In
 * a process without memory in regions each costs a branch.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>

#include "../heap/heap.h"
#include "../sys/readable.h"
#include "preload.h"

/* The kernel starts no program with longer ones. */
#define TITLE_MOST ((uintptr_t)8 << 20)

static void keep(uintptr_t start, uintptr_t end)
{
	if (start < end && end - start <= TITLE_MOST)
		heap_keep_anonymous((const void *)start, end - start);
}

/* One bound at a time; they may be set in any order. */
static void note_bound(unsigned which, uintptr_t value)
{
	static _Atomic(uintptr_t) bounds[4];
	bool is_end = which % 2 == 1;
	uintptr_t other = atomic_load(&bounds[which ^ 1]), start = is_end ? other : value, end = is_end ? value : other;

	atomic_store(&bounds[which], value);
	keep(is_end ? value - 1 : value, is_end ? value : value + 1); /* the other bound may be the old one still */
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
