/* SPDX-License-Identifier: MIT
 *
 * The resource limits of the keeper's process. The kernel counts per process, so the keeper has all of each limit that
 * the program had when the keeper was started. The user has set these limits for the program's own work, so the keeper
 * raises them as far as it may. For CPU time that is not enough: at the hard limit the kernel kills the keeper, amid a
 * step. So before that the regions are given up; then they need no keeper, and it only sleeps.
 */
#include <sys/resource.h>

#include "keeper.h"

/* Margin before the limit, as a part of it: the kernel may count in clock ticks, and differ from what the keeper
 * reads. */
#define CPU_PART 4u

static uint64_t cpu_most_ns; /* 0: no limit */

/* Returns the limit that could not be raised. */
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

/* RLIMIT_MEMLOCK: if the program has the right to lock memory beyond its limit, mlockall locks the keeper's mappings
 * too, and the keeper will not have that right. RLIMIT_CORE: a core dump of the keeper would hold the program's
 * memory. */
void limits_take(void)
{
	struct rlimit64 none = { 0, 0 };
	uint64_t seconds;

	(void)raise_limit(RLIMIT_FSIZE);
	(void)raise_limit(RLIMIT_DATA);
	(void)raise_limit(RLIMIT_NOFILE);
	(void)raise_limit(RLIMIT_MEMLOCK);
	seconds = raise_limit(RLIMIT_CPU);
	if (seconds == 0) /* the kernel takes it for 1 */
		seconds = 1;
	cpu_most_ns = seconds > UINT64_MAX / 1000000000u ? 0 : seconds * (1000000000u - 1000000000u / CPU_PART);
	keeper_settler.until_ns = cpu_most_ns;
	(void)sys_call4(SYS_prlimit64, 0, RLIMIT_CORE, &none, NULL);
}

bool limits_are_near(void)
{
	return cpu_most_ns != 0 && region_cpu_clock() >= cpu_most_ns;
}
