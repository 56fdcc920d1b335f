/* SPDX-License-Identifier: MIT */
#ifndef ODF_SYS_TASKS_H
#define ODF_SYS_TASKS_H

/* Threads of this process; 0: not known. Where /proc is the one that it was at the last call, one system call. Until
 * tasks_ask() has been called for the first time, whatever lies under the name is believed: a stat and no more, which
 * a filter that the program was started with permits. Async-signal-safe; errno is left alone. */
unsigned tasks_count(void);
/* The same, and from now on a directory is believed only where it is in a file system of type proc, which takes a
 * question that a filter may punish. To be called before there is a region. */
unsigned tasks_ask(void);
#endif
