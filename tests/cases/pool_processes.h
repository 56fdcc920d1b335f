/* SPDX-License-Identifier: MIT
 *
 * Shared by test_pool_process.c and test_pool_process_ends.c.
 */
#ifndef TESTS_POOL_PROCESSES_H
#define TESTS_POOL_PROCESSES_H

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../../src/pool/internal.h"
#include "../support/support.h"

static inline int twice(const void *argument, size_t length, const int *fds, size_t count)
{
	(void)fds;
	return length == sizeof(int) && count == 0 ? 2 * *(const int *)argument : 255;
}

static inline int pauses(const void *argument, size_t length, const int *fds, size_t count)
{
	(void)argument, (void)length, (void)fds, (void)count;
	while (pause() == -1)
		;
	return 0;
}

static inline odf_pool *pool_made(void)
{
	odf_pool *pool = odf_pool_create(NULL);

	assert_non_null(pool);
	return pool;
}

static inline struct pool_process made(odf_pool *pool, pool_function *function)
{
	struct pool_process process;

	assert_int_equal(pool_process_make(pool, function, NULL, 0, NULL, 0, &process), 0);
	assert_true(process.pid > 0);
	return process;
}
#endif
