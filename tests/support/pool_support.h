/* SPDX-License-Identifier: MIT
 *
 * For the tests of worker tasks: task functions, and calls that must succeed.
 */
#ifndef ODF_TESTS_POOL_SUPPORT_H
#define ODF_TESTS_POOL_SUPPORT_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

/* ---- Task functions ---- */

static inline int twice(const void *input, size_t length, odf_output *output)
{
	int value;

	if (length != sizeof value)
		return -1;
	memcpy(&value, input, sizeof value);
	value *= 2;
	return odf_output_write(output, &value, sizeof value) == 0 ? value : -2;
}

static inline int pauses(const void *input, size_t length, odf_output *output)
{
	(void)input, (void)length, (void)output;
	while (pause() == -1)
		;
	return 0;
}

static inline int echoes(const void *input, size_t length, odf_output *output)
{
	return odf_output_write(output, input, length);
}

static inline int sleeps_ms(const void *input, size_t length, odf_output *output)
{
	(void)length, (void)output;
	usleep(*(const unsigned *)input * 1000);
	return 7;
}

/* Shared with the workers, which are copies of the program: once share_go has been called, before the pool is made. */
static atomic_bool *go;

static inline bool share_go(void)
{
	go = mmap(NULL, sizeof *go, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return go != MAP_FAILED;
}

static inline int until_told(const void *input, size_t length, odf_output *output)
{
	(void)input, (void)length, (void)output;
	while (!atomic_load(go))
		usleep(1000);
	return 7;
}

static inline int says_process(const void *input, size_t length, odf_output *output)
{
	pid_t self = getpid();

	(void)input, (void)length;
	return odf_output_write(output, &self, sizeof self);
}

/* ---- Calls ---- */

static inline odf_pool *pool_of(unsigned least, unsigned most, unsigned idle_ms, unsigned queue)
{
	odf_pool_options options = ODF_POOL_OPTIONS_INIT;
	odf_pool *pool;

	options.workers_min = least;
	options.workers_max = most;
	options.idle_ms = idle_ms;
	options.queue = queue;
	pool = odf_pool_create(&options);
	assert_non_null(pool);
	return pool;
}

static inline odf_task *submitted(odf_pool *pool, odf_task_function function, const void *input, size_t length)
{
	odf_task *task = NULL;

	assert_int_equal(odf_pool_submit(pool, function, input, length, &task), 0);
	assert_non_null(task);
	return task;
}

static inline odf_task *submitted_with(odf_pool *pool, odf_task_function function, const void *input, size_t length,
				       uint64_t flags, unsigned time_ms, unsigned cpu_ms, size_t memory)
{
	odf_task_options options = ODF_TASK_OPTIONS_INIT;
	odf_task *task = NULL;

	options.flags = flags;
	options.time_ms = time_ms;
	options.cpu_ms = cpu_ms;
	options.memory = memory;
	assert_int_equal(odf_pool_submit_with(pool, function, input, length, &options, &task), 0);
	return task;
}

static inline odf_task_info info_of(odf_task *task)
{
	odf_task_info info = ODF_TASK_INFO_INIT;

	assert_int_equal(odf_task_info_get(task, &info), 0);
	return info;
}

static inline odf_pool_info pool_info_of(odf_pool *pool)
{
	odf_pool_info info = ODF_POOL_INFO_INIT;

	assert_int_equal(odf_pool_info_get(pool, &info), 0);
	return info;
}

/* Waits for the task, frees it and returns its answer. */
static inline int answer_to(odf_task *task)
{
	int answer = odf_task_wait(task, NULL, NULL, 120000);

	odf_task_free(task);
	return answer;
}

/* Waits for the task, frees it and returns the int that it has written. */
static inline int output_of(odf_task *task)
{
	void *output;
	size_t length;
	int value;

	assert_int_equal(odf_task_wait(task, &output, &length, 120000), 0);
	assert_int_equal(length, sizeof value);
	memcpy(&value, output, sizeof value);
	odf_task_free(task);
	return value;
}

/* Checks that the pool still runs tasks. */
static inline void must_work(odf_pool *pool)
{
	int value = 21;

	assert_int_equal(output_of(submitted(pool, twice, &value, sizeof value)), 42);
}

/* Waits until the task runs, and returns the process that runs it. */
static inline pid_t worker_of(odf_task *task)
{
	for (int i = 0; i < 120000; i++) {
		odf_task_info info = info_of(task);
		if (info.state == ODF_TASK_RUNS && info.worker > 0)
			return info.worker;
		usleep(1000);
	}
	fail_msg("the task does not begin");
	return 0;
}

#endif
