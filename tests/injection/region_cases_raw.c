/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: children that the library does not see.
 */
#include "region_cases.h"

void raw_clone_while_live(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	must(!raw_child_reads(0) && !raw_child_reads(pages - 1));
	fork_and_end(holds_all_1);
	fill(0, 10, 1);
	settle();
	must(!raw_child_reads(0) && !raw_child_reads(pages - 1));
	must(holds_all_1());
}

void raw_clone_amid_settle(void)
{
	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle_until(BETWEEN_STEPS, 2);
	must(!raw_child_reads(0) && !raw_child_reads(pages - 1));
	must(odf_region_discard(region, home + (pages - 30) * PAGE, 20 * PAGE) == 0);
	must(!raw_child_reads(pages - 20));
	must(settle_on() == 0);
	must(!raw_child_reads(0) && !raw_child_reads(pages - 20) && !raw_child_reads(pages - 1));
	must(holds(0, pages - 30, 1) && holds(pages - 30, pages - 10, 0) && holds(pages - 10, pages, 1));
}

void raw_clone_while_frozen(void)
{
	pid_t pid;

	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	pid = raw_clone();
	if (pid == 0) {
		must(is_child());
		must(holds_all_1());
		fill(0, pages, 9);
		must(odf_region_settle(region) == 0);
		must(odf_region_discard(region, home, 20 * PAGE) == 0 && holds(0, 20, 0));
		_exit(0);
	}
	must(status_of(pid) == 0);
	must(holds_all_1());
	settle();
	must(holds_all_1());
}

/* Is held in the middle of a discard, with the lock. */
static bool halts_in_discard(const struct call *call, long *result)
{
	(void)result;
	if (!ours || call->number != SYS_mmap || !(call->d & MAP_FIXED))
		return false;
	hook = NULL;
	sem_post(&halt.arrived);
	while (sem_wait(&halt.resume) != 0)
		;
	return false;
}

static void *discard_beside(void *unused)
{
	ours = true;
	must(odf_region_discard(region, home, 70 * PAGE) == 0); /* a shorter discard makes no mapping */
	return unused;
}

void raw_clone_while_the_lock_is_held(void)
{
	pthread_t thread;
	pid_t pid;

	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	sem_init(&halt.arrived, 0, 0);
	sem_init(&halt.resume, 0, 0);
	hook = halts_in_discard;
	must(pthread_create(&thread, NULL, discard_beside, NULL) == 0);
	while (sem_wait(&halt.arrived) != 0)
		;
	pid = raw_clone();
	if (pid == 0) {
		must(is_child());
		must(odf_region_discard(region, home + 90 * PAGE, 20 * PAGE) == 0);
		must(holds(90, 110, 0) && holds(110, pages, 1));
		_exit(0);
	}
	must(status_of(pid) == 0);
	sem_post(&halt.resume);
	pthread_join(thread, NULL);
	must(holds(0, 70, 0) && holds(70, pages, 1));
	settle();
	must(holds(0, 70, 0) && holds(70, pages, 1));
}

static bool showing_fails;

static bool fails_to_show(const struct call *call, long *result)
{
	if (!showing_fails || call->number != SYS_madvise || call->c != MADV_DOFORK)
		return false;
	*result = -ENOMEM;
	return true;
}

/* A fork that fails midway leaves a part FROZEN, which such a child inherits. It must not see there what follows. */
void raw_clone_after_a_failed_fork(void)
{
	int ends[2], status;
	char byte;
	pid_t pid;

	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle_until(BETWEEN_STEPS, 2);
	showing_fails = true;
	hook = fails_to_show;
	must(odf_fork() == -1 && errno == ENOMEM);
	hook = NULL;
	must(pipe2(ends, O_CLOEXEC) == 0);
	pid = raw_clone();
	if (pid == 0) {
		uint64_t first = *word(0); /* if the page is not mapped: as good */
		(void)!read(ends[0], &byte, 1);
		_exit(*word(0) == first ? 0 : 1);
	}
	fill(0, pages, 3);
	(void)settle_on();
	(void)odf_region_settle(region);
	must_be_given_up();
	(void)!write(ends[1], "", 1);
	status = status_of(pid);
	must(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
	must(holds(0, pages, 3));
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
}
