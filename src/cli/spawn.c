/* SPDX-License-Identifier: MIT
 *
 * odfork spawn: odf_spawn for shell scripts and experiments. Waits for the program, forwards signals to it, and exits
 * with its status.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../sys/error_name.h"
#include "../sys/syscall.h"
#include "cli.h"
#include "spawn_ended.h"
#include "spawn_options.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct child {
	pid_t pid;
	int fd; /* pidfd; -1: use the pid */
};

/* The option that failed, as the user gave it, if the step has several. */
static const char *culprit(const struct spawn_options *spawn, const odf_report *report)
{
	size_t index = (size_t)report->index;

	if (report->index < 0)
		return "";
	if ((report->step == ODF_STEP_FD || report->step == ODF_STEP_REQUEST) && index < spawn->options.fd_count)
		return spawn->fd_texts[index];
	if (report->step == ODF_STEP_NAMESPACE && index < spawn->options.namespace_count)
		return spawn->namespace_texts[index];
	return report->step == ODF_STEP_RLIMIT && index < spawn->options.rlimit_count ? spawn->rlimit_texts[index] : "";
}

static int fail(const char *command, const struct spawn_options *spawn, const odf_report *report)
{
	const char *what = culprit(spawn, report);

	fprintf(stderr, "odfork: spawn: %s: step %s", command, odf_step_name(report->step));
	if (*what != '\0')
		fprintf(stderr, " (%s)", what);
	if (report->error == ECHILD && WIFSIGNALED(report->wait_status))
		fprintf(stderr, ": the process was killed by signal %d (%s)\n", WTERMSIG(report->wait_status),
			strsignal(WTERMSIG(report->wait_status)));
	else
		fprintf(stderr, ": %s (%s)\n", strerror(report->error),
			error_name(report->error) == NULL ? "?" : error_name(report->error));
	if (report->step == ODF_STEP_EXEC && report->error != ECHILD)
		return report->error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
	return EXIT_OWN;
}

static void print_report(const odf_report *report)
{
	char text[2048];

	if (odf_report_format(report, text, sizeof text) >= 0)
		fputs(text, stderr);
}

/* The child has ended; *end says how. */
static bool has_ended(const struct child *child, siginfo_t *end)
{
	int result = -1;

	memset(end, 0, sizeof *end);
	errno = EINVAL;
	if (child->fd >= 0)
		result = waitid(P_PIDFD, (id_t)child->fd, end, WEXITED | WNOHANG);
	if (result != 0 && errno == EINVAL) /* or before Linux 5.4, which added P_PIDFD after pidfds */
		result = waitid(P_PID, (id_t)child->pid, end, WEXITED | WNOHANG);
	return result == 0 && end->si_pid != 0;
}

static void pass_on(const struct child *child, const siginfo_t *signal)
{
	/* The terminal sends a signal to its whole foreground group: this process's, which may be the program's too. */
	if (signal->si_code > 0 && getpgid(child->pid) == getpgrp())
		return;
	if (child->fd >= 0)
		(void)syscall(SYS_pidfd_send_signal, child->fd, signal->si_signo, NULL, 0); /* it may have ended */
	else
		(void)kill(child->pid, signal->si_signo);
}

/* Blocks the signals that are waited for; `before` is the mask for the program. */
static void block_signals(sigset_t *waited, sigset_t *before)
{
	static const int some[] = { SIGCHLD, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2 };

	sigemptyset(waited);
	for (size_t i = 0; i < sizeof some / sizeof *some; i++)
		sigaddset(waited, some[i]);
	sigprocmask(SIG_BLOCK, waited, before);
}

/* Takes the terminal back after the program. */
static void take_terminal(const struct spawn_options *spawn)
{
	sigset_t output;
	int terminal;

	if (!(spawn->options.flags & ODF_SPAWN_FOREGROUND) || (spawn->options.flags & ODF_SPAWN_SETSID))
		return;
	terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (terminal < 0)
		return;
	sigemptyset(&output);
	sigaddset(&output, SIGTTOU);
	sigprocmask(SIG_BLOCK, &output, NULL); /* this process exits soon */
	(void)tcsetpgrp(terminal, getpgrp());
	close(terminal);
}

/* Exits with the program's status, or by the signal that killed it. */
static int end_as(const siginfo_t *end)
{
	sigset_t all;

	if (end->si_code == CLD_EXITED)
		return end->si_status;
	fflush(NULL);
	(void)prctl(PR_SET_DUMPABLE, 0); /* the program's core dump is enough */
	(void)signal(end->si_status, SIG_DFL);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	(void)raise(end->si_status);
	return 128 + end->si_status;
}

static int wait_for(const struct spawn_options *spawn, const struct child *child, const sigset_t *waited)
{
	siginfo_t signal, end;

	while (!has_ended(child, &end))
		if (sigwaitinfo(waited, &signal) > 0 && signal.si_signo != SIGCHLD)
			pass_on(child, &signal);
	take_terminal(spawn);
	return end_as(&end);
}

/* The same for a program that cannot be waited for. */
static int wait_by_descriptor(const struct spawn_options *spawn, const struct child *child, const sigset_t *waited)
{
	siginfo_t signal, end;
	int number = 0;

	while (!spawn_ended(child->fd, &end) && number >= 0) {
		number = spawn_await(child->fd, waited, &signal);
		if (number > 0 && number != SIGCHLD)
			pass_on(child, &signal);
	}
	take_terminal(spawn);
	if (end.si_code != 0)
		return end_as(&end);
	fprintf(stderr, "odfork: spawn: how the program ended is not known\n");
	return EXIT_OWN;
}

static int spawn_and_wait(struct spawn_options *spawn, char **argv)
{
	odf_report report = ODF_REPORT_INIT;
	struct child child = { 0, -1 };
	sigset_t waited, before;
	int error, status;

	block_signals(&waited, &before);
	if (!(spawn->options.flags & ODF_SPAWN_SIGMASK)) {
		spawn->options.flags |= ODF_SPAWN_SIGMASK;
		spawn->options.sigmask = before;
	}
	if (spawn->pidfd || (spawn->options.flags & ODF_SPAWN_KILL_WITH_PIDFD))
		spawn->options.pidfd = &child.fd;
	error = odf_spawn(&child.pid, argv[0], argv, NULL, &spawn->options, &report);
	if (spawn->report)
		print_report(&report);
	if (error != 0)
		return fail(argv[0], spawn, &report);
	if (spawn->print_pid && (printf("%ld\n", (long)child.pid) < 0 || fflush(stdout) != 0))
		perror("odfork: spawn: standard output");
	if (spawn->options.flags & ODF_SPAWN_KILL_WITH_PIDFD)
		status = wait_by_descriptor(spawn, &child, &waited);
	else if (spawn->options.flags & (ODF_SPAWN_DETACH | ODF_SPAWN_AUTOREAP))
		status = EXIT_SUCCESS;
	else
		status = wait_for(spawn, &child, &waited);
	if (child.fd >= 0)
		close(child.fd);
	return status;
}

static int spawn_command(int argc, char **argv)
{
	struct spawn_options spawn;
	int status, command = spawn_options_read(argc, argv, &spawn, &status);

	if (command != 0)
		status = spawn_and_wait(&spawn, argv + command);
	spawn_options_free(&spawn);
	return status;
}

const struct command command_spawn = {
	.name = "spawn",
	.run = spawn_command,
	.usage =
		"  odfork spawn [OPTIONS] [--] COMMAND... start a program by odf_spawn(3), wait for it, "
		"and end as it ends\n"
		"      --dup=FD:SOURCE, --open=FD:MODE:PATH (MODE r, w, a, rw), --null=FD, --close=FD, --keep=FD, "
		"--close-others\n"
		"      --stderr-to-stdout, --env=NAME[=VALUE], --cwd=DIRECTORY, --cwd-fd=FD, --root=DIRECTORY, "
		"--umask=OCTAL\n"
		"      --setsid, --pgroup[=ID], --foreground, --tty-fd=FD, --detach, --autoreap\n"
		"      --sigmask=SIGNAL,...|none|all, --sigdefault=SIGNAL,..., --reset-signals, --parent-death=SIGNAL\n"
		"      --user=USER[:GROUP], --uid=USER, --gid=GROUP, --groups=GROUP,...|none, --keep-groups, "
		"--user-groups\n"
		"      --ambient=CAPABILITY,...|none, --no-new-privs, --born-no-new-privs, "
		"--seccomp=FILE, --namespace=FILE\n"
		"      --nice=N, --sched=POLICY[:PRIORITY], --ioprio=CLASS[:LEVEL], --affinity=LIST, "
		"--oom-score-adj=N\n"
		"      --rlimit=NAME=SOFT[:HARD], --cgroup=DIRECTORY, --forgive=STEP,..., --allow=STRATEGY,..., "
		"--busy-retry=MS\n"
		"      --exec-fd=FD, --no-path, --child-path, --pidfd, --kill-with-pidfd\n"
		"      --print-pid    of the program, on standard output\n"
		"      --report       how it was started, on standard error\n",
};
