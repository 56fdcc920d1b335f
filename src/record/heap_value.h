/* SPDX-License-Identifier: MIT */
#ifndef ODF_RECORD_HEAP_VALUE_H
#define ODF_RECORD_HEAP_VALUE_H

#include <stdbool.h>
#include <stddef.h>

enum settings_heap { SETTINGS_HEAP_AUTO, SETTINGS_HEAP_ON, SETTINGS_HEAP_OFF };

/* A capacity of more is not understood. */
#define SETTINGS_HEAP_MOST ((size_t)1 << 40)
/* What is. */
#define SETTINGS_HEAP_FORMS "auto, on, off, or a size of at most 1T, such as 64G, 64GiB or 1.5g"

/* A number of bytes: digits, with a unit if need be (K, M, G, T, KiB..., in either case), and then with a fraction.
 * False: not understood, and nothing is stored. Async-signal-safe. */
bool size_read(const char *value, unsigned long long *size);

/* What ODFORK_HEAP may be: a word, or a size with or without a unit, which is the capacity and leaves the rest as it is
 * by default; *capacity 0: chosen. False: not understood, and nothing is stored. */
bool heap_value_read(const char *value, enum settings_heap *heap, size_t *capacity);
#endif
