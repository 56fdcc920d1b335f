/* SPDX-License-Identifier: MIT
 *
 * The options and the report as structures: zero except for their size, of other sizes, refused. See also
 * abi_growth.sh.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/support.h"

static char *true_argv[] = { (char[]){ "true" }, NULL };

/* Descriptor 0 is a directory, which each of the three would use. */
static void with_directory_at_0(void (*run)(void))
{
	int kept = fcntl(0, F_DUPFD_CLOEXEC, 3), directory = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(kept >= 0 && directory >= 0);
	assert_int_equal(dup2(directory, 0), 0);
	run();
	assert_int_equal(dup2(kept, 0), 0);
	close(directory);
	close(kept);
}

static void zero_asks_for_nothing(void)
{
	for (size_t i = 0; i < sizeof engines / sizeof *engines; i++) {
		odf_spawn_options options = { .size = sizeof options, .allow = ODF_ALLOW(engines[i]) };
		odf_report report = { .size = sizeof report };
		char *cwd = getcwd(NULL, 0), quoted[4096 + 3], *json = spawn_state(&options, &report);

		assert_non_null(cwd);
		snprintf(quoted, sizeof quoted, "\"%s\"", cwd);
		must_have(json, "cwd", quoted);
		assert_int_equal(report.strategy, engines[i]);
		assert_int_equal(report.index, -1);
		free(cwd);
		free(json);
	}
}

static void zero_with_its_flag(void)
{
	odf_spawn_options options = { .size = sizeof options, .flags = ODF_SPAWN_CWD_FD };
	odf_report report = ODF_REPORT_INIT;
	char *json = spawn_state(&options, &report);

	must_have(json, "cwd", "\"/usr\"");
	free(json);
	options.flags = ODF_SPAWN_EXEC_FD;
	assert_errno(EACCES, odf_spawn(NULL, NULL, true_argv, NULL, &options, &report));
	assert_int_equal(report.step, ODF_STEP_EXEC);
	options.flags = ODF_SPAWN_CGROUP_FD;
	assert_errno(ENOENT, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.step, ODF_STEP_CGROUP);
	/* libc's posix_spawn has no such option. */
	options.allow = ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN);
	assert_errno(ENOTSUP, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	must_have_no_children();
}

static void test_zero(void **state)
{
	(void)state;
	zero_asks_for_nothing();
	with_directory_at_0(zero_asks_for_nothing);
	with_directory_at_0(zero_with_its_flag);
}

/* A structure of `size` bytes, of which only a page is mapped. */
static void refused(size_t size, int error, int expected_pidfd)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	struct surroundings before = surroundings_take();
	int pidfd = -5;

	options.pidfd = &pidfd;
	options.size = size;
	assert_errno(error, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_int_equal(report.error, error);
	assert_int_equal(pidfd, expected_pidfd);
	surroundings_must_equal(&before);
}

static void test_sizes(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_fork_options fork_options = ODF_FORK_OPTIONS_INIT;
	int pidfd = -5;

	(void)state;
	refused(offsetof(odf_spawn_options, reserved[1]), EINVAL, -1);
	refused(offsetof(odf_spawn_options, pidfd) + sizeof options.pidfd, EINVAL, -1);
	refused(offsetof(odf_spawn_options, pidfd), EINVAL, -5); /* this size has no pidfd */
	refused(0, EINVAL, -5);
	refused((size_t)1 << 40, E2BIG, -1);
	refused(~(size_t)0, E2BIG, -1);
	/* Members that this version does not know may mean anything. */
	options.reserved[1] = 1;
	options.pidfd = &pidfd;
	assert_errno(E2BIG, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(pidfd, -1);
	options.reserved[1] = 0;
	pidfd = -5;
	report.size = (size_t)1 << 40;
	assert_errno(E2BIG, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(pidfd, -1);
	report = ODF_REPORT_INIT;
	fork_options.pidfd = &pidfd;
	fork_options.size = (size_t)1 << 40;
	pidfd = -5;
	assert_int_equal(odf_fork_with(&fork_options, &report), -1);
	assert_int_equal(errno, E2BIG);
	assert_int_equal(pidfd, -1);
	must_have_no_children();
}

/* Options with a size that no header has are not options: the library must not follow their pointers. */
static void test_no_structure(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_process *process = NULL;

	(void)state;
	options.size = 4097;
	options.flags = ~UINT64_C(0);
	options.launch = (odf_launch **)(uintptr_t)8;
	options.pipes = (int *)(uintptr_t)8;
	options.fds = (const odf_fd_action *)(uintptr_t)8;
	for (int i = 0; i < 2; i++) {
		assert_errno(E2BIG, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_REQUEST);
		assert_errno(E2BIG, odf_run("/bin/true", true_argv, NULL, &options, NULL, &report));
		assert_errno(E2BIG, odf_process_spawn(&process, "/bin/true", true_argv, NULL, &options, &report));
		assert_errno(E2BIG, odf_pool_spawn(NULL, NULL, "/bin/true", true_argv, NULL, &options, &report));
		options.size = ~(size_t)0;
	}
	must_have_no_children();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_no_structure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
