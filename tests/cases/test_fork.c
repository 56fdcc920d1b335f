/* SPDX-License-Identifier: MIT
 *
 * odf_fork, odf_fork_with, and the kernel's switch, for which a file stands in.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/capability/async_fork.h"
#include "../../src/fork/kernel_switch.h"
#include "../support/support.h"

static void test_fork(void **state)
{
	struct surroundings before = surroundings_take();
	pid_t pid = odf_fork();

	(void)state;
	if (pid == 0)
		_exit(getppid() == 1 ? 1 : 42);
	assert_true(pid > 0);
	must_exit_with(pid, 42);
	surroundings_must_equal(&before);
	must_have_no_children();
}

static int prepared, in_parent, in_child;
static void prepare(void)
{
	prepared++;
}
static void parent(void)
{
	in_parent++;
}
static void child(void)
{
	in_child++;
}

static void test_atfork_handlers(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(pthread_atfork(prepare, parent, child), 0);
	pid = odf_fork();
	if (pid == 0)
		_exit(prepared * 100 + in_parent * 10 + in_child);
	must_exit_with(pid, 101);
	assert_int_equal(prepared, 1);
	assert_int_equal(in_parent, 1);
	assert_int_equal(in_child, 0);
	prepared = in_parent = 0;
}

static void test_report(void **state)
{
	odf_report report = ODF_REPORT_INIT;
	pid_t pid = odf_fork_with(NULL, &report);

	(void)state;
	if (pid == 0)
		_exit(report.strategy == ODF_STRATEGY_NONE ? 0 : 1); /* filled in the parent only */
	must_exit_with(pid, 0);
	assert_int_equal(report.error, 0);
	assert_int_equal(report.step, ODF_STEP_NONE);
	assert_int_equal(report.index, -1);
	assert_true(report.elapsed_ns > 0);
	assert_int_equal(report.reason[report.strategy], ODF_REASON_CHOSEN);
	assert_int_equal(report.reason[ODF_STRATEGY_VFORK], ODF_REASON_RETURNS_TWICE);
	assert_int_equal(report.reason[ODF_STRATEGY_POSIX_SPAWN], ODF_REASON_RETURNS_TWICE);
	if (odf_probe_get(ODF_PROBE_USE_ODF, NULL) == ODF_ANSWER_NO) {
		assert_int_equal(report.strategy, ODF_STRATEGY_FORK);
		assert_int_equal(report.reason[ODF_STRATEGY_KERNEL], ODF_REASON_KERNEL_NOT_OFFERED);
	}
}

static void test_forbidden(void **state)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;

	(void)state;
	options.allow = ODF_ALLOW(ODF_STRATEGY_REGION);
	errno = 0;
	assert_int_equal(odf_fork_with(&options, &report), -1);
	assert_int_equal(errno, ENOTSUP);
	assert_int_equal(report.error, ENOTSUP);
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_int_equal(report.strategy, ODF_STRATEGY_NONE);
	assert_int_equal(report.reason[ODF_STRATEGY_REGION], ODF_REASON_NO_REGION);
	assert_int_equal(report.reason[ODF_STRATEGY_FORK], ODF_REASON_NOT_ALLOWED);
	must_have_no_children();
}

static void must_be_refused(const odf_fork_options *options, odf_report *report, int error)
{
	struct surroundings before = surroundings_take();

	errno = 0;
	assert_int_equal(odf_fork_with(options, report), -1);
	assert_int_equal(errno, error);
	must_have_no_children();
	surroundings_must_equal(&before);
}

static void test_bad_input(void **state)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	struct {
		odf_fork_options known;
		long added;
	} newer = { ODF_FORK_OPTIONS_INIT, 0 };
	pid_t pid;

	(void)state;
	options.size = sizeof options - 1;
	must_be_refused(&options, &report, EINVAL);
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_int_equal(report.error, EINVAL);
	options.size = sizeof options;
	options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
	must_be_refused(&options, &report, EINVAL);
	options.allow = ODF_ALLOW(ODF_STRATEGY_FORK) | 1u << 20;
	must_be_refused(&options, &report, EINVAL);
	options.allow = 0;
	report.size = 3;
	must_be_refused(&options, &report, EINVAL);

	newer.known.size = sizeof newer;
	pid = odf_fork_with(&newer.known, NULL);
	if (pid == 0)
		_exit(0);
	must_exit_with(pid, 0);
	newer.added = 1;
	must_be_refused(&newer.known, NULL, E2BIG);
}

static void test_pidfd(void **state)
{
	int pidfd = -5;
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	struct surroundings before = surroundings_take();
	struct pollfd ready;
	siginfo_t info;
	pid_t pid;

	(void)state;
	options.pidfd = &pidfd;
	pid = odf_fork_with(&options, NULL);
	if (pid == 0) {
		/* Nothing of it reaches the child. */
		struct surroundings inside = surroundings_take();
		_exit(pidfd == -1 && strcmp(inside.text, before.text) == 0 ? 7 : 1);
	}
	assert_true(pid > 0);
	assert_true(pidfd >= 0);
	assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	ready = (struct pollfd){ .fd = pidfd, .events = POLLIN };
	assert_int_equal(poll(&ready, 1, 10000), 1);
	assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
	assert_int_equal(info.si_pid, pid);
	assert_int_equal(info.si_status, 7);
	close(pidfd);
	surroundings_must_equal(&before);
}

/* No descriptor number is left: detected before the fork. */
static void test_pidfd_without_descriptors(void **state)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	struct rlimit old, none = { 0 };
	int pidfd = -5;

	(void)state;
	options.pidfd = &pidfd;
	getrlimit(RLIMIT_NOFILE, &old);
	none.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	errno = 0;
	assert_int_equal(odf_fork_with(&options, &report), -1);
	assert_int_equal(errno, EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(report.step, ODF_STEP_PIDFD);
	assert_int_equal(report.error, EMFILE);
	assert_int_equal(pidfd, -1);
	must_have_no_children();
}

/* fork's own failure is reported with its errno. RLIMIT_NPROC does not limit root, so another user calls. */
static void test_fork_fails(void **state)
{
	pid_t outer;

	(void)state;
	if (geteuid() != 0) {
		skip_because("needs root, to become a user without processes");
		return;
	}
	outer = fork();
	if (outer == 0) {
		struct rlimit none = { 0, 0 };
		odf_report report = ODF_REPORT_INIT;
		pid_t pid;
		if (setgid(65534) != 0 || setuid(65534) != 0 || setrlimit(RLIMIT_NPROC, &none) != 0)
			_exit(2);
		errno = 0;
		pid = odf_fork_with(NULL, &report);
		if (pid == 0)
			_exit(0);
		_exit(pid == -1 && errno == EAGAIN && report.step == ODF_STEP_CLONE && report.error == EAGAIN ? 0 : 1);
	}
	must_exit_with(outer, 0);
}

static volatile pid_t forked_in_handler;
static void on_signal(int signal)
{
	int saved = errno;
	(void)signal;
	forked_in_handler = odf_fork();
	if (forked_in_handler == 0)
		_exit(5);
	errno = saved;
}

static void test_in_signal_handler(void **state)
{
	struct sigaction action = { .sa_handler = on_signal }, before;

	(void)state;
	sigaction(SIGUSR1, &action, &before);
	for (int i = 0; i < 50; i++) {
		raise(SIGUSR1);
		assert_true(forked_in_handler > 0);
		must_exit_with(forked_in_handler, 5);
	}
	sigaction(SIGUSR1, &before, NULL);
}

static void *fork_often(void *failures)
{
	for (int i = 0; i < 200; i++) {
		pid_t pid = odf_fork();
		int status;
		if (pid == 0) {
			free(malloc(1000)); /* malloc's locks are consistent in the child */
			_exit(3);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 3)
			++*(int *)failures;
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[8];
	int failures[8] = { 0 };

	(void)state;
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fork_often, &failures[i]), 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(failures[i], 0);
	}
	must_have_no_children();
}

/* ---- The switch: a file of one character stands for /proc/self/use_odf ------------------------------------------- */

static const char *switch_file(const char *contents, mode_t mode)
{
	const char *path = scratch_path("use_odf");

	unlink(path);
	write_file(path, contents, mode);
	return path;
}

static void must_read(const char *path, const char *contents)
{
	char *text = read_file(path);

	assert_non_null(text);
	assert_memory_equal(text, contents, 1);
	free(text);
}

static void test_switch(void **state)
{
	struct kernel_place place = { ODF_KERNEL_INTERFACE_USE_ODF, switch_file("0\n", 0600), 0 };
	struct kernel_place full = { ODF_KERNEL_INTERFACE_USE_ODF, "/dev/full", 0 };
	struct surroundings before = surroundings_take();
	struct kernel_switch one, two;
	pid_t pid;

	(void)state;
	assert_int_equal(kernel_switch_set(&one, &place, true), ODF_REASON_NONE);
	must_read(place.path, "1");
	assert_false(one.was_set);
	assert_int_equal(kernel_switch_set(&two, &place, true), ODF_REASON_KERNEL_BUSY);
	kernel_switch_put_back(&two, true);
	must_read(place.path, "1");
	/* A child forked meanwhile, by any thread: its copy of the lock is free, and the inherited switch is
	 * cleared. */
	pid = fork();
	if (pid == 0) {
		struct kernel_switch own;
		kernel_switch_in_child();
		_exit(kernel_switch_set(&own, &place, true) == ODF_REASON_NONE && !own.was_set ? 0 : 1);
	}
	must_exit_with(pid, 0);
	kernel_switch_put_back(&one, true);
	must_read(place.path, "0");
	/* Set by another party before: left as it is, in a child as well. */
	switch_file("1\n", 0600);
	assert_int_equal(kernel_switch_set(&one, &place, true), ODF_REASON_NONE);
	pid = fork();
	if (pid == 0) {
		kernel_switch_in_child();
		_exit(0);
	}
	must_exit_with(pid, 0);
	must_read(place.path, "1");
	kernel_switch_put_back(&one, true);
	must_read(place.path, "1");
	/* The child of a fork that has nothing to do with it. */
	pid = fork();
	if (pid == 0) {
		kernel_switch_in_child();
		_exit(0);
	}
	must_exit_with(pid, 0);
	must_read(place.path, "1");
	/* The file is gone, or refuses the write: nothing is held. */
	unlink(place.path);
	assert_int_equal(kernel_switch_set(&one, &place, true), ODF_REASON_KERNEL_REFUSED);
	kernel_switch_put_back(&one, true);
	assert_int_equal(kernel_switch_set(&one, &full, true), ODF_REASON_KERNEL_REFUSED);
	switch_file("0\n", 0600);
	assert_int_equal(kernel_switch_set(&one, &place, true), ODF_REASON_NONE);
	kernel_switch_put_back(&one, true);
	surroundings_must_equal(&before);
}

/* On a kernel that has not been seen to keep data: after one fork the switch stays on, in the child too. */
static void test_switch_stays(void **state)
{
	struct kernel_place place = { ODF_KERNEL_INTERFACE_USE_ODF, switch_file("0\n", 0600), 0 };
	struct surroundings before = surroundings_take();
	struct kernel_switch one;
	pid_t pid;

	(void)state;
	/* Nothing was forked. */
	assert_int_equal(kernel_switch_set(&one, &place, false), ODF_REASON_NONE);
	must_read(place.path, "1");
	kernel_switch_put_back(&one, false);
	must_read(place.path, "0");
	assert_int_equal(kernel_switch_set(&one, &place, false), ODF_REASON_NONE);
	pid = fork();
	if (pid == 0) {
		struct kernel_switch own;
		kernel_switch_in_child();
		_exit(kernel_switch_set(&own, &place, false) == ODF_REASON_NONE && own.was_set ? 0 : 1);
	}
	must_exit_with(pid, 0);
	must_read(place.path, "1");
	kernel_switch_put_back(&one, true);
	must_read(place.path, "1");
	/* Whatever follows. */
	assert_int_equal(kernel_switch_set(&one, &place, false), ODF_REASON_NONE);
	assert_true(one.was_set);
	kernel_switch_put_back(&one, true);
	must_read(place.path, "1");
	switch_file("0\n", 0600);
	surroundings_must_equal(&before);
}

/* A memory cgroup's switch: other processes are in the cgroup, so a child leaves the switch to its parent; and the
 * switch counts only while this process is in that cgroup. */
static void test_cgroup_switch(void **state)
{
	struct kernel_place place = { ODF_KERNEL_INTERFACE_ASYNC_FORK, switch_file("0\n", 0600), async_fork_cgroup() };
	struct kernel_switch one;
	pid_t pid;

	(void)state;
	if (place.cgroup == 0) {
		skip_because("this process is in no memory cgroup");
		return;
	}
	assert_int_equal(kernel_switch_set(&one, &place, true), ODF_REASON_NONE);
	must_read(place.path, "1");
	pid = fork();
	if (pid == 0) {
		kernel_switch_in_child();
		_exit(0);
	}
	must_exit_with(pid, 0);
	must_read(place.path, "1");
	kernel_switch_put_back(&one, true);
	must_read(place.path, "0");
	place.cgroup++;
	assert_int_equal(kernel_switch_set(&one, &place, true), ODF_REASON_KERNEL_CGROUP);
	kernel_switch_put_back(&one, true);
	must_read(place.path, "0");
	place.cgroup--;
	assert_int_equal(kernel_switch_set(&one, &place, true), ODF_REASON_NONE);
	kernel_switch_put_back(&one, true);
	must_read(place.path, "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_atfork_handlers),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_bad_input),
		cmocka_unit_test(test_pidfd),
		cmocka_unit_test(test_pidfd_without_descriptors),
		cmocka_unit_test(test_fork_fails),
		cmocka_unit_test(test_in_signal_handler),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_switch),
		cmocka_unit_test(test_switch_stays),
		cmocka_unit_test(test_cgroup_switch),
	};
	return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
