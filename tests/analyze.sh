#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Static analysis of src/: gcc -fanalyzer, cppcheck, clang-tidy. By hand; it takes two minutes, and ends with how
# much each has to say, beside what is known and is no fault (below).
#
#   tests/analyze.sh [FILE...]     of these files of src/ only
#
# For the analysis raw system calls are calls of a function that is somewhere else (ODF_INJECT_FAILURES), so that what
# they are given counts as written. Not asked for: parameters that could be swapped, reserved names, narrowing (the
# compilers' -Wconversion sees to it), assignments in conditions, products of small constants (widening), alike branches
# of tables, and the C11 functions with bounds (insecureAPI), which glibc does not have. A path that is longer than
# 30 000 steps of clang's analyzer is left, so that it ends.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/packages.sh
packages_need gcc clang clang-tidy cppcheck meson ninja-build pkg-config python3
# What does not start has nothing to say.
for tool in gcc cppcheck clang-tidy; do
	$tool --version > /dev/null || exit 1
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CC=clang meson setup "$work/clang" -Dtests=false -Dbenchmarks=false -Dc_args=-DODF_INJECT_FAILURES > "$work/log" 2>&1 ||
	{ cat "$work/log"; exit 1; }
all=$([ $# -gt 0 ] || echo yes)
# shellcheck disable=SC2046
[ -z "$all" ] || set -- $(find src -name '*.c' | sort)

# FILE of src, its line and its message without where: what is known to be no fault, and why.
cat > "$work/known" << 'END'
src/capability/probe.c .*moved : a raw call's failure is an address from -4095 on
src/pool/share.c .*(NULL|null) : the same
src/cli/inspect_cost.c .*values : qsort writes them in order
src/region/confine.c .*(uninit|padding) : filled by the loop below; a table that is read once
src/pool/stand_in.c .*(uninit|unused.member) : registers that the assembly takes
src/pool/serve.c .*made : the child that has freed it does not return
src/(pool/crew|region/seen).c .*sizeof : of pointers, as it is meant
src/spawn/communicate.c .*leak : what realloc gave is the caller's
src/heap/inherited.c .*uninit : region_run_at sets all of it
src/region/leave.c .*uninit : region_run_at sets all of it
src/capability/sandbox.c .*(uninit|garbage) : read by a raw call
src/heap/pinned.c .*(uninit|garbage) : set by a raw call, or the function has said that it was not
src/region/(thin|young).c .*(garbage|undefined) : set by the call before, or its result ends it
src/pool/worker.c .*nonnull : without room there is an error
END
cut -d: -f1 "$work/known" | sed 's/ $//; s/^\([^ ]*\) /\1:[0-9:]* /' > "$work/patterns"

printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh -c 'gcc -std=gnu11 -D_GNU_SOURCE -DODF_INJECT_FAILURES -O1 \
	-fanalyzer -include "$1/clang/config.h" -Iinclude -Isrc/measure "-DODF_LIBRARY=\"\"" \
	-c -o "$(mktemp "$1/object.XXXXXX")" "$2" 2>&1' sh "$work" {} > "$work/gcc"
cppcheck -q -j "$(nproc)" --std=c11 --enable=warning,portability -D_GNU_SOURCE -D__x86_64__ -D__linux__ -D__GLIBC__ \
	--include="$work/clang/config.h" -Iinclude --suppress=missingIncludeSystem --suppress=unknownMacro "$@" \
	> "$work/cppcheck" 2>&1
checks='-*,clang-analyzer-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier'
checks="$checks,-bugprone-narrowing-conversions,-bugprone-assignment-in-if-condition,-bugprone-macro-parentheses"
checks="$checks,-bugprone-branch-clone,-bugprone-implicit-widening-of-multiplication-result"
checks="$checks,-clang-analyzer-security.insecureAPI.*"
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh -c 'timeout 600 clang-tidy -p "$1/clang" -quiet "-checks=$2" \
	--extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=max-nodes=30000 \
	"$PWD/$3" 2> /dev/null
	[ $? != 124 ] || echo "$3:0:0: warning: not ended"' sh "$work" "$checks" {} > "$work/clang-tidy"
new=0
for tool in gcc cppcheck clang-tidy; do
	grep -E 'warning:|error:' "$work/$tool" | sed -E "s|^[^ ]*(src/[a-z_]*/[a-z_]*\.[ch]:)|\1|" |
		sort -u > "$work/said"
	cat "$work/said" >> "$work/all"
	grep -vEf "$work/patterns" "$work/said"
	found=$(grep -cvEf "$work/patterns" "$work/said")
	echo "== $tool: $found, and $(grep -cEf "$work/patterns" "$work/said") that are known"
	new=$((new + found))
done
# A line of what is known that nothing fits any more would hide the next fault that it fits.
[ -z "$all" ] || while read -r pattern; do
	grep -qE "$pattern" "$work/all" || echo "known, and not said: $pattern"
done < "$work/patterns"
[ "$new" = 0 ]
