/* SPDX-License-Identifier: MIT
 *
 * Processes that a pool's template makes: they run a function of the program, with descriptors, and no wait() sees
 * them.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "pool_processes.h"

/* Writes the list of its descriptors to the first one given. */
static int tells_descriptors(const void *argument, size_t length, const int *fds, size_t count)
{
	char text[64];
	int open_ones = 0, n;

	(void)argument, (void)length;
	for (int fd = 0; fd < 1024; fd++)
		open_ones += fcntl(fd, F_GETFD) >= 0;
	n = snprintf(text, sizeof text, "%zu %d", count, open_ones);
	return write(fds[0], text, (size_t)n) == n ? 0 : 1;
}

static int says_on_output(const void *argument, size_t length, const int *fds, size_t count)
{
	(void)fds, (void)count;
	return write(1, argument, length) == (ssize_t)length ? 0 : 1;
}

static void test_function_runs(void **state)
{
	odf_pool *pool = pool_made();
	struct pool_process process;
	int status, argument = 21;

	(void)state;
	assert_int_equal(pool_process_make(pool, twice, &argument, sizeof argument, NULL, 0, &process), 0);
	assert_int_equal(pool_process_wait(&process, -1, &status), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	pool_process_forget(&process);
	must_have_no_children();
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_nothing_is_left_open(void **state)
{
	struct surroundings before = surroundings_take();

	(void)state;
	for (int i = 0; i < 5; i++) {
		odf_pool *pool = pool_made();
		struct pool_process process = made(pool, pauses);
		pool_process_forget(&process);
		assert_int_equal(odf_pool_destroy(pool), 0);
	}
	surroundings_must_equal(&before);
}

static volatile sig_atomic_t children_ended;
static void count_children(int signal)
{
	(void)signal;
	children_ended++;
}

/* SIGCHLD of the program's own child that ends meanwhile is not lost. */
static void test_no_signal(void **state)
{
	struct sigaction count = { .sa_handler = count_children }, old;
	sigset_t child, before;
	odf_pool *pool;
	pid_t pid;

	(void)state;
	assert_int_equal(sigaction(SIGCHLD, &count, &old), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(odf_pool_destroy(pool_made()), 0);
	assert_int_equal(children_ended, 0);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	assert_int_equal(sigprocmask(SIG_BLOCK, &child, &before), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(9);
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	pool = pool_made();
	assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
	assert_int_equal(children_ended, 1);
	must_exit_with(pid, 9);
	assert_int_equal(odf_pool_destroy(pool), 0);
	assert_int_equal(sigaction(SIGCHLD, &old, NULL), 0);
}

/* A message that is no request, or is truncated, is skipped; and many large ones wait for room. */
static void *makes_large(void *pool)
{
	static char argument[POOL_ARGUMENT_MOST];
	struct pool_process process;
	int status;

	if (pool_process_make(pool, twice, argument, sizeof argument, NULL, 0, &process) != 0 ||
	    pool_process_wait(&process, -1, &status) != 0 || WEXITSTATUS(status) != 255)
		return pool;
	pool_process_forget(&process);
	return NULL;
}

static void test_bad_messages(void **state)
{
	odf_pool *pool = pool_made();
	struct pool_message message = { .kind = POOL_READY };
	pid_t template = pool->template_pid;
	static char bytes[POOL_ARGUMENT_MOST + 1000];
	pthread_t threads[24];
	int fds[3] = { 0, 1, 2 };

	(void)state;
	assert_int_equal(pool_send(pool->channel, &message, NULL, 0, fds, 3, -1), 0);
	message.kind = POOL_MAKE;
	message.length = 5; /* but there is no data */
	assert_int_equal(pool_send(pool->channel, &message, NULL, 0, fds, 1, -1), 0);
	message.count = 9; /* but there are no descriptors */
	assert_int_equal(pool_send(pool->channel, &message, bytes, 5, fds, 1, -1), 0);
	assert_int_equal(pool_send(pool->channel, &message, bytes, sizeof bytes, fds, 3, -1), 0);
	assert_int_equal(write(pool->channel, "x", 1), 1);
	assert_int_equal(kill(template, SIGSTOP), 0);
	for (size_t i = 0; i < 24; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, makes_large, pool), 0);
	for (size_t i = 0; i < 24; i++) {
		void *failed;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_int_equal(pool->template_pid, template);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_descriptors(void **state)
{
	odf_pool *pool;
	struct pool_process process;
	int ends[2], fds[2], status, left_open = open("/dev/null", O_RDONLY);
	char text[64] = "";

	(void)state;
	assert_true(left_open >= 0);
	pool = pool_made();
	assert_int_equal(pipe(ends), 0);
	fds[0] = ends[1];
	fds[1] = ends[1];
	assert_int_equal(pool_process_make(pool, tells_descriptors, NULL, 0, fds, 2, &process), 0);
	close(ends[1]);
	assert_true(read(ends[0], text, sizeof text - 1) > 0);
	assert_string_equal(text, "2 5"); /* those two and the standard three */
	assert_int_equal(pool_process_wait(&process, -1, &status), 0);
	assert_int_equal(status, 0);
	assert_int_equal(read(ends[0], text, sizeof text), 0); /* no other process has them */
	close(ends[0]);
	close(left_open);
	pool_process_forget(&process);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_standard_output_is_of_now(void **state)
{
	odf_pool *pool = pool_made();
	struct pool_process process;
	int ends[2], saved = dup(1), status;
	char text[8] = "";

	(void)state;
	assert_int_equal(pipe(ends), 0);
	fflush(stdout);
	assert_int_equal(dup2(ends[1], 1), 1);
	assert_int_equal(pool_process_make(pool, says_on_output, "said", 4, NULL, 0, &process), 0);
	dup2(saved, 1);
	close(ends[1]);
	assert_int_equal(pool_process_wait(&process, -1, &status), 0);
	assert_int_equal(status, 0);
	assert_int_equal(read(ends[0], text, sizeof text), 4);
	assert_memory_equal(text, "said", 4);
	close(ends[0]);
	close(saved);
	pool_process_forget(&process);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_bad_input(void **state)
{
	odf_pool_options options = ODF_POOL_OPTIONS_INIT;
	struct pool_process process;
	static char large[POOL_ARGUMENT_MOST + 1];
	odf_pool *pool;

	(void)state;
	options.size = 3;
	errno = 0;
	assert_null(odf_pool_create(&options));
	assert_int_equal(errno, EINVAL);
	options.size = 5000;
	assert_null(odf_pool_create(&options));
	assert_int_equal(errno, E2BIG);
	options = ODF_POOL_OPTIONS_INIT;
	options.flags = 1ull << 63;
	assert_null(odf_pool_create(&options));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(odf_pool_destroy(NULL), EINVAL);
	pool = pool_made();
	assert_int_equal(pool_process_make(pool, pauses, large, sizeof large, NULL, 0, &process), E2BIG);
	assert_int_equal(pool_process_make(pool, pauses, NULL, 0, (const int[]){ 1000 }, 1, &process), EBADF);
	assert_int_equal(odf_pool_destroy(pool), 0);
	options.flags = ODF_POOL_NO_TASKS;
	pool = odf_pool_create(&options);
	assert_non_null(pool);
	assert_int_equal(pool_process_make(pool, pauses, NULL, 0, NULL, 0, &process), ENOTSUP);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* No descriptor is left: the call fails, and works once there is one again. */
static void test_descriptors_exhausted(void **state)
{
	odf_pool *pool = pool_made();
	struct rlimit limit, few;
	struct pool_process process;
	struct surroundings before;
	int status, argument = 1, last;

	(void)state;
	before = surroundings_take();
	last = dup(0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few = limit;
	few.rlim_cur = (rlim_t)last + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(pool_process_make(pool, twice, &argument, sizeof argument, NULL, 0, &process), EMFILE);
	assert_null(odf_pool_create(NULL));
	assert_int_equal(errno, EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	close(last);
	surroundings_must_equal(&before);
	assert_int_equal(pool_process_make(pool, twice, &argument, sizeof argument, NULL, 0, &process), 0);
	assert_int_equal(pool_process_wait(&process, -1, &status), 0);
	pool_process_forget(&process);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_function_runs),
		cmocka_unit_test(test_nothing_is_left_open),
		cmocka_unit_test(test_no_signal),
		cmocka_unit_test(test_bad_messages),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_standard_output_is_of_now),
		cmocka_unit_test(test_bad_input),
		cmocka_unit_test(test_descriptors_exhausted),
	};

	return cmocka_run_group_tests_name("processes of a pool's template", tests, NULL, NULL);
}
