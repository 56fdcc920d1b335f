/* SPDX-License-Identifier: MIT
 * What the kernel counts of this process's memory, in bytes; 0: it is not known. Async-signal-safe, by open, read and
 * close only. */
#ifndef ODF_SYS_STATM_H
#define ODF_SYS_STATM_H

#include <stddef.h>

size_t statm_resident_bytes(void);
/* Without what is of files, and of memory that is shared. */
size_t statm_private_bytes(void);
/* What it may write to and nobody else sees, used or not. */
size_t statm_data_bytes(void);
#endif
