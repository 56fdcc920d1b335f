#!/bin/sh
# SPDX-License-Identifier: MIT
# one-object.sh COMPILER OBJCOPY AR ARCHIVE RESULT: makes of an archive one with a single object, in which only what the
# public headers declare is global: the library's other names must not meet those of the program that it is linked into.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2086
$1 -r -nostdlib -o "$work/libodfork.o" -Wl,--whole-archive "$4" -Wl,--no-whole-archive
"$2" --localize-hidden "$work/libodfork.o"
rm -f "$5"
"$3" rcs "$5" "$work/libodfork.o"
