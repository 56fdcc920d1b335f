/* SPDX-License-Identifier: MIT
 *
 * The environment that is passed to a program on exec. If the library cannot be preloaded into that program
 * (sys/program.h), it is removed from LD_PRELOAD. If the reason is a sanitizer in the program, a small companion of the
 * library takes its place, after the sanitizer's runtime if that is a library. The companion only restores the
 * variable, and does the same for what the program executes, so that other programs further down are preloaded again.
 * For all other programs the environment is passed unchanged, at the cost of a look at the program's file.
 *
 * Async-signal-safe, also in a child that shares its parent's memory. Bad pointers are left to the kernel.
 */
#ifndef ODF_SYS_HANDED_H
#define ODF_SYS_HANDED_H

#include <stdbool.h>
#include <stddef.h>

/* LD_PRELOAD as it was before, for the companion. */
#define HANDED_BEFORE "ODFORK_LD_PRELOAD="
#define HANDED_PREFIX "ODFORK_"
#define HANDED_COMPANION "odfork-follow.so"
/* The root directory, for glibc's loader only, which replaces $LIB by the name of a directory. There are more steps
 * upwards than that has components, and the parent of the root is the root. For other loaders what follows names a file
 * that does not exist. */
#define HANDED_ROOT "/$LIB/../../../../../../../.."

/* Sets the path of this library. LD_PRELOAD may have its file name, as well as names that start with "libodfork.so",
 * and the companion is in the same directory. Called once, before there are threads. If it is not called, there is no
 * companion. */
void handed_set_own_name(const char *path);

/* The entry of LD_PRELOAD, without its directory, names this library. */
bool handed_is_ours(const char *name, size_t length);

/* Executes or starts the program with this environment: `envp`, or a changed copy, which exists until the function
 * returns. */
typedef long handed_go(void *call, char *const envp[]);

/* The environment names this library, so the program must be examined. */
bool handed_matters(char *const envp[]);
/* The same for an environment that is known to be readable: no system call for each of its pages. */
bool handed_readable_matters(char *const envp[]);

/* For the program that exec runs for `path`, relative to `directory`. Returns go's result. */
long handed_execute(int directory, const char *path, char *const envp[], handed_go *go, void *call);
/* For the file open at a descriptor. */
long handed_execute_fd(int fd, char *const envp[], handed_go *go, void *call);
/* For a name that execvp looks up in this process's PATH. */
long handed_execute_name(const char *name, char *const envp[], handed_go *go, void *call);
#endif
