/* SPDX-License-Identifier: MIT
 *
 * A program that makes reads of the processor's clock trap (PR_SET_TSC), as recorders do, and never reads it itself.
 * With its heap awake before that, it grows, forks and ends as without the library, and so do its children. If the
 * kernel's clock source is not the processor's clock, the library would not trap anyway, and the test shows nothing.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../support/keeper_program.h"

/* Nothing here may read the time. */
static void fork_and_look(char byte)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		char *more = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (more == MAP_FAILED)
			_exit(1);
		memset(more, 1, 4 * MIB);
		_exit(memory[0] != byte || memory[SIZE - 1] != byte || munmap(more, 4 * MIB) != 0);
	}
	fill((char)(byte + 1));
	must(status_of(pid) == 0);
}

static void let_it_trap(bool by_number)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	grow();
	fork_and_write(2);
	must(heap_is_awake());
	if ((by_number ? syscall(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) :
			 prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0)) != 0)
		cannot_be_done_here("no PR_SET_TSC");
	for (char byte = 2; byte < 6; byte++)
		fork_and_look(byte);
	must(prctl(PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0) == 0);
	must(odf_heap_info_get(&info) == 0 && info.state == ODF_HEAP_OFF && info.reason == ODF_REASON_HEAP_SANDBOX);
	for (size_t at = 0; at < SIZE; at += 512)
		must(memory[at] == 6);
}

static void a_clock_that_traps(void)
{
	let_it_trap(false);
}

static void the_same_by_number(void)
{
	let_it_trap(true);
}

static const struct keeper_case cases[] = {
	CASE(a_clock_that_traps, "on"),
	CASE(the_same_by_number, "on"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
