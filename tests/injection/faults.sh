#!/bin/sh
# SPDX-License-Identifier: MIT
#
# System calls that fail, by faults.c: in each public function (faulted.c) and under the preload (faulted_preloaded.c),
# as this user and, if that is root, as another one. Then the coverage is checked: each system call that src/ names, and
# each that was seen, must have failed at least once; so must one in each public function, and one in each interposed
# function that makes any. Exceptions are in faults.calls, with the reason; an exception that is not needed is an error,
# too.
#
# ODF_TEST_SCALE=errnos takes minutes, full an hour. ODF_TEST_LIST=FILE: writes the coverage, by function and by call.
set -u
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
skip() {
	[ "${ODF_MUST_WORK:-0}" != 1 ] || { echo "Bail out! must not be skipped: $1"; exit 1; }
	# In the middle of the run: too late for a plan of no tests.
	[ "$count" = 0 ] || { echo "not ok $((count + 1)) - $1"; echo "1..$((count + 1))"; exit 1; }
	echo "1..0 # SKIP $1"
	exit 0
}
failed=0 count=0
[ "$(uname -m)" = x86_64 ] || skip "written for x86-64"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cp "$build/tests/faults" "$build/tests/faulted" "$build/tests/faulted_preloaded" "$work/" &&
	cp -L "$build/libodfork.so.0" "$work/" || exit 1
mkdir -p "$work/tests/injection" && cp "$source/tests/injection/faults.calls" "$work/tests/injection/" || exit 1
unset LD_PRELOAD ODFORK_HEAP ODFORK_LOG ODFORK_STATS ODFORK_UFFD_FD
export ODF_SOURCE="$work" LD_LIBRARY_PATH="$work"
calls=$source/tests/injection/faults.calls
report() { # NAME FILE: ok if the file is empty
	count=$((count + 1))
	if [ ! -s "$2" ]; then
		echo "ok $count - $1"
	else
		failed=1
		echo "not ok $count - $1"
		sed 's/^/#   /' "$2"
	fi
}
run() { # NAME LIST COMMAND...
	name=$1
	shift
	"$@" > "$work/said" 2>&1
	status=$?
	[ $status != 77 ] || skip "$(cat "$work/said")"
	grep '^# ' "$work/said" # the time it took, and slow calls
	[ $status = 0 ] && : > "$work/said"
	report "$name" "$work/said"
}
public=names,capabilities,forks,spawns,processes,pools,regions,heap
public=$public,$(echo "$public" | sed 's/names,//; s/,/-cold,/g; s/$/-cold/')
under=memory,shared_memory,forks,daemons,programs,files,threads,limits,locked,filters
cd "$work" || exit 1
mkdir lists && chmod 777 lists
run "public functions" ./faults lists/public "$public" "$work/faulted"
preloaded="/usr/bin/env LD_PRELOAD=$work/libodfork.so.0 ODFORK_HEAP=on $work/faulted_preloaded"
# shellcheck disable=SC2086
run "the preload" ./faults lists/under "$under" $preloaded
if [ "$(id -u)" = 0 ]; then
	nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
	# shellcheck disable=SC2086
	run "public functions, as another user" $nobody ./faults lists/nobody capabilities-cold,regions "$work/faulted"
	# shellcheck disable=SC2086
	run "the preload, as another user" $nobody ./faults lists/under.nobody memory,forks $preloaded
else
	echo "ok 3 # SKIP needs root"
	echo "ok 4 # SKIP needs root"
	count=4
fi
sort lists/* > list
[ -z "${ODF_TEST_LIST:-}" ] || cp list "$ODF_TEST_LIST"

# By system call: those that src/ names (without the command line tool, which is a program like others), including the
# numbers that src/ defines itself for new ones; and those that were seen.
exceptions() { sed -n "s/^$1 \([^ ]*\).*/\1/p" "$calls"; }
{
	grep -rhoE '\b(SYS_[a-z0-9_]+|NUMBER_[A-Z0-9_]+)' "$source/src" --include='*.[ch]' \
		--exclude-dir=cli --exclude-dir=measure --exclude-dir=follow |
		sed 's/^[A-Z]*_//' | tr 'A-Z' 'a-z'
	awk '$2 != "-" { print $2 }' list
} | sort -u > calls.there
awk '$4 > 0 { print $2 }' list | sort -u > calls.failed
# A call that only a privileged caller makes need not fail for others.
rights=$([ "$(id -u)" = 0 ] || exceptions rights)
{ exceptions cannot; exceptions unmade; printf '%s' "${rights:+$rights
}"; } | sort -u > calls.left
exceptions rarely | sort -u calls.failed calls.left - | comm -23 calls.there - |
	sed 's/^/was never made to fail: /' > wrong
exceptions unmade | sort -u | comm -12 - calls.failed | sed 's/^/is said not to be made, and was: /' >> wrong
comm -23 calls.left calls.there | sed 's/^/is an exception, and nowhere: /' >> wrong
awk '!/^#/ && NF < ($1 == "only" ? 4 : 3) { print "has no reason: " $0 }' "$calls" >> wrong
report "each system call was made to fail" wrong

# By function.
awk '$4 > 0 { print $1 }' list | sort -u > functions.failed
awk '{ print $1 }' list | sort -u > functions.run
sed -n 's/^\t\t\(odf_[a-z_]*\);/\1/p' "$source/src/libodfork.map.in" | sort -u > functions.public
exceptions silent | sort -u > functions.silent
comm -23 functions.public functions.run | sed 's/^/was not run: /' > wrong
exceptions rarely | sort -u functions.failed functions.silent - | comm -23 functions.public - |
	sed 's/^/no call of it was made to fail: /' >> wrong
comm -12 functions.failed functions.silent | sed 's/^/is said to make no call, and does: /' >> wrong
report "in each public function" wrong
nm -D --defined-only "$work/libodfork.so.0" |
	awk '$3 !~ /^(odf_|ODFORK|GLIBC)/ { sub(/@.*/, "", $3); print $3 }' | sort -u > functions.interposed
{ awk '{ print $1 }' lists/under*; exceptions uncalled; } | sort -u | comm -23 functions.interposed - |
	sed 's/^/was not run: /' > wrong
report "in each function that is interposed" wrong
pairs=$(awk '$4 > 0' list | wc -l)
echo "# $pairs pairs of a function and a call, $(wc -l < calls.failed) calls, $(wc -l < functions.failed) functions"
echo "1..$count"
exit $failed
