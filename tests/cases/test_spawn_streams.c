/* SPDX-License-Identifier: MIT
 *
 * A child's inputs: environment, search path, directories by descriptor, terminal by descriptor, pipes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/support.h"

static char *true_argv[] = { (char[]){ "true" }, NULL };

/* ---- Environment ------------------------------------------------------------------------------------------------- */

static void must_have_environment(const odf_spawn_options *asked, char *const envp[], const char *expected)
{
	odf_spawn_options options = *asked;

	for (size_t i = 0; i < 3; i++) {
		char *json;
		options.allow = ODF_ALLOW(engines[i]);
		json = spawn_state_with(&options, NULL, envp, false);
		must_have(json, "environ", expected);
		free(json);
	}
}

static void test_environment(void **state)
{
	char *base[] = { (char[]){ "A=1" }, (char[]){ "B=2" }, (char[]){ "AB=3" }, NULL };
	char *nothing[] = { NULL };
	const char *edits[] = { "A=new", "B", "C=4", "D=5", "D", "E=6", "E=7", "NEVER" };
	const char *bad[] = { "X=1", "=2" };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	char *json, *environment;

	(void)state;
	options.env_edits = edits;
	options.env_edit_count = sizeof edits / sizeof *edits;
	must_have_environment(&options, base, "[\"AB=3\",\"A=new\",\"C=4\",\"E=7\"]");
	must_have_environment(&options, nothing, "[\"A=new\",\"C=4\",\"E=7\"]");
	assert_string_equal(base[0], "A=1");
	/* The caller's own. */
	setenv("ODF_TEST_KEPT", "yes", 1);
	setenv("B", "here", 1);
	json = spawn_state(&options, NULL);
	environment = member(json, "environ");
	assert_non_null(strstr(environment, "\"ODF_TEST_KEPT=yes\""));
	assert_null(strstr(environment, "\"B=here\""));
	assert_string_equal(getenv("B"), "here");
	free(environment);
	free(json);
	unsetenv("B");
	unsetenv("ODF_TEST_KEPT");
	options.env_edits = bad;
	options.env_edit_count = 2;
	assert_errno(EINVAL, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_int_equal(report.index, 1);
}

/* The program is found only by the child's PATH, which comes from the array, from an edit, or from neither. */
static void test_child_path(void **state)
{
	char assignment[4096 + 8], *with[] = { assignment, NULL }, *without[] = { (char[]){ "X=1" }, NULL };
	const char *edits[1] = { assignment };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	char *argv[] = { (char[]){ "odf-test-tool" }, NULL }, *before = strdup(getenv("PATH"));
	pid_t pid;

	(void)state;
	/* A directory of the user's PATH may be closed to this process, which is EACCES. */
	assert_true(before != NULL && setenv("PATH", "/usr/bin:/bin", 1) == 0);
	write_file(scratch_path("odf-test-tool"), "#!/bin/sh\nexit 9\n", 0755);
	snprintf(assignment, sizeof assignment, "PATH=/nonexistent:%s", scratch());
	for (size_t i = 1; i < 3; i++) {
		options.allow = ODF_ALLOW(engines[i]);
		options.flags = ODF_SPAWN_SEARCH_CHILD_PATH;
		assert_errno(0, odf_spawn(&pid, argv[0], argv, with, &options, NULL));
		must_exit_with(pid, 9);
		assert_errno(ENOENT, odf_spawn(&pid, argv[0], argv, without, &options, NULL));
		options.env_edits = edits;
		options.env_edit_count = 1;
		assert_errno(0, odf_spawn(&pid, argv[0], argv, without, &options, NULL));
		must_exit_with(pid, 9);
		assert_errno(0, odf_spawn(&pid, argv[0], argv, NULL, &options, NULL));
		must_exit_with(pid, 9);
		options.flags = ODF_SPAWN_SEARCH_PATH; /* the caller's PATH */
		assert_errno(ENOENT, odf_spawn(&pid, argv[0], argv, with, &options, NULL));
		options.env_edit_count = 0;
	}
	options.allow = ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN);
	options.flags = ODF_SPAWN_SEARCH_CHILD_PATH;
	assert_errno(ENOTSUP, odf_spawn(&pid, argv[0], argv, with, &options, NULL));
	assert_int_equal(setenv("PATH", before, 1), 0);
	free(before);
}

/* ---- Relative to a descriptor ------------------------------------------------------------------------------------ */

static void test_directories(void **state)
{
	char expected[4096 + 16];
	int directory;

	(void)state;
	mkdir(scratch_path("below"), 0755);
	write_file(scratch_path("below/file"), "content", 0644);
	directory = open(scratch(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(directory >= 0);
	snprintf(expected, sizeof expected, "\"%s\"", scratch_path("below"));
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		char *json;
		options.allow = ODF_ALLOW(engines[i]);
		options.cwd_fd = directory;
		options.cwd = "below";
		json = spawn_state(&options, NULL);
		must_have(json, "cwd", expected);
		free(json);
		options.cwd = "/usr";
		json = spawn_state(&options, NULL);
		must_have(json, "cwd", "\"/usr\"");
		free(json);
	}
	for (size_t i = 1; i < 3; i++) {
		/* The directory's own number is the target of another action. */
		odf_fd_action map[] = { ODF_FD_OPEN_AT(0, directory, "below/file", O_RDONLY, 0),
				       ODF_FD_DUP(directory, 2),
					ODF_FD_OPEN_AT(directory + 1, directory, "below/file", O_RDONLY, 0) };
		odf_fd_action closed[] = { ODF_FD_NULL(0), ODF_FD_OPEN_AT(5, 900, "below/file", O_RDONLY, 0) };
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "test \"$(cat)\" = content" }, NULL };
		pid_t pid;
		options.allow = ODF_ALLOW(engines[i]);
		options.fds = map;
		options.fd_count = 3;
		assert_errno(0, odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL));
		must_exit_with(pid, 0);
		options.fds = closed;
		options.fd_count = 2;
		assert_errno(EBADF, odf_spawn(&pid, "/bin/sh", argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_FD);
		assert_int_equal(report.index, 1);
		closed[1] = ODF_FD_OPEN_AT(5, -1, "x", O_RDONLY, 0);
		assert_errno(EINVAL, odf_spawn(&pid, "/bin/sh", argv, NULL, &options, &report));
		closed[1] = ODF_FD_OPEN_AT(5, AT_FDCWD, "/dev/null", O_RDONLY, 0);
		assert_errno(0, odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report));
		must_exit_with(pid, 0);
	}
	close(directory);
}

/* A new session whose terminal is not one of the child's descriptors 0, 1 and 2. */
static void test_terminal_by_descriptor(void **state)
{
	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		int terminal, subordinate;
		char *json, *child;
		assert_int_equal(openpty(&terminal, &subordinate, NULL, NULL, NULL), 0);
		odf_fd_action map[] = { ODF_FD_NULL(0), ODF_FD_NULL(subordinate) };
		options.allow = ODF_ALLOW(engines[i]);
		options.flags = ODF_SPAWN_SETSID | ODF_SPAWN_FOREGROUND;
		options.tty_fd = subordinate;
		options.fds = map;
		options.fd_count = 2;
		json = spawn_state(&options, NULL);
		child = member(json, "pid");
		must_have(json, "foreground", child);
		free(child);
		free(json);
		close(terminal);
		close(subordinate);
	}
}

/* ---- Pipes ------------------------------------------------------------------------------------------------------- */

static size_t read_all(int fd, char *text, size_t size)
{
	size_t at = 0;
	ssize_t count;

	while ((count = read(fd, text + at, size - 1 - at)) > 0)
		at += (size_t)count;
	text[at] = '\0';
	close(fd);
	return at;
}

static void test_pipes(void **state)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "cat; echo to stderr >&2" }, NULL };
	struct surroundings before = surroundings_take();

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		int pipes[3] = { -5, -5, -5 };
		char text[100];
		pid_t pid;
		options.allow = ODF_ALLOW(engines[i]);
		options.pipes = pipes;
		options.flags = ODF_SPAWN_PIPES;
		assert_errno(0, odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL));
		for (int stream = 0; stream < 3; stream++)
			assert_int_equal(fcntl(pipes[stream], F_GETFD), FD_CLOEXEC);
		assert_int_equal(write(pipes[0], "input", 5), 5);
		close(pipes[0]);
		read_all(pipes[1], text, sizeof text);
		assert_string_equal(text, "input");
		read_all(pipes[2], text, sizeof text);
		assert_string_equal(text, "to stderr\n");
		must_exit_with(pid, 0);

		options.flags = ODF_SPAWN_PIPE_STDOUT | ODF_SPAWN_STDERR_TO_STDOUT;
		odf_fd_action map[] = { ODF_FD_NULL(0) };
		options.fds = map;
		options.fd_count = 1;
		assert_errno(0, odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL));
		assert_int_equal(pipes[0], -1);
		assert_int_equal(pipes[2], -1);
		read_all(pipes[1], text, sizeof text);
		assert_string_equal(text, "to stderr\n");
		must_exit_with(pid, 0);
	}
	surroundings_must_equal(&before);
}

/* Standard error goes to an opened file. */
static void test_stderr_to_file(void **state)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "echo one; echo two >&2" }, NULL };

	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_fd_action map[] = { ODF_FD_OPEN(1, scratch_path("both"), O_WRONLY | O_CREAT | O_TRUNC, 0600) };
		char *text;
		pid_t pid;
		options.allow = ODF_ALLOW(engines[i]);
		options.flags = ODF_SPAWN_STDERR_TO_STDOUT;
		options.fds = map;
		options.fd_count = 1;
		assert_errno(0, odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL));
		must_exit_with(pid, 0);
		text = read_file(scratch_path("both"));
		assert_string_equal(text, "one\ntwo\n");
		free(text);
	}
}

static void test_pipe_errors(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_fd_action twice[] = { ODF_FD_NULL(7), ODF_FD_NULL(1) };
	int pipes[3] = { -5, -5, -5 }, lowest;
	struct surroundings before = surroundings_take();
	struct rlimit few, limit;

	(void)state;
	options.flags = ODF_SPAWN_PIPE_STDOUT;
	options.pipes = pipes;
	options.fds = twice;
	options.fd_count = 2;
	assert_errno(EINVAL, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_int_equal(report.index, 1);
	assert_int_equal(pipes[1], -1);
	options.fd_count = 1;
	pipes[1] = -5;
	assert_errno(ENOENT, odf_spawn(NULL, "/nonexistent", true_argv, NULL, &options, &report));
	assert_int_equal(pipes[1], -1);
	/* A number that is not open stays so, even if the next pipe would get it. */
	lowest = dup(0);
	close(lowest);
	odf_fd_action closed[] = { ODF_FD_DUP(50, lowest), ODF_FD_KEEP(lowest + 1) };
	options.fds = closed;
	options.fd_count = 1;
	assert_errno(EBADF, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.index, 0);
	options.fds = closed + 1;
	assert_errno(EBADF, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	/* No actions. */
	options.fd_count = 0;
	options.flags = ODF_SPAWN_PIPES;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few = limit;
	few.rlim_cur = (rlim_t)lowest + 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_errno(EMFILE, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(report.step, ODF_STEP_PIPES);
	assert_int_equal(report.index, 1);
	surroundings_must_equal(&before);
	must_have_no_children();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_child_path),
		cmocka_unit_test(test_directories),
		cmocka_unit_test(test_terminal_by_descriptor),
		cmocka_unit_test(test_pipes),
		cmocka_unit_test(test_stderr_to_file),
		cmocka_unit_test(test_pipe_errors),
	};

	return cmocka_run_group_tests_name("streams and environment of spawned programs", tests, NULL, NULL);
}
