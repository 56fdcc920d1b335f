/* SPDX-License-Identifier: MIT
 *
 * Whether this library can be preloaded into a program, from the program's file. `odfork run`, which starts a program,
 * and a preloaded process that executes one use the same answer.
 *
 * Async-signal-safe, also in a child that shares its parent's memory: system calls into small buffers, no lock, no
 * allocation, keeps errno.
 */
#ifndef ODF_SYS_PROGRAM_H
#define ODF_SYS_PROGRAM_H

#include <stdbool.h>

enum program_kind {
	PROGRAM_UNKNOWN,     /* not a readable regular file, or not a program; exec will give the error */
	PROGRAM_DYNAMIC,     /* this process's loader loads it, and preloads */
	PROGRAM_STATIC,      /* there is no loader, so nothing is preloaded; or it is a loader */
	PROGRAM_OTHER_WORDS, /* for these three the loader complains of this library's file, or does not start the
	                        program */
	PROGRAM_OTHER_MACHINE,
	PROGRAM_OTHER_LIBC,
	/* built with a sanitizer, whose runtime must be the first library, and interposes the program's calls */
	PROGRAM_SANITIZED,
};

struct program {
	enum program_kind kind;
	/* The sanitizer's runtime, which the loader loads before everything else if LD_PRELOAD does not prevent that;
	 * "": none. */
	char runtime[48];
	/* The loader of PROGRAM_OTHER_LIBC is musl's, which ignores a file in LD_PRELOAD that does not exist. */
	bool passes_over;
};

/* Opens for reading, close-on-exec; -1: not a readable regular file. May change errno. */
int program_open(int directory, const char *path);

/* Examines the program that exec runs for `path` (relative to the descriptor `directory`, or AT_FDCWD); for a script,
 * its interpreter. Opens regular files only, so that the open neither blocks nor has a side effect. */
void program_examine(int directory, const char *path, struct program *program);

/* LD_PRELOAD may name this library. False: the program would fail or behave differently. */
static inline bool program_takes_preload(const struct program *program)
{
	return program->kind <= PROGRAM_STATIC;
}
#endif
