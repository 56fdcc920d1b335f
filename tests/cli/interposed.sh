#!/bin/sh
# SPDX-License-Identifier: MIT
# The interposed functions, plain, preloaded and linked, and the library's spawns by their own names. Each call must
# leave its record.
set -eu
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$build/tests/interposed"
LD_PRELOAD=$build/libodfork.so.0 ODFORK_STATS=$work/preloaded "$build/tests/interposed"
ODFORK_STATS=$work/linked "$build/tests/interposed_linked"
LD_PRELOAD=$build/libodfork.so.0 ODFORK_STATS=$work/both "$build/tests/interposed_linked"
LD_PRELOAD=$build/libodfork.so.0 "$build/tests/interposed"
ODFORK_STATS=$work/by_name "$build/tests/interposed_by_name"

for call in odf_posix_spawn odf_posix_spawnp; do
	grep -q "\"call\":\"$call\"" "$work/by_name" || { echo "by name: no record of $call"; exit 1; }
done
for stats in preloaded linked both; do
	for call in fork _Fork posix_spawn posix_spawnp; do
		grep -q "\"call\":\"$call\"" "$work/$stats" || { echo "$stats: no record of $call"; exit 1; }
	done
	grep -q '"call":"posix_spawn","file":"/nonexistent","strategy":"posix_spawn".*"step":"unknown","error":2}' \
		"$work/$stats" ||
		{ echo "$stats: no record of the failure"; exit 1; }
	# Every line is one whole JSON object.
	python3 -c 'import json, sys
for line in open(sys.argv[1]):
    record = json.loads(line)
    known = {"pid", "child", "call", "strategy", "held_us", "region_bytes", "reason", "step", "error"}
    assert set(record) >= known, record
    assert record["call"] in ("fork", "_Fork", "posix_spawn", "posix_spawnp"), record
    assert record["held_us"] > 0 or record["error"], record' "$work/$stats"
done
