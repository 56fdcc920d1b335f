/* SPDX-License-Identifier: MIT
 * How often this process has forked and spawned through the library, for an observer outside. Async-signal-safe. */
#ifndef ODF_RECORD_COUNTS_H
#define ODF_RECORD_COUNTS_H

/* The process has made a child. */
void counts_fork(void);
void counts_spawn(void);
/* This process is a child, and has made none. */
void counts_in_child(void);
#endif
