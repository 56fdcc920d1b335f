/* SPDX-License-Identifier: MIT
 *
 * Where the keeper cannot settle beside a running program (no userfaultfd), a process of one thread settles on its way
 * to a fork: nothing runs beside it then, and it is held meanwhile. So it does that only
 *
 *   - once the forks of FROZEN memory have together cost as much more than the cheapest one as the cheapest settle
 *     takes. What a settle takes for each page it takes whenever it is done, so to wait for longer saves nothing, and
 *     forks copy more page tables meanwhile;
 *   - and where this fork is held for at most two fifths longer than a plain one would be. The keeper counts the pages
 *     that would have to be merged. Are they too many, it is done in slices, one a fork, if a slice settles more than
 *     is written between two forks. Else nothing is settled: forks copy the page tables of what was touched, as plain
 *     ones do, and the keeper gives back what the file holds under pages of the process's own (thin.c).
 *
 * What a plain fork would cost is not seen here. It is taken for what forks of FROZEN memory cost of late, or for the
 * cheapest one and PLAIN_PAGE_NS for each page that there is: fewer than were ever measured (bench/RESULTS.md).
 *
 * Times are of the processor: other work on the machine makes forks longer, and not dearer.
 *
 * Async-signal-safe. Of forks by several threads at once the numbers may be a little wrong, which costs time only.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>

#include "../sys/statm.h"
#include "internal.h"

#define PLAIN_PAGE_NS  25u
#define FIRST_COST_NS  1000000u /* of a settle, before one was measured */
#define FIRST_PAGE_NS  2000u
#define LEARNING_PAGES 64u /* of fewer the time for each says nothing */
#define FORK_FAULTS    64u /* about what a fork makes the parent write again by itself: stacks, libc's data */
#define HELD           3

static struct {
	atomic_ullong began_ns, fastest_ns, excess_ns;
	atomic_ullong cost_ns, page_ns; /* of the cheapest settle, and of a page in the last one */
	atomic_ullong held_ns[HELD], typical_ns, dear_ns; /* of the last forks, without what they settled */
	atomic_uint held;
	atomic_ullong faults; /* of the process, as the last fork came */
} at_fork = { .fastest_ns = ULLONG_MAX, .cost_ns = FIRST_COST_NS, .page_ns = FIRST_PAGE_NS };

static uint64_t middle(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t low = a < b ? a : b, high = a < b ? b : a;

	return c < low ? low : c > high ? high : c;
}

void region_at_fork_begin(void)
{
	if (region_keeper_settling() == ODF_REGION_SETTLES_AT_FORK)
		atomic_store(&at_fork.began_ns, region_cpu_clock());
}

void region_at_fork_end(void)
{
	uint64_t held_ns, typical, dear = atomic_load(&at_fork.dear_ns), now;

	if (region_keeper_settling() != ODF_REGION_SETTLES_AT_FORK)
		return;
	now = region_cpu_clock();
	held_ns = now > atomic_load(&at_fork.began_ns) ? now - atomic_load(&at_fork.began_ns) : 0;
	if (held_ns < atomic_load(&at_fork.fastest_ns))
		atomic_store(&at_fork.fastest_ns, held_ns);
	else
		atomic_fetch_add(&at_fork.excess_ns, held_ns - atomic_load(&at_fork.fastest_ns));
	/* One that was held up by something else does not make it dear. */
	atomic_store(&at_fork.held_ns[atomic_fetch_add(&at_fork.held, 1) % HELD], held_ns);
	typical = middle(atomic_load(&at_fork.held_ns[0]), atomic_load(&at_fork.held_ns[1]),
			 atomic_load(&at_fork.held_ns[2]));
	dear -= dear / 16;
	atomic_store(&at_fork.typical_ns, typical);
	atomic_store(&at_fork.dear_ns, typical > dear ? typical : dear);
}

static uint64_t page_faults(void)
{
	struct rusage usage = { 0 };

	(void)sys_call2(SYS_getrusage, RUSAGE_SELF, &usage);
	return (uint64_t)usage.ru_minflt;
}

/* The least that a plain fork would cost. */
static uint64_t least_ns(void)
{
	size_t there = statm_resident_bytes(), in_files = region_resident_bytes();

	/* A fork has been by then. */
	return atomic_load(&at_fork.fastest_ns) + (there > in_files ? there : in_files) / REGION_PAGE * PLAIN_PAGE_NS;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What is settled may hold a fork that would be plain for so long in all. */
static uint64_t longest(uint64_t plain_ns)
{
	return plain_ns + plain_ns * 2 / 5;
}

/* `fresh`: pages that may have been written since the last fork, which has copied the page tables of the others. */
static struct region_allowance allowance(uint64_t fresh)
{
	uint64_t page_ns = atomic_load(&at_fork.page_ns), least = least_ns(), held = atomic_load(&at_fork.typical_ns);
	/* What is left is copied by this fork, about as by the last ones. */
	uint64_t plain = larger(least, atomic_load(&at_fork.dear_ns)), slice = longest(larger(least, held)) - held;
	bool catches_up = fresh < FORK_FAULTS || (fresh - FORK_FAULTS) * page_ns < slice;

	return (struct region_allowance){
		.all_pages = plain / page_ns,
		.all_ns = longest(plain),
		.slice_ns = catches_up ? slice : 0,
	};
}

/* With all signals blocked: handlers are the one thing that could run beside it. */
static void settle(struct region_allowance *allowed)
{
	int error = region_order_settle(allowed);

	if (error == 0 && allowed->merged > 0 && allowed->took_ns < atomic_load(&at_fork.cost_ns))
		atomic_store(&at_fork.cost_ns, allowed->took_ns);
	if (allowed->merged >= LEARNING_PAGES)
		atomic_store(&at_fork.page_ns, allowed->took_ns / allowed->merged + 1);
}

static bool all_is_live(void)
{
	uint64_t mask;
	bool live = true;

	region_lock(&mask);
	for (const struct odf_region *region = region_list; region != NULL; region = region->next)
		live = live && (region->left || region->live_length == region->length);
	region_unlock(&mask);
	return live;
}

void region_at_fork_settle(void)
{
	uint64_t all = ~0ull, mask, faults, fresh;
	int saved = errno;
	bool alone;

	if (region_keeper_settling() != ODF_REGION_SETTLES_AT_FORK)
		return;
	faults = page_faults();
	fresh = faults - atomic_exchange(&at_fork.faults, faults);
	if (atomic_load(&at_fork.excess_ns) < atomic_load(&at_fork.cost_ns))
		return;
	alone = region_has_one_thread();
	if (alone && all_is_live()) /* not beside others, who would wait for this thread */
		return;
	if (alone) {
		struct region_allowance allowed = allowance(fresh);
		(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
		settle(&allowed);
		(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	}
	/* If it could not be done: not asked again before as much has come together. */
	atomic_store(&at_fork.excess_ns, 0);
	errno = saved;
}
