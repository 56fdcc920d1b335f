#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Which lines of src/ the tests reach: builds with gcov in build-coverage, runs the tests, and prints a table by folder
# and file. Beside it, in build-coverage/uncovered.txt, the lines that none of them ran. By hand; what is left uncovered
# and why is told in tests/COVERAGE.md.
#
#   tests/coverage.sh            tests of the library and the command: some minutes
#   tests/coverage.sh --long     programs under the library as well, as long as the run itself
#   tests/coverage.sh TEST...    these only
#   ODF_COVERAGE_PAGE=tests/COVERAGE.md    and writes the table there anew
#
# Not counted: code between clone and exec (built without counters, as those are the parent's memory), processes that
# are killed or execute another program, and what a process runs after it has left its counts.
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
packages_need gcc meson ninja-build pkg-config libcmocka-dev libseccomp-dev python3
programs=false
case ${1:-} in
--long) programs=true; shift ;;
esac
build=$PWD/build-coverage
[ -e "$build/build.ninja" ] || CC=gcc meson setup "$build" -Doptimization=0 -Db_coverage=true -Db_lundef=false \
	-Dbenchmarks=false -Dc_args=-fprofile-update=prefer-atomic > "$build.log" 2>&1 ||
	{ cat "$build.log"; exit 1; }
rm -f "$build.log"
meson configure "$build" -Dprogram_tests=$programs
ninja -C "$build" > "$build/build.log" 2>&1 || { grep -v '^\[' "$build/build.log"; exit 1; }
find "$build" -name '*.gcda' -exec rm -f {} +
# Counts are written by whoever ran the code, other users too.
find "$build" -type d -exec chmod a+rwx {} +
umask 0
if [ $# = 0 ]; then
	# Not those that look at how files are built, that compile the library once more, and that are long by number.
	builds='mutations|heap_mutations|abi|abi_growth|exports|headers|house|binaries|install|newcomer|kinds|paper'
	builds="$builds|usdt|other_libc"
	numbers='.*_model.*|.*_soak|soak|endurance|region_injection|region_extents.*|faults|heap_threads|examples'
	numbers="$numbers|kernel|kernel_async"
	[ "$programs" = false ] || numbers=-
	# shellcheck disable=SC2046
	set -- $(meson test -C "$build" --no-rebuild --list 2> /dev/null | sed 's/.* //' | grep -vxE "$builds|$numbers")
fi
meson test -C "$build" --num-processes $(($(nproc) + 1)) -t 5 --no-rebuild "$@" < /dev/null > "$build/tests.log" 2>&1 ||
	echo "some tests fail with counters in the way, which is no matter here: $build/tests.log" >&2
python3 tests/coverage.py "$build" "$build/uncovered.txt" ${ODF_COVERAGE_PAGE:+"$ODF_COVERAGE_PAGE"}
