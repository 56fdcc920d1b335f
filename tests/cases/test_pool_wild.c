/* SPDX-License-Identifier: MIT
 *
 * A worker that writes garbage over the memory that it shares with the program. Answers may be wrong or missing, but
 * nothing else may go wrong. The program makes no stray access (the address sanitizer checks this), ends its pool, and
 * gets a new crew. Each kind of garbage in a child. ODF_TEST_SEEDS (20): how many random ones.
 */
#include <fcntl.h>

#include "../../src/pool/crew.h"
#include "../../src/pool/internal.h"
#include "../support/pool_support.h"

#define REQUIRE(condition)                                                              \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "# %s:%d: %s\n", __FILE__, __LINE__, #condition); \
			return 1;                                                       \
		}                                                                       \
	} while (0)

enum { ALARM_SECONDS = 600, SLOTS = 64, MANY = 80, LONG = 1 << 20 };

enum nonsense {
	NOTHING, LIMITS, USED, RINGS, PLACES, RELEASED, OUTPUTS, CODE, STATES, HEAD_ONES, HEAD_ZEROS, RANDOM_HEAD,
	RANDOM_SLOTS, RANDOM_ALL, NONSENSE_COUNT
};
struct order {
	int what;
	unsigned seed;
	size_t ring_at, fresh_at, slots_at; /* relative to the head */
};

/* The worker's view of the shared memory, as a task with stray writes may hit it. */
static struct share *find_head(void)
{
	char *text = read_file("/proc/self/maps"), *line = text;
	void *found = NULL;

	for (; line != NULL && found == NULL; line = strchr(line, '\n')) {
		char *end, *name;

		line += *line == '\n';
		end = strchr(line, '\n');
		name = strstr(line, "/memfd:odfork-pool ");
		if (name != NULL && end != NULL && name < end)
			found = (void *)(uintptr_t)strtoul(line, NULL, 16);
		if (end == NULL)
			break;
	}
	free(text);
	return found;
}

static void fill(void *from, void *to, unsigned *seed)
{
	for (char *at = from; at < (char *)to; at++)
		if (rand_r(seed) % 4 != 0)
			*at = rand_r(seed) % 3 == 0 ? (char)255 : (char)rand_r(seed);
}

static int writes_nonsense(const void *input, size_t length, odf_output *output)
{
	struct order order = *(const struct order *)input;
	struct share *head = find_head();
	struct slot *slots, *end;

	(void)length, (void)output;
	if (head == NULL)
		return 1;
	slots = (struct slot *)(void *)((char *)head + order.slots_at);
	end = slots + SLOTS;
	switch (order.what) {
	case LIMITS:
		memset(head, 255, offsetof(struct share, ready));
		break;
	case USED:
		atomic_store(&head->used, ~0u);
		break;
	case RINGS:
		atomic_store(&head->tail, 1u << 31);
		atomic_store(&head->fresh_tail, 77777);
		memset((char *)head + order.ring_at, 255, SLOTS * sizeof(unsigned));
		memset((char *)head + order.fresh_at, 255, SLOTS * sizeof(unsigned));
		break;
	case PLACES:
		atomic_store(&head->bulk_next, ~(uint64_t)0 - 4095);
		break;
	case RELEASED:
		for (struct slot *slot = slots; slot < end; slot++)
			atomic_store(&slot->state, SLOT_RELEASED);
		atomic_store(&head->released, 1);
		break;
	case OUTPUTS:
		for (struct slot *slot = slots; slot < end; slot++) {
			slot->output_room = 1;
			slot->output_at = 4096;
			slot->output_length = (uint64_t)256 << 20;
		}
		break;
	case CODE:
		head->code_count = ~0u;
		memset((char *)head + offsetof(struct share, code_all), 255, 1);
		memset(head->code, 255, sizeof head->code);
		break;
	case STATES:
		for (struct slot *slot = slots; slot < end; slot++)
			atomic_store(&slot->state, SLOT_OF(SLOT_CONDEMNED, 250 + (slot - slots)));
		break;
	case HEAD_ONES:
		memset((void *)head, 255, sizeof *head);
		break;
	case HEAD_ZEROS:
		memset((void *)head, 0, sizeof *head);
		break;
	case RANDOM_HEAD:
		fill(head, head + 1, &order.seed);
		break;
	case RANDOM_SLOTS:
		fill(slots, end, &order.seed);
		break;
	case RANDOM_ALL:
		fill(head, end, &order.seed);
		break;
	default:
		break;
	}
	return 0;
}

static char much[LONG];

/* Makes all calls that a program makes on a pool. An error is a valid answer. */
static void use(odf_pool *pool, odf_task **tasks, int *count)
{
	odf_pool_info about = ODF_POOL_INFO_INIT;
	odf_task *told;
	int value = 7;

	for (int i = 0; i < MANY && *count < 3 * MANY; i++) {
		odf_task_options options = ODF_TASK_OPTIONS_INIT;
		bool is_long = i % 16 == 3;

		options.flags = i % 8 == 5 ? ODF_TASK_FRESH : 0;
		if (odf_pool_submit_with(pool, is_long ? echoes : twice, is_long ? (void *)much : (void *)&value,
					 is_long ? LONG : sizeof value, &options, &tasks[*count]) == 0)
			++*count;
	}
	for (int i = 0; i < *count; i++) {
		odf_task_info info = ODF_TASK_INFO_INIT;
		void *output;
		size_t length;

		(void)odf_task_info_get(tasks[i], &info);
		if (odf_task_wait(tasks[i], &output, &length, i % 4 == 0 ? 1 : 0) == 0 && length > 0)
			((volatile char *)output)[length - 1]++;
		if (i % 3 == 0)
			(void)odf_task_cancel(tasks[i]);
	}
	for (int i = 0; i < MANY && odf_pool_finished(pool, &told, 0) == 0; i++)
		;
	(void)odf_pool_info_get(pool, &about);
}

/* The program notices a manager's death a moment later, and loses the tasks until then. Garbage may have answered the
 * wild task before. */
static bool gets_another_crew(odf_pool *pool, pid_t manager)
{
	for (int tries = 0; tries < 10000; tries++) {
		odf_task *task;
		int value = 1;
		if (odf_pool_submit(pool, twice, &value, sizeof value, &task) == 0) {
			bool works = odf_task_wait(task, NULL, NULL, 120000) == 0;
			odf_task_free(task);
			if (works && pool_info_of(pool).manager != manager)
				return true;
		}
		usleep(1000);
	}
	return false;
}

static int survives(struct order order)
{
	odf_pool *pool = pool_of(1, 2, 0, SLOTS);
	const struct share_view *view;
	odf_task *tasks[3 * MANY], *longer, *short_one, *running, *wild;
	pid_t manager;
	int count = 0, value = 3, error;
	void *output;

	longer = submitted(pool, echoes, much, LONG);
	short_one = submitted(pool, twice, &value, sizeof value);
	while (info_of(longer).state != ODF_TASK_ENDED || info_of(short_one).state != ODF_TASK_ENDED)
		usleep(1000);
	running = submitted(pool, pauses, NULL, 0);
	(void)worker_of(running);
	manager = pool_info_of(pool).manager;
	view = &longer->crew->view;
	order.ring_at = (uintptr_t)view->ring - (uintptr_t)view->head;
	order.fresh_at = (uintptr_t)view->fresh_ring - (uintptr_t)view->head;
	order.slots_at = (uintptr_t)view->slots - (uintptr_t)view->head;
	wild = submitted(pool, writes_nonsense, &order, sizeof order);
	error = odf_task_wait(wild, NULL, NULL, order.what < RELEASED ? 30000 : 300);
	if (order.what == NOTHING)
		REQUIRE(error == 0 && info_of(wild).result == 0 && odf_task_wait(longer, NULL, NULL, 0) == 0);
	if (order.what == OUTPUTS) /* mapped output would take the machine's memory */
		REQUIRE(odf_task_wait(longer, &output, NULL, 0) == EIO);
	use(pool, tasks, &count);
	odf_task_free(running);
	odf_task_free(longer);
	use(pool, tasks, &count);
	for (int i = 0; i < count; i += 2)
		odf_task_free(tasks[i]);
	(void)kill(manager, SIGKILL);
	must_be_gone_soon(manager);
	for (int i = 1; i < count; i += 2) {
		(void)odf_task_wait(tasks[i], NULL, NULL, 0);
		odf_task_free(tasks[i]);
	}
	count = 0;
	REQUIRE(odf_task_wait(wild, NULL, NULL, 30000) != ETIMEDOUT); /* the manager's death is noticed */
	use(pool, tasks, &count); /* another crew */
	for (int i = 0; i < count; i++)
		odf_task_free(tasks[i]);
	REQUIRE(gets_another_crew(pool, manager));
	must_work(pool);
	odf_task_free(wild);
	odf_task_free(short_one);
	REQUIRE(odf_pool_destroy(pool) == 0);
	return 0;
}

static void must_survive(enum nonsense what, unsigned seed)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(ALARM_SECONDS);
		_exit(survives((struct order){ .what = (int)what, .seed = seed }));
	}
	status = wait_for(pid);
	if (status != 0)
		fail_msg("nonsense %d, seed %u: wait status %#x", what, seed, (unsigned)status);
}

static void test_nonsense(void **state)
{
	(void)state;
	for (enum nonsense what = NOTHING; what < RANDOM_HEAD; what++)
		must_survive(what, 0);
}

static void test_random_nonsense(void **state)
{
	const char *seeds = getenv("ODF_TEST_SEEDS");
	unsigned count = seeds == NULL ? 20 : (unsigned)atoi(seeds);

	(void)state;
	for (unsigned seed = 0; seed < count; seed++)
		must_survive(RANDOM_HEAD + seed % 3, seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_random_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
