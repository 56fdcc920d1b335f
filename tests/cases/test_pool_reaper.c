/* SPDX-License-Identifier: MIT
 *
 * A program that adopts orphans, as a subreaper or as the first process of a PID namespace. Its wait() must find no
 * process of a pool, and no SIGCHLD may report one, whatever becomes of the pool's processes. Each way runs in a
 * process of its own, which reports its result by its exit status.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>

#include "../../src/pool/internal.h"
#include "../support/pool_support.h"

enum { SUBREAPER, FIRST, WAYS };

static volatile sig_atomic_t children_ended;

static void count_children(int signal)
{
	(void)signal;
	children_ended++;
}

static bool finds_nothing(int options)
{
	siginfo_t info;

	errno = 0;
	if (waitpid(-1, NULL, WNOHANG | options) != -1 || errno != ECHILD)
		return false;
	if (waitpid(0, NULL, WNOHANG | WUNTRACED | WCONTINUED | options) != -1 || errno != ECHILD)
		return false;
	if (wait4(-1, NULL, WNOHANG | WUNTRACED | WCONTINUED | options, NULL) != -1 || errno != ECHILD)
		return false;
	return waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | options) == -1 &&
	       errno == ECHILD;
}

#define must_see_nothing() (assert_true(finds_nothing(0)), assert_int_equal(children_ended, 0))

/* Without /proc, which may be another namespace's. */
static void must_be_reaped_soon(pid_t pid)
{
	for (int i = 0; i < 120000; i++) {
		if (kill(pid, 0) == -1 && errno == ESRCH)
			return;
		usleep(1000);
	}
	fail_msg("process %d is there still", pid);
}

/* The worker ends while a process that it has started lives on. */
static int leaves_one_behind(const void *input, size_t length, odf_output *output)
{
	pid_t pid = fork();

	(void)input, (void)length;
	if (pid == 0) {
		while (pause() == -1)
			;
		_exit(0);
	}
	return odf_output_write(output, &pid, sizeof pid);
}

/* The program still adopts grandchildren of its own. */
static void orphans_must_come(void)
{
	pid_t child = fork(), grandchild;
	int status;

	if (child == 0) {
		grandchild = fork();
		if (grandchild == 0) {
			usleep(1000);
			_exit(5);
		}
		_exit(grandchild > 0 ? 4 : 1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(WEXITSTATUS(status), 4);
	assert_true(waitpid(-1, &status, 0) > 0);
	assert_int_equal(WEXITSTATUS(status), 5);
}

static void uses_pool(void)
{
	odf_pool *pool = pool_of(0, 2, 0, 0);
	odf_task *task;
	int value = 4;
	pid_t worker;

	must_see_nothing();
	must_work(pool);
	assert_int_equal(output_of(submitted_with(pool, twice, &value, sizeof value, ODF_TASK_FRESH, 0, 0, 0)), 8);
	assert_int_equal(output_of(submitted_with(pool, twice, &value, sizeof value, ODF_TASK_FORK, 0, 0, 0)), 8);
	must_see_nothing();
	/* A worker; then the manager, and with it its workers. */
	task = submitted(pool, pauses, NULL, 0);
	worker = worker_of(task);
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(answer_to(task), ECHILD);
	must_see_nothing();
	task = submitted(pool, pauses, NULL, 0);
	worker = worker_of(task);
	assert_int_equal(kill(pool_info_of(pool).manager, SIGKILL), 0);
	assert_int_equal(answer_to(task), ECHILD);
	must_be_reaped_soon(worker);
	must_see_nothing();
	must_work(pool);
	orphans_must_come();
	children_ended = 0;
	assert_int_equal(odf_pool_destroy(pool), 0);
	assert_true(finds_nothing(__WALL)); /* and no ended process is left */
	must_see_nothing();
	for (int i = 0; i < 3; i++) {
		pool = pool_of(1, 1, 0, 0);
		must_work(pool);
		assert_int_equal(odf_pool_destroy(pool), 0);
		must_see_nothing();
	}
	assert_true(finds_nothing(__WALL));
}

static void in_its_place(void (*function)(void))
{
	struct sigaction count = { .sa_handler = count_children };

	if (sigaction(SIGCHLD, &count, NULL) != 0)
		_exit(3);
	function();
	_exit(0);
}

static void run_as(int way, void (*function)(void))
{
	pid_t pid = fork(), first;
	int status;

	assert_true(pid >= 0);
	if (pid == 0 && way == SUBREAPER) {
		if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
			_exit(2);
		in_its_place(function);
	}
	if (pid == 0) {
		if (unshare(CLONE_NEWPID) != 0)
			_exit(77);
		first = fork();
		if (first == 0)
			in_its_place(function);
		_exit(first > 0 && waitpid(first, &status, 0) == first && WIFEXITED(status) ? WEXITSTATUS(status) : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		skip_because("no PID namespace can be made here");
		return;
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_subreaper(void **state)
{
	(void)state;
	run_as(SUBREAPER, uses_pool);
}

static void test_first_of_a_namespace(void **state)
{
	(void)state;
	run_as(FIRST, uses_pool);
}

/* A process that a task leaves is no part of the pool: the program adopts it, like any orphan among its descendants. */
static void leaves_a_process(void)
{
	odf_pool *pool = pool_of(0, 1, 0, 0);
	pid_t left = output_of(submitted(pool, leaves_one_behind, NULL, 0));

	must_see_nothing();
	assert_int_equal(odf_pool_destroy(pool), 0);
	assert_int_equal(children_ended, 0);
	assert_int_equal(waitpid(left, NULL, WNOHANG), 0);
	assert_int_equal(kill(left, SIGKILL), 0);
	assert_int_equal(waitpid(left, NULL, 0), left);
	assert_true(finds_nothing(__WALL));
}

static void test_what_a_task_leaves(void **state)
{
	(void)state;
	run_as(SUBREAPER, leaves_a_process);
}

/* The template is killed: all processes that it made end with it, and no process adopts them. */
static void loses_template(void)
{
	odf_pool *pool = pool_of(1, 1, 0, 0);

	for (int i = 0; i < 2; i++) {
		odf_task *task = submitted(pool, pauses, NULL, 0);
		pid_t worker = worker_of(task);

		assert_true(pool->template_pid > 0);
		assert_int_equal(kill(pool->template_pid, SIGKILL), 0);
		assert_int_equal(answer_to(task), ECHILD);
		must_be_reaped_soon(worker);
		must_see_nothing();
		must_work(pool);
		must_see_nothing();
	}
	assert_int_equal(odf_pool_destroy(pool), 0);
	assert_true(finds_nothing(__WALL));
	must_see_nothing();
}

static void test_template_is_killed(void **state)
{
	(void)state;
	for (int way = 0; way < WAYS; way++)
		run_as(way, loses_template);
}

/* The program is killed: the guard and all processes below it end, and the program's memory is freed. */
static void test_program_is_killed(void **state)
{
	int ends[2];
	pid_t pid, ids[3];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		odf_pool *pool;
		odf_task *task;

		if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
			_exit(2);
		pool = pool_of(1, 1, 0, 0);
		task = submitted(pool, pauses, NULL, 0);
		ids[0] = pool->guard;
		ids[1] = pool->template_pid;
		ids[2] = worker_of(task);
		if (write(ends[1], ids, sizeof ids) != sizeof ids)
			_exit(3);
		raise(SIGKILL);
	}
	assert_int_equal(read(ends[0], ids, sizeof ids), sizeof ids);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(ids[0] > 0);
	for (int i = 0; i < 3; i++)
		must_be_gone_soon(ids[i]);
}

/* The guard holds nothing of the program's, and is not one of its threads. */
static void looks_at_guard(void)
{
	odf_pool *pool;
	char path[64], *text;
	int file = open("/dev/null", O_RDONLY);

	assert_true(file >= 0);
	pool = pool_of(0, 1, 0, 0);
	assert_true(pool->guard > 0);
	snprintf(path, sizeof path, "/proc/%d/fd/%d", pool->guard, file);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof path, "/proc/%d/comm", pool->guard);
	text = read_file(path);
	assert_non_null(text);
	assert_string_equal(text, "odfork-guard\n");
	free(text);
	assert_int_not_equal(getpgid(pool->guard), getpgid(0));
	assert_int_equal(kill(pool->guard, SIGTERM), 0); /* which it ignores */
	must_work(pool);
	/* A guard that was killed is no worse than none. */
	assert_int_equal(kill(pool->guard, SIGKILL), 0);
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

static void test_guard(void **state)
{
	(void)state;
	run_as(SUBREAPER, looks_at_guard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_subreaper),
		cmocka_unit_test(test_first_of_a_namespace),
		cmocka_unit_test(test_what_a_task_leaves),
		cmocka_unit_test(test_template_is_killed),
		cmocka_unit_test(test_program_is_killed),
		cmocka_unit_test(test_guard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
