/* SPDX-License-Identifier: MIT
 *
 * A pool's process that the program cannot use must end: a manager that takes too long to start, and one whose
 * descriptor could not be received for want of a free number. The program's atfork handlers delay them: they run in the
 * template and in the processes that it makes.
 */
#include <dirent.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "../../src/pool/internal.h"
#include "../support/pool_support.h"

/* Shared by all the processes. */
static struct shared {
	atomic_bool hold_parent, hold_child; /* for forks that the program does not make itself */
	atomic_int held;
	pid_t program;
} *shared;

static void hold(atomic_bool *while_set)
{
	if (shared == NULL || getpid() == shared->program || !atomic_load(while_set))
		return;
	atomic_fetch_add(&shared->held, 1);
	while (atomic_load(while_set))
		usleep(1000);
}

static void before_fork(void)
{
	hold(&shared->hold_parent);
}

static void in_child(void)
{
	hold(&shared->hold_child);
}

static int children_of(pid_t pid)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	int count = 0;

	assert_non_null(processes);
	while ((entry = readdir(processes)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			count += parent_of((pid_t)atoi(entry->d_name)) == pid;
	closedir(processes);
	return count;
}

static void must_have_none_soon(pid_t template)
{
	for (int i = 0; i < 500 && children_of(template) > 0; i++)
		usleep(20000);
	assert_int_equal(children_of(template), 0);
}

static void test_slow_manager(void **state)
{
	odf_pool *pool = pool_of(1, 1, 0, 0);
	odf_task *task;

	(void)state;
	atomic_store(&shared->hold_child, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(odf_pool_submit(pool, twice, NULL, 0, &task), EAGAIN);
	assert_int_equal(atomic_load(&shared->held), 2);
	atomic_store(&shared->hold_child, false);
	must_have_none_soon(pool->template_pid);
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void *submits(void *pool)
{
	odf_task *task;

	return (void *)(intptr_t)odf_pool_submit(pool, twice, NULL, 0, &task);
}

/* A new process is reported with a descriptor, for which the program has no number left by then. */
static void test_no_number(void **state)
{
	odf_pool *pool = pool_of(1, 1, 0, 0);
	struct rlimit limit, none;
	pthread_t thread;
	void *answer;

	(void)state;
	if (pool->template_pidfd < 0) {
		skip_because("there are no descriptors of processes");
		assert_int_equal(odf_pool_destroy(pool), 0);
		return;
	}
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3; /* those three are open */
	atomic_store(&shared->held, 0);
	atomic_store(&shared->hold_parent, true);
	assert_int_equal(pthread_create(&thread, NULL, submits, pool), 0);
	while (atomic_load(&shared->held) == 0)
		usleep(1000);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	atomic_store(&shared->hold_parent, false);
	assert_int_equal(pthread_join(thread, &answer), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal((intptr_t)answer, EMFILE);
	must_have_none_soon(pool->template_pid);
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slow_manager),
		cmocka_unit_test(test_no_number),
	};

	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pthread_atfork(before_fork, NULL, in_child) != 0)
		return 1;
	shared->program = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
