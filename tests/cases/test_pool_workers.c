/* SPDX-License-Identifier: MIT
 *
 * The workers of a pool: their number, fresh ones and forks of the program as it is now, limits, and what a task finds
 * in its process.
 */
#include <fcntl.h>
#include <sched.h>

#include "../support/pool_support.h"

/* ---- Workers ---- */

static void test_workers_come_and_go(void **state)
{
	odf_pool *pool = pool_of(1, 4, 50, 0);
	odf_task *tasks[6];
	odf_pool_info info = ODF_POOL_INFO_INIT;
	pid_t workers[4];

	(void)state;
	must_work(pool);
	for (int i = 0; i < 6; i++)
		tasks[i] = submitted(pool, pauses, NULL, 0);
	for (int i = 0; i < 4; i++)
		workers[i] = worker_of(tasks[i]);
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			assert_int_not_equal(workers[i], workers[k]);
	usleep(50000); /* no further worker comes */
	assert_int_equal(info_of(tasks[4]).state, ODF_TASK_WAITS);
	assert_int_equal(pool_info_of(pool).workers, 4);
	for (int i = 5; i >= 0; i--)
		odf_task_free(tasks[i]);
	for (int i = 0; i < 60000; i++) {
		info = pool_info_of(pool);
		if (info.workers == 1 && info.idle == 1)
			break;
		usleep(1000);
	}
	assert_int_equal(info.workers, 1);
	must_work(pool);
	/* No task is lost when workers retire. */
	for (int i = 0; i < 30; i++) {
		unsigned ms = 5;
		for (int k = 0; k < 4; k++)
			tasks[k] = submitted(pool, sleeps_ms, &ms, sizeof ms);
		for (int k = 0; k < 4; k++)
			assert_int_equal(answer_to(tasks[k]), 0);
		usleep(i % 3 * 30000);
	}
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static int counter;

static int counts(const void *input, size_t length, odf_output *output)
{
	(void)input, (void)length;
	counter++;
	return odf_output_write(output, &counter, sizeof counter);
}

static void test_fresh_and_recycled(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);
	odf_task *busy, *fresh;
	unsigned ms = 30;

	(void)state;
	counter = 10;
	assert_int_equal(output_of(submitted(pool, counts, NULL, 0)), 1); /* as in the program: 0 */
	assert_int_equal(output_of(submitted(pool, counts, NULL, 0)), 2);
	for (int i = 0; i < 3; i++)
		assert_int_equal(output_of(submitted_with(pool, counts, NULL, 0, ODF_TASK_FRESH, 0, 0, 0)), 1);
	assert_int_equal(output_of(submitted(pool, counts, NULL, 0)), 1); /* the other worker has made room for them */
	/* All are busy: the task waits until one is free. */
	busy = submitted(pool, sleeps_ms, &ms, sizeof ms);
	fresh = submitted_with(pool, counts, NULL, 0, ODF_TASK_FRESH, 0, 0, 0);
	assert_int_equal(output_of(fresh), 1);
	assert_int_equal(answer_to(busy), 0);
	/* The program as it is now. */
	assert_int_equal(output_of(submitted_with(pool, counts, NULL, 0, ODF_TASK_FORK, 0, 0, 0)), 11);
	counter = 20;
	assert_int_equal(output_of(submitted_with(pool, counts, NULL, 0, ODF_TASK_FORK, 0, 0, 0)), 21);
	assert_int_equal(counter, 20);
	assert_int_equal(odf_pool_destroy(pool), 0);
	counter = 0;
	/* If the pool has only its minimum of workers: idle, about to be idle, just made. */
	pool = pool_of(2, 2, 0, 0);
	for (int i = 0; i < 200; i++) {
		if (i % 3 == 0)
			must_work(pool);
		fresh = submitted_with(pool, counts, NULL, 0, ODF_TASK_FRESH, 0, 0, 0);
		assert_int_equal(output_of(fresh), 1);
	}
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* ---- Limits ---- */

/* A sanitizer itself uses terabytes of address space. */
#ifdef __SANITIZE_ADDRESS__
#define TAKES_ADDRESSES true
#else
#define TAKES_ADDRESSES false
#endif

static int spins(const void *input, size_t length, odf_output *output)
{
	volatile unsigned long sum = 0;

	(void)input, (void)length, (void)output;
	for (;;)
		sum = sum + 1;
	return 0;
}

static int allocates_64_mib(const void *input, size_t length, odf_output *output)
{
	void *volatile block = malloc((size_t)64 << 20);
	int got = block != NULL;

	(void)input, (void)length;
	free(block);
	return odf_output_write(output, &got, sizeof got);
}

static void test_limits(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);
	odf_task *task;
	unsigned ms = 1;

	(void)state;
	task = submitted_with(pool, pauses, NULL, 0, 0, 20, 0, 0);
	assert_int_equal(odf_task_wait(task, NULL, NULL, 30000), ETIME);
	assert_int_equal(info_of(task).error, ETIME);
	assert_true(WIFSIGNALED(info_of(task).wait_status));
	odf_task_free(task);
	assert_int_equal(answer_to(submitted_with(pool, spins, NULL, 0, 0, 0, 30, 0)), ETIME);
	assert_int_equal(answer_to(submitted_with(pool, spins, NULL, 0, ODF_TASK_FORK, 0, 30, 0)), ETIME);
	/* A task within its limits is left alone, and so are later tasks. */
	assert_int_equal(answer_to(submitted_with(pool, sleeps_ms, &ms, sizeof ms, 0, 10000, 10000, 0)), 0);
	ms = 50;
	assert_int_equal(answer_to(submitted(pool, sleeps_ms, &ms, sizeof ms)), 0);
	if (!TAKES_ADDRESSES) {
		assert_int_equal(output_of(submitted_with(pool, allocates_64_mib, NULL, 0, 0, 0, 0, 16 << 20)), 0);
		assert_int_equal(output_of(submitted(pool, allocates_64_mib, NULL, 0)), 1);
		assert_int_equal(output_of(submitted_with(pool, allocates_64_mib, NULL, 0, 0, 0, 0, 256 << 20)), 1);
		assert_int_equal(output_of(submitted_with(pool, allocates_64_mib, NULL, 0, 0, 0, 0, SIZE_MAX)), 1);
	}
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* ---- Inside a task ---- */

static void on_signal(int signal)
{
	(void)signal;
}

struct inside {
	bool handled, ignored, child, blocked;
	int descriptors;
	pid_t group, parent_group;
};

static int looks_around(const void *input, size_t length, odf_output *output)
{
	struct inside inside = { .group = getpgrp() };
	struct sigaction action;
	sigset_t mask;

	(void)input, (void)length;
	sigaction(SIGUSR1, NULL, &action);
	inside.handled = action.sa_handler != SIG_DFL;
	sigaction(SIGUSR2, NULL, &action);
	inside.ignored = action.sa_handler == SIG_IGN;
	sigaction(SIGCHLD, NULL, &action);
	inside.child = action.sa_handler == SIG_DFL;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int signal = 1; signal < 32; signal++)
		inside.blocked = inside.blocked || sigismember(&mask, signal) == 1;
	for (int fd = 3; fd < 20; fd++)
		inside.descriptors += fcntl(fd, F_GETFD) >= 0;
	return odf_output_write(output, &inside, sizeof inside);
}

static void test_inside(void **state)
{
	struct sigaction handler = { .sa_handler = on_signal }, ignored = { .sa_handler = SIG_IGN }, old[2];
	int pipes[2];
	struct inside *inside;
	odf_task *task;
	odf_pool *pool;
	sigset_t some, mask;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	sigaction(SIGUSR1, &handler, &old[0]);
	sigaction(SIGUSR2, &ignored, &old[1]);
	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	sigprocmask(SIG_BLOCK, &some, &mask);
	pool = pool_of(0, 1, 0, 0);
	task = submitted(pool, looks_around, NULL, 0);
	assert_int_equal(odf_task_wait(task, (void **)&inside, NULL, -1), 0);
	assert_false(inside->handled);
	assert_true(inside->ignored);
	assert_true(inside->child);
	assert_false(inside->blocked);
	assert_int_not_equal(inside->group, getpgrp());
	odf_task_free(task);
	/* No process of the pool holds the pipe. */
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &some, 1), 0);
	close(pipes[0]);
	assert_int_equal(odf_pool_destroy(pool), 0);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	sigaction(SIGUSR1, &old[0], NULL);
	sigaction(SIGUSR2, &old[1], NULL);
}

/* libc knows its processor by restartable sequences, where it has them. */
static int goes_around(const void *input, size_t length, odf_output *output)
{
	cpu_set_t all, one;
	int wrong = 0;

	(void)input, (void)length, (void)output;
	if (sched_getaffinity(0, sizeof all, &all) != 0)
		return -1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		wrong += sched_setaffinity(0, sizeof one, &one) != 0 || sched_getcpu() != cpu;
	}
	return wrong;
}

static void test_processor(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);
	odf_task *task = submitted(pool, goes_around, NULL, 0);

	(void)state;
	assert_int_equal(odf_task_wait(task, NULL, NULL, 30000), 0);
	assert_int_equal(info_of(task).result, 0);
	odf_task_free(task);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static int prints(const void *input, size_t length, odf_output *output)
{
	(void)input, (void)length, (void)output;
	printf("task\n");
	return 0;
}

static int forks_and_returns(const void *input, size_t length, odf_output *output)
{
	pid_t pid = fork();
	int status = -1;

	(void)input, (void)length;
	if (pid == 0)
		return odf_output_write(output, "child", 5);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 1;
	return odf_output_write(output, "once", 4);
}

/* A child whose standard output is a file. */
static void prints_into(const char *path)
{
	odf_pool *pool;
	odf_task *task;

	if (freopen(path, "w", stdout) == NULL)
		_exit(1);
	printf("before "); /* stays in the buffer */
	pool = odf_pool_create(NULL);
	if (pool == NULL || odf_pool_submit(pool, prints, NULL, 0, &task) != 0 ||
	    odf_task_wait(task, NULL, NULL, -1) != 0)
		_exit(2);
	odf_task_free(task);
	if (odf_pool_destroy(pool) != 0)
		_exit(3);
	printf("after\n");
	fflush(stdout);
	_exit(0);
}

static void test_streams_and_children(void **state)
{
	const char *path = scratch_path("printed");
	pid_t pid = fork();
	odf_pool *pool;
	odf_task *task;
	void *output;
	size_t length;
	char *text;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		prints_into(path);
	must_exit_with(pid, 0);
	text = read_file(path);
	/* Both have the same file offset. */
	assert_string_equal(text, "task\nbefore after\n");
	free(text);
	pool = pool_of(0, 1, 0, 0);
	task = submitted(pool, forks_and_returns, NULL, 0);
	assert_int_equal(odf_task_wait(task, &output, &length, 30000), 0);
	assert_int_equal(length, 4);
	assert_memory_equal(output, "once", 4);
	odf_task_free(task);
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_workers_come_and_go),
		cmocka_unit_test(test_fresh_and_recycled),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_inside),
		cmocka_unit_test(test_processor),
		cmocka_unit_test(test_streams_and_children),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
