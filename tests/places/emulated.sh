#!/bin/sh
# SPDX-License-Identifier: MIT
# A place where CLONE_VM copies the memory instead of sharing it: valgrind does this, as do WSL1 and user-mode
# emulators.
set -eu
build=${ODF_BUILD:?}
"$build/tests/shares_memory" yes
command -v valgrind > /dev/null || { [ "${ODF_MUST_WORK:-0}" = 1 ] &&
	{ echo "no valgrind"; exit 1; }; echo "no valgrind"; exit 77; }
# Without its debug information, which some versions of valgrind cannot read.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strip -o "$work/shares_memory" "$build/tests/shares_memory"
valgrind -q --log-file=/dev/null "$work/shares_memory" no
