/* SPDX-License-Identifier: MIT
 *
 * A target for AFL++ with a large initialised state: a database in memory of HEAP_AFL_MIB, and a table of pointers to
 * its own records. The fork server starts when the state is complete, and each execution is a child of it. The
 * program's path depends on what it reads in the state and on what it has written there itself: a child that saw
 * another child's changes, or wrong bytes, would leave a different trace.
 */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct record {
	struct record *next;
	uint32_t number, length;
	unsigned char bytes[];
};

static sqlite3 *database;
static struct record **table;
static uint32_t count;

static uint32_t mixed(uint32_t n)
{
	n = (n ^ (n >> 16)) * 0x45d9f3bu;
	n = (n ^ (n >> 16)) * 0x45d9f3bu;
	return n ^ (n >> 16);
}

static void sql(const char *text)
{
	if (sqlite3_exec(database, text, NULL, NULL, NULL) != SQLITE_OK)
		_exit(70);
}

static int64_t number_of(const char *format, unsigned a, unsigned b)
{
	sqlite3_stmt *statement;
	char text[300];
	int64_t answer = -1;

	snprintf(text, sizeof text, format, a, b);
	if (sqlite3_prepare_v2(database, text, -1, &statement, NULL) != SQLITE_OK)
		_exit(71);
	if (sqlite3_step(statement) == SQLITE_ROW)
		answer = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return answer;
}

static void build(void)
{
	const char *size = getenv("HEAP_AFL_MIB");
	uint32_t mib = size != NULL ? (uint32_t)atoi(size) : 64;
	char text[500];

	count = mib << 12;
	table = calloc(count, sizeof *table);
	for (uint32_t n = 0; n < count; n++) {
		uint32_t length = 16 + mixed(n) % 80;
		struct record *record = malloc(sizeof *record + length);

		if (record == NULL)
			_exit(72);
		*record = (struct record){ n > 0 ? table[mixed(n) % n] : NULL, n, length };
		memset(record->bytes, (int)(mixed(n + 1) & 255), length);
		table[n] = record;
	}
	sqlite3_open(":memory:", &database);
	sql("pragma page_size = 4096; begin; create table t (id integer primary key, kind integer, data blob)");
	snprintf(text, sizeof text, "with recursive n(i) as (select 1 union all select i + 1 from n where i < %u)"
		 "insert into t select i, i * 7919 %% 251, zeroblob(200 + i %% 1500) from n", (mib << 20) / 2 / 1000);
	sql(text);
	sql("create index kind on t (kind); commit");
}

/* A step of the trace for each bit of a number. */
static unsigned trace(int64_t number)
{
	unsigned ways = 0;

	if (number & 1)
		ways += 1;
	if (number & 2)
		ways ^= 3;
	if (number & 4)
		ways += 5;
	if (number & 8)
		ways ^= 9;
	if (number & 16)
		ways += 17;
	if (number > 1000)
		ways ^= 33;
	if (number > 100000)
		ways += 65;
	return ways;
}

int main(void)
{
	unsigned char input[64], *own[8] = { NULL };
	size_t own_length[8];
	unsigned changed = 0, ways = 0;
	ssize_t length;

	build();
#ifdef __AFL_HAVE_MANUAL_CONTROL
	__AFL_INIT();
#endif
	length = read(0, input, sizeof input);
	for (ssize_t i = 0; i + 2 < length; i += 3) {
		unsigned what = input[i], a = input[i + 1], b = input[i + 2];
		struct record *record = table[(a << 8 | b) % count];

		switch (what % 8) {
		case 0:
			for (int steps = 0; record != NULL && steps < 20; record = record->next, steps++)
				ways += trace(record->bytes[a % record->length]);
			break;
		case 1:
			memset(record->bytes, (int)b, record->length);
			changed++;
			break;
		case 2:
			if (record->length > 50 && record->bytes[record->length - 1] == a)
				ways += trace(record->number);
			break;
		case 3:
			ways += trace(
				number_of("select sum(id) from t where kind = %u and id %% 16 = %u", a % 251, b % 16));
			break;
		case 4:
			snprintf((char *)input + 40, 24, "%u", a);
			number_of(
				"update t set kind = kind + 1, data = zeroblob(300) where kind = %u and id %% 64 = %u",
				a % 251, b % 64);
			changed++;
			break;
		case 5:
			ways += trace(number_of("select length(data) from t where id = %u * 256 + %u", a, b));
			break;
		case 6:
			/* Memory of this execution's own, and the next time given back, with what was written. */
			if (own[a % 8] != NULL && own[a % 8][own_length[a % 8] - 1] != (unsigned char)(a % 8))
				ways += trace(25);
			free(own[a % 8]);
			own_length[a % 8] = 1 + (size_t)b * 300;
			own[a % 8] = malloc(own_length[a % 8]);
			memset(own[a % 8], (int)(a % 8), own_length[a % 8]);
			break;
		default:
			if (a == 'o' && b == 'k')
				ways += trace(number_of("delete from t where kind = %u and id %% 256 < %u",
							changed & 255, 20));
		}
		/* What was changed before this execution was not by it. */
		if (changed == 0 && number_of("select count(*) from t where kind > %u and id > %u", 250, 0) != 0)
			ways += trace(7);
	}
	printf("%u %u\n", ways, changed);
	return 0;
}
