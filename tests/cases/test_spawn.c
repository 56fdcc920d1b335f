/* SPDX-License-Identifier: MIT
 *
 * Every option on every engine that can carry it: the child is the state helper, which says what it finds itself to be. What was asked must be
 * there; what was not asked must be as the caller has it. An engine that cannot carry an option must say so, before anything is made.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

/* Runs the helper with the options on each engine and hands its JSON to `check`. Engines that libc's limits exclude must refuse. */
static void on_each_engine(odf_spawn_options *options, bool libc_can, void (*check)(const char *json, odf_strategy engine))
{
	for (size_t i = 0; i < 3; i++) {
		struct surroundings before = surroundings_take();
		odf_report report = ODF_REPORT_INIT;
		bool can = engines[i] != ODF_STRATEGY_POSIX_SPAWN || libc_can;
		char *json;
		if (options->pre_exec != NULL && engines[i] != ODF_STRATEGY_FORK)
			can = false;
		options->allow = ODF_ALLOW(engines[i]);
		if (!can) {
			pid_t pid = -7;
			char *argv[] = { (char[]){ "true" }, NULL };
			assert_errno(ENOTSUP, odf_spawn(&pid, "/bin/true", argv, NULL, options, &report));
			assert_int_equal(report.step, ODF_STEP_REQUEST);
			assert_int_equal(report.strategy, ODF_STRATEGY_NONE);
			assert_int_equal(pid, -7);
			must_have_no_children();
		} else {
			json = spawn_state(options, &report);
			assert_int_equal(report.strategy, engines[i]);
			assert_int_equal(report.error, 0);
			assert_int_equal(report.step, ODF_STEP_NONE);
			assert_int_equal(report.reason[engines[i]], ODF_REASON_CHOSEN);
			assert_true(report.elapsed_ns > 0);
			check(json, engines[i]);
			free(json);
		}
		surroundings_must_equal(&before);
	}
}

static char *number(long value)
{
	static char buffers[8][32];
	static unsigned turn;
	char *buffer = buffers[turn++ % 8];

	snprintf(buffer, sizeof buffers[0], "%ld", value);
	return buffer;
}

static char *quoted(const char *format, ...)
{
	static char buffers[8][8192];
	static unsigned turn;
	char *buffer = buffers[turn++ % 8];
	va_list arguments;
	int length;

	buffer[0] = '"';
	va_start(arguments, format);
	length = vsnprintf(buffer + 1, sizeof buffers[0] - 2, format, arguments);
	va_end(arguments);
	memcpy(buffer + 1 + length, "\"", 2);
	return buffer;
}

/* What /proc says of this process, to compare with: the helper's own words for it. */
static char *own_state;

static void same_as_own(const char *json, const char *name)
{
	char *value = member(own_state, name);

	assert_non_null(value);
	must_have(json, name, value);
	free(value);
}

/* ---- Nothing asked ---------------------------------------------------------------------------------------------------------- */

/* argv is a list; the member function gives it whole. */
static void check_arguments(const char *json, odf_strategy engine)
{
	char expected[PATH_MAX + 64], *argv = member(json, "argv");

	snprintf(expected, sizeof expected, "[\"state\",\"%s\",\"two words\",\"\"]", scratch_path("state.json"));
	assert_string_equal(argv, expected);
	free(argv);
	(void)engine;
}

/* glibc's posix_spawn leaves its two internal signals, 32 and 33, ignored in the program. */
static unsigned long ignored_signals(const char *json, odf_strategy engine)
{
	char *shown = member(json, "SigIgn");
	unsigned long ignored = strtoul(shown + 1, NULL, 16);

	free(shown);
	return engine == ODF_STRATEGY_POSIX_SPAWN ? ignored & ~(3ul << 31) : ignored;
}

static void check_inherits(const char *json, odf_strategy engine)
{
	static const char *const same[] = { "cwd", "uid", "gid", "Groups", "sid", "pgid", "umask", "nice", "sched", "Cpus_allowed_list",
					    "NoNewPrivs", "Seccomp", "cgroup", "environ", "SigBlk", "rlimit7", "rlimit3",
					    "fds", "foreground", "parent_death_signal" };

	check_arguments(json, engine);
	for (size_t i = 0; i < sizeof same / sizeof *same; i++)
		same_as_own(json, same[i]);
	must_have(json, "SigCgt", "\"0000000000000000\"");
	assert_int_equal(ignored_signals(json, engine), ignored_signals(own_state, ODF_STRATEGY_FORK));
	assert_true(ignored_signals(json, engine) & 1ul << (SIGALRM - 1));
	must_have(json, "ppid", number(getpid()));
}

static void handler(int signal)
{
	(void)signal;
}

/* Handled signals become default, ignored and blocked ones stay; what libc keeps to itself (32, 33) included. */
static void test_inherits(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	sigset_t blocked, old;
	char *argv[] = { (char[]){ "state" }, (char[PATH_MAX]){ 0 }, NULL };

	(void)state;
	strcpy(argv[1], scratch_path("own.json"));
	signal(SIGUSR2, handler);
	signal(SIGALRM, SIG_IGN);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGHUP);
	sigaddset(&blocked, SIGRTMAX);
	sigprocmask(SIG_BLOCK, &blocked, &old);
	/* A plain fork and exec is the reference. */
	pid_t pid = fork();
	if (pid == 0) {
		execv(helper_path("state"), argv);
		_exit(127);
	}
	must_exit_with(pid, 0);
	free(own_state);
	own_state = read_file(argv[1]);
	on_each_engine(&options, true, check_inherits);
	sigprocmask(SIG_SETMASK, &old, NULL);
	signal(SIGUSR2, SIG_DFL);
	signal(SIGALRM, SIG_DFL);
}

/* ---- Program and environment ------------------------------------------------------------------------------------------------ */

static void test_environment_and_path(void **state)
{
	char *envp[] = { (char[]){ "ONE=1" }, (char[]){ "PATH=/nowhere" }, NULL };
	char *old_path = strdup(getenv("PATH")), *directory = strdup(helper_path("state")), *path;

	(void)state;
	*strrchr(directory, '/') = '\0';
	/* The search uses the caller's PATH, not the child's; passes over what is no directory, not there, empty or too long. */
	assert_true(asprintf(&path, "/nonexistent:/etc/passwd::%0*d:%s:/bin", PATH_MAX, 0, directory) > 0);
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		char *json;
		options.flags = ODF_SPAWN_SEARCH_PATH;
		options.allow = ODF_ALLOW(engines[i]);
		setenv("PATH", path, 1);
		json = spawn_state_with(&options, NULL, envp, true);
		must_have(json, "environ", "[\"ONE=1\",\"PATH=/nowhere\"]");
		free(json);
		setenv("PATH", old_path, 1);
	}
	free(path);
	free(directory);
	free(old_path);
}

/* A program that may not be executed is passed over, and is the error if no other is found. */
static void test_search_errors(void **state)
{
	char *old_path = strdup(getenv("PATH")), *path, *argv[] = { (char[]){ "odf-no-such" }, NULL };

	(void)state;
	mkdir(scratch_path("denied"), 0755);
	write_file(scratch_path("denied/odf-denied"), "#!/bin/sh\n", 0644);
	assert_true(asprintf(&path, "%s:%s", scratch_path("denied"), old_path) > 0);
	setenv("PATH", path, 1);
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		pid_t pid;
		options.flags = ODF_SPAWN_SEARCH_PATH;
		options.allow = ODF_ALLOW(engines[i]);
		assert_errno(EACCES, odf_spawn(&pid, "odf-denied", argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_EXEC);
		assert_errno(ENOENT, odf_spawn(&pid, "odf-no-such", argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_EXEC);
		assert_errno(ENOENT, odf_spawn(&pid, "", argv, NULL, &options, &report));
		must_have_no_children();
	}
	setenv("PATH", old_path, 1);
	/* Without PATH: libc's default. */
	unsetenv("PATH");
	{
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		pid_t pid;
		options.flags = ODF_SPAWN_SEARCH_PATH;
		options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
		assert_errno(0, odf_spawn(&pid, "true", argv, NULL, &options, NULL));
		must_exit_with(pid, 0);
	}
	setenv("PATH", old_path, 1);
	free(old_path);
	free(path);
}

static void check_nothing(const char *json, odf_strategy engine)
{
	(void)engine;
	assert_non_null(json);
}

/* The program by descriptor, also where the map takes its number. */
static void test_exec_fd(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	int fd = open(helper_path("state"), O_RDONLY | O_CLOEXEC);
	odf_fd_action map[] = { ODF_FD_NULL(fd) };

	(void)state;
	assert_true(fd >= 0);
	options.exec_fd = fd;
	on_each_engine(&options, false, check_nothing);
	options.fds = map;
	options.fd_count = 1;
	options.flags = ODF_SPAWN_CLOSE_OTHER_FDS;
	on_each_engine(&options, false, check_nothing);
	/* The copy that keeps it open must not pass for a descriptor of the caller's that is not open. */
	for (size_t i = 1; i < 3; i++) {
		odf_fd_action closed[] = { ODF_FD_NULL(fd), ODF_FD_DUP(fd + 1, fd + 2) };
		odf_report report = ODF_REPORT_INIT;
		char *argv[] = { (char[]){ "state" }, NULL };
		options.allow = ODF_ALLOW(engines[i]);
		options.fds = closed;
		options.fd_count = 2;
		assert_int_equal(fcntl(fd + 2, F_GETFD), -1);
		assert_errno(EBADF, odf_spawn(NULL, NULL, argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_FD);
		assert_int_equal(report.index, 1);
	}
	close(fd);
}

/* ---- Descriptors ------------------------------------------------------------------------------------------------------------ */

static int file_a, file_b;
static char *identity(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	return quoted("%llu:%llu flags %o offset %lld", (unsigned long long)status.st_dev, (unsigned long long)status.st_ino,
		      (unsigned)fcntl(fd, F_GETFL), (long long)lseek(fd, 0, SEEK_CUR));
}

static void open_files(void)
{
	write_file(scratch_path("a"), "aaaaaaaaaa", 0644);
	write_file(scratch_path("b"), "bbbbbbbbbb", 0644);
	file_a = open(scratch_path("a"), O_RDONLY | O_CLOEXEC);
	file_b = open(scratch_path("b"), O_RDWR | O_APPEND | O_CLOEXEC);
	assert_true(file_a >= 0 && file_b >= 0);
	assert_int_equal(lseek(file_a, 3, SEEK_SET), 3);
	assert_int_equal(lseek(file_b, 7, SEEK_SET), 7);
}

static void check_moved(const char *json, odf_strategy engine)
{
	char name[16];

	(void)engine;
	snprintf(name, sizeof name, "fd%d", file_b);
	must_have(json, "fd0", identity(file_a));
	must_have(json, name, identity(file_b)); /* a self-map loses close-on-exec */
	must_have(json, "fd60", identity(file_b));
	assert_null(member(json, "fd61"));
}

static void test_map(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	open_files();
	{
		odf_fd_action map[] = { ODF_FD_DUP(0, file_a), ODF_FD_DUP(file_b, file_b), ODF_FD_DUP(60, file_b), ODF_FD_CLOSE(61) };
		options.fds = map;
		options.fd_count = 4;
		on_each_engine(&options, true, check_moved);
	}
	close(file_a);
	close(file_b);
}

static void check_swapped(const char *json, odf_strategy engine)
{
	char name[16];

	(void)engine;
	snprintf(name, sizeof name, "fd%d", file_a);
	must_have(json, name, identity(file_b));
	snprintf(name, sizeof name, "fd%d", file_b);
	must_have(json, name, identity(file_a));
}

static void test_swap(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	open_files();
	{
		odf_fd_action map[] = { ODF_FD_DUP(file_a, file_b), ODF_FD_DUP(file_b, file_a) };
		options.fds = map;
		options.fd_count = 2;
		on_each_engine(&options, false, check_swapped); /* libc has actions one after the other only */
	}
	/* With the limit of descriptors right above the targets: the spare number is found below them. */
	{
		odf_fd_action map[] = { ODF_FD_DUP(200, 210), ODF_FD_DUP(210, 200) };
		struct rlimit old, low;
		getrlimit(RLIMIT_NOFILE, &old);
		low = (struct rlimit){ 211, old.rlim_max };
		file_a = dup3(file_a, 200, O_CLOEXEC);
		file_b = dup3(file_b, 210, O_CLOEXEC);
		options.fds = map;
		setrlimit(RLIMIT_NOFILE, &low);
		on_each_engine(&options, false, check_swapped);
		setrlimit(RLIMIT_NOFILE, &old);
	}
	closefrom(3);
}

/* The flags that the kernel shows for a file opened with these: it may add O_LARGEFILE. */
static unsigned shown_flags(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC), shown = fcntl(fd, F_GETFL);

	assert_true(shown >= 0);
	close(fd);
	return (unsigned)shown;
}

static void check_opened(const char *json, odf_strategy engine)
{
	struct stat status;

	(void)engine;
	must_have(json, "cwd", quoted("%s", scratch()));
	assert_int_equal(stat("/dev/null", &status), 0);
	must_have(json, "fd0", quoted("%llu:%llu flags %o offset -1", (unsigned long long)status.st_dev,
				      (unsigned long long)status.st_ino, shown_flags("/dev/null", O_RDWR)));
	assert_int_equal(stat(scratch_path("created"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	must_have(json, "fd9", quoted("%llu:%llu flags %o offset 0", (unsigned long long)status.st_dev,
				      (unsigned long long)status.st_ino, shown_flags(scratch_path("created"), O_WRONLY | O_APPEND)));
	unlink(scratch_path("created"));
}

/* Paths are relative to the child's directory. */
static void test_open(void **state)
{
	odf_fd_action map[] = { ODF_FD_NULL(0), ODF_FD_OPEN(9, "created", O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0640) };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	int directory;

	(void)state;
	options.fds = map;
	options.fd_count = 2;
	options.cwd = scratch();
	on_each_engine(&options, false, check_opened); /* libc closes the number first, which the path may depend on */
	directory = open(scratch(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	options.cwd = NULL;
	options.cwd_fd = directory;
	on_each_engine(&options, false, check_opened);
	close(directory);
}

static void check_null(const char *json, odf_strategy engine)
{
	struct stat status;

	(void)engine;
	assert_int_equal(stat("/dev/null", &status), 0);
	must_have(json, "cwd", quoted("%s", scratch()));
	must_have(json, "fd0", quoted("%llu:%llu flags %o offset -1", (unsigned long long)status.st_dev,
				      (unsigned long long)status.st_ino, shown_flags("/dev/null", O_RDWR)));
}

static void test_null(void **state)
{
	odf_fd_action map[] = { ODF_FD_NULL(0), ODF_FD_CLOSE(1 << 20) };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.fds = map;
	options.fd_count = 1;
	options.cwd = scratch();
	on_each_engine(&options, true, check_null);
	options.cwd = NULL;
	options.cwd_fd = open(scratch(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	on_each_engine(&options, true, check_null);
	/* Closing a number that cannot be open is no error; libc would make it one. */
	options.fd_count = 2;
	on_each_engine(&options, false, check_null);
	close(options.cwd_fd);
}

/* What a path says of open descriptors is what the caller had, and close-on-exec in the flags does not close. */
static void check_reopened(const char *json, odf_strategy engine)
{
	(void)engine;
	assert_non_null(strstr(json, "\n\"fd0\":"));
	assert_non_null(strstr(json, "\n\"fd30\":"));
}

static void test_open_by_descriptor(void **state)
{
	odf_fd_action map[] = { ODF_FD_OPEN(0, "/dev/fd/0", O_RDONLY, 0), ODF_FD_OPEN(30, "/etc/passwd", O_RDONLY | O_CLOEXEC, 0) };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), input = fcntl(0, F_DUPFD_CLOEXEC, 3);

	(void)state;
	dup2(null, 0);
	options.fds = map;
	options.fd_count = 2;
	on_each_engine(&options, false, check_reopened);
	dup2(input, 0);
	close(input);
	close(null);
}

static void check_others_closed(const char *json, odf_strategy engine)
{
	char expected[64];

	(void)engine;
	snprintf(expected, sizeof expected, "[0,1,2,%d,50]", file_b);
	must_have(json, "fds", expected);
}

static void check_three(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "fds", "[0,1,2]");
}

static void test_close_others(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	int loose;

	(void)state;
	open_files();
	loose = fcntl(0, F_DUPFD, 300); /* without close-on-exec */
	options.flags = ODF_SPAWN_CLOSE_OTHER_FDS;
	on_each_engine(&options, true, check_three);
	{
		odf_fd_action map[] = { ODF_FD_KEEP(file_b), ODF_FD_DUP(50, file_a) };
		options.fds = map;
		options.fd_count = 2;
		on_each_engine(&options, false, check_others_closed);
	}
	close(loose);
	close(file_a);
	close(file_b);
}

/* ---- Sessions, groups, terminals -------------------------------------------------------------------------------------------- */

static void check_session(const char *json, odf_strategy engine)
{
	char *pid = member(json, "pid");

	(void)engine;
	must_have(json, "sid", pid);
	must_have(json, "pgid", pid);
	must_have(json, "foreground", "-1");
	free(pid);
}

static void check_group(const char *json, odf_strategy engine)
{
	char *pid = member(json, "pid");

	(void)engine;
	must_have(json, "pgid", pid);
	must_have(json, "sid", number(getsid(0)));
	free(pid);
}

static pid_t leader;
static void check_joined(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "pgid", number(leader));
}

static void test_session_and_group(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.flags = ODF_SPAWN_SETSID;
	on_each_engine(&options, true, check_session);
	options.flags = ODF_SPAWN_SETPGROUP;
	on_each_engine(&options, true, check_group);
	leader = fork();
	if (leader == 0) {
		pause();
		_exit(0);
	}
	setpgid(leader, leader);
	options.pgroup = leader;
	/* must_have_no_children inside is for refusals only, which cannot occur here. */
	on_each_engine(&options, true, check_joined);
	kill(leader, SIGKILL);
	wait_for(leader);
}

static void check_terminal_group(const char *json, odf_strategy engine)
{
	char *pid = member(json, "pid");

	(void)engine;
	must_have(json, "foreground", pid);
	must_have(json, "pgid", pid);
	free(pid);
}

/* In a session of its own on a pseudo-terminal, from a process group in the background: SIGTTOU must stop nobody. */
static int on_terminal(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t group = getpgrp();

	options.flags = ODF_SPAWN_SETPGROUP | ODF_SPAWN_FOREGROUND;
	for (size_t i = 1; i < 3; i++) {
		char *json;
		options.allow = ODF_ALLOW(engines[i]);
		json = spawn_state(&options, NULL);
		check_terminal_group(json, engines[i]);
		free(json);
		/* The child's group is the foreground now, so we are in the background; on from there. */
		assert_int_not_equal(tcgetpgrp(0), group);
	}
	return 0;
}

static void test_foreground(void **state)
{
	int terminal, subordinate, status;
	char byte;
	pid_t pid;

	(void)state;
	pid = forkpty(&terminal, NULL, NULL, NULL);
	if (pid == 0)
		_exit(on_terminal());
	assert_true(pid > 0);
	while (read(terminal, &byte, 1) == 1)
		(void)!write(STDERR_FILENO, &byte, 1);
	status = wait_for(pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(terminal);

	/* A new session takes the terminal on its descriptor 0 as its own. */
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_fd_action map[1];
		char *json, *child;
		assert_int_equal(openpty(&terminal, &subordinate, NULL, NULL, NULL), 0);
		fcntl(terminal, F_SETFD, FD_CLOEXEC);
		fcntl(subordinate, F_SETFD, FD_CLOEXEC);
		map[0] = (odf_fd_action)ODF_FD_DUP(0, subordinate);
		options.allow = ODF_ALLOW(engines[i]);
		options.flags = ODF_SPAWN_SETSID | ODF_SPAWN_FOREGROUND;
		options.fds = map;
		options.fd_count = 1;
		json = spawn_state(&options, NULL);
		child = member(json, "pid");
		must_have(json, "sid", child);
		must_have(json, "foreground", child);
		free(child);
		free(json);
		close(terminal);
		close(subordinate);
	}
}

/* ---- Signals ---------------------------------------------------------------------------------------------------------------- */

static void check_mask(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "SigBlk", "\"0000000000000200\""); /* SIGUSR1 is 10 */
}

static void check_reset(const char *json, odf_strategy engine)
{
	assert_int_equal(ignored_signals(json, engine), 0);
	must_have(json, "SigBlk", "\"0000000000000000\"");
}

static void test_signals(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	sigset_t blocked, old;

	(void)state;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, &old);
	options.flags = ODF_SPAWN_SIGMASK;
	sigemptyset(&options.sigmask);
	sigaddset(&options.sigmask, SIGUSR1);
	on_each_engine(&options, true, check_mask);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGRTMIN, SIG_IGN);
	options.flags = ODF_SPAWN_SIGMASK | ODF_SPAWN_RESET_SIGNALS;
	sigemptyset(&options.sigmask);
	on_each_engine(&options, true, check_reset);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGRTMIN, SIG_DFL);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

/* ---- Attributes ------------------------------------------------------------------------------------------------------------- */

static void check_attributes(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "umask", "\"0027\"");
	must_have(json, "nice", "7");
	must_have(json, "rlimit7", "\"333 444\"");
	must_have(json, "rlimit4", "\"0 0\"");
	must_have(json, "Cpus_allowed_list", "\"0\"");
	must_have(json, "sched", quoted("%d 0", SCHED_BATCH));
	must_have(json, "NoNewPrivs", "\"1\"");
	must_have(json, "parent_death_signal", number(SIGUSR2));
}

static void test_attributes(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_rlimit limits[] = { { RLIMIT_NOFILE, { 333, 444 } }, { RLIMIT_CORE, { 0, 0 } } };
	cpu_set_t cpus;

	(void)state;
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	options.flags = ODF_SPAWN_UMASK | ODF_SPAWN_NICE | ODF_SPAWN_SCHED | ODF_SPAWN_NO_NEW_PRIVS;
	options.umask = 027;
	options.nice = 7;
	options.sched_policy = SCHED_BATCH;
	options.rlimits = limits;
	options.rlimit_count = 2;
	options.affinity = &cpus;
	options.affinity_size = sizeof cpus;
	options.parent_death_signal = SIGUSR2;
	on_each_engine(&options, false, check_attributes);
}

static void check_ids(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "uid", "\"1234 1234 1234\"");
	must_have(json, "gid", "\"2345 2345 2345\"");
	must_have(json, "Groups", "\"11 22\"");
	must_have(json, "parent_death_signal", number(SIGTERM));
}

static void check_no_groups(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "Groups", "\"\"");
}

static void test_ids(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	gid_t groups[] = { 11, 22 };

	(void)state;
	if (geteuid() != 0) {
		skip_because("changing ids needs root");
		return;
	}
	chmod(scratch(), 0777);
	options.flags = ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_GROUPS;
	options.uid = 1234;
	options.gid = 2345;
	options.groups = groups;
	options.group_count = 2;
	options.parent_death_signal = SIGTERM;
	on_each_engine(&options, false, check_ids);
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1); /* the kernel takes it from memory whose user changes, ours too */
	options.flags = ODF_SPAWN_GROUPS;
	options.groups = NULL;
	options.group_count = 0;
	on_each_engine(&options, false, check_no_groups);
	chmod(scratch(), 0755);
}

static void *spawn_as_others(void *failures)
{
	char *argv[] = { (char[]){ "true" }, NULL };

	for (int i = 0; i < 100; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		pid_t pid;
		int status;
		options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
		options.flags = ODF_SPAWN_UID | ODF_SPAWN_KEEP_GROUPS;
		options.uid = 1234;
		if (odf_spawn(&pid, "/bin/true", argv, NULL, &options, NULL) != 0 || waitpid(pid, &status, 0) != pid || status != 0)
			++*(int *)failures;
	}
	return NULL;
}

/* Threads that do so at once do not restore each other's loss. */
static void test_dumpable_with_threads(void **state)
{
	pthread_t threads[4];
	int failures[4] = { 0 };

	(void)state;
	if (geteuid() != 0) {
		skip_because("changing ids needs root");
		return;
	}
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, spawn_as_others, &failures[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(failures[i], 0);
	}
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
}

static void check_seccomp(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "Seccomp", "\"2\"");
	must_have(json, "NoNewPrivs", "\"1\"");
}

static void test_seccomp(void **state)
{
	struct sock_filter allow_all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { 1, allow_all };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.flags = ODF_SPAWN_NO_NEW_PRIVS;
	options.seccomp = &program;
	on_each_engine(&options, false, check_seccomp);
}

/* A cgroup of our own under the one we are in: v2 where it is mounted, by clone3 or by the child's own write. */
static char cgroup_path[PATH_MAX];
static void check_cgroup(const char *json, odf_strategy engine)
{
	char *cgroup = member(json, "cgroup");

	(void)engine;
	assert_non_null(strstr(cgroup, "odfork-test-"));
	free(cgroup);
}

static bool make_cgroup(void)
{
	static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids" };

	for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
		char procs[PATH_MAX + 16];
		snprintf(cgroup_path, sizeof cgroup_path, "%s/odfork-test-%d", mounts[i], (int)getpid());
		if (mkdir(cgroup_path, 0755) != 0)
			continue;
		snprintf(procs, sizeof procs, "%s/cgroup.procs", cgroup_path);
		if (access(procs, W_OK) == 0)
			return true;
		rmdir(cgroup_path);
	}
	return false;
}

static void test_cgroup(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	if (!make_cgroup()) {
		skip_because("no cgroup can be made here");
		return;
	}
	options.cgroup_fd = open(cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	on_each_engine(&options, false, check_cgroup);
	close(options.cgroup_fd);
	assert_int_equal(rmdir(cgroup_path), 0);
}

/* ---- The rest --------------------------------------------------------------------------------------------------------------- */

static void test_pidfd(void **state)
{
	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 9" }, NULL };
		struct pollfd ready;
		siginfo_t info;
		int pidfd = -5;
		pid_t pid;
		options.allow = ODF_ALLOW(engines[i]);
		options.pidfd = &pidfd;
		assert_errno(0, odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL));
		assert_true(pidfd >= 0);
		assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
		ready = (struct pollfd){ .fd = pidfd, .events = POLLIN };
		assert_int_equal(poll(&ready, 1, 10000), 1);
		assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
		assert_int_equal(info.si_pid, pid);
		assert_int_equal(info.si_status, 9);
		close(pidfd);
		/* And on failure none is left. */
		pidfd = -5;
		struct surroundings before = surroundings_take();
		assert_errno(ENOENT, odf_spawn(&pid, "/nonexistent", argv, NULL, &options, NULL));
		assert_int_equal(pidfd, -1);
		surroundings_must_equal(&before);
	}
}

static int set_name(void *name)
{
	return setenv("FROM_PRE_EXEC", name, 1) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 0) == 0 && umask(0) < 01000 ? 0 : EIO;
}

static int closes_everything(void *unused)
{
	(void)unused;
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	return 0;
}

static int takes_long(void *unused)
{
	(void)unused;
	usleep(100000);
	return 0;
}

static void check_pre_exec(const char *json, odf_strategy engine)
{
	assert_int_equal(engine, ODF_STRATEGY_FORK);
	must_have(json, "umask", "\"0000\"");
}

static void test_pre_exec(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.pre_exec = set_name;
	options.pre_exec_arg = (char[]){ "yes" };
	on_each_engine(&options, false, check_pre_exec);
	options.pre_exec = closes_everything;
	on_each_engine(&options, false, check_nothing);
	options.pre_exec = takes_long;
	on_each_engine(&options, false, check_nothing);
}

/* ---- The matrix: random requests, and the engines against each other -------------------------------------------------------- */

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
	static const unsigned flags[] = { ODF_SPAWN_CLOSE_OTHER_FDS, ODF_SPAWN_RESET_SIGNALS, ODF_SPAWN_UMASK, ODF_SPAWN_NICE,
					  ODF_SPAWN_SCHED, ODF_SPAWN_NO_NEW_PRIVS };
	int targets[] = { 0, 3, 4, 5, 6, 20, 21, 22 };

	*r = (struct random_request){ .options = ODF_SPAWN_OPTIONS_INIT };
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (rand_r(seed) % 4 == 0)
			r->options.flags |= flags[i];
	r->options.umask = (mode_t)rand_r(seed) & 0777;
	r->options.nice = 1 + rand_r(seed) % 10;
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
			fail_msg("seed %u: %s differs from fork:\n%s\n%s", seed, odf_strategy_name(engine), first, state);
		free(state);
	}
	assert_true(engines_run >= 2);
	free(first);
}

static void test_engines_agree(void **state)
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

static volatile sig_atomic_t children_ended;
static void on_child(int signal)
{
	(void)signal;
	children_ended++;
}

/* Not our child: no SIGCHLD, nothing to wait for, another parent; failures with their step all the same; pidfd works. */
static void test_detach(void **state)
{
	struct sigaction action = { .sa_handler = on_child }, old;

	(void)state;
	for (size_t i = 1; i < 3; i++) {
		for (int with_pidfd = 0; with_pidfd < 2; with_pidfd++) {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			odf_report report = ODF_REPORT_INIT;
			char *argv[] = { (char[]){ "state" }, strdup(scratch_path("detached.json")), NULL }, *json = NULL, *parent;
			struct surroundings before = surroundings_take();
			pid_t pid = -1;
			int pidfd = -5;

			unlink(argv[1]);
			children_ended = 0;
			sigaction(SIGCHLD, &action, &old);
			options.allow = ODF_ALLOW(engines[i]);
			options.flags = ODF_SPAWN_DETACH | ODF_SPAWN_SETSID;
			options.pidfd = with_pidfd ? &pidfd : NULL;
			assert_errno(0, odf_spawn(&pid, helper_path("state"), argv, NULL, &options, &report));
			assert_true(pid > 0);
			if (with_pidfd) {
				struct pollfd ready = { .fd = pidfd, .events = POLLIN };
				assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
				assert_int_equal(poll(&ready, 1, 10000), 1);
				close(pidfd);
			}
			for (int tries = 0; tries < 1000 && (json == NULL || strchr(json, '}') == NULL); tries++) {
				free(json);
				usleep(5000);
				json = read_file(argv[1]);
			}
			assert_non_null(json);
			must_have(json, "pid", number(pid));
			must_have(json, "sid", number(pid));
			parent = member(json, "ppid");
			assert_string_not_equal(parent, number(getpid()));
			free(parent);
			free(json);
			must_have_no_children();
			/* By fork the go-between is an ordinary child, reaped before the call returns. */
			if (engines[i] == ODF_STRATEGY_VFORK)
				assert_int_equal(children_ended, 0);

			pidfd = -5;
			pid = -7;
			assert_errno(ENOENT, odf_spawn(&pid, "/nonexistent", argv, NULL, &options, &report));
			assert_int_equal(report.step, ODF_STEP_EXEC);
			assert_int_equal(pid, -7);
			if (with_pidfd)
				assert_int_equal(pidfd, -1);
			must_have_no_children();
			sigaction(SIGCHLD, &old, NULL);
			surroundings_must_equal(&before);
			free(argv[1]);
		}
	}
}

/* A file that is open for writing for a while longer. */
static void test_busy_retry(void **state)
{
	(void)state;
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		char *argv[] = { (char[]){ "busy" }, NULL }, *path = strdup(scratch_path("busy"));
		int ready[2];
		pid_t writer, pid;
		char byte;

		write_file(path, "#!/bin/sh\nexit 31\n", 0755);
		assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
		writer = fork();
		if (writer == 0) {
			int fd = open(path, O_WRONLY);
			_exit(fd >= 0 && write(ready[1], "x", 1) == 1 && usleep(100000) == 0 ? 0 : 1);
		}
		assert_int_equal(read(ready[0], &byte, 1), 1);
		options.allow = ODF_ALLOW(engines[i]);
		assert_errno(ETXTBSY, odf_spawn(&pid, path, argv, NULL, &options, NULL));
		options.busy_retry_ms = 20000;
		assert_errno(0, odf_spawn(&pid, path, argv, NULL, &options, NULL));
		must_exit_with(pid, 31);
		must_exit_with(writer, 0);
		close(ready[0]);
		close(ready[1]);
		free(path);
	}
}

/* Without `allow`. */
static void test_choice(void **state)
{
	odf_report report = ODF_REPORT_INIT;
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	char *json = spawn_state(NULL, &report);

	(void)state;
	free(json);
	assert_int_equal(report.strategy, ODF_STRATEGY_VFORK);
	assert_int_equal(report.reason[ODF_STRATEGY_POSIX_SPAWN], ODF_REASON_BETTER_CHOSEN);
	assert_int_equal(report.reason[ODF_STRATEGY_FORK], ODF_REASON_BETTER_CHOSEN);
	assert_int_equal(report.reason[ODF_STRATEGY_KERNEL], ODF_REASON_ENDS_IN_EXEC);
	options.pre_exec = takes_long;
	json = spawn_state(&options, &report);
	free(json);
	assert_int_equal(report.strategy, ODF_STRATEGY_FORK);
	assert_int_equal(report.reason[ODF_STRATEGY_VFORK], ODF_REASON_PRE_EXEC);
}

/* errno and the pointers that were not given. */
static void test_little_things(void **state)
{
	char *argv[] = { (char[]){ "true" }, NULL };
	int status;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		options.allow = ODF_ALLOW(engines[i]);
		errno = 99;
		assert_errno(0, odf_spawn(NULL, "/bin/true", argv, NULL, &options, NULL));
		assert_int_equal(errno, 99);
		assert_true(waitpid(-1, &status, 0) > 0);
		assert_int_equal(status, 0);
		must_have_no_children();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inherits),
		cmocka_unit_test(test_environment_and_path),
		cmocka_unit_test(test_search_errors),
		cmocka_unit_test(test_exec_fd),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_swap),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_null),
		cmocka_unit_test(test_open_by_descriptor),
		cmocka_unit_test(test_close_others),
		cmocka_unit_test(test_session_and_group),
		cmocka_unit_test(test_foreground),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_dumpable_with_threads),
		cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_cgroup),
		cmocka_unit_test(test_pidfd),
		cmocka_unit_test(test_pre_exec),
		cmocka_unit_test(test_engines_agree),
		cmocka_unit_test(test_detach),
		cmocka_unit_test(test_busy_retry),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_little_things),
	};
	signal(SIGTTOU, SIG_DFL);
	setenv("PATH", "/usr/bin:/bin", 1); /* the caller's may have directories that are closed to us, which changes errors */
	return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
