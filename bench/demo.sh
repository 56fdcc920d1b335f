#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The main job on real input: installs what is missing, builds, and shows on this machine
#   1. Debian's redis-server with half a gibibyte of keys, unmodified, under libodfork: a snapshot, and what was
#      intercepted;
#   2. the same with a gibibyte, plain and with the library preloaded: what Redis says that its forks took;
#   3. programs launched from a process of one gibibyte, by fork and exec and by odf_spawn;
#   4. forks of a process with up to a gibibyte, plain and with its memory in a region.
# Everything lives in a temporary directory and on a private port, and is gone at the end.
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
packages_need gcc libc6-dev meson ninja-build pkg-config python3 redis-server

work=$(mktemp -d)
server=
cleanup() {
	status=$?
	trap - EXIT INT TERM HUP
	[ -z "$server" ] || kill "$server" 2> /dev/null || true
	[ -z "$server" ] || wait "$server" 2> /dev/null || true
	rm -rf "$work"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
say() { printf '\n== %s\n' "$*"; }
fail() {
	echo "demo: $*" >&2
	[ ! -e "$work/redis.log" ] || tail -n 20 "$work/redis.log" >&2
	exit 1
}

# start COMMAND...: redis-server with this before it, on a port that nobody has, on the loopback address.
start() {
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	"$@" redis-server --port "$port" --bind 127.0.0.1 --dir "$work" --save '' --appendonly no \
		--enable-debug-command local --daemonize no \
		> "$work/redis.log" 2>&1 &
	server=$!
	tries=0
	until [ "$(cli ping 2> /dev/null)" = PONG ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] && kill -0 "$server" 2> /dev/null || fail "redis-server does not answer"
		sleep 0.1
	done
}
stop() {
	cli shutdown nosave 2> /dev/null || true
	wait "$server" || fail "redis-server ended badly"
	server=
	rm -f "$work/dump.rdb"
}
cli() { redis-cli -h 127.0.0.1 -p "$port" "$@"; }
field() { cli info "$1" | tr -d '\r' | sed -n "s/^$2://p"; }
# fill BYTES VALUE: with so much, in values of VALUE bytes.
fill() {
	keys=0
	while [ "$(field memory used_memory)" -lt "$1" ]; do
		keys=$((keys + 200000))
		cli debug populate "$keys" key "$2" > /dev/null
		printf '\r%d keys, %s in memory ' "$keys" "$(field memory used_memory_human)"
	done
	printf '\n'
}
bgsave() {
	printf BGSAVE
	cli bgsave > /dev/null
	while [ "$(field persistence rdb_bgsave_in_progress)" != 0 ]; do
		printf .
		sleep 0.2
	done
	[ "$(field persistence rdb_last_bgsave_status)" = ok ] || fail "BGSAVE did not succeed"
	printf ' latest_fork_usec: %s\n' "$(field stats latest_fork_usec)"
}
# The data have the digest $1, and so have they when the snapshot is loaded.
compare() {
	[ "$(cli debug digest)" = "$1" ] || fail "the data changed"
	cli debug reload nosave > /dev/null && [ "$(cli debug digest)" = "$1" ] || fail "the snapshot is not the data"
}

say "Building"
if [ ! -e build-demo/build.ninja ]; then
	meson setup build-demo --buildtype=release -Dtests=false > "$work/setup.log" 2>&1 ||
		{ cat "$work/setup.log" >&2; exit 1; }
fi
ninja -C build-demo > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
build=$PWD/build-demo
echo "built in build-demo"

say "What this machine offers (odfork probe)"
"$build/odfork" probe | sed -n '1,8p'

say "redis-server under libodfork: odfork run --stats FILE -- redis-server"
start "$build/odfork" run --stats "$work/stats" --
fill 536870912 256
digest=$(cli debug digest)
bgsave
compare "$digest"
echo "snapshot of $(stat -c %s "$work/dump.rdb") bytes; reloaded, its digest is that of the data"
echo "Redis itself says that the fork took $(field stats latest_fork_usec) us. libodfork's record:"
cat "$work/stats"
python3 - "$work/stats" << 'SHOW'
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
forks = [r for r in records if r["call"] == "fork"]
assert forks, "no fork was intercepted"
for r in forks:
    print("intercepted %s: strategy %s (%s), redis-server was held %.1f ms"
          % (r["call"], r["strategy"], r["reason"], r["held_us"] / 1000))
SHOW
stop

say "redis-server with a gibibyte: plain, then with LD_PRELOAD=libodfork.so.0 and nothing else"
for how in plain preloaded; do
	echo "$how:"
	if [ $how = plain ]; then
		start env -u LD_PRELOAD
	else
		start env LD_PRELOAD="$build/libodfork.so.0" ODFORK_STATS="$work/stats-preloaded"
	fi
	fill 1073741824 1024
	digest=$(cli debug digest)
	bgsave
	bgsave
	compare "$digest"
	echo "reloaded: the digest is that of the data, $digest"
	stop
done
sed 's/.*"strategy":"\([^"]*\)","held_us":\([^,]*\),.*/libodfork: strategy \1, held \2 us/' "$work/stats-preloaded"

say "Launching programs from a process that holds 1 GiB (100 of each, turn by turn)"
"$build/bench/bench_spawn" 1024 100 1 > "$work/launch.csv"
python3 - "$work/launch.csv" << 'SHOW'
import csv, sys
for row in csv.DictReader(open(sys.argv[1])):
    print("%-24s median %8.0f us   99th percentile %8.0f us   %6.1f times as fast as fork+exec"
          % (row["way"], float(row["median_us"]), float(row["p99_us"]), float(row["to_fork"])))
SHOW

say "Forks of a process that holds much memory: the call, and forks without end with 1 % of the memory written in \
between (medians)"
"$build/bench/bench_fork" --quick --only held,steady --csv "$work/fork" 2> "$work/fork.log" ||
	{ cat "$work/fork.log" >&2; exit 1; }
cat "$work/fork.log"
python3 - "$work" << 'SHOW'
import csv, os, sys
names = {"p4k": "fork, 4 KiB pages", "p2m": "fork, 2 MiB pages",
         "region": "region", "region_next": "region, forked again at once",
         "empty": "fork, no memory", "empty_next": "fork, no memory, again at once"}
for name, what in (("held", "caller held"), ("steady", "without end")):
    path = os.path.join(sys.argv[1], "fork-%s.csv" % name)
    for row in csv.DictReader(list(open(path))[1:]):
        print("%-11s %5s MiB, %-30s median %8.0f us   99th percentile %8.0f us"
              % (what, row["mib"], names[row["variant"]], float(row["held_median_us"]), float(row["held_p99_us"])))
SHOW
