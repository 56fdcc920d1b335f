#!/bin/sh
# SPDX-License-Identifier: MIT
# SQLite: a database in memory, built once, and one forked child for each test of a suite (heap_sqlite.c). 48 MiB, times
# ODF_TEST_SCALE.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs "${CC%% *}"
echo '#include <sqlite3.h>' | $CC -E - >/dev/null 2>&1 || skip "libsqlite3-dev is not installed"
plan 3
mib=$((48 * scale))
compile sqlite "$here/heap_sqlite.c" -O2 -Wall -Wextra -Werror -lsqlite3 -lpthread
with "$plain" ./sqlite $mib 24 0 >right || fail "the suite failed without the library"

# suite HEAP TESTS THREADS LEAST [--all]: what malloc has is taken in after the first fork
suite()
{
	with "$1" ./sqlite $mib "$2" "$3" >found || fail "status $?"
	sed -n "1,/^test $(($2 - 1)):/p; /^unchanged/p" right >expected
	same_as expected found
	forks_seen --least "$4" --mib $((mib / 4)) ${5:+"$5"}
	ends_seen sqlite $((mib / 4))
}
check "24 tests, each in a child" suite "$under" 24 0 1
check "awake from the start, beside threads" suite "$awake" 12 2 12 --all

no_tests()
{
	with "$awake" ./sqlite $mib 0 0 >/dev/null || fail "status $?"
	ends_seen sqlite $((mib / 4))
}
check "no fork at all, awake from the start" no_tests
finish
