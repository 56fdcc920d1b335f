/* SPDX-License-Identifier: MIT
 *
 * What a spawn must not do to its caller, to other processes, or to a namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/spawn/environment.h"
#include "../support/support.h"

static char *true_argv[] = { (char[]){ "true" }, NULL };

/* Runs `run` in a process of its own, which exits with the result, and is killed if it takes too long. 0: success. */
static int apart(int (*run)(void))
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(200);
		_exit(run());
	}
	return wait_for(pid);
}

#define REQUIRE(condition)                                                       \
	do {                                                                     \
		if (!(condition)) {                                              \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition);  \
			return 1;                                                \
		}                                                                \
	} while (0)

/* ---- A new PID namespace ----------------------------------------------------------------------------------------- */

/* Set by the test for that process. */
static bool ask_first, detach_first;
static odf_strategy wanted;

static int in_new_namespace(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	char *json, *pid;

	/* this may start a program, which would be the first process of the namespace and end it */
	(void)helper_path("state");
	if (unshare(CLONE_NEWPID) != 0)
		return 77;
	if (ask_first) {
		int error = 0;
		REQUIRE(odf_capabilities_get(&capabilities) == 0);
		REQUIRE(odf_probe_get(ODF_PROBE_CLONE_VM, &error) == ODF_ANSWER_NOT_ASKED && error == 0);
	}
	if (detach_first) {
		options.flags = ODF_SPAWN_DETACH;
		options.allow = wanted == ODF_STRATEGY_NONE ? 0 : ODF_ALLOW(wanted);
		REQUIRE(odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report) == ENOTSUP);
		REQUIRE(report.step == ODF_STEP_REQUEST && report.reason[ODF_STRATEGY_FORK] ==
							       (wanted == ODF_STRATEGY_VFORK ? ODF_REASON_NOT_ALLOWED
								: ODF_REASON_PID_NAMESPACE));
	}
	options = ODF_SPAWN_OPTIONS_INIT;
	json = spawn_state(&options, &report);
	pid = member(json, "pid");
	REQUIRE(strcmp(pid, "1") == 0);
	if (odf_probe_get(ODF_PROBE_CLONE_VM, NULL) == ODF_ANSWER_NOT_ASKED)
		REQUIRE(report.strategy == ODF_STRATEGY_FORK &&
			report.reason[ODF_STRATEGY_VFORK] == ODF_REASON_PID_NAMESPACE);
	else
		REQUIRE(report.strategy == ODF_STRATEGY_VFORK);
	return 0;
}

/* The first test, since no probe may have been made yet. */
static void test_new_pid_namespace(void **state)
{
	int status;

	(void)state;
	if (geteuid() != 0) {
		skip_because("a pid namespace needs root");
		return;
	}
	assert_int_equal(apart(in_new_namespace), 0);
	ask_first = true;
	assert_int_equal(apart(in_new_namespace), 0);
	ask_first = false;
	detach_first = true;
	assert_int_equal(apart(in_new_namespace), 0);
	wanted = ODF_STRATEGY_VFORK;
	assert_int_equal(apart(in_new_namespace), 0);
	/* Probed before. */
	assert_int_equal(odf_probe_get(ODF_PROBE_CLONE_VM, NULL), ODF_ANSWER_YES);
	status = apart(in_new_namespace);
	assert_int_equal(status, 0);
}

/* ---- Spawns that change ids do not wait for each other ----------------------------------------------------------- */

static odf_fd_action without_writer[1]; /* a child's own copy would keep the file busy */

static int spawn_as_another(const char *file, unsigned busy_retry_ms)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t pid;
	int error;

	options.flags = ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_GROUPS;
	options.uid = options.gid = 12345;
	options.busy_retry_ms = busy_retry_ms;
	options.fds = without_writer;
	options.fd_count = 1;
	options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
	error = odf_spawn(&pid, file, true_argv, NULL, &options, NULL);
	if (error == 0)
		waitpid(pid, NULL, 0);
	return error;
}

static void *spawn_busy(void *file)
{
	return (void *)(intptr_t)spawn_as_another(file, 20000);
}

static void test_ids_wait_for_nobody(void **state)
{
	const char *path = scratch_path("busy");
	char command[8192];
	pthread_t thread;
	void *result;
	int writer;

	(void)state;
	if (geteuid() != 0) {
		skip_because("changing ids needs root");
		return;
	}
	assert_int_equal(chmod(scratch(), 0755), 0);
	snprintf(command, sizeof command, "cp /bin/true '%s' && chmod 755 '%s'", path, path);
	assert_int_equal(system(command), 0);
	writer = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(writer >= 0);
	without_writer[0] = ODF_FD_CLOSE(writer);
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
	assert_int_equal(pthread_create(&thread, NULL, spawn_busy, (void *)(uintptr_t)path), 0);
	while (prctl(PR_GET_DUMPABLE) == 1) /* until the first child has changed its ids */
		usleep(1000);
	assert_int_equal(spawn_as_another("/bin/true", 0), 0);
	assert_int_equal(spawn_as_another("/nonexistent", 0), ENOENT);
	/* The first child still runs as another user on this memory: the flag stays clear. */
	assert_int_not_equal(prctl(PR_GET_DUMPABLE), 1);
	close(writer);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal((int)(intptr_t)result, 0);
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
}

/* ---- With FORK, the caller handles signals while it waits -------------------------------------------------------- */

static int entered[2], leave[2];
static volatile sig_atomic_t handled, handled_elsewhere;
static pid_t handler_home;

static void count_signal(int signal)
{
	(void)signal;
	handled++;
	if (getpid() != handler_home)
		handled_elsewhere++;
	/* Only now may the child continue. */
	(void)!write(leave[1], "x", 1);
}

static int wait_inside(void *unused)
{
	char byte;

	(void)unused;
	(void)!write(entered[1], "x", 1);
	return read(leave[0], &byte, 1) == 1 ? 0 : EIO;
}

static uint64_t held_flags;

static int spawn_held(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t pid;

	options.pre_exec = wait_inside;
	options.flags = held_flags;
	handler_home = getpid();
	REQUIRE(odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, NULL) == 0);
	if (held_flags == 0)
		REQUIRE(waitpid(pid, NULL, 0) == pid);
	REQUIRE(handled_elsewhere == 0);
	return handled == 1 ? 0 : 3;
}

/* Returns the wait status of a process that gets `signal` while it waits for pre_exec, which in turn waits for that. */
static int signalled_while_held(int signal)
{
	char byte;
	pid_t pid;
	int status;

	assert_int_equal(pipe2(entered, O_CLOEXEC), 0);
	assert_int_equal(pipe2(leave, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(spawn_held());
	assert_int_equal(read(entered[0], &byte, 1), 1);
	kill(pid, signal);
	for (int i = 0; i < 1000 && waitpid(pid, &status, WNOHANG) == 0; i++) {
		usleep(10000);
		if (i == 999) { /* it is blocked: let everything end */
			(void)!write(leave[1], "x", 1);
			waitpid(pid, &status, 0);
			status = -1;
		}
	}
	(void)!write(leave[1], "x", 1); /* for the orphan */
	close(entered[0]);
	close(entered[1]);
	close(leave[0]);
	close(leave[1]);
	return status;
}

static void test_signals_while_held(void **state)
{
	(void)state;
	for (held_flags = 0; held_flags <= ODF_SPAWN_DETACH; held_flags += ODF_SPAWN_DETACH) {
		int status = signalled_while_held(SIGTERM);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
		signal(SIGUSR1, count_signal);
		handled = 0;
		status = signalled_while_held(SIGUSR1);
		assert_int_equal(status, 0);
		signal(SIGUSR1, SIG_DFL);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* ---- Where a failure is detected --------------------------------------------------------------------------------- */

static void test_closed_exec_fd(void **state)
{
	odf_fd_action map[] = { ODF_FD_NULL(900) };

	(void)state;
	for (size_t i = 1; i < 3; i++) {
		for (size_t count = 0; count < 2; count++) {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			odf_report report = ODF_REPORT_INIT;
			options.allow = ODF_ALLOW(engines[i]);
			options.exec_fd = 900;
			options.fds = map;
			options.fd_count = count;
			assert_errno(EBADF, odf_spawn(NULL, NULL, true_argv, NULL, &options, &report));
			assert_int_equal(report.step, ODF_STEP_EXEC);
			assert_int_equal(report.index, -1);
		}
	}
}

static void test_group_of_minus_one(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	gid_t groups[] = { 7, (gid_t)-1, 8 };

	(void)state;
	options.flags = ODF_SPAWN_GROUPS;
	options.groups = groups;
	options.group_count = 3;
	assert_errno(EINVAL, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_int_equal(report.index, 1);
}

/* ---- The terminal after a failure -------------------------------------------------------------------------------- */

static int die(void *unused)
{
	(void)unused;
	return kill(getpid(), SIGKILL);
}

static int fail_on_terminal(void)
{
	pid_t own = getpgrp();

	for (size_t i = 1; i < 3; i++) {
		for (int by_descriptor = 0; by_descriptor < 2; by_descriptor++) {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			odf_fd_action map[] = { ODF_FD_NULL(0) };
			REQUIRE(tcgetpgrp(1) == own);
			options.flags = ODF_SPAWN_SETPGROUP | ODF_SPAWN_FOREGROUND;
			if (by_descriptor)
				options.flags |= ODF_SPAWN_TTY_FD;
			options.allow = ODF_ALLOW(engines[i]);
			options.fds = map;
			options.fd_count = 1;
			REQUIRE(odf_spawn(NULL, "/nonexistent", true_argv, NULL, &options, NULL) == ENOENT);
			REQUIRE(tcgetpgrp(1) == own);
			options.pre_exec = die;
			options.allow = 0;
			REQUIRE(odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, NULL) == ECHILD);
			REQUIRE(tcgetpgrp(1) == own);
		}
	}
	return 0;
}

static void test_terminal_after_failure(void **state)
{
	int terminal;
	char byte;
	pid_t pid = forkpty(&terminal, NULL, NULL, NULL);

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(200);
		_exit(fail_on_terminal());
	}
	while (read(terminal, &byte, 1) == 1)
		(void)!write(STDERR_FILENO, &byte, 1);
	must_exit_with(pid, 0);
	close(terminal);
}

/* ---- Another thread changes PATH --------------------------------------------------------------------------------- */

/* The library measures the space for the paths first and fills it then: both must use the same text, even if the
 * variable changes. */
static void test_path_is_read_once(void **state)
{
	static char entry[] = "PATH=/first:/second";
	struct request request = { .file = "name",
				  .options = { .size = sizeof request.options, .flags = ODF_SPAWN_SEARCH_PATH } };
	struct environment environment;
	char *saved = strdup(getenv("PATH"));

	(void)state;
	putenv(entry);
	assert_errno(0, environment_take(&environment, &request));
	strcpy(entry, "PATH=:::::::::::::");
	assert_string_equal(environment.path, "/first:/second");
	environment_drop(&environment);
	setenv("PATH", saved, 1);
	free(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_pid_namespace),
		cmocka_unit_test(test_ids_wait_for_nobody),
		cmocka_unit_test(test_signals_while_held),
		cmocka_unit_test(test_closed_exec_fd),
		cmocka_unit_test(test_group_of_minus_one),
		cmocka_unit_test(test_terminal_after_failure),
		cmocka_unit_test(test_path_is_read_once),
	};

	return cmocka_run_group_tests_name("faults of spawns", tests, NULL, NULL);
}
