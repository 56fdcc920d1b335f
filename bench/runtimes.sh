#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/runtimes.sh [--mib N] [--pairs N] [--only "ROW;..."] [--add] [--rest] [--library FILE]: programs of many
# languages
#
# that fork, with data as is typical of them (600 MiB; bench/runtimes/job.*), with ODFORK_HEAP=off and =auto in
# turns. A row is a language and a kind of data; its name may be given by how it starts. --add keeps what was measured
# before. --rest has two seconds between two forks instead of 0.1, and has a file of its own, runtimes-rest.csv.
# --library measures another library, into build-demo/runtimes.csv.
#
# Writes bench/results/runtimes.csv, a line a pair, and the table of bench/RESULTS.md. Wants 25 minutes of a quiet
# machine, 4 GiB of memory, and to make a memory cgroup below its own (as root); else memory is sampled.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
asked="$*" library= csv=bench/results/runtimes.csv pairs=3 mib=600 pause=0.1 add= only=
while [ $# -gt 0 ]; do
	case $1 in
	--add) add=--add ;;
	--rest) pause=2 csv=bench/results/runtimes-rest.csv ;;
	--mib) mib=$2 && shift ;;
	--pairs) pairs=$2 && shift ;;
	--only) only=$2 && shift ;;
	--library) library=$(realpath "$2") csv=build-demo/runtimes.csv && shift ;;
	*)
		sed -n 's/^# \(bench\/runtimes.sh .*\): .*/usage: \1/p' "$0" >&2
		exit 2
		;;
	esac
	shift
done
bench_prepare g++ r-base-core ruby php-cli python3-numpy python3-pandas python3-gunicorn uwsgi-core \
	uwsgi-plugin-python3 perl lua5.3 lua-posix luajit tcl tclx8.4 ocaml-nox ghc \
	libghc-unix-dev sbcl guile-3.0 swi-prolog-nox chicken-bin racket octave zsh gawk libtcmalloc-minimal4 \
	libjemalloc2 \
	'libmimalloc2.0|libmimalloc3'
[ -e $csv ] || add=
/usr/bin/python3 bench/runtimes/main.py measure --library "${library:-$PWD/build-demo/libodfork.so.0}" --csv $csv \
	--mib "$mib" --pause $pause --pairs "$pairs" --only "$only" $add --note "$machine; bench/runtimes.sh $asked" ||
	failed=1
[ -n "$library" ] || /usr/bin/python3 bench/tables.py
exit ${failed:-0}
