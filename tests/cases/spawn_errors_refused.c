/* SPDX-License-Identifier: MIT
 *
 * Tests of test_spawn_errors: invalid requests are refused before anything is done.
 */
#include "spawn_errors.h"

#define WITH(member_and_value)                                       \
	do {                                                         \
		odf_spawn_options o = ODF_SPAWN_OPTIONS_INIT;        \
		member_and_value;                                    \
		must_refuse("/bin/true", true_argv, &o, -1);         \
	} while (0)

void test_refused(void **state)
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
	WITH(o.flags = 0x800000000ull);
	WITH(o.flags = ODF_SPAWN_KILL_WITH_PIDFD);
	WITH((o.flags = ODF_SPAWN_KILL_WITH_PIDFD | ODF_SPAWN_DETACH, o.pidfd = &(int){ 0 }));
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

/* Flags that only clone3 supports. */
void test_refused_flags(void **state)
{
	static const struct {
		uint64_t flags;
		odf_probe probe;
	} rows[] = { { ODF_SPAWN_AUTOREAP, ODF_PROBE_AUTOREAP },
		     { ODF_SPAWN_KILL_WITH_PIDFD | ODF_SPAWN_BORN_NO_NEW_PRIVS, ODF_PROBE_AUTOKILL },
		     { ODF_SPAWN_BORN_NO_NEW_PRIVS, ODF_PROBE_CLONE_NNP } };
	static const odf_strategy all[] = { ODF_STRATEGY_VFORK, ODF_STRATEGY_POSIX_SPAWN, ODF_STRATEGY_FORK };
	odf_process *process;
	odf_io io = ODF_IO_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		bool has = odf_probe_get(rows[i].probe, NULL) == ODF_ANSWER_YES;
		int pidfd;
		options.flags = rows[i].flags;
		options.pidfd = &pidfd;
		for (size_t k = has ? 1 : 0; k < 3; k++) {
			must_refuse_as(all[k], &options, ENOTSUP);
			(void)odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report);
			assert_int_equal(pidfd, -1);
			assert_int_equal(report.reason[all[k]],
					 has && all[k] == ODF_STRATEGY_POSIX_SPAWN ? ODF_REASON_LIBC_NO_OPTION
										   : ODF_REASON_CLONE_FLAG);
		}
		if (options.flags == ODF_SPAWN_BORN_NO_NEW_PRIVS)
			continue;
		options.allow = 0;
		options.pidfd = NULL; /* the request has its own */
		assert_errno(EINVAL, odf_process_spawn(&process, "/bin/true", true_argv, NULL, &options, &report));
		assert_null(process);
		assert_int_equal(report.step, ODF_STEP_REQUEST);
		assert_errno(EINVAL, odf_run("/bin/true", true_argv, NULL, &options, &io, &report));
		assert_int_equal(report.step, ODF_STEP_REQUEST);
	}
	must_have_no_children();
}

void test_refused_allow(void **state)
{
	static const unsigned sets[] = { ODF_ALLOW(ODF_STRATEGY_NONE), ODF_ALLOW(ODF_STRATEGY_KERNEL),
					 ODF_ALLOW(ODF_STRATEGY_REGION), ODF_ALLOW(ODF_STRATEGY_VFORK) | 1u << 30 };

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

void test_refused_actions(void **state)
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

void test_structure_sizes(void **state)
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
