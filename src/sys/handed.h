/* SPDX-License-Identifier: MIT
 *
 * The environment that is handed to a program which is executed. Where the program does not run with this library
 * (sys/program.h), LD_PRELOAD is without it. Where that is for a sanitizer in it, a small companion of the library is
 * named instead, behind the sanitizer's runtime where that is one: it only puts the variable back as it was, and does
 * the same for what the program executes, so that children of other kinds are preloaded again. For all others it is
 * handed on as it is, at the cost of a look at the program's file.
 *
 * Async-signal-safe, also in a child that shares its parent's memory. Bad pointers are left to the kernel.
 */
#ifndef ODF_SYS_HANDED_H
#define ODF_SYS_HANDED_H

#include <stdbool.h>
#include <stddef.h>

/* How LD_PRELOAD was, for the companion. */
#define HANDED_BEFORE "ODFORK_LD_PRELOAD="
#define HANDED_PREFIX "ODFORK_"
#define HANDED_COMPANION "odfork-follow.so"
/* The root, for glibc's loader only, which puts a directory in the place of $LIB: these are more steps upwards than
 * that is deep, and above the root is the root. To other loaders what is behind it is a file that is not there. */
#define HANDED_ROOT "/$LIB/../../../../../../../.."

/* The path of this library, as LD_PRELOAD may have it beside names that begin with "libodfork.so", and with the
 * companion in the same folder. Once, before there are threads. Without, there is no companion. */
void handed_set_own_name(const char *path);

/* An entry of LD_PRELOAD, without its folder, is this library. */
bool handed_is_ours(const char *name, size_t length);

/* `go` executes the program, or starts one, with this environment: `envp`, or a changed copy, which is there until it
 * returns. */
typedef long handed_go(void *call, char *const envp[]);

/* Whether the environment names this library, so that the program matters. */
bool handed_matters(char *const envp[]);
/* The same of one that is read in any case: without a system call for each page of it. */
bool handed_readable_matters(char *const envp[]);

/* For the program that exec runs for `path`, relative to `directory`. The result is go's. */
long handed_execute(int directory, const char *path, char *const envp[], handed_go *go, void *call);
/* For the file that is open at a descriptor. */
long handed_execute_fd(int fd, char *const envp[], handed_go *go, void *call);
/* For a name that execvp looks up in PATH, of this process. */
long handed_execute_name(const char *name, char *const envp[], handed_go *go, void *call);
#endif
