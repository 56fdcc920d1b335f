#!/bin/sh
# SPDX-License-Identifier: MIT
# redis-server: its snapshots and log rewrites fork, and the parent goes on changing its memory.
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
needs redis-server redis-cli
[ -x "$PYTHON" ] || skip "$PYTHON is not installed"

server=
# shellcheck disable=SC2317 # called by name
end_server()
{
	[ -n "$server" ] || return
	kill -9 "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	server=
}
at_end=end_server

major=$(redis-server --version | sed -n 's/.* v=\([0-9]*\)\..*/\1/p')
# The socket is named relative to the directory: the name of a socket has room for a hundred characters only.
cat >redis.conf <<'END'
port 0
unixsocket redis.sock
dir .
save ""
appendonly no
daemonize no
END
[ "${major:-0}" -lt 7 ] || echo 'enable-debug-command local' >>redis.conf

ask()
{
	redis-cli -s redis.sock "$@" || fail "redis-cli $* failed"
}

# start_server COMMAND... (what comes before redis-server)
start_server()
{
	rm -f redis.sock
	"$@" redis-server ./redis.conf ${appendonly:+--appendonly yes} >>server.log 2>&1 </dev/null &
	server=$!
	tries=2000
	until [ "$(redis-cli -s redis.sock ping 2>/dev/null)" = PONG ]; do
		tries=$((tries - 1))
		if [ $tries -eq 0 ] || ! kill -0 "$server" 2>/dev/null; then
			cat server.log >&2
			fail "redis-server does not answer"
		fi
		sleep 0.05
	done
}

stop_server()
{
	redis-cli -s redis.sock shutdown nosave >/dev/null 2>&1
	wait "$server"
	status=$?
	server=
	[ $status -eq 0 ] || fail "redis-server ended with status $status"
}

information()
{
	ask info "$1" | tr -d '\r' | sed -n "s/^$2://p"
}

# wait_for SECTION FIELD VALUE
wait_for()
{
	tries=6000
	until [ "$(information "$1" "$2")" = "$3" ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "$2 is $(information "$1" "$2"), not $3"
		sleep 0.05
	done
}

fill()
{
	{
		echo 'DEBUG POPULATE 3000 key 200'
		seq 1 2000 | sed 's/.*/HSET hash:& a & b "two words" c &&/'
		seq 1 500 | sed 's/.*/RPUSH list & & &/; p; s/RPUSH list/ZADD sorted/; s/ & &$//
			s/ZADD sorted \([0-9]*\).*/ZADD sorted \1 member\1/'
		seq 1 300 | sed 's/.*/SADD set:& a b c &/'
		echo 'EXPIRE key:1 100000'
	} | redis-cli -s redis.sock >fill.log 2>&1 || fail "cannot fill the server"
	! grep -q -i '^(\{0,1\}ERR' fill.log || fail "filling: $(grep -m 1 ERR fill.log)"
}

# one_record FILE COUNT: line COUNT is the last one and that of a fork.
one_record()
{
	"$PYTHON" -c '
import json, sys
lines = open(sys.argv[1]).read().splitlines()
count, server = int(sys.argv[2]), int(sys.argv[3])
assert len(lines) == count, f"{len(lines)} records, not {count}: {lines}"
record = json.loads(lines[-1])
assert record["call"] == "fork", record
assert record["pid"] == server and record["child"] > 0 and record["child"] != server, record
assert record["strategy"] in ("fork", "kernel", "region"), record
assert isinstance(record["reason"], str) and record["reason"], record
assert record["held_us"] > 0, record
assert record["step"] == "none" and record["error"] == 0, record
assert "file" not in record, record
' "$1" "$2" "$server" || fail "records of redis-server in $1"
}

start_server env
fill
right=$(ask debug digest)
keys=$(ask dbsize)
[ "$keys" -gt 5000 ] || fail "only $keys keys"
stop_server

start_server "$odfork" run --stats records --
# Where redis looks for a bug of the kernel by forking, at its start.
before=0
case $(uname -m) in
aarch64 | arm64) [ ! -s records ] || before=$(wc -l <records) ;;
esac
[ "$before" -gt 0 ] || [ ! -s records ] || fail "records before the first fork: $(cat records)"
fill
[ "$(ask debug digest)" = "$right" ] || fail "the same commands gave other data"

# Saving takes a while, and meanwhile the data change: the snapshot must be of the moment of the fork.
ask config set rdb-key-save-delay 300 >/dev/null
[ "$(ask bgsave)" = "Background saving started" ] || fail "BGSAVE was refused"
[ "$(information persistence rdb_bgsave_in_progress)" = 1 ] ||
	fail "the snapshot took no time, so nothing could change meanwhile"
seq 1 2000 | sed 's/.*/HSET hash:& a changed/; p; s/HSET/DEL/; s/:.*/:1&/' |
	redis-cli -s redis.sock --pipe >/dev/null
ask append key:2 changed >/dev/null
[ "$(information persistence rdb_bgsave_in_progress)" = 1 ] || fail "the snapshot was over before the changes were"
ask config set rdb-key-save-delay 0 >/dev/null
wait_for persistence rdb_bgsave_in_progress 0
[ "$(information persistence rdb_last_bgsave_status)" = ok ] || fail "BGSAVE failed"
one_record records $((before + 1))
changed=$(ask debug digest)
[ "$changed" != "$right" ] || fail "nothing was changed"
[ "$(information stats latest_fork_usec)" -gt 0 ] || fail "redis-server measured no fork"
stop_server

for command in env "$odfork run --stats reload --"; do
	# shellcheck disable=SC2086
	start_server $command
	[ "$(ask debug digest)" = "$right" ] ||
		fail "the snapshot is not of the moment of the fork (reloaded by: $command redis-server)"
	[ "$(ask dbsize)" = "$keys" ] || fail "keys are missing (reloaded by: $command redis-server)"
	[ "$command" = env ] || break
	stop_server
done

# The log: switching it on rewrites it, and so does the command.
rm -f reload
ask config set appendonly yes >/dev/null
wait_for persistence aof_rewrite_in_progress 0
wait_for persistence aof_rewrite_scheduled 0
one_record reload 1
ask set another value >/dev/null
ask bgrewriteaof >/dev/null
ask set written-meanwhile value >/dev/null
wait_for persistence aof_rewrite_in_progress 0
[ "$(information persistence aof_last_bgrewrite_status)" = ok ] || fail "BGREWRITEAOF failed"
one_record reload 2
right=$(ask debug digest)
stop_server
rm -f dump.rdb
appendonly=yes
start_server "$odfork" run --
[ "$(ask debug digest)" = "$right" ] || fail "the rewritten log gives other data"
stop_server

! grep -q -i -E 'BUG REPORT|crashed|odfork' server.log ||
	fail "in the log of the server: $(grep -i -E 'BUG REPORT|crashed|odfork' server.log)"
passed "$(redis-server --version | cut -d' ' -f 1-3), $keys keys"
