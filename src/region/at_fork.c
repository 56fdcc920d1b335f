/* SPDX-License-Identifier: MIT
 *
 * If the keeper cannot settle beside a running program (no userfaultfd), a process of one thread settles on its way to
 * a fork: nothing runs beside it then, and the thread waits for the end. So it does that only if both hold:
 *
 *   - The forks since the last attempt have together cost as much more than the cheapest one as the cheapest settle.
 *     The cost of settling a page is the same at any time, so waiting longer saves nothing, and meanwhile forks copy
 *     more page tables.
 *   - This fork takes at most two fifths longer than a plain one would. The keeper counts the pages to merge. If they
 *     are too many, each fork settles a slice, provided that a slice settles more than is written between two forks.
 *     Otherwise nothing is settled: forks copy the page tables of memory that was touched, as plain ones do, and the
 *     keeper gives back the file's pages under pages of the process's own (thin.c).
 *
 * The cost of a plain fork cannot be measured here. It is taken for the recent cost of forks of FROZEN memory, or, if
 * that is more, for the cheapest one and PLAIN_PAGE_NS for each resident page: less than was ever measured
 * (bench/RESULTS.md).
 *
 * Times are CPU time: other work on the machine makes forks take longer, but does not make them dearer.
 *
 * Async-signal-safe. If several threads fork at once the numbers may be a little wrong, which costs only time.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>

#include "../sys/statm.h"
#include "internal.h"

#define PLAIN_PAGE_NS  25u
#define FIRST_COST_NS  1000000u /* of a settle, until one was measured */
#define FIRST_PAGE_NS  2000u
#define LEARNING_PAGES 64u /* the time per page of fewer says nothing */
#define FORK_FAULTS    64u /* about how many a fork itself causes in the parent: stacks, libc's data */
#define HELD           3

static struct {
	atomic_ullong began_ns, fastest_ns, excess_ns;
	atomic_ullong cost_ns, page_ns; /* of the cheapest settle, and of a page in the last one */
	atomic_ullong held_ns[HELD], typical_ns, dear_ns; /* of the last forks, without their settles */
	atomic_uint held;
	atomic_ullong faults; /* of the process, when the last fork began */
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
	/* The median: one fork that was delayed by something else does not count. */
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

	/* There has been a fork, so fastest_ns is set. */
	return atomic_load(&at_fork.fastest_ns) + (there > in_files ? there : in_files) / REGION_PAGE * PLAIN_PAGE_NS;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* How long a fork may take that settles, if a plain one takes `plain_ns`. */
static uint64_t longest(uint64_t plain_ns)
{
	return plain_ns + plain_ns * 2 / 5;
}

/* `fresh`: pages that may have been written since the last fork, which has copied the page tables of the others. */
static struct region_allowance allowance(uint64_t fresh)
{
	uint64_t page_ns = atomic_load(&at_fork.page_ns), least = least_ns(), held = atomic_load(&at_fork.typical_ns);
	/* After a slice this fork still copies the rest, which takes about as long as the last forks did. */
	uint64_t plain = larger(least, atomic_load(&at_fork.dear_ns)), slice = longest(larger(least, held)) - held;
	bool catches_up = fresh < FORK_FAULTS || (fresh - FORK_FAULTS) * page_ns < slice;

	return (struct region_allowance){
		.all_pages = plain / page_ns,
		.all_ns = longest(plain),
		.slice_ns = catches_up ? slice : 0,
	};
}

/* With all signals blocked: only signal handlers could run beside it. */
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
	if (alone && all_is_live()) /* not beside other threads, which would wait for the lock */
		return;
	if (alone) {
		struct region_allowance allowed = allowance(fresh);
		(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
		settle(&allowed);
		(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	}
	/* Also if nothing was settled: the next attempt comes after as much excess cost. */
	atomic_store(&at_fork.excess_ns, 0);
	errno = saved;
}
