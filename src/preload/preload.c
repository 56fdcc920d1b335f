/* SPDX-License-Identifier: MIT
 *
 * The interposed symbols: each a thin call into the library. In the shared library only.
 *
 * They have no symbol version of ours, else a reference to libc's version would not bind to them. posix_spawn and posix_spawnp have
 * two versions in libc on architectures older than glibc 2.15, and here too, under libc's own version names, so that a caller of the old
 * one, which runs a file of unknown format with a shell, reaches the old one.
 */
#include <spawn.h>
#include <unistd.h>

#include "../fork/fork.h"
#include "../spawn/spawn.h"

#define EXPORTED __attribute__((visibility("default")))

EXPORTED pid_t fork(void)
{
	return fork_by_call(FORK_CALL_FORK);
}

#if HAVE__FORK
/* Async-signal-safe, and runs no atfork handlers: fork_by_call is and does neither of its own. */
EXPORTED pid_t _Fork(void)
{
	return fork_by_call(FORK_CALL_FORK_BARE);
}
#endif

#define SPAWN(function, call, which)                                                                                               \
	EXPORTED int function(pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *actions,           \
			      const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const envp[restrict]); \
	int function(pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *actions,                    \
		     const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const envp[restrict])         \
	{                                                                                                                          \
		return spawn_by_libc(call, which, pid, file, actions, attributes, argv, envp);                                     \
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
