/* SPDX-License-Identifier: MIT
 * The memory that a process takes. Leaves nothing allocated. */
#ifndef ODF_MEASURE_PROCESS_MEMORY_H
#define ODF_MEASURE_PROCESS_MEMORY_H

#include <sys/types.h>

/* The process's proportional share of anonymous pages and all of its page tables, in KiB, from /proc (smaps_rollup,
 * Linux 5.5; status). A value that cannot be read counts as -1, which no process has. */
double process_memory_kib(pid_t pid);
#endif
