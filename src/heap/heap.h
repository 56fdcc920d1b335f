/* SPDX-License-Identifier: MIT
 *
 * The heap puts memory of programs that know nothing of regions into regions. The memory stays where it lies: regions
 * are laid around it (window.c, region/young.c). The heap learns of memory by the calls that map it (mapping.c), those
 * of the program and those of libc's malloc (malloc.c, preload/within.c). It sleeps until the process has grown
 * (state.c).
 *
 * A call on memory that is in no region goes to the kernel or to libc unchanged. Memory in a region behaves like the
 * kernel's private anonymous memory: where the region's own operations cannot do exactly that, the memory is cut out of
 * the region first and left to the kernel.
 *
 * This header is for src/preload. The mapping calls return what the system calls do, minus an errno value on failure,
 * and are async-signal-safe.
 */
#ifndef ODF_HEAP_HEAP_H
#define ODF_HEAP_HEAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "odfork.h"

/* A limit of address space, data or file size from here on does not bind: a process has no more address space. */
#define HEAP_NO_LIMIT ((uint64_t)1 << 47)

/* Called by a constructor of the shared library: the mapping calls are interposed in this process. Without this call
 * the heap is off. */
void heap_open_doors(bool preloaded);
/* The settings ask for the heap: by `on`, or by `auto` if the library is preloaded. */
bool heap_is_wanted(bool preloaded);

long heap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
/* For mmap calls of libc itself. */
long heap_mmap_within(void *address, size_t length, int protection, int flags, int file, off_t offset);
/* Called before a fork, as the process may have grown without a call that shows it. Async-signal-safe; keeps errno. */
void heap_before_fork(void);
/* The data segment has grown by these whole pages. */
void heap_note_grown(void *address, size_t length);
/* The data segment had grown by these pages before the library saw it, and the program has used them. */
void heap_note_found(void *address, size_t length);
/* `call` gives this memory back to the kernel, and returns 0 or minus an errno value. */
long heap_give_back(void *address, size_t length, long (*call)(void *argument), void *argument);
/* For a call that has failed with ENOMEM. True: the regions' reservations may have been the cause, and are gone; the
 * caller repeats the call. */
bool heap_makes_room(void);
/* Called before a call that gives the program this many bytes of private writable memory, which a limit set by another
 * process may forbid. Keeps errno. */
void heap_before_data(size_t bytes);
long heap_munmap(void *address, size_t length);
long heap_mremap(void *old, size_t old_length, size_t length, int flags, void *fixed);
long heap_madvise(void *address, size_t length, int advice);
long heap_mprotect(void *address, size_t length, int protection);
long heap_pkey_mprotect(void *address, size_t length, int protection, int key);
long heap_mlock(void *address, size_t length);
long heap_mlock2(void *address, size_t length, unsigned flags);
long heap_munlock(void *address, size_t length);
long heap_mlockall(int flags);
long heap_mincore(void *address, size_t length, unsigned char *states);
/* msync would meet a hole in this range. All else about msync is left to the kernel. */
bool heap_meets_hole(void *address, size_t length);
long heap_process_madvise(int process, const struct iovec *pieces, size_t count, int advice, unsigned flags);

/* The same number on every architecture, Linux 6.10. */
#define NUMBER_MSEAL 462
long heap_shmat(int id, const void *address, int flags);
long heap_shmdt(const void *address);
long heap_remap_file_pages(void *address, size_t length, int protection, size_t page, int flags);
long heap_mseal(void *address, size_t length, unsigned long flags);
#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
/* prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, ...). */
long heap_name(void *address, size_t length, const char *name);

/* Takes a range out of the region for good, as the kernel identifies something there by what is behind the memory and
 * not by its address: the word of a futex that is not private, for example. Any range. */
void heap_keep(const void *address, size_t length);
/* The same for memory that the kernel reads only if no file is behind it. */
void heap_keep_anonymous(const void *address, size_t length);
/* lend.c: calls after which the kernel holds references to the caller's pages. This is what a pipe is given
 * (vmsplice). */
struct heap_lending {
	const struct iovec *pieces;
	size_t count;
	void *copies; /* NULL: the pieces are the caller's own, and there is nothing to end */
	size_t size;
	int error; /* not 0: there is no memory for copies, and the call has to fail with this errno value */
};
/* Called before vmsplice: returns the pieces to pass in place of the caller's. The second function is called after it.
 * Keeps errno. */
struct heap_lending heap_begin_lending(int pipe, const struct iovec *pieces, size_t count);
void heap_end_lending(const struct heap_lending *lending);
/* Called before a call that lends memory to something other than a pipe (MSG_ZEROCOPY). Any range. */
void heap_own(const void *address, size_t length);
/* Called before this memory gets a NUMA policy of its own (mbind): it is taken out of the region, unless there is only
 * one node. */
void heap_place(const void *address, size_t length, int mode);
/* When this returns, no memory of the process is in a region, and new memory stays outside. The first reason given is
 * the heap's. */
void heap_leave(odf_reason reason);

/* Not 0 while there may be a region: descriptors by which the kernel writes to memory past the page tables (pinned.h)
 * are looked at. Asked after each call that may have made one: one load behind a fence, as another thread may be about
 * to wake the heap. */
extern atomic_int heap_watched;
static inline bool heap_is_watched(void)
{
#ifdef __SANITIZE_THREAD__ /* ThreadSanitizer does not know fences */
	return atomic_fetch_or(&heap_watched, 0) != 0;
#else
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(&heap_watched, memory_order_relaxed) != 0;
#endif
}
/* The caller has opened the descriptor with these flags; or received it in another way; or is about to make a socket.
 * These keep errno. */
void heap_meet_opened(int descriptor, int flags);
void heap_meet_received(int descriptor);
/* The caller has opened a file by this name, which may be relative to any directory, with these flags. Also called
 * while the heap is asleep. */
void heap_meet_name(int descriptor, const char *path, int flags);
void heap_meet_socket(int domain);
/* The process makes no further call but exit_group. */
void heap_process_ends(void);
/* The program has made a userfaultfd, which it may pass to another process. Keeps errno. */
void heap_meet_userfault(void);
/* Called before the kernel is told whether to merge equal pages of this process (PR_SET_MEMORY_MERGE). Keeps errno. */
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67 /* Linux 6.4 */
#define PR_GET_MEMORY_MERGE 68
#endif
void heap_before_merging(bool merges);
/* Called before the range is registered with a userfaultfd of the program. */
void heap_before_register(void *address, size_t length);
/* A heap that is asleep turns off. One that is awake stays awake. */
void heap_stay_asleep(odf_reason reason);
/* Called before the program enters a seccomp sandbox, by prctl or seccomp. `program`: the argument of that call, which
 * may be any address. */
enum heap_filter { HEAP_FILTER_STRICT, HEAP_FILTER_PRCTL, HEAP_FILTER_SECCOMP };
void heap_before_filter(enum heap_filter how, unsigned long flags, const void *program);

/* `is_libcs` tells whether the program's malloc is libc's. `see` makes the calls that libc makes by itself arrive at
 * the functions above from now on; false: that is not possible. Called before heap_open_doors. */
void heap_set_malloc(bool (*is_libcs)(void), bool (*see)(void));
/* Calls `see` if the program's malloc is libc's and no earlier call has succeeded. */
void heap_see_malloc(void);
#endif
