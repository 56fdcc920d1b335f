/* SPDX-License-Identifier: MIT
 *
 * Tests of test_pool_spawn: large requests, many at once, from several threads and processes, some of which die
 * meanwhile.
 */
#include "pool_spawn.h"

void test_large_arguments(void **state)
{
	enum { COUNT = 14, EACH = 100000 };
	char *argv[COUNT + 5] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "printf %s \"$@\" | wc -c" },
				  (char[]){ "sh" } };
	char text[32] = "", *large = malloc(EACH + 1);
	odf_report report = ODF_REPORT_INIT;
	pid_t pid;

	(void)state;
	assert_non_null(large);
	memset(large, 'a', EACH);
	large[EACH] = '\0';
	for (int i = 0; i < COUNT; i++)
		argv[4 + i] = large;
	for (int round = 0; round < 3; round++) {
		odf_launch *launch;
		odf_spawn_options options = not_awaited(&launch);
		int ends[2];
		odf_fd_action map[] = { ODF_FD_DUP(1, 0) };
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		map[0].source = ends[1];
		options.fds = map;
		options.fd_count = 1;
		assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/sh", argv, NULL, &options, NULL), 0);
		memset(large, 'b', 10);
		close(ends[1]);
		assert_true(read(ends[0], text, sizeof text - 1) > 0);
		assert_int_equal(atoi(text), COUNT * EACH);
		close(ends[0]);
		must_be_executed(launch);
		must_exit_with(pid, 0);
	}
	{
		/* A single string longer than 128 KiB is too long for any kernel. */
		odf_launch *launch;
		odf_spawn_options options = not_awaited(&launch);
		char *huge = malloc(200001), *too_much[] = { (char[]){ "true" }, huge, NULL };
		assert_non_null(huge);
		memset(huge, 'a', 200000);
		huge[200000] = '\0';
		assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", too_much, NULL, &options, NULL), 0);
		free(huge);
		assert_int_equal(odf_launch_wait(launch, -1, &report), E2BIG);
		assert_int_equal(report.step, ODF_STEP_EXEC);
		odf_launch_free(launch);
		must_exit_with(pid, 127);
	}
	free(large);
}

/* ---- Many at once ------------------------------------------------------------------------------------------------ */

static size_t mappings(void)
{
	char *maps = read_file("/proc/self/maps");
	size_t count = 0;

	assert_non_null(maps);
	for (const char *c = maps; *c != '\0'; c++)
		count += *c == '\n';
	free(maps);
	return count;
}

void test_many_in_the_air(void **state)
{
	enum { MANY = 150 };
	static pid_t pids[MANY];
	struct surroundings before = surroundings_take();
	size_t mapped = mappings();

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			odf_spawn_options options = not_awaited(NULL);
			assert_int_equal(odf_pool_spawn(pool, &pids[i], "/bin/true", true_argv, NULL, &options, NULL),
					 0);
		}
		for (int i = 0; i < MANY; i++)
			must_exit_with(pids[i], 0);
	}
	/* The memory of finished launches is kept for reuse, up to a few; each is two mappings, a guard and the
	 * rest. */
	for (int i = 0; i < 50; i++) {
		odf_spawn_options options = not_awaited(NULL);
		assert_int_equal(odf_pool_spawn(pool, &pids[0], "/bin/true", true_argv, NULL, &options, NULL), 0);
		must_exit_with(pids[0], 0);
	}
	assert_true(mappings() < mapped + 2 * 34 + 10);
	surroundings_must_equal(&before);
}

static void *spawns_many(void *unused)
{
	(void)unused;
	for (int i = 0; i < 60; i++) {
		odf_launch *launch = NULL;
		odf_spawn_options options = not_awaited(&launch);
		bool fails = i % 3 == 0;
		int status;
		pid_t pid;
		if (odf_pool_spawn(pool, &pid, fails ? "/nonexistent" : "/bin/true", true_argv, NULL, &options, NULL) !=
		    0)
			return pool;
		if (i % 2 == 0 && odf_launch_wait(launch, -1, NULL) != (fails ? ENOENT : 0))
			return pool;
		odf_launch_free(launch); /* also a launch that is under way */
		if (waitpid(pid, &status, 0) != pid || status != (fails ? 127 << 8 : 0))
			return pool;
	}
	return NULL;
}

void test_many_threads(void **state)
{
	pthread_t threads[8];

	(void)state;
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, spawns_many, NULL), 0);
	for (size_t i = 0; i < 8; i++) {
		void *failed;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	must_have_no_children();
}

/* Asks about the launch of another process's child. */
static void asked_by_a_child(void)
{
	odf_launch *launch;
	odf_spawn_options options = not_awaited(&launch);
	pid_t spawned, forked;

	assert_int_equal(odf_pool_spawn(pool, &spawned, "/bin/true", true_argv, NULL, &options, NULL), 0);
	forked = fork();
	assert_true(forked >= 0);
	if (forked == 0) {
		int error = odf_launch_wait(launch, -1, NULL);
		odf_launch_free(launch);
		_exit(error == EPERM ? 0 : 1);
	}
	must_exit_with(forked, 0);
	must_be_executed(launch);
	must_exit_with(spawned, 0);
}

/* A process forked while launches are under way: those launches are not its own. */
void test_fork_between(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		odf_launch *launch;
		odf_spawn_options options = not_awaited(&launch);
		pid_t spawned, forked;
		assert_int_equal(odf_pool_spawn(pool, &spawned, "/bin/true", true_argv, NULL, &options, NULL), 0);
		forked = fork();
		assert_true(forked >= 0);
		if (forked == 0) {
			odf_pool_options none = { .size = sizeof none, .flags = ODF_POOL_NO_TASKS };
			odf_pool *own;
			pid_t pid;
			int status;
			if (odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, NULL) != EPERM)
				_exit(1);
			if (launch != NULL)
				_exit(3);
			own = odf_pool_create(&none);
			options.launch = NULL;
			for (int i = 0; i < 5; i++)
				if (odf_pool_spawn(own, &pid, "/bin/true", true_argv, NULL, &options, NULL) != 0 ||
				    waitpid(pid, &status, 0) != pid || status != 0)
					_exit(2);
			_exit(odf_pool_destroy(own));
		}
		must_exit_with(forked, 0);
		must_be_executed(launch);
		must_exit_with(spawned, 0);
		asked_by_a_child();
	}
}

/* ---- Random kills ------------------------------------------------------------------------------------------------ */

/* Each request gets one answer, which agrees with the fate of its process, however that is killed or stopped on the
 * way. */
void test_random_kills(void **state)
{
	const char *given = getenv("ODF_TEST_KILLS");
	unsigned kills = given == NULL ? 300 : (unsigned)strtoul(given, NULL, 10), died = 0, ran = 0, seed = 7;
	struct surroundings before = surroundings_take();

	(void)state;
	for (unsigned i = 0; i < kills; i++) {
		odf_launch *launch;
		odf_spawn_options options = not_awaited(&launch);
		odf_report report = ODF_REPORT_INIT;
		bool stops = rand_r(&seed) % 3 == 0, has_pidfd = rand_r(&seed) % 2;
		int pidfd = -1, status, error;
		pid_t pid;
		options.pidfd = has_pidfd ? &pidfd : NULL;
		if (rand_r(&seed) % 4 == 0)
			options.cwd = "/";
		assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, NULL), 0);
		if (rand_r(&seed) % 2)
			(void)odf_launch_wait(launch, rand_r(&seed) % 4, NULL);
		for (unsigned spin = (unsigned)rand_r(&seed) % 40000; spin > 0; spin--)
			__asm__ volatile("" ::: "memory");
		if (stops) {
			assert_int_equal(kill(pid, SIGSTOP), 0);
			sched_yield();
		}
		assert_int_equal(kill(pid, SIGKILL), 0);
		if (rand_r(&seed) % 2)
			sched_yield();
		error = odf_launch_wait(launch, 60000, &report);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (error == ECHILD) {
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			assert_int_equal(report.wait_status, status);
			died++;
		} else {
			assert_int_equal(error, 0);
			assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
			ran++;
		}
		assert_int_equal(odf_launch_wait(launch, 0, NULL), error);
		odf_launch_free(launch);
		if (pidfd >= 0)
			close(pidfd);
	}
	print_message("# %u died before exec, %u after\n", died, ran);
	assert_true(died > 0 && ran > 0);
	must_have_no_children();
	surroundings_must_equal(&before);
}

/* ---- Several threads that wait for one launch -------------------------------------------------------------------- */

static _Atomic int waiter_id;

static void *waits_for(void *launch)
{
	waiter_id = (int)syscall(SYS_gettid);
	return (void *)(intptr_t)odf_launch_wait(launch, -1, NULL);
}

/* A process that keeps the file open for writing, so that it cannot be executed, until the process is killed. */
static pid_t hold_open(const char *path)
{
	int ends[2];
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (open(path, O_WRONLY | O_CLOEXEC) < 0 || write(ends[1], &byte, 1) != 1)
			_exit(1);
		for (prctl(PR_SET_PDEATHSIG, SIGKILL);;)
			pause();
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	return pid;
}

/* Each waits as long as it has asked for, whatever the others do. */
void test_waiters(void **state)
{
	const char *file = scratch_path("held");
	odf_launch *launch;
	odf_spawn_options options = not_awaited(&launch);
	pthread_t waiters[2];
	pid_t holder, pid;
	void *answer;

	(void)state;
	write_file(file, "#!/bin/sh\nexit 6\n", 0755);
	holder = hold_open(file);
	options.busy_retry_ms = 20000;
	assert_int_equal(odf_pool_spawn(pool, &pid, file, true_argv, NULL, &options, NULL), 0);
	for (int i = 0; i < 2; i++) {
		waiter_id = 0;
		assert_int_equal(pthread_create(&waiters[i], NULL, waits_for, launch), 0);
		do
			usleep(10000);
		while (waiter_id == 0 || !is_asleep(waiter_id));
	}
	assert_int_equal(odf_launch_wait(launch, 0, NULL), ETIMEDOUT);
	assert_int_equal(odf_launch_wait(launch, 10, NULL), ETIMEDOUT);
	assert_int_equal(kill(holder, SIGKILL), 0);
	(void)wait_for(holder);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(waiters[i], &answer), 0);
		assert_int_equal((intptr_t)answer, 0);
	}
	must_be_executed(launch);
	must_exit_with(pid, 6);
	must_have_no_children();
}
