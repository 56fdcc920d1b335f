/* SPDX-License-Identifier: MIT
 * A bit for each page of a region. Under the lock; async-signal-safe. */
#ifndef ODF_REGION_BITS_H
#define ODF_REGION_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that they take for so much memory, in whole pages. */
size_t bits_size(size_t length);
/* The end of the run of pages from `page` on that are set or not, at most `limit`, which is beyond `page`. */
size_t bits_run(const uint64_t *bits, size_t page, size_t limit, bool *set);
/* Sets or clears those of [page, end). What has never been written is not for a bit that is 0 already. */
void bits_put(uint64_t *bits, size_t page, size_t end, bool set);
#endif
