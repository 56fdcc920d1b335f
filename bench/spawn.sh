#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/spawn.sh [--libuv DIRECTORY] [MIB:ROUNDS...]: how long the caller is held while it starts a program, beside
# libc, libuv, GLib, CPython, fork+exec and raw vfork+execve; from processes of 16 MiB, 1 GiB and 8 GiB, with one
# thread and with two; then the cases at the edges (bench/spawn_edges.c), from the first two sizes; what odf_fork
# costs beside fork, and what the preload costs a program's start. DIRECTORY has the sources of a newer libuv, which
# is measured beside the system's. Writes bench/results/spawn.csv and spawn.svg, spawn-edges.csv, fork_overhead.csv
# and start.csv. Needs as much memory as the largest size, and a quiet machine.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
bench_prepare libuv1-dev libglib2.0-dev gnuplot-nox
asked="$*" peer=
if [ "${1:-}" = --libuv ]; then
	peer=$PWD/build-demo/bench_peer_libuv.so sources=
	for name in fs-poll idna inet random strscpy strtok thread-common threadpool timer uv-common \
		uv-data-getter-setters version unix/async unix/core unix/dl unix/fs unix/getaddrinfo \
		unix/getnameinfo unix/loop-watcher unix/loop unix/pipe unix/poll unix/process \
		unix/random-devurandom unix/signal unix/stream unix/tcp unix/thread unix/tty unix/udp \
		unix/proctitle unix/linux unix/procfs-exepath unix/random-getrandom unix/random-sysctl-linux; do
		# Which files there are depends on the version a little.
		[ ! -e "$2/src/$name.c" ] || sources="$sources $2/src/$name.c"
	done
	# shellcheck disable=SC2086
	gcc -std=gnu11 -O2 -fPIC -shared -D_GNU_SOURCE "-I$2/include" "-I$2/src" -Ibench bench/peer_libuv.c $sources \
		-o "$peer" -pthread -ldl -Wl,-Bsymbolic
	shift 2
	asked="--libuv DIRECTORY${*:+ $*}"
fi
[ $# -gt 0 ] || set -- 16:1000 1024:200 8192:40
results=bench/results

{
	echo "# $machine; bench/spawn.sh $asked"
	header=yes
	for threads in 1 2; do
		for size in "$@"; do
			mib=${size%:*} rounds=${size#*:}
			echo "$mib MiB, $threads thread(s)" >&2
			build-demo/bench/bench_spawn "$mib" "$rounds" "$threads" "$peer" > build-demo/rows.csv
			/usr/bin/python3 bench/cpython.py "$mib" "$rounds" "$threads" > build-demo/cpython.csv
			# CPython's row gets its ratios here, to the floor and to the fork of the same run.
			awk -F, -v OFS=, -v header=$header 'NR == 1 { if (header == "yes") print; next }
				$3 ~ /floor/ { floor = $4 }
				$3 == "fork+exec" { forked = $4 }
				FILENAME ~ /rows/ { print; next }
				{
					to_floor = sprintf("%.3f", $4 / floor)
					print $1, $2, $3, $4, $5, to_floor, sprintf("%.2f", forked / $4), $6
				}' \
				build-demo/rows.csv build-demo/cpython.csv
			header=no
		done
	done
} > build-demo/spawn.csv # which is moved when it is whole: a run may be ended
mv build-demo/spawn.csv $results
{
	echo "# $machine; bench/spawn.sh $asked"
	build-demo/bench/bench_spawn_edges "${1%:*}" 400 "$peer"
	[ $# -lt 2 ] || build-demo/bench/bench_spawn_edges "${2%:*}" 100 "$peer" | sed 1d
} > build-demo/spawn-edges.csv
mv build-demo/spawn-edges.csv $results
{
	echo "# $machine; bench/spawn.sh"
	build-demo/bench/bench_overhead 20000
} > $results/fork_overhead.csv
{
	echo "# $machine; bench/spawn.sh"
	build-demo/bench/bench_start "$PWD/build-demo/libodfork.so.0" "$PWD/build-demo/bench/libbench_empty.so" 2000
} > $results/start.csv

gnuplot << PLOT
set terminal svg size 860,480 font "sans,12" background "white"
set output "$results/spawn.svg"
set datafile separator ","
set title "Caller held while it starts /bin/true (median, one thread)"
set xlabel "memory of the caller, MiB"
set ylabel "microseconds"
set logscale xy
set grid
set key outside right
set termoption noenhanced
set xtics (16, 64, 256, "1 GiB" 1024, "8 GiB" 8192)
set format y "%.0f"
ways = "\"fork+exec\" \"CPython subprocess\" \"GLib g_spawn_async\" \"libuv uv_spawn\" \
	\"newer libuv uv_spawn\" \"glibc posix_spawn\" \"odf_spawn\" \"vfork+execve (floor)\""
plot for [way in ways] "< awk -F, -v way='".way."' '\$2 == 1 && \$3 == way' $results/spawn.csv" \
	using 1:4 with linespoints linewidth 2 title way
PLOT
# What stood for the newer libuv before it was in the tables.
[ -z "$peer" ] || rm -f $results/spawn-newer-libuv.csv
/usr/bin/python3 bench/tables.py
cat $results/*.csv
