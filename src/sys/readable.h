/* SPDX-License-Identifier: MIT
 * For structures that the program passes by address to an interposed system call: a bad address is the kernel's to answer, with EFAULT. */
#ifndef ODF_SYS_READABLE_H
#define ODF_SYS_READABLE_H

#include <stdbool.h>
#include <stddef.h>

/* All of [from, from + size) can be read now. The size is 8 at least. Async-signal-safe. */
bool sys_is_readable(const void *from, size_t size);
#endif
