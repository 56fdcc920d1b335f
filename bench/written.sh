#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/written.sh [MIB [FORKS [PAIRS [LIBRARY ...]]]]: forks of an ordinary user's program without userfaultfd, of one
# thread, by how much it writes between two.
#
# MIB (500), written as a whole, forked, written again, then FORKS (200) forks. Plain, and preloaded by each LIBRARY, in
# turns; medians over PAIRS (3). Prints a table as bench/RESULTS.md has it. As root it runs the program as user 65534;
# else as who calls it, who must not have userfaultfd. Wants 10 minutes of a quiet machine.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
mib=${1:-500} forks=${2:-200} pairs=${3:-3}
[ $# -le 3 ] && shift $# || shift 3
if [ $# -eq 0 ]; then
	bench_prepare
	set -- "$PWD/build-demo/libodfork.so.0"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cc -O2 -D_GNU_SOURCE -Isrc/measure -o "$work/written" bench/heap/written.c
ordinary=
if [ "$(id -u)" = 0 ]; then
	ordinary='setpriv --reuid 65534 --regid 65534 --clear-groups'
	number=0
	# Who may not look into the place of the source has a copy.
	for library; do
		number=$((number + 1))
		cp "$library" "$work/$number.so"
	done
else
	number=0
	for library; do
		number=$((number + 1))
		ln -s "$(realpath "$library")" "$work/$number.so"
	done
fi
percents=${PERCENTS:-0 0.1 1 3 10 100}
for percent in $percents; do
	for pair in $(seq "$pairs"); do
		$ordinary "$work/written" "$mib" "$percent" "$forks" >> "$work/0.$percent"
		for library in $(seq "$number"); do
			LD_PRELOAD=$work/$library.so $ordinary "$work/written" "$mib" "$percent" "$forks" \
				>> "$work/$library.$percent"
		done
	done
done
# The median of column $2 of file $1, in units of $3.
median() {
	cut -d' ' -f"$2" "$1" | sort -n |
		awk -v unit="$3" '{ v[NR] = $1 }
			END { printf unit == 1 ? "%.0f" : "%.2f", v[int((NR + 1) / 2)] / unit }'
}
echo "load $(cut -d' ' -f1 /proc/loadavg) at the end; bench/written.sh $mib $forks $pairs"
echo
echo "| written between forks | way | first fork, ms | second | median of the others | longest | all | MiB at the end |"
echo "|---|---|---|---|---|---|---|---|"
for percent in $percents; do
	for way in 0 $(seq "$number"); do
		name=preloaded
		[ "$way" = 0 ] && name=plain
		[ "$number" -gt 1 ] && [ "$way" != 0 ] && name="preloaded $way"
		row="| $percent % | $name |"
		for column in 1 2 3 4 5; do
			row="$row $(median "$work/$way.$percent" $column 1000) |"
		done
		echo "$row $(median "$work/$way.$percent" 6 1) |"
	done
done
