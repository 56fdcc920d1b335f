/* SPDX-License-Identifier: MIT
 *
 * Public structures that start with their size, across versions of the header. Async-signal-safe.
 */
#ifndef ODF_SYS_STRUCTURE_H
#define ODF_SYS_STRUCTURE_H

#include <stddef.h>

/* The size that a structure had when `member` was its last. What `first` is below: never today's sizeof, which grows.
 * */
#define STRUCTURE_UP_TO(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/* No header states more. A size above it is none. */
enum { STRUCTURE_SIZE_MAX = 4096 };

/* Copies the caller's structure into ours, which the caller of this has initialised with defaults.
 * `first`: the size that the first published version had. 0, EINVAL (smaller), or E2BIG (larger, with something in
 * the part that this library does not know, or than any header says). */
int structure_read(void *ours, size_t our_size, const void *theirs, size_t first);

/* Whether the caller's structure has a member that ends at `end`, by the size that it states. */
int structure_has(const void *theirs, size_t end);

/* The same, and the size is one that a header may state: else what is there is no structure of ours. */
int structure_is_within(const void *theirs, size_t end);

/* Checks the size of a structure that is to be filled: 0, EINVAL (smaller) or E2BIG (larger than any header says). */
int structure_check_output(const void *theirs, size_t first);

/* Copies ours out, as much as there is room for, zeros beyond what we know; `size` stays the caller's. */
void structure_write(void *theirs, const void *ours, size_t our_size);
#endif
