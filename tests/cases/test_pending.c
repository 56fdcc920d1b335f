/* SPDX-License-Identifier: MIT
 *
 * A fork that does not complete: when the library considers it stuck, by a clock that the test controls.
 */
#include "../support/support.h"

#define region_clock clock_of_the_test
#include "../../src/region/pending.c"

#define SECOND 1000000000ull

static uint64_t now = 1000 * SECOND;

uint64_t clock_of_the_test(void)
{
	return now;
}

/* With a look every second. Returns how long it takes from now on, at most 100. */
static unsigned until_stuck(void)
{
	for (unsigned seconds = 0; seconds < 100; seconds++) {
		if (region_pending_check())
			return seconds;
		now += SECOND;
	}
	return 100;
}

static void test_stuck_after_a_minute(void **state)
{
	(void)state;
	region_pending_begin(__builtin_frame_address(0));
	assert_int_equal(until_stuck(), STUCK_NS / SECOND + 1);
	region_pending_forget();
	assert_int_equal(until_stuck(), 100);
}

/* The program was stopped for an hour, in a prepare handler or in a debugger, and the keeper looked again before the
 * fork was complete. */
static void test_not_after_a_stop(void **state)
{
	(void)state;
	assert_false(region_pending_check());
	region_pending_begin(__builtin_frame_address(0));
	now += 3600 * SECOND;
	assert_false(region_pending_check());
	now += 10 * SECOND;
	assert_int_equal(until_stuck(), (STUCK_NS - 2 * LOOK_NS) / SECOND + 1);
	region_pending_forget();
}

/* Looks far apart count like others. */
static void test_rare_looks(void **state)
{
	unsigned looks = 0;

	(void)state;
	assert_false(region_pending_check());
	region_pending_begin(__builtin_frame_address(0));
	for (now += 60 * SECOND; !region_pending_check(); now += 60 * SECOND)
		assert_true(looks++ < 100);
	assert_int_equal(looks, STUCK_NS / LOOK_NS);
	region_pending_forget();
}

/* A fork that begins between two looks has its whole time. */
static void test_begun_late(void **state)
{
	(void)state;
	assert_false(region_pending_check());
	now += 3600 * SECOND;
	region_pending_begin(__builtin_frame_address(0));
	assert_int_equal(until_stuck(), STUCK_NS / SECOND + 1);
	region_pending_forget();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stuck_after_a_minute),
		cmocka_unit_test(test_not_after_a_stop),
		cmocka_unit_test(test_rare_looks),
		cmocka_unit_test(test_begun_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
