#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The fuzzers under libFuzzer, with the address and undefined-behaviour sanitizers: each of their 17 kinds of input for
# SECONDS (300: three quarters of an hour on two processors), from tests/fuzz/corpus and the one in DIRECTORY, which
# grows. By hand. The last line counts the kinds in which something was found; the inputs lie in DIRECTORY then.
#
#   tests/fuzz.sh [SECONDS [DIRECTORY [fuzz|fuzz_read|fuzz_given]]]
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
packages_need clang libclang-rt-dev meson ninja-build pkg-config
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seconds=${1:-300} grown=${2:-$work/grown}
# The library as well tells which of its edges an input took (fuzzer-no-link): without that nothing but the length of
# inputs would guide the search.
CC=clang meson setup "$work/build" -Dtests=false -Dbenchmarks=false -Db_sanitize=address,undefined -Db_lundef=false \
	-Dc_args=-fsanitize=fuzzer-no-link > "$work/log" 2>&1 &&
	ninja -C "$work/build" libodfork_parts.a > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# NAME ARGUMENT...: $work/NAME of its file and what else it is made of (as in tests/meson.build)
link() {
	name=$1
	shift
	clang -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -O1 -g -DODF_LIBFUZZER \
		-fsanitize=fuzzer,address,undefined \
		-include "$work/build/config.h" -Iinclude "tests/fuzz/$name.c" "$@" "$work/build/libodfork_parts.a" \
		-pthread -o "$work/$name"
}
link fuzz src/cli/elf_file.c
# As tests/meson.build has them: sources of the library, and calls that are wrapped.
for name in fuzz_read fuzz_given; do
	built=$(sed -n "/'$name', executable/,/env:/p" tests/meson.build)
	# shellcheck disable=SC2046
	link $name -DODF_INJECT_FAILURES $(echo "$built" | grep -o "src/[a-z_/]*\.c") \
		$(echo "$built" | grep -o 'Wl,--wrap=[a-z_0-9]*' | sed 's/^/-/')
done

# NAME KIND; told is what it covered at first, of the corpus, and at last.
try() {
	status=0
	case $1 in
	fuzz) corpus=handed ;;
	*) corpus=${1#fuzz_} ;;
	esac
	mkdir -p "$grown/$1-$2"
	ODF_FUZZ_KIND=$2 "$work/$1" -max_total_time="$seconds" -max_len=65536 -timeout=20 -detect_leaks=0 \
		-artifact_prefix="$grown/$1-$2-" "$grown/$1-$2" "tests/fuzz/corpus/$corpus" > "$work/$1-$2.log" 2>&1 ||
		status=$?
	first=$(grep -o 'INITED *cov: [0-9]*' "$work/$1-$2.log" | sed 's/.* //')
	last=$(grep -o '#[0-9]*.*cov: [0-9]*' "$work/$1-$2.log" | tail -n 1 |
		sed 's/#\([0-9]*\).*cov: \([0-9]*\)/\2 after \1 inputs/')
	echo "$1, kind $2: status $status; edges ${first:-none} at first, $last"
	[ "$status" = 0 ] || { : > "$work/$1-$2.found"; grep -v '^#' "$work/$1-$2.log" | tail -n 60; }
}
pids=
for name in ${3:-fuzz fuzz_read fuzz_given}; do
	case $name in
	fuzz) kinds="0 2 3 4 5 7" ;; # of two there are two, for the chance that they have
	fuzz_read) kinds="0 1 2 3 4 5 6 7" ;;
	*) kinds="0 1 2" ;;
	esac
	for kind in $kinds; do
		try $name $kind &
		pids="$pids $!"
		set -- $pids
		while [ $# -ge "$(nproc)" ]; do
			wait "$1" || true
			shift
		done
		pids=$*
	done
done
wait
found=$(find "$work" -maxdepth 1 -name '*.found' | wc -l)
echo "$found of the kinds found something"
[ "$found" = 0 ]
