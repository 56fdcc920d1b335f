/* SPDX-License-Identifier: MIT
 *
 * The keeper's end, by the program. It may be stopped or held by somebody (pidof finds two): whoever waits for it in
 * vain has it continue, and the end of a process does not wait for long. Async-signal-safe.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "keeper.h"

/* How long the end of a process waits for that of its keeper, in parts of a tenth of a second. */
#define WAITS_AT_THE_END 10u

/* Of 50 us or more. Should another process have its number by then, that is not waited for longer. */
#define LOOKS_FOR_ABSENCE 2000u

/* Who goes by itself is no child any more a moment before it does not count. */
static void see_it_go(void)
{
	struct timespec moment = { 0, 50000 };

	for (unsigned looks = 0; looks < LOOKS_FOR_ABSENCE; looks++) {
		if (sys_call3(SYS_tgkill, keeper_process.id, keeper_process.id, 0) == -ESRCH)
			return;
		(void)sys_call2(SYS_nanosleep, &moment, NULL);
	}
}

static long wait_for_it(int options)
{
	options |= keeper_process.goes_by_itself ? __WALL : __WCLONE;
	return sys_call4(SYS_wait4, keeper_process.id, NULL, options, NULL);
}

void region_keeper_rouse(void)
{
	int id = atomic_load(&keeper.id);

	if (id != 0)
		(void)sys_call3(SYS_tgkill, id, id, SIGCONT);
}

/* The kernel clears the word when it needs this memory no more. False: it has not by then. */
static bool see_it_let_go(unsigned waits)
{
	int id;

	while ((id = atomic_load(&keeper.id)) != 0) {
		struct timespec moment = { 0, 100000000 };
		if (sys_call4(SYS_futex, &keeper.id, FUTEX_WAIT, id, &moment) != -ETIMEDOUT)
			continue;
		if (waits-- == 0)
			return false;
		region_keeper_rouse();
	}
	return true;
}

/* Waits for its end and takes it away. The number of one that had gone before it was told to, or that was taken away
 * already, may be that of another child by now. False: it is there still. */
static bool reap(bool had_gone, unsigned waits)
{
	long waited = had_gone ? keeper_process.id : -EINTR;

	if (!see_it_let_go(waits))
		return false;
	while (waited == -EINTR)
		waited = wait_for_it(0);
	if (keeper_process.goes_by_itself && waited < 0)
		see_it_go();
	(void)region_unmap(keeper_process.block, keeper_process.block_size);
	keeper_process.block = NULL;
	if (keeper_settler.desk != NULL)
		(void)region_unmap(keeper_settler.desk, KEEPER_DESK_SIZE);
	keeper_settler.desk = NULL;
	region_keeper_forget();
	return true;
}

void keeper_reap(void)
{
	(void)reap(false, UINT_MAX);
}

bool region_keeper_is_ours(void)
{
	return region_keeper_runs() && sys_call0(SYS_getpid) == keeper_process.program;
}

static bool tell_and_reap(unsigned waits)
{
	bool had_gone = keeper_process.goes_by_itself && region_keeper_died();
	long waited = had_gone ? keeper_process.id : wait_for_it(WNOHANG);

	/* Of another process: this one is a child that runs on its parent's memory, and may have the parent's number
	 * in a namespace of its own. */
	if (waited == -ECHILD && atomic_load(&keeper.id) != 0)
		return false;
	atomic_store(&keeper.leaves, true);
	region_keeper_call();
	return reap(waited == keeper_process.id, waits);
}

/* In a child there is nobody to stop, and the id is another's. */
static bool stop(unsigned waits)
{
	uint64_t all = ~0ull, mask;
	bool stopped;

	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	stopped = !region_keeper_runs() || tell_and_reap(waits);
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	return stopped;
}

void region_keeper_stop(void)
{
	keeper_lock_orders();
	(void)stop(UINT_MAX);
	keeper_unlock_orders();
}

/* The process ends: the keeper before it, so that who adopts orphans has none of ours to wait for. Not where the
 * process is a child that nobody has met yet, or one that runs on its parent's memory (vfork), whose thread may have
 * the lock. Nor is one waited for that somebody holds, with a debugger for one: it finds out by itself. And one that
 * was told, and waited for in vain, is not waited for again: an exit comes here by a destructor, and by _exit. */
void region_process_ends(void)
{
	int saved = errno;

	if (region_keeper_is_ours() && !atomic_load(&keeper.leaves) && keeper_lock_free_orders()) {
		(void)stop(WAITS_AT_THE_END);
		keeper_unlock_orders();
	}
	errno = saved;
}

__attribute__((destructor(101))) static void end_before_the_program(void)
{
	region_process_ends();
}

bool region_keeper_stop_now(void)
{
	bool stopped;

	if (!keeper_try_lock_orders())
		return false;
	stopped = stop(UINT_MAX);
	keeper_unlock_orders();
	return stopped;
}
