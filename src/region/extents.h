/* SPDX-License-Identifier: MIT
 *
 * What lies where in a region, and its views of the file: the part of internal.h, which includes it, that is about
 * extents. */
#ifndef ODF_REGION_EXTENTS_H
#define ODF_REGION_EXTENTS_H

/* ---- The list (extent_list.c) ---- */
#define REGION_EXTENTS       ((size_t)131072)
#define REGION_EXTENTS_FIRST ((size_t)1024) /* of a region in place, whose list grows with what is in it */
/* A page of the list: sorted; neighbours that are alike are one, also of two blocks. */
#define REGION_BLOCK_MOST  ((REGION_PAGE - sizeof(size_t)) / sizeof(struct region_extent))
#define REGION_BLOCK_LEAST ((size_t)83) /* but one that is alone, which has one at least */
struct region_block {
	size_t count;
	struct region_extent list[REGION_BLOCK_MOST];
};
/* All that there is to say of the list. There are two, a page each, and behind them the blocks. */
struct region_extents {
	size_t count;
	size_t pieces; /* how many begin behind memory */
	size_t most;   /* extents: there is room for so many */
	size_t behind; /* the first block is so many pages behind this */
	size_t blocks, known;
	/* Numbers of blocks: of those that are in use, in the order of what they have; and of those that were, up to
	 * `known`. */
	unsigned short order[];
};
static inline struct region_block *region_block_of(const struct region_extents *extents, size_t number)
{
	return (struct region_block *)(uintptr_t)((const char *)extents + (extents->behind + number) * REGION_PAGE);
}
/* An extent: which of which block. Behind the last one there is the first of no block. */
struct region_place {
	size_t block, index;
};
/* What is at `place`, which moves on to the next. NULL: nothing is. */
const struct region_extent *region_extent_next(const struct region_extents *extents, struct region_place *place);
/* What is before `place`, which moves there. */
const struct region_extent *region_extent_before(const struct region_extents *extents, struct region_place *place);
struct region_place region_extents_end(const struct region_extents *extents);

/* ---- extent_room.c, under the lock ---- */
/* A list with room for so many, of one extent. NULL: there is no memory for it. */
struct region_extents *region_extents_make(void *hint, size_t most, struct region_extent extent);
void region_extents_unmap(struct odf_region *region);
/* The second of the two. */
struct region_extents *region_extents_other(const struct region_extents *extents);
/* Where both are, with their blocks. NULL: there is none. */
const void *region_extents_where(const struct odf_region *region, size_t *size);
/* There is room for so many more, or is now. */
bool region_makes_room(struct odf_region *region, size_t more);

/* ---- extent_list.c, under the lock ---- */
/* The segment or extent at `at` in a walk over [at, limit): like region_run_at, without copying. NULL: memory. */
const struct region_extent *region_extent_at(const struct odf_region *region, size_t at, size_t limit, size_t *end);
/* How far from `at` on all is LIVE, or all is FROZEN; *end is at most what it was. */
bool region_is_live(const struct odf_region *region, size_t at, size_t *end);
/* Memory that is not there is the program's doing, by a system call past the library: no fork is to fail for it. True:
 * something was found. */
bool region_forget_unmapped(struct odf_region *region, size_t from, size_t length);
/* For what changes the list one run at a time. False: there is no room for two more. */
bool region_has_room(struct odf_region *region);
/* [run.from, + run.length) is of run's kind from now on. Asked for room before anything is changed. */
void region_record(struct odf_region *region, struct region_extent run);

/* ---- source.c, under the lock ---- */
int region_source_make(struct odf_region *region);
/* A second view of the file, hidden, in the place of what is at `to`: without rights, but of memory that is executable,
 * where it has those of memory. */
bool region_map_view(struct odf_region *region, char *to, size_t from, size_t length);
/* The view has the rights of memory from now on. */
bool region_open_view(const struct odf_region *region, char *view, size_t length);
bool region_is_executable(const struct odf_region *region);
/* Anonymous zeros with the rights of its memory. False: refused, and what was there is there. */
bool region_map_memory(const struct odf_region *region, size_t from, size_t length);
bool region_punch(struct odf_region *region, size_t from, size_t length); /* takes the file's pages */
/* Something may be moved to aside. Lost, it is made again by the keeper. */
bool region_has_aside(struct odf_region *region);

/* ---- extent.c, under the lock ---- */
typedef int region_run_function(struct odf_region *region, struct region_extent run, bool live);
/* For each run of [from, from + length) whose kind is among `kinds`. Stops at the first that fails. */
int region_for_runs(struct odf_region *region, size_t from, size_t length, unsigned kinds,
		    region_run_function *function);
/* region_cut, of memory that is known to be the region's. */
int region_cut_known(struct odf_region *region, size_t from, size_t length);
int region_advise(struct odf_region *region, int advice); /* all segments; 0 or an errno value */
/* An inaccessible place. False: refused; what is there may be gone. */
bool region_map_nothing(char *start, size_t length);
/* Punches what is stale at `at`, as far as it goes in bounded time. By the keeper, when nobody else can map the file.
 * *end: how far it came. */
int region_clean(struct odf_region *region, const struct region_extent *extent, size_t at, size_t limit, size_t *end);

/* ---- extent_lose.c, under the lock ---- */
/* Memory, holes and islands become foreign places, which the program or the kernel has made of them; 0 or ENOMEM. */
int region_lose(struct odf_region *region, size_t from, size_t length);
/* The program's own mapping is there now. */
int region_lose_run(struct odf_region *region, struct region_extent run, bool live);
/* Memory that the program has sealed, and cannot write, becomes a foreign place as it is. */
int region_leave_sealed(struct odf_region *region, size_t from, size_t length);
int region_unmap_holes(struct odf_region *region); /* they are foreign places then */

/* ---- folded.c, under the lock ---- */
/* Where what is memory, or may become it, begins and ends. */
size_t region_lowest(const struct odf_region *region);
size_t region_top(const struct odf_region *region);
/* Where what is memory ends; 0: there is none. */
size_t region_highest(const struct odf_region *region);
/* The source reaches up to there. False: it cannot. */
bool region_source_unfold(struct odf_region *region, size_t from, size_t to);
void region_source_fold(struct odf_region *region);
void region_source_drop(struct odf_region *region);
/* The same of the template, as long as nothing was taken out of it. */
bool region_template_unfold(struct odf_region *region, size_t to);
/* It is made smaller after use. */
bool region_template_folds(const struct odf_region *region);
/* Past [from, from + length), which was taken out of it. */
void region_template_fold(struct odf_region *region, size_t from, size_t length);
void region_template_unmap(struct odf_region *region, size_t from, size_t length); /* as far as it is there */
/* The template is there, and has what is to be LIVE at [from, to). */
bool region_template_reaches(const struct odf_region *region, size_t from, size_t to);
/* The place at aside is ours, for what is to be moved there. False: another one has it; the keeper is to find
 * others. */
bool region_aside_take(struct odf_region *region, size_t from, size_t length);
/* It is not needed any more. Of what is FROZEN, or was moved there. */
void region_aside_release(struct odf_region *region, size_t from, size_t length);
/* The same of what may be there, and of another region the place is kept. */
void region_aside_clear(struct odf_region *region, size_t from, size_t length);
/* All of it. */
void region_aside_drop(struct odf_region *region);
/* The same of what a step of so much at `at`, an offset, takes of scratch and of staging. */
bool region_work_take(struct odf_region *region, size_t at, size_t length);
void region_work_release(struct odf_region *region, char *place, size_t but);
/* By the keeper: the views reach down to where memory is to come into the region. 0 or an errno value. */
int region_views_reach(struct odf_region *region);
/* Some region wants that. */
extern atomic_bool region_reach_wanted;
/* Addresses for so much of its own, with nothing there; of one in place. */
char *region_place_beside(struct odf_region *region);

/* ---- young.c, under the lock ---- */
/* Young memory becomes memory that is FROZEN, with all of its pages the process's own, for the next settle to take
 * into the file. Of a region that is FROZEN and visible. What cannot be stays young. */
void region_adopt_young(struct odf_region *region, struct region_maps *maps);
/* There may be such. */
bool region_has_to_adopt(const struct odf_region *region);
/* Of a region that is LIVE: young memory at `from`, *length at most, is marked as what a settle takes in; and is memory
 * from now on, or young as it was if that failed. 0; EAGAIN: not now; ENOENT: it is not there. */
int region_begin_adopting(struct odf_region *region, size_t from, size_t *length);
void region_end_adopting(struct odf_region *region, size_t from, size_t length, int error);
/* The next young memory from `from` on of which a freeze would adopt any, up to *end; `region->capacity`: there is
 * none. */
size_t region_next_young(const struct odf_region *region, size_t from, size_t *end);
/* How much of it there is that a freeze would adopt for its own sake. */
size_t region_young_bytes(const struct odf_region *region);
#endif
