#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/pool.sh [MIB:ROUNDS...]: the pool. How long the caller is held while it starts a program by a pool (waiting for
# exec, and not), by odf_spawn, libc's posix_spawn and fork+exec, and how many processes a second there are, with one
# thread and with two; then how many small tasks a second worker tasks do, beside a fork for each, CPython's pools, and
# GLib's pool of threads; from processes of 16 MiB, 1 GiB and 8 GiB. Writes bench/results/pool-spawn.csv,
# pool-tasks.csv, pool-spawn.svg and pool-tasks.svg. POOL_SECONDS (2): how long each way of tasks is measured. Needs as
# much memory as the largest size, and a quiet machine.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
bench_prepare libuv1-dev libglib2.0-dev gnuplot-nox
[ $# -gt 0 ] || set -- 16:300 1024:40 8192:10
results=bench/results
workers=$(nproc) seconds=${POOL_SECONDS:-2}

{
	echo "# $machine; bench/pool.sh $*"
	header=yes
	for threads in 1 2; do
		for size in "$@"; do
			echo "${size%:*} MiB, $threads thread(s)" >&2
			build-demo/bench/bench_pool_spawn "${size%:*}" "${size#*:}" "$threads" > build-demo/rows.csv
			[ $header = yes ] || sed -i 1d build-demo/rows.csv
			cat build-demo/rows.csv
			header=no
		done
	done
} > build-demo/pool-spawn.csv
mv build-demo/pool-spawn.csv $results/pool-spawn.csv
{
	echo "# $machine; bench/pool.sh $*; $workers workers"
	header=yes
	for size in "$@"; do
		echo "${size%:*} MiB, tasks" >&2
		build-demo/bench/bench_pool_tasks "${size%:*}" "$seconds" "$workers" > build-demo/rows.csv
		[ $header = yes ] || sed -i 1d build-demo/rows.csv
		cat build-demo/rows.csv
		/usr/bin/python3 bench/pool.py "${size%:*}" "$seconds" "$workers"
		header=no
	done
} > build-demo/pool-tasks.csv
mv build-demo/pool-tasks.csv $results/pool-tasks.csv

gnuplot <<PLOT
set terminal svg size 900,450 background "white"
set datafile separator ","
set output "$results/pool-spawn.svg"
set title "Caller held while it starts /bin/true (median, one thread)"
set xlabel "memory of the caller, MiB"
set ylabel "microseconds"
set logscale xy
set grid
set key outside right
set termoption noenhanced
set xtics (16, 64, 256, "1 GiB" 1024, "8 GiB" 8192)
set format y "%.0f"
ways = "\"fork+exec\" \"glibc posix_spawn\" \"odf_spawn\" \"pool (waits for exec)\" \"pool (returns at once)\""
plot for [way in ways] "< awk -F, -v way='".way."' '\$2 == 1 && \$3 == way' $results/pool-spawn.csv" \
	using 1:4 with linespoints linewidth 2 title way
set output "$results/pool-tasks.svg"
set title "Small tasks a second, as many at once as suits"
set ylabel "tasks a second"
set format y "10^{%L}"
set termoption enhanced
ways = "\"odf_pool_submit\" \"CPython multiprocessing.Pool (forkserver) map\" " \
	."\"CPython multiprocessing.Pool (fork) map\" \"CPython ProcessPoolExecutor (forkserver)\" \"fork for each\""
plot for [way in ways] "< awk -F, -v way='".way."' '\$2 == way && \$3 > 1' $results/pool-tasks.csv" \
	using 1:4 with linespoints linewidth 2 title way noenhanced
PLOT
/usr/bin/python3 bench/tables.py
cat $results/pool-*.csv
