/* SPDX-License-Identifier: MIT
 * What processes take of the machine's memory. Allocates nothing that stays. */
#ifndef ODF_MEASURE_PROCESS_MEMORY_H
#define ODF_MEASURE_PROCESS_MEMORY_H

#include <sys/types.h>

/* Its share of anonymous pages, and all of its page tables, in KiB, by /proc (smaps_rollup, Linux 5.5; status). What
 * cannot be read counts as -1, which no process has. */
double process_memory_kib(pid_t pid);
#endif
