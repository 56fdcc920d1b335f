/* SPDX-License-Identifier: MIT
 *
 * Spawns with the clone3 flags of Linux 7.1, on a kernel that this program emulates on the present one: a child whose
 * end sends SIGCHLD to a parent that ignores it is reaped by itself, no_new_privs is set before the child's first step,
 * and closing the descriptor kills the child. The kernel's conditions for the flags are kept. Also kernels that lack
 * the flags, or whose flags have no effect.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork.h"

#include "../../src/cli/spawn_ended.h"
#include "../../src/sys/clone.h"
#include "../support/own_process.h"
#include "../support/real_call.h"

long sys_call6(long number, long a, long b, long c, long d, long e, long f);
long __wrap_clone_child(const struct clone_request *request);
long __real_clone_child(const struct clone_request *request);
long __wrap_clone3_child(const struct clone_request *request);
long __real_clone3_child(const struct clone_request *request);

#define ALL_BORN (CLONE_AUTOREAP | CLONE_NNP | CLONE_PIDFD_AUTOKILL)
#define ODF_BORN (ODF_SPAWN_AUTOREAP | ODF_SPAWN_KILL_WITH_PIDFD | ODF_SPAWN_BORN_NO_NEW_PRIVS)

static int refusal;       /* errno for the flags; 0: the kernel supports them */
static bool has_no_effect;
static unsigned refused_probes; /* this many clones fail with a temporary error */
static unsigned asked, made_plainly;
static uint64_t asked_for;
static int exit_signal, killing = -1; /* the descriptor whose close ends a process */
static int (*first_step)(void *argument);
static void *first_argument;

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_close && (int)a == killing) {
		killing = -1;
		(void)real_call(SYS_pidfd_send_signal, a, SIGKILL, 0, 0, 0, 0);
	}
	return real_call(number, a, b, c, d, e, f);
}

static int born(void *unused)
{
	(void)unused;
	(void)real_call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
	return first_step(first_argument);
}

static bool may_administer(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct has[2] = { { 0 } };

	(void)real_call(SYS_capget, (long)&header, (long)has, 0, 0, 0, 0);
	return has[0].effective & 1u << CAP_SYS_ADMIN;
}

/* The kernel's conditions for the flags: 0, or minus an errno value. */
static int conditions(const struct clone_request *request)
{
	uint64_t flags = request->flags;

	if (refusal != 0)
		return -refusal;
	if (flags & (CLONE_PARENT | CLONE_THREAD))
		return -EINVAL;
	if ((flags & CLONE_AUTOREAP) && request->exit_signal != 0)
		return -EINVAL;
	if ((flags & CLONE_PIDFD_AUTOKILL) && (~flags & (CLONE_PIDFD | CLONE_AUTOREAP)))
		return -EINVAL;
	return (flags & CLONE_PIDFD_AUTOKILL) && !(flags & CLONE_NNP) && !may_administer() ? -EPERM : 0;
}

long __wrap_clone_child(const struct clone_request *request)
{
	made_plainly++;
	return __real_clone_child(request);
}

long __wrap_clone3_child(const struct clone_request *request)
{
	struct clone_request as_here = *request;
	long result;

	if (!(request->flags & ALL_BORN))
		return __real_clone3_child(request);
	if (refused_probes > 0) {
		refused_probes--;
		return -EAGAIN;
	}
	asked++;
	asked_for = request->flags & ALL_BORN;
	exit_signal = request->exit_signal;
	result = conditions(request);
	if (result != 0)
		return result;
	as_here.flags &= ~ALL_BORN;
	if ((request->flags & CLONE_AUTOREAP) && !has_no_effect)
		as_here.exit_signal = SIGCHLD;
	if ((request->flags & CLONE_NNP) && !has_no_effect) {
		first_step = as_here.function;
		first_argument = as_here.argument;
		as_here.function = born;
	}
	result = __real_clone3_child(&as_here);
	if (result > 0 && (request->flags & CLONE_PIDFD_AUTOKILL) && !has_no_effect)
		killing = *request->pidfd;
	return result;
}

static void (*tried)(int number);

static void try_it(int number)
{
	tried(number);
	must(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
}

/* And no child of the process is left. */
static void leaves_none(void (*run)(int number), int number)
{
	tried = run;
	in_a_process(try_it, number);
}

static void is_over(int pidfd)
{
	struct pollfd poll_for = { pidfd, POLLIN, 0 };

	must(poll(&poll_for, 1, 30000) == 1);
}

/* The real kernel reaps these by itself only for a parent that ignores SIGCHLD. */
static void made_up(void)
{
	must(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
}

/* ---- Combinations ------------------------------------------------------------------------------------------------ */

enum { BY_VFORK, BY_POOL, ON_ITS_WAY, BY_LIBC, BY_FORK, WAYS };

static odf_spawn_options options_of(int way, uint64_t flags, odf_pool *pool)
{
	static const odf_strategy strategies[WAYS] = { ODF_STRATEGY_VFORK, ODF_STRATEGY_POOL, ODF_STRATEGY_POOL,
						       ODF_STRATEGY_POSIX_SPAWN, ODF_STRATEGY_FORK };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	options.allow = ODF_ALLOW(strategies[way]);
	options.flags = flags | (way == ON_ITS_WAY ? ODF_SPAWN_NO_WAIT : 0);
	if (way == BY_POOL || way == ON_ITS_WAY)
		options.pool = pool;
	return options;
}

/* The expected result on a kernel with the flags: 0, or an errno value. */
static int expected(int way, uint64_t flags, bool pidfd)
{
	if ((flags & ODF_SPAWN_KILL_WITH_PIDFD) && (!pidfd || (flags & ODF_SPAWN_DETACH)))
		return EINVAL;
	return way == BY_LIBC || way == BY_FORK ? ENOTSUP : 0;
}

static void is_refused(const odf_report *report, int error, odf_strategy strategy, pid_t pid, int pidfd)
{
	must(report->error == error && report->step == ODF_STEP_REQUEST && report->index == -1);
	must(report->strategy == ODF_STRATEGY_NONE && pid == -7 && pidfd == -1);
	if (error == ENOTSUP)
		must(report->reason[strategy] == ODF_REASON_CLONE_FLAG ||
		     (strategy == ODF_STRATEGY_POSIX_SPAWN &&
		      report->reason[strategy] == ODF_REASON_LIBC_NO_OPTION));
}

/* The program's exit status tells whether it has no_new_privs. It runs until the test writes. */
static char *argv_of(int no_new_privs)
{
	static char script[128];

	snprintf(script, sizeof script, "grep -q 'NoNewPrivs:.*%d' /proc/$$/status && read x && echo $x", no_new_privs);
	return script;
}

static void runs(const odf_spawn_options *given, uint64_t flags, int way)
{
	odf_spawn_options options = *given;
	int pipes[3], word = 0, unused;
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, argv_of(!!(flags & ODF_SPAWN_BORN_NO_NEW_PRIVS)), NULL };
	odf_launch *launch = NULL;
	pid_t pid = -7;

	asked_for = 0;
	options.pipes = pipes;
	options.flags |= ODF_SPAWN_PIPE_STDIN | ODF_SPAWN_PIPE_STDOUT;
	if (way == ON_ITS_WAY)
		options.launch = &launch;
	must(odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL) == 0 && pid > 0);
	if (launch != NULL)
		must(odf_launch_wait(launch, -1, NULL) == 0);
	odf_launch_free(launch);
	must(!!(asked_for & CLONE_AUTOREAP) ==
	     !!(flags & (ODF_SPAWN_AUTOREAP | ODF_SPAWN_KILL_WITH_PIDFD)));
	must(!!(asked_for & CLONE_NNP) == !!(flags & ODF_SPAWN_BORN_NO_NEW_PRIVS));
	must(!!(asked_for & CLONE_PIDFD_AUTOKILL) == !!(flags & ODF_SPAWN_KILL_WITH_PIDFD));
	must(exit_signal == (asked_for & CLONE_AUTOREAP ? 0 : SIGCHLD));
	must(write(pipes[0], "y\n", 2) == 2 && read(pipes[1], &word, 2) == 2 && memcmp(&word, "y\n", 2) == 0);
	if (options.pidfd != NULL)
		is_over(*options.pidfd);
	close(pipes[0]);
	must(read(pipes[1], &unused, 1) == 0); /* it has ended */
	close(pipes[1]);
	must(made_plainly == 0);
}

/* All combinations: by each strategy, detached, with a descriptor. */
static void combine(int unused)
{
	odf_pool *pool = odf_pool_create(NULL);
	unsigned ran = 0;

	(void)unused;
	made_up();
	must(pool != NULL);
	for (int i = 1; i < 8 * 2 * 2 * WAYS; i++) {
		uint64_t flags = (i & 1 ? ODF_SPAWN_AUTOREAP : 0) | (i & 2 ? ODF_SPAWN_KILL_WITH_PIDFD : 0) |
				 (i & 4 ? ODF_SPAWN_BORN_NO_NEW_PRIVS : 0) | (i & 8 ? ODF_SPAWN_DETACH : 0);
		int way = i / 32, pidfd = -5, error;
		bool with_pidfd = i & 16;
		odf_spawn_options options = options_of(way, flags, pool);
		odf_report report = ODF_REPORT_INIT;
		pid_t pid = -7;
		if (!(flags & ODF_BORN))
			continue;
		options.pidfd = with_pidfd ? &pidfd : NULL;
		error = expected(way, flags, with_pidfd);
		if (error != 0) {
			unsigned before = asked;
			must(odf_spawn(&pid, "/bin/true", (char *[]){ (char[]){ "true" }, NULL }, NULL, &options,
				       &report) == error);
			is_refused(&report, error, way == BY_LIBC ? ODF_STRATEGY_POSIX_SPAWN
						 : way == BY_FORK ? ODF_STRATEGY_FORK
								  : ODF_STRATEGY_NONE,
				   pid, with_pidfd ? pidfd : -1);
			must(error != EINVAL || asked == before);
		} else if (!(flags & ODF_SPAWN_KILL_WITH_PIDFD) || (flags & ODF_SPAWN_BORN_NO_NEW_PRIVS) ||
			   may_administer()) { /* otherwise EPERM: see takes_a_right_or_no_new_privs */
			runs(&options, flags, way);
			ran++;
		}
		if (pidfd >= 0)
			(void)sys_call6(SYS_close, pidfd, 0, 0, 0, 0, 0);
	}
	must(ran > (may_administer() ? 30 : 20));
	must(odf_pool_destroy(pool) == 0);
}

static void in_each_combination(void **state)
{
	(void)state;
	leaves_none(combine, 0);
}

/* ---- The effects of the flags ------------------------------------------------------------------------------------ */

static void is_killed(int way)
{
	odf_pool *pool = odf_pool_create(NULL);
	char *argv[] = { (char[]){ "sleep" }, (char[]){ "40" }, NULL };
	int pidfd = -1, mine;
	odf_spawn_options options;

	made_up();
	options = options_of(way, ODF_SPAWN_KILL_WITH_PIDFD | ODF_SPAWN_BORN_NO_NEW_PRIVS, pool);
	options.pidfd = &pidfd;
	must(odf_spawn(NULL, "/bin/sleep", argv, NULL, &options, NULL) == 0 && pidfd >= 0 && killing == pidfd);
	mine = fcntl(pidfd, F_DUPFD_CLOEXEC, 0); /* only to observe the process by */
	(void)sys_call6(SYS_close, pidfd, 0, 0, 0, 0, 0);
	is_over(mine);
	close(mine);
	must(odf_pool_destroy(pool) == 0);
}

static void ends_with_its_descriptor(void **state)
{
	(void)state;
	for (int way = BY_VFORK; way <= ON_ITS_WAY; way++)
		leaves_none(is_killed, way);
}

/* The way in which `odfork spawn` gets the status. */
static void tells_how_it_ended(int unused)
{
	char *scripts[] = { (char[]){ "exit 7" }, (char[]){ "kill -9 $$" } };
	int pidfd = -1, number;
	odf_spawn_options options = options_of(BY_VFORK, ODF_SPAWN_KILL_WITH_PIDFD | ODF_SPAWN_BORN_NO_NEW_PRIVS, NULL);
	siginfo_t end, signal;
	sigset_t waited;

	(void)unused;
	made_up();
	sigemptyset(&waited);
	sigaddset(&waited, SIGUSR1);
	must(sigprocmask(SIG_BLOCK, &waited, NULL) == 0);
	options.pidfd = &pidfd;
	for (int i = 0; i < 2; i++) {
		char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, scripts[i], NULL };
		must(raise(SIGUSR1) == 0);
		must(odf_spawn(NULL, "/bin/sh", argv, NULL, &options, NULL) == 0);
		number = spawn_await(pidfd, &waited, &signal);
		must(number == SIGUSR1 && signal.si_signo == SIGUSR1);
		while (!spawn_ended(pidfd, &end))
			must(spawn_await(pidfd, &waited, &signal) == 0);
		if (end.si_code != 0) /* before Linux 6.15 it is not reported */
			must(end.si_code == (i == 0 ? CLD_EXITED : CLD_KILLED) && end.si_status == (i == 0 ? 7 : 9));
		(void)sys_call6(SYS_close, pidfd, 0, 0, 0, 0, 0);
	}
}

static void its_descriptor_tells(void **state)
{
	(void)state;
	leaves_none(tells_how_it_ended, 0);
}

/* Neither the process nor its descriptor is left. */
static void fails_at_exec(int way)
{
	odf_pool *pool = odf_pool_create(NULL);
	odf_report report = ODF_REPORT_INIT;
	struct surroundings before;
	odf_spawn_options options;
	int pidfd = -5;
	pid_t pid = -7;

	made_up();
	(void)odf_probe_get(ODF_PROBE_AUTOKILL, NULL);
	before = surroundings_take();
	options = options_of(way, ODF_BORN, pool);
	options.pidfd = &pidfd;
	must(odf_spawn(&pid, "/nonexistent/program", (char *[]){ (char[]){ "program" }, NULL }, NULL, &options,
		       &report) == ENOENT);
	must(report.step == ODF_STEP_EXEC && report.error == ENOENT && report.wait_status == 0);
	must(pid == -7 && pidfd == -1);
	surroundings_must_equal(&before);
	must(odf_pool_destroy(pool) == 0);
}

static void nothing_is_left_of_a_failure(void **state)
{
	(void)state;
	leaves_none(fails_at_exec, BY_VFORK);
	leaves_none(fails_at_exec, BY_POOL);
}

static void without_privilege(int unused)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	odf_report report = ODF_REPORT_INIT;
	odf_spawn_options options;
	int pidfd = -5;
	pid_t pid = -7;

	(void)unused;
	made_up();
	must(syscall(SYS_capset, &header, none) == 0);
	options = options_of(BY_VFORK, ODF_SPAWN_KILL_WITH_PIDFD, NULL);
	options.pidfd = &pidfd;
	options.allow = 0;
	must(odf_spawn(&pid, "/bin/true", (char *[]){ (char[]){ "true" }, NULL }, NULL, &options, &report) == EPERM);
	must(report.step == ODF_STEP_CLONE && report.strategy == ODF_STRATEGY_VFORK && pid == -7 && pidfd == -1);
	must(made_plainly == 0);
	options.flags |= ODF_SPAWN_BORN_NO_NEW_PRIVS;
	must(odf_spawn(&pid, "/bin/true", (char *[]){ (char[]){ "true" }, NULL }, NULL, &options, &report) == 0);
	is_over(pidfd);
	(void)sys_call6(SYS_close, pidfd, 0, 0, 0, 0, 0);
}

static void takes_a_right_or_no_new_privs(void **state)
{
	(void)state;
	leaves_none(without_privilege, 0);
}

/* ---- Probes ------------------------------------------------------------------------------------------------------ */

static const odf_probe probes[] = { ODF_PROBE_AUTOREAP, ODF_PROBE_CLONE_NNP, ODF_PROBE_AUTOKILL };

static void answers_yes(int unused)
{
	struct surroundings before;
	int error = -1;

	(void)unused;
	made_up();
	before = surroundings_take();
	for (size_t i = 0; i < 3; i++)
		must(odf_probe_get(probes[i], &error) == ODF_ANSWER_YES && error == 0);
	surroundings_must_equal(&before);
	must(killing == -1 && asked == 3);
}

/* The caller does not ignore SIGCHLD here, so it would notice the end of a probe's child. */
static void answers_no(int error_number)
{
	struct surroundings before = surroundings_take();
	odf_report report = ODF_REPORT_INIT;
	int error = -1;

	refusal = error_number;
	for (size_t i = 0; i < 3; i++)
		must(odf_probe_get(probes[i], &error) == ODF_ANSWER_NO && error == refusal);
	must(asked == 3);
	for (int way = 0; way < WAYS; way++) {
		odf_pool *pool = odf_pool_create(NULL);
		odf_spawn_options options = options_of(way, ODF_BORN, pool);
		int pidfd = -5;
		pid_t pid = -7;
		options.pidfd = &pidfd;
		options.allow = 0;
		must(odf_spawn(&pid, "/bin/true", (char *[]){ (char[]){ "true" }, NULL }, NULL, &options, &report) ==
		     ENOTSUP);
		for (odf_strategy strategy = ODF_STRATEGY_FORK; strategy <= ODF_STRATEGY_POOL; strategy++)
			is_refused(&report, ENOTSUP, strategy, pid, pidfd);
		must(odf_pool_destroy(pool) == 0);
	}
	must(asked == 3 && made_plainly == 0);
	surroundings_must_equal(&before);
}

/* That the kernel accepts a flag does not mean that it has an effect. */
static void lies(int unused)
{
	int error = -1;

	(void)unused;
	has_no_effect = true;
	must(odf_probe_get(ODF_PROBE_AUTOREAP, &error) == ODF_ANSWER_NO && error == EPROTO);
	must(odf_probe_get(ODF_PROBE_CLONE_NNP, &error) == ODF_ANSWER_NO && error == EPROTO);
	must(odf_probe_get(ODF_PROBE_AUTOKILL, &error) == ODF_ANSWER_NOT_ASKED);
}

/* Then the clone itself shows the refusal, and the spawn does not go on without the flag. */
static void cannot_be_asked(int unused)
{
	odf_spawn_options options = options_of(BY_VFORK, ODF_SPAWN_AUTOREAP, NULL);
	odf_report report = ODF_REPORT_INIT;
	pid_t pid = -7;

	(void)unused;
	refusal = EINVAL;
	refused_probes = 1;
	options.allow = 0;
	must(odf_spawn(&pid, "/bin/true", (char *[]){ (char[]){ "true" }, NULL }, NULL, &options, &report) == ENOTSUP);
	must(report.step == ODF_STEP_CLONE && report.error == ENOTSUP && pid == -7);
	must(report.reason[ODF_STRATEGY_VFORK] == ODF_REASON_CLONE_FLAG);
	must(report.reason[ODF_STRATEGY_FORK] == ODF_REASON_CLONE_FLAG);
	must(refused_probes == 0 && made_plainly == 0);
}

static void by_effect(void **state)
{
	static const int errors[] = { EINVAL, ENOSYS, EPERM, E2BIG };

	(void)state;
	leaves_none(answers_yes, 0);
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		leaves_none(answers_no, errors[i]);
	leaves_none(lies, 0);
	leaves_none(cannot_be_asked, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_effect),
		cmocka_unit_test(in_each_combination),
		cmocka_unit_test(ends_with_its_descriptor),
		cmocka_unit_test(its_descriptor_tells),
		cmocka_unit_test(nothing_is_left_of_a_failure),
		cmocka_unit_test(takes_a_right_or_no_new_privs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
