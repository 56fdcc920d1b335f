/* SPDX-License-Identifier: MIT
 *
 * Sandboxes: each system call that the library can do without returns ENOSYS or EPERM. Everything must still work, by
 * another way, and the report must say so. Each case is a process of its own, since a filter is permanent. Each runs
 * twice: with the filter there before the library's first probe, and with the answers of the probes cached before.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork-seccomp.h"
#include "../support/support.h"

static char *true_argv[] = { (char[]){ "true" }, NULL };

enum { NO_CLONE3 = 1, NO_VFORK_CLONE = 2, NO_PIDFD_OPEN = 4, NO_CLOSE_RANGE = 8, NO_EXECVEAT = 16, ALL_SETS = 32 };

static int deny(unsigned set, int error)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
	unsigned action = SCMP_ACT_ERRNO((unsigned)error);
	int result = 0;

	if (context == NULL)
		return ENOMEM;
	if (set & NO_CLONE3)
		result |= seccomp_rule_add(context, action, SCMP_SYS(clone3), 0);
	if (set & NO_VFORK_CLONE)
		result |= seccomp_rule_add(context, action, SCMP_SYS(clone), 1,
					   SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_VFORK, CLONE_VFORK));
	if (set & NO_PIDFD_OPEN)
		result |= seccomp_rule_add(context, action, SCMP_SYS(pidfd_open), 0);
	if (set & NO_CLOSE_RANGE)
		result |= seccomp_rule_add(context, action, SCMP_SYS(close_range), 0);
	if (set & NO_EXECVEAT)
		result |= seccomp_rule_add(context, action, SCMP_SYS(execveat), 0);
	result |= seccomp_load(context);
	seccomp_release(context);
	return result;
}

/* Prints the line of a condition that failed, and exits. */
#define REQUIRE(condition)                                                                    \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);       \
			return 1;                                                             \
		}                                                                             \
	} while (0)

static int ends_well(pid_t pid)
{
	int status;
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static int check_default(unsigned set, bool cached)
{
	bool refused = (set & NO_CLONE3) && (set & NO_VFORK_CLONE);
	odf_spawn_options libc_first = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	pid_t pid = -1;

	/* libc's posix_spawn first: it fails if clone3 returns EPERM. */
	libc_first.allow = ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN) | ODF_ALLOW(ODF_STRATEGY_FORK);
	REQUIRE(odf_spawn(&pid, "/bin/true", true_argv, NULL, &libc_first, &report) == 0);
	REQUIRE(ends_well(pid));
	if (report.strategy == ODF_STRATEGY_FORK)
		REQUIRE(report.reason[ODF_STRATEGY_POSIX_SPAWN] ==
			(refused && !cached ? ODF_REASON_CLONE_REFUSED : ODF_REASON_LIBC_REFUSED));
	REQUIRE(odf_spawn(&pid, "/bin/true", true_argv, NULL, NULL, &report) == 0);
	REQUIRE(ends_well(pid));
	REQUIRE(report.strategy == (refused ? ODF_STRATEGY_FORK : ODF_STRATEGY_VFORK));
	if (refused)
		REQUIRE(report.reason[ODF_STRATEGY_VFORK] == ODF_REASON_CLONE_REFUSED);
	return 0;
}

static int check_forbidden_fallback(unsigned set, int error, bool cached)
{
	bool refused = (set & NO_CLONE3) && (set & NO_VFORK_CLONE);
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	pid_t pid = -7;
	int result;

	options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
	result = odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report);
	if (!refused) {
		REQUIRE(result == 0);
		REQUIRE(ends_well(pid));
		return 0;
	}
	REQUIRE(pid == -7);
	if (cached) { /* it was possible at the time of the probe */
		REQUIRE(result == error);
		REQUIRE(report.step == ODF_STEP_CLONE);
	} else {
		REQUIRE(result == ENOTSUP);
		REQUIRE(report.step == ODF_STEP_REQUEST);
		REQUIRE(report.reason[ODF_STRATEGY_VFORK] == ODF_REASON_CLONE_REFUSED);
	}
	return 0;
}

static int check_pidfd(unsigned set, int error)
{
	odf_fork_options fork_options = ODF_FORK_OPTIONS_INIT;
	pid_t pid;
	int pidfd = -5;

	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		bool by_call = engines[i] == ODF_STRATEGY_FORK;
		int result;
		if (!by_call && (set & NO_CLONE3) && (set & NO_VFORK_CLONE))
			continue;
		options.allow = ODF_ALLOW(engines[i]);
		options.pidfd = &pidfd;
		result = odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report);
		if (by_call && (set & NO_PIDFD_OPEN)) {
			REQUIRE(result == error && report.step == ODF_STEP_PIDFD && pidfd == -1);
		} else {
			REQUIRE(result == 0 && pidfd >= 0);
			REQUIRE(ends_well(pid));
			close(pidfd);
		}
	}
	/* With any strategy. */
	{
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		bool by_fork = (set & NO_CLONE3) && (set & NO_VFORK_CLONE);
		int result;
		options.pidfd = &pidfd;
		result = odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report);
		if (by_fork && (set & NO_PIDFD_OPEN)) {
			REQUIRE(result == error && report.step == ODF_STEP_PIDFD);
		} else {
			REQUIRE(result == 0 && pidfd >= 0 && ends_well(pid));
			close(pidfd);
		}
	}
	fork_options.pidfd = &pidfd;
	errno = 0;
	pid = odf_fork_with(&fork_options, NULL);
	if (pid == 0)
		_exit(0);
	if (set & NO_PIDFD_OPEN) {
		REQUIRE(pid == -1 && errno == error && pidfd == -1);
	} else {
		REQUIRE(pid > 0 && pidfd >= 0 && ends_well(pid));
		close(pidfd);
	}
	return 0;
}

static int check_close_others(void)
{
	static const char script[] =
		"test ! -e /proc/self/fd/300 && test ! -e /proc/self/fd/301 && test -e /proc/self/fd/302";
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, strdup(script), NULL };
	odf_fd_action keep[] = { ODF_FD_KEEP(302) };

	for (int fd = 300; fd < 303; fd++)
		REQUIRE(dup2(0, fd) == fd);
	for (size_t i = 1; i < 3; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		pid_t pid;
		options.allow = ODF_ALLOW(engines[i]) | ODF_ALLOW(ODF_STRATEGY_FORK);
		options.flags = ODF_SPAWN_CLOSE_OTHER_FDS;
		options.fds = keep;
		options.fd_count = 1;
		REQUIRE(odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL) == 0);
		REQUIRE(ends_well(pid));
	}
	for (int fd = 300; fd < 303; fd++)
		close(fd);
	free(argv[2]);
	return 0;
}

static int check_exec_fd(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	pid_t pid;

	options.exec_fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
	REQUIRE(options.exec_fd >= 0);
	REQUIRE(odf_spawn(&pid, NULL, true_argv, NULL, &options, &report) == 0);
	REQUIRE(ends_well(pid));
	close(options.exec_fd);
	return 0;
}

static int check_probes(unsigned set, int error, bool cached)
{
	static const struct {
		unsigned bit;
		odf_probe probe;
	} rows[] = {
		{ NO_CLONE3, ODF_PROBE_CLONE3 },	   { NO_PIDFD_OPEN, ODF_PROBE_PIDFD_OPEN },
		{ NO_CLOSE_RANGE, ODF_PROBE_CLOSE_RANGE }, { NO_EXECVEAT, ODF_PROBE_EXECVEAT },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool no = !cached && (set & rows[i].bit);
		int said = -1;
		REQUIRE(odf_probe_get(rows[i].probe, &said) == (no ? ODF_ANSWER_NO : ODF_ANSWER_YES));
		REQUIRE(said == (no ? error : 0));
	}
	return 0;
}

static int check_all(unsigned set, int error, bool cached)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	alarm(600);
	if (cached)
		REQUIRE(odf_capabilities_get(&capabilities) == 0);
	REQUIRE(deny(set, error) == 0);
	return check_default(set, cached) || check_forbidden_fallback(set, error, cached) || check_pidfd(set, error) ||
	       check_close_others() || check_exec_fd() || check_probes(set, error, cached);
}

/* Every set of calls denied, with both errors: 128 processes. */
static void test_every_set(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ALL_SETS * 4; i++) {
		unsigned set = i % ALL_SETS;
		int error = i / ALL_SETS % 2 == 0 ? ENOSYS : EPERM, status;
		bool cached = i / ALL_SETS / 2 != 0;
		pid_t pid = fork();
		if (pid == 0)
			_exit(check_all(set, error, cached));
		status = wait_for(pid);
		if (status != 0)
			fail_msg("set %#x, error %d, answers cached %d: wait status %d", set, error, cached, status);
	}
}

/* Nothing lists the open descriptors: the spawn must fail, and not leave them open silently. */
static int check_others_cannot_be_closed(odf_strategy engine)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	const int calls[] = { SCMP_SYS(close_range), SCMP_SYS(openat), SCMP_SYS(prlimit64) };
	pid_t pid = -1;

	alarm(600);
	REQUIRE(context != NULL);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		REQUIRE(seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), calls[i], 0) == 0);
	REQUIRE(seccomp_load(context) == 0);
	seccomp_release(context);
	options.allow = ODF_ALLOW(engine);
	options.flags = ODF_SPAWN_CLOSE_OTHER_FDS;
	REQUIRE(odf_spawn(&pid, "/bin/true", true_argv, NULL, &options, &report) == EPERM && pid == -1);
	REQUIRE(report.step == ODF_STEP_CLOSE_OTHERS && report.strategy == engine);
	REQUIRE(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	return 0;
}

static void test_others_cannot_be_closed(void **state)
{
	static const odf_strategy engines_of_ours[] = { ODF_STRATEGY_VFORK, ODF_STRATEGY_FORK };

	(void)state;
	for (size_t i = 0; i < sizeof engines_of_ours / sizeof *engines_of_ours; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(check_others_cannot_be_closed(engines_of_ours[i]));
		must_exit_with(pid, 0);
	}
}

/* The companion header: a filter that the caller sets on the child. */
static void test_companion(void **state)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	char *argv[] = {
		(char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "umask 022; mkdir /nonexistent/x 2>/dev/null || exit 4" },
		NULL,
	};
	struct sock_fprog program;

	(void)state;
	assert_non_null(context);
	assert_int_equal(seccomp_rule_add(context, SCMP_ACT_KILL_PROCESS, SCMP_SYS(umask), 0), 0);
	assert_int_equal(odf_seccomp_program_make(context, &program), 0);
	seccomp_release(context);
	assert_true(program.len > 0);
	options.flags = ODF_SPAWN_NO_NEW_PRIVS;
	options.seccomp = &program;
	for (size_t i = 1; i < 3; i++) {
		int status;
		pid_t pid;
		options.allow = ODF_ALLOW(engines[i]);
		assert_errno(0, odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL));
		status = wait_for(pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	}
	odf_seccomp_program_free(&program);
	assert_null(program.filter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_set),
		cmocka_unit_test(test_others_cannot_be_closed),
		cmocka_unit_test(test_companion),
	};
	return cmocka_run_group_tests_name("filters", tests, NULL, NULL);
}
