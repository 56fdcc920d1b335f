/* SPDX-License-Identifier: MIT
 * odfork inspect PID */
#include "inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define RATE_SECONDS 1.0
#define WATCH_LONGEST 86400.0

struct options {
	pid_t pid;
	bool json, quick;
	double watch; /* seconds; 0: once */
};

/* 0: it is not a process id. */
static pid_t read_pid(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);

	return text[0] >= '1' && text[0] <= '9' && *end == '\0' && number <= INT_MAX ? (pid_t)number : 0;
}

static bool read_seconds(const char *text, double *seconds)
{
	char *end;

	*seconds = strtod(text, &end);
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && *seconds >= 0.1 && *seconds <= WATCH_LONGEST;
}

/* Everything but the costs and the rate, which take time. */
static void look(struct inspection *inspection)
{
	inspection->memory_error = inspect_memory_read(inspection->process.pid, &inspection->memory);
	inspection->has_memory = inspection->memory_error == 0;
	if (!inspection->has_memory)
		return;
	inspect_allocator_find(&inspection->process, &inspection->memory, &inspection->allocator);
	inspect_obstacles_find(&inspection->process, &inspection->memory, &inspection->obstacles);
	inspect_library_read(&inspection->process, &inspection->memory, &inspection->library);
}

static void print(struct inspection *inspection, const struct options *options)
{
	inspect_judge(inspection);
	if (options->json)
		inspect_print_json(inspection);
	else
		inspect_print(inspection);
	if (inspection->has_memory)
		inspect_memory_free(&inspection->memory);
	fflush(stdout);
}

/* Repeats the inspection until the process has ended, or standard output is closed. */
static int watch_on(struct inspection *inspection, struct inspect_watch *watch, const struct options *options)
{
	while (!ferror(stdout)) {
		struct inspect_process found;
		inspect_watch_for(watch, options->watch, &inspection->rate);
		if (!inspect_process_is_there(&inspection->process)) {
			fprintf(stderr, "odfork: inspect: process %d has ended\n", (int)options->pid);
			return EXIT_SUCCESS;
		}
		if (!inspect_process_read(options->pid, &found))
			return EXIT_SUCCESS;
		inspection->process = found;
		if (!options->json)
			printf("\n");
		look(inspection);
		print(inspection, options);
	}
	return EXIT_OWN;
}

static int inspect(const struct options *options)
{
	static struct inspection inspection;
	struct inspect_watch *watch;
	int status = EXIT_SUCCESS;

	if (!inspect_process_read(options->pid, &inspection.process))
		return EXIT_OWN;
	if (options->quick) {
		look(&inspection);
		status = inspection.has_memory ? EXIT_SUCCESS : EXIT_OWN;
		print(&inspection, options);
		return status;
	}
	watch = inspect_watch_begin(&inspection.process);
	if (watch == NULL) {
		fprintf(stderr, "odfork: inspect: %s\n", strerror(ENOMEM));
		return EXIT_OWN;
	}
	(void)inspect_costs_measure(&inspection.costs);
	inspect_watch_for(watch, RATE_SECONDS, &inspection.rate);
	inspection.has_rate = true;
	look(&inspection);
	if (inspect_process_is_there(&inspection.process)) {
		status = inspection.has_memory ? EXIT_SUCCESS : EXIT_OWN;
		print(&inspection, options);
		if (options->watch > 0)
			status = watch_on(&inspection, watch, options);
	} else {
		fprintf(stderr, "odfork: inspect: process %d has ended\n", (int)options->pid);
		status = EXIT_OWN;
	}
	inspect_watch_end(watch);
	return status;
}

static int inspect_command(int argc, char **argv)
{
	struct options options = { 0 };

	for (int i = 1; i < argc; i++) {
		const char *value;
		if (is_help(argv[i]))
			return help("inspect", argv[i]);
		if (strcmp(argv[i], "--json") == 0)
			options.json = true;
		else if (strcmp(argv[i], "--quick") == 0)
			options.quick = true;
		else if ((value = value_of("--watch", argc, argv, &i)) != NULL) {
			if (!read_seconds(value, &options.watch))
				return usage_error("inspect: --watch is a number of seconds, 0.1 to 86400, not %s",
						   value);
		} else if (argv[i][0] == '-')
			return option_error(&command_inspect, argv[i]);
		else if (options.pid != 0)
			return usage_error("inspect: one process at a time: %s", argv[i]);
		else if ((options.pid = read_pid(argv[i])) == 0)
			return usage_error("inspect: not the number of a process: %s (pidof and pgrep find it)",
					   argv[i]);
	}
	if (options.pid == 0)
		return usage_error("inspect: no process");
	if (options.quick && options.watch > 0)
		return usage_error("inspect: --quick counts no forks, which --watch is for");
	return inspect(&options);
}

const struct command command_inspect = {
	.name = "inspect",
	.run = inspect_command,
	.usage = "  odfork inspect [OPTIONS] PID       what a fork of a running process costs, and what would change "
		 "under libodfork\n"
		 "      --json         one JSON object, for programs\n"
		 "      --quick        at once: what forks cost is not measured, and none are counted\n"
		 "      --watch=SECONDS  again and again, each with the forks of that time, until the process ends\n",
};
