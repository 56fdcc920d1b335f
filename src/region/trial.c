/* SPDX-License-Identifier: MIT
 *
 * Makes all system calls that a region makes in its life, in a process that is made for this and may be killed for any
 * of them: a seccomp filter cannot be asked what it permits. It makes raw system calls only, and uses nothing of the
 * process that it is a copy of.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "../sys/tasks.h"
#include "internal.h"

#define CAPACITY ((size_t)1 << 30)
#define MEMORY   ((size_t)8 << 20)
#define PART     ((size_t)256 << 10)

/* The other calls of the keeper, and of steps beside a running program, with arguments that have no effect. */
static void make_other_calls(void)
{
	struct timespec moment = { 0, 1 };
	struct rlimit limit;
	struct rusage usage;
	siginfo_t ended;
	int word = 0;

	(void)sys_call3(SYS_tgkill, sys_call0(SYS_getpid), sys_call0(SYS_gettid), 0);
	(void)sys_call4(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, NULL);
	(void)sys_call3(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1);
	(void)sys_call2(SYS_nanosleep, &moment, NULL);
	(void)sys_call0(SYS_sched_yield);
	(void)sys_call2(SYS_getrusage, RUSAGE_SELF, &usage);
	(void)sys_call5(SYS_waitid, P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT | __WALL, NULL);
	(void)sys_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
	(void)sys_call2(SYS_prctl, PR_SET_NAME, "odfork-trial");
	(void)sys_call5(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
	(void)sys_call2(SYS_clone3, NULL, 0);
	(void)sys_call1(SYS_unshare, CLONE_FILES);
	(void)sys_call3(SYS_close_range, ~0u, ~0u, 0);
	(void)sys_call4(SYS_pwrite64, -1, &word, sizeof word, 0);
	(void)sys_call4(SYS_fallocate, -1, 0, 0, 1);
	(void)sys_call3(SYS_msync, NULL, 0, MS_ASYNC | MS_INVALIDATE);
	(void)tasks_ask();
}

/* Forks a child in the way in which the program forks. */
static int fork_once(const char *memory)
{
	uint64_t start;
	int status = 0, error = region_fork_begin(&start);
	long pid, waited;

	if (error != 0)
		return error;
	pid = sys_call5(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		region_in_child();
		(void)sys_call1(SYS_exit_group, *(volatile const char *)memory == 1 ? 0 : 1);
	}
	region_fork_end((int)pid);
	if (pid < 0)
		return (int)-pid;
	while ((waited = sys_call4(SYS_wait4, pid, &status, 0, NULL)) == -EINTR)
		;
	return waited < 0 ? (int)-waited : status != 0 ? EPROTO : 0;
}

/* Makes each kind of change, with all of the region LIVE or all FROZEN. */
static int change(struct odf_region *region, size_t at)
{
	uint64_t mask;
	int error;

	region_lock(&mask);
	error = region_give(region, at, PART);
	if (error == 0)
		error = region_take_now(region, at, PART);
	(void)region_discard(region, at + PART, PART);
	(void)region_discard(region, at + 2 * PART, REGION_PAGE);
	if (error == 0)
		error = region_cut(region, at + 3 * PART, PART);
	if (error == 0)
		error = region_lose_begin(region, at + 4 * PART, PART);
	if (error == 0) {
		if (region_map(region->home + at + 4 * PART, PART, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == NULL)
			error = ENOMEM;
		region_lose_end(region, at + 4 * PART, PART);
	}
	if (error == 0)
		error = region_reclaim(region, at + 4 * PART, PART);
	region_unlock(&mask);
	return error;
}

/* The keeper may be settling already. `outside`: the program's own keeper is not under the filter, and can settle. If
 * this keeper learns nothing about pages, as after a change of user ids, that says nothing about the program's. */
static int settle(struct odf_region *region, bool outside)
{
	int error = EAGAIN;

	for (unsigned tries = 0; error == EAGAIN && tries < 100; tries++) {
		error = odf_region_settle(region);
		if (error == EAGAIN)
			region_pause_ms(1);
	}
	return error == ENOTSUP && outside && !region_keeper_died() &&
			       region_keeper_settling() == ODF_REGION_SETTLES_NEVER
		       ? 0
		       : error;
}

static int live(struct odf_region *region, bool outside)
{
	uint64_t mask;
	int error;

	region_lock(&mask);
	error = region_take(region, 0, MEMORY);
	region_unlock(&mask);
	for (size_t round = 0; round < 2 && error == 0; round++) {
		size_t from = round * MEMORY / 2;
		memset(region->home, 1, REGION_PAGE);
		memset(region->home + MEMORY - PART, 1, PART);
		error = fork_once(region->home);
		for (size_t page = 0; page < 16 && error == 0; page++)
			region->home[page * 3 * REGION_PAGE] = 1;
		if (error == 0)
			error = change(region, from + PART);
		if (error == 0)
			error = settle(region, outside);
		if (error == 0)
			error = change(region, from + 8 * PART);
	}
	if (error == 0)
		error = fork_once(region->home);
	region_lock(&mask);
	if (error == 0)
		error = region_give_up(region, ODF_REASON_HEAP_SANDBOX);
	region_unlock(&mask);
	return error;
}

int region_rehearse(bool outside)
{
	struct odf_region *region;
	int error;

	make_other_calls();
	region = region_make_bare(CAPACITY, 0, NULL, &error);
	if (region == NULL)
		return error;
	region_keeper_rouse(); /* the program does it after a delay */
	error = live(region, outside);
	region_keeper_stop(); /* otherwise another process would adopt it */
	return error;
}
