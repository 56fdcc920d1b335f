#!/bin/sh
# SPDX-License-Identifier: MIT
# Programs of other kinds under odfork run: with a sanitizer in them they run as they are, without the library, and
# --log says so; what they execute is preloaded again. The same where a preloaded process executes one, by each function
# that can, and for musl. And what is not a regular file is not opened to look at it.
set -eu
PATH=/usr/bin:/bin:/usr/sbin:/sbin
build=${ODF_BUILD:?}
unset LD_PRELOAD ODFORK_HEAP ODFORK_LOG ODFORK_STATS ODFORK_UFFD_FD ASAN_OPTIONS UBSAN_OPTIONS
must_work=${ODF_MUST_WORK:-0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
odfork=$build/odfork
cd "$work"
number=0 failures=0

leave_out() { # WHAT WHY
	[ "$must_work" = 1 ] && { echo "Bail out! $1 must work here, but: $2"; exit 1; }
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}
# NAME STATUS OUTPUT PATTERN-OF-ERRORS COMMAND...: the output is all of it; no pattern means no errors.
try() {
	name=$1 wanted=$2 output=$3 errors=$4
	shift 4
	number=$((number + 1)) status=0 word=ok
	timeout -k 1 120 "$@" > out 2> err < /dev/null || status=$?
	[ "$status" = "$wanted" ] && [ "$(cat out)" = "$output" ] || word="not ok"
	if [ -z "$errors" ]; then [ ! -s err ] || word="not ok"; else grep -qE -- "$errors" err || word="not ok"; fi
	echo "$word $number - $name"
	[ "$word" = ok ] && return
	failures=$((failures + 1))
	echo "# status $status, expected $wanted; output and errors, expected '$output' and /$errors/:"
	sed 's/^/#   /' out err
}

# ---- Sanitizers ----
cat > program.c << 'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char line[4096], *volatile block = malloc(64);
	int inside = 0, status = -1;
	pid_t pid;
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
		inside |= strstr(line, "/libodfork.so") != NULL;
	if (maps != NULL)
		fclose(maps);
	/* What it executes, and a further one of its kind, and what that executes. */
	if (argc > 1 && strcmp(argv[1], "child") == 0) {
		puts(getenv("ODFORK_LD_PRELOAD") == NULL ? inside ? "with" : "without" : "ODFORK_LD_PRELOAD");
		fflush(stdout);
		system("grep -q /libodfork[.]so /proc/$$/maps && echo system with");
		execlp(argc > 2 ? "sh" : argv[0], argc > 2 ? "sh" : argv[0], argc > 2 ? "-c" : "child",
		       argc > 2 ? "grep -q /libodfork[.]so /proc/$$/maps && echo exec with" : "2", NULL);
	}
	if (argc > 1 && strcmp(argv[1], "overrun") == 0) { /* what it is built for: a byte behind the block is used */
		block[64] = 1;
		return 0;
	}
	free(block);
	pid = fork();
	if (pid == 0)
		_exit(7);
	if (pid > 0)
		waitpid(pid, &status, 0);
	printf("%s %d\n", inside ? "with" : "without", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return 0;
}
END
says='^odfork: run: \./program: it is built with a sanitizer, whose runtime must come first and see every call;'
says="$says it runs without libodfork\$"
tried=0
sanitizer() { # COMPILER OPTION...
	command -v "$1" > /dev/null && "$@" -g -O1 -w -o program program.c 2> /dev/null &&
		[ "$(./program 2> /dev/null)" = "without 7" ] || return 0
	tried=$((tried + 1))
	try "$*" 0 "without 7" "" "$odfork" run ./program
	try "$*, which is said" 0 "without 7" "$says" "$odfork" run --log ./program
	try "$*, what it executes" 0 "without
system with
without
system with
exec with" "" "$odfork" run ./program child
	try "$*, what it executes, not to be followed" 1 "without
without" "" "$odfork" run --no-follow ./program child
	strip program
	try "$*, stripped" 0 "without 7" "" "$odfork" run --heap=on ./program
}
for kind in address thread leak; do
	sanitizer gcc -fsanitize=$kind
	sanitizer clang -fsanitize=$kind
done
sanitizer gcc -fsanitize=address,undefined
sanitizer gcc -fsanitize=address -static-libasan
sanitizer gcc -fsanitize=thread -static-libtsan
sanitizer gcc -Wl,--no-as-needed -lasan # a library that is needed, and nothing else
sanitizer clang -fsanitize=memory
sanitizer clang -fsanitize=dataflow
runtime=$(clang -print-file-name=libclang_rt.asan-x86_64.so 2> /dev/null) || runtime=
case $runtime in
/*) sanitizer clang -fsanitize=address -shared-libsan "-Wl,-rpath,$(dirname "$runtime")" ;;
esac
[ "$tried" -ge 9 ] || leave_out "sanitizers" "only $tried kinds could be built and run"
if gcc -g -fsanitize=address -w -o program program.c 2> /dev/null; then
	try "it finds what it is for" 1 "" "heap-buffer-overflow" "$odfork" run ./program overrun
fi
# That of undefined behaviour alone interposes nothing, and a program that merely speaks of a sanitizer has none.
if gcc -fsanitize=undefined -w -o program program.c 2> /dev/null; then
	try "gcc -fsanitize=undefined" 0 "with 7" "" "$odfork" run ./program
fi
cat > weak.c <<'END'
void __lsan_ignore_object(void *) __attribute__((weak));
void use(void);
void use(void)
{
	if (__lsan_ignore_object)
		__lsan_ignore_object(0);
}
END
gcc -w -o program program.c weak.c
try "a program that would tell a sanitizer" 0 "with 7" "" "$odfork" run ./program

# ---- Executed by a preloaded process ----
cat > execute.c << 'END'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static int await(pid_t pid)
{
	int status;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}
static long address_space(void) /* pages */
{
	FILE *file = fopen("/proc/self/statm", "r");
	long pages = -1;
	if (file == NULL || fscanf(file, "%ld", &pages) != 1)
		exit(95);
	fclose(file);
	return pages;
}
static void tell(int result)
{
	printf("%d %d, ", result, errno);
}
/* What the kernel and libc say of bad arguments. */
static void try_bad(char **argv)
{
	char *bad[] = { (char *)16, NULL };
	tell(execve((char *)1, argv, environ));
	tell(execve("/bin/true", argv, (char **)1));
	tell(execve("/bin/true", (char **)8, environ));
	tell(execve("/bin/true", argv, bad));
	tell(execveat(AT_FDCWD, (char *)1, argv, bad, AT_EMPTY_PATH));
	tell(execveat(-1, "x", argv, environ, 0));
	tell(syscall(SYS_execve, 1, 1, 1));
	tell(execvp("", argv));
	tell(execvp("/etc", argv));
	tell(execvp("odfork-no-such-program", argv));
	tell(execlp("odfork-no-such-program", "x", NULL));
	tell(execl("/etc/passwd", "x", NULL));
	tell(fexecve(-1, argv, environ));
	puts("");
}
int main(int argc, char **argv)
{
	const char *how = argv[1], *file = argv[2];
	char *arguments[] = { argv[2], "argument", NULL };
	pid_t pid;
#define WAY(name) if (argc > 2 && strcmp(how, name) == 0)
	WAY("execve") execve(file, arguments, environ);
	WAY("execv") execv(file, arguments);
	WAY("execvp") execvp(file, arguments);
	WAY("execvpe") execvpe(file, arguments, environ);
	WAY("execl") execl(file, file, "argument", NULL);
	WAY("execlp") execlp(file, file, "argument", NULL);
	WAY("execle") execle(file, file, "argument", NULL, environ);
	WAY("fexecve") fexecve(open(file, O_RDONLY | O_CLOEXEC), arguments, environ);
	WAY("execveat") execveat(open(file, O_PATH | O_CLOEXEC), "", arguments, environ, AT_EMPTY_PATH);
	WAY("execveat_path") execveat(AT_FDCWD, file, arguments, environ, 0);
	WAY("syscall") syscall(SYS_execve, file, arguments, environ);
	WAY("syscall_at") syscall(SYS_execveat, AT_FDCWD, file, arguments, environ, 0);
	WAY("vfork") {
		pid = vfork();
		if (pid == 0) {
			execve(file, arguments, environ);
			_exit(98);
		}
		return await(pid);
	}
	WAY("vforks") { /* again and again, from a process that stays */
		long before = 0;
		for (int i = 0; i < 220; i++) {
			if (i == 20)
				before = address_space();
			pid = vfork();
			if (pid == 0) {
				dup2(open("/dev/null", O_WRONLY), 1);
				execve(file, arguments, environ);
				_exit(98);
			}
			if (await(pid) != 5)
				return 96;
		}
		puts(address_space() - before < 25 ? "as before" : "more");
		return 0;
	}
	WAY("posix_spawn") return posix_spawn(&pid, file, NULL, NULL, arguments, environ) == 0 ? await(pid) : 97;
	WAY("posix_spawnp") return posix_spawnp(&pid, file, NULL, NULL, arguments, environ) == 0 ? await(pid) : 97;
	WAY("bad") {
		try_bad(arguments);
		return 0;
	}
	perror(how);
	return 1;
}
END
cat > child.c << 'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
	const char *list = getenv("LD_PRELOAD");
	printf("%d %s\n", argc, list == NULL ? "-" : strstr(list, "libodfork") != NULL ? "ours" : list);
	return 5;
}
END
ways="execve execv execvp execvpe execl execlp execle fexecve execveat execveat_path syscall syscall_at vfork"
ways="$ways posix_spawn posix_spawnp"
gcc -w -o execute execute.c
gcc -w -o child child.c
mkdir bin
for way in $ways; do
	try "a program by $way" 5 "2 ours" "" "$odfork" run ./execute $way "$work/child"
done
if command -v musl-gcc > /dev/null && musl-gcc -w -o bin/odfork-musl child.c && ./bin/odfork-musl > /dev/null ||
	[ $? = 5 ]; then
	# The entry stays, as its loader does not find it, for what it executes (other_libc.sh).
	for way in $ways; do
		try "a musl program by $way" 5 "2 ours" "" "$odfork" run ./execute $way "$work/bin/odfork-musl"
	done
	mkdir -p none/odfork-musl # which is passed over
	for way in execvp execlp posix_spawnp; do
		try "a musl program by $way and PATH" 5 "2 ours" "" env PATH="$work/none:$work/bin:$PATH" "$odfork" \
			run ./execute $way odfork-musl
	done
	printf '#!%s/bin/odfork-musl\n' "$work" > musl_script
	chmod 755 musl_script
	try "a script of a musl program" 5 "3 ours" "" "$odfork" run ./execute execve ./musl_script
	try "a shell" 5 "1 ours" "" "$odfork" run sh -c "$work/bin/odfork-musl; exit \$?"
	try "an environment too large for the stack" 5 "1 ours" "" env $(seq -f 'variable%.0f=1' 2000) "$odfork" run \
		sh -c "$work/bin/odfork-musl; exit \$?"
	try "nothing of such a one stays in who starts it by vfork" 0 "as before" "" \
		env $(seq -f 'variable%.0f=1' 500) "$odfork" run ./execute vforks "$work/bin/odfork-musl"
else
	leave_out "musl" "no musl-gcc"
fi
if gcc -fsanitize=address -w -o child_asan child.c 2> /dev/null; then
	for way in $ways; do
		try "a program with the address sanitizer by $way" 5 "2 ours" "" "$odfork" run ./execute $way \
			"$work/child_asan"
	done
	try "nothing of a large environment stays in who starts it by vfork" 0 "as before" "" \
		env $(seq -f 'variable%.0f=1' 500) "$odfork" run ./execute vforks "$work/child_asan"
fi
# Who interposes these as well, and comes behind, is not passed over.
cat > other.c << 'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
int execve(const char *path, char *const argv[], char *const envp[])
{
	(void)!write(1, "seen\n", 5);
	return ((int (*)(const char *, char *const[], char *const[]))dlsym(RTLD_NEXT, "execve"))(path, argv, envp);
}
END
gcc -shared -fPIC -w -o libother.so other.c
try "another library that interposes execve" 5 "seen
2 ours" "" env LD_PRELOAD="$build/libodfork.so.0:$work/libother.so" ./execute execve "$work/child"
if [ -x child_asan ]; then
	for strategy in vfork fork posix_spawn; do
		try "a program with the address sanitizer by odf_spawn, $strategy" 5 "1 -" "" \
			env LD_PRELOAD="$build/libodfork.so.0" "$odfork" spawn --allow=$strategy ./child_asan
	done
	for flags in "--cwd=$work ./child_asan" "--env=PATH=$work --child-path child_asan" "--exec-fd=9 name"; do
		# shellcheck disable=SC2086
		try "by odf_spawn, $flags" 5 "1 -" "" env LD_PRELOAD="$build/libodfork.so.0" "$odfork" spawn $flags \
			9< child_asan
	done
fi
plain=$(./execute bad "$work/child")
try "bad arguments" 0 "$plain" "" "$odfork" run ./execute bad "$work/child"

# ---- What is not a regular file ----
gcc -w -o program program.c
mkfifo pipe
printf '#!%s/pipe\n' "$work" > script_of_pipe
mkdir first second
mkdir first/name
mkfifo first/piped
cp program second/name
cp program second/piped
chmod 755 pipe script_of_pipe first/piped
try "a FIFO" 126 "" "pipe: Permission denied" "$odfork" run --log ./pipe
try "a script whose interpreter is a FIFO" 126 "" "script_of_pipe: Permission denied" "$odfork" run --log \
	./script_of_pipe
printf '#!/usr/bin/env piped\n' > by_env
chmod 755 by_env
PATH=$work/first:$work/second:$PATH
for name in name piped by_env; do
	[ "$name" = by_env ] && program=./by_env || program=$name
	try "$name, found past a directory or a FIFO in PATH" 0 "with 7" \
		"^odfork: run: (\./)?$name: its malloc is libc's" "$odfork" run --log $program
done
# Nobody opens the FIFO, not even for a moment: who waits to write would go on.
(exec 3> pipe; touch opened) 2> /dev/null &
writer=$!
try "a FIFO with a writer" 126 "" "pipe: Permission denied" "$odfork" run --log ./pipe
number=$((number + 1))
if [ -e opened ]; then
	echo "not ok $number - and nobody opened it"
	failures=$((failures + 1))
else
	echo "ok $number - and nobody opened it"
fi
: < pipe
wait "$writer" || :
echo "1..$number"
exit $((failures > 0))
