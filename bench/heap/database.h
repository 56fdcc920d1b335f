/* SPDX-License-Identifier: MIT
 * An SQLite database of a given size in memory, for the programs of bench/heap.sh. */
#ifndef ODF_BENCH_DATABASE_H
#define ODF_BENCH_DATABASE_H

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

static inline void sql(sqlite3 *database, const char *text)
{
	if (sqlite3_exec(database, text, NULL, NULL, NULL) != SQLITE_OK) {
		fprintf(stderr, "sqlite: %s: %s\n", text, sqlite3_errmsg(database));
		exit(1);
	}
}

static inline sqlite3_stmt *prepare(sqlite3 *database, const char *text)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v2(database, text, -1, &statement, NULL) != SQLITE_OK) {
		fprintf(stderr, "sqlite: %s: %s\n", text, sqlite3_errmsg(database));
		exit(1);
	}
	return statement;
}

static inline void step(sqlite3 *database, sqlite3_stmt *statement, int expected)
{
	if (sqlite3_step(statement) != expected) {
		fprintf(stderr, "sqlite: %s: %s\n", sqlite3_sql(statement), sqlite3_errmsg(database));
		exit(1);
	}
}

static inline sqlite3 *open_database(void)
{
	sqlite3 *database;

	if (sqlite3_open(":memory:", &database) != SQLITE_OK) {
		fprintf(stderr, "sqlite: no database in memory\n");
		exit(1);
	}
	sql(database, "CREATE TABLE item(id INTEGER PRIMARY KEY, class INTEGER, name TEXT, data BLOB)");
	sql(database, "CREATE INDEX item_class ON item(class)");
	return database;
}

/* Row N has the class N % 1000, the name "item N" and `data` bytes of zeros. */
static inline void insert_rows(sqlite3 *database, sqlite3_stmt *insert, long first, long count, int data)
{
	sql(database, "BEGIN");
	for (long id = first; id < first + count; id++) {
		char name[32];
		sqlite3_bind_int64(insert, 1, id);
		sqlite3_bind_int64(insert, 2, id % 1000);
		sqlite3_bind_text(insert, 3, name, snprintf(name, sizeof name, "item %ld", id), SQLITE_TRANSIENT);
		sqlite3_bind_zeroblob(insert, 4, data);
		step(database, insert, SQLITE_DONE);
		sqlite3_reset(insert);
	}
	sql(database, "COMMIT");
}

#define INSERT_ROW "INSERT INTO item VALUES(?1, ?2, ?3, ?4)"

/* Fills the database until it takes `mib` MiB, in pages of 4 KiB. Returns the number of rows, whose ids start at 0. */
static inline long fill_database(sqlite3 *database, long mib)
{
	sqlite3_stmt *insert = prepare(database, INSERT_ROW), *pages = prepare(database, "PRAGMA page_count");
	long rows = 0;

	for (;; rows += 1000) {
		step(database, pages, SQLITE_ROW);
		if (sqlite3_column_int64(pages, 0) >= mib * 256)
			break;
		sqlite3_reset(pages);
		insert_rows(database, insert, rows, 1000, 3600);
	}
	sqlite3_finalize(pages);
	sqlite3_finalize(insert);
	return rows;
}
#endif
