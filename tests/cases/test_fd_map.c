/* SPDX-License-Identifier: MIT
 *
 * Compares the descriptor map with a model: descriptor tables as arrays, with the operations applied one by one,
 * against the resulting actions applied together.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/spawn/fd_map.h"
#include "../support/support.h"

enum { NUMBERS = 12, SPARE_BASE = 100, TABLE = 200, OPENED = 1000 };

struct table {
	int file[TABLE]; /* 0: closed; n + 1: the caller's descriptor n; OPENED + i: opened by action i */
	bool inherited[TABLE];
};

/* One operation; false if the real one would fail. */
#define NOTHING_KEPT { [KEPT_EXEC] = { .fd = -1 }, [KEPT_TTY] = { .fd = -1 } }

static bool run(struct table *t, const struct fd_op *op, int *spares)
{
	switch (op->kind) {
	case FD_OP_DUP:
		if (t->file[op->from] == 0)
			return false;
		t->file[op->to] = t->file[op->from];
		t->inherited[op->to] = true;
		return true;
	case FD_OP_SAVE:
		if (t->file[op->from] == 0)
			return false;
		spares[op->spare] = SPARE_BASE + op->spare;
		t->file[spares[op->spare]] = t->file[op->from];
		t->inherited[spares[op->spare]] = false;
		return true;
	case FD_OP_RESTORE:
		t->file[op->to] = t->file[spares[op->spare]];
		t->inherited[op->to] = true;
		return true;
	case FD_OP_INHERIT:
		if (t->file[op->to] == 0)
			return false;
		t->inherited[op->to] = true;
		return true;
	case FD_OP_OPEN:
		if (op->from != AT_FDCWD) { /* the directory must be at the number given, as it was before */
			int directory = t->file[op->spare >= 0 ? spares[op->spare] : op->from];
			if (directory == 0)
				return false;
			if (directory != op->from + 1)
				fail_msg("the directory %d is now %d", op->from, directory);
		}
		t->file[op->to] = OPENED + op->index;
		t->inherited[op->to] = true;
		return true;
	case FD_OP_CLOSE:
		t->file[op->to] = 0;
		return true;
	}
	return false;
}

static void random_actions(unsigned *seed, odf_fd_action *actions, size_t *count)
{
	int targets[NUMBERS];

	for (int i = 0; i < NUMBERS; i++)
		targets[i] = i;
	*count = (size_t)(rand_r(seed) % (NUMBERS + 1));
	for (size_t i = 0; i < *count; i++) {
		int other = (int)i + rand_r(seed) % (NUMBERS - (int)i), target = targets[other];
		targets[other] = targets[i];
		actions[i] = (odf_fd_action)ODF_FD_DUP(target, rand_r(seed) % NUMBERS);
		switch (rand_r(seed) % 11) {
		case 0:
			actions[i] = (odf_fd_action)ODF_FD_OPEN(target, "/dev/null", O_RDONLY, 0);
			break;
		case 1:
			actions[i] = (odf_fd_action)ODF_FD_CLOSE(target);
			break;
		case 2:
			actions[i] = (odf_fd_action)ODF_FD_NULL(target);
			break;
		case 3:
			actions[i] = (odf_fd_action)ODF_FD_KEEP(target);
			break;
		case 4:
			actions[i] = ODF_FD_OPEN_AT(target, rand_r(seed) % NUMBERS, "null", O_RDONLY, 0);
			break;
		default:
			break;
		}
	}
}

static void run_seed(unsigned seed)
{
	odf_fd_action actions[NUMBERS];
	size_t count;
	struct fd_op ops[FD_MAP_OPS(NUMBERS)];
	struct fd_range others[FD_MAP_RANGES(NUMBERS)];
	struct fd_slot slots[NUMBERS];
	size_t ready[NUMBERS];
	int named[FD_MAP_NAMED(NUMBERS)], spares[FD_MAP_SPARES(NUMBERS)], sorted[NUMBERS], index;
	struct fd_map map = { .ops = ops, .slots = slots, .ready = ready, .named = named, .others = others };
	struct table before = { 0 }, got, expected;
	bool fails = false, failed = false;
	unsigned draw = seed;
	int exec_fd = -1, tty_fd = -1;

	random_actions(&draw, actions, &count);
	for (int i = 0; i < NUMBERS; i++) {
		before.file[i] = rand_r(&draw) % 8 == 0 ? 0 : i + 1;
		before.inherited[i] = rand_r(&draw) % 2;
	}
	if (rand_r(&draw) % 2)
		do
			exec_fd = rand_r(&draw) % NUMBERS;
		while (before.file[exec_fd] == 0);
	if (rand_r(&draw) % 2)
		do
			tty_fd = rand_r(&draw) % NUMBERS;
		while (before.file[tty_fd] == 0);
	assert_errno(0, fd_map_check(actions, count, sorted, &index));
	map.kept[KEPT_EXEC].fd = exec_fd;
	map.kept[KEPT_TTY].fd = tty_fd;
	fd_map_build(&map, actions, count);
	assert_true(map.op_count <= FD_MAP_OPS(count));
	assert_true(map.spare_count <= FD_MAP_SPARES(count) + 1);
	assert_true(map.other_count <= FD_MAP_RANGES(count));

	expected = before;
	for (size_t i = 0; i < count; i++) {
		const odf_fd_action *a = &actions[i];
		int source = a->kind == ODF_FD_KIND_DUP ? a->source : a->fd;
		if (a->kind == ODF_FD_KIND_DUP || a->kind == ODF_FD_KIND_KEEP) {
			fails = fails || before.file[source] == 0;
			expected.file[a->fd] = before.file[source];
		} else {
			if (a->kind == ODF_FD_KIND_OPEN_AT)
				fails = fails || before.file[a->source] == 0;
			expected.file[a->fd] = a->kind == ODF_FD_KIND_CLOSE ? 0 : OPENED + (int)i;
		}
		expected.inherited[a->fd] = true;
	}
	got = before;
	for (size_t i = 0; i < map.op_count && !failed; i++)
		failed = !run(&got, &ops[i], spares);
	if (failed != fails)
		fail_msg("seed %u: %s", seed, fails ? "a closed source went through" : "failed without cause");
	if (fails)
		return;
	for (int i = 0; i < NUMBERS; i++) {
		if (got.file[i] != expected.file[i])
			fail_msg("seed %u: descriptor %d is %d, not %d", seed, i, got.file[i], expected.file[i]);
		if (got.file[i] != 0 && got.inherited[i] != expected.inherited[i])
			fail_msg("seed %u: descriptor %d: inherited %d", seed, i, got.inherited[i]);
	}
	for (int i = 0; i < KEPT_COUNT; i++) {
		const struct kept_fd *kept = &map.kept[i];
		if (kept->fd >= 0)
			assert_int_equal(got.file[kept->spare >= 0 ? spares[kept->spare] : kept->fd], kept->fd + 1);
	}
	for (unsigned fd = 0; fd < 64; fd++) {
		bool target = false, closed = false;
		for (size_t i = 0; i < count; i++)
			target = target || actions[i].fd == (int)fd;
		for (size_t i = 0; i < map.other_count; i++)
			closed = closed || (fd >= others[i].first && fd <= others[i].last);
		assert_int_equal(closed, fd > 2 && !target);
	}
}

static void test_model(void **state)
{
	const char *given = getenv("ODF_TEST_SEEDS");
	unsigned seeds = given == NULL ? 200000 : (unsigned)strtoul(given, NULL, 10);

	(void)state;
	for (unsigned seed = 1; seed <= seeds; seed++)
		run_seed(seed);
}

/* A shift of thousands of numbers in the worst order: the caller waits while the map computes it. */
static void test_long_shift(void **state)
{
	enum { LONG = 50000 };
	odf_fd_action *actions = calloc(LONG, sizeof *actions);
	struct fd_map map = {
		.ops = calloc(FD_MAP_OPS(LONG), sizeof *map.ops),
		.slots = calloc(LONG, sizeof *map.slots),
		.ready = calloc(LONG, sizeof *map.ready),
		.named = calloc(FD_MAP_NAMED(LONG), sizeof *map.named),
		.others = calloc(FD_MAP_RANGES(LONG), sizeof *map.others),
		.kept = NOTHING_KEPT,
	};

	(void)state;
	for (int i = 0; i < LONG; i++)
		actions[i] = (odf_fd_action)ODF_FD_DUP(i + 1, i);
	fd_map_build(&map, actions, LONG);
	assert_int_equal(map.op_count, LONG);
	assert_int_equal(map.spare_count, 0);
	for (int i = 0; i < LONG; i++)
		assert_int_equal(map.ops[i].to, LONG - i); /* from the far end */
	free(actions);
	free(map.ops);
	free(map.slots);
	free(map.ready);
	free(map.named);
	free(map.others);
}

/* In a cycle a descriptor that is not open is the failure of the action that uses it. */
static void test_cycle_index(void **state)
{
	odf_fd_action swap[] = { ODF_FD_DUP(20, 21), ODF_FD_DUP(21, 20) };
	struct fd_op ops[FD_MAP_OPS(2)];
	struct fd_slot slots[2];
	struct fd_range others[FD_MAP_RANGES(2)];
	size_t ready[2];
	int named[FD_MAP_NAMED(2)];
	struct fd_map map = {
		.ops = ops, .slots = slots, .ready = ready, .named = named, .others = others, .kept = NOTHING_KEPT,
	};

	(void)state;
	fd_map_build(&map, swap, 2);
	assert_int_equal(map.op_count, 3);
	for (size_t i = 0; i < 2; i++) /* the save and the first duplication read their action's source */
		assert_int_equal(ops[i].from, swap[ops[i].index].source);
}

static void test_refusals(void **state)
{
	odf_fd_action twice[] = { ODF_FD_CLOSE(4), ODF_FD_NULL(5), ODF_FD_DUP(4, 1) };
	odf_fd_action negative[] = { ODF_FD_NULL(0), ODF_FD_CLOSE(-1) };
	odf_fd_action source[] = { ODF_FD_DUP(1, -1) };
	odf_fd_action no_path[] = { ODF_FD_OPEN(1, NULL, 0, 0) };
	odf_fd_action kind[] = { { (odf_fd_kind)9, 1, 1, 0, 0, NULL } };
	int sorted[3], index = -1;

	(void)state;
	assert_errno(EINVAL, fd_map_check(twice, 3, sorted, &index));
	assert_int_equal(index, 2);
	assert_errno(EINVAL, fd_map_check(negative, 2, sorted, &index));
	assert_int_equal(index, 1);
	assert_errno(EINVAL, fd_map_check(source, 1, sorted, &index));
	assert_int_equal(index, 0);
	assert_errno(EINVAL, fd_map_check(no_path, 1, sorted, &index));
	assert_errno(EINVAL, fd_map_check(kind, 1, sorted, &index));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_long_shift),
		cmocka_unit_test(test_cycle_index),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests_name("descriptor map", tests, NULL, NULL);
}
