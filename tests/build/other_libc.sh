#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A program of another C library (musl), started by a program that runs under the library, in every way: it runs as
# without, and what it executes is preloaded again. The entry of LD_PRELOAD is written for that, and leads glibc's
# loader to the same file.
set -u
PATH=/usr/bin:/bin
build=${ODF_BUILD:?}
unset LD_PRELOAD ODFORK_HEAP ODFORK_LOG ODFORK_STATS ODFORK_FOLLOW
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
number=0 failed=0

command -v musl-gcc > /dev/null || {
	[ "${ODF_MUST_WORK:-0}" = 1 ] && { echo "Bail out! no musl-gcc"; exit 1; }
	echo "1..0 # SKIP no musl-gcc"
	exit 0
}
result() { # OK NAME
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number - $2"
	else
		failed=$((failed + 1))
		echo "not ok $number - $2"
		sed 's/^/# /' "$work/out" "$work/err"
	fi
}

# Says that it ran; with arguments it becomes another program.
cat > "$work/musl.c" << 'END'
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	puts("ran");
	fflush(stdout);
	if (argc == 1 || strstr(argv[1], "/script") != NULL)
		return 5;
	execv(argv[1], argv + 1);
	return 98;
}
END
musl-gcc -o "$work/musl" "$work/musl.c" || { echo "Bail out! musl-gcc"; exit 1; }
# How often the library is mapped, as the status: 0 not at all.
printf '#!/bin/sh\nexit "$(grep -c "/libodfork.so" /proc/self/maps)"\n' > "$work/seen"
printf '#!%s\n' "$work/musl" > "$work/script"
chmod 755 "$work/seen" "$work/script"
# Where another user finds them.
cp "$build/tests/other_libc" "$build/odfork" "$build/libodfork.so.0" "$work/"
library=$work/libodfork.so.0
PATH=$work:$PATH

same_as_plain() { # NAME COMMAND...: the program with `arguments`, plain and as the command says
	name=$1
	shift
	# shellcheck disable=SC2086
	"$work/other_libc" "$work/musl" $arguments > "$work/plain" 2> "$work/err" || result 1 "$name: plain"
	# shellcheck disable=SC2086
	"$@" "$work/other_libc" "$work/musl" $arguments > "$work/all" 2> "$work/err"
	status=$?
	head -n "$(wc -l < "$work/plain")" "$work/all" > "$work/out" # then odf_spawn, which the plain one has not
	[ $status = 0 ] && cmp -s "$work/plain" "$work/out"
	result $? "$name"
}
arguments=
same_as_plain "under odfork run" "$work/odfork" run --
[ "$(grep -c '^odf_spawn 5$' "$work/all")" = 3 ] && [ "$(grep -c odf_spawn "$work/all")" = 3 ]
result $? "by odf_spawn, each strategy"
grep -qx ran "$work/plain" && ! grep -qvE '^ran$| 5$' "$work/plain"
result $? "the plain ones all ran"
same_as_plain "preloaded" env LD_PRELOAD="$library"
same_as_plain "preloaded, with a heap from the start" env LD_PRELOAD="$library" ODFORK_HEAP=on
same_as_plain "not followed" env LD_PRELOAD="$library" ODFORK_FOLLOW=0
same_as_plain "with another library in the list" env LD_PRELOAD="$library libm.so.6"
cd "$work" || exit 1
same_as_plain "by a relative name" env LD_PRELOAD=./libodfork.so.0
same_as_plain "by a name that is searched for" env LD_LIBRARY_PATH="$work" LD_PRELOAD=libodfork.so.0
cd / || exit 1
if [ "$(id -u)" = 0 ]; then
	same_as_plain "as another user" setpriv --reuid=65534 --regid=65534 --clear-groups env LD_PRELOAD="$library"
fi

# What it executes is preloaded again: each way, "ran" and then the count.
arguments="$work/seen"
for way in run preload; do
	if [ $way = run ]; then set -- "$work/odfork" run --; else set -- env LD_PRELOAD="$library"; fi
	"$@" "$work/other_libc" "$work/musl" "$work/seen" > "$work/out" 2> "$work/err"
	! grep -qE ' (0|98|99|999)$' "$work/out" && [ "$(grep -c ' [1-9]$' "$work/out")" = 18 ] &&
		[ "$(grep -c '^ran$' "$work/out")" = 18 ]
	result $? "what it executes is preloaded again: $way"
	[ ! -s "$work/err" ]
	result $? "and nothing is said: $way"
done
# The first one of all, too: "ran", and what it executes has the library.
"$work/odfork" run -- "$work/musl" "$work/seen" > "$work/out" 2> "$work/err"
status=$?
[ $status -ge 1 ] && [ $status -le 9 ] && [ "$(cat "$work/out")" = ran ] && [ ! -s "$work/err" ]
result $? "odfork run of one"
"$work/odfork" run --no-follow -- "$work/musl" "$work/seen" > "$work/out" 2> "$work/err"
[ $? = 0 ] && [ "$(cat "$work/out")" = ran ]
result $? "unless it is not to be followed"
env LD_PRELOAD="$library" sh -c '"$0"; exit $?' "$work/script" > "$work/out" 2> "$work/err"
[ $? = 5 ] && [ "$(cat "$work/out")" = ran ]
result $? "a script of which it is the interpreter"

# The same file, whoever looks: a shell that expands the variable once more finds it too, and so does make.
env LD_PRELOAD="$library" sh -c 'eval "LD_PRELOAD=$LD_PRELOAD" grep -c /libodfork.so /proc/self/maps' \
	> "$work/out" 2> "$work/err"
[ "$(cat "$work/out")" -gt 0 ] && [ ! -s "$work/err" ]
result $? "expanded once more"
printf 'all:\n\t@grep -c /libodfork.so /proc/self/maps\n' > "$work/makefile"
env LD_PRELOAD="$library" make -s -f "$work/makefile" > "$work/out" 2> "$work/err"
[ "$(cat "$work/out")" -gt 0 ] && [ ! -s "$work/err" ]
result $? "by make"
env LD_PRELOAD="libm.so.6:$library" ODFORK_STATS=/dev/null sh -c 'printenv LD_PRELOAD' > "$work/out" 2> "$work/err"
grep -qx "libm.so.6:/\$LIB/[./]*$library" "$work/out" && [ ! -s "$work/err" ]
result $? "of the list, only our entry is written anew"
env LD_PRELOAD=" libm.so.6  $library:" printenv LD_PRELOAD > "$work/out" 2> "$work/err"
[ "$(cat "$work/out")" = " libm.so.6  /\$LIB/../../../../../../../..$library:" ]
result $? "with what is between"
# Once: a list that is so already is left alone.
env LD_PRELOAD="$library" sh -c 'sh -c "sh -c \"printenv LD_PRELOAD\""' > "$work/out" 2> "$work/err"
[ "$(cat "$work/out")" = "$(env LD_PRELOAD="$library" printenv LD_PRELOAD)" ]
result $? "in all generations alike"
echo "1..$number"
[ "$failed" = 0 ]
