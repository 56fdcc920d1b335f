/* SPDX-License-Identifier: MIT
 *
 * A child says that it is about to end. When a process ends, the kernel first takes down its memory and only then the
 * mapping of the token: for a child that has read a gibibyte that takes 30 to 150 ms, in which a settle could be done.
 * Nobody reads that memory any more, so the child unmaps its tokens before it ends.
 *
 * Invariant 2 demands that really nobody does. The child's only thread is on its way to exit_group, with all signals
 * blocked. No other process shares its memory (vfork, CLONE_VM): the kernel says so (is_alone). Nothing is open by
 * which the kernel might still read it: the caller knows that. Its own children have their own token mappings. Only a
 * process that reads this memory from outside at that moment (a debugger that stops it in exit) may see what the parent
 * has written since.
 *
 * A word in a page that parent and children share counts such ends; the keeper sleeps on it. By another word the keeper
 * asks for the ends of small children too, if its settles were not done before the next fork: then it begins at once,
 * and not at its next look.
 */
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>

#include "internal.h"

/* Token pages of the regions that this process has inherited. One for which there is no room here stays mapped until
 * the process has ended. */
#define INHERITED_MOST 16
static char *inherited[INHERITED_MOST];
static size_t inherited_count;

/* The words of a shared page: the one that this process has made, and the one that it has inherited. NULL: there is
 * none. */
enum { ENDS, EVERY_END_IS_WANTED };
static atomic_uint *own, *parents;
static bool parents_is_that_of_the_maker; /* false: that of an earlier ancestor */

void region_ends_prepare(void)
{
	if (own == NULL)
		own = region_map(NULL, REGION_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void region_ends_inherit(const struct odf_region *list)
{
	for (; list != NULL; list = list->next)
		if (!list->absent && inherited_count < INHERITED_MOST)
			inherited[inherited_count++] = region_token_page(list, list->token);
	parents_is_that_of_the_maker = own != NULL;
	if (own != NULL)
		parents = own;
	own = NULL;
}

void region_ends_forget(const struct odf_region *region)
{
	for (size_t i = 0; i < inherited_count; i++)
		if (inherited[i] == region_token_page(region, region->token))
			inherited[i--] = inherited[--inherited_count];
}

unsigned region_ends_seen(void)
{
	return own == NULL ? 0 : atomic_load(&own[ENDS]);
}

atomic_uint *region_ends_word(void)
{
	return own; /* ENDS is the first word */
}

void region_ends_want(bool every)
{
	if (own != NULL && atomic_load_explicit(&own[EVERY_END_IS_WANTED], memory_order_relaxed) != every)
		atomic_store(&own[EVERY_END_IS_WANTED], every);
}

bool region_ends_are_wanted(void)
{
	return own != NULL && atomic_load_explicit(&own[EVERY_END_IS_WANTED], memory_order_relaxed);
}

/* The kernel takes down a child with fewer page faults quickly: it should rather end at once. */
#define FAULTS_LEAST 512

static bool has_much(void)
{
	struct rusage usage;

	return sys_call2(SYS_getrusage, RUSAGE_SELF, &usage) == 0 && usage.ru_minflt >= FAULTS_LEAST;
}

/* Only for children of the keeper's program: any number of further descendants may end between two of its forks. */
static bool is_wanted(void)
{
	return parents != NULL && parents_is_that_of_the_maker &&
	       atomic_load_explicit(&parents[EVERY_END_IS_WANTED], memory_order_relaxed);
}

/* unshare(CLONE_VM) does nothing for a process that shares its memory with no other, and fails for any other
 * process. */
static bool is_alone(void)
{
	return sys_call1(SYS_unshare, CLONE_VM) == 0;
}

void region_ends_say(bool (*may_be_read)(bool is_brief))
{
	bool much;
	uint64_t all = ~0ull, mask;

	/* A filter could punish the calls below. */
	if (inherited_count == 0 || !region_is_unfiltered())
		return;
	much = has_much();
	if (!much && !is_wanted())
		return;
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	if (!is_alone() || may_be_read(!much)) {
		(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
		return;
	}
	for (size_t i = 0; i < inherited_count; i++)
		(void)region_unmap(inherited[i], REGION_PAGE);
	inherited_count = 0;
	if (parents == NULL)
		return;
	atomic_fetch_add(&parents[ENDS], 1);
	(void)sys_call3(SYS_futex, &parents[ENDS], FUTEX_WAKE, 1);
}
