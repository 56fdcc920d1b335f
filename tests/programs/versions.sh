#!/bin/sh
# SPDX-License-Identifier: MIT
# posix_spawn and posix_spawnp in both symbol versions: the version of glibc 2.15 returns ENOEXEC for a file of unknown
# format; the older one runs the file with a shell, and must still do so for programs that were linked with it.
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
needs "${CC%% *}"
[ "$(uname -m)" = x86_64 ] || skip "this machine is no x86_64, where the older version is GLIBC_2.2.5"

cat >spawning.c <<'END'
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if __SIZEOF_POINTER__ != 8
#error "not for x32"
#endif
#ifdef OLD
__asm__(".symver posix_spawn, posix_spawn@GLIBC_2.2.5");
__asm__(".symver posix_spawnp, posix_spawnp@GLIBC_2.2.5");
#endif
extern char **environ;

typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
	char *const[], char *const[]);

static void spawn(const char *name, spawn_function *function, const char *file)
{
	char *arguments[] = { "zero", "one", "two words", NULL };
	int error, kept, status = -1;
	pid_t pid = -2;

	errno = 1234;
	error = function(&pid, file, NULL, NULL, arguments, environ);
	kept = errno == 1234;
	/* Printed when the child has ended: both write to the same file. */
	if (error == 0 && waitpid(pid, &status, 0) == pid)
		printf("%s %s: started, errno %s, status %d\n", name, file, kept ? "kept" : "changed",
		       WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	else
		printf("%s %s: %s, errno %s, pid %s\n", name, file, strerror(error), kept ? "kept" : "changed",
		       pid == -2 ? "kept" : "changed");
	fflush(stdout);
}

int main(void)
{
	static const char *const files[] = { "./no-line", "no-line", "./with-line", "with-line", "./empty",
		"./not-executable", "./no-such-file", "/", "true" };

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		spawn("posix_spawn", posix_spawn, files[i]);
		spawn("posix_spawnp", posix_spawnp, files[i]);
	}
	return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 1;
}
END
compile new spawning.c
compile old spawning.c -DOLD
mkdir start
# shellcheck disable=SC2016
printf 'echo "run by a shell: $*"\nexit 5\n' >start/no-line
# shellcheck disable=SC2016
printf '#!/bin/sh\necho "run by its first line: $*"\nexit 6\n' >start/with-line
: >start/empty
cp start/no-line start/not-executable
chmod 755 start/no-line start/with-line start/empty
chmod 644 start/not-executable
export PATH="$temporary/start:$PATH"

for program in new old; do
	compare_with_and_without -d start $program ../$program
	must_have_records posix_spawn 9
	must_have_records posix_spawnp 9
	[ "$(records fork)" = 0 ] || fail "$program: spawns were recorded as forks"
done

expect()
{
	grep -q -x "$2" "$1.recorded.stdout" || {
		cat "$1.recorded.stdout" >&2
		fail "$1: not in the output: $2"
	}
}
expect new 'posix_spawn ./no-line: Exec format error, errno .*, pid kept'
expect new 'posix_spawnp ./no-line: Exec format error, errno .*, pid kept'
expect new 'posix_spawnp no-line: Exec format error, errno .*, pid kept'
expect old 'posix_spawn ./no-line: started, errno .*, status 5'
expect old 'posix_spawnp ./no-line: started, errno .*, status 5'
expect old 'posix_spawnp no-line: started, errno .*, status 5'
expect old 'run by a shell: one two words'
expect new 'posix_spawn ./with-line: started, errno .*, status 6'
[ "$(grep -c '"child":-1,.*no-line",.*"error":8}' new.recorded.stats)" -eq 4 ] || {
	cat new.recorded.stats >&2
	fail "new: not four records of ENOEXEC"
}
[ "$(grep -c '"error":8}' old.recorded.stats)" -eq 0 ] || fail "old: a record of ENOEXEC"

passed "new and old posix_spawn and posix_spawnp"
