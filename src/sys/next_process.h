/* SPDX-License-Identifier: MIT
 *
 * What PID namespace the next process of this thread will be in. After unshare(CLONE_NEWPID) it is process 1 of a new
 * namespace, which ends with it: a process that the library makes for itself must not be that one. */
#ifndef ODF_SYS_NEXT_PROCESS_H
#define ODF_SYS_NEXT_PROCESS_H

enum next_process {
	NEXT_PROCESS_ORDINARY,
	NEXT_PROCESS_ELSEWHERE, /* in another PID namespace than this process, which has a process 1 */
	NEXT_PROCESS_FIRST,     /* process 1 of another PID namespace, or it may be */
	NEXT_PROCESS_UNKNOWN    /* no /proc, and a kernel before 6.11 */
};

/* Async-signal-safe; keeps errno. */
enum next_process next_process(void);
#endif
