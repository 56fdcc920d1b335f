/* SPDX-License-Identifier: MIT */
#ifndef ODF_RECORD_HEAP_VALUE_H
#define ODF_RECORD_HEAP_VALUE_H

#include <stdbool.h>
#include <stddef.h>

enum settings_heap { SETTINGS_HEAP_AUTO, SETTINGS_HEAP_ON, SETTINGS_HEAP_OFF };

/* The largest capacity that is accepted. */
#define SETTINGS_HEAP_MOST ((size_t)1 << 40)
/* What is accepted. */
#define SETTINGS_HEAP_FORMS "auto, on, off, or a size of at most 1T, such as 64G, 64GiB or 1.5g"

/* Reads a number of bytes: digits, optionally with a unit (K, M, G, T, KiB..., in either case), and then optionally
 * with a fraction. False: not understood, and nothing is stored. Async-signal-safe. */
bool size_read(const char *value, unsigned long long *size);

/* Reads a value of ODFORK_HEAP: a word, or a size with or without a unit, which sets the capacity only; *capacity 0:
 * the library chooses. False: not understood, and nothing is stored. */
bool heap_value_read(const char *value, enum settings_heap *heap, size_t *capacity);
#endif
