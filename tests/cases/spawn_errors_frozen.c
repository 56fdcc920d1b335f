/* SPDX-License-Identifier: MIT
 *
 * Tests of test_spawn_errors: the library does not enter a frozen cgroup. A caller that did would be frozen until
 * another process thaws the cgroup, so the callers are processes of their own.
 */
#include "../support/cgroup.h"
#include "spawn_errors.h"

#define must(condition) ((condition) ? (void)0 : _exit(__LINE__ > 255 ? 255 : __LINE__))

static const struct version {
	const char *mount, *file, *frozen, *thawed;
} versions[] = {
	{ "/sys/fs/cgroup/freezer", "freezer.state", "FROZEN", "THAWED" },
	{ "/sys/fs/cgroup", "cgroup.freeze", "1", "0" },
	{ "/sys/fs/cgroup/unified", "cgroup.freeze", "1", "0" },
};

static char outer[CGROUP_PATH], inner[CGROUP_PATH + 8];

static bool make_cgroups(const struct version *version)
{
	snprintf(outer, sizeof outer, "%s/odfork-test-%d", version->mount, (int)getpid());
	snprintf(inner, sizeof inner, "%s/inner", outer);
	if (mkdir(outer, 0755) != 0)
		return false;
	if (cgroup_write(outer, version->file, version->thawed) && mkdir(inner, 0755) == 0)
		return true;
	assert_int_equal(rmdir(outer), 0);
	return false;
}

static odf_spawn_options into(int folder, odf_strategy strategy, odf_pool *pool)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	options.cgroup_fd = folder;
	options.allow = ODF_ALLOW(strategy);
	options.pool = pool;
	return options;
}

static void is_refused(odf_spawn_options options)
{
	odf_report report = ODF_REPORT_INIT;
	pid_t pid = -7;

	must(odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) == EBUSY);
	must(report.error == EBUSY && report.step == ODF_STEP_CGROUP && report.index == -1 && pid == -7);
	must(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
	/* If the failure is forgiven, the child starts in the caller's cgroup. */
	options.forgive = ODF_FORGIVE(ODF_STEP_CGROUP);
	must(odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) == 0);
	must(report.forgiven == ODF_FORGIVE(ODF_STEP_CGROUP));
	if (!(options.flags & ODF_SPAWN_DETACH))
		must(waitpid(pid, NULL, 0) == pid);
}

/* For a child that does not block its caller, the launch reports it. */
static void is_refused_on_its_way(int folder, odf_pool *pool)
{
	odf_spawn_options options = into(folder, ODF_STRATEGY_POOL, pool);
	odf_report report = ODF_REPORT_INIT;
	odf_launch *launch;
	pid_t pid;

	options.flags = ODF_SPAWN_NO_WAIT;
	options.launch = &launch;
	must(odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, NULL) == 0);
	must(odf_launch_wait(launch, -1, &report) == EBUSY && report.step == ODF_STEP_CGROUP);
	odf_launch_free(launch);
	must(waitpid(pid, NULL, 0) == pid);
}

static void caller(const char *path)
{
	odf_pool *pool = odf_pool_create(NULL);
	int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	must(pool != NULL && folder >= 0);
	for (int detached = 0; detached < 2; detached++) {
		odf_spawn_options options = into(folder, ODF_STRATEGY_VFORK, NULL);
		options.flags = detached ? ODF_SPAWN_DETACH : 0;
		is_refused(options);
		options.allow = ODF_ALLOW(ODF_STRATEGY_FORK);
		is_refused(options);
	}
	is_refused(into(folder, ODF_STRATEGY_POOL, pool));
	is_refused_on_its_way(folder, pool);
	_exit(0);
}

static void refuses(const char *path, const struct version *version)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		caller(path);
	assert_true(pid > 0);
	for (int looks = 0; looks < 20000 && waitpid(pid, &status, WNOHANG) == 0; looks++)
		usleep(1000);
	if (status == 0)
		return;
	/* Nothing frozen is left behind, whatever failed. */
	if (status == -1)
		(void)kill(pid, SIGKILL);
	assert_true(cgroup_write(outer, version->file, version->thawed));
	if (status == -1)
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)rmdir(inner);
	(void)cgroup_remove(outer);
	if (status == -1)
		fail_msg("a caller is held by %s", path);
	fail_msg("%s: wait status %#x, line %d", path, (unsigned)status, WEXITSTATUS(status));
}

static void enters(odf_strategy strategy)
{
	odf_spawn_options options = into(open(inner, O_RDONLY | O_DIRECTORY | O_CLOEXEC), strategy, NULL);
	pid_t pid;

	assert_errno(0, odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, NULL));
	must_exit_with(pid, 0);
	close(options.cgroup_fd);
}

void test_frozen_cgroup(void **state)
{
	unsigned tried = 0;

	(void)state;
	for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
		const struct version *version = &versions[i];
		if (!make_cgroups(version))
			continue;
		tried++;
		assert_true(cgroup_write(outer, version->file, version->frozen));
		refuses(outer, version);
		refuses(inner, version); /* the cgroup above it is frozen */
		assert_true(cgroup_write(outer, version->file, version->thawed));
		enters(ODF_STRATEGY_VFORK);
		enters(ODF_STRATEGY_FORK);
		assert_true(cgroup_remove(inner) && cgroup_remove(outer));
	}
	if (tried == 0)
		skip_because("no cgroup can be made here that can be frozen");
}
