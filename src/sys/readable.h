/* SPDX-License-Identifier: MIT
 * For addresses that the program passes to an interposed call: for a bad address the program must get EFAULT from the
 * kernel, and the library's own look must not end the process. Async-signal-safe. */
#ifndef ODF_SYS_READABLE_H
#define ODF_SYS_READABLE_H

#include <stdbool.h>
#include <stddef.h>

/* All of [from, from + size) can be read now. */
bool sys_is_readable(const void *from, size_t size);
/* All of the string can be read now. */
bool sys_is_readable_string(const char *text);
#endif
