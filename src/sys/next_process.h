/* SPDX-License-Identifier: MIT
 *
 * Whether the next process that this thread makes is one among others. After unshare(CLONE_NEWPID) it is the first
 * of a new pid namespace, with which the namespace ends: a process that the library makes for its own ends must not
 * be that one. */
#ifndef ODF_SYS_NEXT_PROCESS_H
#define ODF_SYS_NEXT_PROCESS_H

enum next_process {
	NEXT_PROCESS_ORDINARY,
	NEXT_PROCESS_ELSEWHERE, /* in another pid namespace than this one's, which has its first process */
	NEXT_PROCESS_FIRST,     /* the first of another one, or it may be */
	NEXT_PROCESS_UNKNOWN    /* no /proc, and a kernel before 6.11 */
};

/* Async-signal-safe; errno is left alone. */
enum next_process next_process(void);
#endif
