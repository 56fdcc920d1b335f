/* SPDX-License-Identifier: MIT
 *
 * The interposed functions that make processes. Each calls the library. In the shared library only.
 *
 * They have no symbol version of ours: a reference to libc's version would not bind to them. On architectures that
 * glibc had before 2.15, libc has two versions of posix_spawn and posix_spawnp. So have we, under libc's version names:
 * the old one runs a file of unknown format with a shell.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <spawn.h>
#include <unistd.h>

#include "../fork/fork.h"
#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../record/settings.h"
#include "../region/region.h"
#include "../spawn/spawn.h"
#include "../sys/syscall.h"
#include "../sys/handed.h"
#include "preload.h"

#define EXPORTED __attribute__((visibility("default")))

static bool malloc_is_prepared, doors_are_open;

static void prepare_malloc(void)
{
	if (malloc_is_prepared)
		return;
	malloc_is_prepared = true;
	preload_segment_begins();
	heap_set_malloc(preload_malloc_is_libcs, preload_see_within);
}

/* Before the program's constructors, whose memory it may be. */
__attribute__((constructor(102))) static void open_doors(void)
{
	int saved = errno; /* C11 7.5: errno is zero when main starts */

	doors_are_open = true;
	prepare_malloc();
	heap_open_doors(preload_is_preloaded());
	errno = saved;
}

/*
 * The constructors of linked libraries run before that of a preloaded one, and some of them make threads (OpenBLAS).
 * libc's code can be changed (within.c) only before the first of those.
 */
void preload_before_thread(void)
{
	int saved = errno;

	if (doors_are_open || malloc_is_prepared)
		return;
	prepare_malloc();
	settings_read();
	preload_find_own_name();
	if (heap_is_wanted(preload_is_preloaded()))
		heap_see_malloc();
	errno = saved;
}

EXPORTED pid_t fork(void)
{
	heap_before_fork(); /* before regions are frozen for the child */
	return fork_by_call(FORK_CALL_FORK);
}

#if HAVE__FORK
/* Async-signal-safe, and runs no atfork handlers, as fork_by_call. */
EXPORTED pid_t _Fork(void)
{
	heap_before_fork();
	return fork_by_call(FORK_CALL_FORK_BARE);
}
#endif

EXPORTED void _exit(int status)
{
	heap_process_ends();
	for (;;)
		(void)sys_call1(SYS_exit_group, status);
}

EXPORTED void _Exit(int status)
{
	_exit(status);
}

static void end_fork(void *mark)
{
	(void)mark;
	region_fork_end(0);
}

/* They fork within libc. Our atfork handlers run there, but cannot make the fork fail, so the freeze is done before the
 * call, where its failure can be returned. */
EXPORTED int daemon(int no_chdir, int no_close)
{
	uint64_t start;
	int result, error;

	if (region_bytes() == 0)
		return libc_daemon(no_chdir, no_close);
	error = region_fork_begin(&start);
	if (error != 0) {
		errno = error;
		return -1;
	}
	/* A thread that is cancelled in the call must end the freeze. */
	pthread_cleanup_push(end_fork, &start);
	result = libc_daemon(no_chdir, no_close);
	if (result == -1 && errno == EAGAIN && region_give_way())
		result = libc_daemon(no_chdir, no_close);
	pthread_cleanup_pop(1); /* the child returns from here too, and has nothing to end */
	return result;
}

EXPORTED pid_t forkpty(int *terminal, char *name, const struct termios *attributes, const struct winsize *size)
{
	uint64_t start;
	pid_t pid;
	int error;

	if (region_bytes() == 0)
		return libc_forkpty(terminal, name, attributes, size);
	error = region_fork_begin(&start);
	if (error != 0) {
		errno = error;
		return -1;
	}
	pthread_cleanup_push(end_fork, &start);
	pid = libc_forkpty(terminal, name, attributes, size);
	if (pid == -1 && errno == EAGAIN && region_give_way())
		pid = libc_forkpty(terminal, name, attributes, size);
	pthread_cleanup_pop(1);
	return pid;
}

struct spawning {
	const char *call;
	enum libc_spawn which;
	pid_t *pid;
	const char *file;
	const posix_spawn_file_actions_t *actions;
	const posix_spawnattr_t *attributes;
	char *const *argv;
};

static long start(void *call, char *const envp[])
{
	const struct spawning *spawning = call;

	return spawn_by_libc(spawning->call, spawning->which, spawning->pid, spawning->file, spawning->actions,
			     spawning->attributes, spawning->argv, envp);
}

static int start_handed(const struct spawning *spawning, char *const envp[])
{
	struct spawning copy = *spawning;

	if (copy.which == LIBC_SPAWN_PATH || copy.which == LIBC_SPAWN_PATH_SHELL)
		return (int)handed_execute_name(copy.file, envp, start, &copy);
	/* a change of directory among the file actions cannot be seen */
	return (int)handed_execute(AT_FDCWD, copy.file, envp, start, &copy);
}

#define SPAWN(function, call, which) \
	EXPORTED int function(pid_t *restrict pid, const char *restrict file, \
			      const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *restrict attributes, \
			      char *const argv[restrict], char *const envp[restrict]); \
	int function(pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *actions, \
		     const posix_spawnattr_t *restrict attributes, char *const argv[restrict], \
		     char *const envp[restrict]) \
	{ \
		return start_handed(&(struct spawning){ call, which, pid, file, actions, attributes, argv }, envp); \
	}

#ifdef ODF_SHELL_SPAWN_VERSION
/* The version script keeps the names interposed_* local. */
SPAWN(interposed_spawn, "posix_spawn", LIBC_SPAWN)
SPAWN(interposed_spawn_path, "posix_spawnp", LIBC_SPAWN_PATH)
SPAWN(interposed_spawn_shell, "posix_spawn", LIBC_SPAWN_SHELL)
SPAWN(interposed_spawn_path_shell, "posix_spawnp", LIBC_SPAWN_PATH_SHELL)
__asm__(".symver interposed_spawn, posix_spawn@@GLIBC_2.15");
__asm__(".symver interposed_spawn_path, posix_spawnp@@GLIBC_2.15");
__asm__(".symver interposed_spawn_shell, posix_spawn@" ODF_SHELL_SPAWN_VERSION);
__asm__(".symver interposed_spawn_path_shell, posix_spawnp@" ODF_SHELL_SPAWN_VERSION);
#else
SPAWN(posix_spawn, "posix_spawn", LIBC_SPAWN)
SPAWN(posix_spawnp, "posix_spawnp", LIBC_SPAWN_PATH)
#endif
