/* SPDX-License-Identifier: MIT
 *
 * A child's identity and place: the groups of a user, ambient capabilities, namespaces, root directory; and its
 * priorities. By each engine that supports them, with the errors of each step.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../support/support.h"

static char *true_argv[] = { (char[]){ "true" }, NULL };

static bool is_root(const char *what)
{
	if (geteuid() == 0)
		return true;
	skip_because(what);
	return false;
}

/* By VFORK and by FORK; POSIX_SPAWN must report that it does not support them. */
static void on_both(const odf_spawn_options *asked, void (*check)(const char *json))
{
	odf_spawn_options options = *asked;
	odf_report report = ODF_REPORT_INIT;

	for (size_t i = 1; i < 3; i++) {
		char *json;
		options.allow = ODF_ALLOW(engines[i]);
		json = spawn_state(&options, &report);
		assert_int_equal(report.strategy, engines[i]);
		check(json);
		free(json);
	}
	options.allow = ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN);
	assert_errno(ENOTSUP, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.reason[ODF_STRATEGY_POSIX_SPAWN], ODF_REASON_LIBC_NO_OPTION);
}

static void must_fail(const odf_spawn_options *asked, odf_step step, int index, int error)
{
	odf_spawn_options options = *asked;
	odf_report report = ODF_REPORT_INIT;

	for (size_t i = 1; i < 3; i++) {
		struct surroundings before = surroundings_take();
		options.allow = ODF_ALLOW(engines[i]);
		assert_errno(error, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
		assert_int_equal(report.step, step);
		assert_int_equal(report.index, index);
		surroundings_must_equal(&before);
	}
	must_have_no_children();
}

/* ---- Groups ------------------------------------------------------------------------------------------------------ */

static char expected_groups[4096];

static void check_groups(const char *json)
{
	must_have(json, "uid", "\"1 1 1\"");
	must_have(json, "Groups", expected_groups);
}

static int compare_groups(const void *a, const void *b)
{
	gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;
	return (x > y) - (x < y);
}

/* The list as /proc shows it: sorted. */
static void expect_groups(gid_t *groups, int count)
{
	size_t at = 1;

	qsort(groups, (size_t)count, sizeof *groups, compare_groups);
	strcpy(expected_groups, "\"");
	for (int i = 0; i < count; i++)
		at += (size_t)snprintf(expected_groups + at, sizeof expected_groups - at, "%s%u", i == 0 ? "" : " ",
				       (unsigned)groups[i]);
	strcpy(expected_groups + at, "\"");
}

static void test_groups(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	struct passwd *user = getpwuid(1);
	gid_t kept[] = { 5, 6 }, groups[64];
	int count = 64;

	(void)state;
	if (!is_root("groups need root"))
		return;
	assert_non_null(user);
	assert_int_equal(chmod(scratch(), 0777), 0);
	assert_int_equal(setgroups(2, kept), 0);
	options.uid = 1;
	options.flags = ODF_SPAWN_UID | ODF_SPAWN_KEEP_GROUPS;
	expect_groups(kept, 2);
	on_both(&options, check_groups);
	options.flags = ODF_SPAWN_UID | ODF_SPAWN_GROUPS;
	expect_groups(groups, 0);
	on_both(&options, check_groups);
	options.flags = ODF_SPAWN_UID | ODF_SPAWN_USER_GROUPS;
	assert_true(getgrouplist(user->pw_name, user->pw_gid, groups, &count) > 0);
	expect_groups(groups, count);
	on_both(&options, check_groups);
	options.flags |= ODF_SPAWN_GID;
	options.gid = 4321;
	count = 64;
	assert_true(getgrouplist(user->pw_name, 4321, groups, &count) > 0);
	expect_groups(groups, count);
	assert_non_null(strstr(expected_groups, "4321"));
	on_both(&options, check_groups);
	options.uid = 4000000000u;
	must_fail(&options, ODF_STEP_GROUPS, -1, ENOENT);
	assert_int_equal(setgroups(0, NULL), 0);
	chmod(scratch(), 0755);
}

/* ---- Ambient capabilities ---------------------------------------------------------------------------------------- */

static void check_ambient(const char *json)
{
	char bits[32];

	snprintf(bits, sizeof bits, "\"%016llx\"", 1ull << CAP_NET_BIND_SERVICE | 1ull << CAP_SYS_NICE);
	must_have(json, "uid", "\"1234 1234 1234\"");
	must_have(json, "CapAmb", bits);
	must_have(json, "CapPrm", bits);
}

static void test_ambient(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	if (!is_root("capabilities need root"))
		return;
	assert_int_equal(chmod(scratch(), 0777), 0);
	options.flags = ODF_SPAWN_UID | ODF_SPAWN_GROUPS | ODF_SPAWN_AMBIENT;
	options.uid = 1234;
	options.ambient = 1ull << CAP_NET_BIND_SERVICE | 1ull << CAP_SYS_NICE;
	on_both(&options, check_ambient);
	chmod(scratch(), 0755);
	options.ambient = 1ull << 63; /* no such capability */
	must_fail(&options, ODF_STEP_CAPABILITIES, -1, EINVAL);
	options.flags = ODF_SPAWN_AMBIENT;
	must_fail(&options, ODF_STEP_CAPABILITIES, -1, EINVAL);
}

/* ---- Namespaces -------------------------------------------------------------------------------------------------- */

static char joined[128];

static void check_joined(const char *json)
{
	must_have(json, "uts", joined);
}

/* A process that waits in namespaces of its own; *fd is one of them. */
static pid_t stay_in(int flags, const char *name, int *fd)
{
	char path[64], target[64], byte;
	int ready[2];
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (unshare(flags) != 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(*fd >= 0);
	target[readlink(path, target, sizeof target - 1)] = '\0';
	snprintf(joined, sizeof joined, "\"%s\"", target);
	return pid;
}

static void test_namespaces(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_namespace namespaces[] = { { -1, 0 }, { 900, 0 } };
	odf_report report = ODF_REPORT_INIT;
	pid_t holder, pid;
	int fd;

	(void)state;
	if (!is_root("namespaces need root"))
		return;
	holder = stay_in(CLONE_NEWUTS, "uts", &fd);
	namespaces[0].fd = fd;
	options.namespaces = namespaces;
	options.namespace_count = 1;
	on_both(&options, check_joined);
	namespaces[0].type = CLONE_NEWUTS;
	on_both(&options, check_joined);
	namespaces[0].type = CLONE_NEWNET;
	kill(holder, SIGKILL);
	wait_for(holder);
	must_fail(&options, ODF_STEP_NAMESPACE, 0, EINVAL);
	namespaces[0].type = 0;
	options.namespace_count = 2;
	must_fail(&options, ODF_STEP_NAMESPACE, 1, EBADF);
	close(fd);
	namespaces[1].fd = -1;
	must_fail(&options, ODF_STEP_REQUEST, 1, EINVAL);

	/* A process that shares its memory may not join a time namespace: another strategy is used. */
	if (access("/proc/self/ns/time", F_OK) != 0) {
		skip_because("no time namespaces");
		return;
	}
	holder = stay_in(0x80 /* CLONE_NEWTIME */, "time_for_children", &fd);
	namespaces[0].fd = fd;
	options.namespace_count = 1;
	assert_errno(0, odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.strategy, ODF_STRATEGY_FORK);
	must_exit_with(pid, 0);
	close(fd);
	kill(holder, SIGKILL);
	wait_for(holder);
}

/* ---- Root directory ---------------------------------------------------------------------------------------------- */

static char shown_root[1024];

static void test_root(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_fd_action map[] = { ODF_FD_OPEN(1, "/out", O_WRONLY | O_CREAT | O_TRUNC, 0600) };
	char command[8192 + 64], *text;
	pid_t pid;

	(void)state;
	if (!is_root("chroot needs root"))
		return;
	snprintf(shown_root, sizeof shown_root, "%s", scratch_path("root"));
	snprintf(command, sizeof command, "mkdir -p '%s/sub' && cp '%s' '%s/program'", shown_root,
		 helper_path("exits"), shown_root);
	assert_int_equal(system(command), 0);
	for (size_t i = 1; i < 3; i++) {
		options.allow = ODF_ALLOW(engines[i]);
		options.root = shown_root;
		options.fds = map;
		options.fd_count = 1;
		options.cwd = NULL;
		assert_errno(0, odf_spawn(&pid, "/program", true_argv, NULL, &options, &report));
		wait_for(pid);
		snprintf(command, sizeof command, "%s/out", shown_root);
		text = read_file(command);
		assert_non_null(text);
		free(text);
		unlink(command);
		/* Also for relative paths: the old working directory is left. */
		assert_errno(0, odf_spawn(&pid, "program", true_argv, NULL, &options, &report));
		wait_for(pid);
		options.cwd = "sub";
		assert_errno(0, odf_spawn(&pid, "../program", true_argv, NULL, &options, &report));
		wait_for(pid);
		options.cwd = "tmp";
		assert_errno(ENOENT, odf_spawn(&pid, "/program", true_argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_CWD);
	}
	options = ODF_SPAWN_OPTIONS_INIT;
	options.root = "/nonexistent";
	must_fail(&options, ODF_STEP_ROOT, -1, ENOENT);
}

/* ---- Priorities -------------------------------------------------------------------------------------------------- */

/* The kernel's struct sched_attr in its first version. */
struct first_sched_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static void check_priorities(const char *json)
{
	char value[16];

	snprintf(value, sizeof value, "%d", nicer(7));
	must_have(json, "ioprio", "24580"); /* class 3, level 4 */
	must_have(json, "oom_score_adj", "\"321 \"");
	must_have(json, "sched", "\"3 0\"");
	must_have(json, "nice", value);
}

static void test_priorities(void **state)
{
	struct first_sched_attr attr = { .size = sizeof attr, .policy = SCHED_BATCH, .nice = nicer(7) };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	char *before = read_file("/proc/self/oom_score_adj"), *after;
	pid_t pid;

	(void)state;
	options.flags = ODF_SPAWN_IOPRIO | ODF_SPAWN_OOM_SCORE_ADJ;
	options.ioprio = ODF_IOPRIO(3, 4);
	options.oom_score_adj = 321;
	options.sched_attr = (const struct sched_attr *)&attr;
	on_both(&options, check_priorities);
	after = read_file("/proc/self/oom_score_adj");
	assert_string_equal(after, before); /* the caller's own */
	free(before);
	free(after);
	options.ioprio = ODF_IOPRIO(7, 7);
	must_fail(&options, ODF_STEP_IOPRIO, -1, EINVAL);
	options.forgive = ODF_FORGIVE(ODF_STEP_IOPRIO) | ODF_FORGIVE(ODF_STEP_OOM_SCORE);
	assert_errno(0, odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report));
	assert_true(report.forgiven == ODF_FORGIVE(ODF_STEP_IOPRIO));
	must_exit_with(pid, 0);
	options.flags = 0;
	options.forgive = 0;
	attr.policy = 77;
	must_fail(&options, ODF_STEP_SCHED, -1, EINVAL);
}

/* ---- Signals ----------------------------------------------------------------------------------------------------- */

static void test_sigdefault(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	struct sigaction usr1, usr2;

	(void)state;
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = SIG_IGN }, &usr1);
	sigaction(SIGUSR2, &(struct sigaction){ .sa_handler = SIG_IGN }, &usr2);
	options.flags = ODF_SPAWN_SIGDEFAULT;
	sigemptyset(&options.sigdefault);
	sigaddset(&options.sigdefault, SIGUSR1);
	for (size_t i = 0; i < 3; i++) {
		char *json, *ignored;
		unsigned long bits;
		options.allow = ODF_ALLOW(engines[i]);
		json = spawn_state(&options, NULL);
		ignored = member(json, "SigIgn");
		bits = strtoul(ignored + 1, NULL, 16);
		assert_false(bits & 1ul << (SIGUSR1 - 1));
		assert_true(bits & 1ul << (SIGUSR2 - 1));
		free(ignored);
		free(json);
	}
	sigaction(SIGUSR1, &usr1, NULL);
	sigaction(SIGUSR2, &usr2, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_ambient),
		cmocka_unit_test(test_namespaces),
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_sigdefault),
	};

	return cmocka_run_group_tests_name("identity of spawned programs", tests, NULL, NULL);
}
