/* SPDX-License-Identifier: MIT
 *
 * What cannot be done: each failure with its exact step, index and errno, no child left, no descriptor more, mask and dispositions as
 * before, *pid untouched.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <grp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

static char *true_argv[] = { (char[]){ "true" }, NULL };

static void must_fail_by(odf_strategy engine, const char *file, char *const argv[], odf_spawn_options *options, odf_step step, int index,
			 int error)
{
	struct surroundings before = surroundings_take();
	odf_report report = ODF_REPORT_INIT;
	pid_t pid = -7;
	int result;

	options->allow = ODF_ALLOW(engine);
	errno = 99;
	result = odf_spawn(&pid, file, argv, NULL, options, &report);
	if (result != error || report.error != error || report.step != step || report.index != index)
		fail_msg("%s: error %d (report: %d) at %s %d, expected %d at %s %d", odf_strategy_name(engine), result, report.error,
			 odf_step_name(report.step), report.index, error, odf_step_name(step), index);
	assert_int_equal(errno, 99);
	assert_int_equal(pid, -7);
	if (step != ODF_STEP_REQUEST)
		assert_int_equal(report.strategy, engine);
	must_have_no_children();
	surroundings_must_equal(&before);
}

static void must_fail_at(const char *file, char *const argv[], odf_spawn_options *options, odf_step step, int index, int error)
{
	must_fail_by(ODF_STRATEGY_VFORK, file, argv, options, step, index, error);
	must_fail_by(ODF_STRATEGY_FORK, file, argv, options, step, index, error);
}

/* ---- Refused requests -------------------------------------------------------------------------------------------------------- */

static void must_refuse(const char *file, char *const argv[], odf_spawn_options *options, int index)
{
	must_fail_by(ODF_STRATEGY_VFORK, file, argv, options, ODF_STEP_REQUEST, index, EINVAL);
	must_fail_by(ODF_STRATEGY_FORK, file, argv, options, ODF_STEP_REQUEST, index, EINVAL);
	must_fail_by(ODF_STRATEGY_POSIX_SPAWN, file, argv, options, ODF_STEP_REQUEST, index, EINVAL);
}

#define WITH(member_and_value)                                       \
	do {                                                         \
		odf_spawn_options o = ODF_SPAWN_OPTIONS_INIT;        \
		member_and_value;                                    \
		must_refuse("/bin/true", true_argv, &o, -1);         \
	} while (0)

static void test_refused(void **state)
{
	odf_spawn_options none = ODF_SPAWN_OPTIONS_INIT;
	char *no_arguments[] = { NULL };

	(void)state;
	must_refuse(NULL, true_argv, &none, -1);
	must_refuse("/bin/true", NULL, &none, -1);
	must_refuse("/bin/true", no_arguments, &none, -1);
	WITH(o.flags = 0x8000);
	WITH((o.flags = ODF_SPAWN_DETACH, o.parent_death_signal = SIGTERM));
	WITH(o.flags = 1ull << 63);
	WITH(o.flags = ODF_SPAWN_SETSID | ODF_SPAWN_SETPGROUP);
	WITH((o.flags = ODF_SPAWN_SETPGROUP, o.pgroup = -1));
	WITH((o.flags = ODF_SPAWN_NICE, o.nice = 20));
	WITH((o.flags = ODF_SPAWN_NICE, o.nice = -21));
	WITH((o.flags = ODF_SPAWN_GROUPS, o.group_count = 1));
	WITH((o.flags = ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_EXEC_FD, o.exec_fd = 0));
	WITH(o.forgive = ODF_FORGIVE(ODF_STEP_UID));
	WITH(o.forgive = ODF_FORGIVE(ODF_STEP_EXEC));
	WITH((o.flags = ODF_SPAWN_UID | ODF_SPAWN_GROUPS, o.uid = (uid_t)-1));
	WITH((o.flags = ODF_SPAWN_GID, o.gid = (gid_t)-1));
	WITH((o.flags = ODF_SPAWN_GROUPS, o.groups = &(gid_t){ 1 }, o.group_count = ((size_t)1 << 32) + 1));
	WITH((o.flags = ODF_SPAWN_UID, o.uid = getuid()));
	WITH((o.flags = ODF_SPAWN_UID | ODF_SPAWN_GROUPS | ODF_SPAWN_KEEP_GROUPS, o.uid = getuid()));
	WITH(o.flags = ODF_SPAWN_KEEP_GROUPS);
	WITH(o.flags = ODF_SPAWN_USER_GROUPS);
	WITH(o.flags = ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_SEARCH_CHILD_PATH);
	WITH((o.flags = ODF_SPAWN_TTY_FD, o.tty_fd = 0));
	WITH(o.tty_fd = 1);
	WITH((o.flags = ODF_SPAWN_OOM_SCORE_ADJ, o.oom_score_adj = 1001));
	WITH(o.flags = ODF_SPAWN_PIPE_STDOUT);
	WITH((o.flags = ODF_SPAWN_PIPE_STDERR | ODF_SPAWN_STDERR_TO_STDOUT, o.pipes = (int[3]){ 0 }));
	WITH(o.env_edit_count = 1);
	WITH(o.namespace_count = 1);
	WITH((o.flags = ODF_SPAWN_SCHED, o.sched_attr = (const struct sched_attr *)&o));
	WITH((o.cwd_fd = -1, o.flags = ODF_SPAWN_CWD_FD));
	WITH((o.exec_fd = -1, o.flags = ODF_SPAWN_EXEC_FD));
	WITH((o.cgroup_fd = -1, o.flags = ODF_SPAWN_CGROUP_FD));
	WITH(o.cwd_fd = -2);
	WITH(o.exec_fd = -2);
	WITH(o.cgroup_fd = -2);
	WITH(o.fd_count = 1);
	WITH(o.rlimit_count = 1);
	WITH(o.parent_death_signal = -1);
	WITH(o.parent_death_signal = 65);
	WITH(o.size = offsetof(odf_spawn_options, pool) - 1);
	WITH(o.size = 0);
}

static void test_refused_allow(void **state)
{
	static const unsigned sets[] = { ODF_ALLOW(ODF_STRATEGY_NONE), ODF_ALLOW(ODF_STRATEGY_KERNEL), ODF_ALLOW(ODF_STRATEGY_REGION),
					 ODF_ALLOW(ODF_STRATEGY_VFORK) | 1u << 30 };

	(void)state;
	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		options.allow = sets[i];
		assert_errno(EINVAL, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_REQUEST);
	}
	must_have_no_children();
}

static void test_refused_actions(void **state)
{
	odf_fd_action twice[] = { ODF_FD_NULL(0), ODF_FD_CLOSE(7), ODF_FD_DUP(7, 0) };
	odf_fd_action negative[] = { ODF_FD_NULL(0), ODF_FD_NULL(-1) };
	odf_fd_action source[] = { ODF_FD_DUP(5, -1) };
	odf_fd_action no_path[] = { ODF_FD_OPEN(5, NULL, 0, 0) };
	odf_fd_action kind[] = { ODF_FD_NULL(3), { (odf_fd_kind)0, 4, 4, 0, 0, NULL } };
	odf_fd_action many[100];
	odf_spawn_options o = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	o.fds = twice;
	o.fd_count = 3;
	must_refuse("/bin/true", true_argv, &o, 2);
	o.fds = negative;
	o.fd_count = 2;
	must_refuse("/bin/true", true_argv, &o, 1);
	o.fds = source;
	o.fd_count = 1;
	must_refuse("/bin/true", true_argv, &o, 0);
	o.fds = no_path;
	must_refuse("/bin/true", true_argv, &o, 0);
	o.fds = kind;
	o.fd_count = 2;
	must_refuse("/bin/true", true_argv, &o, 1);
	for (int i = 0; i < 100; i++)
		many[i] = (odf_fd_action)ODF_FD_CLOSE(i == 80 ? 3 : i);
	o.fds = many;
	o.fd_count = 100;
	must_refuse("/bin/true", true_argv, &o, 80);
}

static void test_structure_sizes(void **state)
{
	struct {
		odf_spawn_options known;
		long added[2];
	} newer = { ODF_SPAWN_OPTIONS_INIT, { 0, 0 } };
	struct {
		odf_report known;
		long added[2];
	} report = { ODF_REPORT_INIT, { 7, 7 } };
	pid_t pid;

	(void)state;
	newer.known.size = sizeof newer;
	report.known.size = sizeof report;
	assert_errno(0, odf_spawn(&pid, "/bin/true", true_argv, NULL, &newer.known, &report.known));
	must_exit_with(pid, 0);
	assert_int_equal(report.added[0], 0);
	assert_int_equal(report.added[1], 0);
	assert_int_equal(report.known.size, sizeof report);
	newer.added[1] = 1;
	assert_errno(E2BIG, odf_spawn(&pid, "/bin/true", true_argv, NULL, &newer.known, &report.known));
	assert_int_equal(report.known.step, ODF_STEP_REQUEST);
	assert_int_equal(report.known.error, E2BIG);
	report.known.size = 1;
	{
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		int pidfd = -5;
		options.pidfd = &pidfd;
		assert_errno(EINVAL, odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report.known));
		assert_int_equal(pidfd, -1);
	}
	must_have_no_children();
}

/* ---- Exec -------------------------------------------------------------------------------------------------------------------- */

static void on_every_engine(const char *file, char *const argv[], int error)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	must_fail_at(file, argv, &options, ODF_STEP_EXEC, -1, error);
	must_fail_by(ODF_STRATEGY_POSIX_SPAWN, file, argv, &options, ODF_STEP_EXEC, -1, error);
}

static void test_exec(void **state)
{
	char name[300], *big = malloc(4 << 20), *huge[] = { (char[]){ "true" }, big, NULL };
	int writer;

	(void)state;
	on_every_engine(scratch_path("missing"), true_argv, ENOENT);
	on_every_engine("", true_argv, ENOENT);
	write_file(scratch_path("plain"), "#!/bin/sh\n", 0644);
	on_every_engine(scratch_path("plain"), true_argv, EACCES);
	on_every_engine(scratch(), true_argv, EACCES);
	on_every_engine(scratch_path("plain/below"), true_argv, ENOTDIR);
	write_file(scratch_path("unknown"), "no format that anyone knows\n", 0755);
	on_every_engine(scratch_path("unknown"), true_argv, ENOEXEC);
	write_file(scratch_path("empty"), "", 0755);
	on_every_engine(scratch_path("empty"), true_argv, ENOEXEC);
	write_file(scratch_path("interpreter"), "#!/nonexistent/sh\n", 0755);
	on_every_engine(scratch_path("interpreter"), true_argv, ENOENT);
	assert_int_equal(symlink("loop", scratch_path("loop")), 0);
	on_every_engine(scratch_path("loop"), true_argv, ELOOP);
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	on_every_engine(name, true_argv, ENAMETOOLONG);
	assert_non_null(big);
	memset(big, 'x', (4 << 20) - 1);
	big[(4 << 20) - 1] = '\0';
	on_every_engine("/bin/true", huge, E2BIG);
	free(big);
	write_file(scratch_path("busy"), "#!/bin/sh\n", 0755);
	writer = open(scratch_path("busy"), O_WRONLY | O_CLOEXEC);
	on_every_engine(scratch_path("busy"), true_argv, ETXTBSY);
	close(writer);
	{
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		options.exec_fd = 900;
		must_fail_at(NULL, true_argv, &options, ODF_STEP_EXEC, -1, EBADF);
	}
	{
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		options.flags = ODF_SPAWN_SEARCH_PATH;
		assert_errno(ENAMETOOLONG, odf_spawn(NULL, name, true_argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_EXEC);
		assert_int_equal(report.strategy, ODF_STRATEGY_NONE); /* found before anything was made */
	}
}

/* ---- The steps before -------------------------------------------------------------------------------------------------------- */

static void test_directory(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.cwd = "/nonexistent";
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_CWD, -1, ENOENT);
	must_fail_by(ODF_STRATEGY_POSIX_SPAWN, "/bin/true", true_argv, &options, ODF_STEP_UNKNOWN, -1, ENOENT);
	options.cwd = "/etc/passwd";
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_CWD, -1, ENOTDIR);
	options.cwd = NULL;
	options.cwd_fd = 900;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_CWD, -1, EBADF);
}

static void test_descriptors(void **state)
{
	odf_fd_action not_open[] = { ODF_FD_NULL(0), ODF_FD_DUP(5, 900) };
	odf_fd_action keep_nothing[] = { ODF_FD_KEEP(901) };
	odf_fd_action self_nothing[] = { ODF_FD_DUP(902, 902) };
	odf_fd_action missing[] = { ODF_FD_NULL(0), ODF_FD_CLOSE(5), ODF_FD_OPEN(6, "/nonexistent/file", O_RDONLY, 0) };
	odf_fd_action too_high[] = { ODF_FD_DUP(INT_MAX, 0) };
	odf_fd_action cycle_of_nothing[] = { ODF_FD_DUP(903, 904), ODF_FD_DUP(904, 903) };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.fds = not_open;
	options.fd_count = 2;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 1, EBADF);
	must_fail_by(ODF_STRATEGY_POSIX_SPAWN, "/bin/true", true_argv, &options, ODF_STEP_UNKNOWN, -1, EBADF);
	options.fds = keep_nothing;
	options.fd_count = 1;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 0, EBADF);
	options.fds = self_nothing;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 0, EBADF);
	options.fds = missing;
	options.fd_count = 3;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 2, ENOENT);
	options.fds = too_high;
	options.fd_count = 1;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 0, EBADF);
	options.fds = cycle_of_nothing;
	options.fd_count = 2;
	must_fail_at("/bin/true", true_argv, &options, ODF_STEP_FD, 1, EBADF); /* 903 is saved first, which action 1 reads */
}

static int fails_with(void *error)
{
	return *(int *)error;
}

static int kills_itself(void *unused)
{
	(void)unused;
	raise(SIGKILL);
	return 0;
}

static int exits(void *unused)
{
	(void)unused;
	_exit(3);
}

static void test_pre_exec(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	int error = EILSEQ;

	(void)state;
	options.pre_exec = fails_with;
	options.pre_exec_arg = &error;
	must_fail_by(ODF_STRATEGY_FORK, "/bin/true", true_argv, &options, ODF_STEP_PRE_EXEC, -1, EILSEQ);
	error = -4;
	must_fail_by(ODF_STRATEGY_FORK, "/bin/true", true_argv, &options, ODF_STEP_PRE_EXEC, -1, EINVAL);
	options.pre_exec = kills_itself;
	must_fail_by(ODF_STRATEGY_FORK, "/bin/true", true_argv, &options, ODF_STEP_PRE_EXEC, -1, ECHILD);
	assert_errno(ECHILD, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_true(WIFSIGNALED(report.wait_status) && WTERMSIG(report.wait_status) == SIGKILL);
	options.pre_exec = exits;
	assert_errno(ECHILD, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_true(WIFEXITED(report.wait_status) && WEXITSTATUS(report.wait_status) == 3);
	options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK) | ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN);
	assert_errno(ENOTSUP, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
	assert_int_equal(report.reason[ODF_STRATEGY_VFORK], ODF_REASON_PRE_EXEC);
	assert_int_equal(report.reason[ODF_STRATEGY_FORK], ODF_REASON_NOT_ALLOWED);
	must_have_no_children();
}

static int executes(void *unused)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 21" }, NULL };
	(void)unused;
	execv("/bin/sh", argv);
	return errno;
}

/* Code of the caller's that executes something itself: the process is that program, not a failure. */
static void test_pre_exec_that_executes(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t pid;

	(void)state;
	options.pre_exec = executes;
	assert_errno(0, odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, NULL));
	must_exit_with(pid, 21);
}

static void test_attributes(void **state)
{
	odf_rlimit limits[] = { { RLIMIT_CORE, { 0, 0 } }, { 99, { 1, 1 } } };
	odf_rlimit crossed[] = { { RLIMIT_NOFILE, { 20, 10 } } };
	struct sock_filter rejected[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 1u << 20), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { 2, rejected };
	cpu_set_t none;
	int no_directory;

	(void)state;
#define FAILS(step, index, error, ...)                                                             \
	do {                                                                                       \
		odf_spawn_options o = ODF_SPAWN_OPTIONS_INIT;                                      \
		__VA_ARGS__;                                                                       \
		must_fail_at("/bin/true", true_argv, &o, step, index, error);                      \
	} while (0)
	CPU_ZERO(&none);
	FAILS(ODF_STEP_PGROUP, -1, EPERM, (o.flags = ODF_SPAWN_SETPGROUP, o.pgroup = INT_MAX));
	FAILS(ODF_STEP_RLIMIT, 1, EINVAL, (o.rlimits = limits, o.rlimit_count = 2));
	FAILS(ODF_STEP_RLIMIT, 0, EINVAL, (o.rlimits = crossed, o.rlimit_count = 1));
	FAILS(ODF_STEP_AFFINITY, -1, EINVAL, (o.affinity = &none, o.affinity_size = sizeof none));
	FAILS(ODF_STEP_SCHED, -1, EINVAL, (o.flags = ODF_SPAWN_SCHED, o.sched_policy = 1234));
	no_directory = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	FAILS(ODF_STEP_CGROUP, -1, ENOTDIR, o.cgroup_fd = no_directory);
	close(no_directory);
	FAILS(ODF_STEP_CGROUP, -1, EBADF, o.cgroup_fd = 900);
	FAILS(ODF_STEP_SECCOMP, -1, EINVAL, (o.flags = ODF_SPAWN_NO_NEW_PRIVS, o.seccomp = &program));
	FAILS(ODF_STEP_FOREGROUND, -1, ENOTTY, odf_fd_action map[] = { ODF_FD_NULL(0) };
	      o.flags = ODF_SPAWN_SETSID | ODF_SPAWN_FOREGROUND; o.fds = map; o.fd_count = 1);
}

/* What may fail without harm does, and is named. */
static void test_forgive(void **state)
{
	odf_rlimit limits[] = { { 99, { 1, 1 } }, { RLIMIT_CORE, { 0, 0 } } };

	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		char *json;
		options.allow = ODF_ALLOW(engines[i]);
		options.rlimits = limits;
		options.rlimit_count = 2;
		options.cgroup_fd = 900;
		options.forgive = ODF_FORGIVE(ODF_STEP_RLIMIT) | ODF_FORGIVE(ODF_STEP_CGROUP) | ODF_FORGIVE(ODF_STEP_NICE);
		json = spawn_state(&options, &report);
		must_have(json, "rlimit4", "\"0 0\"");
		free(json);
		assert_int_equal(report.forgiven, ODF_FORGIVE(ODF_STEP_RLIMIT) | ODF_FORGIVE(ODF_STEP_CGROUP));
		assert_int_equal(report.step, ODF_STEP_NONE);
	}
}

/* Killed after the last step, in exec itself: the only witness are the kernel's flags of the dead child. */
static void test_killed_at_exec(void **state)
{
	struct sock_filter kill_exec[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, kill_exec };

	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		options.allow = ODF_ALLOW(engines[i]);
		options.flags = ODF_SPAWN_NO_NEW_PRIVS;
		options.seccomp = &program;
		assert_errno(ECHILD, odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_EXEC);
		assert_true(WIFSIGNALED(report.wait_status) && WTERMSIG(report.wait_status) == SIGSYS);
		must_have_no_children();
	}
	/* And a program that ends at once is not taken for one that never ran. */
	for (int round = 0; round < 300; round++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		pid_t pid;
		options.allow = ODF_ALLOW(engines[1 + round % 2]);
		assert_errno(0, odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, NULL));
		must_exit_with(pid, 0);
	}
}

/* ---- As somebody without rights ---------------------------------------------------------------------------------------------- */

static int check_unprivileged(void)
{
	struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { 1, allow };
	odf_rlimit higher[] = { { RLIMIT_NOFILE, { 64, 128 } } };
	struct rlimit low = { 1000, 1000 }, none = { 0, 0 };
	gid_t groups[] = { 0 };

	if (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0 || setrlimit(RLIMIT_NOFILE, &low) != 0)
		return 2;
	higher[0].limit = (struct rlimit){ 2000, 2000 };
	FAILS(ODF_STEP_UID, -1, EPERM, (o.flags = ODF_SPAWN_UID | ODF_SPAWN_KEEP_GROUPS, o.uid = 0));
	FAILS(ODF_STEP_GID, -1, EPERM, (o.flags = ODF_SPAWN_GID, o.gid = 0));
	FAILS(ODF_STEP_GROUPS, -1, EPERM, (o.flags = ODF_SPAWN_GROUPS, o.groups = groups, o.group_count = 1));
	FAILS(ODF_STEP_NICE, -1, EACCES, (o.flags = ODF_SPAWN_NICE, o.nice = -5));
	FAILS(ODF_STEP_RLIMIT, 0, EPERM, (o.rlimits = higher, o.rlimit_count = 1));
	FAILS(ODF_STEP_SECCOMP, -1, EACCES, o.seccomp = &program);
	FAILS(ODF_STEP_SCHED, -1, EPERM,
	      (o.flags = ODF_SPAWN_SCHED, o.sched_policy = SCHED_FIFO, o.sched_param.sched_priority = 1));
	if (setrlimit(RLIMIT_NPROC, &none) != 0)
		return 3;
	FAILS(ODF_STEP_CLONE, -1, EAGAIN, (void)o);
	return 0;
}

/* A failed assertion in a forked child leaves it by longjmp into the runner's copy; its exit status tells. */
static void in_child(int (*check)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(60);
		_exit(check());
	}
	must_exit_with(pid, 0);
}

static void test_unprivileged(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		skip_because("needs root, to become somebody without rights");
		return;
	}
	in_child(check_unprivileged);
}

/* ---- Hostile surroundings ---------------------------------------------------------------------------------------------------- */

static int check_sigchld_ignored(void)
{
	signal(SIGCHLD, SIG_IGN);
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		pid_t pid = -7;
		options.allow = ODF_ALLOW(engines[i]);
		if (odf_spawn(&pid, "/nonexistent", true_argv, NULL, &options, &report) != ENOENT || pid != -7 ||
		    report.step != ODF_STEP_EXEC)
			return 1;
		if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0 || pid <= 0)
			return 2;
		for (int round = 0; i > 0 && round < 200; round++) {
			int pidfd = -5;
			options.pidfd = &pidfd;
			if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0 || pidfd < 0)
				return 3;
			close(pidfd);
		}
	}
	return 0;
}

static atomic_bool stop_reaping;
static void *reap_everything(void *unused)
{
	(void)unused;
	while (!stop_reaping)
		waitpid(-1, NULL, WNOHANG);
	return NULL;
}

static int check_reaper_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, reap_everything, NULL) != 0)
		return 9;
	for (int round = 0; round < 300; round++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		pid_t pid = -7;
		int pidfd = -5;
		options.allow = ODF_ALLOW(engines[round % 3]);
		options.pidfd = round % 3 != 0 && round % 2 ? &pidfd : NULL;
		if (odf_spawn(&pid, "/nonexistent", true_argv, NULL, &options, &report) != ENOENT)
			return 1;
		if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0)
			return 2;
		if (pidfd >= 0)
			close(pidfd);
	}
	stop_reaping = true;
	pthread_join(thread, NULL);
	return 0;
}

/* Three descriptors at most, all taken; and none open at all. */
static int check_few_descriptors(void)
{
	struct rlimit three = { 3, 3 };

	closefrom(3);
	if (setrlimit(RLIMIT_NOFILE, &three) != 0)
		return 9;
	for (int closed = 0; closed < 2; closed++) {
		for (size_t i = 0; i < 3; i++) {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			odf_fd_action swap[] = { ODF_FD_DUP(0, 1), ODF_FD_DUP(1, 0) };
			odf_report report = ODF_REPORT_INIT;
			pid_t pid;
			int status;
			options.allow = ODF_ALLOW(engines[i]);
			if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0)
				return 1;
			/* The loader needs a descriptor for libc, and has one once the caller has closed its own. */
			if (waitpid(pid, &status, 0) != pid || (closed && status != 0))
				return 2;
			if (odf_spawn(&pid, "/nonexistent", true_argv, NULL, &options, &report) != ENOENT || report.step != ODF_STEP_EXEC)
				return 3;
			options.fds = swap;
			options.fd_count = 2;
			if (i == 0 || closed)
				continue;
			if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != EMFILE || report.step != ODF_STEP_FD)
				return 4;
		}
		closefrom(0);
	}
	return 0;
}

/* Nothing but a static program: no /proc, no /dev. */
static int check_empty_root(void)
{
	char *argv[] = { (char[]){ "exits" }, NULL };

	if (chroot(scratch_path("root")) != 0 || chdir("/") != 0)
		return 9;
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_fd_action null[] = { ODF_FD_NULL(0) };
		odf_report report = ODF_REPORT_INIT;
		pid_t pid;
		int status;
		options.allow = ODF_ALLOW(engines[i]);
		options.flags = ODF_SPAWN_CLOSE_OTHER_FDS;
		if (odf_spawn(&pid, "/exits", argv, NULL, &options, &report) != 0 || waitpid(pid, &status, 0) != pid || status != 23 << 8)
			return 1;
		if (odf_spawn(&pid, "/missing", argv, NULL, &options, &report) != ENOENT)
			return 2;
		options.fds = null;
		options.fd_count = 1;
		if (odf_spawn(&pid, "/exits", argv, NULL, &options, &report) != ENOENT || (i > 0 && report.step != ODF_STEP_FD))
			return 3;
	}
	return 0;
}

/* A limit that the kernel checks after it has stored a pidfd's number, and frees the number again: meanwhile it may be another thread's, and must not be
 * closed. */
static char limited_cgroup[PATH_MAX];
static atomic_ulong closed_under_us;
static void *open_and_close(void *unused)
{
	(void)unused;
	while (!stop_reaping) {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && close(fd) != 0)
			closed_under_us++;
	}
	return NULL;
}

static int check_stale_pidfd(void)
{
	char procs[PATH_MAX + 16];
	pthread_t thread;
	int fd;

	snprintf(procs, sizeof procs, "%s/cgroup.procs", limited_cgroup);
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1 || close(fd) != 0 || pthread_create(&thread, NULL, open_and_close, NULL) != 0)
		return 9;
	for (int round = 0; round < 5000; round++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		int pidfd = -5;
		options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
		options.flags = round % 2 ? ODF_SPAWN_DETACH : 0;
		options.pidfd = &pidfd;
		if (odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report) != EAGAIN || report.step != ODF_STEP_CLONE || pidfd != -1)
			return 1;
	}
	stop_reaping = true;
	pthread_join(thread, NULL);
	return closed_under_us == 0 ? 0 : 2;
}

static bool make_limited_cgroup(void)
{
	static const char *const mounts[] = { "/sys/fs/cgroup/pids", "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

	for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
		char maximum[PATH_MAX + 16];
		int fd;
		snprintf(limited_cgroup, sizeof limited_cgroup, "%s/odfork-pids-%d", mounts[i], (int)getpid());
		if (mkdir(limited_cgroup, 0755) != 0)
			continue;
		snprintf(maximum, sizeof maximum, "%s/pids.max", limited_cgroup);
		fd = open(maximum, O_WRONLY | O_CLOEXEC);
		/* The process and its second thread; a third task is one too many. */
		if (fd >= 0 && write(fd, "2", 1) == 1 && close(fd) == 0)
			return true;
		rmdir(limited_cgroup);
	}
	return false;
}

static void test_stale_pidfd(void **state)
{
	(void)state;
	if (!make_limited_cgroup()) {
		skip_because("no cgroup with a limit of processes can be made here");
		return;
	}
	in_child(check_stale_pidfd);
	assert_int_equal(rmdir(limited_cgroup), 0);
}

/* A /proc that was mounted for another pid namespace has other processes under our children's numbers. */
static int check_foreign_proc(void)
{
	pid_t first;

	if (unshare(CLONE_NEWPID) != 0)
		return 77;
	first = fork();
	if (first == 0) {
		for (int round = 0; round < 30; round++) {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			odf_report report = ODF_REPORT_INIT;
			pid_t pid;
			int status;
			options.allow = ODF_ALLOW(engines[1 + round % 2]);
			options.flags = ODF_SPAWN_SETSID;
			if (odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) != 0 || waitpid(pid, &status, 0) != pid || status != 0)
				_exit(1);
			if (odf_spawn(&pid, "/nonexistent", true_argv, NULL, &options, &report) != ENOENT)
				_exit(2);
		}
		_exit(0);
	}
	return WEXITSTATUS(wait_for(first));
}

static void test_foreign_proc(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		skip_because("a pid namespace needs root");
		return;
	}
	in_child(check_foreign_proc);
}

static void test_sigchld_ignored(void **state)
{
	(void)state;
	in_child(check_sigchld_ignored);
}

static void test_reaper_thread(void **state)
{
	(void)state;
	in_child(check_reaper_thread);
}

static void test_few_descriptors(void **state)
{
	(void)state;
	in_child(check_few_descriptors);
}

static void test_empty_root(void **state)
{
	char *program, command[2 * PATH_MAX + 64];

	(void)state;
	if (geteuid() != 0) {
		skip_because("chroot needs root");
		return;
	}
	mkdir(scratch_path("root"), 0755);
	program = strdup(helper_path("exits"));
	snprintf(command, sizeof command, "cp '%s' '%s'", program, scratch_path("root/exits"));
	free(program);
	assert_int_equal(system(command), 0);
	in_child(check_empty_root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_allow),
		cmocka_unit_test(test_refused_actions),
		cmocka_unit_test(test_structure_sizes),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_pre_exec),
		cmocka_unit_test(test_pre_exec_that_executes),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_forgive),
		cmocka_unit_test(test_killed_at_exec),
		cmocka_unit_test(test_unprivileged),
		cmocka_unit_test(test_stale_pidfd),
		cmocka_unit_test(test_foreign_proc),
		cmocka_unit_test(test_sigchld_ignored),
		cmocka_unit_test(test_reaper_thread),
		cmocka_unit_test(test_few_descriptors),
		cmocka_unit_test(test_empty_root),
	};
	return cmocka_run_group_tests_name("spawn errors", tests, NULL, NULL);
}
