/* SPDX-License-Identifier: MIT
 *
 * Tests of test_spawn_errors: without rights, descriptors, /proc or a root directory; with SIGCHLD ignored, or with
 * another reaper.
 */
#include "spawn_errors.h"

#include "../support/cgroup.h"

static int check_unprivileged(void)
{
	struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { 1, allow };
	odf_rlimit higher[] = { { RLIMIT_NOFILE, { 64, 128 } } };
	struct rlimit low = { 1000, 1000 }, none = { 0, 0 };
	gid_t groups[] = { 0 };

	if (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0 || setrlimit(RLIMIT_NOFILE, &low) != 0)
		return 2;
	higher[0].limit = (struct rlimit){ 2000, 2000 };
	FAILS(ODF_STEP_UID, -1, EPERM, (o.flags = ODF_SPAWN_UID | ODF_SPAWN_KEEP_GROUPS, o.uid = 0));
	FAILS(ODF_STEP_GID, -1, EPERM, (o.flags = ODF_SPAWN_GID, o.gid = 0));
	FAILS(ODF_STEP_GROUPS, -1, EPERM, (o.flags = ODF_SPAWN_GROUPS, o.groups = groups, o.group_count = 1));
	FAILS(ODF_STEP_NICE, -1, EACCES, (o.flags = ODF_SPAWN_NICE, o.nice = -5));
	FAILS(ODF_STEP_RLIMIT, 0, EPERM, (o.rlimits = higher, o.rlimit_count = 1));
	FAILS(ODF_STEP_SECCOMP, -1, EACCES, o.seccomp = &program);
	FAILS(ODF_STEP_SCHED, -1, EPERM,
	      (o.flags = ODF_SPAWN_SCHED, o.sched_policy = SCHED_FIFO, o.sched_param.sched_priority = 1));
	if (setrlimit(RLIMIT_NPROC, &none) != 0)
		return 3;
	FAILS(ODF_STEP_CLONE, -1, EAGAIN, (void)o);
	return 0;
}

/* A failed assertion in a forked child would longjmp into the child's copy of the runner, so the child reports by its
 * exit status. */
static void in_child(int (*check)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(600);
		_exit(check());
	}
	must_exit_with(pid, 0);
}

void test_unprivileged(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		skip_because("needs root, to become somebody without rights");
		return;
	}
	in_child(check_unprivileged);
}

/* ---- Hostile surroundings ---------------------------------------------------------------------------------------- */

static int check_sigchld_ignored(void)
{
	signal(SIGCHLD, SIG_IGN);
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		pid_t pid = -7;
		options.allow = ODF_ALLOW(engines[i]);
		if (odf_spawn(&pid, "/nonexistent", true_argv, NULL, &options, &report) != ENOENT || pid != -7 ||
		    report.step != ODF_STEP_EXEC)
			return 1;
		if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0 || pid <= 0)
			return 2;
		for (int round = 0; i > 0 && round < 200; round++) {
			int pidfd = -5;
			options.pidfd = &pidfd;
			if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0 || pidfd < 0)
				return 3;
			close(pidfd);
		}
	}
	return 0;
}

static atomic_bool stop_reaping;
static void *reap_everything(void *unused)
{
	(void)unused;
	while (!stop_reaping)
		waitpid(-1, NULL, WNOHANG);
	return NULL;
}

static int check_reaper_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, reap_everything, NULL) != 0)
		return 9;
	for (int round = 0; round < 300; round++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		pid_t pid = -7;
		int pidfd = -5;
		options.allow = ODF_ALLOW(engines[round % 3]);
		options.pidfd = round % 3 != 0 && round % 2 ? &pidfd : NULL;
		if (odf_spawn(&pid, "/nonexistent", true_argv, NULL, &options, &report) != ENOENT)
			return 1;
		if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0)
			return 2;
		if (pidfd >= 0)
			close(pidfd);
	}
	stop_reaping = true;
	pthread_join(thread, NULL);
	return 0;
}

/* With at most three descriptors, all in use; and with none open at all. */
static int check_few_descriptors(void)
{
	struct rlimit three = { 3, 3 };

	closefrom(3);
	if (setrlimit(RLIMIT_NOFILE, &three) != 0)
		return 9;
	for (int closed = 0; closed < 2; closed++) {
		for (size_t i = 0; i < 3; i++) {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			odf_fd_action swap[] = { ODF_FD_DUP(0, 1), ODF_FD_DUP(1, 0) };
			odf_report report = ODF_REPORT_INIT;
			pid_t pid;
			int status;
			options.allow = ODF_ALLOW(engines[i]);
			if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0)
				return 1;
			/* The loader needs a descriptor for libc, and has one only if the caller has closed its own. */
			if (waitpid(pid, &status, 0) != pid || (closed && status != 0))
				return 2;
			if (odf_spawn(&pid, "/nonexistent", true_argv, NULL, &options, &report) != ENOENT ||
			    report.step != ODF_STEP_EXEC)
				return 3;
			options.fds = swap;
			options.fd_count = 2;
			if (i == 0 || closed)
				continue;
			if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != EMFILE ||
			    report.step != ODF_STEP_FD)
				return 4;
		}
		closefrom(0);
	}
	return 0;
}

/* Only a static program: no /proc, no /dev. */
static int check_empty_root(void)
{
	char *argv[] = { (char[]){ "exits" }, NULL };

	if (chroot(scratch_path("root")) != 0 || chdir("/") != 0)
		return 9;
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_fd_action null[] = { ODF_FD_NULL(0) };
		odf_report report = ODF_REPORT_INIT;
		pid_t pid;
		int status;
		options.allow = ODF_ALLOW(engines[i]);
		options.flags = ODF_SPAWN_CLOSE_OTHER_FDS;
		if (odf_spawn(&pid, "/exits", argv, NULL, &options, &report) != 0 || waitpid(pid, &status, 0) != pid ||
		    status != 23 << 8)
			return 1;
		if (odf_spawn(&pid, "/missing", argv, NULL, &options, &report) != ENOENT)
			return 2;
		options.fds = null;
		options.fd_count = 1;
		if (odf_spawn(&pid, "/exits", argv, NULL, &options, &report) != ENOENT ||
		    (i > 0 && report.step != ODF_STEP_FD))
			return 3;
	}
	return 0;
}

/* The kernel checks this limit after it has stored a pidfd's number, and then frees the number again. By then the
 * number may be another thread's, and must not be closed. */
static char limited_cgroup[CGROUP_PATH];
static atomic_ulong closed_under_us;
static void *open_and_close(void *unused)
{
	(void)unused;
	while (!stop_reaping) {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && close(fd) != 0)
			closed_under_us++;
	}
	return NULL;
}

static int check_stale_pidfd(void)
{
	pthread_t thread;

	if (!cgroup_enter(limited_cgroup, getpid()) || pthread_create(&thread, NULL, open_and_close, NULL) != 0)
		return 9;
	for (int round = 0; round < 5000; round++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		int pidfd = -5;
		options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
		options.flags = round % 2 ? ODF_SPAWN_DETACH : 0;
		options.pidfd = &pidfd;
		if (odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report) != EAGAIN ||
		    report.step != ODF_STEP_CLONE || pidfd != -1)
			return 1;
	}
	stop_reaping = true;
	pthread_join(thread, NULL);
	return closed_under_us == 0 ? 0 : 2;
}

void test_stale_pidfd(void **state)
{
	(void)state;
	/* The process and its second thread are two tasks; a third exceeds the limit. */
	if (!cgroup_make(limited_cgroup, "pids", "pids.max", "pids.max", "2")) {
		skip_because("no cgroup with a limit of processes can be made here");
		return;
	}
	in_child(check_stale_pidfd);
	assert_true(cgroup_remove(limited_cgroup));
}

/* A /proc mounted for another PID namespace shows other processes under the pids of this one's children. */
static int check_foreign_proc(void)
{
	pid_t first;

	if (unshare(CLONE_NEWPID) != 0)
		return 77;
	first = fork();
	if (first == 0) {
		for (int round = 0; round < 30; round++) {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			odf_report report = ODF_REPORT_INIT;
			pid_t pid;
			int status;
			options.allow = ODF_ALLOW(engines[1 + round % 2]);
			options.flags = ODF_SPAWN_SETSID;
			if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0 ||
			    waitpid(pid, &status, 0) != pid || status != 0)
				_exit(1);
			if (odf_spawn(&pid, "/nonexistent", true_argv, NULL, &options, &report) != ENOENT)
				_exit(2);
		}
		_exit(0);
	}
	return wait_for(first) == 0 ? 0 : 3;
}

void test_foreign_proc(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		skip_because("a pid namespace needs root");
		return;
	}
	in_child(check_foreign_proc);
}

void test_sigchld_ignored(void **state)
{
	(void)state;
	in_child(check_sigchld_ignored);
}

void test_reaper_thread(void **state)
{
	(void)state;
	in_child(check_reaper_thread);
}

void test_few_descriptors(void **state)
{
	(void)state;
	in_child(check_few_descriptors);
}

void test_empty_root(void **state)
{
	char *program, command[2 * PATH_MAX + 64];

	(void)state;
	if (geteuid() != 0) {
		skip_because("chroot needs root");
		return;
	}
	mkdir(scratch_path("root"), 0755);
	program = strdup(helper_path("exits"));
	snprintf(command, sizeof command, "cp '%s' '%s'", program, scratch_path("root/exits"));
	free(program);
	assert_int_equal(system(command), 0);
	in_child(check_empty_root);
}
