/* SPDX-License-Identifier: MIT
 *
 * Worker tasks: input and output, many tasks at once, refused requests, event loops. test_pool_workers.c tests what a
 * task finds in its worker; test_pool_ends.c tests tasks that end without returning.
 *
 * ODF_TEST_BYTES (9 MiB): the largest input and output.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../support/pool_support.h"

static void test_answer(void **state)
{
	odf_pool *pool = pool_of(0, 0, 0, 0);
	int value = 21;
	odf_task *task = submitted(pool, twice, &value, sizeof value);
	odf_task_info info;
	void *output = NULL, *again = NULL;
	size_t length = 0;

	(void)state;
	errno = 77;
	assert_int_equal(odf_task_wait(task, &output, &length, -1), 0);
	assert_int_equal(errno, 77);
	assert_int_equal(length, sizeof value);
	assert_int_equal(*(int *)output, 42);
	assert_int_equal(odf_task_wait(task, &again, NULL, 0), 0);
	assert_ptr_equal(again, output);
	info = info_of(task);
	assert_int_equal(info.state, ODF_TASK_ENDED);
	assert_int_equal(info.error, 0);
	assert_int_equal(info.result, 42);
	assert_int_equal(info.wait_status, 0);
	assert_true(info.worker > 0 && info.worker != getpid());
	odf_task_free(task);
	odf_task_free(NULL);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* ---- Sizes ---- */

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 31 + i / 4096);
}

/* In pieces of many sizes, then the rest by odf_output_room. */
static int echoes_in_pieces(const void *input, size_t length, odf_output *output)
{
	size_t done = 0, piece = 1;
	char *room;

	while (done < length / 2) {
		if (piece > length / 2 - done)
			piece = length / 2 - done;
		if (odf_output_write(output, (const char *)input + done, piece) != 0)
			return 1;
		done += piece;
		piece = piece * 3 + 1;
	}
	room = odf_output_room(output, length - done);
	if (room == NULL)
		return 2;
	memcpy(room, (const char *)input + done, length - done);
	return 0;
}

static size_t largest(void)
{
	const char *text = getenv("ODF_TEST_BYTES");

	return text != NULL ? strtoul(text, NULL, 10) : (size_t)9 << 20;
}

static void test_sizes(void **state)
{
	const size_t sizes[] = { 0, 1, 15, 399, 400, 401, 4095, 4096, 4097, 65536, 65537, (1 << 20) + 3, largest() };
	odf_pool *pool = pool_of(0, 2, 0, 0);
	unsigned char *input = malloc(largest());

	(void)state;
	assert_non_null(input);
	for (size_t i = 0; i < largest(); i++)
		input[i] = byte_at(i);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		odf_task_function functions[] = { echoes, echoes_in_pieces };
		for (size_t f = 0; f < 2; f++) {
			odf_task *task = submitted(pool, functions[f], sizes[i] == 0 ? NULL : input, sizes[i]);
			void *output;
			size_t length;

			assert_int_equal(odf_task_wait(task, &output, &length, -1), 0);
			assert_int_equal(info_of(task).result, 0);
			assert_int_equal(length, sizes[i]);
			assert_non_null(output);
			assert_true(memcmp(output, input, length) == 0);
			memset(output, 0, length); /* the output belongs to the caller */
			odf_task_free(task);
		}
	}
	free(input);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* Memory of large inputs and outputs is given back, at the end and before. */
static size_t shared_kib(void)
{
	char *text = read_file("/proc/self/smaps_rollup"), *line = text == NULL ? NULL : strstr(text, "Pss_Shmem:");
	size_t size = line == NULL ? 0 : strtoul(line + strlen("Pss_Shmem:"), NULL, 10);

	free(text);
	return size;
}

static int writes_and_pauses(const void *input, size_t length, odf_output *output)
{
	(void)odf_output_write(output, input, length);
	return pauses(input, length, output);
}

static void test_memory_comes_back(void **state)
{
	const size_t size = (size_t)4 << 20;
	odf_pool *pool = pool_of(1, 1, 0, 0);
	char *input = malloc(size);
	size_t before;
	struct stat status;
	char path[64];

	(void)state;
	memset(input, 1, size);
	must_work(pool);
	before = shared_kib();
	for (int i = 0; i < 24; i++) {
		odf_task *task = submitted(pool,
					   i % 2 == 0   ? echoes
					   : i % 8 == 1 ? writes_and_pauses
							: pauses,
					   input, size);
		if (i % 2 == 0) {
			assert_int_equal(odf_task_wait(task, NULL, NULL, -1), 0);
		} else if (i % 4 == 1) {
			(void)worker_of(task);
			usleep(i % 8 == 1 ? 30000 : 0); /* most of the output is written by then */
		}
		odf_task_free(task);
	}
	must_work(pool);
	must_work(pool);
	/* The file behind it, one of this process's descriptors, has next to no memory. */
	for (int fd = 3; fd < 256; fd++) {
		char target[128] = "";
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof target - 1) < 0 || strstr(target, "odfork-pool") == NULL)
			continue;
		assert_int_equal(fstat(fd, &status), 0);
		if (strstr(target, "odfork-pool-data") == NULL) { /* memory for slots is allocated ahead of their use */
			assert_true(status.st_blocks > 60000 / 512);
			continue;
		}
		assert_true(status.st_blocks < 2 * (1 << 20) / 512);
	}
	assert_true(shared_kib() < before + 2048);
	free(input);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* ---- Many tasks ---- */

enum { SUBMITTERS = 4, EACH = 400, AT_ONCE = 32 };

static odf_pool *common_pool;
static _Atomic int wrong_answers;

static void *submits(void *argument)
{
	odf_task *tasks[AT_ONCE];
	int base = (int)(intptr_t)argument * EACH;

	for (int i = 0; i < EACH; i += AT_ONCE) {
		int count = EACH - i < AT_ONCE ? EACH - i : AT_ONCE;
		for (int k = 0; k < count; k++) {
			int value = base + i + k;
			tasks[k] = NULL;
			if (odf_pool_submit(common_pool, twice, &value, sizeof value, &tasks[k]) != 0)
				wrong_answers++;
		}
		for (int k = 0; k < count; k++) {
			void *output;
			if (odf_task_wait(tasks[k], &output, NULL, 30000) != 0 || *(int *)output != 2 * (base + i + k))
				wrong_answers++;
			odf_task_free(tasks[k]);
		}
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	pthread_t threads[SUBMITTERS];

	(void)state;
	common_pool = pool_of(0, 3, 0, 0);
	wrong_answers = 0;
	for (intptr_t i = 0; i < SUBMITTERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, submits, (void *)i), 0);
	for (int i = 0; i < SUBMITTERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(wrong_answers, 0);
	assert_int_equal(odf_pool_destroy(common_pool), 0);
}

static void *allocates(void *stop)
{
	while (!*(_Atomic bool *)stop)
		free(malloc(1 + (size_t)rand() % 100000));
	return NULL;
}

static int allocates_and_prints(const void *input, size_t length, odf_output *output)
{
	char *text = malloc(100000);
	FILE *stream = open_memstream(&text, &length);

	(void)input;
	if (stream == NULL)
		return 1;
	fprintf(stream, "%d", 42);
	fclose(stream);
	return odf_output_write(output, text, 2);
}

/* Despite any locks that other threads hold when the template is made. */
static void test_beside_allocating_threads(void **state)
{
	_Atomic bool stop = false;
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocates, &stop), 0);
	for (int i = 0; i < 20; i++) {
		odf_pool *pool = pool_of(0, 1, 0, 0);
		assert_int_equal(answer_to(submitted(pool, allocates_and_prints, NULL, 0)), 0);
		assert_int_equal(odf_pool_destroy(pool), 0);
	}
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void test_queue_is_limited(void **state)
{
	odf_pool *pool = pool_of(0, 1, 0, 4);
	odf_task *tasks[4], *more;

	(void)state;
	for (int i = 0; i < 4; i++)
		tasks[i] = submitted(pool, pauses, NULL, 0);
	assert_int_equal(odf_pool_submit(pool, twice, NULL, 0, &more), EAGAIN);
	assert_null(more);
	for (int i = 0; i < 4; i++) /* one task that runs, and the others, which wait */
		odf_task_free(tasks[i]);
	/* The first one's slot comes back when its worker is dead. */
	for (int i = 0; i < 3; i++)
		tasks[i] = submitted(pool, pauses, NULL, 0);
	for (int i = 0; i < 3; i++)
		odf_task_free(tasks[i]);
	for (int i = 0; i < 200; i++)
		must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

/* ---- Refused requests ---- */

static void refuse(odf_pool *pool, odf_task_function function, int error)
{
	odf_task *task = (odf_task *)pool;

	assert_int_equal(odf_pool_submit(pool, function, "x", 1, &task), error);
	assert_null(task);
}

static void test_refused(void **state)
{
	struct surroundings before = surroundings_take();
	odf_pool *pool = pool_of(0, 1, 0, 0);
	odf_task_options options = ODF_TASK_OPTIONS_INIT;
	odf_pool_options without = { .size = sizeof without, .flags = ODF_POOL_NO_TASKS };
	const odf_pool_options wrong[] = {
		{ .size = sizeof *wrong, .workers_min = 3, .workers_max = 2 },
		{ .size = 8 },
		{ .size = sizeof *wrong, .flags = 1u << 31 },
		{ .size = sizeof *wrong, .workers_max = 257 },
		{ .size = sizeof *wrong, .workers_min = 257 },
		{ .size = sizeof *wrong, .queue = 1048577 },
	}, newer = { .size = (size_t)1 << 40 };
	char on_stack[64];
	void *page, *library, *address;
	odf_task *task;

	(void)state;
	must_work(pool);
	refuse(pool, NULL, EINVAL);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	address = on_stack;
	refuse(pool, *(odf_task_function *)&address, EFAULT);
	refuse(pool, *(odf_task_function *)&page, EFAULT);
	address = (void *)&before;
	refuse(pool, *(odf_task_function *)&address, EFAULT);
	munmap(page, 4096);
	library = dlopen("libresolv.so.2", RTLD_NOW);
	if (library != NULL) {
		address = dlsym(library, "ns_initparse");
		assert_non_null(address);
		refuse(pool, *(odf_task_function *)&address, EFAULT);
	}
	assert_int_equal(odf_pool_submit(pool, twice, NULL, 1, &task), EINVAL);
	assert_int_equal(odf_pool_submit(pool, twice, NULL, 0, NULL), EINVAL);
	assert_int_equal(odf_pool_submit(NULL, twice, NULL, 0, &task), EINVAL);
	options.flags = 4;
	assert_int_equal(odf_pool_submit_with(pool, twice, NULL, 0, &options, &task), EINVAL);
	options.size = 8;
	assert_int_equal(odf_pool_submit_with(pool, twice, NULL, 0, &options, &task), EINVAL);
	options.size = 8192;
	assert_int_equal(odf_pool_submit_with(pool, twice, NULL, 0, &options, &task), E2BIG);
	assert_int_equal(odf_pool_submit(pool, twice, on_stack, (size_t)1 << 63, &task), EFBIG);
	assert_int_equal(odf_task_wait(NULL, NULL, NULL, 0), EINVAL);
	assert_int_equal(odf_task_cancel(NULL), EINVAL);
	assert_int_equal(odf_output_write(NULL, "", 0), EINVAL);
	assert_int_equal(odf_pool_finished(pool, NULL, 0), EINVAL);
	assert_int_equal(odf_pool_finished(pool, &task, -1), ESRCH);
	must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_null(odf_pool_create(&wrong[i]));
		assert_int_equal(errno, EINVAL);
	}
	assert_null(odf_pool_create(&newer));
	assert_int_equal(errno, E2BIG);
	pool = odf_pool_create(&without);
	assert_non_null(pool);
	refuse(pool, twice, ENOTSUP);
	assert_int_equal(odf_pool_descriptor(pool), -1);
	assert_int_equal(errno, ENOTSUP);
	assert_int_equal(odf_pool_destroy(pool), 0);
	surroundings_must_equal(&before);
	if (library != NULL)
		dlclose(library);
}

/* ---- Event loops ---- */

static void test_event_loop(void **state)
{
	enum { TASKS = 200 };
	odf_pool *pool = pool_of(0, 2, 0, 0);
	struct pollfd ready = { .fd = odf_pool_descriptor(pool), .events = POLLIN };
	int submitted_count = 0, seen = 0, sum = 0;
	odf_task *task;

	(void)state;
	assert_true(ready.fd >= 0);
	assert_int_equal(poll(&ready, 1, 0), 0);
	while (seen < TASKS) {
		int error;
		while (submitted_count < TASKS && submitted_count < seen + 16) {
			int value = submitted_count++;
			(void)submitted(pool, twice, &value, sizeof value);
		}
		assert_int_equal(poll(&ready, 1, 30000), 1);
		while ((error = odf_pool_finished(pool, &task, 0)) == 0) {
			sum += output_of(task);
			seen++;
		}
		assert_true(error == ETIMEDOUT || error == ESRCH);
	}
	assert_int_equal(sum, TASKS * (TASKS - 1));
	assert_int_equal(poll(&ready, 1, 0), 0);
	/* A task whose answer the caller already has is not reported again. */
	task = submitted(pool, twice, "1234", 4);
	assert_int_equal(odf_task_wait(task, NULL, NULL, -1), 0);
	{
		odf_task *other;
		assert_int_equal(odf_pool_finished(pool, &other, 0), ESRCH);
	}
	odf_task_free(task);
	/* With a wait, and with a limit. */
	task = submitted(pool, pauses, NULL, 0);
	{
		odf_task *other;
		assert_int_equal(odf_pool_finished(pool, &other, 10), ETIMEDOUT);
		assert_int_equal(odf_task_cancel(task), 0);
		assert_int_equal(odf_pool_finished(pool, &other, 30000), 0);
		assert_ptr_equal(other, task);
	}
	assert_int_equal(answer_to(task), ECANCELED);
	assert_int_equal(odf_pool_destroy(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_memory_comes_back),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_beside_allocating_threads),
		cmocka_unit_test(test_queue_is_limited),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_event_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
