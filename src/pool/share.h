/* SPDX-License-Identifier: MIT
 *
 * Worker tasks: the memory that the program, the manager and the workers share. For the files of this folder only.
 *
 * The program makes one process from the pool's template, the *manager*. The manager forks the workers, controls their
 * number, and answers the tasks of workers that die. A task is a slot of the shared memory: the program takes it, a
 * worker claims it and stores the answer in it. The manager has no part in a task that ends normally.
 *
 *     FREE -> FILLING -> QUEUED -> RUNNING -> ENDED -> FREE     a task that ends normally
 *                        FRESH  -> RUNNING                      the manager claims it, for a worker of its own
 *                        QUEUED, FRESH -> ENDED or FREE         cancelled, or freed, before it began
 *                                  RUNNING -> CONDEMNED -> ENDED or RELEASED -> FREE
 *
 * Every arrow is one atomic change of the slot's state word, a compare-and-swap where two processes may change it. The
 * word also holds the number of the worker that has claimed the slot. So each task gets exactly one answer, whichever
 * process is killed at whatever moment:
 *   - While a worker lives, only the worker ends a slot that it has claimed, unless the program condemns the slot
 *     first. A condemned worker does nothing more and is killed. So a kill for one task never hits the next.
 *   - When a worker has died, the manager reaps it, and then ends the slots whose state word has its number. A number
 *     is used again only after that.
 *   - The ring and all counters are hints. If a worker takes a task out of the ring and is killed before it claims it,
 *     the task is QUEUED and not in the ring. So the manager increments `scan` after every death: a worker that finds
 *     the ring empty and `scan` changed looks through all slots once.
 *   - A worker sleeps on a futex of its own. A process that wakes it clears its bit in `asleep` first, so that each
 *     wake wakes a different worker. After a death the manager wakes one.
 *
 * Bytes that do not fit into a slot are in a second file, sparse and as long as a file can be. Its ranges are allocated
 * by a counter, never twice. The process that ends the slot for good punches them out.
 *
 * Workers can write to this memory, so a task with a wild pointer can damage other tasks' answers. The program and the
 * manager check all that they read here before they use it as an address, an index or a bound. Each process has copied
 * the sizes before there was a worker (struct share_limits), and the program keeps its own list of slots and tasks
 * (crew.h).
 */
#ifndef ODF_POOL_SHARE_H
#define ODF_POOL_SHARE_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "odfork.h"

enum slot_kind {
	SLOT_FREE,
	SLOT_FILLING,
	SLOT_QUEUED,
	SLOT_FRESH,     /* queued for a worker that the manager forks for it */
	SLOT_RUNNING,
	SLOT_CONDEMNED, /* cancelled while it ran: the manager kills the worker */
	SLOT_ENDED,
	SLOT_RELEASED   /* freed while it ran: the program takes the slot back */
};
#define SLOT_KIND(state)   ((state) & 15u)
#define SLOT_WAITED        16u /* a thread of the program sleeps on the word */
#define SLOT_FREED         32u /* with CONDEMNED: the task was freed, and needs no answer */
#define SLOT_WORKER(state) ((state) >> 8)
#define SLOT_OF(kind, worker) ((unsigned)(kind) | (unsigned)(worker) << 8)

#define SHARE_WORKERS_MOST 256u
#define SHARE_QUEUE_MOST   (1u << 20)
#define SHARE_DATA         400u /* bytes of input, and of output, within a slot */
#define SHARE_CODE_MOST    1024u

struct slot {
	_Atomic unsigned state; /* futex */
	unsigned flags;         /* ODF_TASK_* */
	odf_task_function function;
	uint64_t input_length, input_at;   /* at: offset in the second file; 0: within the slot */
	uint64_t output_length, output_at, output_room; /* room: size of the range in the file */
	uint64_t spare_at, spare_room;     /* the range that is about to replace it */
	uint64_t time_ns, cpu_ns, memory;  /* limits; 0: none */
	uint64_t cpu_before_ns;            /* CPU time of its worker when it began; */
	unsigned has_cpu;                  /* set if that is known */
	_Atomic uint64_t began_ns, ended_ns;
	int error, result, wait_status;
	pid_t process;
	_Alignas(16) char input[SHARE_DATA];
	_Alignas(16) char output[SHARE_DATA];
};

enum worker_state { WORKER_NONE, WORKER_STARTING, WORKER_IDLE, WORKER_BUSY, WORKER_RETIRED };
struct worker_seat {
	_Atomic unsigned state;
	_Atomic unsigned wake;     /* futex */
	_Atomic unsigned slot;     /* index + 1 of the slot that it runs, or has ended and not reported yet; 0: none */
	_Atomic unsigned assigned; /* index + 1 of the slot that it was forked for; 0: none */
	_Atomic uint64_t idle_since_ns;
	_Atomic uint64_t tasks;
};

/* An executable mapping of the template, from which the function of a task may come. */
struct code_range {
	uint64_t from, to, offset, device, inode;
};

/* Set by the program before there is a manager. */
struct share_limits {
	unsigned slots, ring_mask, workers_least, workers_most;
	uint64_t idle_ns, bulk_size;
};

struct share {
	struct share_limits limits; /* for share_map; each process has a copy in its view */
	_Atomic unsigned ready;    /* futex: the manager has started */
	_Atomic unsigned ending;   /* the pool is being destroyed */
	_Atomic unsigned used;     /* slots below this were used */
	_Atomic unsigned poked;    /* the manager's eventfd was written, and the manager has not looked yet */
	_Atomic unsigned scan, condemned, released, told;
	_Atomic unsigned workers;  /* number of workers alive */
	_Atomic unsigned make_room; /* the next worker between two tasks exits, to make room for one of a FRESH task */
	_Atomic uint64_t started, lost; /* workers since the start */
	_Atomic uint64_t bulk_next;
	_Atomic uint64_t asleep[SHARE_WORKERS_MOST / 64];
	_Alignas(64) _Atomic unsigned head;
	_Alignas(64) _Atomic unsigned tail; /* written by the program, under the crew's lock */
	_Alignas(64) _Atomic unsigned fresh_head; /* written by the manager */
	_Alignas(64) _Atomic unsigned fresh_tail;
	_Atomic unsigned fresh_missed; /* the ring was full: the manager looks at all slots */
	unsigned code_count;
	unsigned code_all;         /* the list is incomplete: a function that is not in it is accepted */
	struct code_range code[SHARE_CODE_MOST];
	struct worker_seat seats[SHARE_WORKERS_MOST];
};

/* The shared memory as mapped in one process. */
struct share_view {
	struct share_limits limits;
	struct share *head;
	_Atomic unsigned *ring, *fresh_ring;
	_Atomic uint64_t *ended; /* a bit per slot: its task has ended, and was not given to the program since */
	struct slot *slots;
	size_t size;
	int bulk; /* the second file */
	int poke; /* eventfd: the manager reads it */
	int tell; /* eventfd: the program reads it; a task has ended */
};

/* Makes a file with this number of slots, and maps it. 0 or an errno value: ENOMEM, EMFILE, ENFILE, EFBIG
 * (RLIMIT_FSIZE), ENOSYS. */
int share_make(struct share_view *view, unsigned slots, int *file);
/* Publishes the view's limits, for the manager, which maps the file afterwards. */
void share_set_limits(const struct share_view *view);
/* Allocates memory for some slots from this one on: a fault without memory would raise SIGBUS. Returns how many; 0:
 * there is no memory. */
unsigned share_back(const struct share_view *view, int file, unsigned slot);
int share_map(struct share_view *view, int file);
void share_unmap(struct share_view *view);
/* Makes the file for long data: *size bytes, as many as RLIMIT_FSIZE permits. */
int share_make_bulk(int *file, uint64_t *size);

/* Allocates a range of the file for long data: share_bulk_place its offset, share_bulk_fill its memory. 0 or an errno
 * value: EFBIG (no room left), ENOMEM. Between the two calls a worker records the range, so that it is found if the
 * worker is killed. */
int share_bulk_place(const struct share_view *view, uint64_t length, uint64_t *at, uint64_t *room);
int share_bulk_fill(const struct share_view *view, uint64_t at, uint64_t room);
void share_bulk_give(const struct share_view *view, uint64_t at, uint64_t room);
void *share_bulk_map(const struct share_view *view, uint64_t at, uint64_t length, bool writable); /* NULL: ENOMEM */
void share_bulk_unmap(void *data, uint64_t length);
/* Whether a range read from a slot can be that of an output: its offset is a multiple of the page size, it ends within
 * the file, and it is no longer than the memory that the file has. The mapping would allocate what is missing. */
bool share_bulk_is_plausible(const struct share_view *view, uint64_t at, uint64_t length);

static inline bool share_takes(uint64_t length)
{
	return length <= SHARE_DATA;
}

/* Slots below this were used. */
static inline unsigned share_used(const struct share_view *view)
{
	unsigned used = atomic_load(&view->head->used);

	return used < view->limits.slots ? used : view->limits.slots;
}

/* Changes the slot from state `from` to SLOT_ENDED and reports that to the program. The caller has stored the answer.
 * False: the slot is no longer in that state. */
bool share_end(const struct share_view *view, unsigned slot, unsigned from);
/* Adds one to an eventfd. */
void share_count(int event);
/* Reports that the task of this slot has ended. The manager calls it again if a worker may have died before its own
 * call; `always` writes the eventfd even if `told` says that it was written. */
void share_tell(const struct share_view *view, unsigned slot, bool always);
/* Makes the manager look at once. */
void share_poke(const struct share_view *view);
/* Wakes one sleeping worker. False: none sleeps. */
bool share_wake_one(const struct share_view *view);

uint64_t share_clock(void);
void share_futex_wake(_Atomic unsigned *word, int count);
/* Waits for at most `wait_ns`; UINT64_MAX: no limit. */
void share_futex_wait(_Atomic unsigned *word, unsigned value, uint64_t wait_ns);

/* code.c: lists the executable mappings of this process. */
void share_note_code(struct share *share);
struct code_cache {
	struct code_known { uintptr_t function; uint64_t changes; } known[16];
};
/* Whether the function is in a mapping that the template has too. */
bool share_has_code(const struct share *share, struct code_cache *cache, odf_task_function function);

/* manager.c: the manager's function (a pool_function). fds: the shared memory, the file for long data, poke, tell. */
int manager_main(const void *argument, size_t length, const int *fds, size_t count);
/* worker.c */
_Noreturn void worker_run(const struct share_view *view, unsigned worker, pid_t manager);
#endif
