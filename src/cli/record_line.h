/* SPDX-License-Identifier: MIT
 * Parses a line of the file of ODFORK_STATS. */
#ifndef ODF_CLI_RECORD_LINE_H
#define ODF_CLI_RECORD_LINE_H

#include <stdbool.h>
#include <stddef.h>

#define RECORD_LINE_MOST ((size_t)16384) /* bytes; the library's lines have a tenth of that */

struct record_line {
	double pid, child, held_us, region_bytes, private_bytes, time,
		error; /* negative: missing or null, except for child */
	char call[32], strategy[32], step[32];
	char reason[512];
	char program[512];
	bool cut_before; /* an unfinished record of another process precedes it in the line */
};

/* `line` ends with a NUL, and without its newline; it is changed. False: there is no whole record at its end. */
bool record_line_read(char *line, struct record_line *record);
#endif
