/* SPDX-License-Identifier: MIT
 *
 * The ends of the processes that a pool's template makes: each is reported once, and they end with the template, the
 * pool or the program.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "pool_processes.h"

static void test_killed(void **state)
{
	odf_pool *pool = pool_made();
	struct pool_process process = made(pool, pauses);
	int status;

	(void)state;
	assert_int_equal(pool_process_wait(&process, 0, &status), ETIMEDOUT);
	assert_int_equal(pool_process_kill(&process, SIGTERM), 0);
	assert_int_equal(pool_process_wait(&process, -1, &status), 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	assert_int_equal(pool_process_kill(&process, SIGTERM), ESRCH);
	pool_process_forget(&process);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_template_killed(void **state)
{
	odf_pool *pool = pool_made();
	struct pool_process first = made(pool, pauses), second;
	pid_t template = pool->template_pid;
	int status, argument = 4;

	(void)state;
	assert_int_equal(kill(template, SIGKILL), 0);
	assert_int_equal(pool_process_wait(&first, -1, &status), ECHILD);
	must_be_gone_soon(first.pid);
	assert_int_equal(pool_process_make(pool, twice, &argument, sizeof argument, NULL, 0, &second), 0);
	assert_int_not_equal(pool->template_pid, template);
	assert_int_equal(pool_process_wait(&second, -1, &status), 0);
	assert_int_equal(WEXITSTATUS(status), 8);
	pool_process_forget(&first);
	pool_process_forget(&second);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_template_stopped(void **state)
{
	odf_pool *pool = pool_made();
	struct pool_process process;
	int status, argument = 4;
	pid_t template = pool->template_pid;

	(void)state;
	assert_int_equal(kill(template, SIGSTOP), 0);
	assert_int_equal(pool_process_make(pool, twice, &argument, sizeof argument, NULL, 0, &process), 0);
	assert_int_equal(pool->template_pid, template);
	assert_int_equal(pool_process_wait(&process, -1, &status), 0);
	assert_int_equal(kill(template, SIGSTOP), 0);
	pool_process_forget(&process);
	assert_int_equal(odf_pool_destroy(pool), 0);
	must_be_gone_soon(template);
}

static void test_destroyed(void **state)
{
	odf_pool *pool = pool_made();
	struct pool_process process = made(pool, pauses);
	pid_t template = pool->template_pid;
	int status;

	(void)state;
	assert_int_equal(odf_pool_destroy(pool), 0);
	assert_int_equal(pool_process_wait(&process, -1, &status), ECHILD);
	must_be_gone_soon(process.pid);
	must_be_gone_soon(template);
	pool_process_forget(&process);
}

/* The program makes a pool and a process, reports the ids, and ends in the way under test, while a child that it has
 * forked lives on. */
static void end_as(int way, int report)
{
	odf_pool *pool = pool_made();
	struct pool_process process = made(pool, pauses);
	pid_t ids[3] = { pool->template_pid, process.pid, fork() };

	if (ids[2] == 0) {
		pause();
		_exit(0);
	}
	if (write(report, ids, sizeof ids) != sizeof ids)
		_exit(1);
	if (way == 0)
		_exit(0);
	if (way == 1)
		raise(SIGKILL);
	execl("/bin/sleep", "sleep", "1000", (char *)NULL);
	_exit(1);
}

static void test_program_ends(void **state)
{
	(void)state;
	for (int way = 0; way < 3; way++) {
		int ends[2];
		pid_t ids[3], pid;
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			end_as(way, ends[1]);
		close(ends[1]);
		assert_int_equal(read(ends[0], ids, sizeof ids), sizeof ids);
		close(ends[0]);
		if (way < 2)
			assert_int_equal(waitpid(pid, NULL, 0), pid);
		must_be_gone_soon(ids[0]);
		must_be_gone_soon(ids[1]);
		assert_true(ids[2] > 0);
		kill(ids[2], SIGKILL);
		if (way == 2) {
			kill(pid, SIGKILL);
			assert_int_equal(waitpid(pid, NULL, 0), pid);
		}
	}
}

static void test_in_a_child(void **state)
{
	odf_pool *pool = pool_made();
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		struct pool_process process;
		if (pool_process_make(pool, pauses, NULL, 0, NULL, 0, &process) != EPERM || process.end != -1)
			_exit(1);
		_exit(odf_pool_destroy(pool) == EPERM ? 0 : 2);
	}
	must_exit_with(pid, 0);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void *makes_many(void *pool)
{
	for (int i = 0; i < 40; i++) {
		struct pool_process process;
		int status, argument = i;
		if (pool_process_make(pool, twice, &argument, sizeof argument, NULL, 0, &process) != 0 ||
		    pool_process_wait(&process, -1, &status) != 0 || WEXITSTATUS(status) != 2 * i)
			return pool;
		pool_process_forget(&process);
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	odf_pool *pool = pool_made();
	pthread_t threads[8];

	(void)state;
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, makes_many, pool), 0);
	for (size_t i = 0; i < 8; i++) {
		void *failed;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	must_have_no_children();
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* ---- Random kills of the template -------------------------------------------------------------------------------- */

static atomic_uint killed_so_far;
static unsigned kills_wanted;

/* Each request gets its process, and each process has one end, whatever happens to the template meanwhile. */
static void *makes_until_over(void *pool)
{
	while (killed_so_far < kills_wanted) {
		struct pool_process process;
		int status = 0, argument = 3, error;
		error = pool_process_make(pool, twice, &argument, sizeof argument, NULL, 0, &process);
		if (error != 0) {
			print_message("# make: %d after %u\n", error, killed_so_far);
			return pool;
		}
		error = pool_process_wait(&process, 60000, &status);
		/* The process dies with the template, which may still report it. */
		if (!(error == ECHILD ||
		      (error == 0 && (status == 6 << 8 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))))) {
			print_message("# wait: %d, status %x\n", error, (unsigned)status);
			return pool;
		}
		pool_process_forget(&process);
	}
	return NULL;
}

static void test_random_kills(void **state)
{
	const char *given = getenv("ODF_TEST_KILLS");
	odf_pool *pool = pool_made();
	pthread_t threads[3];
	unsigned seed = 5;

	(void)state;
	kills_wanted = given == NULL ? 300 : (unsigned)strtoul(given, NULL, 10);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, makes_until_over, pool), 0);
	for (; killed_so_far < kills_wanted; killed_so_far++) {
		int signal = rand_r(&seed) % 8 == 0 ? SIGSTOP : SIGKILL;
		usleep((useconds_t)rand_r(&seed) % 3000);
		/* By descriptor: the pid may be another process's by now. */
		(void)syscall(SYS_pidfd_send_signal, pool->template_pidfd, signal, NULL, 0);
	}
	for (size_t i = 0; i < 3; i++) {
		void *failed;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	must_have_no_children();
	assert_int_equal(odf_pool_destroy(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_template_killed),
		cmocka_unit_test(test_template_stopped),
		cmocka_unit_test(test_destroyed),
		cmocka_unit_test(test_program_ends),
		cmocka_unit_test(test_in_a_child),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_random_kills),
	};

	return cmocka_run_group_tests_name("ends of processes of a pool's template", tests, NULL, NULL);
}
