/* SPDX-License-Identifier: MIT
 *
 * Seccomp filters. What a filter permits is found out by a trial: a process made for it, which may be killed. It is a
 * copy of this one and no child that wait() sees; it goes through the life of a region, and ends. Before the program
 * enters a filter the trial enters it. If the trial does not come through, or cannot tell, the heap leaves before the
 * filter is in force. A filter that the program was started with is tried before the heap wakes, once it is known that
 * a process can be made: that may be the very thing that the filter kills for.
 *
 * All of it is in raw system calls, as the copy has libc's locks in the state in which they were.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../capability/sandbox.h"
#include "../sys/action.h"
#include "../sys/next_process.h"
#include "../sys/proc.h"
#include "../sys/readable.h"
#include "internal.h"

#ifndef SECCOMP_FILTER_FLAG_NEW_LISTENER
#define SECCOMP_FILTER_FLAG_NEW_LISTENER 0x08
#endif
#define FLAG_SPEC_ALLOW 0x04
/* A trial that hangs waits for a supervisor (SECCOMP_RET_USER_NOTIF) that does not answer. It is killed after this
 * time. */
#define TRIAL_SECONDS 3

/* How far a trial came; in memory that the trial shares with this process. */
enum stage { NOT_STARTED, NOT_ENTERED, WAITED, THROUGH };

struct filter {
	bool entered; /* by the program already, or by whoever started it */
	bool by_seccomp;
	unsigned long flags;
	const void *program;
};

static long enter(const struct filter *filter)
{
	if (filter->entered)
		return 0;
	if (filter->by_seccomp)
		return sys_call3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter->flags & FLAG_SPEC_ALLOW,
				 filter->program);
	return sys_call5(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter->program, 0, 0);
}

static void end(int status)
{
	for (;;)
		(void)sys_call1(SYS_exit_group, status);
}

static void be_killed_in_time(void)
{
	const struct kernel_action plain = { 0 };
	uint64_t alarm_only = 1ull << (SIGALRM - 1);

	(void)sys_call4(SYS_rt_sigaction, SIGALRM, &plain, NULL, sizeof plain.mask);
	(void)sys_sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
#ifdef SYS_alarm
	(void)sys_call1(SYS_alarm, TRIAL_SECONDS);
#else
	struct { long interval[2], value[2]; } time = { { 0, 0 }, { TRIAL_SECONDS, 0 } };
	(void)sys_call3(SYS_setitimer, 0 /* of real time */, &time, NULL);
#endif
}

static void live(const struct filter *filter, atomic_int *stage)
{
	/* The death of a trial leaves no trace: there is no core file, and with a limit of 1 the kernel does not start
	 * a program that collects dumps either. */
	const struct rlimit no_core = { 1, 1 };
	long pid;

	(void)sys_call4(SYS_prlimit64, 0, RLIMIT_CORE, &no_core, NULL);
	be_killed_in_time();
	if (enter(filter) < 0) {
		atomic_store(stage, NOT_ENTERED);
		end(0);
	}
	/* A trial is made and waited for under the filter too. */
	pid = sys_call5(SYS_clone, 0, 0, 0, 0, 0);
	if (pid == 0)
		end(0);
	if (pid < 0 || sys_call4(SYS_wait4, pid, NULL, __WALL, NULL) != pid)
		end(1);
	atomic_store(stage, WAITED);
	region_in_child();
	heap_rehearse();
	if (region_rehearse(!filter->entered) == 0)
		atomic_store(stage, THROUGH);
	end(0);
}

/* The caller has signals blocked, unless it does not matter to it that handlers run in the trial. The parent sleeps
 * until the trial has ended, however it ends. */
static enum stage try(const struct filter *filter)
{
	long page = sys_call6(SYS_mmap, 0, HEAP_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), pid;
	atomic_int *stage = (atomic_int *)page;
	enum stage result;

	if (page < 0 && page > -4096)
		return NOT_STARTED;
	/* A trial that is the first process of a pid namespace would end the namespace. Not asked under a filter, which
	 * may punish that too. */
	if (!filter->entered && (next_process() == NEXT_PROCESS_FIRST || next_process() == NEXT_PROCESS_UNKNOWN)) {
		(void)sys_call2(SYS_munmap, page, HEAP_PAGE);
		return NOT_STARTED;
	}
	pid = sys_call5(SYS_clone, CLONE_VFORK, 0, 0, 0, 0);
	if (pid == 0)
		live(filter, stage);
	result = (enum stage)atomic_load(stage);
	/* A filter may kill for waiting too: then the trial stays a zombie. */
	if (pid > 0 && (!filter->entered || result >= WAITED))
		while (sys_call4(SYS_wait4, pid, NULL, __WALL, NULL) == -EINTR)
			;
	(void)sys_call2(SYS_munmap, page, HEAP_PAGE);
	return result;
}

void heap_before_filter(enum heap_filter how, unsigned long flags, const void *program)
{
	/* The kernel first reads two words at `program`. If it cannot, it only tells whether it knows filters. */
	const struct filter filter = { false, how == HEAP_FILTER_SECCOMP, flags, program };
	bool known = how != HEAP_FILTER_STRICT && !(flags & SECCOMP_FILTER_FLAG_NEW_LISTENER);
	uint64_t all = ~0ull, mask;
	enum stage stage = NOT_STARTED;

	if (how != HEAP_FILTER_STRICT && !sys_is_readable(program, 2 * sizeof(void *)))
		return;
	region_forbid_zero_pages();
	heap_meet_child();
	if (heap_is_guest())
		return;
	if (region_bytes() == 0) {
		heap_stay_asleep(ODF_REASON_HEAP_SANDBOX);
		region_leave_signals(); /* it may unmap inherited memory in the sandbox */
		return;
	}
	if (known) {
		(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
		stage = try(&filter);
		(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	}
	if (stage == NOT_ENTERED)
		return; /* the program will not enter it either */
	heap_stay_asleep(ODF_REASON_HEAP_SANDBOX);
	if (stage == THROUGH)
		return;
	heap_leave(ODF_REASON_HEAP_SANDBOX);
	region_leave_all(ODF_REASON_HEAP_SANDBOX);
	region_leave_signals();
	region_part_with_keeper();
}

/* ---- Filters that were there first ---- */

static atomic_bool has_forked;
static atomic_uint passed; /* the number of filters that a trial passed, plus 1; 0: none yet */

void heap_note_fork(void)
{
	atomic_store_explicit(&has_forked, true, memory_order_relaxed);
}

/* The process has had children, perhaps before it executed this program: page faults of children for which it has
 * waited are counted. */
static bool has_had_children(void)
{
	char text[512] = "";
	const char *at;
	int fd = sys_open("/proc/self/stat", PROC_READ, 0);

	if (fd < 0)
		return false;
	if (sys_read(fd, text, sizeof text - 1) < 0)
		text[0] = '\0';
	sys_close(fd);
	at = strrchr(text, ')');
	for (int field = 2; at != NULL && field < 11; field++)
		at = strchr(at + 1, ' ');
	return at != NULL && at[1] != '0' && at[1] != '\0';
}

/* The parent has as many filters: it made this process under the same ones. */
static bool was_made_in_there(const struct sandbox *own)
{
	struct sandbox parent;

	return own->filters > 0 && own->parent > 1 && sandbox_read(own->parent, &parent) &&
	       parent.filters == own->filters;
}

int heap_filters_permit(void)
{
	const struct filter filter = { .entered = true };
	struct sandbox own;

	/* Without /proc no region can be settled either, so no more is done. */
	if (!sandbox_read(0, &own))
		return ENOTSUP;
	if (own.mode == 0 || (own.filters != 0 && atomic_load(&passed) == own.filters + 1))
		return 0;
	if (own.mode != SECCOMP_MODE_FILTER)
		return EACCES;
	if (!atomic_load_explicit(&has_forked, memory_order_relaxed) && !was_made_in_there(&own) && !has_had_children())
		return EAGAIN;
	if (try(&filter) != THROUGH)
		return EACCES;
	atomic_store(&passed, own.filters + 1);
	return 0;
}

bool heap_waits_for_a_fork(void)
{
	return !atomic_load_explicit(&has_forked, memory_order_relaxed);
}
