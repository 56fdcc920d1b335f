/* SPDX-License-Identifier: MIT
 *
 * Cases of region_forks: ways that share memory or end in exec, which freeze nothing; and children made by raw system
 * calls, which the library does not see.
 */
#include "../support/real_call.h"
#include "region_forks.h"

static int write_for_parent(void)
{
	write_odd_pages(); /* `odd` is the parent's variable, too */
	return SEEN;
}

#ifdef __x86_64__
/* The child runs on the parent's stack: a call would overwrite the parent's return address. */
static inline void end_without_call(int code)
{
	__asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(code) : "rcx", "r11", "memory");
}

__attribute__((noinline)) static pid_t call_vfork(void)
{
	long pid = syscall(SYS_vfork);

	if (pid == 0)
		end_without_call(SEEN);
	return (pid_t)pid;
}

__attribute__((noinline)) static pid_t call_clone_vfork(void)
{
	long pid = syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		end_without_call(SEEN);
	return (pid_t)pid;
}
#endif

static int in_shared_memory(void *unused)
{
	(void)unused;
	return odf_region_base(region) != NULL ? 0 : 1;
}

static void spawn_by_every_engine(void)
{
	static const odf_strategy engines[] = { ODF_STRATEGY_POSIX_SPAWN, ODF_STRATEGY_VFORK, ODF_STRATEGY_FORK };
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 42" }, NULL };

	for (int i = 0; i < 4; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		bool by_fork_engine = i >= 2;
		uint64_t freezes;
		pid_t pid;
		await_live();
		freezes = info().freezes;
		if (i < 3)
			options.allow = ODF_ALLOW(engines[i]);
		else
			options.pre_exec = in_shared_memory; /* not in shared memory, by this engine */
		if (odf_spawn(&pid, "/bin/sh", argv, NULL, &options, &report) == ENOTSUP && i < 2)
			continue; /* a sandbox refuses it */
		REQUIRE(report.error == 0 && exits_with(pid, SEEN) && holds());
		REQUIRE(report.strategy == engines[i < 3 ? i : 2]);
		REQUIRE(info().freezes == freezes + by_fork_engine);
	}
	await_live();
}

static int check_before_exec(void *unused)
{
	(void)unused;
	if (!holds() || info().state != ODF_REGION_INHERITED)
		return EIO;
	write_page(2, 99);
	return 0;
}

void case_nothing_frozen(void)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 42" }, NULL };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t pid;

	make_region();
	REQUIRE(exits_with(clone_with(CLONE_VM | CLONE_VFORK | SIGCHLD, write_for_parent), SEEN) && odd == 1 &&
		holds());
	REQUIRE(exits_with(clone_with(CLONE_VM | SIGCHLD, write_for_parent), SEEN) && odd == 2 && holds());
	REQUIRE(exits_with(clone_with(CLONE_VM, write_for_parent), SEEN) && odd == 3 && holds());
#ifdef __x86_64__
	REQUIRE(exits_with(call_vfork(), SEEN));
	REQUIRE(exits_with(call_clone_vfork(), SEEN));
#endif
	pid = vfork();
	if (pid == 0)
		_exit(SEEN);
	REQUIRE(exits_with(pid, SEEN));
	REQUIRE(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) == 0 && exits_with(pid, SEEN));
	REQUIRE(posix_spawnp(&pid, "sh", NULL, NULL, argv, environ) == 0 && exits_with(pid, SEEN));
	REQUIRE(syscall(SYS_getpid) == getpid());
	errno = 0;
	REQUIRE(syscall(SYS_close, -1) == -1 && errno == EBADF);
	REQUIRE(info().freezes == 0 && info().state == ODF_REGION_LIVE && holds());
	spawn_by_every_engine();
	/* The same while FROZEN. */
	shared->go = 0;
	pid = by_fork(look);
	REQUIRE(pid > 0);
	REQUIRE(exits_with(clone_with(CLONE_VM | SIGCHLD, write_for_parent), SEEN) && odd == 4 && holds());
#ifdef __x86_64__
	REQUIRE(exits_with(call_vfork(), SEEN));
#endif
	shared->go = 1;
	REQUIRE(exits_with(pid, SEEN));
	options.pre_exec = check_before_exec;
	REQUIRE(odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL) == 0 && exits_with(pid, SEEN) && holds());
	await_live();
	REQUIRE(holds());
}

/* ---- Children that the library does not see ---------------------------------------------------------------------- */

static pid_t raw_clone(int (*child)(void))
{
	long pid = real_fork();

	if (pid == 0)
		_exit(child());
	return (pid_t)pid;
}

static int look_and_say(void)
{
	REQUIRE(holds());
	shared->ready = 1;
	return look();
}

static int find_nothing(void)
{
	odf_region_info found = info();

	REQUIRE(found.state == ODF_REGION_ABSENT && found.live_bytes == 0 && found.resident_bytes == 0);
	REQUIRE(odf_region_settle(region) == 0);
	REQUIRE(odf_region_discard(region, (void *)(uintptr_t)base, PAGE) == ENXIO);
	shared->ready = 1;
	base[0] = 1;
	return SEEN;
}

static int find_and_destroy(void)
{
	REQUIRE(odf_region_destroy(region) == 0);
	return SEEN;
}

void case_past_the_library(void)
{
	int status;
	pid_t pid, past;

	make_region();
	shared->ready = 0;
	pid = raw_clone(find_nothing);
	REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
	REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && shared->ready == 1);
	REQUIRE(exits_with(raw_clone(find_and_destroy), SEEN));
	REQUIRE(holds() && info().freezes == 0 && info().state == ODF_REGION_LIVE);

	/* While FROZEN it is a child like others, and holds the snapshot. */
	shared->go = 0;
	pid = by_fork(look);
	REQUIRE(pid > 0);
	write_odd_pages();
	/* The region is hidden while the keeper tests for descendants: a child made in that time does not have it. */
	for (int tries = 0; tries < 20; tries++) {
		pid_t ended;
		shared->ready = 0;
		past = raw_clone(look_and_say);
		REQUIRE(past > 0);
		while ((ended = waitpid(past, &status, WNOHANG)) == 0 && !shared->ready)
			usleep(1000);
		if (ended == 0)
			break;
		REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && tries < 19);
	}
	write_odd_pages();
	REQUIRE(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	usleep(50000);
	REQUIRE(odf_region_settle(region) == EBUSY && info().state == ODF_REGION_FROZEN && info().live_bytes == 0);
	shared->go = 1;
	REQUIRE(exits_with(past, SEEN) && holds());
	await_live();
	REQUIRE(holds());
	snapshot_by(by_fork);
}
