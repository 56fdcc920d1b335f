/* SPDX-License-Identifier: MIT
 *
 * A task in a fork of the program as it is now (ODF_TASK_FORK). Two processes are made for it: the fork itself, which
 * manages the worker, and the worker. Like all tasks it ends with its pool and its program.
 */
#include <fcntl.h>
#include <sys/syscall.h>

#include "../../src/pool/crew.h"
#include "../../src/pool/internal.h"
#include "../support/pool_support.h"

static odf_task *paused(odf_pool *pool)
{
	return submitted_with(pool, pauses, NULL, 0, ODF_TASK_FORK, 0, 0, 0);
}

static void test_two_processes(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);
	odf_task *task = paused(pool);
	pid_t worker = worker_of(task), looks_after = parent_of(worker);

	(void)state;
	assert_int_equal(task->crew->manager.pid, looks_after);
	assert_int_equal(task->crew->own_pool->template_pid, looks_after);
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(odf_task_wait(task, NULL, NULL, 30000), ECHILD);
	assert_int_equal(info_of(task).wait_status, SIGKILL);
	odf_task_free(task);
	must_be_gone_soon(looks_after);
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* A process that a task has forked lives on, with copies of its descriptors. It must not hide the end of the others. */
static int forks_and_pauses(const void *input, size_t length, odf_output *output)
{
	pid_t pid = fork();

	if (pid != 0 && write(*(const int *)input, &pid, sizeof pid) != sizeof pid)
		return -1;
	return pauses(input, length, output);
}

static void test_its_process_is_killed(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);

	(void)state;
	for (int way = 0; way < 2; way++) {
		int ends[2], out;
		odf_task *task;
		pid_t worker, left = 0;

		assert_int_equal(pipe(ends), 0);
		out = dup(1);
		assert_true(out >= 0);
		fflush(stdout);
		assert_int_equal(dup2(ends[1], 1), 1); /* the task has only the standard descriptors */
		task = way == 0 ? paused(pool)
				: submitted_with(pool, forks_and_pauses, &(int){ 1 }, sizeof(int), ODF_TASK_FORK, 0, 0,
						 0);
		assert_int_equal(dup2(out, 1), 1);
		close(out);
		close(ends[1]);
		worker = worker_of(task);
		if (way == 1) {
			assert_int_equal(read(ends[0], &left, sizeof left), sizeof left);
			assert_true(left > 0);
		}
		close(ends[0]);
		assert_int_equal(kill(parent_of(worker), SIGKILL), 0);
		assert_int_equal(answer_to(task), ECHILD);
		must_be_gone_soon(worker);
		if (left > 0)
			assert_int_equal(kill(left, SIGKILL), 0);
	}
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* Also while a child that does not know of the pool has all of the program's descriptors. */
static void test_program_ends(void **state)
{
	(void)state;
	for (int way = 0; way < 3; way++) {
		int ends[2];
		pid_t ids[3], pid;

		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			ids[0] = worker_of(paused(pool_of(0, 1, 0, 0)));
			ids[1] = parent_of(ids[0]);
			ids[2] = way == 0 ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : 0;
			if (way == 0 && ids[2] == 0)
				while (pause() == -1)
					;
			if (write(ends[1], ids, sizeof ids) != sizeof ids)
				_exit(1);
			if (way == 2) {
				execl("/bin/sleep", "sleep", "1000", (char *)NULL);
				_exit(1);
			}
			raise(SIGKILL);
		}
		close(ends[1]);
		assert_int_equal(read(ends[0], ids, sizeof ids), sizeof ids);
		close(ends[0]);
		assert_true(ids[0] > 0 && ids[1] > 0);
		if (way < 2)
			assert_int_equal(waitpid(pid, NULL, 0), pid);
		must_be_gone_soon(ids[0]);
		must_be_gone_soon(ids[1]);
		if (way == 0) {
			assert_true(ids[2] > 0);
			assert_int_equal(kill(ids[2], SIGKILL), 0);
		}
		if (way == 2) {
			int status;

			assert_int_equal(kill(pid, SIGKILL), 0);
			assert_int_equal(waitpid(pid, &status, 0), pid);
			assert_true(WIFSIGNALED(status)); /* it had executed the other program */
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_processes),
		cmocka_unit_test(test_its_process_is_killed),
		cmocka_unit_test(test_program_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
