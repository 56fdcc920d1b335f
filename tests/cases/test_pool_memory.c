/* SPDX-License-Identifier: MIT
 *
 * Worker tasks and memory: what their memory limit covers, and a worker that the kernel kills for lack of memory, in a
 * memory cgroup of the test's own (v1 or v2; skipped if none can be made).
 */
#include <sys/mman.h>

#include "../../src/pool/internal.h"
#include "../support/cgroup.h"
#include "../support/pool_support.h"

enum { MIB = 1 << 20, GROUP_MIB = 48 };

static char group[CGROUP_PATH];

/* Touches this many bytes. */
static int takes(const void *input, size_t length, odf_output *output)
{
	size_t size = *(const size_t *)input;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)length, (void)output;
	if (memory == MAP_FAILED)
		return errno;
	for (size_t i = 0; i < size; i += 4096)
		memory[i] = 1;
	munmap(memory, size);
	return 0;
}

/* The processes of the pool enter the cgroup, and those that they make from then on are in it too. Two tasks that run
 * at once have a worker each, and there are no more. */
static void enter_all(odf_pool *pool)
{
	odf_task *tasks[2];

	atomic_store(go, false);
	for (int i = 0; i < 2; i++)
		tasks[i] = submitted(pool, until_told, NULL, 0);
	for (int i = 0; i < 2; i++)
		assert_true(cgroup_enter(group, worker_of(tasks[i])));
	assert_true(cgroup_enter(group, pool->template_pid));
	assert_true(pool_info_of(pool).manager > 0 && cgroup_enter(group, pool_info_of(pool).manager));
	atomic_store(go, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(answer_to(tasks[i]), 0);
}

static void test_worker_is_killed_for_memory(void **state)
{
	const size_t little = 4 * MIB, much = 4 * (size_t)GROUP_MIB * MIB;
	char bytes[32];
	odf_pool *pool;

	(void)state;
	snprintf(bytes, sizeof bytes, "%d", GROUP_MIB * MIB);
	if (!cgroup_make_memory(group, bytes)) {
		skip_because("no memory cgroup can be made here");
		return;
	}
	assert_true(share_go());
	pool = pool_of(1, 2, 0, 0);
	enter_all(pool);
	for (int i = 0; i < 3; i++) {
		uint64_t flags = i == 2 ? ODF_TASK_FRESH : 0;
		unsigned ms = 100;
		odf_task *other = submitted(pool, sleeps_ms, &ms, sizeof ms), *last;
		odf_task *task = submitted_with(pool, takes, &much, sizeof much, flags, 0, 0, 0);

		last = submitted(pool, takes, &little, sizeof little);
		assert_int_equal(odf_task_wait(task, NULL, NULL, 60000), ECHILD);
		assert_true(WIFSIGNALED(info_of(task).wait_status));
		assert_int_equal(WTERMSIG(info_of(task).wait_status), SIGKILL);
		odf_task_free(task);
		assert_int_equal(odf_task_wait(other, NULL, NULL, 60000), 0);
		assert_int_equal(info_of(other).result, 7);
		odf_task_free(other);
		assert_int_equal(odf_task_wait(last, NULL, NULL, 60000), 0);
		assert_int_equal(info_of(last).result, 0);
		odf_task_free(last);
		must_work(pool);
	}
	assert_true(pool_info_of(pool).lost >= 3);
	assert_int_equal(odf_pool_destroy(pool), 0);
	assert_true(cgroup_remove(group));
}

static char touched_first[16 * MIB]; /* mapped already when a task begins */

static int touches_mapped(const void *input, size_t length, odf_output *output)
{
	(void)input, (void)length, (void)output;
	for (size_t i = 0; i < sizeof touched_first; i += 4096)
		touched_first[i] = 1;
	return 0;
}

static int result_of(odf_task *task)
{
	int result;

	assert_int_equal(odf_task_wait(task, NULL, NULL, 30000), 0);
	result = info_of(task).result;
	odf_task_free(task);
	return result;
}

/* The limit is on address space, as documented: a request for more fails in the task, and what was mapped before does
 * not count. */
static void test_limit_is_of_address_space(void **state)
{
	const size_t little = 1 * MIB, much = 64 * MIB;
	odf_pool *pool = pool_of(0, 1, 0, 0);

	(void)state;
	assert_int_equal(result_of(submitted_with(pool, takes, &much, sizeof much, 0, 0, 0, 8 * MIB)), ENOMEM);
	assert_int_equal(result_of(submitted_with(pool, takes, &little, sizeof little, 0, 0, 0, 8 * MIB)), 0);
	assert_int_equal(result_of(submitted_with(pool, touches_mapped, NULL, 0, 0, 0, 0, 8 * MIB)), 0);
	assert_int_equal(result_of(submitted(pool, takes, &much, sizeof much)), 0); /* no limit any more */
	assert_int_equal(odf_pool_destroy(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker_is_killed_for_memory),
		cmocka_unit_test(test_limit_is_of_address_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
