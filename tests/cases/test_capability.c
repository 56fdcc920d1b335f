/* SPDX-License-Identifier: MIT
 *
 * The probes: their answers agree with what the calls themselves do, they leave no trace, they are the same in every
 * thread, and they are kept when a filter comes later.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/capability/capability.h"
#include "../support/support.h"

static volatile sig_atomic_t children_seen;

static void on_child(int signal)
{
	(void)signal;
	children_seen++;
}

/* First in the group: every probe is made here for the first time. */
static void test_no_side_effects(void **state)
{
	struct sigaction action = { .sa_handler = on_child }, before;
	struct surroundings surroundings;
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	(void)state;
	for (odf_probe probe = ODF_PROBE_CLONE3; probe < ODF_PROBE_COUNT; probe++)
		if (probe != ODF_PROBE_ASYNC_FORK_PRCTL) /* made with the first one, when the library is loaded */
			assert_int_equal(capability_known(probe), ODF_ANSWER_NOT_ASKED);
	sigaction(SIGCHLD, &action, &before);
	surroundings = surroundings_take();
	errno = 77;
	assert_errno(0, odf_capabilities_get(&capabilities));
	assert_int_equal(errno, 77);
	surroundings_must_equal(&surroundings);
	sigaction(SIGCHLD, &before, NULL);
	assert_int_equal(children_seen, 0);
	must_have_no_children();
	for (odf_probe probe = 0; probe < ODF_PROBE_COUNT; probe++)
		assert_int_not_equal(capability_known(probe), ODF_ANSWER_NOT_ASKED);
}

static void test_agrees_with_the_calls(void **state)
{
	int error, fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	bool pidfd = fd >= 0;

	(void)state;
	if (pidfd)
		close(fd);
	assert_int_equal(odf_probe_get(ODF_PROBE_PIDFD_OPEN, NULL), pidfd ? ODF_ANSWER_YES : ODF_ANSWER_NO);
	fd = open("/proc/self/use_odf", O_WRONLY | O_CLOEXEC);
	error = fd < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	{
		int said = -1;
		assert_int_equal(odf_probe_get(ODF_PROBE_USE_ODF, &said), fd >= 0 ? ODF_ANSWER_YES : ODF_ANSWER_NO);
		assert_int_equal(said, error);
	}
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	assert_int_equal(odf_probe_get(ODF_PROBE_UFFD_KERNEL, NULL), fd >= 0 ? ODF_ANSWER_YES : ODF_ANSWER_NO);
	if (fd >= 0)
		close(fd);
	assert_int_equal(odf_probe_get(ODF_PROBE_EXECVEAT, NULL), ODF_ANSWER_YES);
	assert_int_equal(odf_probe_get(ODF_PROBE_PROC, NULL),
			 access("/proc/self/stat", R_OK) == 0 ? ODF_ANSWER_YES : ODF_ANSWER_NO);
}

static void test_structure(void **state)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	struct utsname name;

	(void)state;
	uname(&name);
	assert_errno(0, odf_capabilities_get(&capabilities));
	assert_int_equal(capabilities.size, sizeof capabilities);
	assert_string_equal(capabilities.kernel_release, name.release);
	assert_int_equal(capabilities.page_size, sysconf(_SC_PAGESIZE));
	assert_int_equal(capabilities.strategy[ODF_STRATEGY_FORK], ODF_REASON_NONE);
	assert_int_equal(capabilities.strategy[ODF_STRATEGY_POOL], capabilities.strategy[ODF_STRATEGY_VFORK]);
	if (odf_probe_get(ODF_PROBE_USE_ODF, NULL) == ODF_ANSWER_NO) {
		assert_int_equal(capabilities.kernel_interface, ODF_KERNEL_INTERFACE_NONE);
		assert_int_not_equal(capabilities.strategy[ODF_STRATEGY_KERNEL], ODF_REASON_NONE);
	}
	assert_errno(EINVAL, odf_capabilities_get(NULL));
	capabilities.size = 8;
	assert_errno(EINVAL, odf_capabilities_get(&capabilities));
	capabilities.size = (size_t)1 << 40;
	assert_errno(E2BIG, odf_capabilities_get(&capabilities));
	assert_int_equal(odf_probe_get(ODF_PROBE_COUNT, NULL), ODF_ANSWER_NO);
	assert_string_equal(odf_probe_name(ODF_PROBE_COUNT), "unknown");
	assert_string_equal(odf_version(), ODF_VERSION);
}

static void *ask_all(void *answers)
{
	for (odf_probe probe = 0; probe < ODF_PROBE_COUNT; probe++)
		((odf_answer *)answers)[probe] = odf_probe_get(probe, NULL);
	return NULL;
}

/* In fresh processes, so that the threads race for the first probe. */
static void test_threads(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		char *argv[] = { (char[]){ "test_capability" }, (char[]){ "--race" }, NULL };
		pid_t pid;
		assert_errno(0, odf_spawn(&pid, "/proc/self/exe", argv, NULL, NULL, NULL));
		must_exit_with(pid, 0);
	}
}

static int race(void)
{
	enum { THREADS = 8 };
	static odf_answer answers[THREADS][ODF_PROBE_COUNT];
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, ask_all, answers[i]) != 0)
			return 2;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS; i++)
		if (memcmp(answers[i], answers[0], sizeof answers[0]) != 0)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_side_effects),
		cmocka_unit_test(test_agrees_with_the_calls),
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_threads),
	};
	if (argc > 1 && strcmp(argv[1], "--race") == 0)
		return race();
	return cmocka_run_group_tests_name("capability", tests, NULL, NULL);
}
