/* SPDX-License-Identifier: MIT
 * A bit for each page of a region. Under the lock; async-signal-safe. */
#ifndef ODF_REGION_BITS_H
#define ODF_REGION_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes that the bits for so much memory take, in whole pages. */
size_t bits_size(size_t length);
/* The end of the run of pages from `page` on whose bits are alike, at most `limit`, which is beyond `page`. *set: what
 * these bits are. */
size_t bits_run(const uint64_t *bits, size_t page, size_t limit, bool *set);
/* Sets or clears the bits of pages [page, end). Clearing a bit that is 0 writes nothing, so that it allocates no
 * page. */
void bits_put(uint64_t *bits, size_t page, size_t end, bool set);
#endif
