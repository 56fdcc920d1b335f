/* SPDX-License-Identifier: MIT
 *
 * What becomes of the keeper when the program ends, and of who looks at the program meanwhile. ODF_TEST_SECONDS: how long the last case goes on;
 * ODF_TEST_SAMPLES: how many samples it takes at least.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "keeper_program.h"

/* ---- Ends ------------------------------------------------------------------------------------------------------------------------------------ */

enum end { KILLED, KILLED_AS_ANOTHER, RETURNS, EXITS, EXECUTES, EXECUTES_RAW, LAST_THREAD, CREATOR_ENDED, ENDS };

static void *grow_in_thread(void *unused)
{
	must(odf_heap_enable(0) == 0);
	return unused;
}

static void *end_last(void *unused)
{
	wait_ms(50);
	return unused;
}

static void execute_raw(char *path, char **argv, char **envp)
{
#if defined __x86_64__
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "0"(SYS_execve), "D"(path), "S"(argv), "d"(envp) : "rcx", "r11", "memory");
#else
	execve(path, argv, envp);
#endif
}

/* Says that it is there by a byte to standard output, and ends at one from standard input. */
static __attribute__((noreturn)) void program(enum end end)
{
	char *sleeper[] = { (char[]){ "sleep" }, (char[]){ "100" }, NULL };
	pthread_t thread;
	char byte;

	if (end == CREATOR_ENDED) /* started with the heap off */
		must(pthread_create(&thread, NULL, grow_in_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
	grow();
	fork_and_write(2);
	if (end == KILLED_AS_ANOTHER)
		must(setgid(65534) == 0 && setuid(65534) == 0);
	must(write(1, "x", 1) == 1 && read(0, &byte, 1) == 1);
	if (end == RETURNS)
		exit(0);
	if (end == EXECUTES)
		execv("/bin/sleep", sleeper);
	if (end == EXECUTES_RAW)
		execute_raw((char[]){ "/bin/sleep" }, sleeper, environ);
	if (end == LAST_THREAD) {
		must(pthread_create(&thread, NULL, end_last, NULL) == 0 && pthread_detach(thread) == 0);
		pthread_exit(NULL);
	}
	_exit(0);
}

static void ends_with(enum end how)
{
	int to[2], from[2], status;
	pid_t pid, keeper;
	char number[8], byte;

	if (how == KILLED_AS_ANOTHER && geteuid() != 0)
		cannot_be_done_here("takes root to become another");
	if (how == CREATOR_ENDED && geteuid() != 0) /* a program of several threads has no heap then */
		cannot_be_done_here("takes userfaultfd, which root has");
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
	snprintf(number, sizeof number, "%d", (int)how);
	pid = fork();
	if (pid == 0) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		if (how == CREATOR_ENDED)
			setenv("ODFORK_HEAP", "auto", 1);
		execl("/proc/self/exe", "keeper_ends", "program", number, (char *)NULL);
		_exit(127);
	}
	close(from[1]);
	must(read(from[0], &byte, 1) == 1);
	keeper = keeper_of(pid);
	must(keeper > 0 && has_memory(keeper));
	if (how == KILLED || how == KILLED_AS_ANOTHER || how == CREATOR_ENDED)
		kill(pid, SIGKILL);
	else
		must(write(to[1], "x", 1) == 1);
	if (how == EXECUTES || how == EXECUTES_RAW) {
		must_lose_its_memory(keeper);
		kill(pid, SIGKILL);
		must(WIFSIGNALED(status_of(pid)));
	} else {
		status = status_of(pid);
		must(how == KILLED || how == KILLED_AS_ANOTHER || how == CREATOR_ENDED ? WIFSIGNALED(status) : status == 0);
		must_lose_its_memory(keeper);
	}
	/* Who adopts orphans waits for them; after an end that the library sees there is none. */
	if (how == RETURNS || how == EXITS)
		must(waitpid(-1, &status, __WALL) == -1 && errno == ECHILD);
	else
		while (waitpid(-1, &status, __WALL) > 0)
			;
	must(kill(keeper, 0) == -1 && errno == ESRCH);
}

#define ENDING(name, how) \
	static void name(void) { ends_with(how); }
ENDING(ends_when_killed, KILLED)
ENDING(ends_when_killed_as_another_user, KILLED_AS_ANOTHER)
ENDING(ends_at_exit, RETURNS)
ENDING(ends_at_bare_exit, EXITS)
ENDING(ends_at_exec, EXECUTES)
ENDING(ends_at_raw_exec, EXECUTES_RAW)
ENDING(ends_with_the_last_thread, LAST_THREAD)
ENDING(outlives_the_thread_that_made_it, CREATOR_ENDED)

/* ---- Samplers ---------------------------------------------------------------------------------------------------------------------------------- */

/* Stops all threads, reads all memory, and lets them go on. */
static void sample(pid_t pid, const char *address, int mem, char *buffer)
{
	int status;

	must(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0);
	must(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
	for (size_t at = 0; at < SIZE; at += MIB) {
		struct iovec local = { buffer, MIB }, remote = { (void *)(uintptr_t)(address + at), MIB };
		ssize_t got = mem >= 0 ? pread(mem, buffer, MIB, (off_t)(uintptr_t)(address + at)) : process_vm_readv(pid, &local, 1, &remote, 1, 0);
		/* By /proc/pid/mem the kernel does not wait for the one step that may have been under way when the program was stopped. */
		for (int tries = 0; mem >= 0 && got != (ssize_t)MIB && tries < 1000; tries++) {
			wait_ms(1);
			got = pread(mem, buffer, MIB, (off_t)(uintptr_t)(address + at));
		}
		must(got == (ssize_t)MIB);
		for (size_t page = 4096; page < MIB; page += 4096) /* written in order: a page is of this pass or of the last one */
			must(buffer[page] == buffer[0] || buffer[page] == (char)(buffer[0] - 1));
	}
	must(ptrace(PTRACE_DETACH, pid, 0, 0) == 0);
}

static __attribute__((noreturn)) void be_sampled(int out)
{
	grow();
	must(write(out, &memory, sizeof memory) == sizeof memory);
	for (unsigned char i = 2;; i++) {
		fork_and_write((char)i);
		wait_ms(3);
	}
}

/* A hundred times a second; and each program is killed at some moment. */
static void sampled_and_killed(void)
{
	const char *text = getenv("ODF_TEST_SECONDS"), *count = getenv("ODF_TEST_SAMPLES");
	double end = now() + (text != NULL ? atof(text) : count != NULL ? 0 : 4);
	unsigned least = count != NULL ? (unsigned)atoi(count) : 0;
	char *buffer = malloc(MIB), path[64];
	unsigned samples = 0, kills = 0;

	must(buffer != NULL && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	while (now() < end || samples < least) {
		int from[2], mem, status;
		char *address;
		pid_t pid, keeper;
		double until = now() + 0.2 + (double)(rand() % 1000) / 1000;
		must(pipe2(from, O_CLOEXEC) == 0);
		pid = fork();
		if (pid == 0) {
			must(odf_heap_enable(0) == 0);
			be_sampled(from[1]);
		}
		close(from[1]);
		must(read(from[0], &address, sizeof address) == sizeof address);
		close(from[0]);
		snprintf(path, sizeof path, "/proc/%d/mem", pid);
		mem = open(path, O_RDONLY | O_CLOEXEC);
		must(mem >= 0);
		while (now() < until) {
			sample(pid, address, samples % 2 ? mem : -1, buffer);
			samples++;
			wait_ms(10);
		}
		keeper = keeper_of(pid);
		must(keeper > 0);
		close(mem);
		kill(pid, SIGKILL);
		must(WIFSIGNALED(status_of(pid)));
		must_lose_its_memory(keeper);
		while (waitpid(-1, &status, 0) > 0)
			;
		kills++;
	}
	fprintf(stderr, "%u samples, %u kills\n", samples, kills);
}

/* ---- All of them ----------------------------------------------------------------------------------------------------------------------------- */

static const struct keeper_case cases[] = {
	CASE(ends_when_killed, "on"),
	CASE(ends_when_killed_as_another_user, "on"),
	CASE(ends_at_exit, "on"),
	CASE(ends_at_bare_exit, "on"),
	CASE(ends_at_exec, "on"),
	CASE(ends_at_raw_exec, "on"),
	CASE(ends_with_the_last_thread, "on"),
	CASE(outlives_the_thread_that_made_it, "on"),
	CASE(sampled_and_killed, "on"),
};

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "program") == 0)
		program((enum end)atoi(argv[2]));
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
