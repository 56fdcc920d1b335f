/* SPDX-License-Identifier: MIT
 *
 * How a region works. For the files of this folder only.
 *
 * The address space of a region shares no page-table page with other memory. It is reserved as a whole when the region
 * is made; folded.c says what a region in place reserves instead. It has these parts:
 *
 *     tokens   two pages just below home: the current token and the next one
 *     home     what the program uses
 *     aside    while FROZEN: a shared view of the file that keeps home's page tables
 *     scratch  where a step of settling puts the private pages that it takes out of home
 *     staging  where a step prepares what it will put there
 *
 * The template can lie anywhere: a private view of the file without any page, which becomes home at the next freeze.
 *
 *     LIVE     home is a shared view of the file.
 *     freeze   1. mremap(home -> aside, MREMAP_DONTUNMAP): page tables move as wholes; home stays a shared view, now
 *                 empty
 *              2. mremap(template -> home): from here on writes make private copies, and children get home
 *     FROZEN   home is a private view of the file. Nobody writes to the file.
 *     settle   once the token shows that no descendant is left: step by step the private pages are merged into the
 *              file through the shared view, and that view is moved back home.
 *
 * A settle goes through the region in a circle. The part that it has done is LIVE, the rest FROZEN. A fork freezes the
 * LIVE part only, and the next settle starts behind it, so that each part has its turn.
 *
 * The heap's region has extents in home that are not its memory (extent.c): holes, where nothing is mapped for anybody;
 * islands, which are ordinary private memory of the program for good, as the kernel must act on them itself (rights,
 * locks, advice); and foreign places, where the program has mapped something else. Freeze and settle work on the
 * segments between extents and do not touch these.
 *
 * A region in place (young.c) is a window on addresses that the kernel gives to the program. Its home is not
 * reserved: all of it is foreign at first, and the program's own anonymous memory in it is called young. The states
 * of a piece of it:
 *
 *     foreign    nothing is mapped there, or something that is not the region's
 *     young      anonymous memory that the program has mapped by an interposed call
 *     memory     as above: LIVE or FROZEN
 *     island     as above
 *
 *     mapped by the program         foreign -> young
 *     freeze ("adopt")              young   -> memory, FROZEN, marked as discarded: the file has no page there, and
 *                                   the pages at home are the process's own
 *     settle                        memory, FROZEN -> LIVE: the pages of what was adopted are merged like any other
 *                                   private ones
 *     grown old ("aging")           young   -> memory, LIVE, if all of the region is
 *     overlaid when mapped          foreign -> memory
 *     rights, locks, advice         memory  -> island; young -> foreign, or young with other rights
 *     unmapped, mapped over         any     -> foreign; the kernel may map anything there
 *
 * In a child home is private memory of its own, and the child's region is never settled. When the maker of a region of
 * the heap has ended, its children copy what they need of the file and unmap it (part.c).
 *
 * Invariants; comments refer to them by number ("Invariant 3"):
 *   1. No page of a frozen file changes that a descendant may see. While a descendant may map the file no page changes,
 *      except pages that each descendant has copied for itself (older.c).
 *   2. The test for descendants is exact. A token page, which is a shared mapping of a writable file, goes with the
 *      snapshot to each descendant, however that was made, and its file can be sealed against writing exactly if no
 *      mapping of it is left. There is one token per freeze, or two: older descendants have one, younger ones the
 *      other. A descendant unmaps its token early only if nobody shares its memory and its next call is its last
 *      (ends.c).
 *   3. A child that was made past the library never shares memory with its parent. Home is MADV_DONTFORK where it is
 *      LIVE, and all of it from the test for descendants until the next freeze; in a window, not its anonymous memory,
 *      which has no page of the file. A child may have a token without home, which only delays the answer, but never
 *      home without its token.
 *   4. A freeze is all or nothing. If it fails, the part that was LIVE is LIVE, and the fork fails with ENOMEM.
 *   5. If there is any doubt, the region stays FROZEN, which is always correct and only slower.
 *   6. In a child home is ordinary private memory. What is discarded there, or in a FROZEN region, reads as zeros:
 *      anonymous memory is mapped over the range and recorded, and the settle punches the range out of the file.
 *
 * Locking: one lock for all regions. It is held for a freeze or one step, never across a fork, and never while waiting
 * for anything but the kernel. Forks under way are counted instead, and nothing becomes LIVE while there are any. The
 * holder of the lock has all signals blocked: a handler that forks never meets a lock that its own thread holds. The
 * keeper is a process of its own that shares this memory (keeper.h). Its descriptors are in its own table, which the
 * program cannot close and children do not inherit. No fork needs a descriptor.
 */
#ifndef ODF_REGION_INTERNAL_H
#define ODF_REGION_INTERNAL_H

#include <stdatomic.h>
#include <sys/mman.h>

#include "../sys/syscall.h"
#include "region.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define REGION_PAGE  ((size_t)4096) /* regions are refused on machines with other pages */
#define REGION_TABLE ((size_t)2 << 20)  /* what one page of page table entries maps; the unit of moving and settling */
#define REGION_PUD   ((size_t)1 << 30)  /* what one page of those maps: the largest single move */

/* From this capacity on a region is laid out in whole REGION_PUDs. */
#define REGION_WHOLE_PUDS ((size_t)8 << 20)

/* A settle step merges about this many pages: some hundred microseconds. */
#define REGION_STEP_PAGES 128

/* A settle that is behind by one makes no pauses between steps; by so many, it leaves page tables out, too. */
#define REGION_BEHIND_MOST 2u

/* A fork of FROZEN memory copies the page tables of each mapping in which a page was written, with those of pages that
 * were only read. So home can be several mappings, chunks: each costs a fork half a microsecond and a freeze a few
 * (bench/RESULTS.md). Chunks are made only if the last snapshot stayed FROZEN over further forks and
 * REGION_CHUNK_FAULTS pages were touched, and not smaller than REGION_CHUNK_LEAST. */
#define REGION_CHUNKS       16
#define REGION_CHUNK_LEAST  ((size_t)16 << 20)
#define REGION_CHUNK_FAULTS 4096u

/* Shorter runs of discarded pages get the kernel's zero page, if that is possible: for more pages a mapping is
 * cheaper. */
#define REGION_ZEROS_MAPPED ((size_t)256 << 10)
/* Otherwise shorter runs are overwritten with zeros: a mapping is dearer. */
#define REGION_DISCARD_MAPPED ((size_t)32 << 10)
/* And no more mappings than this per region: vm.max_map_count is 65530 for the whole process. */
#define REGION_DISCARD_RUNS 4096

/* One is lost only if a move fails half-way. */
#define REGION_OLD_ASIDES 8

#define REGION_OUTGROWN 2

struct odf_region {
	struct odf_region *next;
	char *reservation;
	size_t reservation_size;
	char *home, *aside, *scratch, *staging;
	char *tokens; /* where the two token pages end */
	char *beside; /* where large views of the file are to lie: away from where the kernel maps memory for the
	                 program */
	size_t length;    /* of home: capacity rounded up to whole tables, or to whole GiB */
	size_t work_size; /* of scratch and of staging */
	size_t capacity;
	unsigned flags;
	int rights; /* of its memory: to read and to write; of one in place it may be to execute, too */

	bool in_place;  /* home is a window on the program's own mappings (young.c) */
	bool inherited; /* this process is a child */
	bool absent;    /* and does not even have the memory */
	bool visible;   /* home is inherited by children: implies that all of it is FROZEN */
	bool vacant;    /* no descendant maps the file, nor can one before it is visible again: the verdict of the
	                   token */
	bool doubt;     /* the token may be wrong: never LIVE again (invariant 5) */
	int maker;      /* the process whose region it is, or was */
	size_t given_back; /* of what was inherited, by calls that were seen; counted again when it is given back
	                      again */
	bool left;      /* given up (leave.c): its memory is private memory of the process, and it is never frozen or
	                   settled again */
	odf_reason left_reason;
	bool shed;      /* it is being given up for lack of address space: the template is used up */
	size_t drained; /* how far the file has been emptied since */
	bool aside_lost; /* aside may hold another's mapping: the keeper makes a new one before the next freeze */
	char *old_asides[REGION_OLD_ASIDES]; /* those that were lost: views of the file that are not used */
	unsigned old_aside;
	size_t live_from, live_length; /* in a circle of `length` */
	char *template;                /* a mapping for at least the LIVE part, at the same offsets */
	size_t template_from, template_length; /* what the last freeze took out of it, in the circle */
	bool template_lost;            /* another's mapping lies in a part of it that was taken out: nothing of it
	                                  is unmapped */
	size_t chunk;                  /* the template is one mapping for each so many bytes; 0: one for all */
	uint64_t frozen_forks;         /* forks that found it FROZEN since that was decided */
	uint64_t epoch;                /* counts freezes: after a wait without the lock it shows that there was one */

	int token; /* slot of the current token: 0 or 1 */

	/* One bit per page that has anonymous zeros over it (invariant 6), whether there may be any, and about how
	 * many runs. */
	uint64_t *discarded;
	bool has_discarded;
	size_t discard_runs;

	char *lost_from;  /* a part of scratch or staging that may be another's, until the step is over; the last of
	                     lost_count */
	size_t lost_size;
	unsigned lost_count;
	size_t step_most; /* bytes of a step: less after one has failed */

	/* The parts of home that are not memory of the region; NULL: there are never any. A change prepares another
	 * list and puts it in place of this one, as a child may be made at any moment. */
	struct region_extents *extents;
	/* Lists that became too small, emptied. A reader without the lock may still look at them. */
	struct region_outgrown {
		void *start;
		size_t size;
	} outgrown[REGION_OUTGROWN];
	char *source; /* a view of the file without rights, of which others are made */
	/* In a region in place, source and template are one page each, at `..._from`, while they are not used
	 * (folded.c). In others they are whole. */
	size_t source_from, source_end, template_first, template_end;
	atomic_size_t reach; /* where the lowest memory lies that is to come into the region */
	size_t work_at, work_length; /* what a step has mapped of scratch and of staging, in a region in place */
	unsigned places; /* counts the places beside that were chosen (memory.c) */
	bool has_young; /* there may be young extents */
	bool young_waits; /* and some that no freeze has looked at since they changed, or that could not be adopted */
	bool young_missed; /* the last freeze could not adopt some: the keeper does */
	bool adopting;  /* memory that a freeze has adopted waits for the settle */
	bool no_young;  /* the list may call other memory young: none is adopted any more */
	atomic_bool has_islands;    /* there are some, or have been */
	bool is_placeholder; /* only its keeper is needed, as long as it is empty */
	bool gaps_seen; /* region_give has looked for what was moved away */
	atomic_bool rights_changed; /* young memory without rights may have got some since it was last looked at */

	/* The keeper's, -1: none. Numbers in its own table, which mean nothing in the program's. */
	int file, second_file, token_file, spare_file;
	int older_file; /* the token of older descendants, if they have another than the current one */
	/* A bit for each page that was the process's own when the current token was made; NULL: not looked up yet. Of
	 * which freeze, at how many page faults, and when to look again (older.c). */
	uint64_t *own_pages;
	bool older_marked;
	bool older_is_much; /* was written before that look */
	uint64_t older_epoch, older_faults, older_ns;
	uint64_t dropped_epoch; /* of which freeze the bits are that lie behind those */
	uint64_t view_device, view_inode; /* the file, as in /proc/PID/maps */
	uint64_t seen_epoch;  /* the freeze that the next member is about */
	uint64_t seen_faults; /* page faults of the process until the keeper noticed it */
	unsigned seen_forks;  /* the fork that the next members are about */
	unsigned ends_seen, ends_asked_for; /* ends of children: each is cause enough to ask once */
	uint64_t touched;     /* and since, when the settle began */
	uint64_t touched_read; /* so many of these wrote nothing; UINT64_MAX: some did */
	uint64_t read_look_ns; /* when that may be looked at again */
	uint64_t ask_ns;      /* when to ask again */
	uint64_t moved_table_ns, fresh_table_ns; /* a table's part of a step, with page tables and without (pace.c);
	                                            0: not known */
	uint64_t round_faults; /* between the last two freezes */
	uint64_t seen_interrupted; /* of the counter */
	size_t young_seen, young_floor, young_left; /* young bytes at the last look; the least since young_ns; not
	                                               adopted */
	uint64_t young_ns, young_look_ns; /* how long after a look the next one */
	unsigned behind;      /* how much faster than usual it settles: settles were not done before the next fork */
	unsigned in_time, patience; /* how many were done in time since, and how many are needed before it slows down */
	unsigned failures;    /* settles that failed one after the other, not counting those that had to wait */
	uint64_t thin_wait_ns; /* how long after that the next time */
	/* Of what was FROZEN, given back since it was thinned; and as the keeper last looked. */
	size_t released, released_at;

	size_t huge_at;       /* how far the pass over the region has come that makes large pages */
	uint64_t huge_spent;  /* by it so far */
	uint64_t huge_ns;     /* when the next one begins; UINT64_MAX: the kernel does not do it */

	odf_region_info counters;
	uint64_t frozen_ns, settled_ns; /* when it last became FROZEN, and LIVE as a whole; 0: never */
};

/* ---- lock.c ---- */

/* What both do around it. */
void region_hold_signals(uint64_t *mask);
void region_let_signals(const uint64_t *mask);
/* For the keeper: lets all other threads that wait take the lock first. Its only signal handler ends it. */
void region_lock_as_keeper(void);
void region_unlock_as_keeper(void);
/* The keeper holds the lock. Under the lock. */
bool region_lock_is_keepers(void);
/* In a child, by its only thread: makes the lock its own, and free. */
void region_lock_renew(void);
/* A thread waits for the lock. */
bool region_lock_wanted(void);

/* ---- Regions of this process, under the lock ---- */
extern struct odf_region *region_list;
/* Pages of regions that were buried, for the next ones. */
const struct odf_region *region_spares(void);

/* ---- pending.c, under the lock: forks between region_fork_begin and region_fork_end ---- */
bool region_has_pending_forks(void); /* nothing may become LIVE while there are any */
/* `frame`: an address in the frame of the function that ends it. `here`: one in that of the caller, or lower. */
void region_pending_begin(const void *frame);
void region_pending_begin_of(int process, int thread, const void *frame); /* called by another thread than that one */
/* What is at `frame` now stays there until the fork is over. Without the lock: nobody else looks at a note of a
 * thread that is alive. */
void region_pending_mark(const uint64_t *frame);
/* Both of the calling thread's, and without the lock. */
void region_pending_end(const void *here);
bool region_pending_has(const void *here); /* one that is not over at `here` */
void region_pending_forget(void);
/* Removes those of threads that have ended. True: one is so old that it will not end. */
bool region_pending_check(void);

/* ---- memory.c ---- */
/* In MAP_FAILED's place: NULL. */
void *region_map(void *address, size_t size, int protection, int flags, int file, size_t offset);
/* Memory that the library itself writes: in small pages, also where the kernel gives large pages unasked. */
void *region_map_own(void *address, size_t size);
/* The same; for a region with a place apart, beside its other mappings. */
void *region_map_beside(struct odf_region *region, size_t size, int protection, int flags, int file, size_t offset);
/* A view of its file without rights, of [first, end). Returned is where all of it would begin. */
char *region_map_view_beside(struct odf_region *region, int flags, size_t first, size_t end);
/* The same with the rights of its memory. */
char *region_map_file_beside(struct odf_region *region, int flags, size_t first, size_t end);
/* A view of one of its files, with the rights of its memory, without any page in it. */
void *region_map_file(const struct odf_region *region, void *address, size_t size, int flags, int file, size_t offset);
bool region_unlock_pages(void *address, size_t size); /* they are not locked */
int region_unmap(void *address, size_t size);
/* Moves one mapping, with its page tables; 0 or minus an errno value. */
int region_move(char *from, char *to, size_t size, bool leave_mapped);
/* Puts an inaccessible mapping over [address, size) if nothing is there. */
bool region_reserve_again(char *address, size_t size);
/* Repairs the destination of a move that failed: the kernel may have unmapped it first. False: another thread may have
 * mapped something there. */
bool region_place_after(int error, char *address, size_t size);
bool region_is_mapped(char *address, size_t size);
/* About half of a piece that turned out to be more than one mapping, in whole tables where it is long. */
size_t region_half(size_t length);
/* Finds out by effect what the kernel does. Once, by the keeper, before any region. */
void region_learn_refusal(void);
uint64_t region_clock(void);
uint64_t region_cpu_clock(void); /* of the calling thread */
void region_pause_ms(unsigned milliseconds);

/* The part [from, from + length) of the circle of r->length, as one or two straight pieces. Returns how many. */
struct region_piece {
	size_t from, length;
};
int region_pieces(const struct odf_region *region, size_t from, size_t length, struct region_piece pieces[2]);

/* ---- maps.c ---- */
/* A mapping as the kernel lists it. The device and inode of memory that no file is behind are 0. */
struct region_mapping {
	char *start, *end;
	uint64_t offset, device, inode;
	int protection;
	bool shared;
};
struct region_maps {
	int file;
	bool owned;     /* opened for this use */
	bool text_only; /* the kernel does not answer queries */
	bool started;   /* to read the text */
	size_t used, length;
	struct region_mapping last;
	char text[1024];
};
/* Under the lock. 0 or an errno value: the list cannot be had here. */
int region_maps_begin(struct region_maps *maps);
void region_maps_end(struct region_maps *maps);
/* The mapping at `at`, or the first one after it. 0, ENOENT: there is none, or another errno value. Cheapest in
 * ascending order. */
int region_maps_find(struct region_maps *maps, const char *at, struct region_mapping *found);
/* For the keeper: opens the list for good, whatever the program does to its descriptors and root. 0 or an errno
 * value. */
int region_maps_keep(void);
/* In a child: it has no keeper. */
void region_maps_forget(void);
/* The kernel answers queries, as far as is known: a microsecond for each. */
bool region_maps_are_quick(void);
/* The mappings have been changed. */
void region_maps_again(struct region_maps *maps);
/* By what the list names the region's file. 0 or an errno value. */
int region_note_file(struct odf_region *region);

/* ---- verify.c, under the lock ---- */
/* Compares the list of extents with the kernel's list of mappings in [from, from + length): the program may have
 * mapped, unmapped or protected memory there by raw system calls. Memory and holes with another mapping, or none,
 * become foreign places, memory with other rights an island. 0: the list is true of the range, or as true as it can be
 * where the kernel's list is not available. An errno value: it may not be. *changed: the list is another one. `maps`:
 * begun, or NULL. */
int region_verify(struct odf_region *region, struct region_maps *maps, size_t from, size_t length, bool *changed);
/* The same, with a list of its own. */
int region_verify_now(struct odf_region *region, size_t from, size_t length, bool *changed);

/* ---- stray.c ---- */
/* It is a view of the region's file. */
bool region_is_view(const struct odf_region *region, const struct region_mapping *mapping);
/* And is part of a view as large as home that lies, or lay, at `view`. The offset is compared too: another mapping may
 * lie where a view was used up. */
bool region_is_part_of(const struct odf_region *region, const struct region_mapping *mapping, const char *view);
/* Under the lock. `leave`: beside other threads the next function fails with EAGAIN, until this is called again;
 * returns whether it has. */
bool region_leave_strays(bool leave);
/* Under the lock. Views of the file where the library has put none become ordinary memory. 0 or an errno value. */
int region_bring_in_strays(struct odf_region *region, struct region_maps *maps);

#include "extents.h"

/* ---- leave.c, under the lock ---- */
/* Covers the LIVE memory there with a private view of the file, for good, if it cannot be moved. Needs the file's
 * descriptor. False: nothing was done. */
bool region_cover_by_mapping(struct odf_region *region, size_t from, size_t length);
/* Of the calling process. */
bool region_address_space_is_limited(void);
int region_give_up_all(odf_reason reason); /* 0, or an errno value if one at least could not be */
/* Of a region that was given up: empties the file, as far as no descendant needs it, in at most so many slices. By
 * the keeper, or before there is one. 0, EBUSY: there are descendants; or another errno value. */
int region_drain(struct odf_region *region, size_t most);
bool region_is_drained(const struct odf_region *region); /* given up, and drained */

/* ---- freeze.c, under the lock ---- */
int region_move_aside(struct odf_region *region, size_t from, size_t size); /* step 1 for a part; 0 or ENOMEM */
void region_template_drop(struct odf_region *region); /* what is left of it */
int region_cover(struct odf_region *region, size_t from, size_t size, size_t *done); /* step 2; 0 or ENOMEM */
void region_show_in_dumps(const struct odf_region *region, size_t from, size_t size);
int region_freeze(struct odf_region *region); /* 0 or ENOMEM */
bool region_is_empty(const struct odf_region *region); /* it is one hole, and a freeze leaves it alone */
int region_freeze_all(void);

/* ---- dump.c ---- */
/* Once, before the first region. */
void region_note_core_pattern(void);
/* Whether any are made. Before a freeze. */
void region_ask_for_dumps(void);
/* Private memory, fresh from the template, is in core dumps, if any are made. */
void region_mark_for_dumps(const struct odf_region *region, size_t from, size_t size);

/* ---- file.c ---- */
/* By the keeper, once, as long as it may open files: the files of so many regions. Of a region that comes after these
 * the file is a memfd without a second. */
#define REGION_FILES_IN_STOCK 8
void region_files_make(void);
void region_files_forget(void); /* they were another keeper's */
/* Or minus an errno value. `heaps`: what pages it has decides what the heap does. *second: the same file, opened a
 * second time, or -1: mappings of one and of the other never merge. */
int region_file_take(size_t size, bool heaps, int *second);

/* ---- token.c, by the keeper under the lock ---- */
int region_token_make(struct odf_region *region); /* the first one; 0 or an errno value */
/* 0: no descendant is left, and the region is hidden with a fresh token; EBUSY: there is one; or an error, as if it
 * had not been asked. */
int region_token_ask(struct odf_region *region);
/* Later descendants get another token than present ones, of which none may have an older one. 0 or an errno value. */
int region_token_renew(struct odf_region *region);
/* 0: no descendant is left that was made before that; EBUSY: there is one; or another errno value. */
int region_token_ask_older(struct odf_region *region);
char *region_token_page(const struct odf_region *region, int slot);
/* Home is inherited by children, or not. The token always is. */
int region_show(struct odf_region *region);
int region_hide(struct odf_region *region);

/* ---- private.c ---- */
struct region_settler;
struct region_run {
	char *start, *end;
};
/* Finds pages that are the process's own, present or swapped out, from `start` on: stops at `end`, after `max_pages`,
 * or when `runs` is full, and says where in *walked. `zeros`: the kernel's page of zeros as well, which under a private
 * view stands for zeros that were written. Returns the number of runs or minus an errno value. */
long region_private(int pagemap, char *start, char *end, bool zeros, size_t max_pages, struct region_run *runs,
		    size_t run_count, char **walked);
/* How many such pages there are in what is FROZEN of the region's memory; at least `most`: not all were counted. By the
 * keeper. */
uint64_t region_count_private(const struct odf_region *region, const struct region_settler *settler, uint64_t most);
/* The same of memory that is write-protected, zeros included; `marker`: what the list of pages shows of a protected
 * page that is not there. */
long region_private_beside(int pagemap, uint64_t marker, char *start, char *end, struct region_run *runs,
			   size_t run_count, char **walked);
/* What it shows of this one, which is protected and not there; 0: what a page that was swapped out may show as well. */
uint64_t region_marker(int pagemap, const char *page);
int region_pagemap_open(void); /* or minus an errno value */
/* Of a region that is FROZEN: it has no page of the process's own, as far as one can tell. By the keeper. */
bool region_is_unwritten(struct odf_region *region, int pagemap);

/* ---- discard.c ---- */
void region_discard_mark(struct odf_region *region, size_t from, size_t length);
/* The end of the run of pages from `page` on that are discarded or not, at most `limit`. */
size_t region_discard_run(const struct odf_region *region, size_t page, size_t limit, bool *discarded);
void region_discard_forget(struct odf_region *region, size_t from, size_t length);
/* Invariant 3: anonymous memory that comes to lie in a region that is hidden is hidden; but in a window, where the
 * program may move it away past the library. False: it is not. */
bool region_hide_zeros(const struct odf_region *region, char *start, size_t length);

/* ---- thin.c, under the lock ---- */
/* So much of what was FROZEN has been given back, or lies under zeros: the file still has it. */
void region_note_released(struct odf_region *region, size_t length);

/* ---- zero.c, under the lock ---- */
/* For tests of the other ways: none is put. */
extern bool region_zero_pages_never;
/* Makes a private view of the file read as zeros without taking memory. False: refused here; the pages are as before,
 * or those of the file. */
bool region_put_zero_pages(char *start, size_t length);

/* ---- ends.c ---- */
void region_ends_prepare(void); /* once a process has regions of its own; it may fail */
void region_ends_inherit(const struct odf_region *list); /* in a child: its parent's */
void region_ends_forget(const struct odf_region *region); /* it is not there any more, in a child */
unsigned region_ends_seen(void); /* of children that said so */
atomic_uint *region_ends_word(void); /* which counts them; NULL: none do */
void region_ends_want(bool every); /* by the keeper: also those that are soon over */
bool region_ends_are_wanted(void);

/* ---- hooks.c ---- */
/* The keeper is gone, and with it the files: nothing becomes LIVE any more. */
void region_doubt_all(void);
/* Out of the list, where there is no keeper to do it. */
void region_forget_one(struct odf_region *region);
/* Counts the bytes in and out; the first call for a process prepares what marks its children. */
int region_count(struct odf_region *region);
void region_uncount(struct odf_region *region);
/* Notices that this process is a child that was made past the hooks. Each entry point calls it before it takes the
 * lock. */
void region_meet_child(void);

#include "settling.h"
#endif
