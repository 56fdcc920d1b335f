#!/bin/sh
# SPDX-License-Identifier: MIT
# AFL++ on a program with a state of 64 MiB (times ODF_TEST_SCALE) that its fork server has built, with the library as
# AFL_PRELOAD: see heap_afl.c. Each input of a corpus must leave the same trace, and a run with a fixed seed must find
# the same.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs afl-clang-fast afl-fuzz afl-showmap
plan 3
mib=$((64 * scale))
executions=$((600 * scale))
# Nothing of this machine's state is afl-fuzz's to judge; and a fork server that builds for a while is no hang.
unset ASAN_OPTIONS MSAN_OPTIONS UBSAN_OPTIONS # which afl-fuzz would have otherwise
export AFL_SKIP_CPUFREQ=1 AFL_NO_AFFINITY=1 AFL_NO_UI=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 \
	AFL_FORKSRV_INIT_TMOUT=120000 AFL_QUIET=1
export HEAP_AFL_MIB="$mib"
afl-clang-fast -O1 -g -o target "$here/heap_afl.c" -lsqlite3 >compile.log 2>&1 || fail "$(cat compile.log)"

mkdir corpus seeds
"$PYTHON" - <<'END' || fail "no corpus"
import random
numbers = random.Random(1)
for number in range(150):
    with open(f"corpus/{number:03}", "wb") as file:
        file.write(bytes(numbers.choice((numbers.randrange(8), numbers.randrange(256)))
                         for _ in range(numbers.randrange(3, 64))))
for number, seed in enumerate((b"\0ab\3\5\1", b"\1ab\2ab\5\0\7", b"\7ok\6aa")):
    with open(f"seeds/{number}", "wb") as file:
        file.write(seed)
END

# afl HOW PROGRAM...: the library is for the target alone.
afl()
{
	if [ "$1" = plain ]; then
		shift
		"$@"
		return
	fi
	how=$1
	shift
	rm -f "$temporary/stats" "$witnesses"
	# shellcheck disable=SC2086
	env AFL_PRELOAD="$(printf '%s' "$how" | sed 's/^LD_PRELOAD=\([^ ]*\) .*/\1/')" ${how#* } "$@"
}

# Executions are forks of the fork server, which is the one process that makes so many. What its malloc has is taken in
# after the first ones.
# server_seen COUNT [--all]
server_seen()
{
	[ "$control" = 1 ] || sed -n 's/^{"pid":\([0-9]*\),.*/\1/p' stats | sort | uniq -c | sort -rn |
		awk 'NR == 1 { print $2 }' >pid
	forks_seen --least "$1" --mib $((mib / 4)) ${2:+"$2"}
}

maps()
{
	rm -rf "$1" && mkdir "$1"
	afl "$2" afl-showmap -q -m none -t 60000 -i corpus -o "$1" -- ./target >showmap.log 2>&1 ||
		{ status=$?; cat showmap.log; fail "afl-showmap: status $status"; }
	[ "$(find "$1" -type f | wc -l)" -eq 150 ] || { cat showmap.log; fail "$(find "$1" -type f | wc -l) traces"; }
}
maps maps.plain plain
[ "$(cat maps.plain/* | sort -u | wc -l)" -gt 30 ] || fail "the traces are all alike"

same_traces()
{
	maps maps.found "$1"
	diff -r maps.plain maps.found | head -n 20 >difference
	[ ! -s difference ] || { cat difference; fail "traces differ"; }
	shift
	server_seen "$@"
}
check "150 inputs leave the same traces" same_traces "$under" 1
check "awake from the start" same_traces "$awake" 150 --all

# A fixed seed. Even then afl-fuzz decides some things by time, though rarely: what was found is compared with a second
# run before it is a failure.
fuzz()
{
	rm -rf "$1"
	afl "$2" afl-fuzz -m none -t 60000 -s 7 -E $executions -i seeds -o "$1" -- ./target >"$1.log" 2>&1 ||
		{ status=$?; tail -n 30 "$1.log" | tr -d "\033"; fail "afl-fuzz: status $status"; }
	(cd "$1/default/queue" && for file in *; do [ ! -f "$file" ] || cksum <"$file"; done | sort) >"$1.queue"
	sed -n 's/^\(corpus_count\|saved_crashes\|saved_hangs\|bitmap_cvg\|stability\|edges_found\) *: /\1 /p' \
		"$1/default/fuzzer_stats" >"$1.stats"
	{ grep -qx 'saved_crashes 0' "$1.stats" && grep -qx 'saved_hangs 0' "$1.stats" &&
		grep -qx 'stability 100.00%' "$1.stats"; } ||
		fail "crashes, hangs, or other traces of the same input: $(cat "$1.stats")"
}
same_findings()
{
	fuzz plain plain
	fuzz preloaded "$under"
	server_seen $((executions / 2))
	# What is tried next depends on how long an execution took as well.
	for _ in 1 2 3 4 5; do
		! cmp -s plain.queue preloaded.queue || break
		echo "# other findings at first"
		fuzz plain plain
		fuzz preloaded "$under"
	done
	same_as plain.stats preloaded.stats
	same_as plain.queue preloaded.queue
	for run in plain preloaded; do sed -n "s/^execs_per_sec *: /# $run executions per second: /p" \
		$run/default/fuzzer_stats; done
}
check "$executions executions from a fixed seed find the same" same_findings
finish
