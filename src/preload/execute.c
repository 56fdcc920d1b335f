/* SPDX-License-Identifier: MIT
 *
 * The exec family and posix_spawn: a program that does not run with this library preloaded is executed without it, as
 * `odfork run` does (sys/handed.h).
 *
 * Runs between fork, or vfork, and exec, and in signal handlers: async-signal-safe, on stacks of any size. execvp and
 * execvpe are as safe as libc's.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "../libc/libc.h"
#include "../sys/handed.h"
#include "../sys/readable.h"
#include "../sys/syscall.h"
#include "syscall.h"

#define EXPORTED __attribute__((visibility("default")))

struct execution {
	int fd; /* of a directory, or of the program */
	const char *path;
	char *const *argv;
	int flags;
};

/* By the next definition in the search order, as other libraries interpose these too. Sets errno. */
static long by_path(void *call, char *const envp[])
{
	struct execution *execution = call;

	return libc_execve(execution->path, execution->argv, envp);
}

static long by_descriptor(void *call, char *const envp[])
{
	struct execution *execution = call;

	return libc_execveat(execution->fd, execution->path, execution->argv, envp, execution->flags);
}

/* For syscall(): the system call; minus an errno value. */
static long by_path_call(void *call, char *const envp[])
{
	struct execution *execution = call;

	return sys_call3(SYS_execve, execution->path, execution->argv, envp);
}

static long by_descriptor_call(void *call, char *const envp[])
{
	struct execution *execution = call;

	return sys_call5(SYS_execveat, execution->fd, execution->path, execution->argv, envp, execution->flags);
}

static long by_name(void *call, char *const envp[])
{
	struct execution *execution = call;

	return libc_execvpe(execution->path, execution->argv, envp); /* sets errno */
}

static long execute_at(int fd, const char *path, char *const argv[], char *const envp[], int flags, handed_go *go)
{
	struct execution execution = { fd, path, argv, flags };

	if ((flags & AT_EMPTY_PATH) && fd != AT_FDCWD && sys_is_readable(path, 1) && *path == '\0')
		return handed_execute_fd(fd, envp, go, &execution);
	return handed_execute(fd, path, envp, go, &execution);
}

static long execute(const char *path, char *const argv[], char *const envp[], handed_go *go)
{
	struct execution execution = { AT_FDCWD, path, argv, 0 };

	return handed_execute(AT_FDCWD, path, envp, go, &execution);
}

EXPORTED int execve(const char *path, char *const argv[], char *const envp[])
{
	return (int)execute(path, argv, envp, by_path);
}

EXPORTED int execv(const char *path, char *const argv[])
{
	return (int)execute(path, argv, environ, by_path);
}

EXPORTED int execvpe(const char *file, char *const argv[], char *const envp[])
{
	struct execution execution = { AT_FDCWD, file, argv, 0 };

	return (int)handed_execute_name(file, envp, by_name, &execution);
}

EXPORTED int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

EXPORTED int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags);
int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	return (int)execute_at(fd, path, argv, envp, flags, by_descriptor);
}

static long by_own_descriptor(void *call, char *const envp[])
{
	struct execution *execution = call;

	return libc_fexecve(execution->fd, execution->argv, envp); /* sets errno */
}

EXPORTED int fexecve(int fd, char *const argv[], char *const envp[])
{
	struct execution execution = { fd, "", argv, 0 };

	return (int)handed_execute_fd(fd, envp, by_own_descriptor, &execution);
}

/* The arguments of execl, execlp and execle as an array on the caller's stack: `first`, and those after it up to and
 * with the null pointer. */
#define ARRAY_OF(first, rest, array)                                                                     \
	do {                                                                                             \
		va_list counted;                                                                         \
		size_t count = 1;                                                                        \
		va_copy(counted, rest);                                                                  \
		while (va_arg(counted, const char *) != NULL)                                            \
			count++;                                                                         \
		va_end(counted);                                                                         \
		(array) = __builtin_alloca((count + 1) * sizeof *(array));                               \
		(array)[0] = (char *)(uintptr_t)(first);                                                 \
		for (size_t i = 1; i <= count; i++)                                                      \
			(array)[i] = va_arg(rest, char *);                                               \
	} while (0)

EXPORTED int execl(const char *path, const char *first, ...)
{
	char **argv;
	va_list rest;

	va_start(rest, first);
	ARRAY_OF(first, rest, argv);
	va_end(rest);
	return execve(path, argv, environ);
}

EXPORTED int execlp(const char *file, const char *first, ...)
{
	char **argv;
	va_list rest;

	va_start(rest, first);
	ARRAY_OF(first, rest, argv);
	va_end(rest);
	return execvpe(file, argv, environ);
}

EXPORTED int execle(const char *path, const char *first, ...)
{
	char **argv, *const *envp;
	va_list rest;

	va_start(rest, first);
	ARRAY_OF(first, rest, argv);
	envp = va_arg(rest, char *const *);
	va_end(rest);
	return execve(path, argv, envp);
}

long syscall_execve(long number, const long words[6])
{
	(void)number;
	return execute((const char *)words[0], (char *const *)words[1], (char *const *)words[2], by_path_call);
}

long syscall_execveat(long number, const long words[6])
{
	(void)number;
	return execute_at((int)words[0], (const char *)words[1], (char *const *)words[2], (char *const *)words[3],
			  (int)words[4], by_descriptor_call);
}
