/* SPDX-License-Identifier: MIT */
#ifndef ODF_SYS_TASKS_H
#define ODF_SYS_TASKS_H

/* The number of threads of this process; 0: not known. One system call if /proc is the one of the last call. Before the
 * first call of tasks_ask() any directory by that name counts: only stat is called, which a filter from before the
 * start of the program permits. Async-signal-safe; keeps errno. */
unsigned tasks_count(void);
/* The same. From now on a directory counts only if it is in a file system of type proc, which takes a system call that
 * a filter may punish. Called before there is a region. */
unsigned tasks_ask(void);
#endif
