/* SPDX-License-Identifier: MIT
 *
 * Memory with a memory policy of its own (mbind) on a machine with several NUMA nodes. A tracer emulates this on a
 * machine with one node: it reports a second node where the library asks. There such memory stays out of the region;
 * with one node nothing changes.
 */
#include <linux/mempolicy.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "../support/keeper_program.h"

static bool is_in_region(const char *at, bool live)
{
	char line[512], rights[8];
	bool found = false;
	FILE *maps = fopen("/proc/self/maps", "re");

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long start, end;
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && (unsigned long)at >= start &&
		    (unsigned long)at < end)
			found = strstr(line, "odfork-region") != NULL && (!live || rights[3] == 's');
	}
	fclose(maps);
	return found;
}

static void must_be_live(const char *at)
{
	for (double end = now() + 120; !is_in_region(at, true); wait_ms(1))
		must(now() < end);
}

/* A policy that names no node, so that the machine needs only one. */
static void set_policy(char *at, size_t size)
{
	if (syscall(SYS_mbind, at, size, MPOL_PREFERRED, NULL, 0ul, 0u) != 0)
		cannot_be_done_here("no memory policies");
}

static int policy_of(char *at)
{
	int mode = -1;

	must(syscall(SYS_get_mempolicy, &mode, NULL, 0ul, at, (unsigned long)MPOL_F_ADDR) == 0);
	return mode;
}

/* In the region, beside memory that stays in it; and in memory that is still young. */
static void program(bool several)
{
	char *other, *young;
	bool named;

	if (geteuid() != 0)
		cannot_be_done_here("takes userfaultfd, which root has");
	grow();
	fork_and_write(2);
	must_be_live(memory);
	other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	young = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(other != MAP_FAILED && young != MAP_FAILED);
	memset(other, 5, SIZE);
	set_policy(memory, SIZE / 2);
	set_policy(young, SIZE / 2);
	memset(young, 6, SIZE);
	named = policy_of(memory) != MPOL_DEFAULT;
	for (char byte = 7; byte < 10; byte++) {
		fork_and_write(byte);
		memset(other, byte, SIZE);
		must_be_live(other);
		must_be_live(memory + SIZE - 4096);
		must(is_in_region(memory, true) == !several);
		must(!several || !is_in_region(young, true));
		must(!several || (policy_of(memory) != MPOL_DEFAULT) == named);
		for (size_t at = 0; at < SIZE; at += 512)
			must(memory[at] == byte && young[at] == 6);
	}
	_exit(0);
}

/* Answers the library's one query. */
static void say_that_there_are_two(pid_t pid, const struct __ptrace_syscall_info *call)
{
	void *nodes = (void *)(uintptr_t)call->entry.args[1];
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, nodes, NULL);
	must(errno == 0 && ptrace(PTRACE_POKEDATA, pid, nodes, (void *)(word | 3)) == 0);
}

static int trace(pid_t pid)
{
	struct __ptrace_syscall_info entered = { .op = PTRACE_SYSCALL_INFO_NONE }, info;
	int status, signal;

	must(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	must(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) == 0);
	for (signal = 0;; signal = WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status)) {
		must(ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)signal) == 0);
		must(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status))
			return status;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		must(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0);
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
			entered = info;
		else if (entered.entry.nr == SYS_get_mempolicy && entered.entry.args[4] == MPOL_F_MEMS_ALLOWED)
			say_that_there_are_two(pid, &entered);
	}
}

static void with_nodes(bool several)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0) {
		must(odf_heap_enable(0) == 0);
		must(!several || (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 && raise(SIGSTOP) == 0));
		program(several);
	}
	status = several ? trace(pid) : status_of(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cannot_be_done_here("as its process says");
	must(status == 0);
}

static void kept_out_with_several_nodes(void)
{
	with_nodes(true);
}

static void kept_in_with_one(void)
{
	if (access("/sys/devices/system/node/node1", F_OK) == 0)
		cannot_be_done_here("this machine has several nodes");
	with_nodes(false);
}

static const struct keeper_case cases[] = {
	CASE(kept_out_with_several_nodes, "auto"),
	CASE(kept_in_with_one, "auto"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
