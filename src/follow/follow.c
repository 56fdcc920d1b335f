/* SPDX-License-Identifier: MIT
 *
 * odfork-follow.so, the companion that is preloaded instead of the library into programs that are built with a
 * sanitizer. It has only the exec family and posix_spawn, so that programs which such a program executes are preloaded
 * again. It restores LD_PRELOAD before the program reads it.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <unistd.h>

#include "../libc/libc.h"
#include "../sys/handed.h"

#define EXPORTED __attribute__((visibility("default")))

/* The companion lies beside the library's files, so its path tells the folder. Entries of LD_PRELOAD that begin with
 * "libodfork.so" are known as the library in any case. */
__attribute__((constructor(101))) static void find_own_name(void)
{
	static const int here;
	Dl_info info;

	if (dladdr(&here, &info) != 0 && info.dli_fname != NULL)
		handed_set_own_name(info.dli_fname);
}

/* The other variable's name is a prefix and "LD_PRELOAD=...", so its tail becomes the entry. Allocates nothing, as the
 * program's allocator may be of any kind. */
__attribute__((constructor(103))) static void put_back(void)
{
	char **kept = environ, *before = NULL;

	if (environ == NULL)
		return;
	for (char **entry = environ; *entry != NULL; entry++)
		if (strncmp(*entry, HANDED_BEFORE, strlen(HANDED_BEFORE)) == 0)
			before = *entry + strlen(HANDED_PREFIX);
	if (before == NULL)
		return;
	for (char **entry = environ; *entry != NULL; entry++) {
		if (strncmp(*entry, HANDED_BEFORE, strlen(HANDED_BEFORE)) == 0)
			continue;
		*kept++ = strncmp(*entry, "LD_PRELOAD=", strlen("LD_PRELOAD=")) == 0 ? before : *entry;
	}
	*kept = NULL;
}

struct spawning {
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

	return libc_posix_spawn(spawning->which, spawning->pid, spawning->file, spawning->actions, spawning->attributes,
				spawning->argv, envp);
}

EXPORTED int posix_spawn(pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *actions,
			 const posix_spawnattr_t *restrict attributes, char *const argv[restrict],
			 char *const envp[restrict])
{
	struct spawning spawning = { LIBC_SPAWN, pid, file, actions, attributes, argv };

	return (int)handed_execute(AT_FDCWD, file, envp, start, &spawning);
}

EXPORTED int posix_spawnp(pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *actions,
			  const posix_spawnattr_t *restrict attributes, char *const argv[restrict],
			  char *const envp[restrict])
{
	struct spawning spawning = { LIBC_SPAWN_PATH, pid, file, actions, attributes, argv };

	return (int)handed_execute_name(file, envp, start, &spawning);
}
