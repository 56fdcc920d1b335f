#!/bin/sh
# SPDX-License-Identifier: MIT
# gdb debugs forking programs as without the library: preloaded itself, and with only the debugged program preloaded.
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
needs gdb "${CC%% *}"
unset DEBUGINFOD_URLS

cat >forking.c <<'END'
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
int value = 1;

/* Not where two processes run at a time: gdb writes to the same file. */
static void say(const char *what)
{
	if (getenv("QUIET") == NULL)
		(void)!write(1, what, strlen(what));
}

__attribute__((noinline)) static void the_child_works(int number)
{
	value = number;
	say("child\n");
}

__attribute__((noinline)) static void the_parent_works(int status)
{
	value = status;
	say("parent\n");
}

__attribute__((noinline)) static void the_parent_waits(void)
{
	value++;
}

int main(void)
{
	char *arguments[] = { "true", NULL };
	int status;
	pid_t pid;

	say("start\n");
	pid = fork();
	if (pid == 0) {
		the_child_works(42);
		_exit(3);
	}
	the_parent_waits();
	waitpid(pid, &status, 0);
	the_parent_works(WEXITSTATUS(status));
	if (posix_spawnp(&pid, "true", NULL, NULL, arguments, environ) == 0)
		waitpid(pid, &status, 0);
	say("end\n");
	return value;
}
END
compile forking forking.c -O0

cat >parent.gdb <<'END'
set environment QUIET=1
break forking.c:the_parent_works
run
backtrace
print status
print value
finish
next
continue
END
cat >child.gdb <<'END'
set environment QUIET=1
set follow-fork-mode child
break forking.c:the_child_works
run
backtrace
print number
info inferiors
finish
print value
continue
END
cat >both.gdb <<'END'
set detach-on-fork off
break forking.c:the_child_works
break forking.c:the_parent_waits
break forking.c:the_parent_works
run
backtrace
info inferiors
inferior 2
continue
backtrace
print value
set variable value = 50
finish
continue
inferior 1
print value
set detach-on-fork on
continue
print status
info inferiors
continue
END
cat >over.gdb <<'END'
set environment QUIET=1
break main
run
next
next
next
next
print pid > 0
print value
continue
END
cat >catch.gdb <<'END'
set environment QUIET=1
catch fork
run
up-silently 100
print value
continue
END
cat >child-detached.gdb <<'END'
set environment QUIET=1
set follow-fork-mode child
set detach-on-fork off
break forking.c:the_child_works
run
continue
inferior 1
set detach-on-fork on
print value
continue
END

# shellcheck disable=SC2317 # called by name
normal()
{
	sed -E -e 's/0x[0-9a-f]+/ADDRESS/g' -e 's/(process|LWP|Thread) +[0-9]+/\1 PID/g' -e 's/  +/ /g' -e \
		's/(pid|PID) = [0-9]+/\1 = PID/g' \
		-e '/^Reading symbols from |debuginfod/d'
}

gdb --batch -nx -ex run ./forking >attempt 2>&1 </dev/null
grep -q '^\[Inferior 1 .*exited with code 03\]$' attempt || {
	! grep -q -i -E 'ptrace|not permitted|Could not trace' attempt ||
		skip "gdb may not trace processes here: $(grep -m 1 -i ptrace attempt)"
	cat attempt >&2
	fail "gdb cannot run a program here"
}

mkdir start
cp forking forking.c ./*.gdb start
for commands in parent child both over catch child-detached; do
	compare_with_and_without -d start -f normal $commands gdb --batch -nx -x $commands.gdb ./forking
	must_have_records fork 2 # gdb's own and the program's
	must_have_records posix_spawnp 0
	# Only the program: env becomes the program, so gdb sees one more exec, as it does in the run that it is
	# compared with.
	compared=$commands
	name=$compared-wrapped
	for wrapper in "env NOTHING=1" "env LD_PRELOAD=$preload ODFORK_STATS=$temporary/wrapped.stats"; do
		rm -f wrapped.stats
		case $wrapper in
		*PRELOAD*) name=$compared-wrapped-preloaded ;;
		esac
		run_variant plain gdb --batch -nx -ex "set exec-wrapper $wrapper" -x $commands.gdb ./forking
	done
	must_be_same "exit status" $compared-wrapped.plain.status $compared-wrapped-preloaded.plain.status
	must_be_same "standard output" $compared-wrapped.plain.stdout $compared-wrapped-preloaded.plain.stdout
	must_be_same "standard error" $compared-wrapped.plain.stderr $compared-wrapped-preloaded.plain.stderr
	must_have_records fork 1 wrapped.stats
done

# That the sessions went as they should.
expect()
{
	grep -q -E -e "$2" "$1.plain.stdout" || {
		cat "$1.plain.stdout" "$1.plain.stderr" >&2
		fail "$1: not in the output: $2"
	}
}
# shellcheck disable=SC2016
{
	expect parent '^\$1 = 3$'
	expect parent 'the_parent_works \(status=3\)'
	expect child '^#0 +the_child_works \(number=42\)'
	expect child '^#1 .* main \(\)'
	expect child 'exited with code 03'
	expect both 'Inferior 2 .*exited with code 03'
	expect both '^\$2 = 1$'
	expect both '^\$3 = 3$'
	expect both 'exited with code 03'
	expect over '^\$1 = 1$'
	expect catch 'Catchpoint 1 \(forked process'
	expect child-detached '^\$1 = 1$'
}

passed "$(gdb --version | head -n 1)"
