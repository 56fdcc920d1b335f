#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/paper.sh [--quick] [--page]: the tables of the talk about on-demand-fork (EuroSys '21), measured here: the
# call by size, the faults after it, a job of tests on SQLite, Redis's snapshot, AFL++; plain, with the library, and
# with huge pages beside, turn by turn; and what was published beside them. Writes CSV files, plots and one page,
# paper.html, that opens from disk and needs no network, into bench/results/paper, and fills bench/RESULTS.md.
#
#   (nothing)   the long form: 25 minutes, up to 16 GiB of memory; what does not fit is left out
#   --quick     the same from smaller processes, into build-demo/paper-quick, and no tables: 4 minutes
#   --page      measures nothing: the page again, from the CSV files that are there
set -eu
cd "$(dirname "$0")/.."
asked="$*" quick= measure=yes results=bench/results/paper
for option in "$@"; do
	case $option in
	--quick) quick=--quick results=build-demo/paper-quick ;;
	--page) measure= ;;
	*)
		sed -n 's/^# \(bench\/paper.sh .*\): .*/usage: \1/p' "$0" >&2
		exit 2
		;;
	esac
done
if [ -n "$measure" ]; then
	. bench/prepare.sh
	bench_prepare libsqlite3-dev redis-server afl++ clang llvm util-linux
	mkdir -p $results
	note="$machine; bench/paper.sh $asked"
	target=$PWD/build-demo/bench/bench_heap_target
	AFL_QUIET=1 afl-clang-fast -O2 -D_GNU_SOURCE -o "$target" bench/heap/target.c -lsqlite3

	# A signal ends what runs, too.
	running=
	cleanup() {
		status=$?
		trap - EXIT INT TERM HUP
		[ -z "$running" ] || kill "$running" 2> /dev/null || true
		[ -z "$running" ] || wait "$running" 2> /dev/null || true
		exit $status
	}
	trap cleanup EXIT
	trap 'exit 130' INT TERM HUP
	failed=0
	run() {
		"$@" &
		running=$!
		wait $running || failed=1
		running=
	}
	# shellcheck disable=SC2086
	run build-demo/bench/bench_fork $quick --only held,fault --csv $results/fork --note "$note"
	# shellcheck disable=SC2086
	run /usr/bin/python3 bench/heap/main.py $quick --huge --only sqlite,saves,fuzz \
		--library "$PWD/build-demo/libodfork.so.0" \
		--programs "$PWD/build-demo/bench" --target "$target" --results $results --note "$note" --pages -
	rm -f $results/heap-saves-timeline.csv # of bench/heap.sh
	[ $failed = 0 ] || exit 1
fi
/usr/bin/python3 bench/paper.py $results
[ $results != bench/results/paper ] || /usr/bin/python3 bench/tables.py
echo "$results/paper.html"
