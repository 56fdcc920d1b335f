/* SPDX-License-Identifier: MIT
 *
 * sqlite insert: inserts rows of about 100 bytes, with an index, into a database in memory; turns of N thousand rows.
 * sqlite tests MIB: a database in memory of MIB; turns of N tests, each in its own child, which changes the database
 * and checks the results.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "database.h"
#include "turns.h"

static long ask(sqlite3 *database, sqlite3_stmt *statement, long first, long second)
{
	long answer;

	sqlite3_bind_int64(statement, 1, first);
	sqlite3_bind_int64(statement, 2, second);
	step(database, statement, SQLITE_ROW);
	answer = (long)sqlite3_column_int64(statement, 0);
	sqlite3_reset(statement);
	return answer;
}

static void change(sqlite3 *database, sqlite3_stmt *statement, long id)
{
	sqlite3_bind_int64(statement, 1, id);
	step(database, statement, SQLITE_DONE);
	sqlite3_reset(statement);
}

/* The child's work on one class of rows, whose ids are 1000 apart: renames the last ten, deletes the first ten, inserts
 * one. Returns whether each answer was right. */
static bool test(sqlite3 *database, long rows, uint64_t random)
{
	sqlite3_stmt *sum = prepare(
		database,
		"SELECT sum(id) FROM (SELECT id FROM item WHERE class = ?1 AND id >= ?2 ORDER BY id LIMIT 10)");
	sqlite3_stmt *named = prepare(database,
				      "SELECT count(*) FROM item WHERE class = ?1 AND id >= ?2 AND name = 'changed'");
	sqlite3_stmt *rename = prepare(database, "UPDATE item SET name = 'changed' WHERE id = ?1");
	sqlite3_stmt *delete = prepare(database, "DELETE FROM item WHERE id = ?1");
	sqlite3_stmt *insert = prepare(database, INSERT_ROW);
	long class = (long)(random_number(&random) % 1000), last = class + (rows / 1000 - 10) * 1000;

	if (ask(database, sum, class, 0) != class * 10 + 45 * 1000 || ask(database, named, class, last) != 0)
		return false;
	sql(database, "BEGIN");
	for (long i = 0; i < 10; i++) {
		change(database, rename, last + i * 1000);
		change(database, delete, class + i * 1000);
	}
	sql(database, "COMMIT");
	if (ask(database, named, class, last) != 10 || ask(database, sum, class, 0) != class * 10 + 145 * 1000)
		return false;
	sqlite3_bind_int64(insert, 1, rows + class);
	sqlite3_bind_int64(insert, 2, class);
	sqlite3_bind_text(insert, 3, "changed", -1, SQLITE_STATIC);
	sqlite3_bind_zeroblob(insert, 4, 3600);
	step(database, insert, SQLITE_DONE);
	return ask(database, named, class, last) == 11;
}

static void run_tests(long mib)
{
	sqlite3 *database = open_database();
	long rows = fill_database(database, mib);
	unsigned long tests;
	uint64_t random = 1;

	if (rows < 20000) {
		fprintf(stderr, "sqlite: a database for the tests has at least 128 MiB\n");
		exit(2);
	}
	while (next_turn(&tests)) {
		double *held = calloc(tests, sizeof *held), start = now_us();
		if (held == NULL)
			exit(1);
		for (unsigned long i = 0; i < tests; i++) {
			uint64_t seed = random_number(&random) | 1;
			double before = now_us();
			int status;
			pid_t pid = fork();
			if (pid == 0)
				_exit(test(database, rows, seed) ? 0 : 1);
			held[i] = now_us() - before;
			if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
				fprintf(stderr, "sqlite: test %lu failed, status %x\n", i, pid < 0 ? -1 : status);
				exit(1);
			}
		}
		start = (double)tests / (now_us() - start) * 1e6;
		printf("rate %.2f held_median_us %.1f held_p99_us %.1f\n", start, quantile(held, tests, 0.5),
		       quantile(held, tests, 0.99));
		free(held);
	}
}

static void run_inserts(void)
{
	sqlite3 *database = open_database();
	sqlite3_stmt *insert = prepare(database, INSERT_ROW);
	unsigned long thousands;
	long rows = 0;

	while (next_turn(&thousands)) {
		double start = now_us();
		for (unsigned long i = 0; i < thousands; i++, rows += 1000)
			insert_rows(database, insert, rows, 1000, 64);
		printf("rate %.0f\n", (double)thousands * 1e9 / (now_us() - start));
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "insert") == 0)
		run_inserts();
	else if (argc == 3 && strcmp(argv[1], "tests") == 0)
		run_tests(strtol(argv[2], NULL, 10));
	else
		return fprintf(stderr, "usage: sqlite insert | sqlite tests MIB\n"), 2;
	return 0;
}
