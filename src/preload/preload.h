/* SPDX-License-Identifier: MIT
 * Between the files of this folder. */
#ifndef ODF_PRELOAD_PRELOAD_H
#define ODF_PRELOAD_PRELOAD_H

#include <stdbool.h>
#include <sys/resource.h>

/* This library was loaded by LD_PRELOAD (or the system's list of such), not linked. */
bool preload_is_preloaded(void);
/* Looks up what malloc calls pass to. Once; other calls return at once. */
void preload_find_malloc(void);
/* The program is about to set it; any address. */
void preload_note_limit(int resource, const struct rlimit64 *limit);
#endif
