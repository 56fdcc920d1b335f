#!/bin/sh
# SPDX-License-Identifier: MIT
# one-object.sh COMPILER OBJCOPY AR ARCHIVE RESULT: links the objects of an archive into one object, the only one in the
# archive RESULT. Only what the public headers declare is global in it, so that the library's other names cannot collide
# with those of a program that links it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2086
$1 -r -nostdlib -o "$work/libodfork.o" -Wl,--whole-archive "$4" -Wl,--no-whole-archive
"$2" --localize-hidden "$work/libodfork.o"
rm -f "$5"
"$3" rcs "$5" "$work/libodfork.o"
