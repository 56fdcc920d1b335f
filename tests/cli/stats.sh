#!/bin/bash
# SPDX-License-Identifier: MIT
# odfork stats: its figures, compared with those computed from the same records by other means; truncated lines, files
# without records, and its messages about them.
set -eu
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }
odfork=$build/odfork
unset ODFORK_HEAP ODFORK_LOG ODFORK_STATS
cd "$work"

# Records as the library writes them, of several functions, with failures.
for heap in on off; do
	LD_PRELOAD=$build/libodfork.so.0 ODFORK_HEAP=$heap ODFORK_STATS=records "$build/tests/record_many" 2 2 8
done
LD_PRELOAD=$build/libodfork.so.0 ODFORK_STATS=records "$build/tests/small_stack"
LD_PRELOAD=$build/libodfork.so.0 ODFORK_STATS=records sh -c '(exit 0); exit 0'
cp records whole

python3 - "$odfork" << 'CHECK'
import json, math, random, re, subprocess, sys
odfork = sys.argv[1]

def stats(data, *options):
    done = subprocess.run([odfork, "stats", *options, "-"], input=data, capture_output=True, timeout=300)
    assert done.returncode == 0 and done.stderr == b"", (done, data[:200])
    return done.stdout

def size_class(record):
    if record.get("private_bytes") is None:
        return None, None
    size = record["private_bytes"] + max(record["region_bytes"], 0)
    bounds = [0] + [(16 << 20) * 4 ** i for i in range(7)] + [None]
    return next((low, high) for low, high in zip(bounds, bounds[1:]) if high is None or size < high)

def expected(records):
    groups = {}
    for record in records:
        low, high = size_class(record)
        groups.setdefault((record["call"], low, high), []).append(record)
    return groups

def check(data, records, not_understood):
    found = json.loads(stats(data, "--json"))
    assert found["records"] == len(records), (found["records"], len(records))
    assert found["not_understood"] == not_understood, found
    groups = expected(records)
    assert len(groups) == len(found["calls"]), found["calls"]
    for group in found["calls"]:
        of = groups[group["call"], group["size_from"], group["size_below"]]
        good = sorted(r["held_us"] for r in of if r["child"] >= 0 and r["error"] == 0)
        assert group["records"] == len(of) and group["failed"] == len(of) - len(good), group
        for name, part in ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("most", 1):
            if good:
                right = good[max(0, math.ceil(len(good) * part - 1e-9) - 1)]
                assert abs(group["held_us"][name] - right) < 0.06, (name, group, right)
        if not good:
            assert group["held_us"] is None
        strategies = {}
        for r in of:
            if r["child"] >= 0 and r["error"] == 0:
                strategies[r["strategy"]] = strategies.get(r["strategy"], 0) + 1
        assert group["strategies"] == strategies, group
    reasons = {}
    for r in records:
        for reason in r["reason"].split(", "):
            reasons[reason] = reasons.get(reason, 0) + 1
    assert {r["reason"]: r["records"] for r in found["reasons"]} == reasons, found["reasons"]
    programs = {}
    for r in records:
        programs[r["program"]] = programs.get(r["program"], 0) + 1
    assert {p["program"]: p["records"] for p in found["programs"]} == programs
    assert sum(f["records"] for f in found["failures"]) == sum(r["child"] < 0 or r["error"] != 0 for r in records)
    if records:
        assert found["processes"] == len({r["pid"] for r in records})
        assert abs(found["first"] - min(r["time"] for r in records)) < 1e-5 \
                and abs(found["last"] - max(r["time"] for r in records)) < 1e-5

whole = open("whole", "rb").read()
lines = whole.splitlines()
records = [json.loads(line) for line in lines]
assert {r["call"] for r in records} >= {"fork", "_Fork", "posix_spawn"} and any(r["error"] for r in records), records
check(whole, records, 0)

# Many, of all sizes, some without what older versions did not write, and with what newer ones may.
random.seed(1)
many = []
for i in range(5000):
    record = dict(random.choice(records))
    record["held_us"] = round(random.lognormvariate(6, 2), 1)
    record["region_bytes"] = random.choice([0, 1 << 20, 3 << 30, 1 << 40])
    record["private_bytes"] = random.choice([5 << 20, 16 << 20, 100 << 20, 1 << 30, 70 << 30, None])
    record["more"] = random.choice([None, True, "a\"}", [1, {"pid": 3}], {"x": "]"}, 1.5])
    if record["private_bytes"] is None:
        del record["private_bytes"]
    many.append(record)
check("\n".join(json.dumps(r, separators=(",", ":")) for r in many).encode(), many, 0)
check("\n".join(json.dumps(r) for r in [dict(r, pid=r["pid"]) for r in many[:9]]).replace('{"pid": ',
        '{"pid":').encode(), many[:9], 0)

# Cut at each byte: what is whole counts.
one, rest = lines[0], lines[1:4]
for length in range(len(one)):
    kept = [json.loads(line) for line in rest]
    check(one[:length] + b"\n" + b"\n".join(rest) + b"\n", kept, 1 if length else 0)
    check(b"\n".join(rest) + b"\n" + one[:length], kept, 1 if length else 0)
    # And the next one written behind it.
    check(one[:length] + b"\n".join(rest), kept, 1 if length else 0)
    check(one[:length] + b"\0\0" + b"\n" + b"\n".join(rest), kept, 1 if length else 0)

# Numbers that JSON does not have, or that no sum could hold.
for number in (b"1e999", b"-inf", b"-nan", b"0x1p900", b"1e300"):
    bad = re.sub(rb'"time":[0-9.]+', b'"time":' + number, one)
    assert bad != one
    check(bad + b"\n" + b"\n".join(rest), [json.loads(line) for line in rest], 1)

# No records at all; anything.
check(b"", [], 0)
check(b"\n\n", [], 0)
for i in range(300):
    junk = bytearray(whole)
    for _ in range(random.randrange(1, 200)):
        junk[random.randrange(len(junk))] = random.choice([random.randrange(256), 0x22, 0x7b, 0x7d, 0x5c, 0x0a])
    json.loads(stats(bytes(junk), "--json"))
    stats(bytes(junk))
stats(b"x" * 3000000 + b"\n" + whole)
stats(b'{"pid":' * 100000 + b"\n" + whole)
stats(random.randbytes(1000000))

table = stats(whole).decode()
assert "standard input: %d records of " % len(records) in table, table
for word in "fork", "_Fork", "posix_spawn", "region: no_region", "step ", "ENAMETOOLONG", \
        "no snapshot region in this process":
    assert word in table, (word, table)
CHECK

status=0
"$odfork" stats nowhere > out 2> err || status=$?
[ $status = 125 ] &&
	grep -q '^odfork: stats: cannot read nowhere: No such file or directory; it is the file that was given to' \
	err || fail "no file: $status $(cat err)"
"$odfork" stats . > out 2> err && fail "a folder"
grep -qx 'odfork: stats: cannot read \.: Is a directory' err || fail "a folder: $(cat err)"
for wrong in "" "--nonsense whole" "whole whole"; do
	status=0
	# shellcheck disable=SC2086
	"$odfork" stats $wrong > out 2> err || status=$?
	[ $status = 125 ] && [ -s err ] || fail "stats $wrong: $status"
done
"$odfork" stats whole > out && grep -q '^whole: ' out || fail "by name: $(cat out)"
status=0
"$odfork" stats whole > /dev/full 2> err || status=$?
[ $status = 125 ] || fail "a full device: $status"
