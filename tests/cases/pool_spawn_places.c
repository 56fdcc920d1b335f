/* SPDX-License-Identifier: MIT
 *
 * Tests of test_pool_spawn: refused requests, no room for another process, and filters that forbid a call.
 */
#include "pool_spawn.h"

static int does_nothing(void *unused)
{
	(void)unused;
	return 0;
}

static void must_refuse(odf_pool *by, odf_spawn_options *options, int error)
{
	odf_report report = ODF_REPORT_INIT;
	odf_launch **launch = options->launch;
	pid_t pid = -7;

	if (launch != NULL)
		*launch = (odf_launch *)launch;
	assert_int_equal(by == NULL && options->pool == NULL && options->flags == 0 && launch == NULL
				 ? odf_pool_spawn(NULL, &pid, "/bin/true", true_argv, NULL, options, &report)
			 : by == NULL ? odf_spawn(&pid, "/bin/true", true_argv, NULL, options, &report)
				      : odf_pool_spawn(by, &pid, "/bin/true", true_argv, NULL, options, &report),
			 error);
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_int_equal(pid, -7);
	if (launch != NULL)
		assert_null(*launch);
	must_have_no_children();
}

void test_refused(void **state)
{
	odf_launch *launch = NULL;
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	pid_t pid;

	(void)state;
	must_refuse(NULL, &options, EINVAL);
	options.flags = ODF_SPAWN_NO_WAIT;
	must_refuse(NULL, &options, EINVAL);
	options.flags = 0;
	options.launch = &launch;
	must_refuse(pool, &options, EINVAL);
	options.launch = NULL;
	options.size = 5;
	must_refuse(pool, &options, EINVAL);
	options = (odf_spawn_options)ODF_SPAWN_OPTIONS_INIT;
	options.allow = ODF_ALLOW(ODF_STRATEGY_POOL);
	must_refuse(NULL, (options.pool = NULL, options.flags = ODF_SPAWN_UMASK, &options), ENOTSUP);
	options.flags = ODF_SPAWN_NO_WAIT;
	options.launch = &launch;
	options.pre_exec = does_nothing;
	must_refuse(pool, &options, ENOTSUP);
	/* A request that a pool cannot carry out is made by a fork, if that is permitted, and its result is final. */
	options.allow = 0;
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, &report), 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_FORK);
	assert_int_equal(report.reason[ODF_STRATEGY_POOL], ODF_REASON_PRE_EXEC);
	assert_int_equal(odf_launch_wait(launch, 0, NULL), 0);
	odf_launch_free(launch);
	must_exit_with(pid, 0);
	assert_int_equal(odf_pool_spawn(pool, &pid, "/nonexistent", true_argv, NULL, &options, &report), ENOENT);
	assert_null(launch);
	/* Not permitted. */
	options = (odf_spawn_options)ODF_SPAWN_OPTIONS_INIT;
	options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
	assert_int_equal(odf_pool_spawn(pool, &pid, "/bin/true", true_argv, NULL, &options, &report), 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_VFORK);
	assert_int_equal(report.reason[ODF_STRATEGY_POOL], ODF_REASON_NOT_ALLOWED);
	must_exit_with(pid, 0);
	assert_int_equal(odf_launch_wait(NULL, 0, NULL), EINVAL);
	odf_launch_free(NULL);
}

void test_no_process(void **state)
{
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		odf_pool_options none = { .size = sizeof none, .flags = ODF_POOL_NO_TASKS };
		struct rlimit nobody = { 0, 0 };
		odf_launch *launch = (odf_launch *)&nobody;
		odf_spawn_options options = not_awaited(&launch);
		odf_report report = ODF_REPORT_INIT;
		odf_pool *own = odf_pool_create(&none);
		if (own == NULL || (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) ||
		    setrlimit(RLIMIT_NPROC, &nobody) != 0)
			_exit(1);
		_exit(odf_pool_spawn(own, NULL, "/bin/true", true_argv, NULL, &options, &report) == EAGAIN &&
				      report.step == ODF_STEP_CLONE && launch == NULL
			      ? 0
			      : 2);
	}
	must_exit_with(pid, 0);
}

/* ---- Sandboxes --------------------------------------------------------------------------------------------------- */

/* clone3 does not exist; and, if `all`, clone may not share memory. */
static int filter(bool all)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, all ? SYS_clone : 0xfffffff0u, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_VM, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0;
}

static bool runs(odf_pool *by, unsigned allow, bool with_pidfd, odf_strategy expected, odf_reason reason)
{
	odf_launch *launch = NULL;
	odf_spawn_options options = not_awaited(&launch);
	odf_report report = ODF_REPORT_INIT;
	int pidfd = -1, status = -1;
	pid_t pid;

	options.allow = allow;
	options.pidfd = with_pidfd ? &pidfd : NULL;
	if (odf_pool_spawn(by, &pid, "/bin/true", true_argv, NULL, &options, &report) != 0 ||
	    report.strategy != expected || report.reason[ODF_STRATEGY_POOL] != reason ||
	    odf_launch_wait(launch, -1, NULL) != 0 || waitpid(pid, &status, 0) != pid || status != 0 ||
	    (with_pidfd && pidfd < 0))
		return false;
	odf_launch_free(launch);
	return true;
}

static int check_sandbox(bool cached)
{
	odf_pool_options none = { .size = sizeof none, .flags = ODF_POOL_NO_TASKS };
	odf_pool *own = odf_pool_create(&none);
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	int error;

	if (own == NULL || (cached && odf_probe_get(ODF_PROBE_CLONE_VM, NULL) != ODF_ANSWER_YES) || filter(false) != 0)
		return 1;
	for (int with_pidfd = 0; with_pidfd < 2; with_pidfd++)
		for (int i = 0; i < 5; i++)
			if (!runs(own, 0, with_pidfd, ODF_STRATEGY_POOL, ODF_REASON_CHOSEN))
				return 2;
	if (filter(true) != 0)
		return 3;
	/* The intermediate process is then made by libc's fork: no memory is shared. */
	if (!runs(own, 0, false, ODF_STRATEGY_FORK, ODF_REASON_CLONE_REFUSED))
		return 4;
	options.allow = ODF_ALLOW(ODF_STRATEGY_POOL);
	options.pool = own;
	error = odf_spawn(NULL, "/bin/true", true_argv, NULL, &options, &report);
	return error == EPERM && report.step == ODF_STEP_CLONE ? 0 : 5;
}

void test_sandboxes(void **state)
{
	(void)state;
	for (int cached = 0; cached < 2; cached++) {
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			_exit(check_sandbox(cached));
		must_exit_with(pid, 0);
	}
}
