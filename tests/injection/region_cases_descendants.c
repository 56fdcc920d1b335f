/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: descendants, and forks during a settle (invariants 1 to 4).
 */
#include "../../src/region/keeper.h"
#include "region_cases.h"

void settles(void)
{
	make(2 * TABLE + 5, ODF_REGION_MANUAL);
	for (int round = 0; round < 3; round++) {
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		fill(0, pages, 2);
		settle();
		must(holds(0, pages, 2));
	}
	must(info().settles == 3 && info().private_bytes == 0);
}

void descendant_keeps_its_snapshot(void)
{
	struct child child;

	make(TABLE + 5, ODF_REGION_MANUAL);
	for (int round = 0; round < 3; round++) {
		fill(0, pages, 1);
		child = child_with(holds_all_1);
		fill(0, pages, 2);
		must(odf_region_settle(region) == EBUSY);
		must(odf_region_settle(region) == EBUSY);
		end(child);
		settle();
		must(holds(0, pages, 2));
	}
}

/* The child is made after the test for descendants, in the same freeze. */
void younger_descendant(void)
{
	struct child older, younger;

	make(5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	older = child_with(holds_all_1);
	must(odf_region_settle(region) == EBUSY);
	younger = child_with(holds_all_1);
	end(older);
	fill(0, pages, 2);
	must(odf_region_settle(region) == EBUSY);
	end(younger);
	settle();
}

static bool holds_all_2(void)
{
	return holds(0, pages, 2);
}

static void ask_often(void)
{
	for (int i = 0; i < 20; i++) {
		must(odf_region_settle(region) == EBUSY);
		wait_ms(1);
	}
}

/* Descendants older than the writes may see the file's pages; younger ones cannot. */
void older_descendants_hold_the_file(void)
{
	struct child older, younger;

	region_older_always = true;
	make(2 * TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	older = child_with(holds_all_1);
	fill(0, pages, 2);
	ask_often();
	younger = child_with(holds_all_2);
	ask_often();
	must(info().resident_bytes == pages * PAGE);
	end(older);
	for (int tries = 0; info().resident_bytes > 0; tries++) {
		must(tries < 60000);
		must(odf_region_settle(region) == EBUSY);
		wait_ms(1);
	}
	must(holds(0, pages, 2));
	end(younger);
	settle();
	must(holds(0, pages, 2));
}

static atomic_ulong looks_for_data;

static bool counts_looks(const struct call *call, long *result)
{
	(void)result;
	if (call->number == SYS_lseek && call->c == SEEK_DATA)
		atomic_fetch_add(&looks_for_data, 1);
	return false;
}

/* If there is always a child, the end of one does not start another search for what was given back already. */
void given_back_once(void)
{
	enum { OWN = 200 };
	struct child older, younger;

	region_older_always = true;
	make(2 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	older = child_with(holds_all_1);
	for (size_t page = 0; page < 2 * OWN; page += 2)
		fill(page, page + 1, 2);
	for (int tries = 0; info().resident_bytes > (pages - OWN) * PAGE; tries++) {
		must(tries < 1000);
		ask_often();
		younger = child_with(is_child);
		end(older);
		older = younger;
	}
	hook = counts_looks;
	for (int round = 0; round < 3; round++) {
		ask_often();
		younger = child_with(is_child);
		end(older);
		older = younger;
	}
	fill(2 * OWN, 2 * OWN + 1, 2);
	for (int tries = 0; info().resident_bytes > (pages - OWN - 1) * PAGE; tries++) {
		must(tries < 1000);
		ask_often();
		younger = child_with(is_child);
		end(older);
		older = younger;
	}
	hook = NULL;
	must(atomic_load(&looks_for_data) < OWN);
	end(older);
	settle();
	for (size_t page = 0; page < pages; page++)
		must(holds(page, page + 1, page <= 2 * OWN && page % 2 == 0 ? 2 : 1));
}

static bool token_comes_back_not;

/* After a verdict that there are descendants the token cannot be mapped again: later children do not have it. */
static bool fails_to_map_shared_page(const struct call *call, long *result)
{
	if (!token_comes_back_not || call->number != SYS_mmap || call->b != (long)PAGE || !(call->d & MAP_SHARED))
		return false;
	*result = -ENOMEM;
	return true;
}

static bool fails_after_verdict(const struct call *call, long *result)
{
	if (call->number == SYS_fcntl && !ours) {
		*result = real_call(call->number, call->a, call->b, call->c, 0, 0, 0);
		token_comes_back_not = *result == -EBUSY;
		return true;
	}
	return fails_to_map_shared_page(call, result);
}

/* The region gives itself up, soon. */
void must_be_given_up(void)
{
	for (int tries = 0; info().state != ODF_REGION_GIVEN_UP; tries++) {
		must(tries < 60000);
		wait_ms(1);
	}
	must(info().settling == ODF_REGION_SETTLES_NEVER && odf_region_settle(region) == ENOTSUP);
}

void doubt_is_given_up(void)
{
	struct child older, younger;

	make(5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	older = child_with(holds_all_1);
	hook = fails_after_verdict;
	must(odf_region_settle(region) == EBUSY);
	hook = NULL;
	younger = child_with(holds_all_1); /* does not have the token */
	end(older);
	fill(0, pages, 2);
	must_be_given_up();
	end(younger);
	must(holds(0, pages, 2));
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
}

/* ---- Forks and settles together ---------------------------------------------------------------------------------- */

void fork_between_steps(void)
{
	struct child child;

	make(3 * TABLE, ODF_REGION_MANUAL);
	for (int after = 1; after < 3; after++) {
		fill(0, pages, 2);
		fork_and_end(is_child);
		fill(0, pages, 1);
		settle_until(BETWEEN_STEPS, after + 1);
		child = child_with(holds_all_1);
		fill(0, pages, 2);
		must(settle_on() == EAGAIN);
		must(odf_region_settle(region) == EBUSY);
		end(child);
		must(holds(0, pages, 2));
		settle();
		must(holds(0, pages, 2));
	}
}

/* If core dumps are enabled, a freeze writes to each mapping that it makes. The file ends long before the region does,
 * and the LIVE part may begin behind the file's last page: a fork then comes just when a settle is there. */
void dumps_end_with_the_capacity(void)
{
	struct rlimit limit;
	uint64_t mask;

	must(getrlimit(RLIMIT_CORE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max < PAGE ? limit.rlim_max : PAGE;
	if (limit.rlim_cur == 0)
		cannot_be_done_here("no dumps");
	must(setrlimit(RLIMIT_CORE, &limit) == 0);
	make(4 * TABLE, ODF_REGION_MANUAL);
	must(region->length > region->capacity);
	fill(0, pages, 1);
	region_lock(&mask);
	region->live_from = region->capacity;
	region_unlock(&mask);
	fork_and_end(holds_all_1);
	must(holds_all_1());
}

/* Forks come more often than a settle takes. Each settle continues where the last one stopped. */
void no_part_waits_for_ever(void)
{
	size_t left;

	need_userfaultfd(); /* otherwise there are no steps: the process is stopped */
	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	left = info().private_bytes;
	must(left == 3 * TABLE * PAGE);
	for (int step = 0; step < 6; step++) {
		settle_until(BETWEEN_STEPS, 2);
		fork_and_end(holds_all_1);
		must(settle_on() == EAGAIN);
		must(info().private_bytes < left && info().private_bytes > 0);
		left = info().private_bytes;
	}
}

/* A thread that touches a page of the present step waits for the whole step. So a step over private pages only is
 * smaller than a page table. */
void steps_are_small(void)
{
	size_t left;

	need_userfaultfd();
	make(2 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	left = info().private_bytes;
	settle_until(BETWEEN_STEPS, 2);
	fork_and_end(holds_all_1);
	must(settle_on() == EAGAIN);
	must(left - info().private_bytes <= TABLE * PAGE / 4);
	settle();
	must(holds(0, pages, 1));
}

static bool is_always_hurried(uint64_t rest_ns)
{
	(void)rest_ns;
	return true;
}

/* If a fork is about to come, a few pages in many page tables are one step: between two steps the program would write
 * again, and fork. A search by the keeper takes limited time, and does not always get that far. */
void little_is_one_step(void)
{
	enum { TABLES = 205, TRIES = 200 };
	uint64_t before = 0, after = 2;

	need_userfaultfd();
	if (odf_probe_get(ODF_PROBE_PAGEMAP_SCAN, NULL) != ODF_ANSWER_YES)
		cannot_be_done_here("no PAGEMAP_SCAN: to look takes too long");
	make(TABLES * TABLE, ODF_REGION_MANUAL);
	keeper_settler.is_hurried = is_always_hurried;
	for (int tries = 0; after - before != 1; tries++) {
		must(tries < TRIES);
		fork_and_end(is_child);
		for (size_t table = 0; table < TABLES; table++)
			fill(table * TABLE, table * TABLE + 1 + (table < 57), (uint64_t)tries + 1);
		before = info().steps;
		region->behind = REGION_BEHIND_MOST;
		settle();
		after = info().steps;
		for (size_t table = 0; table < TABLES; table++)
			must(holds(table * TABLE, table * TABLE + 1 + (table < 57), (uint64_t)tries + 1));
	}
	/* And many pages are more than one step. */
	fork_and_end(is_child);
	for (size_t table = 0; table < TABLES; table++)
		fill(table * TABLE, table * TABLE + 10, 1);
	before = info().steps;
	region->behind = REGION_BEHIND_MOST;
	settle();
	must(info().steps - before > 2);
}

static atomic_bool forked;

static void *resume_later(void *unused)
{
	ours = true;
	wait_ms(50);
	must(!atomic_load(&forked));
	halt.place = NOWHERE;
	sem_post(&halt.resume);
	return unused;
}

void fork_waits_for_the_step(void)
{
	struct child child;
	pthread_t thread;

	need_userfaultfd();
	make(2 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle_until(IN_A_STEP, 1);
	must(pthread_create(&thread, NULL, resume_later, NULL) == 0);
	child = child_with(holds_all_1);
	atomic_store(&forked, true);
	must(child.pid > 0);
	pthread_join(thread, NULL);
	(void)settle_on();
	fill(0, pages, 2);
	end(child);
	settle();
	must(holds(0, pages, 2));
}

/* Not bracketed by this program: the atfork handlers do it. */
void forks_of_libc(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	for (int round = 0; round < 2; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			must(is_child());
			must(holds_all_1());
			fill(0, pages, 7);
			_exit(0);
		}
		must(status_of(pid) == 0);
		must(holds_all_1());
		settle();
	}
}

/* The lock is not held between the freeze and the copy. */
static int settled_amid_fork;

static void *settle_amid_fork(void *unused)
{
	ours = true;
	settled_amid_fork = odf_region_settle(region);
	return unused;
}

static void before_the_copy(void)
{
	pthread_t thread;

	if (region == NULL || settled_amid_fork != -1)
		return;
	must(pthread_create(&thread, NULL, settle_amid_fork, NULL) == 0);
	pthread_join(thread, NULL);
}

void no_settling_amid_a_fork(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	must(pthread_atfork(before_the_copy, NULL, NULL) == 0);
	settled_amid_fork = -1;
	fork_and_end(holds_all_1);
	must(settled_amid_fork == EAGAIN);
	settle();
}

/* A signal arrives while the lock is held, and its handler forks. */
static void fork_in_handler(int unused)
{
	pid_t pid = odf_fork();

	(void)unused;
	if (pid == 0)
		_exit(holds(1, pages, 1) ? 0 : 1);
	must(status_of(pid) == 0);
}

static bool raises(const struct call *call, long *result)
{
	(void)result;
	if (ours && call->number == SYS_madvise && call->c == MADV_REMOVE) {
		hook = NULL;
		raise(SIGUSR1);
	}
	return false;
}

void handler_forks_while_the_lock_is_held(void)
{
	make(20, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	signal(SIGUSR1, fork_in_handler);
	hook = raises;
	must(odf_region_discard(region, home, PAGE) == 0);
	must(hook == NULL);
	must(holds(0, 1, 0) && holds(1, pages, 1));
}

/* ---- The contents in children ------------------------------------------------------------------------------------ */

static bool lives_on_its_own(void)
{
	odf_region *inherited = region;

	must(is_child() && holds_all_1());
	must(odf_region_settle(region) == 0 && is_child());
	must(odf_region_discard(region, home + PAGE, 10 * PAGE) == 0 &&
	     odf_region_discard(region, home + 20 * PAGE, PAGE) == 0);
	must(holds(1, 11, 0) && holds(20, 21, 0) && holds(11, 20, 1) && holds(0, 1, 1));
	fill(0, 30, 3);
	must(holds(0, 30, 3) && holds(30, pages, 1));
	make(TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	must(odf_region_destroy(inherited) == 0);
	must(odf_region_settle(region) == 0);
	fork_and_end(holds_all_1);
	settle();
	must(odf_region_destroy(region) == 0);
	_exit(0);
}

void child_is_a_program_too(void)
{
	make(TABLE + 40, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(lives_on_its_own);
	must(holds_all_1());
	settle();
	must(holds_all_1());
}
