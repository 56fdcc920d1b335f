#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Static analysis of src/: gcc -fanalyzer, cppcheck, clang-tidy. By hand; it takes minutes, and ends with how much each has to say.
#
# What is known and is no fault:
#   cppcheck      probe.c, share.c, malloc.c: addresses that a raw system call gave are compared with -4096 to -1, which is
#                 how it fails; inspect_cost.c: qsort of none; confine.c: filled by the loop below; stand_in.c: registers
#                 that the assembly takes
#   gcc           communicate.c: what realloc gave is the caller's; kernel.c: what a process that shares memory writes;
#                 stats.c: the process ends; inherited.c, leave.c: region_run_at sets all of it
#   clang-tidy    what a raw system call writes by its assembly the analyzer does not see: watch.c, launch.c, engine_vfork.c, capability/sandbox.c
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/packages.sh
packages_need gcc clang clang-tidy cppcheck meson ninja-build pkg-config python3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CC=clang meson setup "$work/clang" -Dtests=false -Dbenchmarks=false > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }

for file in $(find src -name '*.c'); do
	gcc -std=gnu11 -D_GNU_SOURCE -O1 -fanalyzer -include "$work/clang/config.h" -Iinclude -Isrc/measure -DODF_LIBRARY='""' -c -o "$work/object" "$file" 2>&1
done > "$work/gcc"
cppcheck -q -j "$(nproc)" --std=c11 --enable=warning,portability -D_GNU_SOURCE -D__x86_64__ -D__linux__ -D__GLIBC__ --include="$work/clang/config.h" -Iinclude \
	--suppress=missingIncludeSystem --suppress=unknownMacro src > "$work/cppcheck" 2>&1
run-clang-tidy -p "$work/clang" -quiet -checks='-*,clang-analyzer-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-bugprone-narrowing-conversions,-bugprone-assignment-in-if-condition,-bugprone-macro-parentheses,-bugprone-branch-clone,-clang-analyzer-security.insecureAPI.*' \
	'/src/' > "$work/clang-tidy" 2> /dev/null
for tool in gcc cppcheck clang-tidy; do
	grep 'warning:' "$work/$tool" | sort -u
	echo "== $tool: $(grep 'warning:' "$work/$tool" | sort -u | wc -l)"
done
