#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fuzz.c under libFuzzer, with the address and undefined-behaviour sanitizers: for SECONDS (an hour), from the corpus in DIRECTORY, which grows. By hand.
#
#   tests/fuzz.sh [SECONDS [DIRECTORY]]
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
packages_need clang meson ninja-build pkg-config
clang -fsanitize=fuzzer -x c -o /dev/null - 2> /dev/null << 'END' || { echo "clang has no libFuzzer here: install libclang-rt-VERSION-dev" >&2; exit 1; }
int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size) { (void)data, (void)size; return 0; }
END
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
corpus=${2:-$work/corpus}
mkdir -p "$corpus"
CC=clang meson setup "$work/build" -Dtests=false -Dbenchmarks=false -Db_sanitize=address,undefined -Db_lundef=false > "$work/log" 2>&1 &&
	ninja -C "$work/build" libodfork_parts.a > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
clang -std=gnu11 -D_GNU_SOURCE -O1 -g -DODF_LIBFUZZER -fsanitize=fuzzer,address,undefined -include "$work/build/config.h" -Iinclude \
	tests/fuzz.c src/cli/elf_file.c "$work/build/libodfork_parts.a" -pthread -o "$work/fuzz"
# A seed for each kind of input; programs are one.
for kind in 0 1 2 3 4 5 6 7; do
	# shellcheck disable=SC2059
	{ printf "\\00$kind"; head -c 8192 /bin/true; } > "$corpus/seed-$kind"
done
"$work/fuzz" -max_total_time="${1:-3600}" -max_len=65537 -detect_leaks=0 "$corpus"
