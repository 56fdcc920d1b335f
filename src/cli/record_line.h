/* SPDX-License-Identifier: MIT
 * A line of the file of ODFORK_STATS, read back. */
#ifndef ODF_CLI_RECORD_LINE_H
#define ODF_CLI_RECORD_LINE_H

#include <stdbool.h>
#include <stddef.h>

#define RECORD_LINE_MOST ((size_t)16384) /* bytes; the library's are a tenth of that */

struct record_line {
	double pid, child, held_us, region_bytes, private_bytes, time,
		error; /* negative: not there, or null; but child */
	char call[32], strategy[32], step[32];
	char reason[512];
	char program[512];
	bool cut_before; /* what another process could not finish stands before it in the same line */
};

/* `line` ends with a NUL, and without its newline; it is changed. False: there is no whole record at its end. */
bool record_line_read(char *line, struct record_line *record);
#endif
