/* SPDX-License-Identifier: MIT
 *
 * Which threads may start the keeper. A child inherits the priority and the cgroups of the thread that makes it. Other
 * threads wait for the keeper's steps, so a limit of one thread must not hold for the keeper. The keeper takes the main
 * thread's priority, for which it needs a right if its own is lower. If it lacks that right, or is in other cgroups, it
 * refuses and ends. To move it to another cgroup would take a path below a mount that may be anywhere, and the right to
 * write there, and the administrator would find it moved.
 *
 * The main thread may always start it, and so may a thread that is not limited. A limited thread does not try again, as
 * each try costs a process.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "../sys/proc.h"
#include "../sys/text.h"
#include "keeper.h"

static atomic_bool refused; /* by a keeper */

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

	/* As a rule without a system call: it is not known yet whether there is a filter. */
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

/* The main thread has ended while others run: its link to the program file is gone. */
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

/* Threads of one process may be in different cgroups (version 1, or threaded ones of version 2). If that is not known,
 * for example without /proc, they count as equal, as they are as a rule. */
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
	/* The system call returns 20 minus the nice value. */
	if (sys_call2(SYS_getpriority, PRIO_PROCESS, 0) < sys_call2(SYS_getpriority, PRIO_PROCESS, program))
		return false;
	return (!is_idle(0) || is_idle(program)) && shares_cgroups(program);
}
