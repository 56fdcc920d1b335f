/* SPDX-License-Identifier: MIT
 *
 * Worker tasks and a kill between two steps that are too close to be hit by chance. The test produces by hand the state
 * that the kill would leave.
 */
#include "../../src/pool/crew.h"
#include "../../src/pool/internal.h"
#include "../support/pool_support.h"

/* As a worker that is killed before it has claimed the task that it took: the task is in no ring. */
static void lose_hint(odf_pool *pool)
{
	struct share *share = atomic_load(&pool->tasks)->current->view.head;

	assert_int_equal(atomic_load(&share->tail) - atomic_load(&share->head), 1);
	atomic_fetch_add(&share->head, 1);
}

/* `sleeps`: the other worker is idle and sleeps when the first one is killed; otherwise it is busy until the kill is
 * known. */
static void lose_and_kill(bool sleeps)
{
	odf_pool *pool = pool_of(1, 2, 0, 0);
	odf_task *killed, *other, *lost;
	pid_t worker;
	int value = 6;

	/* A worker that has just started looks by itself. */
	do {
		unsigned moment = 10;
		killed = submitted(pool, sleeps_ms, &moment, sizeof moment);
		other = submitted(pool, sleeps_ms, &moment, sizeof moment);
		assert_int_equal(answer_to(killed), 0);
		assert_int_equal(answer_to(other), 0);
		usleep(5000);
	} while (pool_info_of(pool).idle < 2);
	killed = submitted(pool, pauses, NULL, 0);
	worker = worker_of(killed);
	atomic_store(go, false);
	other = submitted(pool, until_told, NULL, 0);
	(void)worker_of(other);
	lost = submitted(pool, twice, &value, sizeof value);
	lose_hint(pool);
	atomic_store(go, sleeps);
	while (sleeps && pool_info_of(pool).idle == 0)
		usleep(1000);
	usleep(sleeps ? 100000 : 0); /* it has looked for tasks */
	assert_int_equal(odf_task_wait(lost, NULL, NULL, 0), ETIMEDOUT);
	kill(worker, SIGKILL);
	assert_int_equal(odf_task_wait(killed, NULL, NULL, 120000), ECHILD);
	atomic_store(go, true);
	assert_int_equal(output_of(lost), 12);
	assert_int_equal(answer_to(other), 0);
	assert_int_equal(answer_to(killed), ECHILD);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_lost_hint(void **state)
{
	(void)state;
	lose_and_kill(false); /* a busy worker looks when it is done */
	lose_and_kill(true); /* a sleeping worker is woken to look */
}

/* The manager has no chance to kill the worker: a condemned worker waits for its kill, and takes no other task. */
static void test_condemned_worker_waits(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);
	unsigned ms = 50;
	odf_task *first, *second;
	pid_t manager;

	(void)state;
	must_work(pool);
	manager = pool_info_of(pool).manager;
	atomic_store(go, false);
	first = submitted(pool, until_told, NULL, 0);
	(void)worker_of(first);
	second = submitted(pool, sleeps_ms, &ms, sizeof ms);
	kill(manager, SIGSTOP);
	assert_int_equal(odf_task_cancel(first), 0);
	atomic_store(go, true);
	usleep(75000);
	assert_int_equal(odf_task_wait(second, NULL, NULL, 0), ETIMEDOUT);
	kill(manager, SIGCONT);
	assert_int_equal(answer_to(first), ECANCELED);
	assert_int_equal(answer_to(second), 0);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_hint),
		cmocka_unit_test(test_condemned_worker_waits),
	};

	if (!share_go())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
