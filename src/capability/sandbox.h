/* SPDX-License-Identifier: MIT
 * What the status of a process says about seccomp filters. Async-signal-safe: open, read, close; and fstatfs if the
 * calling thread seems to have no filter. */
#ifndef ODF_CAPABILITY_SANDBOX_H
#define ODF_CAPABILITY_SANDBOX_H

#include <stdbool.h>

struct sandbox {
	unsigned mode;    /* 0: none; 1: strict; 2: filters */
	unsigned filters; /* the number of filters; 0 if the kernel does not tell (before 5.9) */
	unsigned parent;
};

/* Reads the state of the calling thread (process 0), or of a process. False: it cannot be read. */
bool sandbox_read(unsigned process, struct sandbox *found);
#endif
