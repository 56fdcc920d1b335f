/* SPDX-License-Identifier: MIT
 *
 * No function is a cancellation point (odfork_contract(7)). Each is called by a thread with a cancellation request
 * pending, and must return, with call records switched on. The exceptions, which are cancellation points here: atfork
 * handlers, which libc calls, and libc's lookup of a user's groups, which may block.
 */
#include <fcntl.h>
#include <pwd.h>
#include <sys/syscall.h>

#include "../support/pool_support.h"

enum { ALARM_SECONDS = 600 };

static char *argv_of_true[] = { (char[]){ "true" }, NULL };
static odf_pool *pool;
static odf_task *task, *other;
static odf_process *process;

static void point(void)
{
	pthread_testcancel();
}

/* In place of libc's function, which may ask a server over a socket. */
int getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size, struct passwd **found)
{
	pthread_testcancel();
	if (size < 8)
		return ERANGE;
	memcpy(buffer, "root", 5);
	*entry = (struct passwd){ .pw_name = buffer, .pw_uid = uid };
	*found = entry;
	return 0;
}

static void reap(pid_t pid)
{
	if (pid > 0)
		(void)syscall(SYS_wait4, pid, NULL, 0, NULL); /* waitpid is a cancellation point */
}

static int makes_pool(void)
{
	pool = odf_pool_create(NULL);
	return pool == NULL ? errno : 0;
}

static int submits(void)
{
	int value = 2;

	other = task;
	return odf_pool_submit(pool, twice, &value, sizeof value, &task);
}

static int submits_fork(void)
{
	odf_task_options options = ODF_TASK_OPTIONS_INIT;
	odf_task *forked;
	int value = 2, error;

	options.flags = ODF_TASK_FORK;
	error = odf_pool_submit_with(pool, twice, &value, sizeof value, &options, &forked);
	if (error == 0)
		error = odf_task_wait(forked, NULL, NULL, 30000);
	odf_task_free(forked);
	return error;
}

static int looks_for_finished(void)
{
	odf_task *told;
	int error;

	do
		error = odf_pool_finished(pool, &told, 0);
	while (error == 0);
	return error == ESRCH ? 0 : error;
}

static int waits_for_finished(void)
{
	odf_task *told;

	return odf_pool_finished(pool, &told, -1);
}

static int waits_for_task(void)
{
	return odf_task_wait(task, NULL, NULL, -1);
}

static int looks_at_task(void)
{
	odf_task_info info = ODF_TASK_INFO_INIT;
	odf_pool_info all = ODF_POOL_INFO_INIT;

	return odf_pool_descriptor(pool) < 0 ? 1 : odf_task_info_get(task, &info) | odf_pool_info_get(pool, &all);
}

static int cancels_and_frees(void)
{
	int error = odf_task_cancel(task);

	odf_task_free(task);
	odf_task_free(other);
	return error == EALREADY ? 0 : 1;
}

static int destroys_pool(void)
{
	return odf_pool_destroy(pool);
}

static int spawns_by(odf_strategy strategy)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t pid = -1;
	int error;

	options.allow = ODF_ALLOW(strategy);
	error = odf_spawn(&pid, "/bin/true", argv_of_true, NULL, &options, NULL);
	reap(pid);
	return error;
}

static int spawns_by_vfork(void)
{
	return spawns_by(ODF_STRATEGY_VFORK);
}

static int spawns_by_libc(void)
{
	return spawns_by(ODF_STRATEGY_POSIX_SPAWN);
}

static int spawns_by_fork(void)
{
	return spawns_by(ODF_STRATEGY_FORK);
}

static int spawns_as_user(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t pid = -1;
	int error;

	options.flags = ODF_SPAWN_UID | ODF_SPAWN_USER_GROUPS;
	options.uid = geteuid();
	error = odf_spawn(&pid, "/bin/true", argv_of_true, NULL, &options, NULL);
	reap(pid);
	return error == EPERM && geteuid() != 0 ? 0 : error;
}

static int launches(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_launch *launch = NULL;
	pid_t pid = -1;
	int error;

	options.flags = ODF_SPAWN_NO_WAIT;
	options.launch = &launch;
	error = odf_pool_spawn(pool, &pid, "/bin/true", argv_of_true, NULL, &options, NULL);
	if (error == 0)
		error = odf_launch_wait(launch, -1, NULL);
	odf_launch_free(launch);
	reap(pid);
	return error;
}

static int runs(void)
{
	char *argv[] = { (char[]){ "cat" }, NULL };
	odf_io io = ODF_IO_INIT;
	int error;

	io.input = "question";
	io.input_length = 8;
	error = odf_run("/bin/cat", argv, NULL, NULL, &io, NULL);
	free(io.output);
	free(io.error_output);
	return error;
}

static int starts_process(void)
{
	char *argv[] = { (char[]){ "sleep" }, (char[]){ "1000" }, NULL };

	return odf_process_spawn(&process, "/bin/sleep", argv, NULL, NULL, NULL);
}

static int ends_process(void)
{
	int error = odf_process_kill(process, SIGKILL);

	return error != 0 ? error : odf_process_wait(process, -1, NULL) | odf_process_close(process);
}

static int posix_spawns(void)
{
	pid_t pid = -1;
	int error = odf_posix_spawn(&pid, "/bin/true", NULL, NULL, argv_of_true, NULL);

	reap(pid);
	return error;
}

static const struct call {
	const char *name;
	int (*function)(void); /* returns 0: as expected */
} calls[] = {
	{ "odf_pool_create", makes_pool },
	{ "odf_pool_submit", submits },
	{ "odf_pool_submit, again", submits },
	{ "odf_pool_finished, which waits", waits_for_finished },
	{ "odf_task_wait", waits_for_task },
	{ "odf_pool_finished", looks_for_finished },
	{ "odf_task_info_get", looks_at_task },
	{ "odf_task_cancel", cancels_and_frees },
	{ "a task in a fork", submits_fork },
	{ "odf_pool_spawn", launches },
	{ "odf_pool_destroy", destroys_pool },
	{ "odf_spawn by vfork", spawns_by_vfork },
	{ "odf_spawn by libc", spawns_by_libc },
	{ "odf_spawn by fork", spawns_by_fork },
	{ "odf_spawn as a user", spawns_as_user },
	{ "odf_run", runs },
	{ "odf_process_spawn", starts_process },
	{ "odf_process_kill", ends_process },
	{ "odf_posix_spawn", posix_spawns },
};
static const struct call *current;
static int result;

static void *calls_cancelled(void *unused)
{
	(void)pthread_cancel(pthread_self());
	result = current->function();
	current = NULL; /* the function has returned */
	pthread_testcancel();
	return unused;
}

static void test_comes_back(void **state)
{
	(void)state;
	alarm(ALARM_SECONDS);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		pthread_t thread;
		void *ended;

		current = &calls[i];
		assert_int_equal(pthread_create(&thread, NULL, calls_cancelled, NULL), 0);
		assert_int_equal(pthread_join(thread, &ended), 0);
		if (current != NULL)
			fail_msg("%s is a cancellation point", calls[i].name);
		if (result != 0)
			fail_msg("%s: %d", calls[i].name, result);
		assert_ptr_equal(ended, PTHREAD_CANCELED);
	}
	alarm(0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_comes_back) };

	(void)argc;
	if (getenv("ODFORK_STATS") == NULL) { /* read before main */
		setenv("ODFORK_STATS", "/dev/null", 1);
		execv("/proc/self/exe", argv);
		return 1;
	}
	if (pthread_atfork(point, point, point) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
