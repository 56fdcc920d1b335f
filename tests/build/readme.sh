#!/bin/sh
# SPDX-License-Identifier: MIT
# Compiles the README's example of a pool unchanged and runs it: the lines before its empty line go to file scope, the
# rest into main.
set -eu
source=${ODF_SOURCE:?} build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }
sed -n '/^<!-- tests\/build\/readme.sh -->$/,/^```$/p' "$source/README.md" | sed '1,2d;$d' > "$work/block"
[ "$(grep -c . "$work/block")" -le 12 ] && grep -q odf_pool_spawn "$work/block" ||
	fail "no example of ten lines: $(cat "$work/block")"
{
	printf '#include <odfork.h>\n#include <stdio.h>\n#include <sys/wait.h>\n\n'
	sed '/^$/q' "$work/block"
	printf 'int main(void)\n{\n'
	sed '1,/^$/d' "$work/block"
	printf 'return 0; }\n'
} > "$work/example.c"
for with in "-L$build -lodfork -Wl,-rpath,$build" "$build/libodfork.a -pthread"; do
	# shellcheck disable=SC2086
	"${ODF_CC:-cc}" -std=gnu11 -Wall -Wextra -Werror -I "$source/include" "$work/example.c" $with \
		-o "$work/example" || fail "does not compile"
	"$work/example" > "$work/said" || fail "ends with $?"
	[ "$(sort "$work/said" | tr '\n' ' ')" = "49 started " ] || fail "says $(cat "$work/said")"
done
