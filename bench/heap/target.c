/* SPDX-License-Identifier: MIT
 *
 * target MIB: a target for AFL++, compiled by afl-clang-fast. It executes SQL statements from standard input on a
 * database in memory of MIB, which is filled before the fork server starts. The coverage is that of the reader below,
 * which distinguishes kinds of statements. SQLite itself is not instrumented.
 */
#include <ctype.h>
#include <string.h>
#include <unistd.h>

#include "database.h"

#ifndef __AFL_INIT
#define __AFL_INIT() ((void)0)
#endif

static int too_long(void *left)
{
	return --*(int *)left < 0;
}

/* Branches for the fuzzer to find. */
static int kind_of(const char *text)
{
	static const char *const words[] = {
		"SELECT", "INSERT", "UPDATE", "DELETE", "WHERE", "ORDER", "GROUP", "LIMIT", "COUNT", "class", "name",
		"data",
	};
	int kind = 0;

	for (; *text != 0; text++) {
		for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
			if (*text == words[i][0] && strncmp(text, words[i], strlen(words[i])) == 0) {
				switch (i) {
				case 0: kind += 1; break;
				case 1: kind += 2; break;
				case 2: kind += 4; break;
				case 3: kind += 8; break;
				case 4: kind ^= 16; break;
				case 5: kind ^= 32; break;
				case 6: kind ^= 64; break;
				case 7: kind ^= 128; break;
				case 8: kind ^= 256; break;
				default: kind ^= 512; break;
				}
			}
		}
		if (isdigit((unsigned char)*text))
			kind ^= 1024;
		else if (*text == ';')
			kind ^= 2048;
	}
	return kind;
}

int main(int argc, char **argv)
{
	long mib = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	char text[4096];
	int steps = 100;
	ssize_t length;
	sqlite3 *database;

	if (mib == 0)
		return fprintf(stderr, "usage: target MIB < SQL\n"), 2;
	database = open_database();
	fill_database(database, mib);
	sqlite3_progress_handler(database, 1000, too_long, &steps);
	__AFL_INIT();
	length = read(STDIN_FILENO, text, sizeof text - 1);
	if (length < 0)
		return 1;
	text[length] = 0;
	if (kind_of(text) > 0)
		sqlite3_exec(database, text, NULL, NULL, NULL);
	_exit(0);
}
