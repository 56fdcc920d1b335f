/* SPDX-License-Identifier: MIT */
#ifndef ODF_RECORD_HEAP_VALUE_H
#define ODF_RECORD_HEAP_VALUE_H

#include <stdbool.h>
#include <stddef.h>

enum settings_heap { SETTINGS_HEAP_AUTO, SETTINGS_HEAP_ON, SETTINGS_HEAP_OFF };

/* A capacity of more is not understood. */
#define SETTINGS_HEAP_MOST ((size_t)1 << 40)

/* What ODFORK_HEAP may be: a word, or a size with or without a unit, which is the capacity and leaves the rest as it is by default; *capacity 0: chosen.
 * False: not understood, and nothing is stored. */
bool heap_value_read(const char *value, enum settings_heap *heap, size_t *capacity);
#endif
