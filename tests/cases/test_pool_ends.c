/* SPDX-License-Identifier: MIT
 *
 * Worker tasks that end without returning: workers, the manager or the template are killed, tasks are cancelled and
 * freed at any time, a pool is in a forked child. Each task gets exactly one answer, and the program's wait() sees none
 * of it.
 */
#include "../support/pool_support.h"

static int dies_by(const void *input, size_t length, odf_output *output)
{
	int signal = *(const int *)input;

	(void)length;
	(void)odf_output_write(output, "half", 4);
	if (signal == 0)
		exit(3);
	raise(signal);
	return 0;
}

static void test_worker_dies(void **state)
{
	const int signals[] = { SIGSEGV, SIGKILL, SIGTERM, 0 };
	odf_pool *pool = pool_of(0, 2, 0, 0);

	(void)state;
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		unsigned ms = 20;
		odf_task *other = submitted(pool, sleeps_ms, &ms, sizeof ms);
		odf_task *task = submitted(pool, dies_by, &signals[i], sizeof signals[i]);
		void *output = &ms;
		size_t length = 7;
		int status;

		assert_int_equal(odf_task_wait(task, &output, &length, 30000), ECHILD);
		assert_true(pool_info_of(pool).lost > i); /* a caller that has the answer must find it counted */
		assert_null(output);
		assert_int_equal(length, 0);
		status = info_of(task).wait_status;
		assert_int_equal(info_of(task).error, ECHILD);
		if (signals[i] == 0)
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
		else
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signals[i]);
		assert_int_equal(odf_task_wait(task, NULL, NULL, 0), ECHILD);
		assert_int_equal(odf_task_cancel(task), EALREADY);
		odf_task_free(task);
		assert_int_equal(answer_to(other), 0);
		must_work(pool);
	}
	assert_true(pool_info_of(pool).lost >= 4);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* Idle workers, busy ones, stopped ones. */
static void test_workers_are_killed(void **state)
{
	odf_pool *pool = pool_of(2, 2, 0, 0);
	pid_t workers[2];

	(void)state;
	for (int round = 0; round < 10; round++) {
		odf_task *tasks[3];
		for (int i = 0; i < 2; i++)
			tasks[i] = submitted(pool, pauses, NULL, 0);
		for (int i = 0; i < 2; i++)
			workers[i] = worker_of(tasks[i]);
		tasks[2] = submitted(pool, says_process, NULL, 0);
		if (round % 2 == 0)
			kill(workers[0], SIGSTOP);
		kill(workers[0], SIGKILL);
		assert_int_equal(odf_task_wait(tasks[0], NULL, NULL, 30000), ECHILD);
		assert_int_equal(odf_task_wait(tasks[2], NULL, NULL, 30000), 0);
		assert_int_equal(info_of(tasks[1]).state, ODF_TASK_RUNS);
		kill(workers[1], SIGSTOP);
		for (int i = 0; i < 3; i++)
			odf_task_free(tasks[i]); /* also the task of a stopped worker */
		must_be_gone_soon(workers[1]);
		workers[0] = output_of(submitted(pool, says_process, NULL, 0));
		kill(workers[0], SIGKILL);
		must_work(pool);
	}
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_cancel_and_free(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 8);
	odf_task *running, *waiting, *fresh;
	char *input = calloc(1, 1 << 20);
	pid_t worker;

	(void)state;
	assert_non_null(input);
	for (int i = 0; i < 20; i++) {
		running = submitted(pool, pauses, input, 1 << 20);
		worker = worker_of(running);
		waiting = submitted(pool, pauses, input, 1 << 20);
		fresh = submitted_with(pool, pauses, NULL, 0, ODF_TASK_FRESH, 0, 0, 0);
		assert_int_equal(odf_task_wait(waiting, NULL, NULL, 0), ETIMEDOUT);
		if (i % 2 == 0) {
			assert_int_equal(odf_task_cancel(waiting), 0);
			assert_int_equal(odf_task_cancel(fresh), 0);
			assert_int_equal(odf_task_wait(waiting, NULL, NULL, 0), ECANCELED);
			assert_int_equal(odf_task_wait(fresh, NULL, NULL, 0), ECANCELED);
			assert_int_equal(odf_task_cancel(waiting), EALREADY);
			assert_int_equal(odf_task_cancel(running), 0);
			assert_int_equal(odf_task_wait(running, NULL, NULL, 30000), ECANCELED);
			assert_int_equal(odf_task_wait(running, NULL, NULL, 0), ECANCELED);
		}
		if (i % 3 == 0)
			(void)odf_task_cancel(running);
		odf_task_free(fresh);
		odf_task_free(running);
		odf_task_free(waiting);
		must_work(pool);
		must_be_gone_soon(worker);
	}
	free(input);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static int spins_and_doubles(const void *input, size_t length, odf_output *output)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec < 40000);
	return twice(input, length, output);
}

/* A kill meant for one task must never hit the next: very short tasks, cancelled as they end, with others behind them
 * for the same worker. */
static void test_cancel_races(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 64);
	int cancelled = 0, answered = 0;

	(void)state;
	for (int i = 0; i < 600; i++) {
		int value = i;
		odf_task *first = submitted(pool, spins_and_doubles, &value, sizeof value);
		odf_task *second = submitted(pool, spins_and_doubles, &value, sizeof value), *third;
		struct timespec moment = { 0, i % 60 * 1000 };
		int error, answer;

		nanosleep(&moment, NULL);
		error = odf_task_cancel(first);
		third = submitted(pool, spins_and_doubles, &value, sizeof value);
		answer = odf_task_wait(first, NULL, NULL, 30000);
		assert_true(error == 0 ? answer == ECANCELED : error == EALREADY && answer == 0);
		cancelled += error == 0;
		answered += error != 0;
		assert_int_equal(output_of(second), 2 * i);
		if (i % 2 == 0)
			odf_task_free(third);
		else
			assert_int_equal(output_of(third), 2 * i);
		odf_task_free(first);
	}
	print_message("# %d cancelled, %d answered\n", cancelled, answered);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void *waits_for(void *task)
{
	return (void *)(intptr_t)odf_task_wait(task, NULL, NULL, 30000);
}

static void kill_and_look(odf_pool *pool, pid_t victim)
{
	odf_task *tasks[4];
	pthread_t waiter;
	void *answer;
	int value = 4;

	tasks[3] = submitted(pool, twice, &value, sizeof value);
	assert_int_equal(odf_task_wait(tasks[3], NULL, NULL, -1), 0);
	for (int i = 0; i < 3; i++)
		tasks[i] = submitted(pool, pauses, NULL, 0);
	(void)worker_of(tasks[0]);
	assert_int_equal(pthread_create(&waiter, NULL, waits_for, tasks[0]), 0);
	usleep(5000);
	kill(victim, SIGKILL);
	pthread_join(waiter, &answer);
	assert_int_equal((intptr_t)answer, ECHILD);
	for (int i = 0; i < 3; i++)
		assert_int_equal(answer_to(tasks[i]), ECHILD);
	assert_int_equal(output_of(tasks[3]), 8); /* as before */
	must_work(pool);
}

static void test_manager_is_killed(void **state)
{
	odf_pool *pool = pool_of(1, 2, 0, 0);
	struct pollfd ready = { .fd = odf_pool_descriptor(pool), .events = POLLIN };
	odf_task *task, *told;

	(void)state;
	must_work(pool);
	for (int i = 0; i < 3; i++) {
		kill_and_look(pool, pool_info_of(pool).manager);
		kill_and_look(pool, parent_of(pool_info_of(pool).manager)); /* the template */
	}
	/* An event loop is told as well. */
	task = submitted(pool, pauses, NULL, 0);
	(void)worker_of(task);
	kill(pool_info_of(pool).manager, SIGKILL);
	assert_int_equal(poll(&ready, 1, 30000), 1);
	assert_int_equal(odf_pool_finished(pool, &told, 30000), 0);
	assert_ptr_equal(told, task);
	assert_int_equal(odf_pool_finished(pool, &told, 0), ESRCH);
	assert_int_equal(poll(&ready, 1, 0), 0);
	assert_int_equal(answer_to(task), ECHILD);
	must_work(pool);
	/* A stopped manager blocks no thread forever. */
	kill(pool_info_of(pool).manager, SIGSTOP);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_destroy_answers(void **state)
{
	struct surroundings before = surroundings_take();
	odf_pool *pool = pool_of(0, 1, 0, 0);
	odf_task *done, *running, *waiting, *forked;
	int value = 5;
	void *output;
	pid_t worker;

	(void)state;
	done = submitted(pool, twice, &value, sizeof value);
	assert_int_equal(odf_task_wait(done, NULL, NULL, -1), 0);
	running = submitted(pool, pauses, NULL, 0);
	worker = worker_of(running);
	waiting = submitted(pool, pauses, NULL, 0);
	forked = submitted_with(pool, pauses, NULL, 0, ODF_TASK_FORK, 0, 0, 0);
	assert_int_equal(odf_pool_destroy(pool), 0);
	must_be_gone_soon(worker);
	assert_int_equal(odf_task_wait(running, NULL, NULL, -1), ECANCELED);
	assert_int_equal(odf_task_wait(waiting, NULL, NULL, -1), ECANCELED);
	assert_int_equal(odf_task_wait(forked, NULL, NULL, -1), ECANCELED);
	assert_int_equal(odf_task_cancel(running), EALREADY);
	assert_int_equal(odf_task_wait(done, &output, NULL, 0), 0);
	assert_int_equal(*(int *)output, 10);
	odf_task_free(running);
	odf_task_free(waiting);
	odf_task_free(done);
	odf_task_free(forked);
	surroundings_must_equal(&before);
}

/* ---- A forked child ---- */

static void test_in_a_child(void **state)
{
	odf_pool *pool = pool_of(1, 1, 0, 0);
	odf_task *task = submitted(pool, pauses, NULL, 0), *other;
	pid_t pid;

	(void)state;
	(void)worker_of(task);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		odf_task_info info = ODF_TASK_INFO_INIT;
		int wrong = 0;

		wrong |= odf_pool_submit(pool, twice, NULL, 0, &other) != EPERM;
		wrong |= (odf_task_wait(task, NULL, NULL, -1) != EPERM) << 1;
		wrong |= (odf_task_cancel(task) != EPERM) << 2;
		wrong |= (odf_task_info_get(task, &info) != EPERM) << 3;
		wrong |= (odf_pool_finished(pool, &other, -1) != EPERM) << 4;
		wrong |= (odf_pool_descriptor(pool) != -1 || errno != EPERM) << 5;
		wrong |= (odf_pool_destroy(pool) != EPERM) << 6;
		odf_task_free(task);
		pool = odf_pool_create(NULL); /* it may have a pool of its own */
		if (pool == NULL || odf_pool_submit(pool, twice, "1234", 4, &other) != 0 ||
		    odf_task_wait(other, NULL, NULL, 30000) != 0)
			wrong |= 128;
		_exit(wrong);
	}
	must_exit_with(pid, 0);
	assert_int_equal(odf_task_wait(task, NULL, NULL, 0), ETIMEDOUT);
	odf_task_free(task);
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* And a worker is a forked child. */
static odf_pool *outer_pool;

static int submits_itself(const void *input, size_t length, odf_output *output)
{
	odf_task *task;
	odf_pool *pool;

	(void)length;
	(void)output;
	memcpy(&pool, input, sizeof pool);
	return odf_pool_submit(pool, twice, NULL, 0, &task);
}

static void test_in_a_worker(void **state)
{
	odf_task *task;

	(void)state;
	outer_pool = pool_of(0, 1, 0, 0);
	/* The template was forked in the middle of odf_pool_create: the pool's data there is incomplete, or not the
	 * process's own. */
	task = submitted(outer_pool, submits_itself, &outer_pool, sizeof outer_pool);
	assert_int_equal(odf_task_wait(task, NULL, NULL, 30000), 0);
	assert_int_equal(info_of(task).result, EPERM);
	odf_task_free(task);
	assert_int_equal(odf_pool_destroy(outer_pool), 0);
}

/* ---- Nothing is visible to the program ---- */

static _Atomic int children_announced;

static void on_child(int signal)
{
	(void)signal;
	children_announced++;
}

/* A thread that waits for any child, as in servers. */
static void *waits_for_any(void *stop)
{
	intptr_t found = 0;

	while (!*(_Atomic bool *)stop)
		found += waitpid(-1, NULL, WNOHANG) >= 0; /* 0: there is a child */
	return (void *)found;
}

static void test_nothing_is_seen(void **state)
{
	struct sigaction action = { .sa_handler = on_child }, old;
	struct surroundings before = surroundings_take();
	_Atomic bool stop = false;
	pthread_t waiter;
	odf_pool *pool;
	pid_t manager;
	void *found;
	int signal = SIGSEGV;

	(void)state;
	sigaction(SIGCHLD, &action, &old);
	children_announced = 0;
	assert_int_equal(pthread_create(&waiter, NULL, waits_for_any, &stop), 0);
	pool = pool_of(0, 2, 10, 0);
	must_have_no_children();
	for (int i = 0; i < 5; i++) {
		assert_int_equal(answer_to(submitted(pool, dies_by, &signal, sizeof signal)), ECHILD);
		must_have_no_children();
		assert_int_equal(answer_to(submitted_with(pool, twice, "1234", 4, ODF_TASK_FRESH, 0, 0, 0)), 0);
		assert_int_equal(answer_to(submitted_with(pool, twice, "1234", 4, ODF_TASK_FORK, 0, 0, 0)), 0);
		must_work(pool);
	}
	usleep(30000); /* the idle workers end */
	manager = pool_info_of(pool).manager;
	kill(manager, SIGKILL);
	/* A task submitted before the end was noticed gets this answer, or is run by a worker that has not ended
	 * yet. */
	while (answer_to(submitted(pool, twice, "1234", 4)) == ECHILD || pool_info_of(pool).manager == manager)
		;
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
	must_have_no_children();
	stop = true;
	pthread_join(waiter, &found);
	assert_null(found);
	assert_int_equal(children_announced, 0);
	sigaction(SIGCHLD, &old, NULL);
	surroundings_must_equal(&before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker_dies),
		cmocka_unit_test(test_workers_are_killed),
		cmocka_unit_test(test_cancel_and_free),
		cmocka_unit_test(test_cancel_races),
		cmocka_unit_test(test_manager_is_killed),
		cmocka_unit_test(test_destroy_answers),
		cmocka_unit_test(test_in_a_child),
		cmocka_unit_test(test_in_a_worker),
		cmocka_unit_test(test_nothing_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
