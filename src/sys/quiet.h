/* SPDX-License-Identifier: MIT */
#ifndef ODF_SYS_QUIET_H
#define ODF_SYS_QUIET_H

#include <stdbool.h>
#include <stddef.h>

/* One write of a part, which is not felt either: how much went out, or minus an errno value. */
long write_part_quietly(int fd, const void *bytes, size_t length);

/* One write, so that lines of many processes do not mix (O_APPEND), which the program does not feel: a pipe without
 * reader, a file at its limit of size or a terminal that stops background writers would send it a signal. 0 or an errno
 * value: not everything went out; then nothing did, where that can be had. Async-signal-safe; errno is left alone. */
int write_quietly(int fd, const char *line, size_t length);
#endif
