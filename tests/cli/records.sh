#!/bin/bash
# SPDX-License-Identifier: MIT
# Records must not affect the program: pipes without a reader, file size limits, named pipes, small stacks, long paths;
# and LD_PRELOAD with the library under several names.
set -eu
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }
preload=$build/libodfork.so.0
forks='(exit 0); (exit 0); exit 5'

# Standard error is a pipe that nobody reads.
expect() { # STATUS NAME
	[ "$1" = 5 ] || fail "$2: status $1"
}
mkfifo "$work/gone"
sleep 5 < "$work/gone" &
exec 7> "$work/gone"
kill $! && wait $! 2> /dev/null || true
status=0; LD_PRELOAD=$preload ODFORK_LOG=1 sh -c "$forks" 2>&7 || status=$?
expect $status "log into a pipe without reader"
status=0; LD_PRELOAD=$preload ODFORK_STATS=/nonexistent/stats sh -c "$forks" 2>&7 || status=$?
expect $status "complaint into a pipe without reader"
status=0; LD_PRELOAD=$preload ODFORK_LOG=nonsense sh -c "$forks" 2>&7 || status=$?
expect $status "complaint about a value into a pipe without reader"
exec 7>&-

# The file of records is at the limit of size.
head -c 5000 /dev/zero > "$work/full"
status=0; LD_PRELOAD=$preload ODFORK_STATS=$work/full bash -c "ulimit -f 1; $forks" 2> "$work/err" || status=$?
expect $status "file size limit"
[ "$(grep -c 'records are lost' "$work/err")" -ge 1 ] || fail "lost records are not mentioned: $(cat "$work/err")"

# There is room for a part of a record: it is taken back, and all lines are whole.
head -c 900 /dev/zero | tr '\0' '\n' > "$work/nearly"
status=0; LD_PRELOAD=$preload ODFORK_STATS=$work/nearly bash -c "ulimit -f 1; $forks" 2> "$work/err" || status=$?
expect $status "a record that fits in part"
[ "$(wc -c < "$work/nearly")" = 900 ] || fail "a cut record: $(tail -c 124 "$work/nearly")"
grep -q 'records are lost' "$work/err" || fail "the lost record is not mentioned: $(cat "$work/err")"
if [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null; then
	# shellcheck disable=SC2016
	LD_PRELOAD=$preload unshare -m sh -c 'mkdir "$1/disk"; mount -t tmpfs -o size=4k none "$1/disk" || exit 77
		ODFORK_STATS=$1/disk/stats sh -c "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
			(exit 0)
		done; exit 5" 2> "$1/err"
		[ $? = 5 ] && cat "$1/disk/stats"' sh "$work" > "$work/disk_stats" ||
			fail "full disk: $? $(cat "$work/err")"
	python3 -c 'import json, sys
lines = open(sys.argv[1]).read()
assert lines.endswith("}\n") and len(lines) > 3000
[json.loads(line) for line in lines.splitlines()]' "$work/disk_stats" ||
		fail "full disk: $(tail -n 2 "$work/disk_stats")"
	grep -q 'records are lost' "$work/err" || fail "full disk, not mentioned: $(cat "$work/err")"
fi

# What a variable has of control characters does not reach the terminal.
env "ODFORK_LOG=$(printf '\033]0;x\007\nodfork: forged')" "$(printf 'ODFORK_\033[2J')=1" LD_PRELOAD="$preload" true \
	2> "$work/err"
[ "$(wc -l < "$work/err")" = 2 ] && ! tr -d '\n' < "$work/err" | grep -q '[[:cntrl:]]' ||
	fail "control characters: $(cat -v "$work/err")"

# The log says the same thing once, and not at each fork; but what took more than 10 ms, and twice as long as all
# before, on a machine that is busy. The reasons are said once.
short() { grep "$1" "$work/log" | awk '{ sub(/.*, held /, "") } $1 <= 10000 { lines++ } END { print lines + 0 }'; }
# shellcheck disable=SC2016
LD_PRELOAD=$preload ODFORK_LOG=1 bash -c 'for i in {1..30}; do (exit 0); done; ( (exit 0); : )' 2> "$work/log"
[ "$(short .)" -le 4 ] && [ "$(grep -c '(' "$work/log")" = 1 ] ||
	fail "the same at each fork: $(cat "$work/log")"
# Something else is said: another call, another program, a failure.
LD_PRELOAD=$preload ODFORK_LOG=1 /usr/bin/python3 -c '
import os
def spawn(path):
    try:
        os.waitpid(os.posix_spawn(path, ["true"], os.environ), 0)
    except OSError:
        pass
for i in range(3):
    spawn("/bin/true"); spawn("/usr/bin/true"); spawn("/no/such/program")
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)' 2> "$work/log"
for once in ' posix_spawn /bin/true: child' ' posix_spawn /usr/bin/true: child' \
	' posix_spawn /no/such/program: failed at step .* ENOENT' ' fork: child'; do
	[ "$(grep -c "$once" "$work/log")" -ge 1 ] && [ "$(short "$once")" -le 1 ] ||
		fail "$once: $(cat "$work/log")"
done

# A named pipe that nobody reads.
mkfifo "$work/pipe"
status=0; LD_PRELOAD=$preload ODFORK_STATS=$work/pipe timeout 120 sh -c "$forks" 2> /dev/null || status=$?
expect $status "named pipe"

# Least of stacks, and paths that need cutting.
LD_PRELOAD=$preload ODFORK_STATS=$work/stats ODFORK_LOG=1 "$build/tests/small_stack" 2> "$work/log" ||
	fail "small stack: status $?"
python3 - "$work/stats" "$work/log" << 'CHECK'
import json, sys, time
records = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
calls = [r["call"] for r in records]
assert calls.count("posix_spawn") == 3 and "_Fork" in calls and "fork" in calls, calls
files = [r["file"] for r in records if r["call"] == "posix_spawn"]
assert files[0] == "/bin/true", files
assert files[1].endswith("...") and len(files[1]) >= 100, files
assert "\ufffd" in files[2] and files[2].endswith("..."), files
for r in records:
    assert r["schema"] == 1 and r["index"] is None and r["wait_status"] is None, r
    assert abs(r["time"] - time.time()) < 60, r
    assert r["program"].endswith("/small_stack"), r
assert sum(line.startswith(b"odfork: ") for line in open(sys.argv[2], "rb")) == len(records)
CHECK

# Every name of the library leaves LD_PRELOAD.
for list in "$build/libodfork.so:$preload" "$preload $build/libodfork.so" "$(readlink -f "$build/libodfork.so")"; do
	left=$(env LD_PRELOAD="$list" ODFORK_FOLLOW=0 printenv LD_PRELOAD || true)
	[ -z "$left" ] || fail "of $list there is left: $left"
done

# A spawn that nobody gave a pool passes over nothing.
ODFORK_STATS="$work/spawn" "$build/odfork" spawn -- /bin/true
grep -q '"call":"odf_spawn".*"strategy":"vfork".*"reason":"chosen"' "$work/spawn" ||
	fail "of a plain spawn it says: $(cat "$work/spawn")"
