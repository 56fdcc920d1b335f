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

/* The heap wakes when the process has this much private memory: a plain fork then costs about as much as one with a
 * region (bench/RESULTS.md). */
#define HEAP_THRESHOLD ((size_t)16 << 20)
/* Smaller mappings stay with the kernel: they are thread-local data and the like, and each would be a run of its
 * own. */
#define HEAP_SMALLEST ((size_t)64 << 10)
/* The same for regions in place, where a mapping costs nothing before a fork, and small ones often lie side by side. */
#define HEAP_SMALLEST_YOUNG ((size_t)16 << 10)
/* A MAP_NORESERVE mapping of this length or more may never be used, and does not count towards waking by its length.
 * Shorter ones do, as some allocators map all their memory so: jemalloc, whose one large mapping in an otherwise small
 * server may be a hash table; mimalloc since 2.1, whose first mapping is a little over 1 GiB, and which then maps
 * nothing for long. */
#define HEAP_RESERVATION ((size_t)4 << 30)

/* The largest capacity of a heap's region, however much is asked for. */
#define HEAP_CAPACITY_MOST ((size_t)1 << 40)

/* ---- limits.c. Async-signal-safe; not under the lock ---- */
/* RLIMIT_DATA is looked at once for this many bytes: the system call costs less than a hundredth of their page
 * faults. */
#define HEAP_LIMIT_STEP ((size_t)64 << 10)

/* ---- wake.c ---- */
/* Makes the first region, which has no memory. It starts the keeper, and what it needs from the system is what windows
 * need. NULL: *obstacle says what forbids it, or *error why it could not be made. */
odf_region *heap_make_region(odf_reason *obstacle, int *error);

/* For a trial (sandbox.c): makes the system calls by which waking looks for obstacles. */
void heap_rehearse(void);

/* The same for a window: a region in place for what the program maps in [start, start + length). */
odf_region *heap_make_window_region(void *start, size_t length, int rights, odf_reason *obstacle, int *error);
size_t heap_capacity(size_t wanted);
/* Memory can be taken into a region while the program runs (userfaultfd), and neither the settings nor the program ask
 * for it to be in one from the start. */
bool heap_may_be_young(void);
void heap_note_asked_for(void); /* by odf_heap_enable */
bool heap_was_asked_for(void);
/* The settings ask for the heap from the start (`on`). */
bool heap_is_on(void);
/* Memory with all rights has been mapped, as by runtimes that write code among their data. */
#define HEAP_ALL_RIGHTS (PROT_READ | PROT_WRITE | PROT_EXEC)
void heap_note_executable(size_t length);
/* Such memory can be in a region. */
bool heap_may_execute(void);

/* ---- early.c. Async-signal-safe; any thread ---- */
/* The program has mapped this memory, and there is no window for it. `all`: also small ranges. */
void heap_note_early(const void *address, size_t length, bool all);
/* The same for growth of the data segment, in steps of any size. */
void heap_note_early_growth(const void *address, size_t length);
bool heap_has_early(const void *address);
/* The memory is gone, or the kernel keeps an attribute of it, so that it is no longer plain memory. */
void heap_forget_early(const void *address, size_t length);
/* The heap has woken: opens windows for the noted memory. Not under a lock. */
void heap_open_early_windows(void);
/* Makes the noted memory young, in the existing windows and in new ones where needed. Not under the lock. */
void heap_take_all_early(void);
/* A window has been opened: noted memory in it becomes young. */
void heap_take_early(odf_region *region, char *window, size_t window_length);

/* ---- forker.c ---- */
/* The program, or a library that is loaded at its start, imports fork or a function that forks. */
bool heap_program_asks_for_fork(void);

/* ---- window.c ---- */
/* The process has forked: from now on its new memory is in a region from the start. */
void heap_note_forker(void);
void heap_forget_windows(void); /* in a child */
void heap_share_young(odf_region *fresh); /* young memory of other windows there is young in this window too */
/* Opens a window there, if there is none for memory with these rights, and the memory is worth one. */
void heap_make_window(const char *address, size_t length, int protection);
/* Not under the lock. The kernel has mapped this for the program, at an address that the kernel or the program
 * chose. */
void heap_note_mapped(void *address, size_t length, int protection, int flags);
/* Makes memory that was noted early young in the existing windows. */
void heap_take_early_into_windows(void);
/* The same for a mapping that is not for windows: what the lists have there is dropped. */
void heap_note_given(void *address, size_t length);
void heap_note_malloced(void *address, size_t length, int protection, int flags); /* for libc's malloc */
/* Makes this range readable and writable by the system call alone, if no region's list has to follow. False: nothing
 * was done. *error: the kernel's answer. */
bool heap_open_quietly(void *address, size_t length, long *error);

/* ---- sandbox.c ---- */
/* Whether the process's seccomp filters permit the heap's calls. 0: they do; EACCES: they do not; ENOTSUP: it cannot be
 * told; EAGAIN: it cannot be tried before the program has forked. */
int heap_filters_permit(void);
bool heap_waits_for_a_fork(void);
/* The program has forked. */
void heap_note_fork(void);

/* ---- process.c ---- */
/* This process is a child of vfork and runs on its parent's memory. */
bool heap_is_guest(void);
/* The id of the process that the heap's state is about. Once in a page of its own (heap_note_in_page) it is 0 in a
 * child that has not been met, as such a page is zero in each copy. NULL: the settings do not ask for the heap
 * (heap_is_wanted). */
extern atomic_int *heap_process;
static inline bool heap_is_new_process(void)
{
	return heap_process != NULL && atomic_load_explicit(heap_process, memory_order_relaxed) == 0;
}
/* For a child that was made without libc's fork, or that calls before libc has run our atfork handler. */
void heap_meet_process(void);
/* Called once, before the other functions of process.c. `quietly`: without a system call. */
void heap_note_first_process(bool quietly);
/* Called by the only thread of a process. Without a system call: glibc notes the thread id in a mutex that is
 * locked. */
void heap_note_process_quietly(void);
/* From now on the process id is kept in a page that is zero in children, if there can be one. Called before the heap
 * wakes. */
void heap_note_in_page(void);

/* ---- state.c ---- */
/* The number of entries in heap_homes. 0: no memory of this process is in a region. */
extern atomic_int heap_home_count;
/* The regions of this process in the order of their making, so that inherited ones come before its own. */
#define HEAP_HOMES 64
struct heap_home {
	char *start, *end;
	odf_region *region;
};
extern struct heap_home heap_homes[HEAP_HOMES];

/* The region that the heap woke with; NULL: asleep or off. */
odf_region *heap_region(void);
odf_heap_state heap_state(void);
size_t heap_window_capacity(void);
/* Makes a region in place there, if it can be done now. */
void heap_open_window(void *start, size_t length, int rights);
/* The program asks for this many bytes of new memory. Wakes the heap once the process is found to have grown. */
void heap_grows(size_t bytes);
/* Much memory is mapped and not in use: the program may use it without a further call. */
void heap_note_reserved(void);
/* Some new memory is in no window. */
void heap_note_spill(void);
/* This process is the one that woke the heap. */
bool heap_is_owner(void);
/* From now on new memory stays outside. The first reason given holds. */
void heap_retire(odf_reason reason);
/* Bytes that the program may still ask for before the next look at its size. */
extern atomic_long heap_budget;
size_t heap_threshold(void);
/* If the heap is off for lack of room, it may wake again. */
void heap_has_room_again(void);
bool heap_is_off_for_good(void);
/* Notices that this process is a child. Cheap; the first call in every function that needs a region. */
void heap_meet_child(void);
void heap_note_placed(size_t bytes);

/* ---- inherited.c ---- */
/* In a child: notes whether it has inherited regions. */
void heap_inherit(void);
/* Parts with inherited regions whose maker has ended, if that pays. One load, as a rule. Not under the lock; keeps
 * errno. */
void heap_look_at_inherited(void);
/* One load. */
bool heap_has_inherited(void);

/* ---- leave.c ---- */
bool heap_leave_all(odf_reason reason);

/* ---- huge.c ---- */
/* The kernel gives large pages to anonymous memory for which this process asks for them. With or without the lock. */
bool heap_large_pages_are_given(void);

/* ---- mapping.c ---- */
/* Some memory has a protection key, which a copy of the memory would lack. */
bool heap_uses_keys(void);
/* In a child, under the region's lock: the list forgets what the child did not inherit. */
void heap_forget_what_is_not_here(odf_region *region, size_t length);
/* Not under the lock. Memory that is in a region, or was in one, becomes ordinary anonymous memory with its content.
 * Writes of other threads at that moment may be lost. */
void heap_make_anonymous(void *address, size_t length);
/* No other thread can write to memory while it is copied. False also under a filter for which the heap has left, as the
 * filter could punish the calls that tell. */
bool heap_is_alone(void);

/* ---- malloc.c ---- */
odf_heap_malloc heap_malloc_door(void);
#endif
