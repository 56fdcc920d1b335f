/* SPDX-License-Identifier: MIT
 *
 * Cases of region_forks: how long a snapshot is held: by generations, by orphans, across changes of ids, by threads
 * that are cancelled, and by processes that end in different ways.
 */
#include "region_forks.h"

static int grandchild(void)
{
	odf_region *inherited = region;
	volatile uint64_t *there = base;

	REQUIRE(holds());
	make_region();
	write_odd_pages();
	for (int i = 0; i < way_count; i++)
		snapshot_by(ways[i].start);
	REQUIRE(odf_region_destroy(region) == 0);
	region = inherited;
	base = there;
	return SEEN;
}

static int child_with_children(void)
{
	odf_region_info found = info();

	is_child = true;
	REQUIRE(found.state == ODF_REGION_INHERITED && found.live_bytes == 0 && found.resident_bytes == 0 &&
		found.capacity == (size_t)PAGES * PAGE);
	REQUIRE(holds());
	write_odd_pages();
	REQUIRE(info().private_bytes >= (size_t)PAGES / 2 * PAGE);
	REQUIRE(odf_region_settle(region) == 0 && odf_region_base(region) == base);
	shared->go = 1;
	for (int i = 0; i < way_count; i++)
		REQUIRE(exits_with(ways[i].start(look), SEEN));
	REQUIRE(exits_with(by_fork(grandchild), SEEN));
	/* Discards of all sizes: the pages become zero in this process only. */
	for (size_t length = 1; length <= 512; length *= 2)
		REQUIRE(odf_region_discard(region, (char *)(uintptr_t)base + 512 * PAGE, length * PAGE) == 0);
	for (size_t page = 512; page < 1024; page++)
		REQUIRE(base[page * WORDS] == 0 && base[page * WORDS + WORDS - 1] == 0);
	REQUIRE(odf_region_discard(region, (char *)(uintptr_t)base + 1, PAGE) == EINVAL);
	REQUIRE(page_has(511, odd) && page_has(1024, even));
	write_page(600, 5);
	REQUIRE(page_has(600, 5));
	REQUIRE(odf_region_destroy(region) == 0);
	return SEEN;
}

void case_generations(void)
{
	make_region();
	for (int i = 0; i < way_count; i++) {
		if (ways[i].in_handlers && ways[i].start != by_bare_fork)
			continue; /* libc does not know that this is a new process; such a child makes no threads */
		REQUIRE(exits_with(ways[i].start(child_with_children), SEEN));
		REQUIRE(holds());
	}
	await_live();
	REQUIRE(holds());
}

static int leave_an_orphan(void)
{
	pid_t pid = by_bare_fork(look);

	return pid > 0 ? SEEN : 1;
}

/* Its parent has ended, but not its grandparent, which has the file. */
void case_orphan(void)
{
	make_region();
	shared->go = 0;
	REQUIRE(exits_with(by_fork(leave_an_orphan), SEEN));
	write_odd_pages();
	for (int i = 0; i < 20; i++) {
		REQUIRE(odf_region_settle(region) == EBUSY && info().state == ODF_REGION_FROZEN);
		usleep(5000);
	}
	REQUIRE(holds());
	shared->go = 1;
	await_live();
	REQUIRE(holds());
}

/* Adjacent discards, each with its own memory: mappings that the kernel does not merge. */
void case_neighbours(void)
{
	char *first;

	make_region();
	first = (char *)(uintptr_t)base;
	for (int round = 0; round < 3; round++) {
		shared->go = 1;
		REQUIRE(exits_with(by_fork(look), SEEN));
		for (int i = 0; i < 3; i++) {
			static const size_t order[] = { 0, 2, 1 };
			size_t page = 16 + 16 * order[i];
			REQUIRE(odf_region_discard(region, first + page * PAGE, 16 * PAGE) == 0);
			base[page * WORDS] = page;
		}
		await_live();
		for (size_t page = 16; page < 64; page++) {
			REQUIRE(base[page * WORDS] == (page % 16 == 0 ? page : 0) && base[page * WORDS + 1] == 0);
			write_page(page, page % 2 == 0 ? even : odd);
		}
		REQUIRE(holds());
	}
}

static int handled[3];
static void prepare_handler(void)
{
	write_page(0, 500);
	handled[0]++;
}
static void parent_handler(void)
{
	write_page(2, 501);
	handled[1]++;
}
static void child_handler(void)
{
	write_page(4, 502);
	handled[2]++;
}

static int look_after_handlers(void)
{
	REQUIRE(page_has(0, 500) && page_has(2, 0) && page_has(4, 502) && handled[0] == 1 && handled[1] == 0 &&
		handled[2] == 1);
	return SEEN;
}

void case_atfork_handlers(void)
{
	REQUIRE(pthread_atfork(prepare_handler, parent_handler, child_handler) == 0);
	make_region();
	REQUIRE(exits_with(by_fork(look_after_handlers), SEEN));
	await_live();
	REQUIRE(page_has(0, 500) && page_has(2, 501) && page_has(4, 0) && handled[0] == 1 && handled[1] == 1 &&
		handled[2] == 0);
}

/* ---- Threads and ids --------------------------------------------------------------------------------------------- */

static void *fork_while_ids_change(void *unused)
{
	while (!stop) {
		pid_t pid = by_fork(end_at_once);
		REQUIRE(pid > 0 && exits_with(pid, SEEN));
		usleep(1000);
	}
	return unused;
}

static void every_thread_must_have(uid_t uid)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int threads = 0;

	REQUIRE(tasks != NULL);
	while ((entry = readdir(tasks)) != NULL) {
		char path[300], line[256];
		unsigned real = 0, effective = 0;
		FILE *status;
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
		status = fopen(path, "r");
		REQUIRE(status != NULL);
		while (fgets(line, sizeof line, status) != NULL)
			if (sscanf(line, "Uid: %u %u", &real, &effective) == 2)
				break;
		fclose(status);
		REQUIRE(effective == uid);
		threads++;
	}
	closedir(tasks);
	REQUIRE(threads >= 2);
}

void case_ids(void)
{
	uid_t other = geteuid() == 0 ? NOBODY : geteuid();
	gid_t other_group = geteuid() == 0 ? NOBODY : getegid();
	pthread_t thread;

	make_region();
	REQUIRE(pthread_create(&thread, NULL, fork_while_ids_change, NULL) == 0);
	for (int i = 0; i < 40; i++) {
		uid_t self = geteuid();
		gid_t group = getegid();
		REQUIRE(setegid(other_group) == 0 && seteuid(other) == 0);
		every_thread_must_have(other);
		REQUIRE(seteuid(self) == 0 && setegid(group) == 0);
	}
	REQUIRE(setgid(other_group) == 0 && setuid(other) == 0);
	every_thread_must_have(other);
	usleep(50000);
	stop = true;
	pthread_join(thread, NULL);
	REQUIRE(holds());
	REQUIRE(exits_with(by_fork(end_at_once), SEEN));
	await_live();
	REQUIRE(holds());
}

static void *destroy_cancelled(void *unused)
{
	pthread_cancel(pthread_self());
	(void)odf_region_destroy(region);
	return unused;
}

static void *make_cancelled(void *unused)
{
	pthread_cancel(pthread_self());
	make_region();
	(void)info();
	(void)odf_region_settle(region);
	return unused;
}

/* None of the functions is a cancellation point. */
void case_cancelled(void)
{
	for (int i = 0; i < 40; i++) {
		pthread_t thread;
		void *result = NULL;
		REQUIRE(pthread_create(&thread, NULL, make_cancelled, NULL) == 0 && pthread_join(thread, &result) == 0);
		REQUIRE(result != PTHREAD_CANCELED && holds());
		REQUIRE(pthread_create(&thread, NULL, destroy_cancelled, NULL) == 0 &&
			pthread_join(thread, &result) == 0);
		REQUIRE(result != PTHREAD_CANCELED);
	}
}

static void *execute(void *unused)
{
	execl("/bin/sh", "sh", "-c", "exit 42", (char *)NULL);
	return unused;
}

static int exec_in_thread(void)
{
	pthread_t thread;

	make_region();
	REQUIRE(by_fork(look) > 0);
	REQUIRE(pthread_create(&thread, NULL, execute, NULL) == 0);
	pthread_join(thread, NULL);
	return 1;
}

static void exit_frozen_at_exit(void)
{
	REQUIRE(holds() && info().state == ODF_REGION_FROZEN);
	shared->ready = 1;
}

static int exit_frozen(void)
{
	make_region();
	REQUIRE(by_fork(look) > 0);
	write_odd_pages();
	REQUIRE(atexit(exit_frozen_at_exit) == 0);
	exit(SEEN);
}

void case_ends(void)
{
	shared->go = 0;
	REQUIRE(exits_with(by_fork(exec_in_thread), SEEN));
	shared->ready = 0;
	REQUIRE(exits_with(by_fork(exit_frozen), SEEN) && shared->ready == 1);
	shared->go = 1;
}

/* ---- Descriptors ------------------------------------------------------------------------------------------------- */

static unsigned open_descriptors(void)
{
	DIR *numbers = opendir("/proc/self/fd");
	unsigned count = 0;

	REQUIRE(numbers != NULL);
	while (readdir(numbers) != NULL)
		count++;
	closedir(numbers);
	return count;
}

static int count_descriptors(void)
{
	return (int)open_descriptors();
}

static int close_everything(void)
{
	struct rlimit limit;

	REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	make_region();
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	for (int i = 0; i < way_count; i++)
		if (ways[i].start != by_forkpty)
			snapshot_by(ways[i].start);
	/* And no more descriptors can be opened. */
	limit.rlim_cur = 0;
	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	shared->go = 1;
	for (int i = 0; i < way_count; i++) {
		if (ways[i].start != by_forkpty && ways[i].start != by_odf_fork_with)
			REQUIRE(exits_with(ways[i].start(look), SEEN));
		(void)odf_region_settle(region);
		write_odd_pages();
	}
	REQUIRE(holds());
	limit.rlim_cur = 32;
	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	snapshot_by(by_fork);
	return SEEN;
}

void case_descriptors(void)
{
	unsigned before = open_descriptors();
	pid_t pid;

	make_region();
	REQUIRE(open_descriptors() == before);
	shared->go = 0;
	pid = by_fork(look);
	REQUIRE(pid > 0 && open_descriptors() == before);
	REQUIRE(exits_with(by_fork(count_descriptors), (int)before));
	shared->go = 1;
	REQUIRE(exits_with(pid, SEEN) && open_descriptors() == before);
	await_live();
	(void)info();
	REQUIRE(open_descriptors() == before);
	REQUIRE(exits_with(by_fork(close_everything), SEEN));
	REQUIRE(odf_region_destroy(region) == 0 && open_descriptors() == before);
}
