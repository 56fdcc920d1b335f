/* SPDX-License-Identifier: MIT
 * The kernel's counts of this process's memory, in bytes; 0: not known. Async-signal-safe, by open, read and close
 * only. */
#ifndef ODF_SYS_STATM_H
#define ODF_SYS_STATM_H

#include <stddef.h>

size_t statm_resident_bytes(void);
/* Resident memory without files' pages and shared memory. */
size_t statm_private_bytes(void);
/* Private writable mappings, resident or not. */
size_t statm_data_bytes(void);
#endif
