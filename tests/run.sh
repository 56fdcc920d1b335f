#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs what is missing, builds with gcc and clang, warnings as errors, and runs the tests: with each compiler, and
# under the address, undefined-behaviour and thread sanitizers. The last line is "N passed, N failed", with the skipped
# if there are any. Nothing may be skipped in CI (CI=true).
#
#   tests/run.sh [MESON-TEST-ARGUMENT...]     for example: tests/run.sh spawn
#   tests/run.sh --long [NAME [ARGUMENT...]]  what takes longer, or another system; without a name, all there is
#
# What else can be set stands at the top of each test.
set -eu
cd "$(dirname "$0")/.."
exec < /dev/null
builds="gcc clang sanitize thread"
long_tests=
if [ "${1:-}" = --long ]; then
	shift
	. tests/long.sh
	long_form "$@"
	shift
	set -- "$@" --timeout-multiplier 0
fi
. tests/packages.sh
packages_need gcc g++ clang libclang-rt-dev libc6-dev meson ninja-build pkg-config libcmocka-dev libseccomp-dev \
	python3 binutils strace gdb git make perl \
	sqlite3 redis-server mandoc valgrind 'libmimalloc2.0|libmimalloc3' libjemalloc2 libsqlite3-dev afl++ \
	postgresql default-jre-headless nodejs python3-numpy \
	musl-tools procps acl abigail-tools systemtap-sdt-dev bpftrace zsh ruby php-cli lua5.3 lua-posix luajit tcl \
	tclx8.4 guile-3.0 swi-prolog-nox gawk
# Python's own tests, of the version that is there.
packages_need "libpython$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite"

[ "${CI:-}" = true ] && ODF_MUST_WORK=1 && export ODF_MUST_WORK
# These limits are there to tell a hang, on a machine of which others may have most: three times those of a machine that
# is free. With the longest of them, 15 minutes, a run in which one test hangs takes less than 25.
export ODF_CASE_SECONDS="${ODF_CASE_SECONDS:-240}"

# NAME TARGET COMPILER MESON-OPTION...: a build in build-NAME, or build-NAME.failed with what was said.
build() {
	name=$1 target=$2 compiler=$3 directory=build-$1
	shift 3
	case " $builds " in *" $name "*) ;; *) return 0 ;; esac
	rm -f "$directory.failed"
	if [ ! -e "$directory/build.ninja" ]; then
		rm -rf "$directory"
		CC=$compiler meson setup "$directory" -Dwerror=true "$@" > "$directory.log" 2>&1 ||
			{ mv "$directory.log" "$directory.failed"; return 0; }
		rm -f "$directory.log"
	fi
	ninja -C "$directory" "$target" > "$directory/build.log" 2>&1 ||
		grep -v '^\[' "$directory/build.log" > "$directory.failed"
}

# NAME AT-ONCE: runs the tests of that build, so many at once. Whether they passed is then in build-NAME.status, or that
# there is no build.
run_tests() {
	directory=build-$1
	case " $builds " in *" $1 "*) ;; *) return 0 ;; esac
	echo "== $1"
	if [ -e "$directory.failed" ]; then
		cat "$directory.failed"
		rm -f "$directory.failed"
		echo none > "$directory.status"
		return 0
	fi
	rm -f "$directory/meson-logs/testlog.junit.xml" "$directory/meson-logs/testlog.json"
	# Not each build has each test. If none has one of that name, nothing passes, which count.py does not let pass.
	# shellcheck disable=SC2086
	[ -z "$arguments" ] || meson test -C "$directory" --no-rebuild --list $arguments > /dev/null 2>&1 || return 0
	status=0
	# shellcheck disable=SC2086
	meson test -C "$directory" --num-processes "$2" --timeout-multiplier 3 --no-rebuild --print-errorlogs \
		$arguments || status=$?
	# Of a test that says "not ok" Meson does not show what it says about that.
	[ "$status" = 0 ] || grep -h -B 15 -A 15 '^not ok' "$directory/meson-logs/testlog.txt" || true
	echo "$status" > "$directory.status"
}

arguments="$long_tests $*"
arguments=${arguments# }
# Many tests wait as much as they compute: twice as many as there are processors, and one.
at_once=$((2 * $(nproc) + 1))
rm -f build-*.status build-*.said build-clang.ended
build gcc all gcc
# The others are built, one after the other, while the tests of this one run, by what these leave of the processors;
# without what a debugger needs, but for the lines that a sanitizer names. Then the tests of two of them run beside, as
# the last ones of a build wait more than they compute.
(
	(
		# shellcheck disable=SC2016
		sh -c 'renice -n 19 -p $PPID' > /dev/null 2>&1
		build clang all clang -Ddebug=false -Dprogram_tests=false
		: > build-clang.ended
		# What no test of theirs needs says nothing that the others have not said.
		sanitizer="-Doptimization=1 -Ddebug=false -Dc_args=-g1 -Db_lundef=false"
		sanitizer="$sanitizer -Dprogram_tests=false -Dbenchmarks=false"
		# shellcheck disable=SC2086
		build sanitize meson-test-prereq gcc $sanitizer -Db_sanitize=address,undefined
		# shellcheck disable=SC2086
		build thread meson-test-prereq gcc $sanitizer -Db_sanitize=thread
	) || true
	if [ "$builds" != sanitize ]; then
		run_tests sanitize "$(nproc)"
		run_tests thread "$(nproc)"
	fi
) > build-beside.said 2>&1 &
beside=$!
run_tests gcc "$at_once"
until [ -e build-clang.ended ] || ! kill -0 "$beside" 2> /dev/null; do
	sleep 0.2
done
run_tests clang "$at_once"
failed_to_build=0 results=
wait "$beside" || failed_to_build=1
cat build-beside.said
[ "$builds" != sanitize ] || run_tests sanitize "$at_once"

for name in $builds; do
	[ -e "build-$name.status" ] || continue
	read -r status < "build-$name.status"
	if [ "$status" = none ]; then
		failed_to_build=$((failed_to_build + 1))
	else
		results="$results build-$name:$status"
	fi
done
rm -f build-*.status build-beside.said build-clang.ended
# shellcheck disable=SC2086
exec python3 tests/count.py "$failed_to_build" $results
