/* SPDX-License-Identifier: MIT
 * For the files of this folder only. */
#ifndef ODF_HEAP_INTERNAL_H
#define ODF_HEAP_INTERNAL_H

#include <stdatomic.h>
#include <sys/mman.h>

#include "../region/region.h"
#include "../sys/syscall.h"
#include "heap.h"

#define HEAP_PAGE ((size_t)4096)

/* Private memory of a process from which on the heap is awake: a fork then costs about as much as one with a region
 * in play (bench/RESULTS.md). */
#define HEAP_THRESHOLD ((size_t)16 << 20)
/* Mappings below this stay with the kernel: they are thread-local odds and ends, and each would be a run of its own. */
#define HEAP_SMALLEST ((size_t)64 << 10)
/* In place, where they cost nothing before a fork, and often come side by side. */
#define HEAP_SMALLEST_YOUNG ((size_t)16 << 10)
/* What is mapped without a promise (MAP_NORESERVE) may never be used, and wakes nothing from this length on. Below,
 * it is what an allocator asks for that maps everything so: jemalloc, where the table of a hash is the one great
 * mapping of a server that is otherwise small; mimalloc since 2.1, whose first mapping is of 1 GiB and a little, and
 * after which it asks for nothing for long. */
#define HEAP_RESERVATION ((size_t)4 << 30)

/* Of a heap's region, however much is asked for. */
#define HEAP_CAPACITY_MOST ((size_t)1 << 40)

/* ---- limits.c. Async-signal-safe; not under the lock ---- */
/* A limit of data is looked at once for so much: the system call costs less than a hundredth of its page faults. */
#define HEAP_LIMIT_STEP ((size_t)64 << 10)

/* ---- wake.c ---- */
/* The first region, without any memory: what can be had for it can be had for windows, and it starts the keeper.
 * NULL: *obstacle says what stands against it, or *error why it could not be made. */
odf_region *heap_make_region(odf_reason *obstacle, int *error);

/* For a trial: asks what waking asks. */
void heap_rehearse(void);

/* The same in place, for what the program maps in [start, start + length). */
odf_region *heap_make_window_region(void *start, size_t length, int rights, odf_reason *obstacle, int *error);
size_t heap_capacity(size_t wanted);
/* Memory can be taken into a region beside a running program (userfaultfd), and nobody asked for it to be there from
 * the start. */
bool heap_may_be_young(void);
void heap_note_asked_for(void); /* by odf_heap_enable */
bool heap_was_asked_for(void);
/* Somebody asked for that. */
bool heap_is_on(void);
/* Memory with all rights has been mapped: what runtimes have that write code among their data. */
#define HEAP_ALL_RIGHTS (PROT_READ | PROT_WRITE | PROT_EXEC)
void heap_note_executable(size_t length);
/* It can be in a region. */
bool heap_may_execute(void);

/* ---- early.c. Async-signal-safe; any thread ---- */
/* `all`: however small. */
void heap_note_early(const void *address, size_t length, bool all);
/* The same, of what the data segment has grown by, in whatever small steps. */
void heap_note_early_growth(const void *address, size_t length);
bool heap_has_early(const void *address);
/* It is gone, or the kernel knows something of it that it does not know of any. */
void heap_forget_early(const void *address, size_t length);
/* The heap has woken. Not under a lock. */
void heap_open_early_windows(void);
/* What is noted is young in the windows that there are, and if need be in new ones. Not under the lock. */
void heap_take_all_early(void);
/* A window has been opened. */
void heap_take_early(odf_region *region, char *window, size_t window_length);

/* ---- forker.c ---- */
/* The program, or a library that it was started with, asks the loader for fork. */
bool heap_program_asks_for_fork(void);

/* ---- window.c ---- */
/* The process has forked: from now on its memory is in a region from the start. */
void heap_note_forker(void);
void heap_forget_windows(void); /* in a child */
void heap_share_young(odf_region *fresh); /* a window, with those that lie at the same addresses */
/* If none is there for such memory, and it is worth one. */
void heap_make_window(const char *address, size_t length, int protection);
/* Not under the lock: the kernel has mapped this for the program, where it chose or was told. */
void heap_note_mapped(void *address, size_t length, int protection, int flags);
/* What was noted early is young in the windows that there are. */
void heap_take_early_into_windows(void);
/* The same of whatever is none of the windows' business. */
void heap_note_given(void *address, size_t length);
void heap_note_malloced(void *address, size_t length, int protection, int flags); /* for libc */
/* Makes this readable and writable if that concerns no region's list. False: nothing was done. *error: the kernel's
 * answer. */
bool heap_open_quietly(void *address, size_t length, long *error);

/* ---- sandbox.c ---- */
/* The seccomp filters that this process has let the heap wake, and live. 0; EACCES; ENOTSUP: it cannot be told;
 * EAGAIN: not before the program has forked. */
int heap_filters_permit(void);
bool heap_waits_for_a_fork(void);
/* The program has forked. */
void heap_note_fork(void);

/* ---- process.c ---- */
/* This process is a child of vfork, and runs on its parent's memory. */
bool heap_is_guest(void);
/* The process that it is about, or 0 in one that has not been met: a page that is zero in every child with a copy of
 * it. NULL: it could not be had. */
extern atomic_int *heap_process;
static inline bool heap_is_new_process(void)
{
	return heap_process != NULL && atomic_load_explicit(heap_process, memory_order_relaxed) == 0;
}
/* A child made past libc's fork, or that asks before libc's handlers have come to ours. */
void heap_meet_process(void);
/* Once, before all else here; quietly: without a call. */
void heap_note_first_process(bool quietly);
/* In the only thread of a process, without a call: what glibc notes as the owner of a mutex. */
void heap_note_process_quietly(void);
/* From now on in the page that `heap_process` tells of, if it can be had. Before the heap wakes. */
void heap_note_in_page(void);

/* ---- state.c ---- */
/* One load: whether there is any memory of a region in this process at all. */
extern atomic_int heap_home_count;
/* The regions of this process, the current one last; the others it inherited. */
#define HEAP_HOMES 64
struct heap_home {
	char *start, *end;
	odf_region *region;
};
extern struct heap_home heap_homes[HEAP_HOMES];

/* The region for new memory; NULL: none, asleep or off. */
odf_region *heap_region(void);
odf_heap_state heap_state(void);
size_t heap_window_capacity(void);
/* Makes a region in place there, if it can be done now. */
void heap_open_window(void *start, size_t length, int rights);
/* New memory of so many bytes is asked for; sooner or later the process is found to have grown. */
void heap_grows(size_t bytes);
/* Much has been mapped and is not in use: it may come to be without a further call. */
void heap_note_reserved(void);
/* Some memory did not fit in. */
void heap_note_spill(void);
/* This process is the one that woke the heap. */
bool heap_is_owner(void);
/* From now on new memory stays outside. The first reason holds. */
void heap_retire(odf_reason reason);
/* What may still be asked for before the next look. */
extern atomic_long heap_budget;
size_t heap_threshold(void);
/* Whatever there was no room for, there may be now. */
void heap_has_room_again(void);
bool heap_is_off_for_good(void);
/* Notices that this process is a child. Cheap; first in every entry that needs a region. */
void heap_meet_child(void);
void heap_note_placed(size_t bytes);

/* ---- inherited.c ---- */
/* In a child: there may be regions that it inherited. */
void heap_inherit(void);
/* Parts with those whose maker has ended, if it pays. One load, as a rule. Not under the lock; errno is left alone. */
void heap_look_at_inherited(void);
/* One load. */
bool heap_has_inherited(void);

/* ---- leave.c ---- */
bool heap_leave_all(odf_reason reason);

/* ---- huge.c ---- */
/* Anonymous memory for which this process asks for large pages gets them. Not only under the lock. */
bool heap_large_pages_are_given(void);

/* ---- mapping.c ---- */
/* Some memory has a protection key, which a copy of it would not have. */
bool heap_uses_keys(void);
/* Under the region's lock. */
void heap_forget_what_is_not_here(odf_region *region, size_t length);
/* Not under it. What lies in a region, or was in one, becomes anonymous memory as any other, with what is in it. What
 * other threads write there at that moment may be lost. */
void heap_make_anonymous(void *address, size_t length);
/* No other thread can write to memory while it is copied. Behind a filter for which the heap has left nothing is asked
 * that could be punished, and it is not known. */
bool heap_is_alone(void);

/* ---- malloc.c ---- */
odf_heap_malloc heap_malloc_door(void);
#endif
