/* SPDX-License-Identifier: MIT */
#include "block.h"
#include "flight.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../sys/process_lock.h"
#include "../sys/syscall.h"
#include "engine.h"

enum { TICK_MS = 20, SLOTS = 32, LOOKED_AT = 4 };

/* Some plans. A thread takes a plan out of its slot before it uses it: no lock, which would cost system calls. */
static _Atomic(struct plan *) slots[SLOTS];

/* The plans for which there was no slot. */
static struct {
	struct process_lock lock;
	struct plan *_Atomic first, *last; /* changed under the lock */
} others;

bool flight_has_landed(const struct plan *plan)
{
	return __atomic_load_n(&plan->alive, __ATOMIC_ACQUIRE) == 0;
}

static bool is_over(const struct plan *plan, pid_t pid)
{
	enum life life;

	if (plan->child.flags & ODF_SPAWN_DETACH) /* not our child */
		return sys_call2(SYS_kill, pid, 0) == -ESRCH;
	life = engine_life(pid);

	return life == LIFE_DEAD || life == LIFE_GONE;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool flight_await(struct plan *plan, pid_t pid, int timeout_ms)
{
	uint64_t deadline = timeout_ms < 0 ? ~0ull : now_ms() + (uint64_t)timeout_ms;
	int alive;

	while ((alive = __atomic_load_n(&plan->alive, __ATOMIC_ACQUIRE)) != 0) {
		uint64_t now = timeout_ms < 0 ? 0 : now_ms();
		uint64_t wait = deadline - now < TICK_MS ? deadline - now : TICK_MS;
		struct timespec tick = { 0, (long)wait * 1000000 };
		if (now >= deadline)
			return false;
		/* Not FUTEX_PRIVATE: the kernel wakes the word as a shared futex. */
		if (sys_call4(SYS_futex, &plan->alive, FUTEX_WAIT, alive, &tick) == -ETIMEDOUT && is_over(plan, pid))
			__atomic_store_n(&plan->alive, 0, __ATOMIC_RELEASE); /* each waiting thread may store it */
	}
	return true;
}

void flight_drop(struct plan *plan)
{
	void *extra = plan->extra;

	if (extra != NULL)
		block_unmap(extra, plan->extra_size);
	block_unmap(plan->block, plan->block_size);
}

static bool put_into_slot(struct plan *plan, unsigned first)
{
	for (unsigned i = first; i < SLOTS; i++) {
		struct plan *none = NULL;
		if (atomic_load_explicit(&slots[i], memory_order_relaxed) == NULL &&
		    atomic_compare_exchange_strong_explicit(&slots[i], &none, plan, memory_order_release,
							    memory_order_relaxed))
			return true;
	}
	return false;
}

/* With the lock. */
static void append(struct plan *plan)
{
	plan->next = NULL;
	if (others.first == NULL)
		others.first = plan;
	else
		others.last->next = plan;
	others.last = plan;
}

static void put_with_others(struct plan *plan)
{
	process_lock_wait(&others.lock);
	append(plan);
	process_lock_release(&others.lock);
}

/* Looks at the oldest few of `others`, and unmaps those that have landed. If `size` is not 0, returns one that is large
 * enough instead. Each call looks at more plans than a call adds, so the list does not grow for ever. */
static struct plan *thin_out(size_t size)
{
	struct plan *landed = NULL, *found = NULL, *plan;

	if (atomic_load_explicit(&others.first, memory_order_relaxed) == NULL)
		return NULL;
	process_lock_wait(&others.lock);
	for (int i = 0; i < LOOKED_AT && (plan = others.first) != NULL; i++) {
		others.first = plan->next;
		if (!flight_has_landed(plan)) {
			append(plan);
		} else if (size > 0 && found == NULL && plan->block_size >= size && plan->extra == NULL) {
			found = plan;
		} else {
			plan->next = landed;
			landed = plan;
		}
	}
	process_lock_release(&others.lock);
	while (landed != NULL) {
		struct plan *next = landed->next;
		flight_drop(landed);
		landed = next;
	}
	return found;
}

void flight_add(struct plan *plan)
{
	if (put_into_slot(plan, 0))
		return;
	put_with_others(plan);
	(void)thin_out(0);
}

void flight_tidy(void)
{
	(void)thin_out(0);
}

struct plan *flight_take(size_t size)
{
	struct plan *found = thin_out(size);

	if (found != NULL)
		return found;
	for (unsigned i = 0; i < SLOTS; i++) {
		struct plan *plan = atomic_load_explicit(&slots[i], memory_order_relaxed);
		if (plan == NULL)
			continue;
		plan = atomic_exchange_explicit(&slots[i], NULL, memory_order_acquire);
		if (plan == NULL)
			continue;
		if (!flight_has_landed(plan)) {
			if (!put_into_slot(plan, i))
				flight_add(plan);
		} else if (plan->block_size >= size && plan->extra == NULL) {
			return plan;
		} else {
			flight_drop(plan);
		}
	}
	return NULL;
}

void flight_forget(void)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct plan *plan = atomic_load_explicit(&slots[i], memory_order_relaxed);
		if (plan != NULL)
			plan->alive = 0;
	}
	for (struct plan *plan = others.first; plan != NULL; plan = plan->next)
		plan->alive = 0;
}
