/* SPDX-License-Identifier: MIT
 *
 * What the keeper does, and how it is told to: the part of internal.h, which includes it, that is about settling. */
#ifndef ODF_REGION_SETTLING_H
#define ODF_REGION_SETTLING_H

/* ---- settle.c, by the keeper ---- */
/* How the rest of the program is kept from the memory meanwhile: by userfaultfd, or by its word that it keeps off. */
#define REGION_TAKEN_MOST (REGION_TABLE / REGION_PAGE)
#define REGION_RUNS       256
/* What a step works with: too much for a small stack, and in memory that children do not copy. */
struct region_desk {
	struct region_run runs[REGION_RUNS];
	/* What was taken out of home, mapping by mapping, in the order of the step. */
	size_t taken, taken_count, taken_end[REGION_TAKEN_MOST];
};

/* What the keeper's pace follows from. */
struct region_progress {
	uint64_t step_ns; /* how long the last step took; 0: there was none */
	uint64_t rest_ns; /* about how long the rest takes, step by step without pauses */
	bool is_behind;   /* the last settles were not done in time */
};

struct region_settler {
	int pagemap;
	int userfault; /* -1: the program is quiet */
	struct region_desk *desk;
	void (*between_steps)(const struct region_progress *progress);
	bool (*is_hurried)(uint64_t rest_ns);    /* there may be a fork before so much time has passed */
	bool (*is_looked_at)(void);              /* the program is stopped: who reads its memory now is not to meet a
	                                            step */
	uint64_t until_ns; /* no step but the first begins after it, on region_cpu_clock; 0: never mind */
};
/* The keeper's, if it is the keeper that asks and has the lock; else NULL. */
const struct region_settler *region_own_settler(void);
/* Asks for descendants and gets ready what the next freeze takes. 0: steps may be made; an errno value: see
 * region_settle. *epoch: steps are right as long as it is the region's. */
int region_settle_begin(struct odf_region *region, uint64_t *epoch);
/* Under the lock. 0, or an errno value; EAGAIN: something there is not the region's any more, and what is left is
 * another piece. */
int region_verify_as_keeper(struct odf_region *region, size_t from, size_t length);
/* What is mapped at `place`, at most work_size bytes of one mapping, is at scratch, and a thread that touches it
 * sleeps. 0, or an errno value: it is as it was. After 0, the second: nobody sleeps any more. `error`: another one than
 * 0 if nothing else took the place; then it is as it was. */
int region_take_aside(struct odf_region *region, const struct region_settler *settler, char *place, size_t length);
void region_end_aside(struct odf_region *region, const struct region_settler *settler, char *place, size_t length,
		      int error);
/* Makes all of the region LIVE. 0 or an errno value: EBUSY, EAGAIN (a fork came between; or one is pending), ETIME (the
 * settler's time is over), ENOMEM, EIO... */
int region_settle(struct odf_region *region, const struct region_settler *settler);
/* Makes LIVE memory of young memory at `from`, of a region that is LIVE as a whole and of a process that has not
 * forked. 0; EAGAIN: not now; another errno value: it stays young. *next: what comes after. */
int region_adopt_step(struct odf_region *region, const struct region_settler *settler, size_t from, size_t limit,
		      size_t *next);
/* For tests: no step moves page tables home, and small regions have several steps all the same. */
extern bool region_fresh_always;
/* For tests: no step leaves pages where they are. */
extern bool region_take_out_always;
/* What was learned of a keeper's rights is another keeper's. */
void region_hold_forget(void);

/* ---- at_fork.c, by who forks: async-signal-safe, without the lock ---- */
/* A fork comes: settles where only that can be done, if it pays. */
void region_at_fork_settle(void);
/* It begins, after the freeze, and is over in the parent. */
void region_at_fork_begin(void);
void region_at_fork_end(void);

/* ---- thin.c, by the keeper ---- */
/* What was released pays for a look for descendants. True: more than at the last look, which this is. */
bool region_thin_is_wanted(struct odf_region *region, bool child_ended);
bool region_thin_pays(const struct odf_region *region);
/* Of a FROZEN region that cannot be made LIVE beside other threads: gives back what the file holds under pages of the
 * process's own. As above. */
int region_thin(struct odf_region *region, const struct region_settler *settler);

/* ---- older.c, by the keeper ---- */
/* There are descendants: gives back what the file holds for none of them. `faults`: of the process so far. */
void region_drop_older(struct odf_region *region, const struct region_settler *settler, uint64_t faults);
void region_older_release(struct odf_region *region); /* its own memory. By whoever ends the region */
/* For tests: whenever it is asked, and not only where it pays. */
extern bool region_older_always;

/* ---- views.c, by the keeper ---- */
/* For measurements: the size of chunk to use always, and 0 for none; SIZE_MAX: as decided. */
extern size_t region_chunk_override;
/* Everything that the next freeze needs. 0 or an errno value. Under the lock. */
int region_template_make(struct odf_region *region);
int region_aside_make(struct odf_region *region);
/* Fresh places for steps, after something came to lie in the old ones. */
int region_work_make(struct odf_region *region);

/* ---- huge.c, by the keeper ---- */
/* Goes on with, or begins, a pass over a LIVE region that makes large pages, for a bounded time. When to come again. */
uint64_t region_gather(struct odf_region *region, uint64_t now);

/* ---- The keeper (keeper.h) ---- */
enum region_order { REGION_ADOPT, REGION_RELEASE, REGION_SETTLE, REGION_SETTLE_AT_FORK, REGION_DRAIN, REGION_RESIDENT };
/* Has the keeper do it; 0 or an errno value, ESRCH: there is none. Not under the lock. */
int region_order(enum region_order order, struct odf_region *region, uint64_t *result);
/* The same if nobody else is giving orders, else EBUSY. Async-signal-safe. */
int region_order_now(enum region_order order, uint64_t *result);
/* REGION_SETTLE_AT_FORK, as above. E2BIG: nothing was done, as it would take too long; ETIME: a slice was done. Times
 * are of the processor, which other work on the machine changes little. */
struct region_allowance {
	uint64_t all_pages;        /* with so many to merge all of it is settled, */
	uint64_t all_ns, slice_ns; /* in about so long; else a slice of about so long; 0: then not at all */
	uint64_t merged, took_ns;  /* the answer: pages, and how long */
};
int region_order_settle(struct region_allowance *allowed);
/* keeper_freezes.c: has the keeper freeze all for a fork of the calling thread, and note it as pending, as
 * region_pending_begin does. Holds nothing that others wait for. EBUSY, ESRCH: do it yourself; or another error.
 * `most_ms`: after about so many milliseconds a keeper that has not begun is not waited for (EBUSY); 0: it is.
 * Async-signal-safe. */
int region_order_freeze(const void *frame, unsigned most_ms);
void region_forget_freezes(void); /* in a child */
void region_resume_freezes(void); /* what a keeper that has ended began with, the next one does */
/* Has a keeper, the one that there is or a new one, make the files of a new region, its views and its place in the
 * list. 0 or an errno value; EAGAIN: there is no room for a further process; EBUSY: not by this thread, whose limits
 * the keeper could not leave (keeper_starter.c); ECHILD: children of this process live in another PID namespace. Calls
 * of this and of region_keeper_stop exclude each other (create.c). Async-signal-safe as far as its caller is. */
int region_keeper_start(struct odf_region *region);
/* Ends it, as soon as no step is under way. */
void region_keeper_stop(void);
/* The same if nobody is giving orders. Async-signal-safe. */
bool region_keeper_stop_now(void);
bool region_keeper_runs(void);
/* Nothing is left for it to do. */
bool region_keeper_is_idle(void);
/* It was killed by somebody. */
bool region_keeper_died(void);
/* Something was frozen. Costs the caller next to nothing, unless the keeper is fast asleep. Async-signal-safe. */
void region_keeper_notify(void);
/* A child has been made, whose end is worth to be noticed. Async-signal-safe. */
void region_keeper_child(int id);
/* Something is missing that a fork needs. Async-signal-safe. */
void region_keeper_call(void);
/* What it still has to do it does, and then ends by itself; nobody waits for it, and a little of it stays until the
 * program ends. */
void region_keeper_leave_alone(void);
/* In a child there is none. */
void region_keeper_forget(void);
odf_region_settling region_keeper_settling(void);
#endif
