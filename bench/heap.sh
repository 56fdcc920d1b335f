#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/heap.sh [--quick] [--only PART,...] [--sizes N,...] [--library FILE]: unmodified programs, plain and with the
# library preloaded, turn by turn.
#
#   cost         what the heap costs where nobody forks: malloc, fresh memory, SQLite, redis-benchmark, Erlang, Emacs;
#                plain against plain beside it; once more with transparent huge pages for everything
#                (/sys/kernel/mm/transparent_hugepage/enabled is set to "always" for that, by root only, and set back)
#   saves        Redis with 1, 4 and 8 GiB: the fork of BGSAVE, and the latency of requests before, during and after it
#   five         Redis with 1.4 GiB: five saves, each right after the last, under writes
#   gives        Redis with 360 MiB in values of 10 KiB, each of which the child gives back once it is saved: the memory
#                that a save takes, where nobody writes and under 1000 SETs a second; wants a memory cgroup
#   jobs         programs of 1 GiB: SQLite's tests in children, CPython's os.fork, perl's system
#   fuzz         AFL++ with a target that has 128 MiB to 1 GiB before its fork server starts
#   asan         AFL++ with a target of 16 MiB, and with one of 16 and 128 MiB that has the address sanitizer
#   first        4 and 8 GiB: what the parent's first mmap, page faults and munmap after a fork take
#   threshold    processes of 4 to 256 MiB, plain and with the heap awake from the start
#   ordinary     500 MiB in a program of a user who has no userfaultfd: forks by how much it writes between two
#                (bench/written.sh)
#   shapes       512 MiB in each shape in which allocators ask for memory, and forks of it (SHAPES=NAME,...: these
#                only; PAUSE_MS=N between forks)
#   rivals       Redis as others measured what they put in fork's place: idle with 1.5 to 12 GiB, the fork and the
#                length of ten saves of each; with 4 GiB under load, how soon latencies are what they were before a save
#                (by its name only: it takes half an hour)
#
# --sizes: GiB for saves and rivals, MiB for the others. Writes bench/results/heap-*.csv and the plots, fills the
# tables, and says which aims were reached; with --quick, or with another library than the one built here, the same into
# build-demo/heap-quick, and no tables. Wants 45 minutes, 20 GiB of memory, and a quiet machine.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
asked="$*" quick= sizes= library= parts=cost,saves,five,gives,jobs,fuzz,asan,first,threshold,ordinary,shapes \
	results=bench/results
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=--quick results=build-demo/heap-quick ;;
	--only) parts=$2 && shift ;;
	--sizes) sizes="--sizes=$2" && shift ;;
	--library) library=$(realpath "$2") results=build-demo/heap-quick && shift ;;
	*)
		sed -n 's/^# \(bench\/heap.sh .*\): .*/usage: \1/p' "$0" >&2
		exit 2
		;;
	esac
	shift
done
has() { case ,$parts, in *,"$1",*) true ;; *) false ;; esac; }
# What each part runs on.
packages="gnuplot-nox"
! has cost && ! has jobs && ! has fuzz && ! has asan || packages="$packages libsqlite3-dev"
! has cost && ! has saves && ! has five && ! has gives && ! has rivals ||
	packages="$packages redis-server"
! has cost || packages="$packages erlang-base emacs-nox"
! has jobs || packages="$packages perl"
! has fuzz && ! has asan || packages="$packages afl++ clang llvm"
# shellcheck disable=SC2086
bench_prepare $packages
[ -n "$library" ] || library=$PWD/build-demo/libodfork.so.0
target=$PWD/build-demo/bench/bench_heap_target
! has asan ||
	AFL_QUIET=1 AFL_USE_ASAN=1 afl-clang-fast -O2 -D_GNU_SOURCE -o "$target-asan" bench/heap/target.c -lsqlite3
! has fuzz && ! has asan || AFL_QUIET=1 afl-clang-fast -O2 -D_GNU_SOURCE -o "$target" bench/heap/target.c -lsqlite3
mkdir -p $results
[ $results = bench/results ] || rm -f $results/heap-*

# A signal ends what runs, too; and the setting of huge pages is set back whatever happens.
pages_file=/sys/kernel/mm/transparent_hugepage/enabled
pages_were= running=
cleanup() {
	status=$?
	trap - EXIT INT TERM HUP
	[ -z "$running" ] || kill "$running" 2> /dev/null || true
	[ -z "$running" ] || wait "$running" 2> /dev/null || true
	[ -z "$pages_were" ] || echo "$pages_were" > $pages_file
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
pages() { sed -n 's/.*\[\(.*\)\].*/\1/p' $pages_file 2> /dev/null || echo none; }

failed=0
run() {
	# shellcheck disable=SC2086
	/usr/bin/python3 bench/heap/main.py $quick $sizes --library "$library" --programs "$PWD/build-demo/bench" \
		--target "$target" --results $results \
		--note "$machine; bench/heap.sh $asked" --pages "$(pages)" "$@" &
	running=$!
	wait $running || failed=1
	running=
}
! has cost || rm -f $results/heap-cost.csv
run --only "$parts"
if has cost; then
	if [ ! -w $pages_file ]; then
		echo "Left out: cost with transparent huge pages for everything: only root can set $pages_file" >&2
	elif [ "$(pages)" != always ]; then
		pages_were=$(pages)
		echo always > $pages_file
		echo "Transparent huge pages for everything:" >&2
		run --only cost --again
		echo "$pages_were" > $pages_file
		pages_were=
	fi
fi

# The plot of file $1, if it was measured; the commands come from standard input.
plot() {
	[ -e "$results/heap-$1.csv" ] || return 0
	{
		cat <<- PLOT
			set terminal svg size 860,480 font "sans,12" background "white"
			set output "$results/heap-$1.svg"
			set datafile separator ","
			set termoption noenhanced
			set grid
			set key outside right
			set format y "%.0f"
			mib(size) = size < 1024 ? sprintf("%d MiB", size) : sprintf("%d GiB", size / 1024)
			color(variant) = variant eq "plain" ? 0xc0392b : 0x0072b2
		PLOT
		cat
	} | gnuplot
}
of() { [ ! -e "$results/heap-$1.csv" ] || tail -n +3 "$results/heap-$1.csv"; }

# One save of each size and kind.
gibs=$(of saves-timeline | cut -d, -f1 | sort -nu | tr '\n' ' ')
[ -z "$gibs" ] || plot saves-timeline << PLOT
set terminal svg size 860,$(($(echo "$gibs" | wc -w) * 320))
set multiplot layout $(echo "$gibs" | wc -w),1 title "Redis: worst latency of the requests due in each 20 ms, one save"
set logscale y
set ylabel "microseconds"
set yrange [50:*]
rows(gib, variant) = "< awk -F, -v gib=".gib." -v variant=".variant." '\$1 == gib && \$2 == variant' " \
	."$results/heap-saves-timeline.csv"
do for [gib in "$gibs"] {
	set title gib." GiB"
	set xlabel "seconds since BGSAVE"
	plot for [v in "plain library"] rows(gib, v) using (\$4 / 1000):6 with steps linewidth 1.5 \
		linecolor rgb color(v) title v
}
PLOT

plot fuzz << PLOT
set title "AFL++: executions a second"
set xlabel "memory of the target before its fork server starts"
set logscale x 2
set logscale y
set xtics ()
set for [i = 7:10] xtics add (mib(2 ** i) 2 ** i)
rows(variant) = "< awk -F, -v variant=".variant." '\$2 == variant' $results/heap-fuzz.csv"
plot for [v in "plain library"] rows(v) using 1:4:5:6 with yerrorlines linewidth 2 linecolor rgb color(v) title v
PLOT

plot threshold << PLOT
set title "Fork of a small process: plain, and with the heap awake " \
	."(median; dashed: with its writes before it and the child's end)"
set xlabel "memory of the process"
set ylabel "microseconds"
set logscale x 2
set logscale y
set xtics ()
set for [i = 2:8] xtics add (mib(2 ** i) 2 ** i)
rows(variant) = "< awk -F, -v variant=".variant." '\$2 == 1 && \$3 == variant' $results/heap-threshold.csv"
plot for [v in "plain library"] rows(v) using 1:4 with linespoints linewidth 2 \
		linecolor rgb color(v) title v.", held", \
	for [v in "plain library"] rows(v) using 1:7 with lines dashtype 2 linewidth 2 \
		linecolor rgb color(v) title v.", all"
PLOT

plot cost << PLOT
set title "Nobody forks: rate with the library, to that without (half of the neighbouring turns are within the line)"
unset ylabel
set format y "%s"
set format x "%.2f"
set xrange [0.5:1.5]
settings = system("awk -F, 'NR > 2 && !(\$1 in seen) { seen[\$1]; print \$1 }' $results/heap-cost.csv")
rows(pages, variant) = "< awk -F, -v pages=".pages." -v variant=".variant \
	." '\$1 == pages && \$4 == variant' $results/heap-cost.csv"
again = system("grep -q ',again,' $results/heap-cost.csv && echo 1 || true")
set arrow from 0.99, graph 0 to 0.99, graph 1 nohead linecolor rgb 0x888888
set offsets 0, 0, 0.7, 0.7
plot rows(word(settings, 1), "library") using 9:(-\$0):10:11:yticlabel(2) \
		with xerrorbars pointtype 7 pointsize 0.6 linecolor rgb 0x0072b2 \
		title "huge pages: ".word(settings, 1), \
	for [i = 2:words(settings)] rows(word(settings, i), "library") using 9:(-\$0 - 0.3):10:11 \
		with xerrorbars pointtype 7 pointsize 0.6 linecolor rgb 0xe69f00 \
		title "huge pages: ".word(settings, i), \
	for [i in again] rows(word(settings, 1), "again") using 9:(-\$0 + 0.3):10:11 \
		with xerrorbars pointtype 7 pointsize 0.6 linecolor rgb 0x999999 \
		title "plain to plain"
PLOT

if [ $results = bench/results ]; then
	/usr/bin/python3 bench/tables.py
fi
/usr/bin/python3 bench/reach.py $results heap
exit $failed
