/* SPDX-License-Identifier: MIT
 *
 * Event loops and threads that take tasks as they end. No thread waits for a task that no longer exists, whichever
 * thread freed it or got its answer; and the descriptor is not readable without an ended task. An alarm ends what may
 * hang.
 */
#include <sched.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../../src/pool/crew.h"
#include "../../src/pool/internal.h"
#include "../support/pool_support.h"

enum { ALARM_SECONDS = 600 };

static void must_not_be_readable(odf_pool *pool)
{
	struct pollfd ready = { .fd = odf_pool_descriptor(pool), .events = POLLIN };
	odf_task *told;

	assert_int_equal(odf_pool_finished(pool, &told, 0), ESRCH);
	assert_int_equal(poll(&ready, 1, 0), 0);
}

/* A child that lives on has copies of the descriptors of a task that had a crew of its own. */
static void test_copies_in_a_child(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);
	int value = 4;
	odf_task *task, *told;
	pid_t child, manager;

	(void)state;
	task = submitted_with(pool, twice, &value, sizeof value, ODF_TASK_FORK, 0, 0, 0);
	manager = task->crew->manager.pid;
	assert_int_equal(odf_pool_finished(pool, &told, 30000), 0);
	assert_ptr_equal(told, task);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		for (prctl(PR_SET_PDEATHSIG, SIGKILL);;)
			pause();
	odf_task_free(task);
	must_be_gone_soon(manager);
	must_not_be_readable(pool);
	must_work(pool);
	must_not_be_readable(pool);
	assert_int_equal(kill(child, SIGKILL), 0);
	wait_for(child);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

static atomic_int waiter_id;

static void *waits_for_one(void *pool)
{
	odf_task *told;

	atomic_store(&waiter_id, (int)syscall(SYS_gettid));
	return (void *)(intptr_t)odf_pool_finished(pool, &told, -1);
}

/* The thread has nothing else to sleep on before that. */
static void must_sleep(void)
{
	do
		usleep(10000);
	while (atomic_load(&waiter_id) == 0 || !is_asleep(atomic_load(&waiter_id)));
}

static void test_last_task_is_freed(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);

	(void)state;
	alarm(ALARM_SECONDS);
	for (int way = 0; way < 2; way++) {
		odf_task *running = submitted(pool, pauses, NULL, 0), *waiting;
		pthread_t waiter;
		void *answer;

		(void)worker_of(running);
		waiting = submitted(pool, pauses, NULL, 0);
		atomic_store(&waiter_id, 0);
		assert_int_equal(pthread_create(&waiter, NULL, waits_for_one, pool), 0);
		must_sleep();
		odf_task_free(way == 0 ? running : waiting);
		if (way == 0) /* it may run by now */
			assert_int_equal(odf_task_wait(waiting, NULL, NULL, 0), ETIMEDOUT);
		odf_task_free(way == 0 ? waiting : running);
		assert_int_equal(pthread_join(waiter, &answer), 0);
		assert_int_equal((intptr_t)answer, ESRCH);
	}
	alarm(0);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static bool is_told(odf_pool *pool)
{
	struct pollfd ready = { .fd = atomic_load(&pool->tasks)->tell, .events = POLLIN };
	uint64_t drained;

	return poll(&ready, 1, 0) == 1 && read(ready.fd, &drained, sizeof drained) == sizeof drained;
}

/* A task that no longer needs to be awaited is reported to the threads that wait for tasks, also if there are
 * others. */
static void test_each_that_goes_is_told(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);
	int value = 4;
	odf_task *running, *waiting, *ended = submitted(pool, twice, &value, sizeof value);
	struct pollfd ready = { .fd = odf_pool_descriptor(pool), .events = POLLIN };

	(void)state;
	assert_int_equal(poll(&ready, 1, 30000), 1);
	assert_true(is_told(pool) && !is_told(pool));
	running = submitted(pool, pauses, NULL, 0);
	waiting = submitted(pool, pauses, NULL, 0);
	atomic_fetch_add(&atomic_load(&pool->tasks)->waiting, 1);
	assert_int_equal(odf_task_wait(running, NULL, NULL, 0), ETIMEDOUT);
	assert_false(is_told(pool));
	assert_int_equal(odf_task_wait(ended, NULL, NULL, 30000), 0);
	assert_true(is_told(pool));
	odf_task_free(ended); /* its answer is known already */
	assert_false(is_told(pool));
	odf_task_free(waiting);
	assert_true(is_told(pool));
	atomic_fetch_sub(&atomic_load(&pool->tasks)->waiting, 1);
	odf_task_free(running);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void *takes_all(void *pool)
{
	odf_task *told;
	int error;

	while ((error = odf_pool_finished(pool, &told, -1)) == 0)
		odf_task_free(told);
	return (void *)(intptr_t)error;
}

/* On one processor, so that the thread that is woken first has often finished before the other one looks. */
static void test_last_task_is_taken(void **state)
{
	odf_pool *pool = pool_of(1, 1, 0, 0);
	cpu_set_t before, one;
	int cpu = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
	while (!CPU_ISSET(cpu, &before))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	alarm(ALARM_SECONDS);
	for (int round = 0; round < 300; round++) {
		unsigned ms = 1;
		pthread_t takers[3];
		void *answer;

		for (int i = 0; i < 1 + round % 3; i++)
			(void)submitted(pool, sleeps_ms, &ms, sizeof ms);
		for (int i = 0; i < 3; i++)
			assert_int_equal(pthread_create(&takers[i], NULL, takes_all, pool), 0);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(pthread_join(takers[i], &answer), 0);
			assert_int_equal((intptr_t)answer, ESRCH);
		}
	}
	alarm(0);
	assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copies_in_a_child),
		cmocka_unit_test(test_last_task_is_freed),
		cmocka_unit_test(test_each_that_goes_is_told),
		cmocka_unit_test(test_last_task_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
