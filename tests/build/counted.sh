#!/bin/sh
# SPDX-License-Identifier: MIT
# What tests/run.sh counts, tried out on a project of a few lines: a test that hangs, is killed, stops halfway or finds
# a leak at its end has failed, whatever it had said until then; what was skipped is told, and has failed in CI; a test
# by its name runs in those builds that have it.
set -eu
source=${ODF_SOURCE:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CI ODF_MUST_WORK
fail() { echo "$*"; exit 1; }
mkdir "$work/tests"
cp "$source/tests/run.sh" "$source/tests/long.sh" "$source/tests/count.py" "$work/tests/"
echo 'packages_need() { :; }' > "$work/tests/packages.sh"
cat > "$work/meson.build" << 'BUILD'
project('tiny')
sh = find_program('sh')
test('good', sh, args: ['-c', 'echo 1..2; echo "ok 1 - a"; echo "ok 2 - b"'], protocol: 'tap')
if meson.project_build_root().endswith('build-gcc')
  test('good_alone', sh, args: ['-c', 'true'])
  test('fails_alone', sh, args: ['-c', 'exit 1'])
  test('hangs_alone', sh, args: ['-c', 'sleep 1000'], timeout: 1)
  test('pinned', sh, args: ['-c', 'test "$ODF_TEST_READS" = 10000 || { echo no g; exit 77; }'])
  test('skips_alone', sh, args: ['-c', 'echo no f; exit 77'])
  first = 'echo 1..2; echo "ok 1 - a"; '
  foreach name, then : {
    'fails': 'echo "not ok 2 - b"; exit 1',
    'hangs': 'sleep 1000',
    'is_killed': 'kill -KILL $$',
    'leaks': 'echo "ok 2 - b"; exit 1',
    'bails_out': 'echo "ok 2 - b"; echo "Bail out! something is left"',
    'stops': '',
    'skips_one': 'echo "ok 2 - b # SKIP no b"',
    'skips_by_cmocka': 'echo "# skipped: no c"; echo "# skipped: no d"; echo "ok 2 - b"',
  }
    test(name, sh, args: ['-c', first + then], protocol: 'tap', timeout: name == 'hangs' ? 2 : 30)
  endforeach
  test('skips_all', sh, args: ['-c', 'echo "1..0 # SKIP no e"'], protocol: 'tap')
endif
BUILD
for build in gcc clang sanitize thread; do
	meson setup "$work/build-$build" "$work" > "$work/log" 2>&1 || fail "meson setup: $(cat "$work/log")"
done
run() { # STATUS LAST-LINE COMMAND...: what it says is in $work/out
	wanted=$1 last=$2 status=0
	shift 2
	(cd "$work" && "$@") > "$work/out" 2>&1 || status=$?
	[ "$status" = "$wanted" ] && [ "$(tail -n 1 "$work/out")" = "$last" ] ||
		fail "$*: status $status instead of $wanted, or not '$last': $(cat "$work/out")"
}
says() { grep -qxF "$1" "$work/out" || fail "does not say '$1': $(cat "$work/out")"; }

run 1 "19 passed, 8 failed, 5 skipped" tests/run.sh
says "failed: build-gcc fails_alone"
says "failed: build-gcc fails 2 - b"
# Meson 1.7 puts a program that was cut off among the failures of the first log, without saying how it ended.
grep -qE "^failed: build-gcc hangs_alone(: TIMEOUT, exit status .*)?$" "$work/out" || fail "no hang: $(cat "$work/out")"
for ended in "hangs: TIMEOUT" "is_killed: ERROR" "leaks: ERROR" "bails_out: ERROR" \
	"stops: ERROR"; do
	grep -q "^failed: build-gcc $ended, exit status " "$work/out" || fail "not '$ended': $(cat "$work/out")"
done
say_skipped() { # BEFORE
	for one in "pinned: no g" "skips_alone: no f" "skips_all: no e" "skips_one 2 - b: no b" \
		"skips_by_cmocka 2 - b: no c; no d"; do
		says "$1: build-gcc $one"
	done
}
say_skipped skipped
run 1 "19 passed, 13 failed" env ODF_MUST_WORK=1 python3 tests/count.py 0 \
	build-gcc:8 build-clang:0 build-sanitize:0 build-thread:0
say_skipped "failed: must not be skipped"

run 0 "1 passed, 0 failed" tests/run.sh good_alone
run 0 "1 passed, 0 failed" tests/run.sh --long reads
# A status for which the logs, here of that one test, have no reason; and logs that are missing.
run 1 "1 passed, 1 failed" python3 tests/count.py 0 build-gcc:2
run 1 "0 passed, 1 failed" python3 tests/count.py 0 build-clang:0
# What no build has is no success.
run 1 "0 passed, 0 failed" tests/run.sh no_such_test
