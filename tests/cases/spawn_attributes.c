/* SPDX-License-Identifier: MIT
 *
 * Tests of test_spawn: a child's session, group, terminal, signals, ids, filters and cgroup.
 */
#include "spawn_tests.h"

static void check_session(const char *json, odf_strategy engine)
{
	char *pid = member(json, "pid");

	(void)engine;
	must_have(json, "sid", pid);
	must_have(json, "pgid", pid);
	must_have(json, "foreground", "-1");
	free(pid);
}

static void check_group(const char *json, odf_strategy engine)
{
	char *pid = member(json, "pid");

	(void)engine;
	must_have(json, "pgid", pid);
	must_have(json, "sid", number(getsid(0)));
	free(pid);
}

static pid_t leader;
static void check_joined(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "pgid", number(leader));
}

void test_session_and_group(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.flags = ODF_SPAWN_SETSID;
	on_each_engine(&options, true, check_session);
	options.flags = ODF_SPAWN_SETPGROUP;
	on_each_engine(&options, true, check_group);
	leader = fork();
	if (leader == 0) {
		pause();
		_exit(0);
	}
	setpgid(leader, leader);
	options.pgroup = leader;
	/* No refusal can happen here, and so no check for left-over children inside. */
	on_each_engine(&options, true, check_joined);
	kill(leader, SIGKILL);
	wait_for(leader);
}

static void check_terminal_group(const char *json, odf_strategy engine)
{
	char *pid = member(json, "pid");

	(void)engine;
	must_have(json, "foreground", pid);
	must_have(json, "pgid", pid);
	free(pid);
}

/* In a session of its own on a pseudo-terminal, called from a background process group: SIGTTOU must not stop any
 * process. */
static int on_terminal(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t group = getpgrp();

	options.flags = ODF_SPAWN_SETPGROUP | ODF_SPAWN_FOREGROUND;
	for (size_t i = 1; i < 3; i++) {
		char *json;
		options.allow = ODF_ALLOW(engines[i]);
		json = spawn_state(&options, NULL);
		check_terminal_group(json, engines[i]);
		free(json);
		/* The child's group is now the foreground group, so this process is in the background; the rest runs
		 * from there. */
		assert_int_not_equal(tcgetpgrp(0), group);
	}
	return 0;
}

void test_foreground(void **state)
{
	int terminal, subordinate, status;
	char byte;
	pid_t pid;

	(void)state;
	pid = forkpty(&terminal, NULL, NULL, NULL);
	if (pid == 0)
		_exit(on_terminal());
	assert_true(pid > 0);
	while (read(terminal, &byte, 1) == 1)
		(void)!write(STDERR_FILENO, &byte, 1);
	status = wait_for(pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(terminal);

	/* A new session takes the terminal on its descriptor 0 as its controlling terminal. */
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_fd_action map[1];
		char *json, *child;
		assert_int_equal(openpty(&terminal, &subordinate, NULL, NULL, NULL), 0);
		fcntl(terminal, F_SETFD, FD_CLOEXEC);
		fcntl(subordinate, F_SETFD, FD_CLOEXEC);
		map[0] = (odf_fd_action)ODF_FD_DUP(0, subordinate);
		options.allow = ODF_ALLOW(engines[i]);
		options.flags = ODF_SPAWN_SETSID | ODF_SPAWN_FOREGROUND;
		options.fds = map;
		options.fd_count = 1;
		json = spawn_state(&options, NULL);
		child = member(json, "pid");
		must_have(json, "sid", child);
		must_have(json, "foreground", child);
		free(child);
		free(json);
		close(terminal);
		close(subordinate);
	}
}

/* ---- Signals ----------------------------------------------------------------------------------------------------- */

static void check_mask(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "SigBlk", "\"0000000000000200\""); /* SIGUSR1 is 10 */
}

static void check_reset(const char *json, odf_strategy engine)
{
	assert_int_equal(ignored_signals(json, engine), 0);
	must_have(json, "SigBlk", "\"0000000000000000\"");
}

void test_signals(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	sigset_t blocked, old;

	(void)state;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, &old);
	options.flags = ODF_SPAWN_SIGMASK;
	sigemptyset(&options.sigmask);
	sigaddset(&options.sigmask, SIGUSR1);
	on_each_engine(&options, true, check_mask);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGRTMIN, SIG_IGN);
	options.flags = ODF_SPAWN_SIGMASK | ODF_SPAWN_RESET_SIGNALS;
	sigemptyset(&options.sigmask);
	on_each_engine(&options, true, check_reset);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGRTMIN, SIG_DFL);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

/* ---- Attributes -------------------------------------------------------------------------------------------------- */

static void check_attributes(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "umask", "\"0027\"");
	must_have(json, "nice", number(nicer(7)));
	must_have(json, "rlimit7", "\"333 444\"");
	must_have(json, "rlimit4", "\"0 0\"");
	must_have(json, "Cpus_allowed_list", "\"0\"");
	must_have(json, "sched", quoted("%d 0", SCHED_BATCH));
	must_have(json, "NoNewPrivs", "\"1\"");
	must_have(json, "parent_death_signal", number(SIGUSR2));
}

void test_attributes(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_rlimit limits[] = { { RLIMIT_NOFILE, { 333, 444 } }, { RLIMIT_CORE, { 0, 0 } } };
	cpu_set_t cpus;

	(void)state;
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	options.flags = ODF_SPAWN_UMASK | ODF_SPAWN_NICE | ODF_SPAWN_SCHED | ODF_SPAWN_NO_NEW_PRIVS;
	options.umask = 027;
	options.nice = nicer(7);
	options.sched_policy = SCHED_BATCH;
	options.rlimits = limits;
	options.rlimit_count = 2;
	options.affinity = &cpus;
	options.affinity_size = sizeof cpus;
	options.parent_death_signal = SIGUSR2;
	on_each_engine(&options, false, check_attributes);
}

static void check_ids(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "uid", "\"1234 1234 1234\"");
	must_have(json, "gid", "\"2345 2345 2345\"");
	must_have(json, "Groups", "\"11 22\"");
	must_have(json, "parent_death_signal", number(SIGTERM));
}

static void check_no_groups(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "Groups", "\"\"");
}

void test_ids(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	gid_t groups[] = { 11, 22 };

	(void)state;
	if (geteuid() != 0) {
		skip_because("changing ids needs root");
		return;
	}
	chmod(scratch(), 0777);
	options.flags = ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_GROUPS;
	options.uid = 1234;
	options.gid = 2345;
	options.groups = groups;
	options.group_count = 2;
	options.parent_death_signal = SIGTERM;
	on_each_engine(&options, false, check_ids);
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1); /* the kernel clears it for memory whose user changes, which is
	                                                also the caller's here */
	options.flags = ODF_SPAWN_GROUPS;
	options.groups = NULL;
	options.group_count = 0;
	on_each_engine(&options, false, check_no_groups);
	chmod(scratch(), 0755);
}

static void *spawn_as_others(void *failures)
{
	char *argv[] = { (char[]){ "true" }, NULL };

	for (int i = 0; i < 100; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		pid_t pid;
		int status;
		options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
		options.flags = ODF_SPAWN_UID | ODF_SPAWN_KEEP_GROUPS;
		options.uid = 1234;
		if (odf_spawn(&pid, "/bin/true", argv, NULL, &options, NULL) != 0 || waitpid(pid, &status, 0) != pid ||
		    status != 0)
			++*(int *)failures;
	}
	return NULL;
}

/* Several threads that do this at once do not restore a cleared flag from each other. */
void test_dumpable_with_threads(void **state)
{
	pthread_t threads[4];
	int failures[4] = { 0 };

	(void)state;
	if (geteuid() != 0) {
		skip_because("changing ids needs root");
		return;
	}
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, spawn_as_others, &failures[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(failures[i], 0);
	}
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
}

static void check_seccomp(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "Seccomp", "\"2\"");
	must_have(json, "NoNewPrivs", "\"1\"");
}

void test_seccomp(void **state)
{
	struct sock_filter allow_all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { 1, allow_all };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.flags = ODF_SPAWN_NO_NEW_PRIVS;
	options.seccomp = &program;
	on_each_engine(&options, false, check_seccomp);
}

/* A cgroup of this test under its own cgroup: v2, if it is mounted; entered by clone3 or by the child's own write. */
static char cgroup_path[PATH_MAX];
static void check_cgroup(const char *json, odf_strategy engine)
{
	char *cgroup = member(json, "cgroup");

	(void)engine;
	assert_non_null(strstr(cgroup, "odfork-test-"));
	free(cgroup);
}

static bool make_cgroup(void)
{
	static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids" };

	for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
		char procs[PATH_MAX + 16];
		snprintf(cgroup_path, sizeof cgroup_path, "%s/odfork-test-%d", mounts[i], (int)getpid());
		if (mkdir(cgroup_path, 0755) != 0)
			continue;
		snprintf(procs, sizeof procs, "%s/cgroup.procs", cgroup_path);
		if (access(procs, W_OK) == 0)
			return true;
		rmdir(cgroup_path);
	}
	return false;
}

void test_cgroup(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	if (!make_cgroup()) {
		skip_because("no cgroup can be made here");
		return;
	}
	options.cgroup_fd = open(cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	on_each_engine(&options, false, check_cgroup);
	close(options.cgroup_fd);
	assert_int_equal(rmdir(cgroup_path), 0);
}
