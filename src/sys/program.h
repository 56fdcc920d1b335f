/* SPDX-License-Identifier: MIT
 *
 * What the file of a program says of whether this library can be preloaded into it. One answer for `odfork run`, which
 * starts a program, and for what a preloaded process executes.
 *
 * Async-signal-safe, also in a child that shares its parent's memory: system calls into small buffers, no lock, no
 * allocation, errno left alone.
 */
#ifndef ODF_SYS_PROGRAM_H
#define ODF_SYS_PROGRAM_H

#include <stdbool.h>

enum program_kind {
	PROGRAM_UNKNOWN,     /* not a regular file that can be read, or not a program; exec will say */
	PROGRAM_DYNAMIC,     /* our loader loads it, and preloads */
	PROGRAM_STATIC,      /* nothing is loaded, so nothing is preloaded; or it is a loader */
	PROGRAM_OTHER_WORDS, /* these three: its loader complains of our file, or refuses to start it */
	PROGRAM_OTHER_MACHINE,
	PROGRAM_OTHER_LIBC,
	/* built with a sanitizer, whose runtime wants to be the first, and to see what the program calls */
	PROGRAM_SANITIZED,
};

struct program {
	enum program_kind kind;
	/* The runtime of a sanitizer that the loader loads before everything else, where LD_PRELOAD does not come in
	 * between; "": none. */
	char runtime[48];
	/* The loader of PROGRAM_OTHER_LIBC is musl's, which says nothing of a file in LD_PRELOAD that is not there. */
	bool passes_over;
};

/* Open for reading, close-on-exec; -1: not a regular file that can be read. errno is not left alone. */
int program_open(int directory, const char *path);

/* The program that exec runs for `path` (relative to the descriptor `directory`, or AT_FDCWD): of a script, its
 * interpreter. Opens regular files only, so that nothing is set off and nobody waits. */
void program_examine(int directory, const char *path, struct program *program);

/* LD_PRELOAD may name this library. False: it must not, or the program does not run as it would. */
static inline bool program_takes_preload(const struct program *program)
{
	return program->kind <= PROGRAM_STATIC;
}
#endif
