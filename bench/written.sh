#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/written.sh [--csv FILE] [--note TEXT] [MIB [FORKS [PAIRS [LIBRARY ...]]]]: forks of an ordinary user's program
# without userfaultfd, of one thread, by how much it writes between two.
#
# MIB (500), written as a whole, forked, written again, then FORKS (200) forks, with $PERCENTS (0 0.1 1 3 10 100) of the
# pages written between two. Plain, and preloaded by each LIBRARY, in turns; medians over PAIRS (3), as CSV, to FILE or
# standard output; TEXT is its first line instead of the machine and this command. As root it runs the program as user
# 65534; else as who calls it. Wants 10 minutes of a quiet machine. "bench/heap.sh --only ordinary" does less of it, and
# makes the table of bench/RESULTS.md.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
csv=/dev/stdout note=
while [ $# -gt 0 ]; do
	case $1 in
	--csv) csv=$2 && shift ;;
	--note) note=$2 && shift ;;
	-*)
		sed -n 's/^# \(bench\/written.sh .*\): .*/usage: \1/p' "$0" >&2
		exit 2
		;;
	*) break ;;
	esac
	shift
done
percents=${PERCENTS:-0 0.1 1 3 10 100}
mib=${1:-500} forks=${2:-200} pairs=${3:-3}
[ $# -le 3 ] && shift $# || shift 3
if [ $# -eq 0 ]; then
	bench_prepare
	set -- "$PWD/build-demo/libodfork.so.0"
else
	bench_machine
fi
[ -n "$note" ] || note="$machine; PERCENTS=\"$percents\" bench/written.sh $mib $forks $pairs"
ordinary=
[ "$(id -u)" != 0 ] || ordinary='setpriv --reuid 65534 --regid 65534 --clear-groups'
if [ "$(cat /proc/sys/vm/unprivileged_userfaultfd 2> /dev/null)" = 1 ] ||
	$ordinary sh -c '[ -r /dev/userfaultfd ] && [ -w /dev/userfaultfd ]'; then
	echo "bench/written.sh: an ordinary user has userfaultfd here, and what is to be measured is without it" >&2
	exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
chmod 755 "$work"
cc -O2 -D_GNU_SOURCE -Isrc/measure -o "$work/written" bench/heap/written.c
number=0
for library; do
	number=$((number + 1))
	# Who may not look into the place of the source has a copy.
	if [ -n "$ordinary" ]; then
		cp "$library" "$work/$number.so"
	else
		ln -s "$(realpath "$library")" "$work/$number.so"
	fi
done
for percent in $percents; do
	for pair in $(seq "$pairs"); do
		$ordinary "$work/written" "$mib" "$percent" "$forks" >> "$work/0.$percent"
		for library in $(seq "$number"); do
			LD_PRELOAD=$work/$library.so $ordinary "$work/written" "$mib" "$percent" "$forks" \
				>> "$work/$library.$percent"
		done
	done
done
# The median of column $2 of file $1.
median() {
	cut -d' ' -f"$2" "$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
{
	echo "# $note"
	echo "mib,percent,way,first_us,second_us,median_us,longest_us,all_us,end_mib"
	for percent in $percents; do
		for way in 0 $(seq "$number"); do
			name=preloaded
			[ "$way" != 0 ] || name=plain
			[ "$number" -le 1 ] || [ "$way" = 0 ] || name="preloaded $way"
			row="$mib,$percent,$name"
			for column in 1 2 3 4 5 6; do
				row="$row,$(median "$work/$way.$percent" $column)"
			done
			echo "$row"
		done
	done
} > "$csv"
