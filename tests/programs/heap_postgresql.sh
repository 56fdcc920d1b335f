#!/bin/sh
# SPDX-License-Identifier: MIT
# PostgreSQL: initdb, a server whose backends use much memory for sorts, hashes and index builds (work_mem), parallel
# workers, pgbench, a backend that is killed, dump. All answers, and the dump, must be the same as from a server without
# the library. The postmaster forks each backend, and the backends wake the heap by growing.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
# shellcheck disable=SC2086 # $as_user and $as_run are words
for directory in /usr/lib/postgresql/*/bin; do
	[ ! -x "$directory/postgres" ] || PATH=$directory:$PATH
done
needs postgres initdb psql pg_dump pgbench setpriv
# PostgreSQL refuses to run as root.
user=
if [ "$(id -u)" = 0 ]; then
	user=postgres
	id $user >/dev/null 2>&1 || skip "no user $user"
fi
plan 3
chmod 755 "$temporary"

server=
# shellcheck disable=SC2317 # called by name
end_server()
{
	[ -n "$server" ] || return
	kill -QUIT "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	server=
}
at_end=end_server

# What runs a program as the user, and under the library as well: words, of which each executes the next.
as_user=env
[ -z "$user" ] || as_user="setpriv --reuid=$user --regid=$user --clear-groups"
if [ "$control" = 1 ]; then
	as_run="env LD_PRELOAD=$seen HEAP_SEEN=$witnesses $as_user"
else
	as_run="env LD_PRELOAD=$seen HEAP_SEEN=$witnesses $odfork run ${user:+--user $user} --stats $temporary/stats --"
fi

# start WAY DIRECTORY: WAY is $as_user or $as_run
start()
{
	# Its socket is there too.
	cd "$2" || exit 1
	$1 postgres -D . -k . -c listen_addresses= -c fsync=off -c shared_buffers=64MB -c work_mem=96MB -c \
		maintenance_work_mem=96MB -c hash_mem_multiplier=2 \
		-c max_parallel_workers_per_gather=2 -c min_parallel_table_scan_size=0 -c parallel_setup_cost=0 -c \
		jit=off -c timezone=UTC \
		-c restart_after_crash=on >>log 2>&1 </dev/null &
	server=$!
	tries=3000
	until $as_user psql -h "$PWD" -U postgres -d postgres -qAtc 'select 1' >/dev/null 2>&1; do
		tries=$((tries - 1))
		{ [ $tries -gt 0 ] && kill -0 $server 2>/dev/null; } ||
			fail "the server does not answer: $(tail -n 20 log)"
		sleep 0.1
	done
	cd ..
}

stop()
{
	kill -INT $server
	wait $server
	status=$?
	server=
	[ $status -eq 0 ] || fail "the server ended with status $status: $(tail -n 20 "$1/log")"
}

ask() {
	directory=$1
	shift
	(cd "$directory" && $as_user psql -h "$PWD" -U postgres -d postgres -X -qAt -v ON_ERROR_STOP=1 "$@")
}

rows=$((200000 * scale))
cat >work.sql <<END
create table item as select i as id, i % 97 as kind, md5(i::text) as name, repeat(md5((i * 7)::text), 1 + i % 5) as data
  from generate_series(1, $rows) i;
create index item_name on item (name);
create index item_data on item (kind, data);
alter table item add primary key (id);
analyze item;
select count(*), sum(length(data)), min(name), max(name) from item;
select md5(string_agg(name, ',' order by data, name)) from item;
select kind, count(*), md5(string_agg(id::text, ' ' order by name)) from item group by kind order by kind;
select count(*), sum(a.id) from item a join item b on a.name = md5(b.id::text) where b.kind < 50;
select md5(array_agg(id order by data desc, id)::text) from item;
select sum(r), count(distinct q) from
  (select rank() over (partition by kind order by data, id) r, ntile(1000) over (order by name) q from item) w;
select count(*) from (select distinct data || name from item) d;
create temp table t as select * from item where kind % 2 = 0; select count(*) from t; drop table t;
begin; delete from item where kind = 5; select count(*) from item; savepoint s;
update item set data = data || 'x' where kind = 6; rollback to s; select sum(length(data)) from item; rollback;
do \$\$ declare a text[] := '{}'; begin for i in 1..100000 loop a[i] := md5(i::text); end loop;
  raise notice '%', md5(array_to_string(a, '')); end \$\$;
copy (select id, data from item order by id) to program 'cksum >copied';
select pg_read_file('copied');
select count(*), sum(length(x)) from (select jsonb_object_agg(id, data)::text x from item group by kind) j;
END

# work WAY DIRECTORY OUTPUT [ENVIRONMENT...]
work()
{
	start "$1" "$2"
	ask "$2" -f ../work.sql >"$3" 2>&1 || fail "work.sql: $(tail -n 5 "$3")"
	clients=
	for round in 1 2 3; do
		ask "$2" -c "select $round, md5(string_agg(name, ',' order by data, name)) from item
			where id % 3 <> $round" >"$3.$round" &
		clients="$clients $!"
	done
	for client in $clients; do wait "$client" || fail "a client failed"; done
	cat "$3.1" "$3.2" "$3.3" >>"$3"
	(cd "$2" && $as_user pgbench -h "$PWD" -U postgres -i -q -s 1 postgres &&
		$as_user pgbench -h "$PWD" -U postgres -n --random-seed=7 -c 1 -t 300 postgres) >pgbench.log 2>&1 ||
		fail "pgbench: $(tail -n 5 pgbench.log)"
	(cd "$2" && $as_user pg_dump -h "$PWD" -U postgres --exclude-table-data=pgbench_history postgres) |
		sed '/^-- Dumped/d; /^.\(un\)\{0,1\}restrict /d' >"$3.dump" || fail "pg_dump"
	[ "$(wc -l <"$3.dump")" -gt $rows ] || fail "the dump is short"
	stop "$2"
}

make_directory() { rm -rf "$1" && mkdir "$1" && { [ -z "$user" ] || chown $user "$1"; }; }
make_directory without
make_directory with
$as_user initdb -D without -U postgres -A trust --no-sync --no-locale -E UTF8 >initdb.log 2>&1 ||
	fail "initdb: $(cat initdb.log)"
plainly() { work "$as_user" without right; }
check "without the library" plainly

: >seen
chmod 666 seen
: >stats
chmod 666 stats
preloaded()
{
	ODFORK_HEAP=on $as_run initdb -D with -U postgres -A trust --no-sync --no-locale -E UTF8 >initdb.log 2>&1 ||
		fail "initdb: $(cat initdb.log)"
	ends_seen 'initdb|postgres' 0.1 2
	: >seen
	work "$as_run" with found
	same_as right found
	same_as right.dump found.dump
	[ "$control" = 1 ] || [ "$(grep -c '"call":"fork"' stats)" -ge 10 ] || fail "few forks: $(cat stats)"
}
check "sorts, hashes, index builds, parallel workers, a dump" preloaded

from_the_start()
{
	: >seen
	: >stats
	export ODFORK_HEAP=on
	start "$as_run" with
	unset ODFORK_HEAP
	(cd with && $as_user pgbench -h "$PWD" -U postgres -n -c 4 -j 2 -T $((2 * scale)) postgres) >pgbench.log 2>&1 ||
		fail "pgbench: $(tail -n 5 pgbench.log)"
	sums="select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history),
		(select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches),
		(select count(*) > 300 from pgbench_history)"
	[ "$(ask with -c "$sums")" = 't|t|t' ] || fail "the balances do not agree: $(ask with -c "$sums")"
	# A backend that is killed: the server ends all and starts again.
	ask with -c "create table kept as select * from item where kind = 3" -c checkpoint
	$as_user psql -h "$PWD/with" -U postgres -d postgres -qAtc 'select pg_sleep(100)' >/dev/null 2>&1 &
	sleeper=$!
	tries=1000
	until victim=$(ask with -c "select pid from pg_stat_activity where query like 'select pg_sleep%'") &&
		[ -n "$victim" ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "no backend to kill"
		sleep 0.1
	done
	starts=$(grep -c 'ready to accept connections' with/log)
	kill -9 "$victim"
	wait $sleeper && fail "the client of a killed backend noticed nothing"
	tries=3000
	# It answers for a moment before it has noticed.
	until [ "$(grep -c 'ready to accept connections' with/log)" -gt "$starts" ] &&
		kept=$(ask with -c 'select md5(string_agg(data, name order by id)) from kept' 2>/dev/null); do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "the server does not come back: $(tail -n 20 with/log)"
		sleep 0.1
	done
	[ "$kept" = "$(ask with -c "select md5(string_agg(data, name order by id)) from item where kind = 3")" ] ||
		fail "data are lost"
	[ "$(ask with -c "$sums")" = 't|t|t' ] || fail "the balances do not agree after the restart"
	stop with
	[ "$control" = 1 ] || "$PYTHON" "$here/heap_records.py" forks stats --least 8 --mib 0 ||
		fail "no forks with regions"
	ends_seen postgres 0.1 8
}
check "pgbench, a backend killed, awake from the start" from_the_start
finish
