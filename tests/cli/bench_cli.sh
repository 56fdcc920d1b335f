#!/bin/sh
# SPDX-License-Identifier: MIT
# odfork bench: the rows of a tiny run in each format, the picture, sizes that do not fit, and what a signal leaves
# behind.
set -eu
PATH=/usr/bin:/bin
build=${ODF_BUILD:?}
odfork=$build/odfork
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Processes of this test, by a variable of theirs.
ODF_TEST_BENCH=$work
export ODF_TEST_BENCH
fail() { echo "$*"; exit 1; }
expect() { # STATUS COMMAND...
	wanted=$1 status=0
	shift
	"$@" > "$work/out" 2> "$work/err" || status=$?
	[ "$status" = "$wanted" ] || fail "$*: status $status, expected $wanted: $(cat "$work/err")"
}

# ---- What comes of it
# ------------------------------------------------------------------------------------------------------------

expect 0 "$odfork" bench --size=32M,16M,32M --seconds 1 --json --plot "$work/plot.svg"
[ ! -s "$work/err" ] || fail "not quiet where standard error is no terminal: $(cat "$work/err")"
cp "$work/out" "$work/json"
# Where a kernel is not of the kinds that have regions or large pages, the rows are fewer, and a note says why.
cat > "$work/check.py" << 'CHECK'
import json, math, re, sys, xml.etree.ElementTree as tree
found = json.load(open(sys.argv[1] + "/json"))
rows, notes = found["rows"], " ".join(found["notes"])
ways = {"first_fork": ["plain", "region", "huge_pages"],
        "spawn": ["fork_exec", "posix_spawn", "odf_spawn", "odf_pool_spawn", "odf_pool_spawn_no_wait", "vfork_exec"]}
ways["endless_1"] = ways["child_reads_1"] = ways["first_fork"]
texts = {"region": "memory in a region", "huge_pages": "2 MiB pages"}
assert sorted({row["bytes"] for row in rows}) == [16 << 20, 32 << 20], "the sizes"
for what in ways:
    for way in ways[what]:
        of = [row for row in rows if row["what"] == what and row["way"] == way]
        left_out = way in texts and texts[way] in notes
        assert len(of) == 2 or left_out, "%d rows of %s, %s; notes: %s" % (len(of), what, way, notes)
for row in rows:
    figures = [row[name + "_us"] for name in ("least", "low", "median", "high", "p99")]
    assert row["count"] > 0 and figures[0] > 0 and figures == sorted(figures), row
    plain = "fork_exec" if row["what"] == "spawn" else "plain"
    other = next(r for r in rows if (r["bytes"], r["what"], r["way"]) == (row["bytes"], row["what"], plain))
    assert math.isclose(row["times"], other["median_us"] / row["median_us"], rel_tol=0.02, abs_tol=0.002), row
    assert (row["per_second"] is not None) == (row["what"] == "endless_1"), row
# The picture: well-formed, within its frame, and no text on another.
svg = "{http://www.w3.org/2000/svg}"
picture = tree.parse(sys.argv[1] + "/plot.svg").getroot()
width, height = (float(picture.get(name)) for name in ("width", "height"))
text = open(sys.argv[1] + "/plot.svg").read()
assert not re.search(r"\bnan\b|\binf\b", text), "a figure is none"
boxes = []
for group, (x0, y0) in [(picture, (0, 0))] + [(g, eval(g.get("transform")[9:])) for g in picture.findall(svg + "g")]:
    for text in group.findall(svg + "text"):
        long = len(text.text) * {"h": 10.5, "t": 8.5}.get(text.get("class"), 7.0)
        x = x0 + float(text.get("x")) - {"end": long, "middle": long / 2}.get(text.get("text-anchor"), 0)
        boxes.append((x, y0 + float(text.get("y")) - 11, x + long, y0 + float(text.get("y")) + 2, text.text))
assert len(boxes) > 40, "%d texts" % len(boxes)
for i, (a, b, c, d, name) in enumerate(boxes):
    assert a >= 0 and b >= 0 and c <= width and d <= height, "outside: " + name
    for e, f, g, h, other in boxes[:i]:
        assert c <= e or g <= a or d <= f or h <= b, "%s lies on %s" % (name, other)
CHECK
python3 "$work/check.py" "$work" > "$work/said" 2>&1 || fail "$(cat "$work/said" "$work/json")"

expect 0 "$odfork" bench --size 16M --seconds 0.3 --csv --progress
grep -q '^\[ *[0-9]* s, *[0-9]* %\] 16 MiB: Start of a program: odf_spawn$' "$work/err" ||
	fail "--progress: $(cat "$work/err")"
[ "$(sed -n 1p "$work/out")" = mib,what,way,count,median_us,low_us,high_us,p99_us,least_us,per_second,times ] ||
	fail "--csv: $(cat "$work/out")"
[ "$(awk -F, '{ print NF }' "$work/out" | sort -u)" = 11 ] || fail "--csv: $(cat "$work/out")"
grep -q '^16,first_fork,plain,' "$work/out" && grep -q '^16,spawn,odf_spawn,' "$work/out" ||
	fail "--csv: $(cat "$work/out")"
expect 0 "$odfork" bench --size 16M --seconds 0.3
grep -q '^Starting a program holds it for .* times as fast\.$' "$work/out" || fail "the table: $(cat "$work/out")"

# A kernel that forks on demand has rows of its own, if it keeps data; else it is said why not.
emulate=$build/tests/emulate_kernel
if [ -x "$emulate" ] && "$emulate" -- /bin/true > /dev/null 2>&1; then
	expect 0 "$emulate" --kernel=held --log="$work/log" -- "$odfork" bench --size 16M --seconds 0.3 --csv
	[ "$(grep -c '^16,[a-z_1]*,kernel,' "$work/out")" = 3 ] && grep -q on_demand "$work/log" ||
		fail "a kernel that forks on demand: $(cat "$work/out")"
	grep -q 'bench: this kernel offers on-demand fork, which is tried out now' "$work/err" ||
		fail "no warning: $(cat "$work/err")"
	expect 0 "$emulate" --kernel=held --fault=discard_neighbors -- "$odfork" bench --size 16M --seconds 0.2
	grep -q '^on demand by the kernel: left out: .*wipes its neighbors\.$' "$work/out" ||
		fail "a bad kernel: $(cat "$work/out")"
elif [ "${ODF_MUST_WORK:-0}" = 1 ]; then
	fail "no kernel can be emulated"
fi

# ---- What is refused
# -------------------------------------------------------------------------------------------------------------

for wrong in "--size" "--size=" "--size=0" "--size=1K" "--size=64X" "--size=64M,," "--seconds=0" "--seconds=x" \
	"--nonsense" "64M"; do
	expect 125 "$odfork" bench $wrong
	[ ! -s "$work/out" ] || fail "$wrong: $(cat "$work/out")"
done
for path in "$work" "$work/no/such.svg"; do
	expect 125 "$odfork" bench --size 16M --plot "$path"
done
refused() { # LIMIT COMMAND...
	limit=$1
	shift
	expect 125 "$@"
	grep -q "does not fit: it needs .*, and $limit leaves " "$work/err" || fail "$*: $(cat "$work/err")"
}
refused "the machine's available memory" "$odfork" bench --size 16M,30T
refused "RLIMIT_AS (ulimit -v)" sh -c 'ulimit -v 2000000; exec "$@"' sh "$odfork" bench --size 16M
refused "RLIMIT_DATA (ulimit -d)" sh -c 'ulimit -d 200000; exec "$@"' sh "$odfork" bench --size 512M
# Limits of memory cgroups, of both versions, as their files say.
if [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null; then
	cat > "$work/in_cgroup" << 'MOUNT'
set -eu
mount -t tmpfs none /sys/fs/cgroup
printf '%s\n' "$1" > /sys/fs/cgroup/mine
mount --bind /sys/fs/cgroup/mine "/proc/$$/cgroup"
mkdir -p "/sys/fs/cgroup/$2" && cd "/sys/fs/cgroup/$2"
printf '%s\n' "$4" > "$3"
printf '104857600\n' | tee memory.current > memory.usage_in_bytes
printf 'inactive_file 1048576\ntotal_inactive_file 1048576\n' > memory.stat
shift 4
exec "$@"
MOUNT
	in_cgroup() { unshare -m sh "$work/in_cgroup" "$@"; }
	small=314572800
	expect 0 in_cgroup 0::/a/b a/b memory.max max "$odfork" bench --size 16M --seconds 0.2
	for file in memory.max memory.high; do
		refused "the limit of the memory cgroup" in_cgroup 0::/a/b a/b $file $small "$odfork" bench --size 256M
		refused "the limit of the memory cgroup" in_cgroup 0::/a/b a $file $small "$odfork" bench --size 256M
	done
	for cgroup in "4:cpu,memory:/a memory/a" "4:memory:/a memory"; do
		# shellcheck disable=SC2086
		refused "the limit of the memory cgroup" in_cgroup $cgroup memory.limit_in_bytes $small \
			"$odfork" bench --size 256M
	done
	# Where there is no program to be started the forks are measured all the same.
	# shellcheck disable=SC2016
	expect 0 unshare -m sh -c 'for at in /bin /usr/bin; do mount --bind /dev/null $at/true; done; exec "$@"' sh \
		"$odfork" bench --size 16M --seconds 0.3
	grep -q '^   16 MiB  plain fork ' "$work/out" && ! grep -q 'fork and exec ' "$work/out" &&
		grep -q '^Start of a program: left out: there is no /bin/true\.$' "$work/out" ||
		fail "no /bin/true: $(cat "$work/out")"
	# Of the sizes that nobody asked for, those that fit are taken.
	expect 0 in_cgroup 0::/ / memory.max 419430400 "$odfork" bench --seconds 0.2
	grep -q '^   64 MiB  plain fork ' "$work/out" && grep -q '^1 GiB does not fit: ' "$work/out" ||
		fail "sizes by default: $(cat "$work/out")"
elif [ "${ODF_MUST_WORK:-0}" = 1 ]; then
	fail "no mount namespace"
fi

# ---- What is left
# ----------------------------------------------------------------------------------------------------------------

left() { grep -lsz "^ODF_TEST_BENCH=$work\$" /proc/[0-9]*/environ | sed 's|/proc/||; s|/environ||' | grep -vx $$ || :; }
working() { # waits until there is a process for the memory, and says which that is
	tries=0 worker=
	while [ -z "$worker" ]; do
		tries=$((tries + 1))
		[ $tries -lt 6000 ] || fail "no workers: $(cat "$work/err")"
		sleep 0.02
		for child in $(cat "/proc/$bench/task/$bench/children"); do
			# It may be gone already.
			arguments=$({ tr '\0' ' ' < "/proc/$child/cmdline"; } 2> /dev/null | cut -d' ' -f1-3)
			[ "$arguments" != "odfork bench --worker" ] || worker=$child
		done
	done
}
nothing_left() {
	for pid in $(left); do
		[ ! -e "/proc/$pid/exe" ] || [ "$(readlink "/proc/$pid/exe")" != "$(realpath "$odfork")" ] ||
			fail "$1: process $pid is left"
	done
}
for ended in INT:130 TERM:143 HUP:129; do
	signal=${ended%:*}
	# This shell may have been started with some ignored, which stay so: INT in the background, HUP by nohup.
	LD_PRELOAD=$build/libodfork.so.0 ODFORK_HEAP=on env --default-signal "$odfork" bench --size 512M \
		--progress --plot "$work/left.svg" > "$work/out" 2> "$work/err" &
	bench=$!
	working
	# What is plain is so where the command itself is under the library.
	! grep -q 'libodfork\.so' "/proc/$worker/maps" || fail "a worker is under the library"
	kill -STOP "$worker" # so that it does not end by itself
	kill "-$signal" $bench
	status=0
	wait $bench || status=$?
	nothing_left "$signal"
	[ $status = "${ended#*:}" ] || fail "$signal: status $status: $(cat "$work/err")"
	[ ! -e "$work/left.svg" ] || fail "$signal: the picture is left"
	[ ! -s "$work/out" ] || fail "$signal: $(cat "$work/out")"
done
# A worker that the kernel kills.
"$odfork" bench --size 512M --progress > "$work/out" 2> "$work/err" &
bench=$!
working
kill -KILL "$worker"
status=0
wait $bench || status=$?
nothing_left "a killed worker"
[ $status = 125 ] && grep -q 'was killed by Killed, as the kernel does when memory runs out' "$work/err" ||
	fail "a killed worker: status $status: $(cat "$work/err")"
