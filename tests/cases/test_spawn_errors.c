/* SPDX-License-Identifier: MIT
 *
 * Failures: each has its exact step, index and errno. No child and no descriptor is left, mask and dispositions are as
 * before, and *pid is unchanged.
 */
#include "spawn_errors.h"

char *true_argv[] = { (char[]){ "true" }, NULL };

static void must_fail_by(odf_strategy engine, const char *file, char *const argv[], odf_spawn_options *options,
			 odf_step step, int index, int error)
{
	struct surroundings before = surroundings_take();
	odf_report report = ODF_REPORT_INIT;
	pid_t pid = -7;
	int result;

	options->allow = ODF_ALLOW(engine);
	errno = 99;
	result = odf_spawn(&pid, file, argv, NULL, options, &report);
	if (result != error || report.error != error || report.step != step || report.index != index)
		fail_msg("%s: error %d (report: %d) at %s %d, expected %d at %s %d", odf_strategy_name(engine), result,
			 report.error, odf_step_name(report.step), report.index, error, odf_step_name(step), index);
	assert_int_equal(errno, 99);
	assert_int_equal(pid, -7);
	if (step != ODF_STEP_REQUEST)
		assert_int_equal(report.strategy, engine);
	must_have_no_children();
	surroundings_must_equal(&before);
}

void must_fail_at(const char *file, char *const argv[], odf_spawn_options *options, odf_step step, int index, int error)
{
	must_fail_by(ODF_STRATEGY_VFORK, file, argv, options, step, index, error);
	must_fail_by(ODF_STRATEGY_FORK, file, argv, options, step, index, error);
}

/* ---- Refused requests -------------------------------------------------------------------------------------------- */

void must_refuse_as(odf_strategy engine, odf_spawn_options *options, int error)
{
	must_fail_by(engine, "/bin/true", true_argv, options, ODF_STEP_REQUEST, -1, error);
}

void must_refuse(const char *file, char *const argv[], odf_spawn_options *options, int index)
{
	must_fail_by(ODF_STRATEGY_VFORK, file, argv, options, ODF_STEP_REQUEST, index, EINVAL);
	must_fail_by(ODF_STRATEGY_FORK, file, argv, options, ODF_STEP_REQUEST, index, EINVAL);
	must_fail_by(ODF_STRATEGY_POSIX_SPAWN, file, argv, options, ODF_STEP_REQUEST, index, EINVAL);
}

/* ---- Exec -------------------------------------------------------------------------------------------------------- */

static void on_every_engine(const char *file, char *const argv[], int error)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	must_fail_at(file, argv, &options, ODF_STEP_EXEC, -1, error);
	must_fail_by(ODF_STRATEGY_POSIX_SPAWN, file, argv, &options, ODF_STEP_EXEC, -1, error);
}

static void test_exec(void **state)
{
	char name[300], *big = malloc(4 << 20), *huge[] = { (char[]){ "true" }, big, NULL };
	int writer;

	(void)state;
	on_every_engine(scratch_path("missing"), true_argv, ENOENT);
	on_every_engine("", true_argv, ENOENT);
	write_file(scratch_path("plain"), "#!/bin/sh\n", 0644);
	on_every_engine(scratch_path("plain"), true_argv, EACCES);
	on_every_engine(scratch(), true_argv, EACCES);
	on_every_engine(scratch_path("plain/below"), true_argv, ENOTDIR);
	write_file(scratch_path("unknown"), "no format that anyone knows\n", 0755);
	on_every_engine(scratch_path("unknown"), true_argv, ENOEXEC);
	write_file(scratch_path("empty"), "", 0755);
	on_every_engine(scratch_path("empty"), true_argv, ENOEXEC);
	write_file(scratch_path("interpreter"), "#!/nonexistent/sh\n", 0755);
	on_every_engine(scratch_path("interpreter"), true_argv, ENOENT);
	assert_int_equal(symlink("loop", scratch_path("loop")), 0);
	on_every_engine(scratch_path("loop"), true_argv, ELOOP);
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	on_every_engine(name, true_argv, ENAMETOOLONG);
	assert_non_null(big);
	memset(big, 'x', (4 << 20) - 1);
	big[(4 << 20) - 1] = '\0';
	on_every_engine("/bin/true", huge, E2BIG);
	free(big);
	write_file(scratch_path("busy"), "#!/bin/sh\n", 0755);
	writer = open(scratch_path("busy"), O_WRONLY | O_CLOEXEC);
	on_every_engine(scratch_path("busy"), true_argv, ETXTBSY);
	close(writer);
	{
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		options.exec_fd = 900;
		must_fail_at(NULL, true_argv, &options, ODF_STEP_EXEC, -1, EBADF);
	}
	{
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		options.flags = ODF_SPAWN_SEARCH_PATH;
		assert_errno(ENAMETOOLONG, odf_spawn(NULL, name, true_argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_EXEC);
		assert_int_equal(report.strategy, ODF_STRATEGY_NONE); /* detected before anything was made */
	}
}

/* ---- Steps before exec ------------------------------------------------------------------------------------------- */

static void test_directory(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.cwd = "/nonexistent";
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_CWD, -1, ENOENT);
	must_fail_by(ODF_STRATEGY_POSIX_SPAWN, "/bin/true", true_argv, &options, ODF_STEP_UNKNOWN, -1, ENOENT);
	options.cwd = "/etc/passwd";
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_CWD, -1, ENOTDIR);
	options.cwd = NULL;
	options.cwd_fd = 900;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_CWD, -1, EBADF);
}

static void test_descriptors(void **state)
{
	odf_fd_action not_open[] = { ODF_FD_NULL(0), ODF_FD_DUP(5, 900) };
	odf_fd_action keep_nothing[] = { ODF_FD_KEEP(901) };
	odf_fd_action self_nothing[] = { ODF_FD_DUP(902, 902) };
	odf_fd_action missing[] = { ODF_FD_NULL(0), ODF_FD_CLOSE(5), ODF_FD_OPEN(6, "/nonexistent/file", O_RDONLY, 0) };
	odf_fd_action too_high[] = { ODF_FD_DUP(INT_MAX, 0) };
	odf_fd_action cycle_of_nothing[] = { ODF_FD_DUP(903, 904), ODF_FD_DUP(904, 903) };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.fds = not_open;
	options.fd_count = 2;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 1, EBADF);
	must_fail_by(ODF_STRATEGY_POSIX_SPAWN, "/bin/true", true_argv, &options, ODF_STEP_UNKNOWN, -1, EBADF);
	options.fds = keep_nothing;
	options.fd_count = 1;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 0, EBADF);
	options.fds = self_nothing;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 0, EBADF);
	options.fds = missing;
	options.fd_count = 3;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 2, ENOENT);
	options.fds = too_high;
	options.fd_count = 1;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 0, EBADF);
	options.fds = cycle_of_nothing;
	options.fd_count = 2;
	/* 903, which action 1 reads, is saved first */
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 1, EBADF);
}

static int fails_with(void *error)
{
	return *(int *)error;
}

static int kills_itself(void *unused)
{
	(void)unused;
	raise(SIGKILL);
	return 0;
}

static int exits(void *unused)
{
	(void)unused;
	_exit(3);
}

static void test_pre_exec(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	int error = EILSEQ;

	(void)state;
	options.pre_exec = fails_with;
	options.pre_exec_arg = &error;
	must_fail_by(ODF_STRATEGY_FORK, "/bin/true", true_argv, &options, ODF_STEP_PRE_EXEC, -1, EILSEQ);
	error = -4;
	must_fail_by(ODF_STRATEGY_FORK, "/bin/true", true_argv, &options, ODF_STEP_PRE_EXEC, -1, EINVAL);
	options.pre_exec = kills_itself;
	must_fail_by(ODF_STRATEGY_FORK, "/bin/true", true_argv, &options, ODF_STEP_PRE_EXEC, -1, ECHILD);
	assert_errno(ECHILD, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_true(WIFSIGNALED(report.wait_status) && WTERMSIG(report.wait_status) == SIGKILL);
	options.pre_exec = exits;
	assert_errno(ECHILD, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_true(WIFEXITED(report.wait_status) && WEXITSTATUS(report.wait_status) == 3);
	options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK) | ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN);
	assert_errno(ENOTSUP, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.reason[ODF_STRATEGY_VFORK], ODF_REASON_PRE_EXEC);
	assert_int_equal(report.reason[ODF_STRATEGY_FORK], ODF_REASON_NOT_ALLOWED);
	must_have_no_children();
}

static int executes(void *unused)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 21" }, NULL };
	(void)unused;
	execv("/bin/sh", argv);
	return errno;
}

/* The caller's code executes a program itself: the child is that program, and this is no failure. */
static void test_pre_exec_that_executes(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t pid;

	(void)state;
	options.pre_exec = executes;
	assert_errno(0, odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, NULL));
	must_exit_with(pid, 21);
}

static void test_attributes(void **state)
{
	odf_rlimit limits[] = { { RLIMIT_CORE, { 0, 0 } }, { 99, { 1, 1 } } };
	odf_rlimit crossed[] = { { RLIMIT_NOFILE, { 20, 10 } } };
	struct sock_filter rejected[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 1u << 20), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 2, rejected };
	cpu_set_t none;
	int no_directory;

	(void)state;
	CPU_ZERO(&none);
	FAILS(ODF_STEP_PGROUP, -1, EPERM, (o.flags = ODF_SPAWN_SETPGROUP, o.pgroup = INT_MAX));
	FAILS(ODF_STEP_RLIMIT, 1, EINVAL, (o.rlimits = limits, o.rlimit_count = 2));
	FAILS(ODF_STEP_RLIMIT, 0, EINVAL, (o.rlimits = crossed, o.rlimit_count = 1));
	FAILS(ODF_STEP_AFFINITY, -1, EINVAL, (o.affinity = &none, o.affinity_size = sizeof none));
	FAILS(ODF_STEP_SCHED, -1, EINVAL, (o.flags = ODF_SPAWN_SCHED, o.sched_policy = 1234));
	no_directory = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	FAILS(ODF_STEP_CGROUP, -1, ENOTDIR, o.cgroup_fd = no_directory);
	close(no_directory);
	FAILS(ODF_STEP_CGROUP, -1, EBADF, o.cgroup_fd = 900);
	FAILS(ODF_STEP_SECCOMP, -1, EINVAL, (o.flags = ODF_SPAWN_NO_NEW_PRIVS, o.seccomp = &program));
	FAILS(ODF_STEP_FOREGROUND, -1, ENOTTY, odf_fd_action map[] = { ODF_FD_NULL(0) };
	      o.flags = ODF_SPAWN_SETSID | ODF_SPAWN_FOREGROUND; o.fds = map; o.fd_count = 1);
}

/* A forgiven failure does not fail the call, and the report names it. */
static void test_forgive(void **state)
{
	odf_rlimit limits[] = { { 99, { 1, 1 } }, { RLIMIT_CORE, { 0, 0 } } };

	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		char *json;
		options.allow = ODF_ALLOW(engines[i]);
		options.rlimits = limits;
		options.rlimit_count = 2;
		options.cgroup_fd = 900;
		options.forgive = ODF_FORGIVE(ODF_STEP_RLIMIT) | ODF_FORGIVE(ODF_STEP_CGROUP) |
				  ODF_FORGIVE(ODF_STEP_NICE);
		json = spawn_state(&options, &report);
		must_have(json, "rlimit4", "\"0 0\"");
		free(json);
		assert_int_equal(report.forgiven, ODF_FORGIVE(ODF_STEP_RLIMIT) | ODF_FORGIVE(ODF_STEP_CGROUP));
		assert_int_equal(report.step, ODF_STEP_NONE);
	}
}

/* Killed after the last step, in exec itself: only the kernel's flags of the dead child show it. */
static void test_killed_at_exec(void **state)
{
	struct sock_filter kill_exec[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, kill_exec };

	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		options.allow = ODF_ALLOW(engines[i]);
		options.flags = ODF_SPAWN_NO_NEW_PRIVS;
		options.seccomp = &program;
		assert_errno(ECHILD, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_EXEC);
		assert_true(WIFSIGNALED(report.wait_status) && WTERMSIG(report.wait_status) == SIGSYS);
		must_have_no_children();
	}
	/* And a program that ends at once must not count as one that never ran. */
	for (int round = 0; round < 300; round++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		pid_t pid;
		options.allow = ODF_ALLOW(engines[1 + round % 2]);
		assert_errno(0, odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, NULL));
		must_exit_with(pid, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_flags),
		cmocka_unit_test(test_refused_allow),
		cmocka_unit_test(test_refused_actions),
		cmocka_unit_test(test_structure_sizes),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_pre_exec),
		cmocka_unit_test(test_pre_exec_that_executes),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_forgive),
		cmocka_unit_test(test_killed_at_exec),
		cmocka_unit_test(test_unprivileged),
		cmocka_unit_test(test_stale_pidfd),
		cmocka_unit_test(test_foreign_proc),
		cmocka_unit_test(test_sigchld_ignored),
		cmocka_unit_test(test_reaper_thread),
		cmocka_unit_test(test_few_descriptors),
		cmocka_unit_test(test_empty_root),
		cmocka_unit_test(test_frozen_cgroup),
	};
	return cmocka_run_group_tests_name("spawn errors", tests, NULL, NULL);
}
