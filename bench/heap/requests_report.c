/* SPDX-License-Identifier: MIT */
#include "requests.h"

#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

void print_window(size_t number, const struct save *save, const char *name, double from_us, double to_us)
{
	size_t first = (size_t)((from_us - start_us) / 1e6 * (double)options.rate) + 1;
	size_t end = (size_t)((to_us - start_us) / 1e6 * (double)options.rate) + 1, count;
	double *latency, *late;

	end = end < due_count ? end : due_count;
	if (end <= first)
		fail(name, "had no request");
	count = end - first;
	latency = calloc(count, sizeof *latency);
	late = calloc(count, sizeof *late);
	if (latency == NULL || late == NULL)
		die("memory");
	for (size_t i = 0; i < count; i++) {
		latency[i] = (double)requests[first + i].latency_us;
		late[i] = (double)requests[first + i].late_us;
	}
	printf("%zu,%s,%zu", number, name, count);
	for (const double *part = (const double[]){ 0.5, 0.9, 0.99, 0.999, 0.9999, 1, 0 }; *part > 0; part++)
		printf(",%.1f", quantile(latency, count, *part));
	printf(",%.1f,%.0f,%.3f\n", quantile(late, count, 0.999), save->fork_us, (save->end_us - save->start_us) / 1e6);
	free(latency);
	free(late);
}

/* Counts the answers in each slice from `begin_us` on, of the requests from `first` on that were due before
 * `end_us`. */
static void count_answers(size_t first, double begin_us, double end_us, double slice_us, size_t *answers, size_t slices)
{
	for (size_t request = first; request < due_count && due_us(request) < end_us; request++) {
		double slice = (due_us(request) + (double)requests[request].latency_us - begin_us) / slice_us;
		if (slice >= 0 && slice < (double)slices)
			answers[(size_t)slice]++;
	}
}

static void write_save(FILE *file, size_t number, const struct save *save)
{
	double slice_us = (double)options.slice_ms * 1e3;
	size_t request = (size_t)((save->before_us - start_us) / 1e6 * (double)options.rate) + 1, slice = 0;
	size_t slices = (size_t)((save->after_us - save->before_us) / slice_us) + 1;
	size_t *answers = calloc(slices, sizeof *answers);
	double *latency = calloc((size_t)(slice_us / 1e6 * (double)options.rate) + 2, sizeof *latency);

	if (answers == NULL || latency == NULL)
		die("memory");
	count_answers(request, save->before_us, save->after_us, slice_us, answers, slices);
	for (double at = save->before_us; at < save->after_us && slice < slices; at += slice_us, slice++) {
		size_t count = 0;
		for (; request < due_count && due_us(request) < at + slice_us; request++)
			latency[count++] = (double)requests[request].latency_us;
		if (count == 0)
			continue;
		fprintf(file, "%zu,%.0f,%.0f,%.0f,%.1f,%.1f,%zu,%zu\n", number, (at - save->start_us) / 1e3,
			(at - save->end_us) / 1e3, quantile(latency, count, 1), quantile(latency, count, 0.5),
			quantile(latency, count, 0.99), count, answers[slice]);
	}
	free(latency);
	free(answers);
}

void write_timeline(const struct save *saves)
{
	FILE *file = fopen(options.timeline, "we");

	if (file == NULL)
		die(options.timeline);
	fprintf(file, "save,since_bgsave_ms,since_end_ms,worst_us,p50_us,p99_us,requests,answers\n");
	for (size_t s = 0; s < options.saves; s++)
		write_save(file, s, &saves[s]);
	if (fclose(file) != 0)
		die(options.timeline);
}
