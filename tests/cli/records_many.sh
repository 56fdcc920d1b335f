#!/bin/bash
# SPDX-License-Identifier: MIT
# Records from many processes and threads at once. In a file all are present and whole. In a named pipe whose reader is
# slow or exits they are whole, and no writer waits. Some processes may not extend the file (RLIMIT_FSIZE). Where a
# relative path leads, and what the library says when records are lost.
set -eu
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }
preload=$build/libodfork.so.0
many=$build/tests/record_many
calls=${ODF_TEST_CALLS:-40}
unset ODFORK_HEAP ODFORK_LOG ODFORK_STATS
cd "$work"

whole() { # FILE: every line is a record; says how many
	python3 - "$1" << 'CHECK'
import json, sys
text = open(sys.argv[1], encoding="utf-8").read()
assert text == "" or text.endswith("}\n"), text[-300:]
for line in text.splitlines():
    assert json.loads(line)["schema"] == 1, line
print(len(text.splitlines()))
CHECK
}
status_of() {
	status=0
	timeout -k 1 400 "$@" 2> err || status=$?
}

status_of env LD_PRELOAD="$preload" ODFORK_STATS="$work/file" "$many" 6 4 "$calls"
[ $status = 0 ] || fail "many: status $status: $(cat err)"
count=$(whole file)
[ "$count" = $((6 + 6 * 4 * calls)) ] || fail "many: $count records"
[ ! -s err ] || fail "many: $(cat err)"

# A reader that takes a line now and then: what it gets is whole, the program does not wait for it, and is told once
# in each process at most.
mkfifo slow
python3 -c '
import time
with open("slow", encoding="utf-8") as pipe, open("slow_out", "w", encoding="utf-8") as out:
    while line := pipe.readline(): # with a buffer, which the pipe is besides
        out.write(line)
        time.sleep(0.01)
' &
reader=$!
exec 7> slow # so that it does not see an end between records
status_of env LD_PRELOAD="$preload" ODFORK_STATS="$work/slow" "$many" 4 2 "$calls"
[ $status = 0 ] || fail "slow reader: status $status: $(cat err)"
exec 7>&-
wait $reader
count=$(whole slow_out)
[ "$count" -gt 0 ] && [ "$count" -le $((4 + 4 * 2 * calls)) ] || fail "slow reader: $count records"
if [ "$count" -lt $((4 + 4 * 2 * calls)) ]; then
	grep -qx "odfork: records are lost, cannot write $work/slow: EAGAIN (11), its reader is too slow" err ||
		fail "slow reader: $(cat err)"
	[ "$(sort err | uniq -c | awk '{ print $1 }')" -le 5 ] ||
		fail "slow reader: said more than once by a process: $(cat err)"
fi

# A reader that goes away.
mkfifo gone
head -c 1000 gone > gone_out &
status_of env LD_PRELOAD="$preload" ODFORK_STATS="$work/gone" "$many" 2 2 "$calls"
wait
[ $status = 0 ] || fail "reader gone: status $status: $(cat err)"
grep -qE 'records are lost, cannot write .*/gone: (EPIPE|ENXIO) \([0-9]+\), nobody reads it$' err ||
	fail "reader gone: $(cat err)"

# Some may not make the file longer, others may: what these write stays whole. The limit is set by the program itself,
# and found at its start.
for how in 'ulimit -f 4; (exit 0); (exit 0); (exit 0); (exit 0); exit 0' \
	'ulimit -f 4; exec bash -c "(exit 0); (exit 0); (exit 0); exit 0"'; do
	rm -f mixed
	head -c 4000 /dev/zero | tr '\0' '\n' > mixed
	for run in 1 2 3; do
		LD_PRELOAD=$preload ODFORK_STATS=$work/mixed bash -c "$how" 2> err_limited || fail "limited: status $?"
		LD_PRELOAD=$preload ODFORK_STATS=$work/mixed "$many" 2 2 4 || fail "not limited: status $?"
	done
	grep -v '^$' mixed > lines
	[ "$(whole lines)" -ge $((3 * (2 + 2 * 2 * 4))) ] || fail "limited and not: $(wc -l < lines)"
	grep -q 'mixed: EFBIG (27), the file is as long as RLIMIT_FSIZE permits' err_limited ||
		fail "limited: $(cat err_limited)"
done

# And nothing is written in part, which another process might write behind before it is taken back.
if command -v strace > /dev/null; then
	head -c 4000 /dev/zero | tr '\0' '\n' > partly
	strace -f -qq -o trace -e trace=ftruncate -E LD_PRELOAD="$preload" -E ODFORK_STATS="$work/partly" bash -c \
		'ulimit -f 4; (exit 0); exit 0' 2> err ||
		fail "strace: $(cat err)"
	grep -q 'EFBIG (27)' err && ! grep -q ftruncate trace || fail "a record is written in part: $(cat err trace)"
fi

# A relative path means the directory of the first program, wherever it and those that it executes go. Others in the
# environment are left as they are.
mkdir -p first/second first/third
(cd first &&
	OTHER=relative LD_PRELOAD=$preload ODFORK_STATS=relative sh -c \
	'cd second; (exit 0); bash -c "cd ../third; (exit 0); sh -c \"(exit 0); :\"; :"
	env | grep -x OTHER=relative; env | grep ^ODFORK_STATS') > out
[ "$(whole first/relative)" -ge 3 ] || fail "relative: $(cat first/relative)"
[ "$(find first -type f)" = first/relative ] || fail "relative: $(find first)"
printf 'OTHER=relative\nODFORK_STATS=%s/first/relative\n' "$work" | cmp - out || fail "relative: $(cat out)"
(cd / && LD_PRELOAD=$preload ODFORK_STATS="${work#/}/root" sh -c 'cd /tmp; (exit 0); exit 0') &&
	[ "$(whole root)" = 1 ] || fail "relative to /"

# What is said, once.
lost() { # PATH TEXT
	LD_PRELOAD=$preload ODFORK_STATS=$1 bash -c '(exit 0); (exit 0); ( (exit 0); : )' 2> err || fail "$1: status $?"
	[ "$(cat err)" = "odfork: records are lost, cannot write $1: $2" ] || fail "$1: $(cat err)"
}
lost "$work/no/such" "ENOENT (2), there is no such folder"
lost "$work/first" "EISDIR (21), it is a folder"
lost "$work/file/x" "ENOTDIR (20), there is no such folder"
[ ! -c /dev/full ] || lost /dev/full "ENOSPC (28), the disk is full"
