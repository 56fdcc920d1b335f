#!/bin/sh
# SPDX-License-Identifier: MIT
# sqlite3, the shell of SQLite: commands run by .shell and .system, pipes to and from commands, and a database used by
# several processes. It starts commands with system() and popen(), which are inside libc: the records are those of the
# shells that they run.
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
needs sqlite3

cat >session.sql <<'END'
.bail off
create table numbers (n integer primary key, square integer, name text);
with recursive counter(n) as (select 1 union all select n + 1 from counter where n < 2000)
insert into numbers select n, n * n, 'name ' || n from counter;
select count(*), sum(square) from numbers;
.shell echo shell; (echo subshell; exit 3) | cat; exit 0
.system exit 5
.system ./no-such-program
.shell kill -9 $$
begin;
update numbers set name = 'inside' where n <= 10;
.shell (sqlite3 data.db "select count(*) from numbers where name = 'inside'"); echo other process $?
.shell (sqlite3 data.db "delete from numbers") ; echo must not write: $?
commit;
.shell (sqlite3 data.db "select count(*) from numbers where name = 'inside'"); echo after $?
.shell (sqlite3 data.db "insert into numbers values (0, 0, 'other process')"); true
select name from numbers where n = 0;
.once '|(sort -r | head -n 3)'
select n from numbers where n < 10;
.output '|(tr a-z A-Z; echo end of pipe)'
select name from numbers where n = 20;
.output
.mode csv
.import '|(echo 3000,1,imported; echo 3001,2,by pipe)' numbers
.mode list
select * from numbers where n >= 3000;
.shell (sqlite3 data.db .dump | sqlite3 copy.db); sqlite3 copy.db "select count(*), sum(square) from numbers"
pragma integrity_check;
.exit 4
END
compare_with_and_without -i session.sql -e 4 session sqlite3 data.db
must_have_records fork 8

cat >many.sh <<'END'
sqlite3 many.db 'pragma journal_mode = wal; create table t (writer, n)'
for writer in 1 2 3 4; do
	(
		i=0
		while [ $i -lt 15 ]; do
			sqlite3 -cmd '.timeout 120000' many.db "insert into t values ($writer, $i)" \
				'.shell (exit 0); true' || exit 1
			i=$((i + 1))
		done
	) &
done
wait
sqlite3 many.db 'select writer, count(*), sum(n) from t group by writer; pragma integrity_check'
END
compare_with_and_without -v recorded many sh ../many.sh
must_have_records fork 64
grep -q '^4|15|105$' many.plain.stdout || fail "many: wrong result: $(cat many.plain.stdout)"
grep -q '^imported\|3000|1|imported$' session.plain.stdout || fail "session: no import: $(cat session.plain.stdout)"

passed "sqlite3 $(sqlite3 --version | cut -d' ' -f1)"
