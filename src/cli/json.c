/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <stdio.h>
#include <string.h>

#include "../sys/text.h"

void json_print_string(const char *string)
{
	/* A long string is written in pieces. No piece ends within a character: the bytes after its first one are
	 * 10xxxxxx. */
	enum { PIECE = 512 };
	char piece[PIECE + 1], escaped[6 * PIECE + 1];
	size_t rest;

	if (string == NULL) {
		fputs("null", stdout);
		return;
	}
	putchar('"');
	for (rest = strlen(string); rest > 0;) {
		size_t length = rest < PIECE ? rest : PIECE;
		struct text text = text_start(escaped, sizeof escaped);
		for (size_t back = 0; length < rest && back < 3 && ((unsigned char)string[length] & 0xc0) == 0x80;
		     back++)
			length--;
		memcpy(piece, string, length);
		piece[length] = '\0';
		text_add_json(&text, piece);
		fputs(escaped, stdout);
		string += length;
		rest -= length;
	}
	putchar('"');
}
