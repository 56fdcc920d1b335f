/* SPDX-License-Identifier: MIT
 * A step of settling. For settle.c, pace.c, hold.c and merge.c, and for stray.c, which calls the guard. */
#ifndef ODF_REGION_STEP_H
#define ODF_REGION_STEP_H

#include "internal.h"

struct step {
	size_t from, length;
	char *scratch, *staging, *home, *aside;
	char *into;    /* the view of the file through which the private pages are merged */
	/* The view that comes home has no page tables: the program maps the pages that it touches again, a microsecond
	 * a page. Each table that is moved makes each processor that runs the program flush its TLB, 13 us apiece,
	 * twice. */
	bool is_fresh;
	bool adopts; /* young memory in a region that is LIVE as a whole: the view that comes home was made for it */
	bool may_protect;  /* protection is worth its cost */
	bool is_protected; /* the private pages stay at home, and may be read there; otherwise they are at scratch */
};

/* ---- hold.c ---- */
/* The private pages of a piece, as far as it was looked at. */
struct step_pages {
	size_t count, first; /* offset; SIZE_MAX: there is none */
};
/* Decides whether to protect the piece, which may become shorter for that. Without the lock, like the choice of its
 * length. */
void step_choose_how_to_hold(const struct odf_region *region, struct step *step, const struct step_pages *private);

/* Under the lock: */
/* From now on a thread that writes to the piece sleeps. 0, or an errno value: nothing has changed. */
int step_hold(struct odf_region *region, const struct region_settler *settler, struct step *step);
/* The step has failed: undoes step_hold and wakes the threads. */
void step_let_go(struct odf_region *region, const struct region_settler *settler, const struct step *step);
/* Something else has taken the place of home: wakes the threads. */
void step_wake(const struct region_settler *settler, const struct step *step);
/* The private pages of the piece, at home or at scratch. Result as of region_private. */
long step_private(const struct region_settler *settler, const struct step *step, char *start, char *end, char **walked);
/* Drops the pages that are left at scratch and not needed. That takes time, and needs no lock. */
void step_clear_scratch(struct odf_region *region, const struct step *step);
/* Reserves a place of the step again, after a move away from there (error 0) or a failed move to there. 0, or ENOMEM:
 * it is lost. */
int step_reserve_or_lose(struct odf_region *region, int error, char *address, size_t size);
/* After a step that has lost a part of its places: unmaps the rest, which is ours. */
void step_give_up_places(struct odf_region *region);

/* ---- pace.c ---- */
size_t pace_count_tables(const struct odf_region *region);
/* `rest`: how many tables are left. */
bool pace_wants_fresh(const struct odf_region *region, const struct region_settler *settler, size_t tables,
		      size_t rest);
/* A fork is expected soon. Then a step takes more pages, and up to this many if they are all that is left: between two
 * steps the program continues to write, and forks; during a step that takes all, a thread that writes waits for its
 * end, and the fork after it copies nothing. */
#define STEP_LAST_PAGES ((size_t)16 * REGION_STEP_PAGES)
struct step_haste {
	bool is_hurried;
	bool may_be_last; /* a look whether that is all is worth its cost */
};
bool pace_may_be_last(const struct odf_region *region);
bool pace_is_late(const struct odf_region *region, const struct region_settler *settler, size_t rest);
/* In bytes. `done`: bytes that are settled. */
size_t pace_largest_step(const struct odf_region *region, size_t tables, size_t done, bool is_fresh);
void pace_learn(struct odf_region *region, const struct step *step, uint64_t step_ns);
void pace_note_interruption(struct odf_region *region);
void pace_note_completion(struct odf_region *region);

/* ---- merge.c ---- */
/* The length of the piece up to the end of the file: the last table has no pages beyond that. */
size_t step_within_file(const struct odf_region *region, const struct step *step);
/* Copies the private pages of the piece, which lie at `source`, to the file. Under the lock, and no descendant is left
 * (invariant 1). 0 or an errno value. EAGAIN: also if a raw system call has unmapped a part of it at that moment; the
 * next step looks first. EFAULT: that has happened several times in a row. */
int step_merge(struct odf_region *region, const struct region_settler *settler, const struct step *step,
	       const char *source);

/* ---- guard.c ---- */
/* Calls the function. EFAULT: it has touched memory that is not mapped, and was left at that point. */
int keeper_try(int (*function)(void *), void *argument);
#endif
