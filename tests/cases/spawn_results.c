/* SPDX-License-Identifier: MIT
 *
 * Tests of test_spawn: the results for the caller: a pidfd, what pre_exec returns, a child that nobody waits for, a
 * second attempt, the strategy that was used.
 */
#include "spawn_tests.h"

void test_pidfd(void **state)
{
	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 9" }, NULL };
		struct pollfd ready;
		siginfo_t info;
		int pidfd = -5;
		pid_t pid;
		options.allow = ODF_ALLOW(engines[i]);
		options.pidfd = &pidfd;
		assert_errno(0, odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL));
		assert_true(pidfd >= 0);
		assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
		ready = (struct pollfd){ .fd = pidfd, .events = POLLIN };
		assert_int_equal(poll(&ready, 1, 120000), 1);
		assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
		assert_int_equal(info.si_pid, pid);
		assert_int_equal(info.si_status, 9);
		close(pidfd);
		/* And on failure no descriptor is left. */
		pidfd = -5;
		struct surroundings before = surroundings_take();
		assert_errno(ENOENT, odf_spawn(&pid, "/nonexistent", argv, NULL, &options, NULL));
		assert_int_equal(pidfd, -1);
		surroundings_must_equal(&before);
	}
}

static int set_name(void *name)
{
	return setenv("FROM_PRE_EXEC", name, 1) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 0) == 0 && umask(0) < 01000 ? 0
														  : EIO;
}

static int closes_everything(void *unused)
{
	(void)unused;
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	return 0;
}

static int takes_long(void *unused)
{
	(void)unused;
	usleep(100000);
	return 0;
}

static void check_pre_exec(const char *json, odf_strategy engine)
{
	assert_int_equal(engine, ODF_STRATEGY_FORK);
	must_have(json, "umask", "\"0000\"");
}

void test_pre_exec(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.pre_exec = set_name;
	options.pre_exec_arg = (char[]){ "yes" };
	on_each_engine(&options, false, check_pre_exec);
	options.pre_exec = closes_everything;
	on_each_engine(&options, false, check_nothing);
	options.pre_exec = takes_long;
	on_each_engine(&options, false, check_nothing);
}

static volatile sig_atomic_t children_ended;
static void on_child(int signal)
{
	(void)signal;
	children_ended++;
}

/* The process is not the caller's child: no SIGCHLD, nothing to wait for, another parent. Failures still have their
 * step, and the pidfd works. */
void test_detach(void **state)
{
	struct sigaction action = { .sa_handler = on_child }, old;

	(void)state;
	for (size_t i = 1; i < 3; i++) {
		for (int with_pidfd = 0; with_pidfd < 2; with_pidfd++) {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			odf_report report = ODF_REPORT_INIT;
			char *argv[] = {
				(char[]){ "state" }, strdup(scratch_path("detached.json")), NULL,
			}, *json = NULL, *parent;
			struct surroundings before = surroundings_take();
			pid_t pid = -1;
			int pidfd = -5;

			unlink(argv[1]);
			children_ended = 0;
			sigaction(SIGCHLD, &action, &old);
			options.allow = ODF_ALLOW(engines[i]);
			options.flags = ODF_SPAWN_DETACH | ODF_SPAWN_SETSID;
			options.pidfd = with_pidfd ? &pidfd : NULL;
			assert_errno(0, odf_spawn(&pid, helper_path("state"), argv, NULL, &options, &report));
			assert_true(pid > 0);
			if (with_pidfd) {
				struct pollfd ready = { .fd = pidfd, .events = POLLIN };
				assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
				assert_int_equal(poll(&ready, 1, 120000), 1);
				close(pidfd);
			}
			for (int tries = 0; tries < 12000 && (json == NULL || strchr(json, '}') == NULL); tries++) {
				free(json);
				usleep(5000);
				json = read_file(argv[1]);
			}
			assert_non_null(json);
			must_have(json, "pid", number(pid));
			must_have(json, "sid", number(pid));
			parent = member(json, "ppid");
			assert_string_not_equal(parent, number(getpid()));
			free(parent);
			free(json);
			must_have_no_children();
			/* With fork the intermediate process is an ordinary child, which is reaped before the call
			 * returns. */
			if (engines[i] == ODF_STRATEGY_VFORK)
				assert_int_equal(children_ended, 0);

			pidfd = -5;
			pid = -7;
			assert_errno(ENOENT, odf_spawn(&pid, "/nonexistent", argv, NULL, &options, &report));
			assert_int_equal(report.step, ODF_STEP_EXEC);
			assert_int_equal(pid, -7);
			if (with_pidfd)
				assert_int_equal(pidfd, -1);
			must_have_no_children();
			sigaction(SIGCHLD, &old, NULL);
			surroundings_must_equal(&before);
			free(argv[1]);
		}
	}
}

/* A file that stays open for writing a while longer. */
void test_busy_retry(void **state)
{
	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		char *argv[] = { (char[]){ "busy" }, NULL }, *path = strdup(scratch_path("busy"));
		int ready[2], go[2];
		pid_t writer, pid;
		char byte;

		write_file(path, "#!/bin/sh\nexit 31\n", 0755);
		assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
		assert_int_equal(pipe2(go, O_CLOEXEC), 0);
		writer = fork();
		if (writer == 0) {
			int fd = open(path, O_WRONLY);
			_exit(fd >= 0 && write(ready[1], "x", 1) == 1 && read(go[0], &byte, 1) == 1 &&
					      usleep(100000) == 0
				      ? 0
				      : 1);
		}
		assert_int_equal(read(ready[0], &byte, 1), 1);
		options.allow = ODF_ALLOW(engines[i]);
		assert_errno(ETXTBSY, odf_spawn(&pid, path, argv, NULL, &options, NULL));
		options.busy_retry_ms = 60000;
		assert_int_equal(write(go[1], "x", 1), 1); /* it closes the file during the next attempt */
		assert_errno(0, odf_spawn(&pid, path, argv, NULL, &options, NULL));
		must_exit_with(pid, 31);
		must_exit_with(writer, 0);
		close(ready[0]);
		close(ready[1]);
		close(go[0]);
		close(go[1]);
		free(path);
	}
}

/* Without `allow`. */
void test_choice(void **state)
{
	odf_report report = ODF_REPORT_INIT;
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	char *json = spawn_state(NULL, &report);

	(void)state;
	free(json);
	assert_int_equal(report.strategy, ODF_STRATEGY_VFORK);
	assert_int_equal(report.reason[ODF_STRATEGY_POSIX_SPAWN], ODF_REASON_BETTER_CHOSEN);
	assert_int_equal(report.reason[ODF_STRATEGY_FORK], ODF_REASON_BETTER_CHOSEN);
	assert_int_equal(report.reason[ODF_STRATEGY_KERNEL], ODF_REASON_ENDS_IN_EXEC);
	options.pre_exec = takes_long;
	json = spawn_state(&options, &report);
	free(json);
	assert_int_equal(report.strategy, ODF_STRATEGY_FORK);
	assert_int_equal(report.reason[ODF_STRATEGY_VFORK], ODF_REASON_PRE_EXEC);
}

/* errno, and pointers that are not given. */
void test_little_things(void **state)
{
	char *argv[] = { (char[]){ "true" }, NULL };
	int status;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		options.allow = ODF_ALLOW(engines[i]);
		errno = 99;
		assert_errno(0, odf_spawn(NULL, "/bin/true", argv, NULL, &options, NULL));
		assert_int_equal(errno, 99);
		assert_true(waitpid(-1, &status, 0) > 0);
		assert_int_equal(status, 0);
		must_have_no_children();
	}
}
