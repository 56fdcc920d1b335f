#!/bin/sh
# SPDX-License-Identifier: MIT
# Limits and guarantees of memory: each case of heap_limits without the library, and preloaded, with a heap that wakes
# by itself and one that is awake from the start.
set -u
build=${ODF_BUILD:?}
unset MALLOC_PERTURB_ # with it malloc writes to all memory that it returns
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0 failures=0

echo 1..54
for name in fsize fsize_later data data_later data_first as as_later machine errno \
	'as_from_outside 0' 'as_from_outside 1' 'as_from_outside 2' 'as_from_outside 3' 'as_from_outside 4' \
	'data_from_outside 0' 'data_from_outside 1' 'data_from_outside 2' 'data_from_outside 3'; do
	for mode in plain auto on; do
		number=$((number + 1))
		preload=
		[ $mode = plain ] || preload=$build/libodfork.so.0
		# shellcheck disable=SC2086
		env LD_PRELOAD="$preload" ODFORK_HEAP="${mode#plain}" "$build/tests/heap_limits" $name > "$work/out" \
			2>&1
		status=$?
		reason=$(sed -n 's/^skipped: //p' "$work/out" | head -n 1)
		if [ $status = 0 ]; then
			echo "ok $number - $name, $mode"
		elif [ $status = 77 ] && [ "${ODF_MUST_WORK:-0}" != 1 ]; then
			echo "ok $number - $name, $mode # SKIP $reason"
		else
			echo "not ok $number - $name, $mode: status $status"
			sed 's/^/# /' "$work/out"
			failures=$((failures + 1))
		fi
	done
done
exit $((failures > 0))
