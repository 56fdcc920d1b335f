/* SPDX-License-Identifier: MIT
 *
 * Calls every public function of the library while one of its system calls fails. Run by faults.c, one scenario at a
 * time. Each function is called in a state in which it has work to do. Its result must be as odfork.h says, and no byte
 * of the program's memory may change, in the program or in its children.
 */
#include "faulted.h"

static bool root;
char *true_argv[] = { (char[]){ "true" }, NULL };
static char *cat_argv[] = { (char[]){ "cat" }, NULL };

/* ---- What must not change ---- */

unsigned char data[64 << 10];

/* ---- Names, which make no system call ---- */

static void names(void)
{
	odf_report report = ODF_REPORT_INIT;
	const char *text;
	char buffer[64];
	int length;

	CALL(text, odf_strategy_name, (ODF_STRATEGY_FORK));
	MUST(strcmp(text, "fork") == 0);
	CALL(text, odf_step_name, (ODF_STEP_EXEC));
	MUST(strcmp(text, "exec") == 0);
	CALL(text, odf_reason_name, (ODF_REASON_NO_POOL));
	MUST(strcmp(text, "unknown") != 0);
	CALL(text, odf_reason_text, (ODF_REASON_NO_POOL));
	MUST(strcmp(text, "unknown") != 0);
	CALL(text, odf_probe_name, (ODF_PROBE_CLONE3));
	MUST(strcmp(text, "unknown") != 0);
	CALL(text, odf_probe_text, (ODF_PROBE_CLONE3));
	MUST(strcmp(text, "unknown") != 0);
	CALL(text, odf_kernel_check_name, (ODF_KERNEL_CHECK_END));
	MUST(strcmp(text, "unknown") != 0);
	CALL(text, odf_kernel_check_text, (ODF_KERNEL_CHECK_END));
	MUST(strcmp(text, "unknown") != 0);
	CALL(text, odf_kernel_interface_name, (ODF_KERNEL_INTERFACE_NONE));
	MUST(strcmp(text, "unknown") != 0);
	CALL(text, odf_version, ());
	MUST(strcmp(text, ODF_VERSION) == 0);
	CALL(length, odf_report_format, (&report, buffer, sizeof buffer));
	MUST(length > 0);
}

/* ---- What the machine offers ---- */

static void capabilities(void)
{
	odf_capabilities found = ODF_CAPABILITIES_INIT;
	odf_kernel_verdict verdict = ODF_KERNEL_VERDICT_INIT;
	int result;

	for (int probe = 0; probe < ODF_PROBE_COUNT; probe++) {
		odf_answer answer;
		int error = -1;
		CALL(answer, odf_probe_get, ((odf_probe)probe, &error));
		MUST(answer == ODF_ANSWER_NO ? error > 0 && error < 4096 : error == 0);
		MUST(answer != ODF_ANSWER_NOT_ASKED || at_round == FAILING);
	}
	CALL(result, odf_capabilities_get, (&found));
	MUST(result == 0 && found.page_size == 4096 && found.strategy[ODF_STRATEGY_FORK] == ODF_REASON_NONE);
	CALL(result, odf_kernel_verify, (&verdict));
	EXPECT(result, EAGAIN, ENOMEM);
}

/* ---- Forks ---- */

static void check_fork(pid_t pid, int error)
{
	if (pid == 0)
		leave(holds(data, sizeof data, 3) ? 5 : 6);
	if (pid > 0)
		MUST(reap(pid) == 5 << 8);
	else
		EXPECT(error, ENOMEM, EAGAIN);
	MUST(holds(data, sizeof data, 3));
}

static void forks(void)
{
	static const unsigned allowed[] = { 0, ODF_ALLOW(ODF_STRATEGY_FORK) };
	pid_t pid;

	fill(data, sizeof data, 3);
	CALL(pid, odf_fork, ());
	check_fork(pid, errno);
	for (size_t i = 0; i < 2; i++) {
		odf_fork_options options = ODF_FORK_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		int pidfd = -7, error;
		options.allow = allowed[i];
		options.pidfd = &pidfd;
		CALL(pid, odf_fork_with, (&options, &report));
		error = errno;
		if (pid > 0 && report.step == ODF_STEP_PIDFD) {
			MUST(pidfd == -1);
			EXPECT(report.error);
		} else if (pid > 0) {
			MUST(pidfd >= 0 && report.strategy == ODF_STRATEGY_FORK && report.error == 0);
		} else if (pid < 0) {
			MUST(pidfd == -1 && report.error == error);
		}
		if (pid > 0 && pidfd >= 0)
			real_call(SYS_close, pidfd, 0, 0, 0, 0, 0);
		check_fork(pid, error);
	}
}

/* ---- Spawns ---- */

void set_options(odf_spawn_options *options)
{
	static struct sock_filter allow_all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	static struct sock_fprog filter = { 1, allow_all };
	static odf_rlimit limits[] = { { RLIMIT_CORE, { 0, 0 } } };
	static odf_fd_action map[4];
	static cpu_set_t cpus;

	map[0] = ODF_FD_DUP(5, 1);
	map[1] = ODF_FD_NULL(0);
	map[2] = ODF_FD_OPEN(6, "/etc/passwd", O_RDONLY, 0);
	map[3] = ODF_FD_CLOSE(7);
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	options->flags = ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_SETSID | ODF_SPAWN_CLOSE_OTHER_FDS |
			 ODF_SPAWN_RESET_SIGNALS | ODF_SPAWN_NICE | ODF_SPAWN_SCHED | ODF_SPAWN_NO_NEW_PRIVS |
			 ODF_SPAWN_UMASK | ODF_SPAWN_IOPRIO;
	options->cwd = "/";
	options->fds = map;
	options->fd_count = 4;
	options->nice = getpriority(PRIO_PROCESS, 0) > 3 ? getpriority(PRIO_PROCESS, 0) : 3;
	options->sched_policy = SCHED_BATCH;
	options->ioprio = 2 << 13 | 4;
	options->rlimits = limits;
	options->rlimit_count = 1;
	options->affinity = &cpus;
	options->affinity_size = sizeof cpus;
	options->parent_death_signal = SIGTERM;
	options->seccomp = &filter;
	if (root) {
		options->flags |=
		    ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_USER_GROUPS | ODF_SPAWN_OOM_SCORE_ADJ | ODF_SPAWN_AMBIENT;
		options->uid = options->gid = 65534;
		options->root = "/";
	}
}

void check_spawn(int error, pid_t pid, const odf_report *report)
{
	MUST(report == NULL || report->error == error);
	if (error == 0)
		MUST(reap(pid) == 0);
	else
		MUST(pid == -7);
	MUST(holds(data, sizeof data, 9));
}

static void spawns(void)
{
	static const odf_strategy ways[] = { ODF_STRATEGY_NONE, ODF_STRATEGY_VFORK, ODF_STRATEGY_FORK,
					     ODF_STRATEGY_POSIX_SPAWN };
	pid_t pid;
	int error;

	fill(data, sizeof data, 9);
	for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
		for (int detach = 0; detach < (way == 1 || way == 2 ? 2 : 1); detach++) {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			odf_report report = ODF_REPORT_INIT;
			odf_namespace uts = { .type = CLONE_NEWUTS };
			int pidfd = -1;
			pid = -7;
			options.flags = ODF_SPAWN_SEARCH_PATH;
			if (ways[way] != ODF_STRATEGY_POSIX_SPAWN) {
				set_options(&options);
				options.pidfd = &pidfd;
			}
			if (detach) {
				options.flags |= ODF_SPAWN_DETACH;
				options.parent_death_signal = 0;
			}
			if (way == 2) {
				options.cwd = NULL;
				options.cwd_fd = (int)real_call(SYS_openat, AT_FDCWD, (long)"/",
								O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
				options.flags |= ODF_SPAWN_CWD_FD;
			}
			if (way == 1 && root) {
				uts.fd = (int)real_call(SYS_openat, AT_FDCWD, (long)"/proc/self/ns/uts",
							O_RDONLY | O_CLOEXEC, 0, 0, 0);
				options.namespaces = &uts;
				options.namespace_count = 1;
			}
			options.allow = ways[way] == ODF_STRATEGY_NONE ? 0 : ODF_ALLOW(ways[way]);
			CALL(error, odf_spawn, (&pid, "true", true_argv, NULL, &options, &report));
			/* libc, which does not retry; and a lookup of groups, which reports only that it failed, or
			 * that it cannot seek in its file. */
			EXPECT(error, ENOMEM, EAGAIN, EIO, ENOTSUP, report.step == ODF_STEP_GROUPS ? ENOENT : ENOMEM,
			       report.step == ODF_STEP_GROUPS ? ESPIPE : ENOMEM);
			if (options.cwd_fd > 0)
				real_call(SYS_close, options.cwd_fd, 0, 0, 0, 0, 0);
			if (options.namespace_count > 0)
				real_call(SYS_close, uts.fd, 0, 0, 0, 0, 0);
			if (pidfd >= 0)
				real_call(SYS_close, pidfd, 0, 0, 0, 0, 0);
			MUST((error == 0) == (pidfd >= 0) || ways[way] == ODF_STRATEGY_POSIX_SPAWN);
			if (!detach)
				check_spawn(error, pid, &report);
		}
	}
	pid = -7;
	CALL(error, odf_posix_spawn, (&pid, "/bin/true", NULL, NULL, true_argv, NULL));
	EXPECT(error, ENOMEM);
	check_spawn(error, error == 0 ? pid : -7, NULL);
	pid = -7;
	CALL(error, odf_posix_spawnp, (&pid, "true", NULL, NULL, true_argv, NULL));
	EXPECT(error, ENOMEM);
	check_spawn(error, error == 0 ? pid : -7, NULL);
}

/* ---- Processes ---- */

static char sent[100000];

static void processes(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_process *process = NULL;
	odf_io io = ODF_IO_INIT;
	int error, status = -1, stream, expected = 0;
	pid_t pid;

	memset(sent, 'x', sizeof sent);
	options.flags = ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_PIPE_STDIN | ODF_SPAWN_PIPE_STDOUT;
	CALL(error, odf_process_spawn, (&process, "cat", cat_argv, NULL, &options, &report));
	EXPECT(error, ENOMEM, EAGAIN);
	MUST((error == 0) == (process != NULL));
	if (error == 0) {
		CALL(pid, odf_process_id, (process));
		MUST(pid > 0);
		CALL(stream, odf_process_stream, (process, 1));
		MUST(stream >= 0);
		io.input = sent;
		io.input_length = sizeof sent;
		CALL(error, odf_process_communicate, (process, &io));
		EXPECT(error, ENOMEM);
		MUST(error != 0 || (io.output_length == sizeof sent && memcmp(io.output, sent, sizeof sent) == 0));
		MUST(io.output_length <= sizeof sent &&
		     (io.output == NULL || memcmp(io.output, sent, io.output_length) == 0));
		free(io.output);
		if (error != 0) {
			CALL(stream, odf_process_close_stream, (process, 0));
			MUST(stream == 0 || stream == EINVAL);
			CALL(error, odf_process_kill, (process, SIGKILL));
			EXPECT(error);
			expected = SIGKILL;
		}
		CALL(error, odf_process_wait, (process, 5000, &status));
		EXPECT(error);
		if (error != 0)
			status = reap(pid);
		MUST(status == 0 || status == expected || (expected != 0 && status == SIGPIPE));
		CALL(error, odf_process_kill, (process, 0));
		EXPECT(error == ESRCH ? 0 : error, ESRCH);
		CALL(error, odf_process_close, (process));
		MUST(error == 0);
	}
	/* A process that runs until it is killed. */
	CALL(error, odf_process_spawn, (&process, "cat", cat_argv, NULL, &options, &report));
	EXPECT(error, ENOMEM, EAGAIN);
	if (error == 0) {
		pid = odf_process_id(process);
		CALL(error, odf_process_wait, (process, 0, &status));
		EXPECT(error == ETIMEDOUT ? 0 : error);
		CALL(error, odf_process_wait, (process, 1, &status));
		EXPECT(error == ETIMEDOUT ? 0 : error);
		CALL(error, odf_process_kill, (process, SIGKILL));
		EXPECT(error);
		if (error != 0)
			real_call(SYS_kill, pid, SIGKILL, 0, 0, 0, 0);
		CALL(error, odf_process_wait, (process, -1, &status));
		EXPECT(error);
		if (error != 0)
			status = reap(pid);
		MUST(status == SIGKILL);
		CALL(error, odf_process_close_stream, (process, 0));
		MUST(error == 0);
		CALL(error, odf_process_close, (process));
		MUST(error == 0);
	}
	io = (odf_io)ODF_IO_INIT;
	io.input = sent;
	io.input_length = 100;
	io.timeout_ms = 20000;
	CALL(error, odf_run, ("/bin/cat", cat_argv, NULL, NULL, &io, &report));
	EXPECT(error, ENOMEM, EAGAIN);
	MUST(error != 0 || (io.output_length == 100 && io.wait_status == 0));
	free(io.output);
	free(io.error_output);
}

/* ---- Regions ---- */

static void regions(void)
{
	const size_t size = 4 << 20, page = 4096;
	odf_region_info info = ODF_REGION_INFO_INIT;
	odf_region *region;
	unsigned char *base;
	size_t capacity;
	int error;

	CALL(region, odf_region_create, (size, ODF_REGION_HUGE));
	if (region == NULL) {
		EXPECT(errno, ENOTSUP, ENOMEM, EAGAIN, EPERM);
		return;
	}
	CALL(base, odf_region_base, (region));
	CALL(capacity, odf_region_capacity, (region));
	MUST(base != NULL && capacity == size);
	for (int turn = 0; turn < 3; turn++) {
		unsigned char with = (unsigned char)(turn * 7 + 1);
		pid_t pid;
		fill(base, size, with);
		CALL(pid, odf_fork, ());
		if (pid == 0) {
			if (!holds(base, size, with))
				leave(6);
			fill(base, size, 200);
			leave(holds(base, size, 200) ? 5 : 7);
		}
		if (pid < 0)
			EXPECT(errno, ENOMEM, EAGAIN);
		fill(base, size / 2, 77);
		if (pid > 0)
			MUST(reap(pid) == 5 << 8);
		MUST(holds(base, size / 2, 77) && base[size / 2] == (unsigned char)(with + size / 2 / 512));
		CALL(error, odf_region_settle, (region));
		EXPECT(error == EBUSY ? 0 : error, EBUSY, ENOMEM, EMFILE, EAGAIN, ENOTSUP);
		arm("keeper", FAULTS_LIBRARY);
		pause_ms(at_round == FAILING ? 3 : 0);
		disarm();
		MUST(holds(base, size / 2, 77) && base[size - 512] == (unsigned char)(with + size / 512 - 1));
		CALL(error, odf_region_discard, (region, base + page, page));
		EXPECT(error);
		if (error == 0)
			MUST(base[page] == 0 && base[2 * page - 512] == 0);
		MUST(base[2 * page] == (unsigned char)(77 + 2 * page / 512) && base[0] == 77);
		CALL(error, odf_region_info_get, (region, &info));
		MUST(error == 0 && info.capacity == size);
	}
	CALL(error, odf_region_destroy, (region));
	MUST(error == 0);
}

/* ---- The heap ---- */

#define BLOCKS 24
#define BLOCK  ((size_t)512 << 10)

static void heap(void)
{
	static unsigned char *blocks[BLOCKS];
	odf_heap_info info = ODF_HEAP_INFO_INIT;
	int error;

	fill(data, sizeof data, 3);
	/* Under a filter that was there before, the library knows that a process can be made only once one was made. */
	check_fork(fork(), errno);
	CALL(error, odf_heap_enable, (0));
	EXPECT(error, ENOTSUP, ENOMEM);
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(BLOCK);
		MUST(blocks[i] != NULL);
		fill(blocks[i], BLOCK, (unsigned char)i);
	}
	for (int turn = 0; turn < 3; turn++) {
		pid_t pid;
		CALL(pid, odf_fork, ());
		if (pid == 0) {
			for (size_t i = 0; i < BLOCKS; i++)
				if (!holds(blocks[i], BLOCK, (unsigned char)i))
					leave(6);
			fill(blocks[turn], BLOCK, 99);
			leave(holds(blocks[turn], BLOCK, 99) ? 5 : 7);
		}
		if (pid < 0)
			EXPECT(errno, ENOMEM, EAGAIN);
		fill(blocks[turn], BLOCK, (unsigned char)turn);
		arm("keeper", FAULTS_LIBRARY);
		if (pid > 0)
			MUST(reap(pid) == 5 << 8);
		pause_ms(at_round == FAILING ? 12 : 4);
		disarm();
		for (size_t i = 0; i < BLOCKS; i++)
			MUST(holds(blocks[i], BLOCK, (unsigned char)i));
	}
	CALL(error, odf_heap_info_get, (&info));
	MUST(error == 0);
	for (size_t i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

/* ---- The scenario ---- */

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "names", names, false },	   { "capabilities", capabilities, false },
		{ "forks", forks, false },	   { "spawns", spawns, false },
		{ "processes", processes, false }, { "pools", pools, false },
		{ "regions", regions, false },	   { "heap", heap, true },
	};

	root = geteuid() == 0;
	signal(SIGPIPE, SIG_DFL);
	return argc != 2 ? 2 : run_scenario(scenarios, sizeof scenarios / sizeof *scenarios, argv[1]);
}
