/* SPDX-License-Identifier: MIT
 *
 * Settles beside a sampler that stops the program a hundred times a second and reads all of its memory, in both ways
 * that exist. Each program is killed at some moment. Every second one cannot have steps that protect memory.
 * ODF_TEST_SECONDS: how long (15); longer if nothing was settled or fewer than two programs were killed by then.
 * keeper_amid.c tests the reads during a settle without chance.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "../support/keeper_steps.h"

#define SOAK_SIZE (8 * MIB)

static unsigned waited;
static atomic_uint *settled; /* for all programs: counts the rounds that saw all of it LIVE again; every fourth round
                                waits for that */

/* Written in order: each byte has the value of this pass or of the last one. */
static bool is_of_two_passes(const char *piece)
{
	for (size_t page = 0; page < MIB; page += 4096) {
		const char *bytes = piece + page;
		size_t same = memcmp(bytes, bytes + 1, 4095) == 0 ? 1 : 4096;
		for (size_t i = 0; i < same; i++)
			if (bytes[i] != piece[0] && bytes[i] != (char)(piece[0] - 1))
				return false;
	}
	return true;
}

/* Stops all threads, reads all memory, and lets the threads continue. */
static void sample(pid_t pid, const char *address, int mem, char *buffer)
{
	unsigned steps = 0;
	int status;

	must(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0);
	must(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
	for (size_t at = 0; at < SOAK_SIZE; at += MIB) {
		struct iovec local = { buffer, MIB }, remote = { (void *)(uintptr_t)(address + at), MIB };
		ssize_t got = mem >= 0 ? pread(mem, buffer, MIB, (off_t)(uintptr_t)(address + at))
				       : process_vm_readv(pid, &local, 1, &remote, 1, 0);
		/* If a step had taken pages out (odfork_keeper(7)) when the program was stopped, the read has to be
		 * repeated. No other step begins while the program is stopped. */
		steps += mem >= 0 && got != (ssize_t)MIB;
		must(steps <= 1);
		for (int tries = 0; mem >= 0 && got != (ssize_t)MIB && tries < 1000; tries++) {
			wait_ms(1);
			got = pread(mem, buffer, MIB, (off_t)(uintptr_t)(address + at));
		}
		must(got == (ssize_t)MIB);
		must(is_of_two_passes(buffer));
	}
	waited += steps;
	must(ptrace(PTRACE_DETACH, pid, 0, 0) == 0);
}

static __attribute__((noreturn)) void be_sampled(int out)
{
	must(heap_is_awake());
	map_memory(SOAK_SIZE);
	memset(memory, 1, SOAK_SIZE);
	must(write(out, &memory, sizeof memory) == sizeof memory);
	for (unsigned char i = 2;; i++) {
		pid_t pid = fork();
		must(pid >= 0);
		if (pid == 0)
			_exit(0);
		memset(memory, i, SOAK_SIZE);
		must(status_of(pid) == 0);
		wait_ms(8);
		must(heap_is_awake());
		if (i % 4 != 0)
			continue;
		wait_until_live(memory, SOAK_SIZE);
		atomic_fetch_add(settled, 1);
	}
}

/* A hundred times a second; and each program is killed at some moment. */
static void sampled_and_killed(void)
{
	unsigned seconds = getenv("ODF_TEST_SECONDS") != NULL ? (unsigned)number_of("ODF_TEST_SECONDS") : 15;
	double start = now(), end = start + seconds;
	char *buffer = malloc(MIB), path[64];
	unsigned samples = 0, kills = 0;

	must_settle_by_itself();
	settled = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(settled != MAP_FAILED && buffer != NULL && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	while (now() < end || kills < 2 || atomic_load(settled) == 0) {
		int from[2], mem, status;
		char *address;
		pid_t pid, keeper;
		double next = now(), until = next + 0.2 + (double)(rand() % 2000) / 1000;
		must(pipe2(from, O_CLOEXEC) == 0);
		pid = fork();
		if (pid == 0) {
			must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
			if (kills % 2 != 0)
				have_pages_taken_out();
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
			/* At least 5 ms, so that the program runs, too, on a busy machine. */
			double at = now();
			next = next + 0.01 > at + 0.005 ? next + 0.01 : at + 0.005;
			wait_ms((unsigned)((next - at) * 1000));
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
	fprintf(stderr, "%u samples, %u of which found a step under way, %u settles, %u kills in %.0f s\n", samples,
		waited, atomic_load(settled), kills, now() - start);
	must(samples > 0);
}

static const struct keeper_case cases[] = {
	CASE(sampled_and_killed, "on"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
