#!/bin/bash
# SPDX-License-Identifier: MIT
# The README's steps from a slow fork to a fast one, with a Redis of 200 MiB: the test runs the README's commands with
# its own server's pid, socket and paths, otherwise unchanged.
set -eu
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
must_work=${ODF_MUST_WORK:-0}
work=$(mktemp -d)
server=
clean_up() {
	[ -z "$server" ] || kill "$server" 2> /dev/null || :
	wait
	rm -rf "$work"
}
trap clean_up EXIT
fail() { echo "$*"; exit 1; }
leave_out() { [ "$must_work" = 0 ] || fail "$*"; echo "$*"; exit 77; }
command -v redis-server > /dev/null || leave_out "no redis-server"
[ "$(id -u)" = 0 ] && id redis > /dev/null 2>&1 || leave_out "needs root, and a user redis"
chmod 755 "$work"
mkdir -m 777 "$work/data" "$work/bin"
cp "$build/odfork" "$work/bin/"
cp -L "$build/libodfork.so.0" "$work/bin/"
PATH=$work/bin:$PATH
unset ODFORK_HEAP ODFORK_LOG ODFORK_STATS LD_PRELOAD
cat > "$work/redis.conf" <<END
port 0
unixsocket $work/data/socket
unixsocketperm 777
dir $work/data
save ""
enable-debug-command yes
loglevel warning
END

# From the README: one line for each step.
step() { # FIRST-WORDS
	sed -n '/^## From a slow fork/,/^## Use/s/^    //p' "$source/README.md" | grep -E "^$1" |
		sed "s|\$(pidof redis-server)|$server|; s|/etc/redis/redis.conf|$work/redis.conf|
			s|/tmp/forks.json|$work/data/forks.json|
			s|^redis-cli |redis-cli -s $work/data/socket |"
}
ask() { redis-cli -s "$work/data/socket" "$@"; }
fill() {
	for _ in {1..1000}; do
		[ "$(ask ping 2> /dev/null)" != PONG ] || break
		sleep 0.1
	done
	[ "$(ask debug populate 50000 key 4096)" = OK ] || fail "cannot fill the server"
}
saved() {
	eval "$(step 'redis-cli bgsave')" > "$work/out"
	for _ in {1..3000}; do
		! ask info persistence | grep -q 'rdb_bgsave_in_progress:0' || break
		sleep 0.1
	done
	ask info persistence | grep -q 'rdb_last_bgsave_status:ok' || fail "the save failed"
}

setpriv --reuid=redis --regid=redis --clear-groups redis-server "$work/redis.conf" > "$work/server.log" 2>&1 &
server=$!
fill
saved
inspect=$(step 'odfork inspect')
[ -n "$inspect" ] || fail "no inspect in the README"
eval "$inspect" > "$work/inspected"
grep -qE '^memory       2[0-9]{2}\.[0-9] MiB in pages of 4 KiB' "$work/inspected" &&
	grep -q '^malloc       jemalloc (.*libjemalloc' "$work/inspected" ||
	fail "inspect: $(cat "$work/inspected")"
grep -q '^fork         would hold it for about ' "$work/inspected" &&
	grep -q '^against it   nothing' "$work/inspected" || fail "inspect: $(cat "$work/inspected")"
# What the last line says is what the README says.
run=$(step 'odfork run')
advised=$(sed -n 's|^Start it by: \(odfork run .*\) ARGUMENTS; and compare by: odfork stats /tmp/forks.json$|\1|p' \
	"$work/inspected")
[ -n "$advised" ] || fail "advice: $(tail -n 1 "$work/inspected")"
same=$(sed "s/--user=$(id -u redis)/--user=redis/" <<< "$advised")
[ "$same" = "$(step 'odfork run' | sed "s|$work/data|/tmp|; s| $work/redis.conf||; s| redis-server| redis-server|")" \
	] || fail "README: $run; advice: $advised"
kill "$server"
wait "$server" || :

# shellcheck disable=SC2086
$run > "$work/server.log" 2>&1 &
server=$!
fill
saved
saved
eval "$(step 'odfork stats')" > "$work/stats"
grep -qE '^fork +64 MiB to 256 MiB +2 .* region 2$|^fork +256 MiB to 1 GiB +2 .* region 2$' "$work/stats" ||
	fail "stats: $(cat "$work/stats")"
eval "$(step 'odfork inspect')" > "$work/inspected"
grep -q '^libodfork    .*; heap awake; 2 forks' "$work/inspected" ||
	fail "inspect of the new one: $(cat "$work/inspected")"
