/* SPDX-License-Identifier: MIT
 *
 * Random kills: threads submit tasks of all kinds, wait, cancel and free, while workers (and from time to time the
 * manager) are killed, stopped and continued at random moments. Every task gets one answer: the right one, or that its
 * worker died.
 *
 * ODF_TEST_KILLS (300): how many are killed. ODF_TEST_SEED (1): the seed.
 */
#include <dirent.h>
#include <stdatomic.h>

#include "../support/pool_support.h"

enum { THREADS = 3, AT_ONCE = 12 };

static odf_pool *pool;
static _Atomic bool is_over;
static _Atomic unsigned long answers[4], wrong, kills, manager_kills; /* right, dead, cancelled, freed */
static _Atomic int last_error;

static unsigned seed_of(void)
{
	const char *text = getenv("ODF_TEST_SEED");

	return text != NULL ? (unsigned)atoi(text) : 1;
}

static void note_wrong(int error)
{
	wrong++;
	last_error = error;
}

struct item {
	odf_task *task;
	char *input;
	size_t length;
	bool cancelled;
};

static size_t some_size(unsigned *seed)
{
	switch (rand_r(seed) % 8) {
	case 0: return 0;
	case 1: return 1 + (size_t)rand_r(seed) % 200000;
	case 2: return 390 + (size_t)rand_r(seed) % 20;
	default: return 1 + (size_t)rand_r(seed) % 300;
	}
}

static bool submit(struct item *item, unsigned *seed)
{
	odf_task_options options = ODF_TASK_OPTIONS_INIT;
	int error;

	item->length = some_size(seed);
	item->input = malloc(item->length + 1);
	item->cancelled = false;
	for (size_t i = 0; i < item->length; i++)
		item->input[i] = (char)(item->length + i * 7);
	if (rand_r(seed) % 16 == 0)
		options.flags = ODF_TASK_FRESH;
	if (rand_r(seed) % 4 == 0)
		options.time_ms = 60000;
	error = odf_pool_submit_with(pool, echoes, item->input, item->length, &options, &item->task);
	if (error != 0) {
		note_wrong(error);
		free(item->input);
	}
	return error == 0;
}

static void take_answer(struct item *item, unsigned *seed)
{
	void *output;
	size_t length;
	int error;

	if (rand_r(seed) % 32 == 0) {
		answers[3]++;
	} else {
		error = odf_task_wait(item->task, &output, &length, 60000);
		if (error == 0 && (length != item->length || memcmp(output, item->input, length) != 0))
			note_wrong(-1);
		else if (error == 0)
			answers[0]++;
		else if (error == ECHILD)
			answers[1]++;
		else if (error == ECANCELED && item->cancelled)
			answers[2]++;
		else
			note_wrong(error);
		if (odf_task_wait(item->task, NULL, NULL, 0) != error)
			note_wrong(-2);
	}
	odf_task_free(item->task);
	free(item->input);
}

static void *works(void *argument)
{
	unsigned seed = seed_of() * 100 + (unsigned)(intptr_t)argument;
	struct item items[AT_ONCE];

	while (!is_over && wrong == 0) {
		int count = 0;
		for (int i = 0; i < 1 + rand_r(&seed) % AT_ONCE; i++)
			count += submit(&items[count], &seed);
		for (int i = 0; i < count; i++)
			if (rand_r(&seed) % 16 == 0)
				items[i].cancelled = odf_task_cancel(items[i].task) == 0;
		for (int i = 0; i < count; i++)
			take_answer(&items[i], &seed);
	}
	return NULL;
}

/* One of the manager's children; 0: there is none. */
static pid_t some_worker(pid_t manager, unsigned *seed)
{
	pid_t found[64];
	int count = 0;
	DIR *processes = opendir("/proc");
	struct dirent *entry;

	while (processes != NULL && (entry = readdir(processes)) != NULL && count < 64) {
		pid_t pid = atoi(entry->d_name);
		if (pid > 0 && parent_of(pid) == manager)
			found[count++] = pid;
	}
	if (processes != NULL)
		closedir(processes);
	return count == 0 ? 0 : found[rand_r(seed) % count];
}

static void kill_at_random(unsigned long wanted)
{
	unsigned seed = seed_of();

	while (kills < wanted && wrong == 0) {
		odf_pool_info info = ODF_POOL_INFO_INIT;
		struct timespec moment = { 0, rand_r(&seed) % 3000 * 1000 };
		pid_t worker;

		nanosleep(&moment, NULL);
		if (odf_pool_info_get(pool, &info) != 0 || info.manager == 0)
			continue;
		if (rand_r(&seed) % 64 == 0) {
			manager_kills += kill(info.manager, SIGKILL) == 0;
			continue;
		}
		worker = some_worker(info.manager, &seed);
		if (worker == 0)
			continue;
		if (rand_r(&seed) % 4 == 0) {
			kill(worker, SIGSTOP);
			nanosleep(&moment, NULL);
			if (rand_r(&seed) % 2 == 0)
				kill(worker, SIGCONT);
		}
		/* The worker may have ended since; its pid is reused only after tens of thousands of others. */
		kills += kill(worker, rand_r(&seed) % 2 == 0 ? SIGKILL : SIGTERM) == 0;
		kill(worker, SIGCONT);
	}
}

static void *nothing(void *argument)
{
	return argument;
}

static void test_random_kills(void **state)
{
	const char *text = getenv("ODF_TEST_KILLS");
	unsigned long wanted = text != NULL ? strtoul(text, NULL, 10) : 300;
	struct surroundings before;
	pthread_t threads[THREADS];

	(void)state;
	/* libc handles a signal from its first thread on. */
	assert_int_equal(pthread_create(&threads[0], NULL, nothing, NULL), 0);
	pthread_join(threads[0], NULL);
	before = surroundings_take();
	pool = pool_of(1, 4, 20, 512);
	for (intptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, works, (void *)i), 0);
	kill_at_random(wanted);
	is_over = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	print_message("# %lu workers and %lu managers killed: %lu answers right, %lu of dead workers, %lu cancelled, "
		      "%lu freed\n", kills, manager_kills, answers[0], answers[1], answers[2], answers[3]);
	if (wrong != 0)
		print_message("# %lu wrong: %d\n", wrong, last_error);
	assert_int_equal(wrong, 0);
	assert_true(answers[0] > 0 && answers[1] > 0);
	/* Every slot becomes free again. */
	for (int i = 0; i < 600; i++)
		must_work(pool);
	assert_int_equal(odf_pool_destroy(pool), 0);
	surroundings_must_equal(&before);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_kills) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
