/* SPDX-License-Identifier: MIT
 *
 * One record for each fork and spawn: a JSON line in the file of ODFORK_STATS, a line for people with ODFORK_LOG.
 * Async-signal-safe, and keeps errno: the interposed _Fork may run in a signal handler.
 */
#ifndef ODF_RECORD_RECORD_H
#define ODF_RECORD_RECORD_H

#include "settings.h"

/* Incremented when a member of the JSON lines is removed or changes its meaning; not for new members. */
#define RECORD_SCHEMA 1

struct record {
	const char *call; /* the function that the program called */
	const char *file; /* program to execute; NULL for a fork */
	pid_t child;      /* -1 on failure */
	const odf_report *report;
	size_t region_bytes;
	bool new_reasons; /* used by record_write only */
};

static inline bool record_wanted(void)
{
	return settings->stats || settings->log;
}

/* The program is setting RLIMIT_FSIZE. */
void record_note_file_limit(void);

void record_write(const struct record *record);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t record_now(void);
#endif
