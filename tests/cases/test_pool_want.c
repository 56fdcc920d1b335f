/* SPDX-License-Identifier: MIT
 *
 * A pool that runs out of something: the program ends, there are no descriptors, the size of files is limited.
 */
#include <fcntl.h>
#include <sys/resource.h>

#include "../support/pool_support.h"

/* ---- The program ends ---- */

enum end { END_KILLED, END_EXIT, END_EXEC, END_COUNT };

/* In a child: makes a pool, forks a child that has all its descriptors, reports that child and its worker, and ends. */
static void ends(enum end how, int tell)
{
	odf_pool *pool = odf_pool_create(NULL);
	odf_task *task;
	odf_task_info info = ODF_TASK_INFO_INIT;
	pid_t told[2];

	if (pool == NULL || odf_pool_submit(pool, pauses, NULL, 0, &task) != 0)
		_exit(1);
	do {
		usleep(1000);
		if (odf_task_info_get(task, &info) != 0)
			_exit(2);
	} while (info.state != ODF_TASK_RUNS || info.worker == 0);
	told[0] = info.worker;
	told[1] = fork();
	if (told[1] == 0) {
		sleep(60);
		_exit(0);
	}
	if (told[1] < 0 || write(tell, told, sizeof told) != sizeof told)
		_exit(3);
	if (how == END_EXIT)
		exit(0);
	if (how == END_EXEC)
		execl("/bin/sleep", "sleep", "60", (char *)NULL);
	for (;;)
		pause();
}

static void test_program_ends(void **state)
{
	(void)state;
	for (enum end how = 0; how < END_COUNT; how++) {
		int tell[2];
		pid_t pid, told[2];

		assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			ends(how, tell[1]);
		assert_int_equal(read(tell[0], told, sizeof told), sizeof told);
		if (how == END_KILLED)
			kill(pid, SIGKILL);
		must_be_gone_soon(told[0]);
		kill(told[1], SIGKILL); /* it has outlived the program */
		if (how == END_EXEC)
			kill(pid, SIGKILL);
		wait_for(pid);
		close(tell[0]);
		close(tell[1]);
	}
}

/* ---- Shortage ---- */

static void test_no_descriptors(void **state)
{
	struct surroundings before = surroundings_take();
	struct rlimit limit, few;
	int failures = 0;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (rlim_t room = 3; room < 80; room++) {
		odf_pool *pool;
		odf_task *task = NULL;
		int error = 0;

		few = limit;
		few.rlim_cur = room;
		pool = odf_pool_create(NULL);
		assert_non_null(pool);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		error = odf_pool_submit(pool, twice, "1234", 4, &task);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (error != 0) {
			assert_true(error == EMFILE);
			assert_null(task);
			failures++;
			must_work(pool); /* now */
		} else {
			assert_int_equal(answer_to(task), 0);
		}
		assert_int_equal(odf_pool_destroy(pool), 0);
	}
	assert_true(failures > 2);
	surroundings_must_equal(&before);
}

/* RLIMIT_FSIZE limits long outputs, and raises no signal. */
static int writes_much(const void *input, size_t length, odf_output *output)
{
	static char data[1 << 20];

	(void)input, (void)length;
	return odf_output_write(output, data, sizeof data);
}

static void test_limit_of_files(void **state)
{
	struct rlimit limit, small;
	static char input[1 << 16];
	odf_pool *pool;
	odf_task *task;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	pool = pool_of(0, 1, 0, 0);
	assert_int_equal(odf_pool_submit(pool, twice, input, sizeof input, &task), EFBIG);
	assert_int_equal(odf_pool_destroy(pool), 0);
	small.rlim_cur = 32 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	pool = pool_of(0, 1, 0, 0);
	assert_int_equal(answer_to(submitted(pool, echoes, input, sizeof input)), 0);
	/* below the present size */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 4096, limit.rlim_max }), 0);
	assert_int_equal(answer_to(submitted(pool, echoes, input, sizeof input)), 0);
	for (int i = 0, result = 0; result == 0; i++) {
		assert_true(i < 40);
		task = submitted(pool, writes_much, NULL, 0);
		assert_int_equal(odf_task_wait(task, NULL, NULL, -1), 0);
		result = info_of(task).result;
		assert_true(result == 0 || result == EFBIG);
		odf_task_free(task);
	}
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_program_ends),
		cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_limit_of_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
