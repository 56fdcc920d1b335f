/* SPDX-License-Identifier: MIT
 * For what the program passes by address to an interposed call: a bad address is the kernel's to answer, with
 * EFAULT, and must not end the process because we looked first. Async-signal-safe. */
#ifndef ODF_SYS_READABLE_H
#define ODF_SYS_READABLE_H

#include <stdbool.h>
#include <stddef.h>

/* All of [from, from + size) can be read now. */
bool sys_is_readable(const void *from, size_t size);
/* All of the string. */
bool sys_is_readable_string(const char *text);
#endif
