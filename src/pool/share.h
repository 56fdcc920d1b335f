/* SPDX-License-Identifier: MIT
 *
 * Worker tasks: what the program, the manager and the workers share. For the files of this folder only.
 *
 * The program makes, from the pool's template, one process that is the *manager*; the manager forks the workers, sees
 * to their number, and answers for those that die. The three meet in shared memory: a task is a slot there, taken by
 * the program, claimed by a worker, and answered in place. The manager takes no part in a task that goes well.
 *
 *     FREE -> FILLING -> QUEUED -> RUNNING -> ENDED -> FREE     a task that goes well
 *                        FRESH  -> RUNNING                      the manager claims it, for a worker of its own
 *                        QUEUED, FRESH -> ENDED or FREE         cancelled, or freed, before it began
 *                                  RUNNING -> CONDEMNED -> ENDED or RELEASED -> FREE
 *
 * Every arrow is one compare-and-swap of the slot's state, whose word names the worker while one has it. So each task
 * has exactly one answer, whoever is killed when:
 *   - A worker that has claimed a slot is the only one to end it while it lives, unless the program condemns it first;
 *     a condemned worker does nothing more and is killed. So no kill meant for one task meets the next.
 *   - The manager ends the slots of a dead worker after it has reaped it, by the worker's number in the word. A number
 *     is given again only after that.
 *   - The ring and all counters are hints. A task that is QUEUED and not in the ring, as the worker that took it out
 *     was killed, is found because the manager counts `scan` up after every death: a worker that finds the ring
 *     empty then looks through all slots once.
 *   - A worker sleeps on a word of its own. Who wakes it takes its bit out of `asleep` first, so that one wakes one;
 *     after a death the manager sees to it that somebody looks.
 *
 * Bytes that do not fit into a slot lie in a second file, sparse and as long as files can be. Its ranges are given
 * by counting up, never twice, and punched out again by who ends the slot for good.
 *
 * The memory is the workers' to write: a task that writes wildly can damage other answers. Nothing in it is used as
 * an address, an index or a bound by the program, or by the manager, without being checked: how large things are
 * each process has noted before there was a worker (struct share_limits), and which slots are whose the program notes
 * for itself (crew.h).
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
	SLOT_FRESH,     /* to be run by a worker that the manager makes for it */
	SLOT_RUNNING,
	SLOT_CONDEMNED, /* cancelled while it ran: the worker is killed */
	SLOT_ENDED,
	SLOT_RELEASED   /* of a task that was freed while it ran: for the program to take */
};
#define SLOT_KIND(state)   ((state) & 15u)
#define SLOT_WAITED        16u /* a thread of the program sleeps on the word */
#define SLOT_FREED         32u /* CONDEMNED, and nobody wants the answer */
#define SLOT_WORKER(state) ((state) >> 8)
#define SLOT_OF(kind, worker) ((unsigned)(kind) | (unsigned)(worker) << 8)

#define SHARE_WORKERS_MOST 256u
#define SHARE_QUEUE_MOST   (1u << 20)
#define SHARE_DATA         400u /* bytes of input, and of output, that a slot holds by itself */
#define SHARE_CODE_MOST    1024u

struct slot {
	_Atomic unsigned state; /* futex */
	unsigned flags;         /* ODF_TASK_* */
	odf_task_function function;
	uint64_t input_length, input_at;   /* at: in the file; 0: in the slot */
	uint64_t output_length, output_at, output_room; /* room: what the range takes in the file */
	uint64_t spare_at, spare_room;     /* the range that is to take its place */
	uint64_t time_ns, cpu_ns, memory;  /* limits; 0: none */
	uint64_t cpu_before_ns;            /* what its worker had used when it began; */
	unsigned has_cpu;                  /* is known */
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
	_Atomic unsigned slot;     /* the one it has or had, + 1; 0: all that it has ended has been told */
	_Atomic unsigned assigned; /* + 1: made for this slot */
	_Atomic uint64_t idle_since_ns;
	_Atomic uint64_t tasks;
};

/* A mapping of the template from which a task's function may come. */
struct code_range {
	uint64_t from, to, offset, device, inode;
};

/* What the program sets before there is a manager. */
struct share_limits {
	unsigned slots, ring_mask, workers_least, workers_most;
	uint64_t idle_ns, bulk_size;
};

struct share {
	struct share_limits limits; /* for share_map; each view has its own */
	_Atomic unsigned ready;    /* futex: the manager has begun */
	_Atomic unsigned ending;   /* the pool is being destroyed */
	_Atomic unsigned used;     /* slots below this were used */
	_Atomic unsigned poked;    /* the manager has been told and has not looked yet */
	_Atomic unsigned scan, condemned, released, told;
	_Atomic unsigned workers;  /* how many there are */
	_Atomic unsigned make_room; /* a worker that ends a task is to leave, for one that is made for a task */
	_Atomic uint64_t started, lost; /* workers, ever */
	_Atomic uint64_t bulk_next;
	_Atomic uint64_t asleep[SHARE_WORKERS_MOST / 64];
	_Alignas(64) _Atomic unsigned head;
	_Alignas(64) _Atomic unsigned tail; /* the program's, under its lock */
	_Alignas(64) _Atomic unsigned fresh_head; /* the manager's */
	_Alignas(64) _Atomic unsigned fresh_tail;
	_Atomic unsigned fresh_missed; /* the ring was full: all slots are to be looked at */
	unsigned code_count;
	unsigned code_all;         /* the list is not complete: what is not found in it is not refused */
	struct code_range code[SHARE_CODE_MOST];
	struct worker_seat seats[SHARE_WORKERS_MOST];
};

/* One view of the shared memory, in any of the processes. */
struct share_view {
	struct share_limits limits;
	struct share *head;
	_Atomic unsigned *ring, *fresh_ring;
	_Atomic uint64_t *ended; /* a bit for each slot that has ended and was not given out since */
	struct slot *slots;
	size_t size;
	int bulk; /* the second file */
	int poke; /* eventfd: the manager reads it */
	int tell; /* eventfd: the program reads it; something has ended */
};

/* A file of so many slots, and its view. 0 or an errno value: ENOMEM, EMFILE, ENFILE, EFBIG (RLIMIT_FSIZE), ENOSYS. */
int share_make(struct share_view *view, unsigned slots, int *file);
/* The view's limits are final: the manager is about to map the file. */
void share_set_limits(const struct share_view *view);
/* Memory for some more slots from this one on, which is not taken by a fault, as that would be SIGBUS where there is
 * none. How many; 0: ENOMEM. */
unsigned share_back(const struct share_view *view, int file, unsigned slot);
int share_map(struct share_view *view, int file);
void share_unmap(struct share_view *view);
/* The file for what is long: of *size bytes, as much as RLIMIT_FSIZE permits. */
int share_make_bulk(int *file, uint64_t *size);

/* A range of the file for long data: a place, and then its memory. 0 or an errno value: EFBIG (no room left); ENOMEM.
 * Between the two the place is written down where it is found again if the worker is killed. */
int share_bulk_place(const struct share_view *view, uint64_t length, uint64_t *at, uint64_t *room);
int share_bulk_fill(const struct share_view *view, uint64_t at, uint64_t room);
void share_bulk_give(const struct share_view *view, uint64_t at, uint64_t room);
void *share_bulk_map(const struct share_view *view, uint64_t at, uint64_t length, bool writable); /* NULL: ENOMEM */
void share_bulk_unmap(void *data, uint64_t length);
/* Whether a range that was read from a slot can be that of an output: it begins where ranges do, ends within the file,
 * and is no longer than what the file has of memory, as the map would take as much as it lacks. */
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

/* SLOT_ENDED, told to whoever waits. The caller has set what it ended with, and `from` is the state that it may end.
 * False: it is in that state no longer. */
bool share_end(const struct share_view *view, unsigned slot, unsigned from);
/* Counts up an eventfd by one. */
void share_count(int event);
/* What share_end does after the state has changed; again after the death of who was to do it. */
void share_tell(const struct share_view *view, unsigned slot, bool always);
/* The manager looks at once. */
void share_poke(const struct share_view *view);
/* A sleeping worker gets up. False: there is none. */
bool share_wake_one(const struct share_view *view);

uint64_t share_clock(void);
void share_futex_wake(_Atomic unsigned *word, int count);
/* For at most `wait_ns`, UINT64_MAX: without an end. */
void share_futex_wait(_Atomic unsigned *word, unsigned value, uint64_t wait_ns);

/* code.c: the executable mappings of this process. */
void share_note_code(struct share *share);
struct code_cache {
	struct code_known { uintptr_t function; uint64_t changes; } known[16];
};
/* The program's function is in a mapping that the template has as well. */
bool share_has_code(const struct share *share, struct code_cache *cache, odf_task_function function);

/* manager.c: what runs in the manager; a pool_function. fds: the file, the file for long data, poke, tell. */
int manager_main(const void *argument, size_t length, const int *fds, size_t count);
/* worker.c */
_Noreturn void worker_run(const struct share_view *view, unsigned worker, pid_t manager);
#endif
