#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/fork.sh [OPTION...]: what a fork costs a process that holds up to 16 GiB, on 4 KiB pages, on 2 MiB pages and in
# a region: the call, the faults after it, the whole job of the child, forks without end, forks without a rest, a parent
# that touches all afterwards, and children that stay. The options are those of bench/fork.c. Writes
# bench/results/fork-*.csv and the plots, fills the tables, and says which aims were reached; with --quick (40 seconds
# instead of a quarter of an hour) the same into build-demo/fork-quick, and no tables. Needs memory for the largest
# size, leaves out what it has none for, and wants a quiet machine.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
bench_prepare gnuplot-nox
results=bench/results
for option in "$@"; do
	[ "$option" != --quick ] || results=build-demo/fork-quick
done
mkdir -p $results
build-demo/bench/bench_fork --csv $results/fork --note "$machine; bench/fork.sh $*" "$@"

# The plot of file $1, if it was measured; the commands come from standard input.
plot() {
	[ -e "$results/fork-$1.csv" ] || return 0
	{
		cat <<- PLOT
			set terminal svg size 860,480 font "sans,12" background "white"
			set output "$results/fork-$1.svg"
			set datafile separator ","
			set termoption noenhanced
			set grid
			set key outside right
			mib(size) = size < 1024 ? sprintf("%d MiB", size) : sprintf("%d GiB", size / 1024)
			name(variant) = variant eq "p4k" ? "fork, 4 KiB pages" : \
				variant eq "p2m" ? "fork, 2 MiB pages" : \
				variant eq "region" ? "region" : \
				variant eq "region_next" ? "region, forked again at once" : \
				variant eq "empty" ? "fork, no memory" : "fork, no memory, again at once"
			color(variant) = variant eq "p4k" ? 0xc0392b : variant eq "p2m" ? 0xe69f00 : \
				variant eq "region" ? 0x0072b2 : \
				variant eq "region_next" ? 0x56b4e9 : 0x888888
		PLOT
		cat
	} | gnuplot
}

plot held << PLOT
set title "Caller held in fork() (median; thin: 99th percentile)"
set xlabel "memory of the caller"
set ylabel "microseconds"
set logscale x 2
set logscale y
set format y "%.0f"
set xtics ()
set for [i = 6:20] xtics add (mib(2 ** i) 2 ** i)
set xtics rotate by -40
rows(variant) = "< awk -F, -v variant=".variant." '\$2 == variant' $results/fork-held.csv"
plot for [v in "p4k p2m region_next region empty"] rows(v) using 1:4 with linespoints linewidth 2 \
	linecolor rgb color(v) title name(v), \
	for [v in "p4k p2m region_next region empty"] rows(v) using 1:5 with lines linewidth 0.5 \
		linecolor rgb color(v) notitle
PLOT

# One picture of the mixes at the size nearest to 1 GiB: the children from left to right, the parent's writes below each
# other.
size=$(awk -F, '$1 + 0 > 0 {
		distance = $1 > 1024 ? $1 / 1024 : 1024 / $1
		if (best == "" || distance < best) { best = distance; size = $1 }
	}
	END { print size }' $results/fork-mix.csv 2> /dev/null || true)
[ -z "$size" ] || plot mix << PLOT
set terminal svg size 860,900
parents = system("awk -F, '\$1 == $size && !(\$5 in seen) { seen[\$5]; print \$5 }' $results/fork-mix.csv")
set multiplot layout words(parents), 1 title "Fork, child's work and its end, $size MiB (median)"
set ylabel "microseconds"
set logscale y
set yrange [50:*]
set format y "%.0f"
set style data histogram
set style histogram clustered gap 1
set style fill solid
set xtics rotate by -25
rows(variant, parent) = "< awk -F, -v variant=".variant." -v parent=".parent." " \
	."'\$1 == $size && \$3 == \"random\" && \$5 == parent && \$6 == variant " \
	."{ print \$4 == 0 ? \"ends at once\" : \$2 \"s \" \$4 \" %\", \$8 }' OFS=, $results/fork-mix.csv"
do for [parent in parents] {
	set title "parent writes ".parent." % between forks"
	plot for [v in "p4k p2m region region_next"] rows(v, parent) \
		using 2:xtic(1) linecolor rgb color(v) title name(v)
}
PLOT

plot steady-distribution << PLOT
set title "Forks without end: share of the forks that hold the caller at most so long"
set xlabel "microseconds"
set ylabel "% of the forks"
set logscale x
set format x "%.0f"
percents = system("awk -F, '\$3 == 0 && !(\$2 in seen) { seen[\$2]; print \$2 }' $results/fork-steady-distribution.csv")
rows(variant, percent) = "< awk -F, -v variant=".variant." -v percent=".percent \
	." '\$2 == percent && \$3 == 0 && \$4 == variant' $results/fork-steady-distribution.csv"
plot for [v in "p4k p2m region"] for [i = 1:words(percents)] rows(v, word(percents, i)) \
	using 6:5 with lines linewidth 2 dashtype i linecolor rgb color(v) \
	title name(v).", ".word(percents, i)." % written"
PLOT

if [ $results = bench/results ]; then
	/usr/bin/python3 bench/tables.py
fi
/usr/bin/python3 bench/reach.py $results
