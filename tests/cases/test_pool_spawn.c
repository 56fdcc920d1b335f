/* SPDX-License-Identifier: MIT
 *
 * odf_pool_spawn where it differs from odf_spawn: what it does not wait for. The tests of odf_spawn, which also run by
 * a pool, check that the rest is the same.
 */
#include "pool_spawn.h"

char *true_argv[] = { (char[]){ "true" }, NULL };
odf_pool *pool;

odf_spawn_options not_awaited(odf_launch **launch)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	options.flags = ODF_SPAWN_NO_WAIT;
	options.launch = launch;
	return options;
}

void must_be_executed(odf_launch *launch)
{
	assert_int_equal(odf_launch_wait(launch, -1, NULL), 0);
	odf_launch_free(launch);
}

static void test_report(void **state)
{
	odf_launch *launch;
	odf_spawn_options options = not_awaited(&launch);
	odf_report report = ODF_REPORT_INIT, later = ODF_REPORT_INIT;
	pid_t pid;

	(void)state;
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, &report), 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_POOL);
	assert_int_equal(report.reason[ODF_STRATEGY_POOL], ODF_REASON_CHOSEN);
	assert_int_equal(report.reason[ODF_STRATEGY_VFORK], ODF_REASON_BETTER_CHOSEN);
	assert_int_equal(report.step, ODF_STEP_NONE);
	assert_true(report.elapsed_ns > 0);
	assert_int_equal(odf_launch_wait(launch, -1, &later), 0);
	assert_int_equal(later.strategy, ODF_STRATEGY_POOL);
	assert_int_equal(later.elapsed_ns, report.elapsed_ns);
	assert_int_equal(odf_launch_wait(launch, 0, NULL), 0); /* a second time */
	odf_launch_free(launch);
	must_exit_with(pid, 0);
	options = (odf_spawn_options)ODF_SPAWN_OPTIONS_INIT;
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, &report), 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_POOL);
	must_exit_with(pid, 0);
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, NULL, NULL), 0);
	must_exit_with(pid, 0);
	/* Without a launch, which is optional. */
	options = not_awaited(NULL);
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, NULL), 0);
	must_exit_with(pid, 0);
}

/* ---- Later failures ---------------------------------------------------------------------------------------------- */

static void must_fail_later(odf_spawn_options options, const char *file, odf_step step, int index, int error)
{
	odf_report report = ODF_REPORT_INIT;
	odf_launch *launch;
	pid_t pid;

	options.flags |= ODF_SPAWN_NO_WAIT;
	options.launch = &launch;
	assert_int_equal(odf_pool_spawn(pool, &pid, file, true_argv, NULL, &options, NULL), 0);
	assert_int_equal(odf_launch_wait(launch, -1, &report), error);
	assert_int_equal(report.error, error);
	assert_int_equal(report.step, step);
	assert_int_equal(report.index, index);
	must_exit_with(pid, 127);
	assert_int_equal(odf_launch_wait(launch, -1, NULL), error);
	odf_launch_free(launch);
	must_have_no_children();
}

static void test_failures(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_fd_action map[] = { ODF_FD_NULL(0), ODF_FD_OPEN(5, "/nonexistent", O_RDONLY, 0) };
	odf_rlimit limits[] = { { 99, { 1, 1 } } };

	(void)state;
	must_fail_later(options, "/nonexistent", ODF_STEP_EXEC, -1, ENOENT);
	must_fail_later(options, "/etc", ODF_STEP_EXEC, -1, EACCES);
	options.cwd = "/nonexistent";
	must_fail_later(options, "/bin/true", ODF_STEP_CWD, -1, ENOENT);
	options = (odf_spawn_options)ODF_SPAWN_OPTIONS_INIT;
	options.fds = map;
	options.fd_count = 2;
	must_fail_later(options, "/bin/true", ODF_STEP_FD, 1, ENOENT);
	options = (odf_spawn_options)ODF_SPAWN_OPTIONS_INIT;
	options.rlimits = limits;
	options.rlimit_count = 1;
	must_fail_later(options, "/bin/true", ODF_STEP_RLIMIT, 0, EINVAL);
}

/* The pidfd reports the end, whether or not the launch is asked; so does the wait status. */
static void test_pidfd_tells(void **state)
{
	odf_spawn_options options = not_awaited(NULL);
	struct pollfd end;
	pid_t pid;

	(void)state;
	options.pidfd = &end.fd;
	end.events = POLLIN;
	assert_int_equal(odf_pool_spawn(pool, &pid, "/nonexistent", true_argv, NULL, &options, NULL), 0);
	assert_true(end.fd >= 0);
	assert_int_equal(fcntl(end.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(poll(&end, 1, 10000), 1);
	close(end.fd);
	must_exit_with(pid, 127);
}

static void test_died_on_the_way(void **state)
{
	struct sock_filter kill_exec[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, kill_exec };
	odf_report report = ODF_REPORT_INIT;
	odf_launch *launch;
	odf_spawn_options options = not_awaited(&launch);
	pid_t pid;
	int status;

	(void)state;
	options.flags |= ODF_SPAWN_NO_NEW_PRIVS;
	options.seccomp = &program;
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, NULL), 0);
	memset(kill_exec, 0xff, sizeof kill_exec); /* the child has a copy */
	assert_int_equal(odf_launch_wait(launch, -1, &report), ECHILD);
	assert_int_equal(report.step, ODF_STEP_EXEC);
	assert_true(WIFSIGNALED(report.wait_status) && WTERMSIG(report.wait_status) == SIGSYS);
	odf_launch_free(launch);
	status = wait_for(pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

/* A child that is stopped before its exec blocks no other. */
static void test_stopped_on_the_way(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		odf_launch *launch;
		odf_spawn_options options = not_awaited(&launch);
		char *argv[] = { (char[]){ "sleep" }, (char[]){ "0.05" }, NULL };
		int early, status;
		pid_t pid;
		assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/sleep", argv, NULL, &options, NULL), 0);
		assert_int_equal(kill(pid, SIGSTOP), 0);
		assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
		assert_true(WIFSTOPPED(status));
		early = odf_launch_wait(launch, 0, NULL);
		assert_true(early == 0 || early == ETIMEDOUT);
		if (early == ETIMEDOUT)
			assert_int_equal(odf_launch_wait(launch, 10, NULL), ETIMEDOUT);
		assert_int_equal(kill(pid, SIGCONT), 0);
		must_be_executed(launch);
		must_exit_with(pid, 0);
	}
}

/* What delays the child does not block the caller: here a FIFO without a writer. */
static void test_held_on_the_way(void **state)
{
	odf_launch *launch;
	odf_spawn_options options = not_awaited(&launch);
	const char *path = scratch_path("fifo");
	odf_fd_action map[] = { ODF_FD_OPEN(0, path, O_RDONLY, 0) };
	pid_t pid;
	int fifo;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	options.fds = map;
	options.fd_count = 1;
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, NULL), 0);
	assert_int_equal(odf_launch_wait(launch, 0, NULL), ETIMEDOUT);
	assert_int_equal(odf_launch_wait(launch, 50, NULL), ETIMEDOUT);
	fifo = open(path, O_WRONLY);
	assert_true(fifo >= 0);
	must_be_executed(launch);
	close(fifo);
	must_exit_with(pid, 0);
}

/* ---- The caller's state at the call ------------------------------------------------------------------------------ */

/* What the caller changes right after the call must not affect the child. */
static void test_state_is_of_the_call(void **state)
{
	char directory[] = "/usr", file[64] = "/bin/sh", text[512], expected[512], *output;
	char command[] = "pwd; umask; ulimit -n; read x <&7; echo $x; echo \"$1 $ODF_WORD\"; "
			 "exec grep SigBlk /proc/self/status";
	char argument[] = "argument", word[] = "ODF_WORD=said";
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, command, (char[]){ "sh" }, argument, NULL };
	const char *edits[] = { word };
	struct rlimit limit, lower;
	mode_t mask = umask(0123);
	sigset_t block, before;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR2);
	for (int round = 0; round < 50; round++) {
		odf_fd_action map[] = { ODF_FD_DUP(1, 0), ODF_FD_DUP(7, 0) };
		odf_spawn_options options = not_awaited(NULL);
		int ends[2], out = memfd_create("out", MFD_CLOEXEC);
		pid_t pid;
		assert_true(out >= 0 && pipe2(ends, O_CLOEXEC) == 0);
		assert_int_equal(write(ends[1], "piped\n", 6), 6);
		close(ends[1]);
		map[0].source = out;
		map[1].source = ends[0];
		options.fds = map;
		options.fd_count = 2;
		options.env_edits = edits;
		options.env_edit_count = 1;
		strcpy(directory, "/usr");
		strcpy(argument, "argument");
		strcpy(word, "ODF_WORD=said");
		strcpy(file, "/bin/sh");
		assert_int_equal(chdir(directory), 0);
		umask(0123);
		lower = limit;
		lower.rlim_cur = 100;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
		assert_int_equal(sigprocmask(SIG_BLOCK, &block, &before), 0);
		assert_int_equal(odf_pool_spawn(pool, &pid, file, argv, NULL, &options, NULL), 0);
		assert_int_equal(chdir("/"), 0);
		umask(077);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
		close(ends[0]);
		memset(argument, 'x', sizeof argument - 1);
		memset(word, 'x', sizeof word - 1);
		memset(file, 'x', 10);
		map[0].source = map[1].source = -1;
		must_exit_with(pid, 0);
		assert_true(pread(out, text, sizeof text - 1, 0) > 0);
		output = text;
		output[lseek(out, 0, SEEK_END)] = '\0';
		snprintf(expected, sizeof expected, "/usr\n0123\n100\npiped\nargument said\nSigBlk:\t%016x\n",
			 1 << (SIGUSR2 - 1));
		assert_string_equal(output, expected);
		close(out);
	}
	umask(mask);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_pidfd_tells),
		cmocka_unit_test(test_died_on_the_way),
		cmocka_unit_test(test_stopped_on_the_way),
		cmocka_unit_test(test_held_on_the_way),
		cmocka_unit_test(test_state_is_of_the_call),
		cmocka_unit_test(test_large_arguments),
		cmocka_unit_test(test_many_in_the_air),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_fork_between),
		cmocka_unit_test(test_waiters),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_process),
		cmocka_unit_test(test_sandboxes),
		cmocka_unit_test(test_random_kills),
	};
	odf_pool_options options = ODF_POOL_OPTIONS_INIT;

	options.flags = ODF_POOL_NO_TASKS;
	pool = odf_pool_create(&options);
	if (pool == NULL)
		return 2;
	return cmocka_run_group_tests_name("spawning by a pool", tests, NULL, NULL) + odf_pool_destroy(pool);
}
