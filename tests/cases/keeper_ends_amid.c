/* SPDX-License-Identifier: MIT
 *
 * Ends of the keeper that would otherwise happen only by chance: the program is killed during a step of each kind. And
 * execs that keeper_ends.c does not have: by a thread other than the main one, and by descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "../../src/sys/userfault.h" /* missing in older headers */
#include "../support/keeper_steps.h"

/* ---- Killed in a step -------------------------------------------------------------------------------------------- */

/* Holds the keeper at the entry to a system call that ends a step: the step has protected pages, or has taken pages
 * out. */
static void hold_amid_step(pid_t keeper, bool protects)
{
	unsigned protections = 0, moves = 0;

	seize_and_hold(keeper);
	for (;;) {
		struct __ptrace_syscall_info info = { .op = PTRACE_SYSCALL_INFO_NONE };
		hold_at_next_call(keeper);
		must(ptrace(PTRACE_GET_SYSCALL_INFO, keeper, (void *)sizeof info, &info) > 0);
		if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
			continue;
		moves += info.entry.nr == SYS_mremap;
		if (info.entry.nr != SYS_ioctl)
			continue;
		protections += info.entry.args[1] == UFFDIO_WRITEPROTECT;
		/* The first protection only tests what the kernel shows of it. */
		if ((protects ? protections > 1 : moves > 0) &&
		    (info.entry.args[1] == UFFDIO_UNREGISTER || info.entry.args[1] == UFFDIO_WAKE))
			return;
		if (protects && protections == 0 && moves > 100)
			cannot_be_done_here("no step protects here");
	}
}

static void killed_amid_step(bool protects)
{
	int from[2];
	pid_t pid, keeper;
	char byte;

	if (!protects)
		have_pages_taken_out();
	must_settle_by_itself();
	must(pipe2(from, O_CLOEXEC) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && odf_heap_enable(0) == 0);
		grow();
		must(write(from[1], "x", 1) == 1);
		for (char i = 2;; i = (char)(i % 100 + 1)) {
			fork_and_write(i);
			wait_ms(20);
		}
	}
	must(read(from[0], &byte, 1) == 1);
	keeper = keeper_of(pid);
	must(keeper > 0);
	hold_amid_step(keeper, protects);
	kill(pid, SIGKILL);
	must(WIFSIGNALED(status_of(pid)));
	must(ptrace(PTRACE_DETACH, keeper, 0, 0) == 0);
	must_lose_its_memory(keeper);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	must(kill(keeper, 0) == -1 && errno == ESRCH);
}

static void killed_while_it_protects(void)
{
	killed_amid_step(true);
}

static void killed_while_pages_are_out(void)
{
	killed_amid_step(false);
}

/* ---- Replaced by exec -------------------------------------------------------------------------------------------- */

static char *const sleeper[] = { (char[]){ "sleep" }, (char[]){ "100" }, NULL };

static void *execute(void *unused)
{
	execv("/bin/sleep", sleeper);
	return unused;
}

static void by_another_thread(void)
{
	pthread_t thread;

	must(pthread_create(&thread, NULL, execute, NULL) == 0);
	for (;;)
		pause();
}

static void by_fexecve(void)
{
	fexecve(open("/bin/sleep", O_RDONLY | O_CLOEXEC), sleeper, environ);
}

static void by_execveat(void)
{
	(void)syscall(SYS_execveat, open("/bin/sleep", O_RDONLY | O_CLOEXEC), "", sleeper, environ, AT_EMPTY_PATH);
}

static void ends_at(void (*exec)(void))
{
	int to[2], from[2];
	pid_t pid, keeper;
	char byte;

	must(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && odf_heap_enable(0) == 0);
		grow();
		fork_and_write(2);
		must(write(from[1], "x", 1) == 1 && read(to[0], &byte, 1) == 1);
		exec();
		_exit(1);
	}
	must(read(from[0], &byte, 1) == 1);
	keeper = keeper_of(pid);
	must(keeper > 0 && has_memory(keeper) && write(to[1], "x", 1) == 1);
	must_lose_its_memory(keeper);
	must(kill(pid, 0) == 0 && has_memory(pid));
	kill(pid, SIGKILL);
	must(WTERMSIG(status_of(pid)) == SIGKILL);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	must(kill(keeper, 0) == -1 && errno == ESRCH);
}

static void executed_by_another_thread(void)
{
	ends_at(by_another_thread);
}

static void executed_by_fexecve(void)
{
	ends_at(by_fexecve);
}

static void executed_by_execveat(void)
{
	ends_at(by_execveat);
}

static const struct keeper_case cases[] = {
	CASE(killed_while_it_protects, "auto"),	  CASE(killed_while_pages_are_out, "auto"),
	CASE(executed_by_another_thread, "auto"), CASE(executed_by_fexecve, "auto"),
	CASE(executed_by_execveat, "auto"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
