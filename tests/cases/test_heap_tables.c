/* SPDX-License-Identifier: MIT
 *
 * The heap's lock-free tables. At each single instruction of one operation, other operations run to completion, as they
 * may in another thread or in a signal handler: the processor traps after every instruction (x86-64), and in the n-th
 * run the others happen at the n-th trap. And concurrent threads, on every architecture.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/heap/internal.h"
#include "../../src/heap/ranges.h"

#define MIB ((size_t)1 << 20)
#define TIB ((size_t)1 << 40)
/* Nothing is mapped there: the table does not need it. */
#define BASE ((char *)(21 * TIB))

static struct ranges table;

static bool note(const char *from, size_t length)
{
	return ranges_add(&table, (uintptr_t)from, length);
}

static bool forget(const char *from, size_t length)
{
	return ranges_forget(&table, (uintptr_t)from, length, false);
}

static bool is_there(const char *at)
{
	return ranges_have(&table, (uintptr_t)at);
}

/* ---- One instruction after another ---- */

static struct {
	void (*others)(void);
	unsigned at, count;
} stepped;

static void on_trap(int signal)
{
	(void)signal;
	if (++stepped.count == stepped.at)
		stepped.others();
}

#if defined __x86_64__ && !defined __ILP32__
/* The processor's trap flag. A handler is entered with it clear, and it comes back with the registers. */
#define TRAPS(instruction) \
	__asm__ volatile("subq $128, %%rsp\n\tpushfq\n\t" instruction " $0x100, (%%rsp)\n\tpopfq\n\taddq $128, %%rsp" \
			 : : : "cc", "memory")
#define TRAPS_BEGIN TRAPS("orq")
#define TRAPS_END   TRAPS("xorq")
#else
#define TRAPS_BEGIN skip()
#define TRAPS_END   (void)0
#endif

/* True while the operation has that many instructions. */
static bool step(unsigned at, void (*operation)(void), void (*others)(void))
{
	stepped.others = others;
	stepped.count = 0;
	stepped.at = at;
	TRAPS_BEGIN;
	operation();
	TRAPS_END;
	return stepped.count >= at;
}

static int catch_traps(void **state)
{
	(void)state;
	return signal(SIGTRAP, on_trap) == SIG_ERR;
}

static int ignore_traps(void **state)
{
	(void)state;
	return signal(SIGTRAP, SIG_DFL) == SIG_ERR;
}

/* ---- Ranges ---- */

#define LOW  (BASE + 16 * MIB)
#define MID  (BASE + 32 * MIB)
#define HIGH (BASE + 48 * MIB)

static bool succeeded;

static bool has(const char *from, size_t length)
{
	return is_there(from) && is_there(from + length / 2) && is_there(from + length - 1);
}

static void forget_mid(void)
{
	succeeded = forget(MID, MIB);
}

static void low_becomes_high(void)
{
	(void)forget(LOW, MIB);
	(void)note(HIGH, MIB);
}

static void high_becomes_low(void)
{
	(void)forget(HIGH, MIB);
	(void)note(LOW, MIB);
}

/* While one range is forgotten, another one takes its place. */
static void forget_while_others_change(void **state)
{
	unsigned at = 0;
	bool more;

	(void)state;
	for (int way = 0; way < 2; way++) {
		char *before = way == 0 ? LOW : HIGH, *after = way == 0 ? HIGH : LOW;
		do {
			assert_true(note(before, MIB));
			assert_true(note(MID, MIB));
			more = step(++at, forget_mid, way == 0 ? low_becomes_high : high_becomes_low);
			assert_true(succeeded);
			assert_false(is_there(MID) || is_there(MID + MIB - 1));
			assert_true(has(more ? after : before, MIB));
			assert_false(is_there(more ? before : after));
			assert_true(forget(LOW, MIB) && forget(HIGH, MIB));
		} while (more);
		assert_true(at > 20);
		at = 0;
	}
}

/* Out of the middle. */
static void split_mid(void)
{
	succeeded = forget(MID + MIB / 4, MIB / 2);
}

static void end_becomes_free(void)
{
	(void)forget(MID + MIB * 7 / 8, MIB / 8);
	(void)note(HIGH, MIB);
}

static void split_while_others_change(void **state)
{
	unsigned at = 0;
	bool more;

	(void)state;
	do {
		assert_true(note(LOW, MIB));
		assert_true(note(MID, MIB));
		more = step(++at, split_mid, end_becomes_free);
		assert_true(succeeded);
		assert_true(has(LOW, MIB));
		assert_true(has(MID, MIB / 4));
		assert_false(is_there(MID + MIB / 4) || is_there(MID + MIB / 2));
		assert_false(is_there(MID + MIB * 3 / 4 - 1));
		assert_true(has(MID + MIB * 3 / 4, MIB / 8));
		assert_int_equal(is_there(MID + MIB - 1), !more);
		assert_int_equal(has(HIGH, MIB), more);
		assert_true(forget(BASE, 64 * MIB));
		assert_false(is_there(MID) || is_there(MID + MIB * 3 / 4) || is_there(HIGH));
	} while (more);
	assert_true(at > 20);
}

static void note_high(void)
{
	succeeded = note(HIGH, MIB);
}

static void note_low(void)
{
	(void)note(LOW, MIB);
}

static void note_while_others_do(void **state)
{
	unsigned at = 0;
	bool more;

	(void)state;
	do {
		more = step(++at, note_high, note_low);
		assert_true(succeeded && has(HIGH, MIB));
		assert_int_equal(has(LOW, MIB), more);
		assert_true(forget(BASE, 64 * MIB));
	} while (more);
}

static void whole_ranges(void **state)
{
	char *large = (char *)(30 * TIB);

	(void)state;
	assert_false(is_there(large));
	/* Longer than one word can express. */
	assert_true(note(large, 5 * TIB / 2));
	for (size_t at = 0; at < 5 * TIB / 2; at += TIB / 8)
		assert_true(is_there(large + at));
	assert_false(is_there(large + 5 * TIB / 2) || is_there(large - 1));
	assert_true(forget(large, TIB * 2));
	assert_false(is_there(large) || is_there(large + 2 * TIB - 1));
	assert_true(has(large + 2 * TIB, TIB / 2));
	assert_true(forget(large + 2 * TIB, TIB / 2));
	/* A length need not be whole pages. */
	assert_true(note(large, 4097));
	assert_true(has(large, 8192));
	assert_true(forget(large, 4097));
	assert_false(is_there(large) || is_there(large + 4096));
}

static unsigned slots_taken(void)
{
	unsigned taken = 0;
	uintptr_t start;
	size_t size;

	for (unsigned slot = 0; slot < RANGES_SLOTS; slot++)
		taken += ranges_at(&table, slot, &start, &size);
	return taken;
}

static void one_that_grows(void **state)
{
	unsigned before = slots_taken();

	(void)state;
	for (unsigned i = 0; i < 4 * RANGES_SLOTS; i++)
		assert_true(ranges_extend(&table, (uintptr_t)BASE + i * MIB, MIB));
	assert_int_equal(slots_taken(), before + 1);
	assert_true(has(BASE, 4 * RANGES_SLOTS * MIB));
	assert_false(is_there(BASE - 1) || is_there(BASE + 4 * RANGES_SLOTS * MIB));
	/* A range that does not follow directly is a new one; what was cut off at the end can be added again. */
	assert_true(ranges_extend(&table, (uintptr_t)BASE + 5 * RANGES_SLOTS * MIB, MIB));
	assert_int_equal(slots_taken(), before + 2);
	assert_true(forget(BASE + 3 * RANGES_SLOTS * MIB, RANGES_SLOTS * MIB));
	assert_true(ranges_extend(&table, (uintptr_t)BASE + 3 * RANGES_SLOTS * MIB, MIB));
	assert_true(has(BASE, (3 * RANGES_SLOTS + 1) * MIB) && !is_there(BASE + (3 * RANGES_SLOTS + 1) * MIB));
	assert_int_equal(slots_taken(), before + 2);
	/* Longer than one word can express. */
	assert_true(ranges_extend(&table, (uintptr_t)BASE + (3 * RANGES_SLOTS + 1) * MIB, TIB));
	assert_true(is_there(BASE + (3 * RANGES_SLOTS) * MIB + TIB));
	assert_true(forget(BASE, 2 * TIB));
	assert_int_equal(slots_taken(), before);
}

static void no_more_room(void **state)
{
	unsigned count = 0;

	(void)state;
	while (note(BASE + count * MIB, MIB))
		count++;
	assert_in_range(count, 64, 65536);
	assert_false(is_there(BASE + count * MIB));
	/* A change that needs two slots when one is free: nothing of it is stored. */
	assert_true(forget(BASE, MIB));
	assert_false(note((char *)(30 * TIB), TIB + MIB));
	assert_false(is_there((char *)(30 * TIB)));
	/* Two ranges where one was. */
	assert_true(forget(BASE + MIB + MIB / 4, MIB / 4));
	assert_false(forget(BASE + 2 * MIB + MIB / 4, MIB / 4));
	assert_true(has(BASE + 2 * MIB, MIB));
	assert_true(forget(BASE, (count + 1) * MIB));
	for (unsigned i = 0; i <= count; i++)
		assert_false(is_there(BASE + i * MIB) || is_there(BASE + (i + 1) * MIB - 1));
}

#define THREADS 6
#define ROUNDS  8000

static void *note_and_forget(void *number)
{
	unsigned random = (unsigned)(uintptr_t)number * 977 + 1;
	uintptr_t wrong = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		random = random * 1664525 + 1013904223;
		/* The threads' places alternate; no thread touches another's. */
		char *place = BASE + ((size_t)(random >> 16) % 64 * THREADS + (uintptr_t)number) * MIB;
		if (!note(place, MIB))
			return (void *)1;
		if (random & 1 << 20)
			wrong += !forget(place, MIB / 4) || is_there(place) ||
				 !has(place + MIB / 4, MIB * 3 / 4);
		if (random & 1 << 21)
			wrong += !forget(place + MIB / 2, MIB / 4) || !is_there(place + MIB / 2 - 1) ||
				 is_there(place + MIB / 2) || !is_there(place + MIB * 3 / 4);
		wrong += !is_there(place + MIB - 1) || !forget(place, MIB);
		wrong += is_there(place) || is_there(place + MIB - 1);
	}
	return (void *)wrong;
}

static void threads_at_once(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, note_and_forget, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		void *wrong;
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(forget_while_others_change, catch_traps, ignore_traps),
		cmocka_unit_test_setup_teardown(split_while_others_change, catch_traps, ignore_traps),
		cmocka_unit_test_setup_teardown(note_while_others_do, catch_traps, ignore_traps),
		cmocka_unit_test(whole_ranges),
		cmocka_unit_test(one_that_grows),
		cmocka_unit_test(threads_at_once),
		cmocka_unit_test(no_more_room), /* last: from then on all slots are searched */
	};

	return cmocka_run_group_tests_name("heap_tables", tests, NULL, NULL);
}
