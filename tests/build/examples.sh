#!/bin/sh
# SPDX-License-Identifier: MIT
# The twelve programs of odf_examples(7): each is taken from the page, compiled with the shared and the static library,
# run, and does what the page says.
set -eu
PATH=/usr/bin:/bin:/usr/sbin:/sbin
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
CC=${ODF_CC:-cc}
unset LD_PRELOAD ODFORK_HEAP ODFORK_LOG ODFORK_STATS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
number=0 failures=0

leave_out() { # WHAT WHY
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}
result() { # NAME GOOD DETAILS...
	number=$((number + 1))
	if [ "$2" = 0 ]; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		shift 2
		printf '%s\n' "$@" | sed 's/^/# /'
		failures=$((failures + 1))
	fi
}
# NAME OUTPUT PROGRAM...: the status is 0 and the output, without blanks at the start of lines, is that.
run() {
	name=$1 wanted=$2 status=0
	shift 2
	output=$(timeout -k 1 120 "$@" 2> err) || status=$?
	output=$(printf '%s\n' "$output" | sed 's/^ *//')
	[ "$status" = 0 ] && [ "$output" = "$wanted" ] && [ ! -s err ] && good=0 || good=1
	result "$name" $good "status $status, output '$output', expected '$wanted'" "$(cat err)"
}

# The page's blocks, without what the page needs.
awk '/^\.\\" begin /{ file = $3; next } /^\.\\" end /{ close(file); file = ""; next } file != "" { print > file }' \
	"$source/man/odf_examples.7"
sed -i 's/^\\&//; s/\\-/-/g; s/\\e/\\/g' ./*.c
# shellcheck disable=SC2012
[ "$(ls ./*.c | wc -l)" = 12 ] || { echo "Bail out! not twelve programs: $(ls)"; exit 1; }
for program in *.c; do
	name=${program%.c} good=0
	$CC -std=gnu11 -D_GNU_SOURCE -O1 -Wall -Wextra -Werror -Wno-missing-field-initializers -I"$source/include" \
		-o "shared-$name" "$program" \
		-L"$build" -lodfork "-Wl,-rpath,$build" > log 2>&1 &&
		$CC -std=gnu11 -D_GNU_SOURCE -O1 -w -I"$source/include" -o "static-$name" "$program" \
		"$build/libodfork.a" -pthread >> log 2>&1 || good=1
	result "$name.c compiles" $good "$(cat log)"
done
try_all() { # PREFIX
	run "$1collect" "it says: SOME TEXT" "./$1collect"
	run "$1pipeline" "1 a
2 b" "./$1pipeline"
	run "$1sandbox" "Permission denied
32
0077" "./$1sandbox"
	run "$1timeout" "it takes too long
killed by signal 15" "./$1timeout"
	run "$1helper" "it works
it has ended" "./$1helper" echo "it works"
	run "$1many" "7 good, 13 bad" "./$1many"
	run "$1pool" "1229 primes
/nonexistent: step exec, No such file or directory" "./$1pool"
	region=$("$build/odfork" probe --json | grep -q '"region":{"available":true' && echo region || echo fork)
	[ "$region" = region ] && run "$1snapshot" "saved, by region" "./$1snapshot" ||
		leave_out "$1snapshot" "no regions here"
	if [ "$(id -u)" = 0 ]; then
		run "$1user" "nobody" "./$1user"
	else
		leave_out "$1user" "needs root"
	fi
	rm -f daemon.log
	pid=$("./$1daemon" "$work/daemon.log" sh -c \
		'echo "$(ps -o sid= -p $$)" $$ "$(readlink /proc/$$/fd/0)" "$(pwd)"; sleep 0.1; echo end' |
		sed 's/.* //')
	for _ in $(seq 6000); do
		grep -qs end daemon.log && break
		sleep 0.01
	done
	# shellcheck disable=SC2046
	set -- "$1" $(head -n 1 daemon.log)
	[ "$2" = "$pid" ] && [ "$3" = "$pid" ] && [ "$4" = /dev/null ] && [ "$5" = / ] && good=0 || good=1
	result "$1daemon" $good "$(cat daemon.log)"
	group=$(awk '$3 == "cgroup2" { print $2 }' /proc/mounts | head -n 1)
	if [ -n "$group" ] && [ -w "$group" ] && mkdir "$group/odfork-examples-$$" 2> /dev/null; then
		run "$1cgroup" "0::/odfork-examples-$$" sh -c "./$1cgroup '$group/odfork-examples-$$' | grep ^0::"
		[ ! -d "$group/odfork-examples-$$" ] || rmdir "$group/odfork-examples-$$"
	else
		leave_out "$1cgroup" "no cgroup can be made here"
	fi
	status=0
	python3 - "./$1job" > log 2>&1 << 'END' || status=$?
import os, sys
pid, terminal = os.forkpty()
if pid == 0:
    os.execlp(sys.argv[1], sys.argv[1], "sh", "-c",
              '[ "$(ps -o tpgid= -p $$)" -eq "$(ps -o pgid= -p $$)" ] && echo has it; '
              'kill -TSTP $$; echo goes on; exit 3')
text = b""
try:
    while chunk := os.read(terminal, 1000):
        text += chunk
except OSError:
    pass
os.waitpid(pid, 0)
assert text.replace(b"\r", b"") == b"has it\nstopped by signal 20\ngoes on\nended with 3\n", text
END
	result "$1job" $status "$(cat log)"
}
try_all shared-
try_all static-
echo "1..$number"
exit $((failures > 0))
