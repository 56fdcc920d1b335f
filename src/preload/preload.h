/* SPDX-License-Identifier: MIT
 * Between the files of this folder. */
#ifndef ODF_PRELOAD_PRELOAD_H
#define ODF_PRELOAD_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/* The library was loaded by LD_PRELOAD or /etc/ld.so.preload, not linked. Needs preload_find_own_name before. */
bool preload_is_preloaded(void);
/* Called by the constructor, and before that by interposed functions that earlier constructors call. */
void preload_find_own_name(void);
/* ---- preload.c ---- */
/* Called before the program, or a library's constructor, makes a thread. */
void preload_before_thread(void);
/* ---- within.c ---- */
/* The program's calls of malloc reach libc's malloc. */
bool preload_malloc_is_libcs(void);
/* Makes the mapping calls within libc come to ours. False: that cannot be done, and nothing has changed. In a process
 * of one thread; not in a signal handler. */
bool preload_see_within(void);

/* ---- mapping.c, brk.c: the interposed functions, by names that nothing else has ---- */
void *preload_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int preload_munmap(void *address, size_t length);
void *preload_mremap(void *old, size_t old_length, size_t length, int flags, ...);
int preload_mprotect(void *address, size_t length, int protection);
int preload_madvise(void *address, size_t length, int advice);
int preload_brk(void *end);

/* ---- brk.c ---- */
/* Notes the program break, from which the program or malloc moves it. Before the program begins. */
void preload_segment_begins(void);
/* Whether libc's variable for the break can be kept up to date. */
bool preload_segment_is_known(void);
/* libc's own calls of brk come to ours from now on. */
void preload_segment_is_seen(void);

/* Called before prctl(PR_SET_TSC). */
void preload_before_tsc(unsigned long how);
/* Called before prctl(PR_SET_MM), with any address. */
void preload_before_title(unsigned long what, unsigned long value, unsigned long size);
/* Called before the program sets it, with any address. */
void preload_note_limit(int resource, const struct rlimit64 *limit);
#endif
