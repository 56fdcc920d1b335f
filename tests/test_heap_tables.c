/* SPDX-License-Identifier: MIT
 *
 * The heap's tables that have no lock. At each single instruction of one operation, others happen, whole, as they may
 * in another thread or in a signal handler: the processor traps after every instruction (x86-64), and in the n-th run
 * the others come at the n-th trap. And threads at once, everywhere.
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

#include "../src/heap/internal.h"
#include "../src/sys/own_memory.h"

#define MIB ((size_t)1 << 20)
#define TIB ((size_t)1 << 40)
/* Beyond what mimalloc knows by itself. Nothing is mapped there, as the list does not care. */
#define BASE ((char *)(21 * TIB))

/* ---- One instruction after the other ---- */

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
/* The trap flag is the processor's; a handler is entered without it, and it comes back with the registers. */
#define TRAPS(instruction) \
	__asm__ volatile("subq $128, %%rsp\n\tpushfq\n\t" instruction " $0x100, (%%rsp)\n\tpopfq\n\taddq $128, %%rsp" \
			 : : : "cc", "memory")
#define TRAPS_BEGIN TRAPS("orq")
#define TRAPS_END   TRAPS("xorq")
#else
#define TRAPS_BEGIN skip()
#define TRAPS_END   (void)0
#endif

/* True as long as there are more instructions than that. */
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

/* ---- What mimalloc has beyond its map ---- */

#define LOW  (BASE + 16 * MIB)
#define MID  (BASE + 32 * MIB)
#define HIGH (BASE + 48 * MIB)

static bool succeeded;

static bool has(const char *from, size_t length)
{
	return heap_is_beyond(from) && heap_is_beyond(from + length / 2) && heap_is_beyond(from + length - 1);
}

static void forget_mid(void)
{
	succeeded = heap_forget_beyond(MID, MIB);
}

static void low_becomes_high(void)
{
	(void)heap_forget_beyond(LOW, MIB);
	(void)heap_note_beyond(HIGH, MIB);
}

static void high_becomes_low(void)
{
	(void)heap_forget_beyond(HIGH, MIB);
	(void)heap_note_beyond(LOW, MIB);
}

/* While one range is looked at, another one comes into its place. */
static void forget_while_others_change(void **state)
{
	unsigned at = 0;
	bool more;

	(void)state;
	for (int way = 0; way < 2; way++) {
		char *before = way == 0 ? LOW : HIGH, *after = way == 0 ? HIGH : LOW;
		do {
			assert_true(heap_note_beyond(before, MIB));
			assert_true(heap_note_beyond(MID, MIB));
			more = step(++at, forget_mid, way == 0 ? low_becomes_high : high_becomes_low);
			assert_true(succeeded);
			assert_false(heap_is_beyond(MID) || heap_is_beyond(MID + MIB - 1));
			assert_true(has(more ? after : before, MIB));
			assert_false(heap_is_beyond(more ? before : after));
			assert_true(heap_forget_beyond(LOW, MIB) && heap_forget_beyond(HIGH, MIB));
		} while (more);
		assert_true(at > 20);
		at = 0;
	}
}

/* Out of the middle. */
static void split_mid(void)
{
	succeeded = heap_forget_beyond(MID + MIB / 4, MIB / 2);
}

static void end_becomes_free(void)
{
	(void)heap_forget_beyond(MID + MIB * 7 / 8, MIB / 8);
	(void)heap_note_beyond(HIGH, MIB);
}

static void split_while_others_change(void **state)
{
	unsigned at = 0;
	bool more;

	(void)state;
	do {
		assert_true(heap_note_beyond(LOW, MIB));
		assert_true(heap_note_beyond(MID, MIB));
		more = step(++at, split_mid, end_becomes_free);
		assert_true(succeeded);
		assert_true(has(LOW, MIB));
		assert_true(has(MID, MIB / 4));
		assert_false(heap_is_beyond(MID + MIB / 4) || heap_is_beyond(MID + MIB / 2));
		assert_false(heap_is_beyond(MID + MIB * 3 / 4 - 1));
		assert_true(has(MID + MIB * 3 / 4, MIB / 8));
		assert_int_equal(heap_is_beyond(MID + MIB - 1), !more);
		assert_int_equal(has(HIGH, MIB), more);
		assert_true(heap_forget_beyond(BASE, 64 * MIB));
		assert_false(heap_is_beyond(MID) || heap_is_beyond(MID + MIB * 3 / 4) || heap_is_beyond(HIGH));
	} while (more);
	assert_true(at > 20);
}

static void note_high(void)
{
	succeeded = heap_note_beyond(HIGH, MIB);
}

static void note_low(void)
{
	(void)heap_note_beyond(LOW, MIB);
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
		assert_true(heap_forget_beyond(BASE, 64 * MIB));
	} while (more);
}

static void whole_ranges(void **state)
{
	char *large = (char *)(30 * TIB);

	(void)state;
	assert_false(heap_is_beyond(large));
	assert_true(heap_note_beyond((char *)(2 * TIB), MIB)); /* mimalloc knows */
	assert_false(heap_is_beyond((char *)(2 * TIB)));
	/* More than one word can say. */
	assert_true(heap_note_beyond(large, 5 * TIB / 2));
	for (size_t at = 0; at < 5 * TIB / 2; at += TIB / 8)
		assert_true(heap_is_beyond(large + at));
	assert_false(heap_is_beyond(large + 5 * TIB / 2) || heap_is_beyond(large - 1));
	assert_true(heap_forget_beyond(large, TIB * 2));
	assert_false(heap_is_beyond(large) || heap_is_beyond(large + 2 * TIB - 1));
	assert_true(has(large + 2 * TIB, TIB / 2));
	assert_true(heap_forget_beyond(large + 2 * TIB, TIB / 2));
	/* A length need not be of whole pages, and what the kernel refuses changes nothing. */
	assert_true(heap_note_beyond(large, 4097));
	assert_true(has(large, 8192));
	assert_int_equal(heap_munmap(large + 1, 4096), -EINVAL);
	assert_int_equal(heap_munmap(large, 0), -EINVAL);
	assert_int_equal(heap_munmap(large, SIZE_MAX - 8192), -EINVAL);
	assert_true(has(large, 8192));
	assert_int_equal(heap_munmap(large, 4097), 0);
	assert_false(heap_is_beyond(large) || heap_is_beyond(large + 4096));
}

static void no_more_room(void **state)
{
	unsigned count = 0;

	(void)state;
	while (heap_note_beyond(BASE + count * MIB, MIB))
		count++;
	assert_in_range(count, 64, 65536);
	assert_false(heap_is_beyond(BASE + count * MIB));
	/* One that needs two, where there is one: nothing of it stays. */
	assert_true(heap_forget_beyond(BASE, MIB));
	assert_false(heap_note_beyond((char *)(30 * TIB), TIB + MIB));
	assert_false(heap_is_beyond((char *)(30 * TIB)));
	/* Two where one was. */
	assert_true(heap_forget_beyond(BASE + MIB + MIB / 4, MIB / 4));
	assert_false(heap_forget_beyond(BASE + 2 * MIB + MIB / 4, MIB / 4));
	assert_true(has(BASE + 2 * MIB, MIB));
	assert_int_equal(heap_munmap(BASE + 2 * MIB + MIB / 4, MIB / 4), -ENOMEM);
	assert_true(heap_forget_beyond(BASE, (count + 1) * MIB));
	for (unsigned i = 0; i <= count; i++)
		assert_false(heap_is_beyond(BASE + i * MIB) || heap_is_beyond(BASE + (i + 1) * MIB - 1));
}

#define THREADS 6
#define ROUNDS  8000

static void *note_and_forget(void *number)
{
	unsigned random = (unsigned)(uintptr_t)number * 977 + 1;
	uintptr_t wrong = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		random = random * 1664525 + 1013904223;
		/* Threads take turns at the places; nobody else's are touched. */
		char *place = BASE + ((size_t)(random >> 16) % 64 * THREADS + (uintptr_t)number) * MIB;
		if (!heap_note_beyond(place, MIB))
			return (void *)1;
		if (random & 1 << 20)
			wrong += !heap_forget_beyond(place, MIB / 4) || heap_is_beyond(place) ||
				 !has(place + MIB / 4, MIB * 3 / 4);
		if (random & 1 << 21)
			wrong += !heap_forget_beyond(place + MIB / 2, MIB / 4) ||
				 !heap_is_beyond(place + MIB / 2 - 1) || heap_is_beyond(place + MIB / 2) || !heap_is_beyond(place + MIB * 3 / 4);
		wrong += !heap_is_beyond(place + MIB - 1) || !heap_forget_beyond(place, MIB);
		wrong += heap_is_beyond(place) || heap_is_beyond(place + MIB - 1);
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

/* ---- Memory of the library's own ---- */

#define PIECES 1024
static struct {
	char *start;
	size_t size;
} pieces[PIECES];
static unsigned piece_count;
/* Of the operation, and of the other. */
static char *piece, *other_piece;

static void note_piece(char *start, size_t size)
{
	assert_non_null(start);
	assert_true(piece_count < PIECES);
	pieces[piece_count].start = start;
	pieces[piece_count++].size = size;
}

static void take_much(void)
{
	piece = own_memory_get(60000);
}

static void take_little(void)
{
	piece = own_memory_get(16);
}

static void take_other(void)
{
	other_piece = own_memory_get(16);
}

/* Pieces never overlap, and one that fits is had, whatever else is asked for at the same time. */
static void own_memory(void **state)
{
	(void)state;
	note_piece(own_memory_get(6000), 6000);
	for (unsigned at = 1; step(at, take_much, take_other); at++) {
		assert_null(piece);
		note_piece(other_piece, 16);
	}
	for (unsigned at = 1; step(at, take_little, take_other); at++) {
		note_piece(piece, 16);
		note_piece(other_piece, 16);
	}
	assert_true(piece_count > 20);
	for (unsigned i = 0; i < piece_count; i++) {
		assert_true(own_memory_has(pieces[i].start));
		assert_int_equal(own_memory_size(pieces[i].start), pieces[i].size);
		for (unsigned j = 0; j < i; j++)
			assert_true(pieces[j].start + pieces[j].size <= pieces[i].start ||
				    pieces[i].start + pieces[i].size <= pieces[j].start);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(forget_while_others_change, catch_traps, ignore_traps),
		cmocka_unit_test_setup_teardown(split_while_others_change, catch_traps, ignore_traps),
		cmocka_unit_test_setup_teardown(note_while_others_do, catch_traps, ignore_traps),
		cmocka_unit_test(whole_ranges),
		cmocka_unit_test(threads_at_once),
		cmocka_unit_test(no_more_room), /* last: from then on all slots are looked at */
		cmocka_unit_test_setup_teardown(own_memory, catch_traps, ignore_traps),
	};

	return cmocka_run_group_tests_name("heap_tables", tests, NULL, NULL);
}
