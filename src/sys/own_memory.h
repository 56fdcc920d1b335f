/* SPDX-License-Identifier: MIT
 *
 * A little memory of the library's own, for what libc allocates while a thread of ours is made: the caller may be
 * within an allocator that holds its locks, or in a signal handler. The interposed malloc serves it. Never given
 * back; async-signal-safe.
 */
#ifndef ODF_SYS_OWN_MEMORY_H
#define ODF_SYS_OWN_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that this thread may still ask malloc for before the interposed one looks at what else there is to do. */
extern _Thread_local unsigned long own_memory_allowance __attribute__((tls_model("initial-exec")));

/* Between these two, requests of this thread are served from here. They nest. */
bool own_memory_begin(void);
void own_memory_end(bool was);
bool own_memory_wanted(void);
/* Called when the first piece is given out, by who has to know such a pointer again. */
extern void (*own_memory_on_use)(void);

/* Zeros, aligned to 16 bytes; NULL: none is left. */
void *own_memory_get(size_t size);
bool own_memory_has(const void *pointer);
size_t own_memory_size(const void *pointer);
#endif
