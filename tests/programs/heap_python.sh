#!/bin/sh
# SPDX-License-Identifier: MIT
# CPython that holds 96 MiB, times ODF_TEST_SCALE, and makes processes in each of its ways: see heap_python.py.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
parts='forks pools subprocesses mappings collector threads signals'
if "$PYTHON" -c 'import numpy' 2>/dev/null; then
	parts="$parts arrays"
else
	[ "$must_work" != 1 ] || fail "must work here, but: python3-numpy is not installed"
	echo "# left out: python3-numpy is not installed"
fi
plan 2
mib=$((96 * scale))
small=$((48 * scale))
# shellcheck disable=SC2086
with "$plain" "$PYTHON" "$here/heap_python.py" $mib $parts >right 2>messages ||
	fail "it failed without the library: $(cat messages)"

# All in one: small objects are in CPython's arenas, and the rest by malloc.
as_it_is()
{
	# shellcheck disable=SC2086
	with "$under" "$PYTHON" "$here/heap_python.py" $mib $parts >found 2>messages ||
		fail "status $?: $(cat messages)"
	same_as right found
	[ ! -s messages ] || fail "messages: $(cat messages)"
	forks_seen --least 60 --mib $((mib / 4)) --all
	ends_seen 'python3.*' $((mib / 4))
}
check "$mib MiB, in arenas and by malloc" as_it_is

# Every object by malloc, and the heap awake before the interpreter is.
all_by_malloc()
{
	some='forks pools collector threads signals'
	# shellcheck disable=SC2086
	with "$plain" "$PYTHON" "$here/heap_python.py" $small $some >right 2>messages ||
		fail "it failed without the library: $(cat messages)"
	# shellcheck disable=SC2086
	with "$awake PYTHONMALLOC=malloc" "$PYTHON" "$here/heap_python.py" $small $some >found 2>messages ||
		fail "status $?: $(cat messages)"
	same_as right found
	[ ! -s messages ] || fail "messages: $(cat messages)"
	forks_seen --least 50 --mib $((small * 8 / 10)) --all
	ends_seen 'python3.*' $((small * 8 / 10))
}
check "every object by malloc, awake from the start" all_by_malloc
finish
