/* SPDX-License-Identifier: MIT
 *
 * A SCHED_IDLE thread may have to wait for a processor anywhere, as long as others want it. So on its way into a fork
 * and back it must hold nothing that other threads wait for. A tracer stops the forking thread at each of its system
 * calls, and has another thread map memory meanwhile. The thread is not really SCHED_IDLE, so that it runs at all on a
 * busy machine: the tracer gives that answer when the thread asks.
 */
#include <elf.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "../support/keeper_program.h"

#define FORKS       3
#define ANSWER_MS   30000 /* only a stopped thread holds another for so long */
#define FAR         ((char *)0x200000000000)
#define FAR_STEP    ((size_t)1 << 40) /* farther than one window reaches */
#define FARS_MOST   8

/* ---- The program ---- */

static int forker_says[2], is_traced[2];

static void *fork_some_times(void *unused)
{
	int thread = (int)syscall(SYS_gettid);
	char byte;

	must(write(forker_says[1], &thread, sizeof thread) == sizeof thread);
	must(read(is_traced[0], &byte, 1) == 1);
	for (;;) {
		pid_t pid = fork();
		must(pid >= 0);
		if (pid == 0)
			_exit(memory[SIZE - 1] == 1 ? 0 : 1);
		must(status_of(pid) == 0);
	}
	return unused;
}

static void map_at(char *hint)
{
	char *place = mmap(hint, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(place != MAP_FAILED);
	place[0] = 1;
	must(munmap(place, MIB) == 0);
}

/* Maps memory for each byte that it receives: 'n', anywhere; 'f', where the heap has no window yet. */
static __attribute__((noreturn)) void be_the_program(int commands, int answers)
{
	pthread_t forker;
	unsigned fars = 0;
	int thread;
	char byte;

	must(odf_heap_enable(0) == 0 && pipe2(forker_says, O_CLOEXEC) == 0);
	grow();
	must(pthread_create(&forker, NULL, fork_some_times, NULL) == 0);
	must(read(forker_says[0], &thread, sizeof thread) == sizeof thread);
	must(write(answers, &thread, sizeof thread) == sizeof thread);
	while (read(commands, &byte, 1) == 1) {
		map_at(byte == 'f' ? FAR + fars++ * FAR_STEP : NULL);
		must(write(answers, &byte, 1) == 1);
	}
	_exit(0);
}

/* ---- The tracer ---- */

static void must_map(int commands, int answers, char how)
{
	struct pollfd answered = { answers, POLLIN, 0 };
	char byte;

	must(write(commands, &how, 1) == 1);
	must(poll(&answered, 1, ANSWER_MS) == 1); /* otherwise it waits for the stopped thread */
	must(read(answers, &byte, 1) == 1 && byte == how);
}

static void say_that_it_is_idle(pid_t thread)
{
#if defined __x86_64__
	struct user_regs_struct registers;
	struct iovec all = { &registers, sizeof registers };

	must(ptrace(PTRACE_GETREGSET, thread, (void *)NT_PRSTATUS, &all) == 0);
	registers.rax = SCHED_IDLE;
	must(ptrace(PTRACE_SETREGSET, thread, (void *)NT_PRSTATUS, &all) == 0);
#else
	(void)thread;
#endif
}

static void trace(pid_t thread, int commands, int answers)
{
	unsigned forks = 0, asked = 0, fars = 0;
	uint64_t call = 0;
	int status;

	must(ptrace(PTRACE_SEIZE, thread, NULL, (void *)PTRACE_O_TRACESYSGOOD) == 0);
	must(ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) == 0 && write(is_traced[1], "x", 1) == 1);
	while (forks < FORKS) {
		struct __ptrace_syscall_info info = { .op = PTRACE_SYSCALL_INFO_NONE };
		must(waitpid(thread, &status, __WALL) == thread && WIFSTOPPED(status));
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			must(ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof info, &info) > 0);
			if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
				call = info.entry.nr;
			if (info.op == PTRACE_SYSCALL_INFO_EXIT && call == SYS_sched_getscheduler) {
				say_that_it_is_idle(thread);
				asked++;
			}
			forks += info.op == PTRACE_SYSCALL_INFO_EXIT && call == SYS_wait4;
			must_map(commands, answers, 'n');
			if (info.op == PTRACE_SYSCALL_INFO_ENTRY && call == SYS_futex && fars < FARS_MOST) {
				must_map(commands, answers, 'f');
				fars++;
			}
		}
		must(ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(WSTOPSIG(status) == SIGCHLD ? SIGCHLD : 0L)) == 0);
	}
	must(asked >= FORKS - 1 && fars > 0);
}

static void holds_nothing(void)
{
	int to[2], from[2], thread, status;
	pid_t pid;

#if !defined __x86_64__
	cannot_be_done_here("another answer is given on x86-64 only");
#endif
	must(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0 && pipe2(is_traced, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		close(to[1]);
		be_the_program(to[0], from[1]);
	}
	close(from[1]);
	must(read(from[0], &thread, sizeof thread) == sizeof thread);
	trace(thread, to[1], from[0]);
	kill(pid, SIGKILL);
	do /* the thread is the tracer's before it is the process's */
		must(waitpid(thread, &status, __WALL) == thread);
	while (WIFSTOPPED(status));
	must(WIFSIGNALED(status_of(pid)));
}

static const struct keeper_case cases[] = {
	CASE(holds_nothing, "on"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
