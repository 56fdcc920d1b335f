/* SPDX-License-Identifier: MIT
 * For the static library, which interposes nothing: libc's functions by their names. */
#include "libc.h"

#include <errno.h>
#include <unistd.h>

pid_t libc_fork(void)
{
	return fork();
}

pid_t libc_fork_bare(void)
{
#if HAVE__FORK
	return _Fork();
#else
	errno = ENOSYS;
	return -1;
#endif
}

/* The versions that run a file by a shell are needed for interposition only. */
int libc_posix_spawn(enum libc_spawn which, pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	if (which == LIBC_SPAWN_PATH)
		return posix_spawnp(pid, file, actions, attributes, argv, envp);
	return posix_spawn(pid, file, actions, attributes, argv, envp);
}
