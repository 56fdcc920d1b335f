/* SPDX-License-Identifier: MIT
 *
 * A sampler stops the program in the middle of a settle, when part of its memory is LIVE again and part is not, and
 * reads all of it, in both ways that exist. It must get every byte. It waits at most for the present step, since no
 * step begins while the program is stopped. To leave nothing to chance, a tracer holds the keeper at its system calls,
 * within steps and between them, until the program is stopped. ODF_TEST_SAMPLES: how many such moments for each kind of
 * step (20).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "../support/keeper_steps.h"

#define AMID_SIZE (8 * MIB)
#define PIECE     ((size_t)64 << 10)
#define PIECES    (AMID_SIZE / PIECE)

static __attribute__((noreturn)) void settle_always(int out, int go)
{
	must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && odf_heap_enable(0) == 0);
	map_memory(AMID_SIZE);
	memset(memory, 1, AMID_SIZE);
	must(write(out, &memory, sizeof memory) == sizeof memory);
	for (unsigned char byte = 2;; byte++) {
		pid_t pid = fork();
		must(pid >= 0);
		if (pid == 0)
			_exit(read(go, &byte, 1) == 1 ? 0 : 1);
		memset(memory, byte, AMID_SIZE);
		must(write(out, &byte, 1) == 1);
		/* Once the child has ended the region is settled, and nothing is written. */
		must(status_of(pid) == 0);
		wait_until_live(memory, AMID_SIZE);
	}
}

static unsigned samples, waits;

static ssize_t read_piece(pid_t pid, const char *at, int mem, char *buffer)
{
	struct iovec local = { buffer, PIECE }, remote = { (void *)(uintptr_t)at, PIECE };

	return mem >= 0 ? pread(mem, buffer, PIECE, (off_t)(uintptr_t)at)
			: process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

/* The keeper is held. A read by /proc/pid/mem fails on pages that a step has taken out. */
static void sample(pid_t pid, pid_t keeper, const char *address, unsigned char byte, int mem)
{
	static char buffer[PIECE], wanted[PIECE];
	bool is_out[PIECES] = { false };
	unsigned out = 0, steps;

	memset(wanted, byte, sizeof wanted);
	seize_and_hold(pid);
	for (size_t i = 0; mem >= 0 && i < PIECES; i++) {
		is_out[i] = read_piece(pid, address + i * PIECE, mem, buffer) != (ssize_t)PIECE;
		must(is_out[i] || memcmp(buffer, wanted, PIECE) == 0);
		out += is_out[i];
	}
	must(ptrace(PTRACE_CONT, keeper, 0, 0) == 0);
	/* Only the present step's pages may be missing; it may have been about to take them out. */
	steps = out != 0;
	for (size_t i = 0; i < PIECES; i++) {
		bool is_first = true;
		for (; read_piece(pid, address + i * PIECE, mem, buffer) != (ssize_t)PIECE; is_first = false) {
			steps += is_first && !is_out[i];
			must(mem >= 0 && steps <= 1);
			wait_ms(1);
		}
		must(memcmp(buffer, wanted, PIECE) == 0);
	}
	hold(keeper);
	must(ptrace(PTRACE_DETACH, pid, 0, 0) == 0);
	samples++;
	waits += out != 0;
}

static void sample_amid_settles(bool protects)
{
	unsigned rounds = 0, calls = 0;
	int named = number_of("ODF_TEST_SAMPLES"), wanted = named > 0 ? named : 20, from[2], go[2], mem;
	char *address, path[64];
	unsigned char byte;
	pid_t pid, keeper;

	must(pipe2(from, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0)
		settle_always(from[1], go[0]);
	close(from[1]);
	must(read(from[0], &address, sizeof address) == sizeof address);
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	keeper = keeper_of(pid);
	must(mem >= 0 && keeper > 0);
	seize_and_hold(keeper);
	for (; samples < (unsigned)wanted || (!protects && waits == 0); rounds++) {
		size_t live, frozen, seen = 0;
		must(ptrace(PTRACE_CONT, keeper, 0, 0) == 0 && read(from[0], &byte, 1) == 1);
		hold(keeper);
		must(write(go[1], &byte, 1) == 1);
		/* Once in each step, after another number of system calls each time: between steps, or in the next
		 * one. */
		while (count_views(pid, address, AMID_SIZE, &live, &frozen), frozen != 0) {
			if (live > seen) {
				seen = live;
				calls = 1 + samples * 7 % 53;
			}
			if (calls != 0 && --calls == 0)
				sample(pid, keeper, address, byte, samples % 2 ? -1 : mem);
			hold_at_next_call(keeper);
		}
	}
	kill(pid, SIGKILL);
	must(WIFSIGNALED(status_of(pid)));
	must(ptrace(PTRACE_DETACH, keeper, 0, 0) == 0);
	fprintf(stderr, "%u settles, %u samples amid, %u of which met pages that were out\n", rounds, samples, waits);
}

static void beside_steps_that_protect(void)
{
	must_settle_by_itself();
	sample_amid_settles(true);
}

static void beside_steps_that_take_out(void)
{
	have_pages_taken_out();
	must_settle_by_itself();
	sample_amid_settles(false);
}

static const struct keeper_case cases[] = {
	CASE(beside_steps_that_protect, "auto"),
	CASE(beside_steps_that_take_out, "auto"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
