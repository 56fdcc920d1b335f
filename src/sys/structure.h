/* SPDX-License-Identifier: MIT
 *
 * Public structures that start with their size, across versions of the header. Async-signal-safe.
 */
#ifndef ODF_SYS_STRUCTURE_H
#define ODF_SYS_STRUCTURE_H

#include <stddef.h>

/* Copies the caller's structure into ours, which the caller of this has initialised with defaults.
 * `first`: the size that the first published version had. 0, EINVAL (smaller), or E2BIG (larger, with something in the part that
 * this library does not know). */
int structure_read(void *ours, size_t our_size, const void *theirs, size_t first);

/* Checks the size of a structure that is to be filled: 0 or EINVAL. */
int structure_check_output(const void *theirs, size_t first);

/* Copies ours out, as much as there is room for, zeros beyond what we know; `size` stays the caller's. */
void structure_write(void *theirs, const void *ours, size_t our_size);
#endif
