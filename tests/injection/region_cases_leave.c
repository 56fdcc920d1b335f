/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: a region that gives itself up, whose addresses other mappings take, or whose files are
 * searched for.
 */
#include "region_cases.h"

/* A child that is made as soon as the region is given up, before its file is emptied. */
void child_of_one_just_given_up(void)
{
	int ends[2];
	uint64_t mask;
	char byte;
	pid_t pid;

	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	must(pipe2(ends, O_CLOEXEC) == 0);
	region_lock(&mask);
	must(region_give_up(region, ODF_REASON_HEAP_PINS) == 0);
	pid = raw_clone();
	if (pid == 0) {
		(void)!read(ends[0], &byte, 1);
		_exit(holds_all_1() ? 0 : 1);
	}
	region_unlock(&mask);
	wait_ms(100);
	must(write(ends[1], "", 1) == 1 && status_of(pid) == 0 && holds_all_1());
	for (int tries = 0; region_resident(region) > 0; tries++) {
		must(tries < 60000);
		wait_ms(1);
	}
	must(holds_all_1());
}

static int leave(void)
{
	uint64_t mask;
	int error;

	region_lock(&mask);
	error = region_give_up(region, ODF_REASON_HEAP_PINS);
	region_unlock(&mask);
	return error;
}

void leaves(void)
{
	struct child child;

	for (int state = 0; state < 3; state++) {
		make_bare();
		must(take(0, pages) == 0);
		fill(0, pages, 1);
		must(cut(20, 5) == 0);
		if (state > 0)
			fork_and_end(holds_all_1);
		if (state == 2)
			settle();
		child = (struct child){ 0, 0 };
		if (state == 1)
			child = child_with(holds_all_1);
		must(leave() == 0 && holds_all_1());
		fill(0, pages, 2);
		if (state == 1)
			end(child);
		must(give(10, 5) == 0 && !can_be_read(10));
		must(mmap(home + 10 * PAGE, 5 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == home + 10 * PAGE);
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		fill(0, pages, 2);
		must(holds(0, pages, 2));
		must(take(pages, 1) != 0 || !can_be_read(pages));
	}
}

/* A child that the library did not see has the island, and still sees the same there. */
void leaves_a_raw_child_alone(void)
{
	struct child raw;

	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	must(cut(20, 20) == 0);
	raw = raw_child_with_island(20, 20);
	must(leave() == 0);
	fill(0, pages, 2);
	end(raw);
	must(holds(0, pages, 2));
}

/* ---- The region's places, taken by other mappings ---------------------------------------------------------------- */

/* The template cannot stay in one piece. */
static bool fails_to_keep_template(const struct call *call, long *result)
{
	if (!ours || call->number != SYS_mremap || !(call->d & 4 /* MREMAP_DONTUNMAP */) || (char *)call->e < home ||
	    (char *)call->e >= home + pages * PAGE)
		return false;
	*result = -ENOMEM;
	return true;
}

static char *template_part;

/* Another thread's mapping takes the place that the template has left. */
static bool takes_place_of_template(const struct call *call, long *result)
{
	if (fails_to_keep_template(call, result))
		return true;
	if (!ours || call->number != SYS_mremap || (call->d & 4) || template_part != NULL)
		return false;
	*result = real_call(call->number, call->a, call->b, call->c, call->d, call->e, 0);
	template_part = mmap((void *)call->a, PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	must(template_part == (char *)call->a);
	memset(template_part, 77, PAGE);
	return true;
}

void foreign_memory_in_the_template(void)
{
	make_filled();
	hook = takes_place_of_template;
	must(cut(10, 1) == 0);
	hook = NULL;
	for (int round = 0; round < 2; round++) {
		must(template_part[0] == 77 && template_part[PAGE - 1] == 77);
		fork_and_end(holds_all_1);
		must(template_part[0] == 77 && template_part[PAGE - 1] == 77);
		settle();
		must(template_part[0] == 77 && template_part[PAGE - 1] == 77);
	}
	must(holds_all_1());
}

static char *left_by_template;

static bool sees_template(const struct call *call, long *result)
{
	if (fails_to_keep_template(call, result))
		return true;
	if (ours && call->number == SYS_mremap && !(call->d & 4) && left_by_template == NULL)
		left_by_template = (char *)call->a;
	return false;
}

/* The place that the template leaves for an island is not available. */
void place_of_the_template_is_kept(void)
{
	make_filled();
	hook = sees_template;
	must(cut(10, 1) == 0);
	hook = NULL;
	must(left_by_template != NULL);
	must(mmap(left_by_template, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
		     MAP_FAILED &&
	     errno == EEXIST);
}

/* A place at aside where memory is LIVE is lost, and another mapping lies there: a move to it was refused, for a loss
 * that then did not begin. */
static int lose_place(size_t page, size_t count)
{
	int error;

	hook = loses_aside;
	error = apply(region_lose_begin, page, count);
	must(foreign != NULL && foreign[0] == 77);
	return error;
}

static bool is_foreign_untouched(void)
{
	return foreign[0] == 77 && foreign[PAGE - 1] == 77;
}

/* Until the keeper has made a new aside, nothing is moved to that place, and it is not unmapped with the region. */
void nothing_is_moved_to_a_lost_place(void)
{
	int error;

	make_filled();
	must(lose_place(10, 5) == ENOMEM && region->aside_lost && is_all(0, pages, REGION_MEMORY));
	error = apply(region_lose_begin, 10, 1);
	must(is_foreign_untouched() && error == ENOMEM);
	error = cut(10, 1);
	must(is_foreign_untouched() && error == 0 && is_all(10, 1, REGION_ISLAND));
	must(give(10, 1) == 0);
	(void)take(10, 1);
	must(give(11, 2) == 0 && is_foreign_untouched());
	must(holds(0, 10, 1) && holds(13, pages, 1));
	must(region->aside_lost && odf_region_destroy(region) == 0);
	must(is_foreign_untouched());
	hook = NULL;
}

/* The same if a fork lost the place: the fork then gives the region up. */
void fork_with_a_lost_place(void)
{
	make_filled();
	must(cut(20, 5) == 0);
	hook = loses_aside;
	fork_and_end(holds_all_1);
	must(foreign != NULL && is_foreign_untouched());
	must_be_given_up();
	(void)cut(0, 1);
	must(is_foreign_untouched());
	(void)apply(region_lose_begin, 0, 1);
	must(is_foreign_untouched());
	(void)give(0, 1);
	(void)take(0, 1);
	must(is_foreign_untouched() && holds(1, pages, 1));
	must(odf_region_destroy(region) == 0 && is_foreign_untouched());
	hook = NULL;
}

/* The same between two steps of a settle: it does not continue with what it does not have. */
void lost_place_amid_a_settle(void)
{
	for (int cuts = 0, error; cuts < 2; cuts++) {
		foreign = NULL;
		make_filled();
		(void)settle_by_half();
		if (cuts) { /* which still succeeds, by another way */
			hook = loses_aside;
			must(cut(0, 1) == 0 && foreign != NULL && foreign[0] == 77);
		} else {
			must(lose_place(0, 1) == ENOMEM && is_all(0, pages, REGION_MEMORY));
		}
		hook = NULL;
		error = settle_on();
		must(is_foreign_untouched() && error == EAGAIN);
		settle();
		must(is_foreign_untouched() && holds_all_1());
	}
}

void lost_place_of_a_hole_amid_a_settle(void)
{
	make_filled();
	must(give(2 * TABLE, TABLE) == 0);
	fork_and_end(is_child);
	fill(0, 2 * TABLE, 1);
	settle_until(BETWEEN_STEPS, 2);
	hook = loses_aside;
	must(take(2 * TABLE, TABLE) != 0 && foreign != NULL);
	must(take(2 * TABLE, TABLE) != 0);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	hook = NULL;
	(void)settle_on();
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	settle();
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77 && holds(0, 2 * TABLE, 1));
	must(take(2 * TABLE, TABLE) == 0 && holds(2 * TABLE, pages, 0));
}

/* ---- The region's files, which the keeper holds ------------------------------------------------------------------ */

/* Counts the descriptors of files with that name in this process, or with any name of the library's, and returns the
 * first. (The path of this program may contain the project's name.) */
static int count_files(const char *name, int *first)
{
	DIR *files = opendir("/proc/self/fd");
	struct dirent *entry;
	int count = 0;

	must(files != NULL);
	while ((entry = readdir(files)) != NULL) {
		char path[300], target[100] = "";
		snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
		if (readlink(path, target, sizeof target - 1) <= 0)
			continue;
		if ((name != NULL
			     ? strstr(target, name) != NULL
			     : strstr(target, "odfork-region") != NULL || strstr(target, "odfork-token") != NULL) &&
		    count++ == 0 && first != NULL)
			*first = atoi(entry->d_name);
	}
	closedir(files);
	return count;
}

static bool has_no_files(void)
{
	must(is_child() && holds_all_1());
	return count_files(NULL, NULL) == 0;
}

/* No number in the program's descriptor table is taken, even for a moment in which its other threads could see it: the
 * next descriptor still gets the number after the program's highest. */
void files_are_the_keepers(void)
{
	int before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;
	pid_t pid;

	must(before >= 0);
	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	must(count_files(NULL, NULL) == 0);
	pid = fork(); /* libc's fork */
	if (pid == 0)
		_exit(has_no_files() ? 0 : 1);
	must(status_of(pid) == 0);
	fork_and_end(has_no_files);
	must(count_files(NULL, NULL) == 0);
	settle();
	after = open("/dev/null", O_RDONLY | O_CLOEXEC);
	must(holds_all_1() && after == before + 1);
}

/* Another region exists first, and with it the keeper, which can no longer open files. */
void files_of_a_late_region(void)
{
	odf_region *first = odf_region_create(PAGE, ODF_REGION_MANUAL);

	must(first != NULL);
	make_filled();
	must(count_files(NULL, NULL) == 0);
	fork_and_end(holds_all_1);
	settle();
	must(odf_region_destroy(first) == 0);
	fork_and_end(holds_all_1);
	settle();
}
