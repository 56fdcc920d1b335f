#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/ends.sh [PAIRS [LIBRARY]]: when the memory of a program is free after its end, seen from outside.
#
# A program of SIZES MiB ("64 1024") that has forked and written all again is killed, ends by _exit, or executes another
# one: with private memory, plain; with as much shared memory of a file, plain; and with private memory, preloaded, with
# ODFORK_HEAP=auto, where a second process shares the memory and a file holds it. In turns, PAIRS (9) of each; with
# BUSY processes beside that want a processor all the time (0). Prints a table as bench/RESULTS.md has it: milliseconds
# by the clock, median and longest, and of processor time. Wants 4 minutes of a quiet machine.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
pairs=${1:-9} busy=${BUSY:-0}
if [ $# -ge 2 ]; then
	library=$(realpath "$2")
else
	bench_prepare
	library=$PWD/build-demo/libodfork.so.0
fi
work=$(mktemp -d)
loops=
clean() {
	for loop in $loops; do
		kill "$loop"
	done
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM
cc -O2 -o "$work/ends" bench/heap/ends.c
for _ in $(seq "$busy"); do
	sh -c 'while :; do :; done' &
	loops="$loops $!"
done
export ODFORK_HEAP=auto
for size in ${SIZES:-64 1024}; do
	for _ in $(seq "$pairs"); do
		for end in kill exit exec; do
			"$work/ends" "$size" own $end >> "$work/$size.$end.plain"
			"$work/ends" "$size" shared $end >> "$work/$size.$end.shared"
			"$work/ends" "$size" own $end "$library" >> "$work/$size.$end.preloaded"
		done
	done
done
# Of column $2 of file $1: median, longest.
middle() {
	cut -d' ' -f"$2" "$1" | sort -n | awk '{ v[NR] = $1 } END { printf "%.1f, %.1f", v[int((NR + 1) / 2)], v[NR] }'
}
echo "load $(cut -d' ' -f1 /proc/loadavg) at the end; BUSY=$busy bench/ends.sh $pairs"
echo
echo "| MiB | end | clock: plain | shared, plain | preloaded | processor: plain | shared, plain | preloaded |"
echo "|---|---|---|---|---|---|---|---|"
for size in ${SIZES:-64 1024}; do
	for end in kill exit exec; do
		row="| $size | $end |"
		for column in 1 2; do
			for way in plain shared preloaded; do
				row="$row $(middle "$work/$size.$end.$way" $column) |"
			done
		done
		echo "$row"
	done
done
