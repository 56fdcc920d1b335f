/* SPDX-License-Identifier: MIT
 *
 * The limits of the keeper's process. The kernel counts each process for itself, so that the keeper has all of the
 * limit that the program had when it was started. A limit of the program is about its own doing, and is raised as far
 * as that may be. Of processor time this is not far enough: at the hard limit the kernel kills the keeper, amid a
 * step. So before it comes to that the regions are given up, which needs no keeper any more, and it only sleeps.
 */
#include <sys/resource.h>

#include "keeper.h"

/* The kernel may count in ticks of its clock, and not by what the keeper reads. */
#define CPU_PART 4u

static uint64_t cpu_most_ns; /* 0: no limit */

/* What cannot be raised stays, and is returned. */
static uint64_t raise_limit(int which)
{
	struct rlimit64 limit = { RLIM64_INFINITY, RLIM64_INFINITY };

	if (sys_call4(SYS_prlimit64, 0, which, &limit, NULL) == 0 ||
	    sys_call4(SYS_prlimit64, 0, which, NULL, &limit) < 0)
		return RLIM64_INFINITY;
	limit.rlim_cur = limit.rlim_max;
	(void)sys_call4(SYS_prlimit64, 0, which, &limit, NULL);
	return limit.rlim_max;
}

/* Where the program has the right to lock memory beyond its limit, what is mapped for it is locked too (mlockall), by
 * who will not have that right. No core is written of memory that is the program's. */
void limits_take(void)
{
	struct rlimit64 none = { 0, 0 };
	uint64_t seconds;

	(void)raise_limit(RLIMIT_FSIZE);
	(void)raise_limit(RLIMIT_DATA);
	(void)raise_limit(RLIMIT_NOFILE);
	(void)raise_limit(RLIMIT_MEMLOCK);
	seconds = raise_limit(RLIMIT_CPU);
	if (seconds == 0) /* which the kernel takes for 1 */
		seconds = 1;
	cpu_most_ns = seconds > UINT64_MAX / 1000000000u ? 0 : seconds * (1000000000u - 1000000000u / CPU_PART);
	keeper_settler.until_ns = cpu_most_ns;
	(void)sys_call4(SYS_prlimit64, 0, RLIMIT_CORE, &none, NULL);
}

bool limits_are_near(void)
{
	return cpu_most_ns != 0 && region_cpu_clock() >= cpu_most_ns;
}
