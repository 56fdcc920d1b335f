/* SPDX-License-Identifier: MIT
 *
 * A keeper that does not run at the time when memory is mapped, or when a fork is made: that memory is ordinary memory,
 * which each fork copies. Once the keeper runs it makes up for that, whether or not the program forks again.
 */
#include <signal.h>

#include "../support/keeper_program.h"

#define LOW (96 * MIB) /* more than what the views reach beyond the lowest memory */

/* Of memory in regions; without userfaultfd nothing is taken in beside a program. */
static size_t inside(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	must(odf_heap_info_get(&info) == 0 && info.state == ODF_HEAP_AWAKE);
	return info.inside_bytes;
}

static void must_enter(size_t bytes)
{
	for (double end = now() + case_seconds(100); inside() < bytes; wait_ms(1))
		must(now() < end);
}

static char *map_low(char *place)
{
	char *low = mmap(place, LOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(low != MAP_FAILED && (place == NULL || low == place)); /* a free place */
	return low;
}

/* Memory lower than all that the library's views reach, mapped while the keeper is stopped. */
static char *map_beside_a_stopped_keeper(pid_t *keeper)
{
	char *low;

	if (geteuid() != 0)
		cannot_be_done_here("takes userfaultfd, which root has");
	must(odf_heap_enable(0) == 0);
	grow();
	fork_and_write(2);
	must_enter(SIZE);
	*keeper = keeper_of(getpid());
	must(*keeper > 0 && kill(*keeper, SIGSTOP) == 0);
	low = map_low(NULL);
	must(low < memory && inside() < LOW);
	return low;
}

/* The program replaces the memory, as an allocator does that uses its address space again. */
static void mapped_again(void)
{
	pid_t keeper;
	char *low = map_beside_a_stopped_keeper(&keeper);

	must(kill(keeper, SIGCONT) == 0);
	for (double end = now() + case_seconds(100); inside() < LOW; wait_ms(1)) {
		must(now() < end);
		must(munmap(low, LOW) == 0);
		low = map_low(low);
		memset(low, 3, LOW);
	}
	fork_and_write(3);
	must(low[0] == 3 && low[LOW - 1] == 3);
}

static void missed_by_a_fork(void)
{
	pid_t keeper;
	char *low = map_beside_a_stopped_keeper(&keeper);

	memset(low, 3, LOW);
	fork_and_write(3);
	must(inside() < LOW && kill(keeper, SIGCONT) == 0);
	must_enter(LOW);
	must(low[0] == 3 && low[LOW - 1] == 3);
	fork_and_write(4);
	must(low[0] == 3 && low[LOW - 1] == 3);
}

int main(int argc, char **argv)
{
	static const struct keeper_case cases[] = { CASE(mapped_again, "auto"), CASE(missed_by_a_fork, "auto") };

	return run_cases(argc, argv, cases, sizeof cases / sizeof *cases);
}
