/* SPDX-License-Identifier: MIT
 *
 * Process handles, feeding input and collecting output, and programs from start to end.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

static char **shell(const char *script)
{
	static char name[] = "sh", option[] = "-c", *argv[] = { name, option, NULL, NULL };

	argv[2] = (char *)(uintptr_t)script;
	return argv;
}

static odf_process *start(const char *script, uint64_t flags)
{
	odf_spawn_options options = { .size = sizeof options, .flags = flags };
	odf_process *process = NULL;

	assert_errno(0, odf_process_spawn(&process, "/bin/sh", shell(script), NULL, &options, NULL));
	assert_non_null(process);
	return process;
}

static void test_wait(void **state)
{
	struct surroundings before = surroundings_take();
	odf_process *process = start("read x; exit 7", ODF_SPAWN_PIPE_STDIN);
	int status = -1;

	(void)state;
	assert_true(odf_process_id(process) > 0);
	assert_int_equal(odf_process_stream(process, 1), -1);
	assert_int_equal(odf_process_stream(process, 3), -1);
	assert_errno(ETIMEDOUT, odf_process_wait(process, 0, &status));
	assert_errno(ETIMEDOUT, odf_process_wait(process, 20, &status));
	assert_errno(EINVAL, odf_process_wait(process, -2, &status));
	assert_errno(0, odf_process_kill(process, 0));
	assert_errno(EINVAL, odf_process_kill(process, 1000));
	assert_errno(0, odf_process_close_stream(process, 0));
	assert_errno(EINVAL, odf_process_close_stream(process, 0));
	assert_errno(0, odf_process_wait(process, -1, &status));
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	status = -1;
	assert_errno(0, odf_process_wait(process, 0, &status)); /* the same each time */
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	assert_errno(ESRCH, odf_process_kill(process, SIGKILL));
	assert_errno(0, odf_process_close(process));
	assert_errno(EINVAL, odf_process_close(NULL));
	must_have_no_children();
	surroundings_must_equal(&before);
}

static void test_kill(void **state)
{
	odf_process *process = start("exec sleep 100", 0);
	int status;

	(void)state;
	assert_errno(0, odf_process_kill(process, SIGTERM));
	assert_errno(0, odf_process_wait(process, -1, &status));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	odf_process_close(process);
}

/* A process that has changed its user is still the caller's child. */
static void test_kill_without_a_right(void **state)
{
	odf_spawn_options options = { .size = sizeof options, .uid = 12345, .gid = 12345 };
	odf_process *process = NULL;
	pid_t pid;

	(void)state;
	if (geteuid() != 0) {
		skip_because("changing ids needs root");
		return;
	}
	options.flags = ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_GROUPS;
	assert_errno(0, odf_process_spawn(&process, "/bin/sh", shell("exec sleep 100"), NULL, &options, NULL));
	pid = fork();
	if (pid == 0)
		_exit(setresuid(54321, 54321, 54321) == 0 && odf_process_kill(process, SIGTERM) == EPERM ? 0 : 1);
	must_exit_with(pid, 0);
	assert_errno(0, odf_process_kill(process, SIGKILL));
	assert_errno(0, odf_process_wait(process, -1, NULL));
	odf_process_close(process);
}

/* Another part of the program takes the status; after that no signal may go to a process that reuses the pid. */
static void test_reaped_elsewhere(void **state)
{
	odf_process *process = start("exit 3", 0);
	int status;

	(void)state;
	assert_int_equal(waitpid(odf_process_id(process), &status, 0), odf_process_id(process));
	assert_errno(ECHILD, odf_process_wait(process, -1, &status));
	assert_errno(ESRCH, odf_process_kill(process, SIGKILL));
	odf_process_close(process);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signal)
{
	(void)signal;
	alarms++;
}

/* A signal does not end a wait early, and a wait in one thread does not keep another thread from killing the
 * process. */
static void *kill_later(void *process)
{
	usleep(100000);
	odf_process_kill(process, SIGKILL);
	return NULL;
}

static void test_wait_with_others(void **state)
{
	odf_process *process = start("exec sleep 100", 0);
	struct sigaction action = { .sa_handler = on_alarm }, old;
	pthread_t thread;
	int status;

	(void)state;
	sigaction(SIGALRM, &action, &old);
	ualarm(20000, 20000);
	assert_errno(ETIMEDOUT, odf_process_wait(process, 200, &status));
	assert_true(alarms > 0);
	assert_int_equal(pthread_create(&thread, NULL, kill_later, process), 0);
	assert_errno(0, odf_process_wait(process, -1, &status));
	ualarm(0, 0);
	sigaction(SIGALRM, &old, NULL);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	pthread_join(thread, NULL);
	odf_process_close(process);
}

static void test_refused(void **state)
{
	odf_process *process = (odf_process *)&process;
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	struct {
		odf_spawn_options known;
		long added; /* from a later version */
	} newer = { { .size = sizeof newer }, 1 };
	int fd, pipes[3];

	(void)state;
	assert_errno(EINVAL, odf_process_spawn(NULL, "/bin/true", shell(""), NULL, NULL, &report));
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	options.flags = ODF_SPAWN_DETACH;
	assert_errno(EINVAL, odf_process_spawn(&process, "/bin/true", shell(""), NULL, &options, &report));
	assert_null(process);
	options.flags = 0;
	options.pidfd = &fd;
	assert_errno(EINVAL, odf_process_spawn(&process, "/bin/true", shell(""), NULL, &options, &report));
	options.pidfd = NULL;
	options.pipes = pipes;
	assert_errno(EINVAL, odf_process_spawn(&process, "/bin/true", shell(""), NULL, &options, &report));
	options.pipes = NULL;
	assert_errno(ENOENT, odf_process_spawn(&process, "/nonexistent", shell(""), NULL, &options, &report));
	assert_int_equal(report.step, ODF_STEP_EXEC);
	assert_null(process);
	options.size = 8;
	assert_errno(EINVAL, odf_process_spawn(&process, "/bin/true", shell(""), NULL, &options, &report));
	assert_errno(E2BIG, odf_process_spawn(&process, "/bin/true", shell(""), NULL, &newer.known, &report));
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_null(process);
	must_have_no_children();
}

/* ---- Input and output -------------------------------------------------------------------------------------------- */

enum { LARGE = 3 << 20 };

/* More than the pipes hold, in both directions at once. */
static void test_communicate(void **state)
{
	struct surroundings before = surroundings_take();
	odf_process *process = start("tee /dev/fd/2", ODF_SPAWN_PIPES);
	char *input = malloc(LARGE);
	odf_io io = ODF_IO_INIT;
	int status;

	(void)state;
	assert_non_null(input);
	for (int i = 0; i < LARGE; i++)
		input[i] = (char)('a' + i % 23);
	io.input = input;
	io.input_length = LARGE;
	assert_errno(0, odf_process_communicate(process, &io));
	assert_int_equal(io.input_done, LARGE);
	assert_int_equal(io.output_length, LARGE);
	assert_int_equal(io.error_length, LARGE);
	assert_memory_equal(io.output, input, LARGE);
	assert_memory_equal(io.error_output, input, LARGE);
	assert_int_equal(io.output[LARGE], '\0');
	assert_errno(0, odf_process_wait(process, -1, &status));
	assert_int_equal(status, 0);
	free(io.output);
	free(io.error_output);
	free(input);
	odf_process_close(process);
	surroundings_must_equal(&before);
}

/* A process that does not read: no SIGPIPE, and the call returns how much was taken. */
static void test_unread_input(void **state)
{
	char *input = calloc(1, LARGE);
	odf_process *process = start("exec <&-; echo done", ODF_SPAWN_PIPE_STDIN | ODF_SPAWN_PIPE_STDOUT);
	odf_io io = { .size = sizeof io, .input = input, .input_length = LARGE };

	(void)state;
	assert_errno(0, odf_process_communicate(process, &io));
	assert_string_equal(io.output, "done\n");
	assert_null(io.error_output);
	assert_true(io.input_done < LARGE);
	assert_errno(0, odf_process_wait(process, -1, NULL));
	odf_process_close(process);
	free(io.output);
	free(input);
}

static void test_limits(void **state)
{
	odf_process *process = start("printf 12345678; exec sleep 100", ODF_SPAWN_PIPE_STDOUT);
	odf_io io = { .size = sizeof io, .timeout_ms = 300 };
	struct pollfd said = { odf_process_stream(process, 1), POLLIN, 0 };

	(void)state;
	assert_int_equal(poll(&said, 1, 120000), 1); /* its output is there before the time is over */
	assert_errno(ETIMEDOUT, odf_process_communicate(process, &io));
	assert_string_equal(io.output, "12345678");
	free(io.output);
	odf_process_kill(process, SIGKILL);
	odf_process_wait(process, -1, NULL);
	odf_process_close(process);
	process = start("printf 123456789", ODF_SPAWN_PIPE_STDOUT);
	io.timeout_ms = 0;
	io.limit = 8;
	assert_errno(EFBIG, odf_process_communicate(process, &io));
	assert_string_equal(io.output, "12345678");
	free(io.output);
	odf_process_wait(process, -1, NULL);
	odf_process_close(process);
	process = start("printf 12345678", ODF_SPAWN_PIPE_STDOUT);
	assert_errno(0, odf_process_communicate(process, &io)); /* exactly the limit is not too much */
	assert_string_equal(io.output, "12345678");
	free(io.output);
	odf_process_wait(process, -1, NULL);
	odf_process_close(process);
}

static void test_io_refused(void **state)
{
	odf_process *process = start("exit 0", ODF_SPAWN_PIPE_STDOUT);
	odf_io io = { .size = 8 };
	struct {
		odf_io known;
		long added; /* from a later version */
	} newer = { { .size = sizeof newer }, 1 };

	(void)state;
	assert_errno(EINVAL, odf_process_communicate(process, &io));
	io = (odf_io){ .size = sizeof io, .timeout_ms = -1 };
	assert_errno(EINVAL, odf_process_communicate(process, &io));
	io = (odf_io){ .size = sizeof io, .input_length = 1 };
	assert_errno(EINVAL, odf_process_communicate(process, &io));
	assert_errno(EINVAL, odf_process_communicate(process, NULL));
	assert_errno(E2BIG, odf_process_communicate(process, &newer.known));
	assert_errno(E2BIG, odf_run("/bin/true", shell(""), NULL, NULL, &newer.known, NULL));
	io = (odf_io)ODF_IO_INIT;
	assert_errno(EINVAL, odf_process_communicate(NULL, &io));
	assert_errno(0, odf_process_communicate(process, &io));
	free(io.output);
	free(io.error_output);
	assert_errno(0, odf_process_wait(process, -1, NULL));
	odf_process_close(process);
	must_have_no_children();
}

/* ---- From start to end ------------------------------------------------------------------------------------------- */

static void test_run(void **state)
{
	struct surroundings before = surroundings_take();
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_io io = ODF_IO_INIT;

	(void)state;
	assert_errno(0, odf_run("/bin/sh", shell("cat; echo err >&2; exit 5"), NULL, NULL, &io, &report));
	assert_string_equal(io.output, ""); /* its standard input was /dev/null */
	assert_string_equal(io.error_output, "err\n");
	assert_int_equal(WEXITSTATUS(io.wait_status), 5);
	assert_int_equal(report.strategy, ODF_STRATEGY_VFORK);
	free(io.output);
	free(io.error_output);
	io.input = "question";
	io.input_length = 8;
	options.flags = ODF_SPAWN_STDERR_TO_STDOUT;
	assert_errno(0, odf_run("/bin/sh", shell("cat; echo err >&2"), NULL, &options, &io, NULL));
	assert_string_equal(io.output, "questionerr\n");
	assert_null(io.error_output);
	assert_int_equal(io.wait_status, 0);
	free(io.output);
	assert_errno(ENOENT, odf_run("/nonexistent", shell(""), NULL, NULL, &io, &report));
	assert_int_equal(report.step, ODF_STEP_EXEC);
	assert_null(io.output);
	io.timeout_ms = -1;
	assert_errno(EINVAL, odf_run("/bin/true", shell(""), NULL, NULL, &io, NULL));
	must_have_no_children();
	surroundings_must_equal(&before);
}

/* Without an io nothing is changed: the standard input is the caller's. */
static void test_run_as_it_is(void **state)
{
	char script[PATH_MAX + 64], *text;
	int kept = dup(0), file;

	(void)state;
	write_file(scratch_path("input"), "from the caller", 0600);
	file = open(scratch_path("input"), O_RDONLY | O_CLOEXEC);
	assert_true(kept >= 0 && file >= 0 && dup2(file, 0) == 0);
	snprintf(script, sizeof script, "cat > '%s'", scratch_path("output"));
	assert_errno(0, odf_run("/bin/sh", shell(script), NULL, NULL, NULL, NULL));
	assert_int_equal(dup2(kept, 0), 0);
	close(kept);
	close(file);
	text = read_file(scratch_path("output"));
	assert_non_null(text);
	assert_string_equal(text, "from the caller");
	free(text);
	must_have_no_children();
}

/* Output that the caller does not want is read, however much it is, and does not stay in memory (a sanitizer
 * checks). */
static void test_run_without_io(void **state)
{
	struct surroundings before = surroundings_take();
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.flags = ODF_SPAWN_PIPES;
	for (int i = 0; i < 20; i++)
		assert_errno(0, odf_run("/bin/sh", shell("echo out; echo err >&2; cat"), NULL, &options, NULL, NULL));
	assert_errno(0, odf_run("/bin/sh", shell("head -c 70000000 /dev/zero | tee /dev/stderr"), NULL, &options, NULL,
				NULL));
	must_have_no_children();
	surroundings_must_equal(&before);
}

/* The whole group is killed, with all processes that hold the pipe. */
static void test_run_timeout(void **state)
{
	odf_spawn_options options = { .size = sizeof options, .flags = ODF_SPAWN_SETPGROUP };
	odf_io io = { .size = sizeof io, .timeout_ms = 300 };
	pid_t left;

	(void)state;
	for (;; io.timeout_ms *= 4) { /* in a short time it may not get to write anything */
		assert_errno(ETIMEDOUT,
			     odf_run("/bin/sh", shell("sleep 1000 & echo $!; wait"), NULL, &options, &io, NULL));
		assert_true(WIFSIGNALED(io.wait_status) && WTERMSIG(io.wait_status) == SIGKILL);
		if (io.output_length > 0 || io.timeout_ms > 30000)
			break;
		free(io.output);
		free(io.error_output);
	}
	left = (pid_t)atoi(io.output);
	assert_true(left > 0);
	/* init, or another reaper, must wait for it */
	for (int i = 0; i < 6000 && kill(left, 0) == 0; i++) {
		char path[64], *stat;
		snprintf(path, sizeof path, "/proc/%d/stat", (int)left);
		stat = read_file(path);
		if (stat != NULL && strstr(stat, ") Z ") != NULL)
			i = 6000;
		free(stat);
		usleep(10000);
		assert_int_not_equal(i, 5999);
	}
	free(io.output);
	free(io.error_output);
	/* More than the limit. */
	io.timeout_ms = 0;
	io.limit = 1000;
	assert_errno(EFBIG, odf_run("/bin/sh", shell("while :; do echo more; done"), NULL, NULL, &io, NULL));
	assert_int_equal(io.output_length, 1000);
	assert_true(WIFSIGNALED(io.wait_status));
	free(io.output);
	free(io.error_output);
	/* The process closes its streams and stays. */
	io.limit = 0;
	io.timeout_ms = 200;
	assert_errno(ETIMEDOUT, odf_run("/bin/sh", shell("exec >&- 2>&-; exec sleep 100"), NULL, NULL, &io, NULL));
	free(io.output);
	free(io.error_output);
	must_have_no_children();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_kill),
		cmocka_unit_test(test_kill_without_a_right),
		cmocka_unit_test(test_reaped_elsewhere),
		cmocka_unit_test(test_wait_with_others),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_communicate),
		cmocka_unit_test(test_unread_input),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_io_refused),
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_run_as_it_is),
		cmocka_unit_test(test_run_without_io),
		cmocka_unit_test(test_run_timeout),
	};

	return cmocka_run_group_tests_name("processes", tests, NULL, NULL);
}
