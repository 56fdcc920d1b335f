/* SPDX-License-Identifier: MIT
 *
 * Worker tasks of a program that has closed its standard descriptors, as daemons do, that has no /dev, and where memfds
 * must not be executable. Each runs in a child, whose standard error may be closed: its exit status is the number of
 * what failed.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../support/pool_support.h"

#define REQUIRE(number, condition) \
	do {                       \
		if (!(condition))  \
			return number; \
	} while (0)

enum { ALARM_SECONDS = 600, EXECUTABLE_NOT = 8 };

static void in_child(int (*body)(int), int argument)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(ALARM_SECONDS);
		_exit(body(argument));
	}
	must_exit_with(pid, 0);
}

/* ---- The standard descriptors ------------------------------------------------------------------------------------ */

static int prints(const void *input, size_t length, odf_output *output)
{
	(void)input, (void)length, (void)output;
	printf("more than nothing\n");
	fprintf(stderr, "as much\n");
	return 5;
}

/* `closed`: a bit for each of the three that is closed. */
static int works_with_closed(int closed)
{
	odf_pool *pool;
	odf_task *task, *printing;
	odf_task_info info = ODF_TASK_INFO_INIT;
	odf_pool_info before = ODF_POOL_INFO_INIT, after = ODF_POOL_INFO_INIT;
	odf_pool_options options = ODF_POOL_OPTIONS_INIT;
	odf_task_options forked = ODF_TASK_OPTIONS_INIT;
	int value = 8, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd < 3; fd++)
		REQUIRE(1, dup2(null, fd) == fd);
	for (int fd = 0; fd < 3; fd++)
		if (closed >> fd & 1)
			close(fd);
	options.workers_min = options.workers_max = 2;
	pool = odf_pool_create(&options);
	REQUIRE(2, pool != NULL);
	REQUIRE(3, odf_pool_submit(pool, pauses, NULL, 0, &task) == 0);
	REQUIRE(4, odf_pool_info_get(pool, &before) == 0);
	for (int i = 0; i < 2; i++) {
		REQUIRE(5, odf_pool_submit(pool, prints, NULL, 0, &printing) == 0);
		REQUIRE(6, odf_task_wait(printing, NULL, NULL, -1) == 0);
		REQUIRE(7, odf_task_info_get(printing, &info) == 0 && info.result == 5);
		odf_task_free(printing);
		REQUIRE(8, odf_task_wait(task, NULL, NULL, 0) == ETIMEDOUT);
	}
	forked.flags = ODF_TASK_FORK;
	for (int i = 0; i < 2; i++) {
		REQUIRE(9, odf_pool_submit_with(pool, i == 0 ? twice : prints, &value, sizeof value, &forked,
						&printing) == 0);
		REQUIRE(10, odf_task_wait(printing, NULL, NULL, -1) == 0);
		odf_task_free(printing);
	}
	REQUIRE(11, odf_task_wait(task, NULL, NULL, 0) == ETIMEDOUT);
	REQUIRE(12, odf_pool_info_get(pool, &after) == 0 && after.manager == before.manager);
	odf_task_free(task);
	REQUIRE(13, odf_pool_destroy(pool) == 0);
	for (int fd = 0; fd < 3; fd++)
		closed ^= fcntl(fd, F_GETFD) == -1 ? 1 << fd : 0;
	REQUIRE(14, closed == 0);
	return 0;
}

static void test_closed_descriptors(void **state)
{
	(void)state;
	for (int closed = 0; closed < 8; closed++)
		in_child(works_with_closed, closed);
}

static int works_in(int closed)
{
	const char *directory = scratch_path("root");
	odf_pool *pool;
	odf_task *task;
	odf_task_options options = ODF_TASK_OPTIONS_INIT;
	int value = 8;

	REQUIRE(1, mkdir(directory, 0755) == 0 || errno == EEXIST);
	REQUIRE(2, chroot(directory) == 0 && chdir("/") == 0);
	for (int fd = 0; fd < 3 && closed; fd++)
		close(fd);
	pool = odf_pool_create(NULL);
	REQUIRE(3, pool != NULL);
	for (int i = 0; i < 2; i++) {
		options.flags = i == 0 ? 0 : ODF_TASK_FORK;
		REQUIRE(4, odf_pool_submit_with(pool, twice, &value, sizeof value, &options, &task) == 0);
		REQUIRE(5, odf_task_wait(task, NULL, NULL, -1) == 0);
		odf_task_free(task);
	}
	REQUIRE(6, odf_pool_destroy(pool) == 0);
	return 0;
}

static void test_no_devices(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		skip_because("only root can change the root");
		return;
	}
	(void)scratch();
	in_child(works_in, 0);
	in_child(works_in, 1);
}

/* ---- memfds ------------------------------------------------------------------------------------------------------ */

/* `at_zero`: memfd_create without MFD_NOEXEC_SEAL fails with `error`; otherwise memfd_create with that flag does. */
static int refuse_files(bool at_zero, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, EXECUTABLE_NOT, at_zero ? 1 : 0, at_zero ? 0 : 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof code / sizeof *code, code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0;
}

static int works_with_files(int old)
{
	odf_pool *pool;
	odf_task *task;
	int value = 8;

	REQUIRE(1, refuse_files(!old, old ? EINVAL : EACCES) == 0);
	pool = odf_pool_create(NULL);
	REQUIRE(2, pool != NULL);
	REQUIRE(3, odf_pool_submit(pool, twice, &value, sizeof value, &task) == 0);
	REQUIRE(4, odf_task_wait(task, NULL, NULL, -1) == 0);
	odf_task_free(task);
	REQUIRE(5, odf_pool_destroy(pool) == 0);
	return 0;
}

/* As vm.memfd_noexec=2 refuses them, and as kernels before 6.3 do, which do not know the flag. */
static void test_memory_files(void **state)
{
	(void)state;
	in_child(works_with_files, 0);
	in_child(works_with_files, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_closed_descriptors),
		cmocka_unit_test(test_no_devices),
		cmocka_unit_test(test_memory_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
