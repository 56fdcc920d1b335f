/* SPDX-License-Identifier: MIT
 *
 * odf_pool_spawn where it differs from odf_spawn: what is not waited for. That it does what odf_spawn does is tried by
 * the tests of that, which run by a pool too. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

static char *true_argv[] = { (char[]){ "true" }, NULL };
static odf_pool *pool;

static odf_spawn_options not_awaited(odf_launch **launch)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	options.flags = ODF_SPAWN_NO_WAIT;
	options.launch = launch;
	return options;
}

static void must_be_executed(odf_launch *launch)
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
	assert_int_equal(odf_launch_wait(launch, 0, NULL), 0); /* again */
	odf_launch_free(launch);
	must_exit_with(pid, 0);
	options = (odf_spawn_options)ODF_SPAWN_OPTIONS_INIT;
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, &report), 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_POOL);
	must_exit_with(pid, 0);
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, NULL, NULL), 0);
	must_exit_with(pid, 0);
	/* Without a launch, which nobody needs. */
	options = not_awaited(NULL);
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, NULL), 0);
	must_exit_with(pid, 0);
}

/* ---- What fails later -------------------------------------------------------------------------------------------- */

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

/* The descriptor tells, whether or not anybody asks for more; and so does the status. */
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
	memset(kill_exec, 0xff, sizeof kill_exec); /* it has a copy */
	assert_int_equal(odf_launch_wait(launch, -1, &report), ECHILD);
	assert_int_equal(report.step, ODF_STEP_EXEC);
	assert_true(WIFSIGNALED(report.wait_status) && WTERMSIG(report.wait_status) == SIGSYS);
	odf_launch_free(launch);
	status = wait_for(pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

/* One that is stopped before it executes keeps nobody. */
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

/* What holds the process does not hold the caller: a FIFO that nobody writes to. */
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

/* ---- The caller's state is that of the call ---------------------------------------------------------------------- */

/* What the caller changes as soon as it can is not the child's. */
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
		snprintf(expected, sizeof expected, "/usr\n0123\n100\npiped\nargument said\nSigBlk:\t%016x\n", 1 << (SIGUSR2 - 1));
		assert_string_equal(output, expected);
		close(out);
	}
	umask(mask);
}

/* ---- Arguments up to the kernel's limit -------------------------------------------------------------------------- */

static void test_large_arguments(void **state)
{
	enum { COUNT = 14, EACH = 100000 };
	char *argv[COUNT + 5] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "printf %s \"$@\" | wc -c" },
				  (char[]){ "sh" } };
	char text[32] = "", *large = malloc(EACH + 1);
	odf_report report = ODF_REPORT_INIT;
	pid_t pid;

	(void)state;
	assert_non_null(large);
	memset(large, 'a', EACH);
	large[EACH] = '\0';
	for (int i = 0; i < COUNT; i++)
		argv[4 + i] = large;
	for (int round = 0; round < 3; round++) {
		odf_launch *launch;
		odf_spawn_options options = not_awaited(&launch);
		int ends[2];
		odf_fd_action map[] = { ODF_FD_DUP(1, 0) };
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		map[0].source = ends[1];
		options.fds = map;
		options.fd_count = 1;
		assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/sh", argv, NULL, &options, NULL), 0);
		memset(large, 'b', 10);
		close(ends[1]);
		assert_true(read(ends[0], text, sizeof text - 1) > 0);
		assert_int_equal(atoi(text), COUNT * EACH);
		close(ends[0]);
		must_be_executed(launch);
		must_exit_with(pid, 0);
	}
	{
		/* One string more than 128 KiB is too much for any kernel. */
		odf_launch *launch;
		odf_spawn_options options = not_awaited(&launch);
		char *huge = malloc(200001), *too_much[] = { (char[]){ "true" }, huge, NULL };
		assert_non_null(huge);
		memset(huge, 'a', 200000);
		huge[200000] = '\0';
		assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", too_much, NULL, &options, NULL), 0);
		free(huge);
		assert_int_equal(odf_launch_wait(launch, -1, &report), E2BIG);
		assert_int_equal(report.step, ODF_STEP_EXEC);
		odf_launch_free(launch);
		must_exit_with(pid, 127);
	}
	free(large);
}

/* ---- Many at once ------------------------------------------------------------------------------------------------ */

static size_t mappings(void)
{
	char *maps = read_file("/proc/self/maps");
	size_t count = 0;

	assert_non_null(maps);
	for (const char *c = maps; *c != '\0'; c++)
		count += *c == '\n';
	free(maps);
	return count;
}

static void test_many_in_the_air(void **state)
{
	enum { MANY = 150 };
	static pid_t pids[MANY];
	struct surroundings before = surroundings_take();
	size_t mapped = mappings();

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			odf_spawn_options options = not_awaited(NULL);
			assert_int_equal(odf_pool_spawn(pool, &pids[i], "/bin/true", true_argv, NULL, &options, NULL), 0);
		}
		for (int i = 0; i < MANY; i++)
			must_exit_with(pids[i], 0);
	}
	/* Those that landed stay to be used again, up to a few; each is a guard and the rest. */
	for (int i = 0; i < 50; i++) {
		odf_spawn_options options = not_awaited(NULL);
		assert_int_equal(odf_pool_spawn(pool, &pids[0], "/bin/true", true_argv, NULL, &options, NULL), 0);
		must_exit_with(pids[0], 0);
	}
	assert_true(mappings() < mapped + 2 * 34 + 10);
	surroundings_must_equal(&before);
}

static void *spawns_many(void *unused)
{
	(void)unused;
	for (int i = 0; i < 60; i++) {
		odf_launch *launch = NULL;
		odf_spawn_options options = not_awaited(&launch);
		bool fails = i % 3 == 0;
		int status;
		pid_t pid;
		if (odf_pool_spawn(pool, &pid, fails ? "/nonexistent" : "/bin/true", true_argv, NULL, &options, NULL) != 0)
			return pool;
		if (i % 2 == 0 && odf_launch_wait(launch, -1, NULL) != (fails ? ENOENT : 0))
			return pool;
		odf_launch_free(launch); /* also of one in the air */
		if (waitpid(pid, &status, 0) != pid || status != (fails ? 127 << 8 : 0))
			return pool;
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	pthread_t threads[8];

	(void)state;
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, spawns_many, NULL), 0);
	for (size_t i = 0; i < 8; i++) {
		void *failed;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	must_have_no_children();
}

/* The launch of another process's child. */
static void asked_by_a_child(void)
{
	odf_launch *launch;
	odf_spawn_options options = not_awaited(&launch);
	pid_t spawned, forked;

	assert_int_equal(odf_pool_spawn(pool, &spawned, "/bin/true", true_argv, NULL, &options, NULL), 0);
	forked = fork();
	assert_true(forked >= 0);
	if (forked == 0) {
		int error = odf_launch_wait(launch, -1, NULL);
		odf_launch_free(launch);
		_exit(error == EPERM ? 0 : 1);
	}
	must_exit_with(forked, 0);
	must_be_executed(launch);
	must_exit_with(spawned, 0);
}

/* A process that is forked while others are in the air: theirs are none of its own. */
static void test_fork_between(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		odf_launch *launch;
		odf_spawn_options options = not_awaited(&launch);
		pid_t spawned, forked;
		assert_int_equal(odf_pool_spawn(pool, &spawned, "/bin/true", true_argv, NULL, &options, NULL), 0);
		forked = fork();
		assert_true(forked >= 0);
		if (forked == 0) {
			odf_pool_options none = { .size = sizeof none, .flags = ODF_POOL_NO_TASKS };
			odf_pool *own;
			pid_t pid;
			int status;
			if (odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, NULL) != EPERM)
				_exit(1);
			if (launch != NULL)
				_exit(3);
			own = odf_pool_create(&none);
			options.launch = NULL;
			for (int i = 0; i < 5; i++)
				if (odf_pool_spawn(own, &pid, "/bin/true", true_argv, NULL, &options, NULL) != 0 ||
				    waitpid(pid, &status, 0) != pid || status != 0)
					_exit(2);
			_exit(odf_pool_destroy(own));
		}
		must_exit_with(forked, 0);
		must_be_executed(launch);
		must_exit_with(spawned, 0);
		asked_by_a_child();
	}
}

/* ---- Refused ----------------------------------------------------------------------------------------------------- */

static int does_nothing(void *unused)
{
	(void)unused;
	return 0;
}

static void must_refuse(odf_pool *by, odf_spawn_options *options, int error)
{
	odf_report report = ODF_REPORT_INIT;
	odf_launch **launch = options->launch;
	pid_t pid = -7;

	if (launch != NULL)
		*launch = (odf_launch *)launch;
	assert_int_equal(by == NULL && options->pool == NULL && options->flags == 0 && launch == NULL
				 ? odf_pool_spawn(NULL, &pid, "/bin/true", true_argv, NULL, options, &report)
			 : by == NULL ? odf_spawn(&pid, "/bin/true", true_argv, NULL, options, &report)
				      : odf_pool_spawn(by, &pid, "/bin/true", true_argv, NULL, options, &report),
			 error);
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_int_equal(pid, -7);
	if (launch != NULL)
		assert_null(*launch);
	must_have_no_children();
}

static void test_refused(void **state)
{
	odf_launch *launch = NULL;
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	pid_t pid;

	(void)state;
	must_refuse(NULL, &options, EINVAL);
	options.flags = ODF_SPAWN_NO_WAIT;
	must_refuse(NULL, &options, EINVAL);
	options.flags = 0;
	options.launch = &launch;
	must_refuse(pool, &options, EINVAL);
	options.launch = NULL;
	options.size = 5;
	must_refuse(pool, &options, EINVAL);
	options = (odf_spawn_options)ODF_SPAWN_OPTIONS_INIT;
	options.allow = ODF_ALLOW(ODF_STRATEGY_POOL);
	must_refuse(NULL, (options.pool = NULL, options.flags = ODF_SPAWN_UMASK, &options), ENOTSUP);
	options.flags = ODF_SPAWN_NO_WAIT;
	options.launch = &launch;
	options.pre_exec = does_nothing;
	must_refuse(pool, &options, ENOTSUP);
	/* What cannot pass by a pool passes by a fork, if that is allowed; its result is final. */
	options.allow = 0;
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, &report), 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_FORK);
	assert_int_equal(report.reason[ODF_STRATEGY_POOL], ODF_REASON_PRE_EXEC);
	assert_int_equal(odf_launch_wait(launch, 0, NULL), 0);
	odf_launch_free(launch);
	must_exit_with(pid, 0);
	assert_int_equal(odf_pool_spawn(pool, &pid, "/nonexistent", true_argv, NULL, &options, &report), ENOENT);
	assert_null(launch);
	/* Forbidden. */
	options = (odf_spawn_options)ODF_SPAWN_OPTIONS_INIT;
	options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, &report), 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_VFORK);
	assert_int_equal(report.reason[ODF_STRATEGY_POOL], ODF_REASON_NOT_ALLOWED);
	must_exit_with(pid, 0);
	assert_int_equal(odf_launch_wait(NULL, 0, NULL), EINVAL);
	odf_launch_free(NULL);
}

static void test_no_process(void **state)
{
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		odf_pool_options none = { .size = sizeof none, .flags = ODF_POOL_NO_TASKS };
		struct rlimit nobody = { 0, 0 };
		odf_launch *launch = (odf_launch *)&nobody;
		odf_spawn_options options = not_awaited(&launch);
		odf_report report = ODF_REPORT_INIT;
		odf_pool *own = odf_pool_create(&none);
		if (own == NULL || (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) || setrlimit(RLIMIT_NPROC, &nobody) != 0)
			_exit(1);
		_exit(odf_pool_spawn(own, NULL, "/bin/true", true_argv, NULL, &options, &report) == EAGAIN &&
				      report.step == ODF_STEP_CLONE && launch == NULL
			      ? 0
			      : 2);
	}
	must_exit_with(pid, 0);
}

/* ---- Sandboxes --------------------------------------------------------------------------------------------------- */

/* clone3 is not there; and, if `all`, clone may not share memory. */
static int filter(bool all)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, all ? SYS_clone : 0xfffffff0u, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_VM, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0;
}

static bool runs(odf_pool *by, unsigned allow, bool with_pidfd, odf_strategy expected, odf_reason reason)
{
	odf_launch *launch = NULL;
	odf_spawn_options options = not_awaited(&launch);
	odf_report report = ODF_REPORT_INIT;
	int pidfd = -1, status = -1;
	pid_t pid;

	options.allow = allow;
	options.pidfd = with_pidfd ? &pidfd : NULL;
	if (odf_pool_spawn(by, &pid, "/bin/true", true_argv, NULL, &options, &report) != 0 || report.strategy != expected ||
	    report.reason[ODF_STRATEGY_POOL] != reason || odf_launch_wait(launch, -1, NULL) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0 || (with_pidfd && pidfd < 0))
		return false;
	odf_launch_free(launch);
	return true;
}

static int check_sandbox(bool cached)
{
	odf_pool_options none = { .size = sizeof none, .flags = ODF_POOL_NO_TASKS };
	odf_pool *own = odf_pool_create(&none);
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	int error;

	if (own == NULL || (cached && odf_probe_get(ODF_PROBE_CLONE_VM, NULL) != ODF_ANSWER_YES) || filter(false) != 0)
		return 1;
	for (int with_pidfd = 0; with_pidfd < 2; with_pidfd++)
		for (int i = 0; i < 5; i++)
			if (!runs(own, 0, with_pidfd, ODF_STRATEGY_POOL, ODF_REASON_CHOSEN))
				return 2;
	if (filter(true) != 0)
		return 3;
	/* A go-between of libc's fork: no memory is shared. */
	if (!runs(own, 0, false, ODF_STRATEGY_FORK, ODF_REASON_CLONE_REFUSED))
		return 4;
	options.allow = ODF_ALLOW(ODF_STRATEGY_POOL);
	options.pool = own;
	error = odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report);
	return error == EPERM && report.step == ODF_STEP_CLONE ? 0 : 5;
}

static void test_sandboxes(void **state)
{
	(void)state;
	for (int cached = 0; cached < 2; cached++) {
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			_exit(check_sandbox(cached));
		must_exit_with(pid, 0);
	}
}

/* ---- Random kills ------------------------------------------------------------------------------------------------ */

/* Each request has one answer, and that is what became of the process, however it is killed or stopped on the way. */
static void test_random_kills(void **state)
{
	const char *given = getenv("ODF_TEST_KILLS");
	unsigned kills = given == NULL ? 300 : (unsigned)strtoul(given, NULL, 10), died = 0, ran = 0, seed = 7;
	struct surroundings before = surroundings_take();

	(void)state;
	for (unsigned i = 0; i < kills; i++) {
		odf_launch *launch;
		odf_spawn_options options = not_awaited(&launch);
		odf_report report = ODF_REPORT_INIT;
		bool stops = rand_r(&seed) % 3 == 0, has_pidfd = rand_r(&seed) % 2;
		int pidfd = -1, status, error;
		pid_t pid;
		options.pidfd = has_pidfd ? &pidfd : NULL;
		if (rand_r(&seed) % 4 == 0)
			options.cwd = "/";
		assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, NULL), 0);
		if (rand_r(&seed) % 2)
			(void)odf_launch_wait(launch, rand_r(&seed) % 4, NULL);
		for (unsigned spin = (unsigned)rand_r(&seed) % 40000; spin > 0; spin--)
			__asm__ volatile("" ::: "memory");
		if (stops) {
			assert_int_equal(kill(pid, SIGSTOP), 0);
			sched_yield();
		}
		assert_int_equal(kill(pid, SIGKILL), 0);
		if (rand_r(&seed) % 2)
			sched_yield();
		error = odf_launch_wait(launch, 60000, &report);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (error == ECHILD) {
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			assert_int_equal(report.wait_status, status);
			died++;
		} else {
			assert_int_equal(error, 0);
			assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
			ran++;
		}
		assert_int_equal(odf_launch_wait(launch, 0, NULL), error);
		odf_launch_free(launch);
		if (pidfd >= 0)
			close(pidfd);
	}
	print_message("# %u died before exec, %u after\n", died, ran);
	assert_true(died > 0 && ran > 0);
	must_have_no_children();
	surroundings_must_equal(&before);
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
