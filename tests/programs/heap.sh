# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# shellcheck disable=SC2034 # used by the scripts
#
# Sourced by the tests of real programs whose memory is in the heap: heap_*.sh. They write TAP: each check is a function
# that runs in a subshell. Right answers prove nothing if the program's memory was not in a region, so each check also
# verifies that it was, in one of three ways: by the records of its forks, by its mappings while it runs, or by the line
# that libheap_seen.so (heap_seen.c) writes when it exits.
#
# From the environment, besides what common.sh takes:
#   ODF_TEST_CONTROL=1   nothing is preloaded, and nothing is asked of the heap. To tell whether a failure is the test's
#                        own.
#   ODF_TEST_SCALE=N     sizes and times are N times those of the test run
. "$(dirname "$0")/common.sh"
[ -x "$PYTHON" ] || skip "$PYTHON is not installed"

here=$(cd "$ODF_SOURCE/tests/programs" && pwd) || exit 1
control=${ODF_TEST_CONTROL:-0}
scale=${ODF_TEST_SCALE:-1}
export ODF_TEST_CONTROL="$control" ODF_TEST_SCALE="$scale"
checks=0
failed_checks=0

# plan COUNT: how many checks there will be.
plan()
{
	echo "1..$1"
	planned=$1
	[ "$control" = 0 ] || echo "# control: nothing is preloaded"
}

# A whole script that cannot run.
skip()
{
	[ "$must_work" != 1 ] || fail "must work here, but: $*"
	echo "1..0 # SKIP $*"
	exit 0
}

# check NAME FUNCTION [ARGUMENT...]
check()
{
	check_name=$1
	shift
	checks=$((checks + 1))
	(
		trap - EXIT
		trap 'status=$?; $at_end; exit $status' EXIT
		"$@"
	) >"$temporary/check.log" 2>&1
	status=$?
	if [ $status -eq 0 ]; then
		echo "ok $checks - $check_name"
		sed -n 's/^# /# /p' "$temporary/check.log"
	else
		failed_checks=$((failed_checks + 1))
		echo "not ok $checks - $check_name"
		sed 's/^/#   /' "$temporary/check.log"
	fi
}

finish()
{
	[ "$checks" = "$planned" ] || { echo "Bail out! $checks checks, $planned planned"; exit 1; }
	(no_processes_left) || { echo "Bail out! processes are left"; exit 1; }
	[ $failed_checks -eq 0 ]
	exit
}

# What puts the library under a program, as words for with. Awake by growth, as users have it; or from the start. Or not
# at all.
#   with "$under" PROGRAM...       with "$awake VARIABLE=VALUE" PROGRAM...       with "$plain" PROGRAM...
seen=$temporary/libheap_seen.so
witnesses=$temporary/seen
compile "$seen" "$here/heap_seen.c" -shared -fPIC -Wall -Wextra -Werror
if [ "$control" = 1 ]; then
	under="LD_PRELOAD=$seen HEAP_SEEN=$witnesses"
	awake=$under
else
	under="LD_PRELOAD=$preload:$seen HEAP_SEEN=$witnesses ODFORK_STATS=$temporary/stats"
	awake="$under ODFORK_HEAP=on"
fi
plain="LD_PRELOAD=$seen HEAP_SEEN=$witnesses.plain"

# How much is in regions of a program that holds N MiB and woke the heap by growing: at least a quarter is asked for. 16
# MiB were there before, and what was asked for until the other allocator had been loaded, which takes longer where
# there is much else to do.
#
# The program's pid is in the file pid meanwhile and afterwards.
with()
{
	rm -f "$temporary/stats" "$witnesses" "$witnesses.plain"
	words=$1
	shift
	# shellcheck disable=SC2016,SC2086
	sh -c 'echo $$ >"$0/pid" && exec env "$@"' "$temporary" $words "$@"
}

# Where nothing can settle regions beside a running program (no userfaultfd for an ordinary user, as a rule), a program
# that has several threads when it has grown has no heap, and what is awake is given back piece by piece between one
# fork and the next. The answers must be right all the same; that the heap is in play is then asked of the first forks
# only, and of such a program not at all.
settling=$("$odfork" probe | awk '$1 == "uffd_minor" && $2 == "yes" { minor = 1 }
	($1 == "uffd_kernel" || $1 == "uffd_device") && $2 == "yes" { kernel = 1 }
	END { print minor && kernel ? "yes" : "no" }')
export ODF_TEST_SETTLING="$settling"
# COMMAND [ARGUMENT...]: of those, about a program with several threads that is not awake from the start
if_it_settles()
{
	if [ "$settling" = yes ]; then
		"$@"
	else
		echo "# nothing settles beside threads here, so there is no heap"
	fi
}

# forks_seen [OPTION...]: asks the records for forks with memory in regions, of the program that ran last or, with
# --pid, of another; see heap_records.py.
forks_seen()
{
	[ "$control" = 1 ] || "$PYTHON" "$here/heap_records.py" forks "$temporary/stats" --pid \
		"$(cat "$temporary/pid")" "$@" || fail "the heap was not in play at the forks"
}

# ends_seen PROGRAM MIB [COUNT]: COUNT processes that executed PROGRAM (a pattern) ended with at least MIB in regions.
ends_seen()
{
	[ "$control" = 1 ] || "$PYTHON" "$here/heap_records.py" ends "$witnesses" "$@" ||
		fail "the heap was not in play in $1"
}

# mapped_seen PID MIB: the process has at least that much of regions resident now.
mapped_seen()
{
	[ "$control" = 1 ] || "$PYTHON" "$here/heap_records.py" mapped "$@" ||
		fail "the heap is not in play in process $1"
}

# same_as FILE FILE: with and without the library.
same_as()
{
	cmp -s "$1" "$2" && return
	diff -u "$1" "$2" | head -n 40
	fail "$2 differs from $1"
}
