/* SPDX-License-Identifier: MIT
 * What a process's status says about seccomp filters. Async-signal-safe: open, read, close;
 * and fstatfs where the calling thread seems to have none. */
#ifndef ODF_CAPABILITY_SANDBOX_H
#define ODF_CAPABILITY_SANDBOX_H

#include <stdbool.h>

struct sandbox {
	unsigned mode;    /* 0: none; 1: strict; 2: filters */
	unsigned filters; /* how many; 0 where the kernel does not tell (before 5.9) */
	unsigned parent;
};

/* Of the calling thread (process 0), or of a process. False: it cannot be told. */
bool sandbox_read(unsigned process, struct sandbox *found);
#endif
