/* SPDX-License-Identifier: MIT
 *
 * Who may start the keeper. The kernel gives a child the priority and the cgroups of the thread that makes it. Other
 * threads wait for the keeper's steps, so that it must not have what one of them has been limited to: a keeper takes
 * the main thread's priority, for which it needs a right where its own is lower, and where it has none, or is in other
 * cgroups, it refuses, and ends. It could be moved to a cgroup only by a path below a mount that may be anywhere,
 * with a right to write there, and its administrator would find it moved.
 *
 * The main thread may always, and another one that is not limited. Who is is not tried again: a try takes a process.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "../sys/proc.h"
#include "../sys/text.h"
#include "keeper.h"

static atomic_bool refused; /* written by a keeper */

void starter_note_refusal(void)
{
	atomic_store(&refused, true);
}

bool region_keeper_was_refused(void)
{
	return atomic_load_explicit(&refused, memory_order_relaxed);
}

bool region_keeper_may_start(void)
{
	int program;

	/* As a rule without a call: filters may not have been asked yet. */
	if (!region_keeper_was_refused() || region_keeper_runs())
		return true;
	program = (int)sys_call0(SYS_getpid);
	return sys_call0(SYS_gettid) == program || starter_is_as_main(program);
}

/* ---- The calling thread, or process, and the program's main thread ---- */

static bool is_idle(int id)
{
	return (sys_call1(SYS_sched_getscheduler, id) & ~(long)SCHED_RESET_ON_FORK) == SCHED_IDLE;
}

/* The main thread has no program file any more: it has ended, and others go on. */
static bool has_ended(const char *exe)
{
	char name[2];

	return sys_call4(SYS_readlinkat, AT_FDCWD, exe, name, sizeof name) == -ENOENT;
}

static bool are_equal(int a, int b)
{
	char some[256], others[sizeof some];
	long got;

	for (long at = 0;; at += got) {
		got = sys_call4(SYS_pread64, a, some, sizeof some, at);
		if (got < 0 || sys_call4(SYS_pread64, b, others, sizeof others, at) != got)
			return false;
		if (got == 0)
			return true;
		if (memcmp(some, others, (size_t)got) != 0)
			return false;
	}
}

/* Threads of one process may be in different ones (of the first version; of the second, in threaded ones). Where that
 * cannot be told, as without /proc, they are taken for the same: that they are is the rule. */
static bool shares_cgroups(int program)
{
	char its[64], exe[64];
	struct text text = text_start(its, sizeof its), other = text_start(exe, sizeof exe);
	int own_file, its_file;
	bool shares;

	text_add(&text, "/proc/");
	text_add_unsigned(&text, (uint64_t)program);
	text_add(&text, "/cgroup");
	text_add(&other, "/proc/");
	text_add_unsigned(&other, (uint64_t)program);
	text_add(&other, "/exe");
	if (!program_proc_is_ours())
		return true;
	own_file = proc_open("/proc/thread-self/cgroup", O_RDONLY);
	its_file = proc_open(its, O_RDONLY);
	shares = own_file < 0 || its_file < 0 || are_equal(own_file, its_file) || has_ended(exe);
	if (own_file >= 0)
		sys_close(own_file);
	if (its_file >= 0)
		sys_close(its_file);
	return shares;
}

bool starter_is_as_main(int program)
{
	/* The kernel's numbers: the more, the less nice. */
	if (sys_call2(SYS_getpriority, PRIO_PROCESS, 0) < sys_call2(SYS_getpriority, PRIO_PROCESS, program))
		return false;
	return (!is_idle(0) || is_idle(program)) && shares_cgroups(program);
}
