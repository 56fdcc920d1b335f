/* SPDX-License-Identifier: MIT
 *
 * The part of internal.h, which includes it, about extents: what lies where in a region, and its views of the file. */
#ifndef ODF_REGION_EXTENTS_H
#define ODF_REGION_EXTENTS_H

/* ---- The list (extent_list.c) ---- */
#define REGION_EXTENTS       ((size_t)131072)
#define REGION_EXTENTS_FIRST ((size_t)1024) /* of a region in place, whose list grows with the number of extents */
/* Each child inherits pages of the region's structure and of its first list of extents. For the first regions in place
 * these lie side by side, one region in each slot, in as few page tables as possible: a fork makes each page table
 * anew. */
#define REGION_SLOT ((size_t)128 << 10)
/* A page of the list. Extents are sorted; neighbours that are alike are one extent, also across two blocks. */
#define REGION_BLOCK_MOST  ((REGION_PAGE - sizeof(size_t)) / sizeof(struct region_extent))
#define REGION_BLOCK_LEAST ((size_t)83) /* in a block; 1 in the only block */
struct region_block {
	size_t count;
	struct region_extent list[REGION_BLOCK_MOST];
};
/* The index of the list. There are two, a page each; the blocks lie behind them. */
struct region_extents {
	size_t count;
	size_t pieces; /* how many extents directly follow memory */
	size_t most;   /* room for so many extents */
	size_t behind; /* the first block lies so many pages behind this */
	size_t blocks, known;
	/* Block numbers: first of the blocks in use, in the order of their extents; then, up to `known`, of the blocks
	 * that were in use before. */
	unsigned short order[];
};
static inline struct region_block *region_block_of(const struct region_extents *extents, size_t number)
{
	return (struct region_block *)(uintptr_t)((const char *)extents + (extents->behind + number) * REGION_PAGE);
}
/* The place of an extent: its block in the order, and its index in that. The place behind the last extent is index 0 of
 * a block that does not exist. */
struct region_place {
	size_t block, index;
};
/* The extent at `place`, which moves to the next one. NULL: there is none. */
const struct region_extent *region_extent_next(const struct region_extents *extents, struct region_place *place);
/* The extent before `place`, which moves there. NULL: there is none. */
const struct region_extent *region_extent_before(const struct region_extents *extents, struct region_place *place);
struct region_place region_extents_end(const struct region_extents *extents);

/* ---- extent_room.c, under the lock ---- */
/* A list with room for `most` extents that contains this one. NULL: there is no memory for it. */
struct region_extents *region_extents_make(void *hint, size_t most, struct region_extent extent);
void region_extents_unmap(struct odf_region *region);
/* The other index. */
struct region_extents *region_extents_other(const struct region_extents *extents);
/* The mapping that has both indexes and their blocks. NULL: the region has no list. */
const void *region_extents_where(const struct odf_region *region, size_t *size);
/* Makes room for so many more extents, if there is none. False: it cannot. */
bool region_makes_room(struct odf_region *region, size_t more);

/* ---- extent_list.c, under the lock ---- */
/* The run at `at` in a walk over [at, limit), which ends at *end: like region_run_at, without a copy. NULL: it is
 * memory. */
const struct region_extent *region_extent_at(const struct odf_region *region, size_t at, size_t limit, size_t *end);
/* Whether the region is LIVE at `at`. Lowers *end to where that changes, if that is before it. */
bool region_is_live(const struct odf_region *region, size_t at, size_t *end);
/* Pages that are not mapped become foreign places: the program has unmapped them by a raw system call, and no fork may
 * fail for that. True: there were some. */
bool region_forget_unmapped(struct odf_region *region, size_t from, size_t length);
/* For a change of one run. False: there is no room for two more extents. */
bool region_has_room(struct odf_region *region);
/* Gives [run.from, + run.length) run's kind. The caller has made sure of room before it changed anything. */
void region_record(struct odf_region *region, struct region_extent run);

/* ---- source.c, under the lock ---- */
int region_source_make(struct odf_region *region);
/* Replaces what is mapped at `to` by another view of the file, which children do not get: without rights, unless memory
 * is executable; then with the rights of memory. */
bool region_map_view(struct odf_region *region, char *to, size_t from, size_t length);
/* Gives the view the rights of memory. */
bool region_open_view(const struct odf_region *region, char *view, size_t length);
bool region_is_executable(const struct odf_region *region);
/* Maps anonymous zeros with the rights of memory. False: refused, and the former mapping is still there. */
bool region_map_memory(const struct odf_region *region, size_t from, size_t length);
bool region_punch(struct odf_region *region, size_t from, size_t length); /* removes the file's pages */
/* A move to aside is possible. If aside is lost, the keeper makes a new one. */
bool region_has_aside(struct odf_region *region);

/* ---- extent.c, under the lock ---- */
typedef int region_run_function(struct odf_region *region, struct region_extent run, bool live);
/* Calls the function for each run of [from, from + length) of one of these kinds (bits); each run is LIVE or FROZEN as
 * a whole. Stops at the first failure. */
int region_for_runs(struct odf_region *region, size_t from, size_t length, unsigned kinds,
		    region_run_function *function);
/* region_cut, for memory that is known to be the region's. */
int region_cut_known(struct odf_region *region, size_t from, size_t length);
int region_advise(struct odf_region *region, int advice); /* for all segments; 0 or an errno value */
/* Makes the place inaccessible. False: refused; the former mapping may be gone. */
bool region_map_nothing(char *start, size_t length);
/* Punches the file under a stale extent from `at` on, as far as that goes in bounded time. By the keeper, while no
 * other process can map the file. 0, and *end: how far it came; or ENOMEM. */
int region_clean(struct odf_region *region, const struct region_extent *extent, size_t at, size_t limit, size_t *end);

/* ---- extent_lose.c, under the lock ---- */
/* Memory, holes and islands become foreign places, as the program or the kernel has made something else of them; 0 or
 * ENOMEM. */
int region_lose(struct odf_region *region, size_t from, size_t length);
/* The same for one run. */
int region_lose_run(struct odf_region *region, struct region_extent run, bool live);
/* Memory that the program has sealed, and cannot write, becomes a foreign place; its mapping stays as it is. */
int region_leave_sealed(struct odf_region *region, size_t from, size_t length);
int region_unmap_holes(struct odf_region *region); /* they become foreign places */

/* ---- folded.c, under the lock ---- */
/* Below the first offset, and from the second on, all is foreign, and nothing of it young. */
size_t region_lowest(const struct odf_region *region);
size_t region_top(const struct odf_region *region);
/* Where the last memory ends; 0: there is none. */
size_t region_highest(const struct odf_region *region);
/* Makes the source reach [from, to). False: it cannot. */
bool region_source_unfold(struct odf_region *region, size_t from, size_t to);
void region_source_fold(struct odf_region *region);
void region_source_drop(struct odf_region *region);
/* The same for the template, which reaches up to `to` then, as long as no part was taken out of it. */
bool region_template_unfold(struct odf_region *region, size_t to);
/* The template is cut back after use. */
bool region_template_folds(const struct odf_region *region);
/* Cuts it back after [from, from + length) was taken out of it. */
void region_template_fold(struct odf_region *region, size_t from, size_t length);
void region_template_unmap(struct odf_region *region, size_t from, size_t length); /* as far as the template reaches */
/* There is a template, and it covers [from, to), which is to be LIVE, or can be unfolded to there. */
bool region_template_reaches(const struct odf_region *region, size_t from, size_t to);
/* Reserves the place at aside, for memory that is to be moved there. False: it cannot; if another's mapping is there,
 * aside is lost, and the keeper makes a new one. */
bool region_aside_take(struct odf_region *region, size_t from, size_t length);
/* Unmaps the place at aside of FROZEN memory, or of memory that was moved there, as it is not needed any more. */
void region_aside_release(struct odf_region *region, size_t from, size_t length);
/* Unmaps the views that may be there; in a region that is not in place the place stays reserved. */
void region_aside_clear(struct odf_region *region, size_t from, size_t length);
/* Unmaps all of it. */
void region_aside_drop(struct odf_region *region);
/* Reserves places at scratch and at staging for a step of `length` bytes at offset `at`. The second unmaps one of them,
 * but for so many bytes at its beginning. */
bool region_work_take(struct odf_region *region, size_t at, size_t length);
void region_work_release(struct odf_region *region, char *place, size_t but);
/* By the keeper: makes the views reach down to the lowest memory that is to come into the region. 0 or an errno
 * value. */
int region_views_reach(struct odf_region *region);
/* Some region needs that; and the keeper has not done it in the time that a caller waits. */
extern atomic_bool region_reach_wanted, region_reach_is_late;
/* In a region in place: addresses beside the region's other places, with room for a view as large as home. Another
 * mapping may be there. A place for a view may be that of the other view, as a mapping that is there refuses the move;
 * one for aside or for steps is not, as nothing is mapped there until it is needed. */
char *region_place_beside(struct odf_region *region, bool for_view);

/* ---- young.c, under the lock ---- */
/* Young memory becomes FROZEN memory, all of whose pages are the process's own; the next settle merges them into the
 * file. For a region that is FROZEN and visible. Memory that cannot be adopted stays young. */
void region_adopt_young(struct odf_region *region, struct region_maps *maps);
/* There may be young memory to adopt. */
bool region_has_to_adopt(const struct odf_region *region);
/* For a region that is LIVE. The first marks young memory at `from`, at most *length bytes, as discarded, for a step
 * that adopts it. 0; EAGAIN: not now; ENOENT: there is none; ENOMEM. The second makes it memory, or, if the step has
 * failed, leaves it young as it was. */
int region_begin_adopting(struct odf_region *region, size_t from, size_t *length);
void region_end_adopting(struct odf_region *region, size_t from, size_t length, int error);
/* The next young memory from `from` on that is worth adopting, up to *end; `region->capacity`: there is none. */
size_t region_next_young(const struct odf_region *region, size_t from, size_t *end);
/* Bytes of young memory in runs that are long enough to be adopted by themselves. */
size_t region_young_bytes(const struct odf_region *region);
#endif
