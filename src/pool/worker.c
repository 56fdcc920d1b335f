/* SPDX-License-Identifier: MIT
 *
 * A worker: takes tasks and runs them one after the other. It is a child of the manager by libc's fork, so that the
 * program's atfork handlers have run, and malloc, stdio and the loader work as in any child. It exits without atexit
 * handlers. Read share.h first.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../sys/proc.h"
#include "share.h"

/* Size of the first range for output, so that many small writes do not allocate range after range. */
#define OUTPUT_LEAST ((uint64_t)64 << 10)

struct odf_output {
	const struct share_view *view;
	struct slot *slot;
	char *data;
	uint64_t length, room; /* bytes of room at `data` */
};

static struct {
	unsigned number;
	pid_t id;
	unsigned seen_scan;
	bool has_timer[2];
	int timer[2];
} self;

enum { TIMER_WALL, TIMER_CPU };

static _Noreturn void leave(int status)
{
	for (;;)
		(void)sys_call1(SYS_exit_group, status);
}

/* ---- Output ------------------------------------------------------------------------------------------------------ */

static int make_room(struct odf_output *output, uint64_t total)
{
	struct slot *slot = output->slot;
	uint64_t wanted = total, at, room;
	char *data;
	int error;

	if (total <= output->room)
		return 0;
	if (wanted < OUTPUT_LEAST)
		wanted = OUTPUT_LEAST;
	if (slot->output_room != 0 && wanted < 2 * slot->output_room)
		wanted = 2 * slot->output_room;
	error = share_bulk_place(output->view, wanted, &at, &room);
	if (error != 0)
		return error;
	/* Recorded first: if this process is killed from here on, the manager gives both ranges back. It reads the
	 * record after this process has ended, so a fence for the compiler is enough. */
	slot->spare_at = at;
	slot->spare_room = room;
	atomic_signal_fence(memory_order_seq_cst);
	error = share_bulk_fill(output->view, at, room);
	data = error == 0 ? share_bulk_map(output->view, at, room, true) : NULL;
	if (data == NULL) {
		share_bulk_give(output->view, at, room);
		slot->spare_room = 0;
		return error != 0 ? error : ENOMEM;
	}
	memcpy(data, output->data, output->length);
	if (slot->output_room != 0) {
		share_bulk_unmap(output->data, output->room);
		share_bulk_give(output->view, slot->output_at, slot->output_room);
	}
	slot->output_at = at;
	slot->output_room = room;
	slot->spare_room = 0;
	output->data = data;
	output->room = room;
	return 0;
}

void *odf_output_room(odf_output *output, size_t length)
{
	int error = EINVAL;

	if (output != NULL) {
		error = length > UINT64_MAX / 4 - output->length ? EFBIG : make_room(output, output->length + length);
		if (error == 0) {
			output->length += length;
			return output->data + (output->length - length);
		}
	}
	errno = error;
	return NULL;
}

int odf_output_write(odf_output *output, const void *data, size_t length)
{
	int saved = errno, error;
	void *room;

	if (output == NULL || (data == NULL && length > 0))
		return EINVAL;
	room = odf_output_room(output, length);
	error = room == NULL ? errno : 0;
	errno = saved;
	if (error == 0 && length > 0)
		memcpy(room, data, length);
	return error;
}

/* Gives back the unused end of the last range. */
static void finish_output(struct odf_output *output)
{
	struct slot *slot = output->slot;
	uint64_t used = (output->length + 4095) & ~(uint64_t)4095;

	slot->output_length = output->length;
	if (slot->output_room == 0)
		return;
	share_bulk_unmap(output->data, output->room);
	if (used < slot->output_room) {
		share_bulk_give(output->view, slot->output_at + used, slot->output_room - used);
		slot->output_room = used;
	}
}

/* ---- Limits ------------------------------------------------------------------------------------------------------ */

/* A kernel timer that sends SIGKILL: no process has to watch, and it also ends a process that is stopped or busy. 0
 * ends the timer. */
static int set_timer(unsigned which, uint64_t ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	struct itimerspec when = { .it_value = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) } };
	long error = 0;

	if (!self.has_timer[which]) {
		error = sys_call3(SYS_timer_create, which == TIMER_CPU ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC,
				  &event, &self.timer[which]);
		self.has_timer[which] = error == 0;
	}
	if (error == 0)
		error = sys_call4(SYS_timer_settime, self.timer[which], 0, &when, NULL);
	return (int)-error;
}

static uint64_t cpu_used(void)
{
	struct timespec used = { 0, 0 };

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static uint64_t mapped_bytes(void)
{
	char text[64] = "";
	uint64_t pages = 0;
	int file = sys_open("/proc/self/statm", PROC_READ, 0);

	if (file < 0)
		return 0;
	if (sys_read(file, text, sizeof text - 1) < 0)
		text[0] = '\0';
	sys_close(file);
	for (size_t at = 0; text[at] >= '0' && text[at] <= '9'; at++)
		pages = pages * 10 + (uint64_t)(text[at] - '0');
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Limits the address space to `bytes` more than are mapped now. ENOENT: /proc does not tell how much that is. */
static int limit_memory(uint64_t bytes, struct rlimit *before)
{
	uint64_t now = mapped_bytes(), wanted = now + bytes;
	struct rlimit limit;

	if (now == 0)
		return ENOENT;
	if (getrlimit(RLIMIT_AS, before) != 0)
		return errno;
	limit = *before;
	if (wanted >= now && wanted < limit.rlim_cur) /* else the limit stays */
		limit.rlim_cur = wanted;
	return setrlimit(RLIMIT_AS, &limit) == 0 ? 0 : errno;
}

/* ---- One task ---------------------------------------------------------------------------------------------------- */

static int call_function(struct slot *slot, struct odf_output *output, const void *input)
{
	struct rlimit before;
	bool limits_memory = slot->memory != 0;
	int error = 0;

	if (limits_memory)
		error = limit_memory(slot->memory, &before);
	if (error == 0 && slot->cpu_ns != 0) {
		slot->cpu_before_ns = cpu_used();
		slot->has_cpu = 1;
		error = set_timer(TIMER_CPU, slot->cpu_ns);
	}
	if (error == 0 && slot->time_ns != 0)
		error = set_timer(TIMER_WALL, slot->time_ns);
	if (error == 0) {
		slot->result = slot->function(input, slot->input_length, output);
		/* A child that the task has forked may return here too. It is no worker. */
		if (sys_call0(SYS_getpid) != self.id)
			leave(0);
	}
	if (slot->time_ns != 0 && self.has_timer[TIMER_WALL])
		(void)set_timer(TIMER_WALL, 0);
	if (slot->cpu_ns != 0 && self.has_timer[TIMER_CPU])
		(void)set_timer(TIMER_CPU, 0);
	if (limits_memory && error != ENOENT)
		(void)setrlimit(RLIMIT_AS, &before);
	return error;
}

/* Writes what the task has left in stdout and stderr. Other streams are the task's own affair: the buffers of those
 * that the program had open hold the program's data. */
static void flush_standard(void)
{
	if (__fpending(stdout) > 0)
		(void)fflush(stdout);
	if (__fpending(stderr) > 0)
		(void)fflush(stderr);
}

static void run(const struct share_view *view, unsigned index)
{
	struct worker_seat *seat = &view->head->seats[self.number];
	struct slot *slot = &view->slots[index];
	struct odf_output output = { .view = view, .slot = slot, .data = slot->output, .room = SHARE_DATA };
	void *mapped = NULL;
	int error = 0;

	atomic_store(&seat->slot, index + 1);
	slot->process = self.id;
	slot->wait_status = 0;
	slot->result = 0;
	atomic_store(&slot->began_ns, share_clock());
	if (slot->input_at != 0) {
		mapped = share_bulk_map(view, slot->input_at, slot->input_length, false);
		if (mapped == NULL)
			error = ENOMEM;
	}
	if (error == 0)
		error = call_function(slot, &output, mapped != NULL ? mapped : slot->input);
	flush_standard();
	if (mapped != NULL)
		share_bulk_unmap(mapped, slot->input_length);
	finish_output(&output);
	slot->error = error;
	atomic_fetch_add(&seat->tasks, 1);
	/* Condemned: do nothing more until the manager kills this process. */
	if (!share_end(view, index, SLOT_OF(SLOT_RUNNING, self.number)))
		for (;;)
			(void)sys_call5(SYS_ppoll, NULL, 0, NULL, NULL, 0); /* pause(), which some architectures lack */
	atomic_store(&seat->slot, 0);
}

/* ---- Taking tasks ------------------------------------------------------------------------------------------------ */

static bool claim(const struct share_view *view, unsigned index)
{
	_Atomic unsigned *word = &view->slots[index].state;
	unsigned state = atomic_load(word);

	do {
		if (SLOT_KIND(state) != SLOT_QUEUED)
			return false;
	} while (!atomic_compare_exchange_weak(word, &state,
					       SLOT_OF(SLOT_RUNNING, self.number) | (state & SLOT_WAITED)));
	return true;
}

/* Takes the next task of the ring that is still QUEUED, and claims it. False: the ring is empty. */
static bool take_from_ring(const struct share_view *view, unsigned *index)
{
	struct share *share = view->head;

	for (;;) {
		unsigned head = atomic_load(&share->head);

		do {
			if (head == atomic_load(&share->tail))
				return false;
			*index = atomic_load(&view->ring[head & view->limits.ring_mask]);
		} while (!atomic_compare_exchange_weak(&share->head, &head, head + 1));
		if (*index < view->limits.slots && claim(view, *index))
			return true;
	}
}

static bool take(const struct share_view *view, unsigned *index)
{
	unsigned scan, used;

	if (take_from_ring(view, index))
		return true;
	scan = atomic_load(&view->head->scan);
	if (scan == self.seen_scan)
		return false;
	used = share_used(view);
	for (*index = 0; *index < used; ++*index)
		if (claim(view, *index))
			return true;
	self.seen_scan = scan;
	return false;
}

/* Exits if the manager wants to fork a worker for one task, and there are workers_most of them. */
static void make_way(struct share *share)
{
	unsigned wanted = 1;

	if (atomic_load(&share->make_room) != 0 && atomic_compare_exchange_strong(&share->make_room, &wanted, 0))
		leave(0);
}

static void sleep_until_woken(const struct share_view *view)
{
	struct share *share = view->head;
	struct worker_seat *seat = &share->seats[self.number];
	_Atomic uint64_t *asleep = &share->asleep[self.number / 64];
	uint64_t bit = UINT64_C(1) << self.number % 64;
	unsigned wake = atomic_load(&seat->wake), idle = WORKER_IDLE;

	atomic_store(&seat->idle_since_ns, share_clock());
	atomic_store(&seat->state, WORKER_IDLE);
	atomic_fetch_or(asleep, bit);
	make_way(share); /* after the bit: the manager sets make_room, then looks at the bits, so one sees the other */
	/* The program queues a task, then looks at the bits. We set our bit, then look for tasks: one sees the
	 * other. */
	if (atomic_load(&share->head) == atomic_load(&share->tail) && atomic_load(&share->scan) == self.seen_scan)
		share_futex_wait(&seat->wake, wake, UINT64_MAX);
	atomic_fetch_and(asleep, ~bit);
	if (!atomic_compare_exchange_strong(&seat->state, &idle, WORKER_BUSY))
		leave(0); /* retired */
}

/* Handled signals get the default action, ignored ones stay ignored, and none is blocked. */
static void settle_signals(void)
{
	uint64_t none = 0;

	for (int signal = 1; signal < NSIG; signal++) {
		struct sigaction action;

		if (sigaction(signal, NULL, &action) != 0 || action.sa_handler == SIG_IGN ||
		    action.sa_handler == SIG_DFL)
			continue;
		memset(&action, 0, sizeof action);
		action.sa_handler = SIG_DFL;
		(void)sigaction(signal, &action, NULL);
	}
	(void)sys_sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn void worker_run(const struct share_view *view, unsigned worker, pid_t manager)
{
	struct share *share = view->head;
	struct worker_seat *seat = &share->seats[worker];
	unsigned index;

	memset(&self, 0, sizeof self);
	self.number = worker;
	self.id = (pid_t)sys_call0(SYS_getpid);
	self.seen_scan = atomic_load(&share->scan) - 1;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != manager)
		leave(1);
	settle_signals();
	index = atomic_load(&seat->assigned);
	atomic_store(&seat->state, WORKER_BUSY);
	if (index != 0) {
		run(view, index - 1);
		leave(0);
	}
	for (;;) {
		if (!take(view, &index)) {
			sleep_until_woken(view);
			continue;
		}
		run(view, index);
		make_way(share);
	}
}
