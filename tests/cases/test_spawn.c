/* SPDX-License-Identifier: MIT
 *
 * Every option on every engine that supports it. The child is the state helper, which reports its own state. What was
 * requested must be there; everything else must be as in the caller. An engine that does not support an option must say
 * so before anything is made.
 */
#include "spawn_tests.h"

/* Runs the helper with the options on each engine and passes its JSON to `check`. An engine that libc's posix_spawn
 * cannot support must refuse. */
void on_each_engine(odf_spawn_options *options, bool libc_can, void (*check)(const char *json, odf_strategy engine))
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

char *number(long value)
{
	static char buffers[8][32];
	static unsigned turn;
	char *buffer = buffers[turn++ % 8];

	snprintf(buffer, sizeof buffers[0], "%ld", value);
	return buffer;
}

char *quoted(const char *format, ...)
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

/* This process's state as the helper reports it, to compare with. */
static char *own_state;

static void same_as_own(const char *json, const char *name)
{
	char *value = member(own_state, name);

	assert_non_null(value);
	must_have(json, name, value);
	free(value);
}

/* ---- No options -------------------------------------------------------------------------------------------------- */

/* argv is a list; member() returns all of it. */
static void check_arguments(const char *json, odf_strategy engine)
{
	char expected[PATH_MAX + 64], *argv = member(json, "argv");

	snprintf(expected, sizeof expected, "[\"state\",\"%s\",\"two words\",\"\"]", scratch_path("state.json"));
	assert_string_equal(argv, expected);
	free(argv);
	(void)engine;
}

/* glibc's posix_spawn leaves its two internal signals, 32 and 33, ignored in the program. */
unsigned long ignored_signals(const char *json, odf_strategy engine)
{
	char *shown = member(json, "SigIgn");
	unsigned long ignored = strtoul(shown + 1, NULL, 16);

	free(shown);
	return engine == ODF_STRATEGY_POSIX_SPAWN ? ignored & ~(3ul << 31) : ignored;
}

static void check_inherits(const char *json, odf_strategy engine)
{
	static const char *const same[] = { "cwd",        "uid",     "gid",    "Groups",     "sid",
					    "pgid",       "umask",   "nice",   "sched",      "Cpus_allowed_list",
					    "NoNewPrivs", "Seccomp", "cgroup", "environ",    "SigBlk",
					    "rlimit7",    "rlimit3", "fds",    "foreground", "parent_death_signal" };

	check_arguments(json, engine);
	for (size_t i = 0; i < sizeof same / sizeof *same; i++)
		same_as_own(json, same[i]);
	must_have(json, "SigCgt", "\"0000000000000000\"");
	assert_int_equal(ignored_signals(json, engine), ignored_signals(own_state, ODF_STRATEGY_FORK));
	assert_true(ignored_signals(json, engine) & 1ul << (SIGALRM - 1));
	must_have(json, "ppid", number(getpid()));
}

void handler(int signal)
{
	(void)signal;
}

/* Handled signals become default; ignored and blocked ones stay so, including libc's internal ones (32, 33). */
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

/* ---- Program and environment ------------------------------------------------------------------------------------- */

static void test_environment_and_path(void **state)
{
	char *envp[] = { (char[]){ "ONE=1" }, (char[]){ "PATH=/nowhere" }, NULL };
	char *old_path = strdup(getenv("PATH")), *directory = strdup(helper_path("state")), *path;

	(void)state;
	*strrchr(directory, '/') = '\0';
	/* The search uses the caller's PATH, not the child's. It skips entries that are not directories, do not exist,
	 * are empty or too long. */
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

/* A program without execute permission is skipped; its error is returned if no other is found. */
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
	/* the caller's PATH may have directories closed to this user, which changes errors */
	setenv("PATH", "/usr/bin:/bin", 1);
	return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
