#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/ages.sh [MIB [PAIRS [LIBRARY]]]: the first fork of a process that has grown, by the age of what it has.
#
# MIB (512) in mappings of 1 MiB, written; so many milliseconds later a fork, then three more, a second apart. Plain,
# with ODFORK_HEAP=auto and with =on, in turns; medians over PAIRS (5) of what the call held, by the clock and by the
# processor's time of the caller. Prints a table as bench/RESULTS.md has it. Wants 15 minutes of a quiet machine.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
mib=${1:-512} pairs=${2:-5} library=${3:-}
if [ -z "$library" ]; then
	bench_prepare
	library=$PWD/build-demo/libodfork.so.0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -D_GNU_SOURCE -Isrc/measure -o "$work/age" bench/heap/age.c
ages=${AGES:-0 500 1000 2000 3000 5000 10000}
for age in $ages; do
	for pair in $(seq "$pairs"); do
		"$work/age" "$mib" "$age" >> "$work/plain.$age"
		LD_PRELOAD=$library ODFORK_HEAP=auto "$work/age" "$mib" "$age" >> "$work/auto.$age"
		LD_PRELOAD=$library ODFORK_HEAP=on "$work/age" "$mib" "$age" >> "$work/on.$age"
	done
done
# The median of column $2 of file $1, in milliseconds.
median() { cut -d' ' -f"$2" "$1" | sort -n | awk \
	'{ v[NR] = $1 } END { printf "%.2f ms", v[int((NR + 1) / 2)] / 1000 }'; }
echo "load $(cut -d' ' -f1 /proc/loadavg) at the end; $mib MiB, $pairs pairs: bench/ages.sh $*"
echo
echo "| age | first fork: plain | auto | on | CPU: plain | auto | on | later ones, CPU: plain | auto | on |"
echo "|---|---|---|---|---|---|---|---|---|---|"
for age in $ages; do
	row="| $age ms |"
	for column in 1 2 8; do
		for how in plain auto on; do
			row="$row $(median "$work/$how.$age" $column) |"
		done
	done
	echo "$row"
done
