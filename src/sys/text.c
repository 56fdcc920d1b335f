/* SPDX-License-Identifier: MIT
 * Async-signal-safe throughout: it runs in the interposed _Fork, which programs call in signal handlers. */
#include "text.h"

struct text text_start(char *buffer, size_t size)
{
	if (size > 0)
		buffer[0] = '\0';
	return (struct text){ .buffer = buffer, .size = size, .length = 0 };
}

void text_add_bytes(struct text *text, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++, text->length++) {
		if (text->length + 1 < text->size) {
			text->buffer[text->length] = bytes[i];
			text->buffer[text->length + 1] = '\0';
		}
	}
}

void text_add(struct text *text, const char *string)
{
	size_t count = 0;
	while (string[count] != '\0')
		count++;
	text_add_bytes(text, string, count);
}

void text_add_unsigned(struct text *text, uint64_t value)
{
	char digits[20];
	size_t at = sizeof digits;
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value != 0);
	text_add_bytes(text, digits + at, sizeof digits - at);
}

void text_add_signed(struct text *text, int64_t value)
{
	if (value < 0)
		text_add_bytes(text, "-", 1);
	text_add_unsigned(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* The length of the well-formed UTF-8 sequence at `s`, or 0. Overlong forms, surrogates and values past U+10FFFF are
 * not well-formed (Unicode 15, table 3-7). */
static size_t utf8_length(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t more;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		more = 1;
	} else if (s[0] >= 0xe0 && s[0] <= 0xef) {
		more = 2;
		if (s[0] == 0xe0)
			low = 0xa0;
		if (s[0] == 0xed)
			high = 0x9f;
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		more = 3;
		if (s[0] == 0xf0)
			low = 0x90;
		if (s[0] == 0xf4)
			high = 0x8f;
	} else {
		return 0;
	}
	for (size_t i = 1; i <= more; i++) { /* a NUL is not in the range, so this never reads past the end */
		if (s[i] < low || s[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return more + 1;
}

void text_add_json(struct text *text, const char *string)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)string;

	while (*s != '\0') {
		size_t length = utf8_length(s);
		if (length == 0) {
			text_add(text, "\\ufffd");
			length = 1;
		} else if (*s == '"' || *s == '\\') {
			char escaped[2] = { '\\', (char)*s };
			text_add_bytes(text, escaped, 2);
		} else if (*s < 0x20 || *s == 0x7f) {
			char escaped[6] = { '\\', 'u', '0', '0', hex[*s >> 4], hex[*s & 15] };
			text_add_bytes(text, escaped, 6);
		} else {
			text_add_bytes(text, (const char *)s, length);
		}
		s += length;
	}
}

void text_add_microseconds(struct text *text, uint64_t nanoseconds)
{
	text_add_unsigned(text, nanoseconds / 1000);
	text_add_bytes(text, ".", 1);
	text_add_unsigned(text, nanoseconds % 1000 / 100);
}
