/* SPDX-License-Identifier: MIT
 *
 * The part of internal.h, which includes it, about settling, about the keeper, and about orders to the keeper. */
#ifndef ODF_REGION_SETTLING_H
#define ODF_REGION_SETTLING_H

/* ---- settle.c, by the keeper ---- */
/* How threads are kept from the memory during a step: by userfaultfd, or because the program has promised that none
 * touches it, or because its only thread waits. */
#define REGION_TAKEN_MOST (REGION_TABLE / REGION_PAGE)
#define REGION_RUNS       256
/* Working memory of a step: too large for a small stack, and not inherited by children. */
struct region_desk {
	struct region_run runs[REGION_RUNS];
	/* How much was taken out of home, and where each mapping of that ends, in the order of the step. */
	size_t taken, taken_count, taken_end[REGION_TAKEN_MOST];
};

/* By these the keeper chooses its pauses. */
struct region_progress {
	uint64_t step_ns; /* duration of the last step; 0: there was none */
	uint64_t rest_ns; /* about how long the rest takes without pauses */
	bool is_behind;   /* the last settles were not done before the next fork */
};

struct region_settler {
	int pagemap;
	int userfault; /* -1: the program does not touch the memory meanwhile */
	struct region_desk *desk;
	void (*between_steps)(const struct region_progress *progress);
	bool (*is_hurried)(uint64_t rest_ns);    /* a fork is expected before so much time has passed */
	bool (*is_looked_at)(void);              /* the program is stopped: a reader of its memory must not see a step
	                                            half done */
	uint64_t until_ns; /* no step but the first begins after it, on region_cpu_clock; 0: no limit */
};
/* The keeper's settler, if the keeper holds the lock and asks; otherwise NULL. */
const struct region_settler *region_own_settler(void);
/* Tests for descendants, and prepares what the next freeze needs. 0: steps may be made; an errno value: as of
 * region_settle. *epoch: steps may be made as long as the region has it. */
int region_settle_begin(struct odf_region *region, uint64_t *epoch);
/* Under the lock. 0, or an errno value; EAGAIN: the list of extents has changed, and with it the piece. */
int region_verify_as_keeper(struct odf_region *region, size_t from, size_t length);
/* Moves the pages at `place`, at most work_size bytes of one mapping, to scratch; a thread that touches the place
 * sleeps. 0, or an errno value: nothing has changed. After 0 the second wakes the threads. `error`: 0 if something else
 * has replaced the place; otherwise the pages are put back. */
int region_take_aside(struct odf_region *region, const struct region_settler *settler, char *place, size_t length);
void region_end_aside(struct odf_region *region, const struct region_settler *settler, char *place, size_t length,
		      int error);
/* Makes all of the region LIVE. 0 or an errno value: EBUSY (there are descendants), EAGAIN (a fork came between, or one
 * is pending), ETIME (the settler's time is over), ENOMEM, EIO... */
int region_settle(struct odf_region *region, const struct region_settler *settler);
/* Makes young memory at `from` LIVE memory, in a region that is LIVE as a whole, of a process that has not forked. 0;
 * EAGAIN: not now; another errno value: it stays young. *next: where to continue. */
int region_adopt_step(struct odf_region *region, const struct region_settler *settler, size_t from, size_t limit,
		      size_t *next);
/* For tests: no step moves page tables home, and even small regions have several steps. */
extern bool region_fresh_always;
/* For tests: no step leaves pages at home. */
extern bool region_take_out_always;
/* The keeper is another one, and may have other rights: forgets what was learned of the former one's. */
void region_hold_forget(void);

/* ---- at_fork.c, by the forking thread: async-signal-safe, without the lock ---- */
/* Before a fork. Settles, if it pays, in a process where nothing can settle beside the running program. */
void region_at_fork_settle(void);
/* After the freeze the fork begins; in the parent it ends. */
void region_at_fork_begin(void);
void region_at_fork_end(void);

/* ---- thin.c, by the keeper ---- */
/* Enough was released to pay for a test for descendants. The first: since it was last true, or in all if a child has
 * ended. The second: in all. */
bool region_thin_is_wanted(struct odf_region *region, bool child_ended);
bool region_thin_pays(const struct odf_region *region);
/* For a FROZEN region that cannot be made LIVE beside other threads: gives back the file's pages under pages of the
 * process's own. Result as of region_settle. */
int region_thin(struct odf_region *region, const struct region_settler *settler);

/* ---- older.c, by the keeper ---- */
/* There are descendants: gives back the file's pages that none of them needs. `faults`: page faults of the process so
 * far. */
void region_drop_older(struct odf_region *region, const struct region_settler *settler, uint64_t faults);
void region_older_release(struct odf_region *region); /* the memory for that; by the thread that ends the region */
/* For tests: always, and not only if it pays. */
extern bool region_older_always;

/* ---- views.c, by the keeper ---- */
/* For measurements: the size of all chunks, 0 for none; SIZE_MAX: as decided in views.c. */
extern size_t region_chunk_override;
/* Make what the next freeze needs. 0 or an errno value. Under the lock. */
int region_template_make(struct odf_region *region);
int region_aside_make(struct odf_region *region);
/* New places for steps, after another's mapping came to lie in the old ones. */
int region_work_make(struct odf_region *region);

/* ---- huge.c, by the keeper ---- */
/* Begins or continues a pass over a LIVE region that makes large pages, for a bounded time. Returns when to come
 * again. */
uint64_t region_gather(struct odf_region *region, uint64_t now);

/* ---- The keeper (keeper.h) ---- */
enum region_order { REGION_ADOPT, REGION_RELEASE, REGION_SETTLE, REGION_SETTLE_AT_FORK, REGION_DRAIN, REGION_RESIDENT };
/* Has the keeper carry it out. 0 or an errno value; ESRCH: there is no keeper. Not under the lock. */
int region_order(enum region_order order, struct odf_region *region, uint64_t *result);
/* The same if no other thread is giving an order, else EBUSY. Async-signal-safe. */
int region_order_now(enum region_order order, uint64_t *result);
/* REGION_SETTLE_AT_FORK, as above. E2BIG: nothing was done, as it would take too long; ETIME: a slice was done. Times
 * are CPU time, which other work on the machine changes little. */
struct region_allowance {
	uint64_t all_pages;        /* up to so many pages to merge, all is settled, */
	uint64_t all_ns, slice_ns; /* in about this time; of more, a slice in about that time; 0: none */
	uint64_t merged, took_ns;  /* the answer: merged pages, and the time */
};
int region_order_settle(struct region_allowance *allowed);
/* keeper_freezes.c: has the keeper freeze all for a fork of the calling thread, and note the fork as pending, as
 * region_pending_begin does. The caller holds nothing that others wait for. EBUSY, ESRCH: the caller is to freeze by
 * itself; or another error. `most_ms`: after about so many milliseconds the caller no longer waits for a keeper that
 * has not begun (EBUSY); 0: it waits. Async-signal-safe. */
int region_order_freeze(const void *frame, unsigned most_ms);
void region_forget_freezes(void); /* in a child */
void region_resume_freezes(void); /* a new keeper makes the freezes that a former one has begun */
/* Has the keeper, or a new one if there is none, make the files of a new region, its views and its place in the list. 0
 * or an errno value; EAGAIN: there is no room for another process; EBUSY: not by this thread, whose limits the keeper
 * could not leave (keeper_starter.c); ECHILD: children of this process live in another PID namespace. Calls of this and
 * of region_keeper_stop exclude each other (create.c). Async-signal-safe as far as its caller is. */
int region_keeper_start(struct odf_region *region);
/* Ends the keeper as soon as no step is under way. */
void region_keeper_stop(void);
/* The same if no thread is giving an order. Async-signal-safe. */
bool region_keeper_stop_now(void);
bool region_keeper_runs(void);
/* It has no work left, and was not left alone (below). */
bool region_keeper_is_idle(void);
/* It has ended without being told to; it was killed, for example. */
bool region_keeper_died(void);
/* Something was frozen. Costs the caller next to nothing, unless the keeper is in a long sleep. Async-signal-safe. */
void region_keeper_notify(void);
/* A child was made whose end is worth noticing. Async-signal-safe. */
void region_keeper_child(int id);
/* There is work for the keeper: wakes it. Async-signal-safe. */
void region_keeper_call(void);
/* The keeper does the work that it has, and then ends by itself. Nobody waits for it, and a little of it stays until
 * the program ends. */
void region_keeper_leave_alone(void);
/* There is no keeper any more, or this is a child, which has none. */
void region_keeper_forget(void);
odf_region_settling region_keeper_settling(void);
#endif
