/* SPDX-License-Identifier: MIT
 * A step of settling. For settle.c, pace.c, hold.c and merge.c, and stray.c for the guard. */
#ifndef ODF_REGION_STEP_H
#define ODF_REGION_STEP_H

#include "internal.h"

struct step {
	size_t from, length;
	char *scratch, *staging, *home, *aside;
	char *into;    /* the view of the file through which the private pages are merged */
	/* What comes home is a view without page tables: the program maps again what it touches again, a microsecond
	 * a page. Each table that moves is told to every processor that runs the program, 13 us apiece, twice. */
	bool is_fresh;
	bool adopts; /* young memory, where all is LIVE: what comes home is a view that was made for it */
	bool may_protect;  /* it is worth what it costs */
	bool is_protected; /* the private pages are still at home, and may be read there; else they are at scratch */
};

/* ---- hold.c ---- */
/* The private pages of a piece, as far as was looked. */
struct step_pages {
	size_t count, first; /* offset; SIZE_MAX: there is none */
};
/* Whether it is worth to protect the piece, which may become shorter for that. Without the lock, as its length is
 * chosen. */
void step_choose_how_to_hold(const struct odf_region *region, struct step *step, const struct step_pages *private);

/* Under the lock: */
/* From now on nobody writes to the piece: who tries sleeps. 0, or an errno value: it is as it was. */
int step_hold(struct odf_region *region, const struct region_settler *settler, struct step *step);
/* The step has failed: it is as it was, and nobody sleeps any more. */
void step_let_go(struct odf_region *region, const struct region_settler *settler, const struct step *step);
/* Something else has taken the place of home. */
void step_wake(const struct region_settler *settler, const struct step *step);
/* Which pages of the piece are private, at home or at scratch. Like region_private. */
long step_private(const struct region_settler *settler, const struct step *step, char *start, char *end, char **walked);
/* Scratch is left with pages that nobody needs; dropping them takes its time and no lock. */
void step_clear_scratch(struct odf_region *region, const struct step *step);
/* A place of the step's after a move away from there (error 0) or a failed one to there. 0, or ENOMEM: it is lost. */
int step_reserve_or_lose(struct odf_region *region, int error, char *address, size_t size);
/* After a step in which a part of its places was lost. What is around that part is ours. */
void step_give_up_places(struct odf_region *region);

/* ---- pace.c ---- */
size_t pace_count_tables(const struct odf_region *region);
/* `rest`: how many of them there are still. */
bool pace_wants_fresh(const struct odf_region *region, const struct region_settler *settler, size_t tables,
		      size_t rest);
/* A fork is about to come. Then a step takes more, and so much where that is all there is: between two steps the
 * program writes on, and forks; of one that has all of it who writes waits for the end, and the fork after that copies
 * nothing. */
#define STEP_LAST_PAGES ((size_t)16 * REGION_STEP_PAGES)
struct step_haste {
	bool is_hurried;
	bool may_be_last; /* it is worth to look whether that is all */
};
bool pace_may_be_last(const struct odf_region *region);
bool pace_is_late(const struct odf_region *region, const struct region_settler *settler, size_t rest);
/* In bytes; `done` so many. */
size_t pace_largest_step(const struct odf_region *region, size_t tables, size_t done, bool is_fresh);
void pace_learn(struct odf_region *region, const struct step *step, uint64_t step_ns);
void pace_note_interruption(struct odf_region *region);
void pace_note_completion(struct odf_region *region);

/* ---- merge.c ---- */
/* What lies beyond the end of the file, in the last table, has no pages. */
size_t step_within_file(const struct odf_region *region, const struct step *step);
/* What is private of the piece, which lies at `source`, is copied to the file. Under the lock, and no descendant is
 * left (invariant 1). 0 or an errno value: EAGAIN, also where a part of it was unmapped at that moment, by a call that
 * nobody saw; the next step looks first. EFAULT: again and again. */
int step_merge(struct odf_region *region, const struct region_settler *settler, const struct step *step,
	       const char *source);

/* ---- guard.c ---- */
/* Calls it. EFAULT: it came upon memory that is not there, and was left amid what it did. */
int keeper_try(int (*function)(void *), void *argument);
#endif
