/* SPDX-License-Identifier: MIT
 *
 * Public structures that start with their size, which differ between versions of the header. Async-signal-safe.
 */
#ifndef ODF_SYS_STRUCTURE_H
#define ODF_SYS_STRUCTURE_H

#include <stddef.h>

/* The size that a structure had when `member` was its last. The `first` arguments below use it: never sizeof, which
 * grows with later versions. */
#define STRUCTURE_UP_TO(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/* The largest size that a header may state. A larger one is an error. */
enum { STRUCTURE_SIZE_MAX = 4096 };

/* Copies the caller's structure into `ours`, which already has the defaults. `first`: the size in the first published
 * version. Returns 0, EINVAL (smaller), or E2BIG (larger than STRUCTURE_SIZE_MAX, or with a part that this library does
 * not know and that is not zero). */
int structure_read(void *ours, size_t our_size, const void *theirs, size_t first);

/* The caller's structure, by its size, has a member that ends at `end`. */
int structure_has(const void *theirs, size_t end);

/* The same, and a header may state that size: else this is no structure of ours. */
int structure_is_within(const void *theirs, size_t end);

/* Checks the size of a structure that is to be filled: 0, EINVAL (smaller) or E2BIG (larger than
 * STRUCTURE_SIZE_MAX). */
int structure_check_output(const void *theirs, size_t first);

/* Copies `ours` to the caller's structure as far as that has room, and zeros after it; `size` is not changed. */
void structure_write(void *theirs, const void *ours, size_t our_size);
#endif
