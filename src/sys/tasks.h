/* SPDX-License-Identifier: MIT */
#ifndef ODF_SYS_TASKS_H
#define ODF_SYS_TASKS_H

/* Threads of this process; 0: not known. Where /proc is the one that it was at the last call, one system call.
 * Async-signal-safe; errno is left alone. */
unsigned tasks_count(void);
#endif
