/* SPDX-License-Identifier: MIT
 *
 * The heap: memory of programs that know nothing of regions is taken into some. It stays where it lies, in regions
 * that are laid around it (window.c, region/young.c), and is known by the calls that map it (mapping.c): those of the
 * program, and those of libc's malloc (malloc.c, preload/within.c). The heap sleeps until the process has grown
 * (state.c).
 *
 * Where a call finds memory that is in no region it is the kernel's or libc's affair, unchanged. What it finds in the
 * region behaves as the kernel's private anonymous memory does: what the region's own operations cannot give exactly
 * is cut out of it first and left to the kernel.
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

/* A limit of address space, data or file size from here on is as good as none: there is no more address space in a
 * process. */
#define HEAP_NO_LIMIT ((uint64_t)1 << 47)

/* The doors are interposed in this process: without this the heap is off. By a constructor of the shared library. */
void heap_open_doors(bool preloaded);
/* By the settings. */
bool heap_is_wanted(bool preloaded);

long heap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
/* For libc itself. */
long heap_mmap_within(void *address, size_t length, int protection, int flags, int file, off_t offset);
/* The process is about to fork: it may have grown without a call that could tell. Async-signal-safe; errno is left
 * alone. */
void heap_before_fork(void);
/* The data segment has grown by this, whole pages. */
void heap_note_grown(void *address, size_t length);
/* It had grown by this before that was seen, and the program has used it. */
void heap_note_found(void *address, size_t length);
/* `call` gives this memory back to the kernel, and returns 0 or minus an errno value. */
long heap_give_back(void *address, size_t length, long (*call)(void *argument), void *argument);
/* A call has failed with ENOMEM. True: it may have been for what regions reserve, which is no more. */
bool heap_makes_room(void);
/* A call is about to give the program so many bytes of private memory that can be written, which a limit from outside
 * may forbid. errno is left alone. */
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
/* Whether msync would meet a hole: everything else about it is the kernel's. */
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

/* Something about this memory is known to the kernel by what is behind it and not by its address, a futex that is not
 * private for one: it is taken out of the region for good. Any range. */
void heap_keep(const void *address, size_t length);
/* The same for what the kernel reads only where no file is behind it. */
void heap_keep_anonymous(const void *address, size_t length);
/* lend.c: calls after which the kernel keeps pages of memory that they were given. What a pipe is given (vmsplice). */
struct heap_lending {
	const struct iovec *pieces;
	size_t count;
	void *copies; /* NULL: they are the caller's own, and nothing is to be ended */
	size_t size;
};
/* Before the call: what is passed to it in place of the pieces. It is ended after the call. errno is left alone. */
struct heap_lending heap_begin_lending(int pipe, const struct iovec *pieces, size_t count);
void heap_end_lending(const struct heap_lending *lending);
/* Before a call that gives such memory to others than a pipe (MSG_ZEROCOPY). Any memory. */
void heap_own(const void *address, size_t length);
/* This memory is to get a policy of its own (mbind), on which nodes it lies: it is taken out, unless there is only
 * one. */
void heap_place(const void *address, size_t length, int mode);
/* None of the memory is to be a region's any more, once this returns, and new memory stays outside. The first reason
 * is the heap's. */
void heap_leave(odf_reason reason);

/* Descriptors by which memory is written past its page tables (pinned.h) are met while there is a region. Asked after
 * a call that may have made one: it is one load, behind a fence, as the heap may be about to wake in another thread. */
extern atomic_int heap_watched;
static inline bool heap_is_watched(void)
{
#ifdef __SANITIZE_THREAD__ /* which does not know fences */
	return atomic_fetch_or(&heap_watched, 0) != 0;
#else
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(&heap_watched, memory_order_relaxed) != 0;
#endif
}
/* The caller has opened it with these flags; or got it in another way; or is about to make a socket. errno is left
 * alone. */
void heap_meet_opened(int descriptor, int flags);
void heap_meet_received(int descriptor);
/* The caller has opened what has this name, whatever it lies in, with these flags. Also while the heap is asleep. */
void heap_meet_name(int descriptor, const char *path, int flags);
void heap_meet_socket(int domain);
/* This process makes no call but exit_group any more. */
void heap_process_ends(void);
/* The program has made a userfaultfd, which it may hand to another process. errno is left alone. */
void heap_meet_userfault(void);
/* The kernel is about to be told whether it merges equal pages of this process (PR_SET_MEMORY_MERGE). errno is left
 * alone. */
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67 /* Linux 6.4 */
#define PR_GET_MEMORY_MERGE 68
#endif
void heap_before_merging(bool merges);
/* The range is about to be registered with a userfaultfd of the program's. */
void heap_before_register(void *address, size_t length);
/* If the heap is not awake it stays so. */
void heap_stay_asleep(odf_reason reason);
/* The program is about to enter a seccomp sandbox, by one of two calls. `program`: what the call is given; any
 * address. */
enum heap_filter { HEAP_FILTER_STRICT, HEAP_FILTER_PRCTL, HEAP_FILTER_SECCOMP };
void heap_before_filter(enum heap_filter how, unsigned long flags, const void *program);

/* `is_libcs`: whether the program's malloc is libc's. `see`: has what libc does by itself come to the calls above, from
 * now on; false: it cannot be had. Before the doors are opened. */
void heap_set_malloc(bool (*is_libcs)(void), bool (*see)(void));
/* Tries `see` if the program's malloc is libc's, and if it has not succeeded before. */
void heap_see_malloc(void);
#endif
