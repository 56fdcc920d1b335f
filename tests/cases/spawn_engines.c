/* SPDX-License-Identifier: MIT
 *
 * Tests of test_spawn: random requests, which must have the same result by each engine.
 */
#include "spawn_tests.h"

struct random_request {
	odf_spawn_options options;
	odf_fd_action fds[8];
	odf_rlimit limits[2];
	cpu_set_t cpus;
	gid_t groups[2];
	struct sock_filter filter[1];
	struct sock_fprog program;
};

static void draw_request(struct random_request *r, unsigned *seed)
{
	static const unsigned flags[] = { ODF_SPAWN_CLOSE_OTHER_FDS, ODF_SPAWN_RESET_SIGNALS,
					  ODF_SPAWN_UMASK,           ODF_SPAWN_NICE,
					  ODF_SPAWN_SCHED,           ODF_SPAWN_NO_NEW_PRIVS };
	int targets[] = { 0, 3, 4, 5, 6, 20, 21, 22 };

	*r = (struct random_request){ .options = ODF_SPAWN_OPTIONS_INIT };
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (rand_r(seed) % 4 == 0)
			r->options.flags |= flags[i];
	r->options.umask = (mode_t)rand_r(seed) & 0777;
	r->options.nice = nicer(1 + rand_r(seed) % 10);
	r->options.sched_policy = rand_r(seed) % 2 ? SCHED_BATCH : SCHED_OTHER;
	switch (rand_r(seed) % 4) {
	case 0:
		r->options.flags |= ODF_SPAWN_SETSID;
		break;
	case 1:
		r->options.flags |= ODF_SPAWN_SETPGROUP;
		break;
	default:
		break;
	}
	if (rand_r(seed) % 3 == 0) {
		r->options.flags |= ODF_SPAWN_SIGMASK;
		sigemptyset(&r->options.sigmask);
		sigaddset(&r->options.sigmask, 1 + rand_r(seed) % 31);
	}
	if (rand_r(seed) % 3 == 0)
		r->options.cwd = "/usr";
	for (size_t i = 0; i < 8; i++) {
		int target = targets[i];
		if (rand_r(seed) % 3 != 0)
			continue;
		switch (rand_r(seed) % 5) {
		case 0:
			r->fds[r->options.fd_count++] = (odf_fd_action)ODF_FD_NULL(target);
			break;
		case 1:
			r->fds[r->options.fd_count++] = (odf_fd_action)ODF_FD_OPEN(target, "/etc/passwd", O_RDONLY, 0);
			break;
		case 2:
			r->fds[r->options.fd_count++] = (odf_fd_action)ODF_FD_CLOSE(target);
			break;
		default:
			r->fds[r->options.fd_count++] = (odf_fd_action)ODF_FD_DUP(target, 20 + rand_r(seed) % 3);
			break;
		}
	}
	r->options.fds = r->fds;
	if (rand_r(seed) % 4 == 0) {
		r->limits[0] = (odf_rlimit){ RLIMIT_CORE, { 0, 4096 } };
		r->limits[1] = (odf_rlimit){ RLIMIT_NOFILE, { 128, 256 } };
		r->options.rlimits = r->limits;
		r->options.rlimit_count = 1 + (size_t)(rand_r(seed) % 2);
	}
	if (rand_r(seed) % 4 == 0) {
		CPU_SET(0, &r->cpus);
		r->options.affinity = &r->cpus;
		r->options.affinity_size = sizeof r->cpus;
	}
	if (rand_r(seed) % 4 == 0)
		r->options.parent_death_signal = SIGUSR1;
	if (rand_r(seed) % 4 == 0) {
		r->filter[0] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
		r->program = (struct sock_fprog){ 1, r->filter };
		r->options.seccomp = &r->program;
		r->options.flags |= ODF_SPAWN_NO_NEW_PRIVS;
	}
	if (geteuid() == 0 && rand_r(seed) % 4 == 0) {
		r->groups[0] = 5;
		r->groups[1] = 6;
		r->options.flags |= ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_GROUPS;
		r->options.uid = 1111;
		r->options.gid = 2222;
		r->options.groups = r->groups;
		r->options.group_count = 2;
	}
}

static void compare_engines(unsigned seed)
{
	struct random_request request;
	char *first = NULL;
	unsigned draw = seed, engines_run = 0;

	draw_request(&request, &draw);
	for (size_t i = 0; i < 3; i++) {
		odf_strategy engine = engines[2 - i]; /* fork, which must succeed, first */
		odf_report report = ODF_REPORT_INIT;
		char *state;
		request.options.allow = ODF_ALLOW(engine);
		if (engine == ODF_STRATEGY_POSIX_SPAWN) {
			char *argv[] = { (char[]){ "true" }, NULL };
			pid_t pid;
			int error = odf_spawn(&pid, "/bin/true", argv, NULL, &request.options, &report);
			if (error == ENOTSUP)
				continue;
			assert_errno(0, error);
			wait_for(pid);
		}
		state = state_normalised(spawn_state(&request.options, &report), engine);
		assert_int_equal(report.strategy, engine);
		engines_run++;
		if (first == NULL) {
			first = state;
			continue;
		}
		if (strcmp(first, state) != 0)
			fail_msg("seed %u: %s differs from fork:\n%s\n%s", seed, odf_strategy_name(engine), first,
				 state);
		free(state);
	}
	assert_true(engines_run >= 2);
	free(first);
}

void test_engines_agree(void **state)
{
	const char *given = getenv("ODF_TEST_REQUESTS");
	unsigned requests = given == NULL ? 400 : (unsigned)strtoul(given, NULL, 10);

	(void)state;
	chmod(scratch(), 0777);
	open_files();
	dup3(file_a, 20, O_CLOEXEC);
	dup2(file_b, 21);
	dup2(file_b, 22);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR2, handler);
	for (unsigned seed = 1; seed <= requests; seed++)
		compare_engines(seed);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGUSR2, SIG_DFL);
	closefrom(3);
	chmod(scratch(), 0755);
}
