/* SPDX-License-Identifier: MIT
 *
 * Sixteen threads spawn without pause, by every engine, each with a signal mask and a pipe of its own, while others
 * open and close descriptors, change the environment, fork, and send many signals to the process. Every child must have
 * exactly what its own thread gave it. ODF_TEST_SECONDS: for how long (5).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/model_support.h"
#include "../support/support.h"

enum { SPAWNERS = 16 };

static atomic_bool stop;
static atomic_ulong spawned, failed_well, forked, opened, signals;
static char first_failure[512];
static atomic_int failures;
static char *witness;

static void failure(const char *format, ...)
{
	va_list arguments;

	if (atomic_fetch_add(&failures, 1) != 0)
		return;
	va_start(arguments, format);
	vsnprintf(first_failure, sizeof first_failure, format, arguments);
	va_end(arguments);
}

static void read_line(int fd, char *line, size_t size)
{
	size_t used = 0;

	while (used + 1 < size) {
		ssize_t count = read(fd, line + used, size - used - 1);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			break;
		used += (size_t)count;
		if (line[used - 1] == '\n') {
			used--;
			break;
		}
	}
	line[used] = '\0';
}

static void *spawn_always(void *number)
{
	int id = (int)(intptr_t)number, pipe_fds[2];
	unsigned long round = 0;
	sigset_t own;

	sigemptyset(&own);
	sigaddset(&own, SIGRTMIN + 2 + id % 8);
	pthread_sigmask(SIG_BLOCK, &own, NULL);
	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		failure("pipe2: %s", strerror(errno));
	for (; !stop; round++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		odf_fd_action map[] = { ODF_FD_DUP(3, pipe_fds[1]) };
		odf_strategy engine = engines[(round + (unsigned)id) % 3];
		char text[64], expected[128], line[1024], *argv[] = { witness, text, NULL };
		int error, status;
		pid_t pid;

		snprintf(text, sizeof text, "%d:%lu", id, round);
		snprintf(expected, sizeof expected, "%s %lx 0 1 2 3", text, 1ul << (SIGRTMIN + 2 + id % 8 - 1));
		options.allow = ODF_ALLOW(engine);
		options.flags = ODF_SPAWN_CLOSE_OTHER_FDS;
		options.fds = map;
		options.fd_count = 1;
		if (round % 16 == 15) {
			error = odf_spawn(&pid, "/nonexistent", argv, NULL, &options, &report);
			if (error != ENOENT || (engine != ODF_STRATEGY_POSIX_SPAWN && report.step != ODF_STEP_EXEC))
				failure("%s: %d at %s for a missing program", odf_strategy_name(engine), error,
					odf_step_name(report.step));
			failed_well++;
			continue;
		}
		error = odf_spawn(&pid, witness, argv, NULL, &options, &report);
		if (error != 0) {
			failure("%s: %s at %s", odf_strategy_name(engine), strerror(error), odf_step_name(report.step));
			continue;
		}
		read_line(pipe_fds[0], line, sizeof line);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (strcmp(line, expected) != 0 || status != 0)
			failure("%s: the child is '%s' with status %d, not '%s'", odf_strategy_name(engine), line,
				status, expected);
		spawned++;
	}
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return NULL;
}

/* Opens and closes descriptors without close-on-exec. */
static void *open_and_close(void *unused)
{
	(void)unused;
	while (!stop) {
		int fds[8];
		for (int i = 0; i < 8; i++)
			fds[i] = open("/dev/null", O_RDWR);
		for (int i = 0; i < 8; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		opened += 8;
	}
	return NULL;
}

static void *change_environment(void *unused)
{
	char value[32];

	(void)unused;
#ifdef __SANITIZE_THREAD__
	return NULL; /* a change of the environment while others read it is a race, in libc as well */
#endif
	for (unsigned i = 0; !stop; i++) {
		snprintf(value, sizeof value, "%u", i % 10);
		setenv("ODF_TEST_VALUE", value, 1);
		usleep(50);
	}
	return NULL;
}

static void *fork_always(void *unused)
{
	(void)unused;
	while (!stop) {
		pid_t pid = odf_fork();
		int status;
		if (pid == 0)
			_exit(9);
		if (pid < 0) {
			failure("odf_fork: %s", strerror(errno));
			continue;
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 9)
			failure("a forked child ended with %d", status);
		forked++;
		usleep(500);
	}
	return NULL;
}

static void *send_signals(void *unused)
{
	(void)unused;
	while (!stop) {
		kill(getpid(), SIGUSR1);
		usleep(200);
	}
	return NULL;
}

static void on_signal(int signal)
{
	(void)signal;
	signals++;
}

static bool there_was_enough(void)
{
	return spawned > 100 && forked > 10 && signals > 10;
}

static void test_threads(void **state)
{
	const char *given = getenv("ODF_TEST_SECONDS");
	double seconds = given == NULL ? 5 : strtod(given, NULL);
	void *(*others[])(void *) = { open_and_close, change_environment, fork_always, send_signals };
	pthread_t spawners[SPAWNERS], noise[4];
	struct surroundings before;
	struct sigaction action = { .sa_handler = on_signal }, old;

	(void)state;
	witness = strdup(helper_path("witness"));
	setenv("ODF_TEST_VALUE", "0", 1);
	/* libc installs a handler of its own with the first thread. */
	stop = true;
	assert_int_equal(pthread_create(&noise[0], NULL, open_and_close, NULL), 0);
	pthread_join(noise[0], NULL);
	stop = false;
	before = surroundings_take();
	sigaction(SIGUSR1, &action, &old);
	for (int i = 0; i < SPAWNERS; i++)
		assert_int_equal(pthread_create(&spawners[i], NULL, spawn_always, (void *)(intptr_t)i), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&noise[i], NULL, others[i], NULL), 0);
	/* At least the minimum, however slow the machine is. Signals cut each sleep short. */
	for (double end = now() + seconds; (now() < end || !there_was_enough()) && failures == 0;)
		usleep(20000);
	stop = true;
	for (int i = 0; i < SPAWNERS; i++)
		pthread_join(spawners[i], NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(noise[i], NULL);
	sigaction(SIGUSR1, &old, NULL);
	print_message("# %lu spawned, %lu failed as they should, %lu forked, %lu descriptors opened, %lu signals\n",
		      (unsigned long)spawned, (unsigned long)failed_well, (unsigned long)forked, (unsigned long)opened,
		      (unsigned long)signals);
	if (failures != 0)
		fail_msg("%d failures, the first: %s", (int)failures, first_failure);
	assert_true(there_was_enough());
	must_have_no_children();
	surroundings_must_equal(&before);
	free(witness);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
