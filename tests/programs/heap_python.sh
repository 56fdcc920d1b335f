#!/bin/sh
# SPDX-License-Identifier: MIT
# CPython with 64 MiB, times ODF_TEST_SCALE, that creates processes in each of its ways: see heap_python.py.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
parts='forks pools subprocesses mappings collector threads signals'
if "$PYTHON" -c 'import numpy' 2>/dev/null; then
	parts="$parts arrays"
else
	[ "$must_work" != 1 ] || fail "must work here, but: python3-numpy is not installed"
	echo "# left out: python3-numpy is not installed"
fi
warns=$("$PYTHON" -c 'import sys; print("yes" if sys.version_info >= (3, 12) else "no")')
if [ "$warns" = yes ]; then
	plan 3
else
	echo "# left out: Python before 3.12 does not warn of forks beside threads"
	plan 2
fi
mib=$((64 * scale))
small=$((32 * scale))
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

# The parts above have threads of their own, of which a newer Python warns rightly, and there the warnings are off. As
# an error it would be lost.
no_warning()
{
	with "$awake" "$PYTHON" -W always::DeprecationWarning -c '
import os, sys, threading, warnings
big = bytearray(64 << 20)
assert sys.argv[1] == "1" or "odfork-region" in open("/proc/self/maps").read()
def warned():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    return len(caught)
print("without a thread", sum(warned() for _ in range(4)))
wait = threading.Event()
threading.Thread(target=wait.wait).start()
print("with one", warned())
wait.set()
' "$control" >found 2>messages || fail "status $?: $(cat messages)"
	printf 'without a thread 0\nwith one 1\n' >wanted
	same_as wanted found
	[ ! -s messages ] || fail "messages: $(cat messages)"
}
[ "$warns" != yes ] || check "no warning of a thread that is none" no_warning
finish
