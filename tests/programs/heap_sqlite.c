/* SPDX-License-Identifier: MIT
 *
 * heap_sqlite MIB TESTS THREADS: a database in memory of MIB, and a test suite in which each test runs in its own
 * forked child, on the database as the parent built it. Real suites do so if they cannot afford to build it for each
 * test. The children print their results to standard output, which must be the same with and without the library.
 * Meanwhile the parent writes to the database and rolls back, and THREADS more threads write to their own memory. At
 * the end the parent's database must be unchanged.
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic int stopping;

static _Noreturn void die(const char *what, sqlite3 *database)
{
	fprintf(stderr, "heap_sqlite: %s: %s\n", what, database != NULL ? sqlite3_errmsg(database) : "failed");
	_exit(70);
}

static void run(sqlite3 *database, const char *format, ...)
{
	va_list arguments;
	char *sql;

	va_start(arguments, format);
	sql = sqlite3_vmprintf(format, arguments);
	va_end(arguments);
	if (sql == NULL || sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
		die(format, database);
	sqlite3_free(sql);
}

/* A query's answer as a number: its rows and columns, hashed. `text`, if not NULL, gets the first value. */
static uint64_t ask(sqlite3 *database, char *text, size_t size, const char *format, ...)
{
	uint64_t hash = UINT64_C(14695981039346656037);
	sqlite3_stmt *statement;
	va_list arguments;
	char *sql;
	int result, first = 1;

	va_start(arguments, format);
	sql = sqlite3_vmprintf(format, arguments);
	va_end(arguments);
	if (sql == NULL || sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK)
		die(format, database);
	while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
		for (int column = 0; column < sqlite3_column_count(statement); column++) {
			const unsigned char *bytes = sqlite3_column_blob(statement, column);
			int length = sqlite3_column_bytes(statement, column);

			for (int i = 0; i < length; i++)
				hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
			hash = (hash ^ (uint64_t)sqlite3_column_type(statement, column)) * UINT64_C(1099511628211);
			if (first && text != NULL)
				snprintf(text, size, "%s", (const char *)sqlite3_column_text(statement, column));
			first = 0;
		}
	}
	if (result != SQLITE_DONE)
		die(format, database);
	sqlite3_finalize(statement);
	sqlite3_free(sql);
	return hash;
}

/* The same on every run: random() is not used, but a sequence of its own. */
static void noise(sqlite3_context *context, int count, sqlite3_value **values)
{
	uint64_t state = (uint64_t)sqlite3_value_int64(values[0]) * UINT64_C(0x9e3779b97f4a7c15) + 1;
	int length = sqlite3_value_int(values[1]);
	unsigned char *bytes = sqlite3_malloc(length + 8);

	(void)count;
	if (bytes == NULL) {
		sqlite3_result_error_nomem(context);
		return;
	}
	for (int i = 0; i < length; i += 8) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(bytes + i, &state, sizeof state);
	}
	sqlite3_result_blob(context, bytes, length, sqlite3_free);
}

static sqlite3 *open_database(void)
{
	sqlite3 *database;

	if (sqlite3_open(":memory:", &database) != SQLITE_OK ||
	    sqlite3_create_function(database, "noise", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, noise, NULL,
				    NULL) != SQLITE_OK)
		die("cannot open", database);
	return database;
}

static void build(sqlite3 *database, long mib)
{
	long rows = mib * 1024 * 1024 / 620;

	run(database,
	    "pragma page_size = 4096; pragma cache_size = -4000; begin;"
	    "create table item (id integer primary key, kind integer, price integer, name text, data blob);"
	    "create table sale (id integer primary key, item integer references item(id), amount integer, note text);"
	    "create table log (text)");
	run(database,
	    "with recursive n(i) as (select 1 union all select i + 1 from n where i < %ld)"
	    "insert into item select i, i %% 97, i * 7919 %% 10007, 'item ' || hex(noise(i, 8)), noise(i, 200 + i %% "
	    "500) from n",
	    rows);
	run(database,
	    "insert into sale select id, id * 31 %% %ld + 1, id %% 13, 'sold ' || name from item where id %% 3 = 0",
	    rows);
	run(database, "create index item_kind on item (kind, price); create index sale_item on sale (item); create "
		      "index item_name on item (name); commit");
}

/* One test, on the database as it was at the fork. The answers of a test tell if another one's changes, or the
 * parent's, have been seen. */
static void test(sqlite3 *database, int number)
{
	char text[200] = "";
	uint64_t answer;

	switch (number % 12) {
	case 0:
		answer = ask(database, text, sizeof text, "select count(*), sum(price), sum(length(data)) from item");
		break;
	case 1:
		run(database, "update item set price = price + %d, data = noise(id + %d, 300) where kind = %d", number,
		    number, number % 97);
		answer = ask(database, text, sizeof text,
			     "select sum(price), count(distinct data) from item where kind between %d and %d",
			     number % 97 - 1, number % 97 + 1);
		break;
	case 2:
		answer = ask(database, text, sizeof text, "pragma quick_check");
		if (strcmp(text, "ok") != 0)
			die(text, NULL);
		break;
	case 3:
		run(database,
		    "begin; delete from sale where item %% 2 = %d; update item set name = 'gone' where id %% 10 = %d",
		    number % 2, number % 10);
		answer = ask(database, text, sizeof text, "select count(*) from sale");
		run(database, "rollback");
		answer ^= ask(database, NULL, 0, "select count(*), sum(id), min(note) from sale") * 3 +
			  ask(database, NULL, 0, "select count(*) from item where name = 'gone'");
		break;
	case 4:
		answer = ask(database, text, sizeof text,
			     "select i.kind, sum(s.amount) from sale s join item i on i.id = s.item group by i.kind "
			     "order by 2 desc, 1");
		break;
	case 5:
		run(database,
		    "begin; insert into item select id + 10000000, kind, price, name || ' again', data from item where "
		    "kind %% 10 = %d; commit",
		    number % 10);
		answer = ask(database, text, sizeof text, "select count(*), max(id), sum(length(name)) from item");
		break;
	case 6:
		run(database,
		    "create table copy as select * from item where kind < %d; create index copy_name on copy (name); "
		    "drop table copy",
		    number % 20 + 1);
		answer = ask(database, text, sizeof text, "select count(*) from sqlite_master");
		break;
	case 7:
		run(database,
		    "savepoint one; delete from item where kind = %d; savepoint two; delete from item where kind = %d; "
		    "rollback to two; release one",
		    number % 97, (number + 1) % 97);
		answer = ask(database, text, sizeof text, "select count(*), sum(kind) from item");
		break;
	case 8:
		answer = ask(database, text, sizeof text,
			     "select name, price from item where name between 'item %x' and 'item %x' order by name "
			     "limit 500",
			     number % 9 + 1, number % 9 + 2);
		break;
	case 9:
		run(database, "delete from item where id %% 4 = %d; vacuum", number % 4);
		answer = ask(database, text, sizeof text, "pragma integrity_check");
		if (strcmp(text, "ok") != 0)
			die(text, NULL);
		break;
	case 10:
		answer = ask(database, text, sizeof text, "select data from item order by data limit 200 offset %d",
			     number * 10);
		snprintf(text, sizeof text, "ordered");
		break;
	default:
		/* A test that itself forks one. */
		run(database, "insert into log values ('%d')", number);
		fflush(stdout);
		switch (fork()) {
		case -1:
			die("fork", NULL);
		case 0:
			run(database, "delete from log; update item set price = 0 where kind = 1");
			answer = ask(database, text, sizeof text, "select sum(price) from item");
			printf("test %d, its own child: %s %016llx\n", number, text, (unsigned long long)answer);
			_exit(fflush(stdout) == 0 ? 0 : 71);
		default: {
			int status;

			if (wait(&status) < 0 || status != 0)
				die("a test's own child failed", NULL);
		}
		}
		answer = ask(database, text, sizeof text,
			     "select (select count(*) from log) || ' ' || sum(price) from item");
	}
	if (number % 12 != 9 && ask(database, NULL, 0, "select text from log where text like 'parent%%'") !=
					ask(database, NULL, 0, "select 1 where 0"))
		die("a test sees what its parent wrote later", NULL);
	printf("test %d: %s %016llx\n", number, text, (unsigned long long)answer);
}

/* malloc all the time, also while others fork: what was written is what is read. Not SQLite, whose locks a fork leaves
 * as they are. */
static void *worker(void *argument)
{
	uint64_t state = (uint64_t)(uintptr_t)&state, *blocks[512] = { NULL };
	size_t words[512] = { 0 };

	for (unsigned long round = 1; !stopping; round++) {
		size_t i, wanted;

		if (round % 2000 == 0)
			usleep(2000); /* there may be fewer processors than threads */
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		i = state % 512;
		wanted = (state >> 20) % 64 == 0 ? 1 + (state >> 30) % 30000 : 2 + (state >> 30) % 100;
		for (size_t word = 0; word < words[i]; word++)
			if (blocks[i][word] != (uint64_t)(uintptr_t)blocks + i)
				die("a thread's memory is not what it wrote", NULL);
		if (state >> 63 != 0) {
			free(blocks[i]);
			blocks[i] = malloc(wanted * sizeof *blocks[i]);
		} else {
			blocks[i] = realloc(blocks[i], wanted * sizeof *blocks[i]);
			for (size_t word = 0; word < wanted && word < words[i]; word++)
				if (blocks[i] != NULL && blocks[i][word] != (uint64_t)(uintptr_t)blocks + i)
					die("realloc has lost a thread's memory", NULL);
		}
		if (blocks[i] == NULL)
			die("out of memory", NULL);
		words[i] = wanted;
		for (size_t word = 0; word < wanted; word++)
			blocks[i][word] = (uint64_t)(uintptr_t)blocks + i;
	}
	for (size_t i = 0; i < 512; i++)
		free(blocks[i]);
	return argument;
}

int main(int argc, char **argv)
{
	long mib = argc > 1 ? atol(argv[1]) : 128;
	int tests = argc > 2 ? atoi(argv[2]) : 60, threads = argc > 3 ? atoi(argv[3]) : 0;
	sqlite3 *database = open_database();
	pthread_t ids[16];
	uint64_t before;

	build(database, mib);
	before = ask(database, NULL, 0, "select * from item order by id") ^
		 ask(database, NULL, 0, "select * from sale order by id");
	if (sqlite3_memory_used() < mib << 20 || threads > 16)
		die("the database is not of that size", NULL);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, worker, NULL) != 0)
			die("no thread", NULL);
	for (int number = 0; number < tests; number++) {
		int status;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			test(database, number);
			_exit(fflush(stdout) == 0 ? 0 : 71);
		}
		if (pid < 0)
			die("fork", NULL);
		/* While the test runs: writes all over, which are undone. */
		run(database,
		    "begin; insert into log values ('parent %d'); update item set price = -1, name = 'parent' where id "
		    "%% 50 = %d; rollback",
		    number, number % 50);
		if (waitpid(pid, &status, 0) != pid || status != 0) {
			fprintf(stderr, "heap_sqlite: test %d ended with status %#x\n", number, status);
			return 1;
		}
	}
	stopping = 1;
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	if ((ask(database, NULL, 0, "select * from item order by id") ^
	     ask(database, NULL, 0, "select * from sale order by id")) != before)
		die("the parent's database has changed", NULL);
	printf("unchanged: %016llx\n", (unsigned long long)before);
	sqlite3_close(database);
	return 0;
}
