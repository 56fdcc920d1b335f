/* SPDX-License-Identifier: MIT */
#ifndef ODF_SYS_QUIET_H
#define ODF_SYS_QUIET_H

#include <stdbool.h>
#include <stddef.h>

/* One write that raises no signal either, and may be partial. Returns the number of bytes written, or minus an errno
 * value. */
long write_part_quietly(int fd, const void *bytes, size_t length);

/* One write, so that lines of several processes do not mix (O_APPEND), without a signal to the program: a pipe without
 * a reader, a file at its size limit or a terminal that stops background writers would raise one. Returns 0 or an errno
 * value if not everything was written; then nothing stays written, if possible. Async-signal-safe; keeps errno. */
int write_quietly(int fd, const char *line, size_t length);
#endif
