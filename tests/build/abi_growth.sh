#!/bin/sh
# SPDX-License-Identifier: MIT
# Programs and libraries of different versions of the header: abi/odfork-first.h, the first that has to be kept;
# today's; and one that has grown by a strategy, a step, a reason, a check, an interface and a member of each structure.
# Each program runs with a library of its own time and later, and the newest with today's. And nothing that the first
# header says has another value or place today.
set -eu
source=${ODF_SOURCE:?} build=${ODF_BUILD:?} library_cc=${ODF_CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }

mkdir -p "$work/first" "$work/newer/include"
cp "$source/tests/build/abi/odfork-first.h" "$work/first/odfork.h"
cp -r "$source/src" "$work/newer/src"
structures='report fork_options spawn_options io region_info heap_info capabilities kernel_verdict'
structures="$structures pool_options pool_info task_options task_info"
newer=$work/newer/include/odfork.h
sed -E 's/^\tODF_(STRATEGY|STEP|REASON|KERNEL_CHECK|KERNEL_INTERFACE)_COUNT$/\tODF_\1_NEXT,\n&/
s/^\} odf_('"$(echo $structures | tr ' ' '|')"');$/\tuint64_t next_member;\n&/' "$source/include/odfork.h" > "$newer"
[ "$(grep -c _NEXT, "$newer")" = 5 ] && [ "$(grep -c next_member "$newer")" = 12 ] ||
	fail "the header has not grown as it should"
sed -i -E 's/^static const char \*const (strategies|steps|interfaces)\[.*/&\n\t"next",/
s/^\} (reasons|checks)\[.*/&\n\t{ "next", "next" },/' "$work/newer/src/strategy/names.c"
for name in STRATEGY STEP REASON KERNEL_CHECK KERNEL_INTERFACE; do
	sed -i "0,/^\t\\(\"next\"\\|{ \"next\", \"next\" }\\),/s//\t[ODF_${name}_NEXT] = \\1,/" \
		"$work/newer/src/strategy/names.c"
done
sed -i 's/^\t\[ODF_STEP_NEXT\] = { "next", "next" },/\t[ODF_STEP_NEXT] = "next",/' "$work/newer/src/strategy/names.c"

# ---- The library that has grown: what libodfork.a is made of ----
(cd "$work/newer" && mkdir objects && sed -n "/^between_sources = /,/^libodfork_shared/s/.*/&/p" "$source/meson.build" |
	grep -oE "src/[a-z_/0-9]+\.c" | grep -vE '^src/(preload|libc/next)' | sort -u > sources &&
	echo src/libc/direct.c >> sources &&
	xargs -P 2 -I{} sh -c "$library_cc -std=gnu11 -O0 -w -D_GNU_SOURCE -include '$build/config.h' \
		-fno-stack-protector -Iinclude -c {} -o objects/\$(echo {} | tr / _).o" < sources &&
			ar rc libgrown.a objects/*.o) || fail "the grown library does not build"

# ---- Values and places ----
{
	echo '#include <odfork.h>'
	echo '#include <stdio.h>'
	echo 'int main(void) {'
	{ sed -n 's/^\t\(ODF_[A-Z0-9_]*\).*/\1/p' "$work/first/odfork.h"
		sed -n 's/^#define \(ODF_[A-Z0-9_]*\) .*[0-9].*/\1/p' "$work/first/odfork.h"; } |
		grep -vE '_COUNT$|^ODF_VERSION|_$' | sort -u | sed 's/.*/printf("& %llu\\n", (unsigned long long)&);/'
	awk '/^typedef struct odf_[a-z_]+ \{/ { name = $3; next } /^}/ { name = "" } name != "" && /^\t[a-z].*;/ {
		sub(/;.*/, ""); sub(/\[.*/, "");
		if (match($0, /\(\*[a-z_]+\)/)) field = substr($0, RSTART + 2, RLENGTH - 3);
		else { n = split($0, words, /[ \t*]+/); field = words[n] }
		printf "printf(\"%s.%s %%zu\\n\", offsetof(%s, %s));\n", name, field, name, field }' \
			"$work/first/odfork.h"
	echo 'return 0; }'
} > "$work/places.c"
for header in first newer today; do
	directory=$work/$header
	[ $header = newer ] && directory=$work/newer/include
	[ $header = today ] && directory=$source/include
	$library_cc -std=gnu11 -w -I "$directory" "$work/places.c" -o "$work/places" ||
		fail "the $header header lacks a name of the first"
	"$work/places" > "$work/places.$header"
	diff "$work/places.first" "$work/places.$header" || fail "the $header header has moved the above"
done
[ "$(wc -l < "$work/places.first")" -gt 200 ] ||
	fail "only $(wc -l < "$work/places.first") values and places were compared"
# No unnamed bytes at an end, which a later member would take.
{
	echo '#include <odfork.h>'
	for name in $structures; do
		last=$(awk '/^typedef struct odf_'$name' \{/ { on = 1 }
			on && /^\t[a-z].*;/ {
				sub(/;.*/, "")
				sub(/\[.*/, "")
				last = w[split($0, w, /[ \t*]+/)]
			}
			/^} odf_'$name';/ { print last; exit }' "$source/include/odfork.h")
		echo "_Static_assert(offsetof(odf_$name, $last) + sizeof ((odf_$name *)0)->$last =="
		echo "	sizeof(odf_$name), \"$name\");"
	done
} > "$work/tails.c"
$library_cc -std=gnu11 -I "$source/include" -fsyntax-only "$work/tails.c" ||
	fail "a structure ends in bytes without a name"

# ---- Programs ----
cp "$source/tests/build/abi/program.c" "$work/program.c"
cp "$source/tests/build/abi/program.c" "$work/program.cc"
tried=0
for compiler in "gcc -std=c11 -D_GNU_SOURCE" "clang -std=c11 -D_GNU_SOURCE" "g++ -std=c++11" "clang++ -std=c++17"; do
	command -v "${compiler%% *}" > /dev/null || continue
	case $compiler in *++*) program=$work/program.cc ;; *) program=$work/program.c ;; esac
	try() { # NAME HEADERS LIBRARY [FLAGS]
		$compiler -Wall -Wextra -Werror -O1 ${4:-} -I "$2" "$program" "$3" -pthread -o "$work/try" ||
			fail "$compiler, $1: does not compile"
		"$work/try" > "$work/said" 2>&1 || fail "$compiler, $1: $(cat "$work/said")"
		tried=$((tried + 1))
	}
	try "the first program, today's library" "$work/first" "$build/libodfork.a"
	try "the first program, a grown library" "$work/first" "$work/newer/libgrown.a"
	try "today's program, a grown library" "$source/include" "$work/newer/libgrown.a"
	try "a grown program, today's library" "$work/newer/include" "$build/libodfork.a" -DODF_NEWER
done
[ "$tried" -ge 8 ] || fail "only $tried programs were tried"
