/* SPDX-License-Identifier: MIT
 * Between the files of this folder. */
#ifndef ODF_PRELOAD_PRELOAD_H
#define ODF_PRELOAD_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/* This library was loaded by LD_PRELOAD (or the system's list of such), not linked. Knows by preload_find_own_name. */
bool preload_is_preloaded(void);
/* A constructor's; whoever comes before it calls it first. */
void preload_find_own_name(void);
/* ---- preload.c ---- */
/* The program, or a library's constructor, is about to make a thread. */
void preload_before_thread(void);
/* ---- within.c ---- */
/* Requests of the program to malloc reach libc's. */
bool preload_malloc_is_libcs(void);
/* From now on what libc does to mappings by itself comes to ours. False: it cannot be had, and nothing has changed. In
 * a process of one thread; not in a signal handler. */
bool preload_see_within(void);

/* ---- mapping.c, brk.c: the interposed functions, by names that nothing else has ---- */
void *preload_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int preload_munmap(void *address, size_t length);
void *preload_mremap(void *old, size_t old_length, size_t length, int flags, ...);
int preload_mprotect(void *address, size_t length, int protection);
int preload_madvise(void *address, size_t length, int advice);
int preload_brk(void *end);

/* ---- brk.c ---- */
/* What the data segment grows by from now on is the program's or malloc's. Before the program begins. */
void preload_segment_begins(void);
/* Whether libc's own note of where it ends can be kept. */
bool preload_segment_is_known(void);
/* libc's brk is ours from now on. */
void preload_segment_is_seen(void);

/* prctl(PR_SET_TSC, ...) is about to be made. */
void preload_before_tsc(unsigned long how);
/* prctl(PR_SET_MM, ...) is about to be made; any address. */
void preload_before_title(unsigned long what, unsigned long value, unsigned long size);
/* The program is about to set it; any address. */
void preload_note_limit(int resource, const struct rlimit64 *limit);
#endif
