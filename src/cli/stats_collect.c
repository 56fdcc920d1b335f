/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sys/error_name.h"
#include "stats.h"

/* Programs may put anything into names, so their number is limited. */
#define TALLIES_MOST 1000

static bool make_room(void *list, size_t count, size_t *room, size_t size)
{
	size_t more = *room == 0 ? 16 : *room * 2;
	void *grown;

	if (count < *room)
		return true;
	grown = realloc(*(void **)list, more * size);
	if (grown == NULL)
		return false;
	*(void **)list = grown;
	*room = more;
	return true;
}

static bool count_one(struct stats_tallies *tallies, const char *name)
{
	for (size_t i = 0; i < tallies->count; i++) {
		if (strncmp(tallies->list[i].name, name, STATS_TALLY_NAME - 1) == 0) {
			tallies->list[i].count++;
			return true;
		}
	}
	if (tallies->count == TALLIES_MOST) {
		tallies->others++;
		return true;
	}
	if (!make_room(&tallies->list, tallies->count, &tallies->room, sizeof *tallies->list))
		return false;
	snprintf(tallies->list[tallies->count].name, STATS_TALLY_NAME, "%s", name);
	tallies->list[tallies->count++].count = 1;
	return true;
}

/* "kernel: kernel_not_offered, region: no_region": counts each pair. */
static bool count_reasons(struct stats_tallies *tallies, const char *list)
{
	while (*list != '\0') {
		size_t length = strcspn(list, ",");
		char name[STATS_TALLY_NAME];
		snprintf(name, sizeof name, "%.*s", (int)length, list);
		if (!count_one(tallies, name))
			return false;
		list += length;
		list += strspn(list, ", ");
	}
	return true;
}

static bool count_failure(struct stats_tallies *tallies, const struct record_line *record)
{
	int error = (int)record->error;
	const char *known = error_name(error);
	char name[STATS_TALLY_NAME];

	if (known != NULL)
		snprintf(name, sizeof name, "%s: step %s, %s", record->call, record->step, known);
	else
		snprintf(name, sizeof name, "%s: step %s, error %d", record->call, record->step, error);
	return count_one(tallies, name);
}

static int size_of(const struct record_line *record)
{
	double bytes = (record->region_bytes > 0 ? record->region_bytes : 0) + record->private_bytes,
	       bound = STATS_SIZE_FIRST;
	int size = 0;

	if (record->private_bytes < 0)
		return STATS_NO_SIZE;
	for (; size < STATS_SIZES - 1 && bytes >= bound; size++)
		bound *= 4;
	return size;
}

static struct stats_group *find_group(struct stats *stats, const struct record_line *record)
{
	struct stats_group *group;
	int size = size_of(record);

	for (size_t i = 0; i < stats->group_count; i++)
		if (stats->groups[i].size == size && strcmp(stats->groups[i].call, record->call) == 0)
			return &stats->groups[i];
	group = reallocarray(stats->groups, stats->group_count + 1, sizeof *group);
	if (group == NULL)
		return NULL;
	stats->groups = group;
	group += stats->group_count++;
	*group = (struct stats_group){ .size = size };
	memcpy(group->call, record->call, sizeof group->call);
	return group;
}

static odf_strategy strategy_of(const char *name)
{
	for (odf_strategy s = ODF_STRATEGY_NONE + 1; s < ODF_STRATEGY_COUNT; s++)
		if (strcmp(name, odf_strategy_name(s)) == 0)
			return s;
	return ODF_STRATEGY_NONE;
}

/* Processes that occur. By pid, as a process that has executed another program is still the same. */
static bool note_process(struct stats *stats, double pid)
{
	static unsigned char seen[(1 << 22) / 8]; /* the kernel's highest pid */
	uint32_t number = pid >= 0 && pid < 1 << 22 ? (uint32_t)pid : 0;

	if (!(seen[number / 8] & 1u << number % 8)) {
		seen[number / 8] |= (unsigned char)(1u << number % 8);
		stats->processes++;
	}
	return true;
}

bool stats_add(struct stats *stats, const struct record_line *record)
{
	struct stats_group *group = find_group(stats, record);
	bool failed = record->child < 0 || record->error > 0;

	if (group == NULL || !note_process(stats, record->pid) || !count_reasons(&stats->reasons, record->reason) ||
	    !count_one(&stats->programs, record->program[0] != '\0' ? record->program : "?"))
		return false;
	stats->records++;
	stats->not_understood += record->cut_before;
	if (record->time >= 0) {
		stats->first = stats->first < 0 || record->time < stats->first ? record->time : stats->first;
		stats->last = record->time > stats->last ? record->time : stats->last;
	}
	if (failed) {
		group->failed++;
		return count_failure(&stats->failures, record);
	}
	if (!make_room(&group->held, group->count, &group->room, sizeof *group->held))
		return false;
	group->held[group->count++] = record->held_us;
	group->strategies[strategy_of(record->strategy)]++;
	return true;
}

static int compare_numbers(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

static int compare_groups(const void *left, const void *right)
{
	const struct stats_group *a = left, *b = right;
	int order = strcmp(a->call, b->call);

	return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare_tallies(const void *left, const void *right)
{
	const struct stats_tally *a = left, *b = right;
	int order = (a->count < b->count) - (a->count > b->count);

	return order != 0 ? order : strcmp(a->name, b->name);
}

static void sort_tallies(struct stats_tallies *tallies)
{
	if (tallies->count > 0)
		qsort(tallies->list, tallies->count, sizeof *tallies->list, compare_tallies);
}

void stats_sort(struct stats *stats)
{
	for (size_t i = 0; i < stats->group_count; i++)
		if (stats->groups[i].count > 0)
			qsort(stats->groups[i].held, stats->groups[i].count, sizeof(double), compare_numbers);
	if (stats->group_count > 0)
		qsort(stats->groups, stats->group_count, sizeof *stats->groups, compare_groups);
	sort_tallies(&stats->reasons);
	sort_tallies(&stats->failures);
	sort_tallies(&stats->programs);
}

void stats_free(struct stats *stats)
{
	for (size_t i = 0; i < stats->group_count; i++)
		free(stats->groups[i].held);
	free(stats->groups);
	free(stats->reasons.list);
	free(stats->failures.list);
	free(stats->programs.list);
}

/* The least value that at least this part of the values does not exceed. */
double stats_percentile(const struct stats_group *group, unsigned part)
{
	size_t rank = (size_t)(((uint64_t)group->count * part + 999) / 1000);

	return group->held[rank == 0 ? 0 : rank - 1];
}
