/* SPDX-License-Identifier: MIT */
#include "requests.h"

#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

static const double slice_us = 20000;

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

void write_timeline(const struct save *saves)
{
	FILE *file = fopen(options.timeline, "we");

	if (file == NULL)
		die(options.timeline);
	fprintf(file, "save,since_bgsave_ms,since_end_ms,worst_us\n");
	for (size_t s = 0; s < options.saves; s++) {
		size_t request = (size_t)((saves[s].before_us - start_us) / 1e6 * (double)options.rate) + 1;
		for (double at = saves[s].before_us; at < saves[s].after_us; at += slice_us) {
			float worst = 0;
			for (; request < due_count && due_us(request) < at + slice_us; request++)
				worst = requests[request].latency_us > worst ? requests[request].latency_us : worst;
			fprintf(file, "%zu,%.0f,%.0f,%.0f\n", s, (at - saves[s].start_us) / 1e3,
				(at - saves[s].end_us) / 1e3, (double)worst);
		}
	}
	if (fclose(file) != 0)
		die(options.timeline);
}
