/* SPDX-License-Identifier: MIT
 *
 * How long odf_pool_spawn with ODF_SPAWN_NO_WAIT blocks its caller. The child is delayed by an open of a FIFO without a
 * writer: a caller that waits for exec returns only once there is a writer.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

static char *true_argv[] = { (char[]){ "true" }, NULL };
static odf_pool *pool;
static const char *fifo;
static odf_fd_action from_fifo[1];

/* ---- A child that is delayed ---- */

struct call {
	odf_spawn_options options;
	odf_launch *launch;
	pid_t pid;
	int error;
	atomic_bool returned;
};

static struct call kept(uint64_t flags)
{
	struct call call = { .options = ODF_SPAWN_OPTIONS_INIT, .pid = -1 };

	call.options.flags = ODF_SPAWN_NO_WAIT | flags;
	call.options.fds = from_fifo;
	call.options.fd_count = 1;
	return call;
}

static void make(struct call *call)
{
	call->options.launch = &call->launch;
	call->error = odf_pool_spawn(pool, &call->pid, "/bin/true", true_argv, NULL, &call->options, NULL);
}

static void *make_by_thread(void *argument)
{
	struct call *call = argument;

	make(call);
	atomic_store(&call->returned, true);
	return NULL;
}

/* Waits until the FIFO has a reader, and lets it continue. */
static void let_go(void)
{
	int fd = open(fifo, O_WRONLY);

	assert_true(fd >= 0);
	close(fd);
}

static void must_be_gone(pid_t pid, uint64_t flags)
{
	int status;

	if (!(flags & ODF_SPAWN_DETACH)) {
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		return;
	}
	must_be_gone_soon(pid);
}

static void must_not_hold(struct call *call)
{
	uint64_t flags = call->options.flags;

	make(call);
	assert_int_equal(call->error, 0);
	if (flags & ODF_SPAWN_DETACH)
		must_have_no_children();
	assert_int_equal(odf_launch_wait(call->launch, 0, NULL), ETIMEDOUT);
	assert_int_equal(odf_launch_wait(call->launch, 70, NULL), ETIMEDOUT);
	let_go();
	assert_int_equal(odf_launch_wait(call->launch, -1, NULL), 0);
	odf_launch_free(call->launch);
	must_be_gone(call->pid, flags);
}

/* The program's only child is the one that opens the FIFO, and it waits for nothing else. */
static bool a_child_waits(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	bool waits = false;

	assert_non_null(processes);
	while (!waits && (entry = readdir(processes)) != NULL) {
		char path[300], *text, *rest;
		int parent = 0;

		snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
		text = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? read_file(path) : NULL;
		rest = text == NULL ? NULL : strrchr(text, ')');
		waits = rest != NULL && sscanf(rest + 1, " S %d", &parent) == 1 && parent == getpid();
		free(text);
	}
	closedir(processes);
	return waits;
}

static void must_hold(struct call *call)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, make_by_thread, call), 0);
	while (!atomic_load(&call->returned) && !a_child_waits())
		usleep(1000);
	assert_false(atomic_load(&call->returned));
	let_go();
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(call->error, 0);
	assert_int_equal(odf_launch_wait(call->launch, 0, NULL), 0); /* the result is final */
	odf_launch_free(call->launch);
	must_be_gone(call->pid, call->options.flags);
}

/* ---- Requests that do not block the caller ---- */

static void test_namespaces(void **state)
{
	static const struct {
		const char *name;
		int type;
	} kinds[] = { { "uts", CLONE_NEWUTS },
		      { "ipc", CLONE_NEWIPC },
		      { "net", CLONE_NEWNET },
		      { "mnt", CLONE_NEWNS },
		      { "pid", CLONE_NEWPID } };

	(void)state;
	if (geteuid() != 0) {
		skip_because("only root may enter namespaces");
		return;
	}
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		char path[64];
		struct call call = kept(0);
		odf_namespace namespace;

		snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i].name);
		namespace = (odf_namespace){ .fd = open(path, O_RDONLY | O_CLOEXEC),
					     .type = i % 2 ? 0 : kinds[i].type };
		assert_true(namespace.fd >= 0);
		call.options.namespaces = &namespace;
		call.options.namespace_count = 1;
		must_not_hold(&call);
		close(namespace.fd);
	}
}

static void test_detached(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		struct call call = kept(ODF_SPAWN_DETACH);
		int pidfd = -1;

		if (round == 1)
			call.options.pidfd = &pidfd;
		must_not_hold(&call);
		if (round == 1) {
			struct pollfd end = { .fd = pidfd, .events = POLLIN };
			assert_true(pidfd >= 0);
			assert_int_equal(poll(&end, 1, 10000), 1);
			close(pidfd);
		}
	}
}

/* The failure is reported, and no process is left. */
static void test_detached_fails(void **state)
{
	struct surroundings before = surroundings_take();

	(void)state;
	for (int round = 0; round < 100; round++) {
		struct call call = kept(ODF_SPAWN_DETACH);
		odf_report report = ODF_REPORT_INIT;

		call.options.fds = NULL;
		call.options.fd_count = 0;
		call.options.launch = &call.launch;
		assert_int_equal(
			odf_pool_spawn(pool, &call.pid, "/does/not/exist", true_argv, NULL, &call.options, NULL), 0);
		must_have_no_children();
		assert_int_equal(odf_launch_wait(call.launch, -1, &report), ENOENT);
		assert_int_equal(report.step, ODF_STEP_EXEC);
		odf_launch_free(call.launch);
	}
	surroundings_must_equal(&before);
}

/* In a session of its own, whose terminal is the standard input. */
static int on_terminal(void)
{
	pid_t group = getpgrp();

	assert_int_equal(tcgetpgrp(0), group);
	for (int way = 0; way < 2; way++) {
		struct call call = kept(ODF_SPAWN_SETPGROUP | ODF_SPAWN_FOREGROUND | (way == 1 ? ODF_SPAWN_TTY_FD : 0));
		odf_report report = ODF_REPORT_INIT;

		if (way == 1)
			call.options.tty_fd = dup(0);
		must_not_hold(&call);
		assert_int_equal(tcgetpgrp(0), call.pid);
		signal(SIGTTOU, SIG_IGN);
		assert_int_equal(tcsetpgrp(0, group), 0);
		signal(SIGTTOU, SIG_DFL);
		/* A later step fails: the terminal must have been given back when the failure is reported. Also if the
		 * child never gets to exec. */
		call.options.fds = NULL;
		call.options.fd_count = 0;
		call.options.launch = &call.launch;
		assert_int_equal(
			odf_pool_spawn(pool, &call.pid, "/does/not/exist", true_argv, NULL, &call.options, NULL), 0);
		assert_int_equal(odf_launch_wait(call.launch, -1, &report), ENOENT);
		assert_int_equal(report.step, ODF_STEP_EXEC);
		odf_launch_free(call.launch);
		assert_int_equal(waitpid(call.pid, NULL, 0), call.pid);
		assert_int_equal(tcgetpgrp(0), group);
	}
	return 0;
}

static void test_foreground(void **state)
{
	int terminal, status;
	char byte;
	pid_t pid;

	(void)state;
	pid = forkpty(&terminal, NULL, NULL, NULL);
	assert_true(pid >= 0);
	if (pid == 0) {
		odf_pool_options options = ODF_POOL_OPTIONS_INIT;

		options.flags = ODF_POOL_NO_TASKS;
		pool = odf_pool_create(&options);
		_exit(pool == NULL ? 2 : on_terminal());
	}
	while (read(terminal, &byte, 1) == 1)
		(void)!write(STDERR_FILENO, &byte, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(terminal);
}

/* ---- Requests that block the caller ---- */

static void test_ids(void **state)
{
	struct call user = kept(ODF_SPAWN_UID | ODF_SPAWN_KEEP_GROUPS), group = kept(ODF_SPAWN_GID);

	(void)state;
	user.options.uid = getuid();
	must_hold(&user);
	group.options.gid = getgid();
	must_hold(&group);
}

static void test_score(void **state)
{
	struct call call = kept(ODF_SPAWN_OOM_SCORE_ADJ);

	(void)state;
	call.options.oom_score_adj = 500;
	must_hold(&call);
}

/* A user namespace that the caller is in already cannot be entered: the call itself returns that failure. */
static void test_users(void **state)
{
	(void)state;
	for (int type = 0; type <= CLONE_NEWUSER; type += CLONE_NEWUSER) {
		struct call call = kept(0);
		odf_namespace namespace = { .fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC), .type = type };

		assert_true(namespace.fd >= 0);
		call.options.namespaces = &namespace;
		call.options.namespace_count = 1;
		make(&call);
		assert_int_equal(call.error, EINVAL);
		assert_null(call.launch);
		close(namespace.fd);
		must_have_no_children();
	}
}

static int set_up(void **state)
{
	odf_pool_options options = ODF_POOL_OPTIONS_INIT;

	(void)state;
	options.flags = ODF_POOL_NO_TASKS;
	pool = odf_pool_create(&options);
	fifo = scratch_path("fifo");
	from_fifo[0] = (odf_fd_action)ODF_FD_OPEN(0, fifo, O_RDONLY, 0);
	return pool == NULL || mkfifo(fifo, 0600) != 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	return odf_pool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_namespaces),
		cmocka_unit_test(test_detached),
		cmocka_unit_test(test_detached_fails),
		cmocka_unit_test(test_foreground),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_score),
		cmocka_unit_test(test_users),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
