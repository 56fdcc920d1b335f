/* SPDX-License-Identifier: MIT
 *
 * Writes text into a fixed buffer, in any context: async-signal-safe, no locale, no allocation. Text that does not fit
 * is counted and dropped: `length` is what the whole text needs, `size` what the buffer has. The buffer always ends
 * with a NUL if size > 0.
 */
#ifndef ODF_SYS_TEXT_H
#define ODF_SYS_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
	char *buffer;
	size_t size;
	size_t length;
};

struct text text_start(char *buffer, size_t size);
void text_add(struct text *text, const char *string);
void text_add_bytes(struct text *text, const char *bytes, size_t count);
void text_add_unsigned(struct text *text, uint64_t value);
void text_add_signed(struct text *text, int64_t value);
/* Inside a JSON string: escapes quotes, backslashes and control characters, and replaces bytes that are not UTF-8. */
void text_add_json(struct text *text, const char *string);
/* Nanoseconds as microseconds with one decimal: 88123 ns is "88.1". */
void text_add_microseconds(struct text *text, uint64_t nanoseconds);
#endif
