/* SPDX-License-Identifier: MIT
 *
 * The manager: forks as many workers as there is work for, and answers the tasks of workers that die. It is made from
 * the pool's template, has one thread, and runs no code of the program except atfork handlers. Read share.h first.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fork/fork.h"
#include "../sys/syscall.h"
#include "share.h"

#define RETRY_MS      50 /* after a failed fork */
#define RETRIES_MOST  20 /* after so many failed forks all waiting tasks are answered, if there is no worker at all */
#define STILLBORN_MOST 8 /* workers in a row that died before they could take a task */

/* No worker has this number: the manager claims tasks with it to answer them itself. */
#define SELF SHARE_WORKERS_MOST

static struct {
	struct share_view view;
	pid_t id;
	pid_t workers[SHARE_WORKERS_MOST]; /* process ids; 0: none */
	unsigned count;
	unsigned retries, stillborn;
	int fork_error; /* errno of the last fork; 0: it succeeded */
	int last_status;
	bool look; /* a worker died: a task may be QUEUED and in no ring */
	/* Of a manager that the template has become (pool_create_once), which ends when either shows the program's end.
	 * -1: the manager dies with the template. */
	int channel, program;
	int told;             /* socket whose close reports the manager's end to the program; or -1 */
} manager;

static const struct share_limits *const limits = &manager.view.limits;

static struct worker_seat *seat_of(unsigned worker)
{
	return &manager.view.head->seats[worker];
}

static bool is_asleep(unsigned worker)
{
	return atomic_load(&manager.view.head->asleep[worker / 64]) >> worker % 64 & 1;
}

/* True: the worker slept, and no process has woken it. */
static bool take_bit(unsigned worker)
{
	uint64_t bit = UINT64_C(1) << worker % 64;

	return atomic_fetch_and(&manager.view.head->asleep[worker / 64], ~bit) & bit;
}

/* ---- Answers ----------------------------------------------------------------------------------------------------- */

static void give_ranges(struct slot *slot, bool input)
{
	share_bulk_give(&manager.view, slot->output_at, slot->output_room);
	share_bulk_give(&manager.view, slot->spare_at, slot->spare_room);
	slot->output_length = slot->output_room = slot->spare_room = 0;
	if (input && slot->input_at != 0)
		share_bulk_give(&manager.view, slot->input_at, (slot->input_length + 4095) & ~(uint64_t)4095);
}

/* Frees the slot of a task that was freed while it ran. */
static void release(unsigned index)
{
	struct slot *slot = &manager.view.slots[index];

	give_ranges(slot, true);
	atomic_store(&slot->state, SLOT_RELEASED);
	atomic_fetch_add(&manager.view.head->released, 1);
}

static bool is_of(unsigned state, unsigned worker)
{
	return SLOT_WORKER(state) == worker && (SLOT_KIND(state) == SLOT_RUNNING || SLOT_KIND(state) == SLOT_CONDEMNED);
}

/* Ends a slot whose worker is dead, or that the manager has claimed itself. The program may condemn or free the task
 * meanwhile; then this tries again. */
static void answer(unsigned index, unsigned worker, int error, int status)
{
	struct slot *slot = &manager.view.slots[index];
	unsigned state;

	do {
		state = atomic_load(&slot->state) & ~SLOT_WAITED;
		if (!is_of(state, worker))
			return;
		if (state & SLOT_FREED) {
			release(index);
			return;
		}
		give_ranges(slot, false);
		slot->error = SLOT_KIND(state) == SLOT_CONDEMNED ? ECANCELED : error;
		slot->wait_status = status;
	} while (!share_end(&manager.view, index, state));
}

static uint64_t cpu_of(const struct rusage *usage)
{
	return ((uint64_t)usage->ru_utime.tv_sec + (uint64_t)usage->ru_stime.tv_sec) * 1000000000u +
	       ((uint64_t)usage->ru_utime.tv_usec + (uint64_t)usage->ru_stime.tv_usec) * 1000u;
}

/* The task's error when its worker has died. The task's limits kill by SIGKILL as well. The kernel's two accounts of
 * CPU time differ by up to a tick. */
static int why_it_died(const struct slot *slot, int status, const struct rusage *usage)
{
	const uint64_t tick = 10000000;
	uint64_t began = atomic_load(&slot->began_ns);

	/* began 0: the worker has claimed the task and has not started it. */
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || began == 0)
		return ECHILD;
	if (slot->time_ns != 0 && share_clock() - began >= slot->time_ns)
		return ETIME;
	if (slot->cpu_ns != 0 && slot->has_cpu && cpu_of(usage) + tick >= slot->cpu_before_ns + slot->cpu_ns)
		return ETIME;
	return ECHILD;
}

static void bury(unsigned worker, int status, const struct rusage *usage)
{
	struct share *share = manager.view.head;
	struct worker_seat *seat = seat_of(worker);
	unsigned index = atomic_load(&seat->slot), state = atomic_load(&seat->state);
	unsigned used = share_used(&manager.view);
	bool lost = state != WORKER_RETIRED && (!WIFEXITED(status) || WEXITSTATUS(status) != 0);

	if (index != 0 && index <= limits->slots &&
	    SLOT_KIND(atomic_load(&manager.view.slots[index - 1].state)) == SLOT_ENDED) {
		/* The worker may have died before it reported the end. */
		share_futex_wake(&manager.view.slots[index - 1].state, INT_MAX);
		share_tell(&manager.view, index - 1, true);
	}
	/* The death is counted before a task gets its answer, as the program may read the counter after that. */
	for (index = 0; index < used && !lost; index++)
		lost = is_of(atomic_load(&manager.view.slots[index].state), worker);
	if (lost)
		atomic_fetch_add(&share->lost, 1);
	for (index = 0; index < used; index++)
		if (is_of(atomic_load(&manager.view.slots[index].state), worker))
			answer(index, worker, why_it_died(&manager.view.slots[index], status, usage), status);
	manager.stillborn = state == WORKER_STARTING ? manager.stillborn + 1 : 0;
	manager.last_status = status;
	if (state != WORKER_RETIRED && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
		manager.look = true;
	(void)take_bit(worker);
	manager.workers[worker] = 0;
	manager.count--;
	atomic_fetch_sub(&share->workers, 1);
	atomic_store(&seat->slot, 0);
	atomic_store(&seat->state, WORKER_NONE);
	/* The worker may have taken a task out of the ring and not claimed it, or may have been woken for one. */
	atomic_fetch_add(&share->scan, 1);
	(void)share_wake_one(&manager.view);
}

static void reap(void)
{
	struct rusage usage;
	int status;
	pid_t pid;

	while ((pid = (pid_t)sys_call4(SYS_wait4, -1, &status, WNOHANG | __WALL, &usage)) > 0)
		for (unsigned worker = 0; worker < SHARE_WORKERS_MOST; worker++)
			if (manager.workers[worker] == pid) {
				bury(worker, status, &usage);
				break;
			}
}

/* Answers all tasks that wait for a worker: there will be none. */
static void answer_waiting(int error, int status)
{
	unsigned used = share_used(&manager.view);

	for (unsigned index = 0; index < used; index++) {
		_Atomic unsigned *word = &manager.view.slots[index].state;
		unsigned state = atomic_load(word);

		while (SLOT_KIND(state) == SLOT_QUEUED || SLOT_KIND(state) == SLOT_FRESH)
			if (atomic_compare_exchange_weak(word, &state,
							 SLOT_OF(SLOT_RUNNING, SELF) | (state & SLOT_WAITED))) {
				answer(index, SELF, error, status);
				break;
			}
	}
}

/* ---- Workers ----------------------------------------------------------------------------------------------------- */

/* Forks a worker for this slot (slot + 1), or for any (0). False: the fork failed. */
static bool start_worker(unsigned assigned, unsigned worker)
{
	struct share *share = manager.view.head;
	struct worker_seat *seat = seat_of(worker);
	pid_t pid;

	atomic_store(&seat->state, WORKER_STARTING);
	atomic_store(&seat->assigned, assigned);
	atomic_store(&seat->slot, 0);
	atomic_store(&seat->tasks, 0);
	pid = fork_plainly();
	if (pid == 0) {
		/* A process that a task leaves behind must not hold these open. */
		sys_close(manager.channel);
		sys_close(manager.program);
		sys_close(manager.told);
		worker_run(&manager.view, worker, manager.id);
	}
	manager.fork_error = pid < 0 ? errno : 0;
	if (pid < 0) {
		atomic_store(&seat->state, WORKER_NONE);
		return false;
	}
	manager.retries = 0;
	manager.workers[worker] = pid;
	manager.count++;
	atomic_fetch_add(&share->workers, 1);
	atomic_fetch_add(&share->started, 1);
	return true;
}

static unsigned free_seat(void)
{
	unsigned worker = 0;

	while (worker < limits->workers_most && manager.workers[worker] != 0)
		worker++;
	return worker;
}

/* Kills an idle worker and waits for its end, as there may be no more than workers_most. False: it is not idle. */
static bool retire(unsigned worker)
{
	unsigned idle = WORKER_IDLE;
	struct rusage usage;
	int status;

	if (!take_bit(worker))
		return false; /* a process has woken it */
	if (!atomic_compare_exchange_strong(&seat_of(worker)->state, &idle, WORKER_RETIRED))
		return false; /* it has woken by itself */
	(void)kill(manager.workers[worker], SIGKILL);
	while (sys_call4(SYS_wait4, manager.workers[worker], &status, __WALL, &usage) == -EINTR)
		;
	bury(worker, status, &usage);
	return true;
}

static bool retire_any(void)
{
	for (unsigned worker = limits->workers_most; worker-- > 0;)
		if (manager.workers[worker] != 0 && is_asleep(worker) && retire(worker))
			return true;
	return false;
}

/* Claims a task that wants a worker of its own. False: it does not wait any more. */
static bool claim_fresh(unsigned index, unsigned worker)
{
	_Atomic unsigned *word = &manager.view.slots[index].state;
	unsigned state = atomic_load(word);

	do {
		if (SLOT_KIND(state) != SLOT_FRESH)
			return false;
	} while (!atomic_compare_exchange_weak(word, &state, SLOT_OF(SLOT_RUNNING, worker) | (state & SLOT_WAITED)));
	return true;
}

/* Puts the task back to FRESH. If the program has condemned it meanwhile, it is answered. */
static void unclaim_fresh(unsigned index, unsigned worker)
{
	_Atomic unsigned *word = &manager.view.slots[index].state;
	unsigned state = atomic_load(word);

	while (SLOT_KIND(state) == SLOT_RUNNING)
		if (atomic_compare_exchange_weak(word, &state, SLOT_FRESH | (state & SLOT_WAITED)))
			return;
	answer(index, worker, ECANCELED, 0);
}

/* False: the task has to wait. */
static bool start_fresh_one(unsigned index)
{
	struct share *share = manager.view.head;
	unsigned worker;

	if (index >= limits->slots || SLOT_KIND(atomic_load(&manager.view.slots[index].state)) != SLOT_FRESH)
		return true; /* cancelled meanwhile */
	if (manager.count >= limits->workers_most && !retire_any()) {
		/* make_room lets the next worker between two tasks exit. A worker that went to sleep before it could
		 * see the flag is retired here. */
		atomic_store(&share->make_room, 1);
		if (!retire_any())
			return false;
	}
	worker = free_seat();
	if (!claim_fresh(index, worker) || start_worker(index + 1, worker))
		return true;
	unclaim_fresh(index, worker);
	return false;
}

static void start_fresh(void)
{
	struct share *share = manager.view.head;
	unsigned head;

	while ((head = atomic_load(&share->fresh_head)) != atomic_load(&share->fresh_tail)) {
		if (!start_fresh_one(atomic_load(&manager.view.fresh_ring[head & limits->ring_mask])))
			return;
		atomic_store(&share->fresh_head, head + 1);
	}
	if (atomic_exchange(&share->fresh_missed, 0) != 0)
		for (unsigned index = 0; index < share_used(&manager.view); index++)
			if (!start_fresh_one(index)) {
				atomic_store(&share->fresh_missed, 1);
				return;
			}
	atomic_store(&share->make_room, 0);
}

/* Wakes or forks a worker for each waiting task for which none is awake. */
static void start_wanted(void)
{
	struct share *share = manager.view.head;
	unsigned waiting, coming = 0;

	while (manager.count < limits->workers_least && start_worker(0, free_seat()))
		;
	for (unsigned worker = 0; worker < limits->workers_most; worker++)
		coming += manager.workers[worker] != 0 && atomic_load(&seat_of(worker)->state) == WORKER_STARTING &&
			  atomic_load(&seat_of(worker)->assigned) == 0;
	waiting = atomic_load(&share->tail) - atomic_load(&share->head);
	/* A task may be QUEUED and not in the ring. Living workers look for it because of `scan`. If there is no
	 * worker, one has to be forked. */
	if (waiting == 0 && manager.count == 0 && manager.look)
		waiting = 1;
	manager.look = manager.look && manager.count == 0 && manager.fork_error != 0;
	while (waiting > coming && share_wake_one(&manager.view))
		waiting--;
	while (waiting > coming && manager.count < limits->workers_most && start_worker(0, free_seat()))
		coming++;
}

static void kill_condemned(void)
{
	struct share *share = manager.view.head;
	unsigned used;

	if (atomic_exchange(&share->condemned, 0) == 0)
		return;
	used = share_used(&manager.view);
	for (unsigned index = 0; index < used; index++) {
		unsigned state = atomic_load(&manager.view.slots[index].state), worker = SLOT_WORKER(state);

		/* A condemned worker takes no other task, so it is the right one. Its id is its own until reaped. */
		if (SLOT_KIND(state) == SLOT_CONDEMNED && worker < SHARE_WORKERS_MOST && manager.workers[worker] != 0)
			(void)kill(manager.workers[worker], SIGKILL);
	}
}

/* Retires workers that were idle for idle_ns, from the highest number down: share_wake_one prefers low numbers. */
static void retire_idle(void)
{
	uint64_t now = share_clock();

	for (unsigned worker = limits->workers_most; worker-- > 0 && manager.count > limits->workers_least;)
		if (manager.workers[worker] != 0 && is_asleep(worker) &&
		    now - atomic_load(&seat_of(worker)->idle_since_ns) >= limits->idle_ns)
			(void)retire(worker);
}

/* Milliseconds until retire_idle must run again; -1: not before another event. */
static int next_look(void)
{
	uint64_t wait = limits->idle_ns / 2 / 1000000;

	if (manager.count <= limits->workers_least)
		return -1;
	return wait < 10 ? 10 : wait > 60000 ? 60000 : (int)wait;
}

/* ---- The loop ---------------------------------------------------------------------------------------------------- */

static void end_workers(void)
{
	for (unsigned worker = 0; worker < SHARE_WORKERS_MOST; worker++)
		if (manager.workers[worker] != 0)
			(void)kill(manager.workers[worker], SIGKILL);
	while (sys_call4(SYS_wait4, -1, NULL, __WALL, NULL) != -ECHILD)
		;
}

static void look_after(int *wait_ms)
{
	int retry = -1;

	reap();
	kill_condemned();
	if (manager.stillborn >= STILLBORN_MOST) {
		answer_waiting(ECHILD, manager.last_status);
		manager.stillborn = 0;
	}
	retire_idle();
	manager.fork_error = 0;
	start_fresh();
	start_wanted();
	if (manager.fork_error != 0) {
		retry = RETRY_MS;
		if (manager.count == 0 && ++manager.retries >= RETRIES_MOST) {
			answer_waiting(manager.fork_error, 0);
			manager.retries = 0;
		}
	}
	*wait_ms = next_look();
	if (retry >= 0 && (*wait_ms < 0 || *wait_ms > retry))
		*wait_ms = retry;
}

int manager_main(const void *argument, size_t length, const int *fds, size_t count)
{
	uint64_t all = ~0ull, drained;
	struct sigaction at_default = { .sa_handler = SIG_DFL };
	struct signalfd_siginfo signals[8];
	sigset_t children;
	struct pollfd polled[4];
	int wait_ms;

	(void)argument;
	(void)length;
	if ((count != 4 && count != 7) || share_map(&manager.view, fds[0]) != 0)
		return 1;
	manager.channel = count == 7 ? fds[4] : -1;
	manager.program = count == 7 ? fds[5] : -1;
	manager.told = count == 7 ? fds[6] : -1;
	manager.view.bulk = fds[1];
	manager.view.poke = fds[2];
	manager.view.tell = fds[3];
	manager.id = (pid_t)sys_call0(SYS_getpid);
	/* No handler of the program runs here, and no signal that can be blocked ends this process. */
	(void)sys_sigprocmask(SIG_SETMASK, &all, NULL);
	(void)sigaction(SIGCHLD, &at_default, NULL); /* if it were ignored, there would be no status to reap */
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	/* The program itself writes what was in its buffers at the fork. */
	__fpurge(stdout);
	__fpurge(stderr);
	share_note_code(manager.view.head);
	polled[0] = (struct pollfd){ .fd = manager.view.poke, .events = POLLIN };
	polled[1] = (struct pollfd){ .fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN };
	if (polled[1].fd < 0)
		return 1;
	polled[2] = (struct pollfd){ .fd = manager.channel }; /* for POLLHUP only */
	polled[3] = (struct pollfd){ .fd = manager.program, .events = POLLIN };
	atomic_store(&manager.view.head->ready, 1);
	share_futex_wake(&manager.view.head->ready, INT_MAX);
	while (atomic_load(&manager.view.head->ending) == 0) {
		atomic_store(&manager.view.head->poked, 0); /* before the look: a later poke writes the eventfd again */
		look_after(&wait_ms);
		(void)poll(polled, 4, wait_ms);
		if (polled[2].revents != 0 || polled[3].revents != 0)
			break;
		if (polled[0].revents != 0)
			(void)sys_read(manager.view.poke, &drained, sizeof drained);
		if (polled[1].revents != 0)
			while (sys_read(polled[1].fd, signals, sizeof signals) > 0)
				;
	}
	end_workers();
	return 0;
}
