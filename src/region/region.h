/* SPDX-License-Identifier: MIT
 *
 * Snapshot regions, for the rest of the library. The public functions are in odfork.h; how it works is told in
 * internal.h.
 *
 * region_fork_begin and region_fork_end enclose a fork: in between all LIVE memory is FROZEN and stays so. The atfork
 * handlers do the same for forks within libc; they cannot make a fork fail. All of it is async-signal-safe and keeps
 * errno.
 */
#ifndef ODF_REGION_REGION_H
#define ODF_REGION_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "odfork.h"

/* Bytes of the regions that a fork would freeze or copy on demand: 0 in a process without regions of its own. One
 * load. */
size_t region_bytes(void);

/* The process enters a seccomp filter. Async-signal-safe. */
void region_forbid_zero_pages(void);
/* No seccomp filter is known that could punish a call that the program does not make. Async-signal-safe. */
bool region_is_unfiltered(void);

/* Why there is none where the heap would make one, for reports; ODF_REASON_NONE: for no special reason. */
void region_note_absence(odf_reason reason);
odf_reason region_absence(void);

/* 0 or ENOMEM: nothing was changed then that the program could see. *mark: in the frame that ends it by
 * region_fork_end, and its value stays there until then. */
int region_fork_begin(uint64_t *mark);
/* Has the keeper make views for memory that has come where they do not reach, and waits for that some milliseconds at
 * most: without, it stays young. One load, as a rule. Not under the lock. */
void region_reach(void);
/* In the parent, also when the fork failed. In a child nothing happens. `child`: 0 where it is not known, or there is
 * none. */
void region_fork_end(int child);
/* A process could not be made. If the keeper keeps only the heap, whose memory can leave its region, it ends. True:
 * there is one process less. */
bool region_give_way(void);
/* Sends the keeper SIGCONT, as it may have been stopped with the program, and the program continued alone.
 * Async-signal-safe. */
void region_keeper_rouse(void);
/* Has the heap leave. */
extern void (*region_on_giving_way)(void);
/* From this RLIMIT_NPROC on there is room for one process more than the user expects. */
#define REGION_PROCESSES_LEAST 64
/* This process is about to end. Async-signal-safe. */
void region_process_ends(void);
/* After it, by a process whose next call is exit_group: gives up its tokens, unless `may_be_read` says that a device or
 * the kernel may still read this memory. Async-signal-safe, as the function must be. */
void region_ends_say(bool (*may_be_read)(bool is_brief));
/* The keeper's process, which is a child of this one; 0: there is none. One load. */
int region_keeper_process(void);
/* There is one, and this process has made it; false in a child that shares that process's memory. */
bool region_keeper_is_ours(void);
/* False: a keeper that the calling thread starts would be limited like the thread (EBUSY); the main thread, or one that
 * is not limited, can start it. True as long as no thread was refused. Async-signal-safe. */
bool region_keeper_may_start(void);
bool region_keeper_was_refused(void); /* one was */
/* The program has made a child whose end sends another signal than SIGCHLD, or none. */
void region_note_odd_child(void);
bool region_has_odd_children(void);
/* The program has made a process that shares this memory and is no thread: it may write at any time from now on. */
void region_memory_is_shared(void);
/* Around a fork that another process makes in the place of the calling thread, which is suspended as by vfork: a
 * process that shares its memory, and has another id and one thread whatever the program has. The result of the first
 * is for the second; in the child of that fork the third instead. */
bool region_stand_in_begin(void);
void region_stand_in_end(bool alone);
void region_stand_in_child(void);
/* The caller is the only thread of the process. False if that is not known. */
bool region_has_one_thread(void);
/* In the child, where libc runs no handlers. */
void region_in_child(void);

/* Another number in a child than in its parent, if there was a region in either. Async-signal-safe. */
unsigned region_generation(void);

/* The memory that this process's regions have, for the record; 0 where it cannot be told at once. Async-signal-safe. */
size_t region_resident_bytes(void);

/* ---- A region for the heap: home has holes, and other memory in it (extent.c) ---- */

/* Its home is one hole, of whole GiB. Nothing here makes a thread or allocates by malloc, and it waits for nobody but
 * the keeper, so that it can be called from within an allocator or a signal handler. It lies at or after `hint` if
 * there is room. NULL: *error says why, EBUSY: later. Never destroyed. */
odf_region *region_make_bare(size_t capacity, unsigned flags, void *hint, int *error);

/* A region in place: home is [start, start + capacity), whole MiB, whatever is mapped there or will be; all of it is
 * foreign. `rights`: of its memory; PROT_EXEC where the keeper may. `beside`: a hint where there is room for the
 * region's own mappings. Else as above; EACCES: no file can be such memory here. */
odf_region *region_make_in_place(void *start, size_t capacity, int rights, void *beside, int *error);
/* A bare one, before anything is in it: only its keeper is needed. While it is empty no freeze takes the time to have
 * children get it. */
void region_is_for_keeper(struct odf_region *region);
bool region_is_placeholder(const struct odf_region *region);
bool region_is_in_place(const struct odf_region *region);
/* What its memory has. Another region may be a window on the same addresses, for memory with other rights. */
int region_rights(const struct odf_region *region);
/* Before the first region: whether the keeper is to be able to make views of its files executable. */
void region_let_keeper_execute(bool may);
/* Private anonymous memory there with exactly these rights, in bytes; 0 also where it cannot be told. Under the
 * lock. */
size_t region_bytes_with(char *start, size_t length, int rights);
/* Of a region in place: what is young in another one, with the rights of its memory, is young in it as well. */
void region_share_young(struct odf_region *region, const struct odf_region *other);
/* Without the lock. The program may make memory readable and writable there by the kernel's call alone, and says so
 * after it: of young memory the next freeze finds it out, and of memory it changes nothing. */
bool region_may_be_opened(const odf_region *region);
void region_note_opened(odf_region *region);
/* Under the lock: and now it is found out. */
void region_true_rights(odf_region *region);

/* The following in one piece, as the kernel's own calls are: between these two, which block all signals. */
void region_lock(uint64_t *mask);
void region_unlock(const uint64_t *mask);
/* From now on these make no system call: a filter may kill for it. This process has left its regions, or has none. */
void region_leave_signals(void);
void region_take_signals(void); /* it has regions again */
/* A signal handler has interrupted its thread between the two: it must not take the lock. */
bool region_is_amid(void);

/* Under the lock: the lowest mapping that meets [at, end) of those that the library keeps for the region. `views`: and
 * of views of its file outside of its memory. False: there is none. */
bool region_own_in(const odf_region *region, char *at, char *end, bool views, char **from, char **to);

enum region_kind { REGION_MEMORY, REGION_HOLE, REGION_ISLAND, REGION_FOREIGN };
struct region_extent {
	size_t from, length;
	unsigned char kind;
	unsigned char protection; /* of an island, and of what is young; of memory it is the region's */
	unsigned char advice;     /* the same; whatever the caller means by it */
	/* the same, and of a foreign place: the kernel refuses to have it unmapped or mapped over */
	bool sealed;
	/* The file may have pages there that nobody reads through home any more: to be punched by a settle that has
	 * come to it. A hole that is not stale is a shared view without rights and without pages. */
	bool stale;
	/* Of a foreign place in a region in place: the program's own private anonymous memory, mapped by a call that
	 * was seen, with `protection`, and nothing asked of it since that only its being anonymous can give. */
	bool young;
};

/* Offsets and lengths are of home, in bytes, whole pages. What is at `at`, up to its end or `limit`. In a child a
 * hole is not mapped, or the program's. */
struct region_extent region_run_at(const struct odf_region *region, size_t at, size_t limit);
/* The first hole for so much that can be taken now; SIZE_MAX: none. */
size_t region_find_hole(const struct odf_region *region, size_t length, size_t alignment);

/* What the program has done there by system calls past the library is found out: what is not the region's is a foreign
 * place then, and what has other rights an island. 0 or an errno value: it is not known. */
int region_check(struct odf_region *region, size_t from, size_t length);
/* Under the lock. If the program has moved memory of one of these regions to `at` past the library, it becomes ordinary
 * memory, as far as that can be done: a mapping of the file that grows would show what else is in the file. */
void region_bring_in_stray(odf_region *const regions[], int count, const char *at);
bool region_is_locked(const char *address, size_t size); /* some of it is, and that can be asked */
/* For the kernel it is part of one private anonymous mapping. */
bool region_is_one_anonymous(const char *start, size_t length);
/* 0 or an errno value; what was done before a failure stays done, and is told by region_run_at. EAGAIN: the list has
 * changed. */
/* holes become memory that is zero; EAGAIN: not this place now */
int region_take(struct odf_region *region, size_t from, size_t length);
int region_take_now(struct odf_region *region, size_t from, size_t length); /* the same, or an island */
int region_give(struct odf_region *region, size_t from, size_t length); /* memory and islands become holes */
/* memory becomes an island, readable and writable */
int region_cut(struct odf_region *region, size_t from, size_t length);
/* Memory reads as zeros. ENOMEM: somewhere is none. */
int region_discard(struct odf_region *region, size_t from, size_t length);
/* The same for advice that locked memory is not to have: EINVAL: some is locked, by calls past the library. */
int region_discard_unlocked(struct odf_region *region, size_t from, size_t length);
/* Foreign places become holes: what is there is unmapped. In a child that is all. */
int region_reclaim(struct odf_region *region, size_t from, size_t length);
/* Around a call that puts another mapping there. The end only if it was put. */
int region_lose_begin(struct odf_region *region, size_t from, size_t length);
void region_lose_end(struct odf_region *region, size_t from, size_t length);
/* The program's own mapping has come to be there, where nothing was: what the list has there is history. */
void region_forget_gone(struct odf_region *region, size_t from, size_t length);
/* Memory that is zero and was not written yet becomes a foreign place with anonymous memory in it, in whole tables of
 * 2 MiB. 0 or an errno value; what was done is told by region_run_at. */
int region_free_fresh(struct odf_region *region, size_t from, size_t length);
/* For each page whether it has to be read (bit 0): 0 where there is none, neither the process's own nor one of a file,
 * so that zeros would be read. Up to so many pages. */
#define REGION_THERE_MOST 512
void region_look_there(const char *start, size_t length, unsigned char *there);
/* The files of regions are such that the kernel gives them large pages as it gives them to other memory. */
bool region_has_large_pages(void);
/* Some region's file may have large pages: memory beside what was written lies in it as well. */
bool region_files_are_large(void);
/* The kernel gives ordinary memory of this process large pages without being asked. */
bool region_large_pages_wanted(void);
/* ---- Of a region in place (young.c) ---- */
/* What is foreign there is young from now on, with these rights, or is not any more. Without room in the list it is
 * not. */
void region_note_young(struct odf_region *region, size_t from, size_t length, int protection);
void region_forget_young(struct odf_region *region, size_t from, size_t length);
/* The same for what the kernel says is private anonymous memory there, with the rights that it has. */
void region_note_young_as_it_is(struct odf_region *region, size_t from, size_t length);
/* Fresh anonymous memory without a page, with the region's rights, that nobody knows of yet becomes memory at once.
 * 0 or an errno value: it is what it was. */
int region_overlay(struct odf_region *region, size_t from, size_t length);

/* Of foreign places; 0 in place, where they may be anything. */
size_t region_foreign_bytes(const struct odf_region *region);
/* The kernel has sealed what is there, islands and foreign places. */
void region_seal(struct odf_region *region, size_t from, size_t length);
/* Foreign places where nothing is mapped any more become holes, as far as that can be told. */
void region_reclaim_gaps(struct odf_region *region, size_t from, size_t length);
/* Holes become free address space of the kernel's. 0 or ENOMEM. */
int region_open(struct odf_region *region, size_t from, size_t length);
/* Of one island or a part of it. */
void region_set_island(struct odf_region *region, size_t from, size_t length, int protection, unsigned advice);
/* Anonymous memory without pages in the place of what is there. False: refused, and what was there is there. */
bool region_map_zeros(char *start, size_t length, int protection);
/* Gives a region up, for good: all of it becomes ordinary private memory of the process; of the heap's, memory
 * becomes islands, and holes are unmapped and foreign. 0, or ENOMEM where a part had to stay what it was. Under the
 * lock. */
int region_give_up(struct odf_region *region, odf_reason reason);
/* All that there are. Takes the lock. */
void region_leave_all(odf_reason reason);
/* Of a process whose regions have all been given up: no call of its is about the keeper any more. */
void region_part_with_keeper(void);
/* In a process that is made for it and may be killed: goes through all that a region takes of the kernel. 0 or an
 * errno value. `outside`: of the calls of a program whose keeper stays outside of what it enters. */
int region_rehearse(bool outside);
/* It was given up, here or by the region's own doing. One load. */
bool region_has_left(const struct odf_region *region, odf_reason *reason);
/* This process is a child of the one that made it; its memory is ordinary, and its list of runs a memory of what was.
 * */
bool region_is_inherited(const struct odf_region *region);
/* And came by such a way that it does not have the memory. */
bool region_is_absent(const struct odf_region *region);
/* ---- Of one that was inherited (part.c): under the lock, in a process of one thread, with signals blocked ---- */
/* The process that made it has ended, as far as can be told. */
bool region_maker_is_gone(const struct odf_region *region);
/* In bytes. `own`: copies of the process's own over the file's pages. `needed`: what it reads of the file, or may
 * read. `elsewhere`: of that, what another process has in its page tables as well. `given_back`: about how much it
 * had that it has no more. */
struct region_shown {
	size_t own, needed, elsewhere, given_back;
};
int region_shown_get(const struct odf_region *region, struct region_shown *shown); /* 0 or an errno value */
/* All of it becomes anonymous memory of the process's own, with what is in it. 0, or an errno value: some of it may be
 * by then, which is right as well. */
int region_part(struct odf_region *region);
/* Of one of the heap's, of which nothing is left: what it kept of itself goes, and it may be another one soon. What is
 * returned is to be asked in its place: it is inherited, and absent. */
odf_region *region_bury(odf_region *region);
/* Between how many runs that are not memory each freeze works piece by piece. In place: what is young is not taken
 * for such. */
size_t region_piece_count(const struct odf_region *region);
/* Bytes of memory that it has; 0 where it cannot be told. */
uint64_t region_resident(odf_region *region);
#endif
