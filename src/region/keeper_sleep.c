/* SPDX-License-Identifier: MIT
 * How the keeper sleeps, and what ends its sleep (keeper.h): notices, the end of the program's main thread, children
 * that say that they end. */
#include <errno.h>
#include <linux/futex.h>
#include <time.h>

#include "keeper.h"

/* Time between looks at the program, if nothing else tells that it has ended. */
#define LOOK_FOR_END_NS   1000000000u
#define LONGEST_SLEEP_NS  5000000000u
/* Shorter sleeps end soon enough by themselves and wait for notices only, unless the end of each child is wanted. */
#define SHORT_SLEEP_NS    1000000u
/* The kernel clears the main thread's word a moment before an exec replaces the memory. For the first time after that
 * the keeper looks so often. */
#define LOOK_FOR_EXEC_NS  50000000u
#define LOOKS_FOR_EXEC_NS 100000u

/* The keeper's; region_keeper_forget ends the watch. */
static struct {
	atomic_int *main_word;
	int main_id;
	unsigned ends; /* how many children had said so when the notices were counted */
	uint64_t cleared_ns; /* when the keeper saw that word cleared; 0: it is not */
	bool cannot_wait_for_all;
} awaited;

void keeper_forget_main(void)
{
	awaited.main_word = NULL;
	awaited.cleared_ns = 0;
}

void keeper_watch(atomic_int *main_word, int main_id)
{
	awaited.main_word = main_word;
	awaited.main_id = main_id;
}

static bool main_thread_is_there(void)
{
	return awaited.main_word != NULL && atomic_load(awaited.main_word) == awaited.main_id;
}

#define NUMBER_FUTEX_WAITV 449 /* on every architecture, Linux 5.16 */
struct waiter {
	uint64_t value, address;
	uint32_t flags, reserved;
};
_Static_assert(sizeof(struct waiter) == 24, "a list of the kernel's");
#define WAITER_32_BITS 2u
#define WAITER_PRIVATE 128u

/* Also waits on the main thread's word, and on the word that counts children that say that they end. The kernel wakes
 * one waiter of the main thread's word. A thread of the program that joins it may wait there too: the wake-up is passed
 * on. */
static bool wait_for_all(unsigned notices, uint64_t nanoseconds)
{
	struct waiter waiters[3] = {
		{ notices, (uintptr_t)&keeper.notices, WAITER_32_BITS | WAITER_PRIVATE, 0 },
		{ (uint32_t)awaited.main_id, (uintptr_t)awaited.main_word, WAITER_32_BITS, 0 },
		{ awaited.ends, (uintptr_t)region_ends_word(), WAITER_32_BITS, 0 },
	};
	uint64_t until = region_clock() + nanoseconds;
	struct timespec time = { .tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u) };
	long result;

	if (awaited.cannot_wait_for_all || !main_thread_is_there())
		return false;
	result = sys_call5(NUMBER_FUTEX_WAITV, waiters, region_ends_word() != NULL ? 3 : 2, 0, &time, CLOCK_MONOTONIC);
	if (result == 1)
		(void)sys_call3(SYS_futex, awaited.main_word, FUTEX_WAKE, INT32_MAX);
	else if (result == -ENOSYS || result == -EPERM || result == -EINVAL || result == -EFAULT)
		awaited.cannot_wait_for_all = true;
	return !awaited.cannot_wait_for_all;
}

/* The longest sleep if nothing wakes the keeper at the program's end. */
static uint64_t until_a_look(void)
{
	if (awaited.main_word == NULL || main_thread_is_there())
		return LOOK_FOR_END_NS;
	if (awaited.cleared_ns == 0)
		awaited.cleared_ns = region_clock();
	return region_clock() - awaited.cleared_ns < LOOK_FOR_EXEC_NS ? LOOKS_FOR_EXEC_NS : LOOK_FOR_END_NS;
}

void keeper_sleep(unsigned notices, uint64_t nanoseconds)
{
	struct timespec time = { .tv_sec = 0 };
	uint64_t most;

	if (nanoseconds > LONGEST_SLEEP_NS)
		nanoseconds = LONGEST_SLEEP_NS;
	if ((nanoseconds > SHORT_SLEEP_NS || region_ends_are_wanted()) && wait_for_all(notices, nanoseconds))
		return;
	most = until_a_look();
	if (nanoseconds > most)
		nanoseconds = most;
	time.tv_sec = (time_t)(nanoseconds / 1000000000u);
	time.tv_nsec = (long)(nanoseconds % 1000000000u);
	(void)sys_call4(SYS_futex, &keeper.notices, FUTEX_WAIT_PRIVATE, notices, &time);
}

unsigned keeper_count_notices(void)
{
	awaited.ends = region_ends_seen();
	return atomic_load(&keeper.notices);
}
