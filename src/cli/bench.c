/* SPDX-License-Identifier: MIT
 * odfork bench: its options, what fits into memory, and where the result goes. */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "../record/heap_value.h"
#include "cli.h"
#include "odfork.h"
#include "verify.h"

static const char *const default_sizes[] = { "64M", "256M", "1G", "4G" };

enum format { TABLE, CSV, JSON };

struct asked {
	const char *plot;
	enum format format;
	bool sizes_given;
};

void bench_note(struct bench *bench, const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	if (bench->note_count < BENCH_NOTES && vasprintf(&text, format, arguments) >= 0)
		bench->notes[bench->note_count++] = text;
	va_end(arguments);
}

/* ---- Options --------------------------------------------------------------------------------------------------- */

static int compare_sizes(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	return (x > y) - (x < y);
}

static bool add_size(struct bench *bench, const char *text)
{
	unsigned long long bytes;

	if (bench->size_count == BENCH_SIZES || !size_read(text, &bytes) || bytes < 1 << 20 || bytes > 1ull << 46)
		return false;
	for (size_t i = 0; i < bench->size_count; i++)
		if (bench->sizes[i] == bytes)
			return true;
	bench->sizes[bench->size_count++] = (size_t)bytes / PAGE * PAGE;
	return true;
}

static int read_sizes(struct bench *bench, const char *list)
{
	char *copy = strdup(list), *rest = copy, *one;

	if (copy == NULL) {
		perror("odfork: bench");
		return EXIT_OWN;
	}
	while ((one = strsep(&rest, ",")) != NULL) {
		if (!add_size(bench, one)) {
			int status =
				usage_error("bench: not a size from 1M on, as 64M or 1.5G (at most %d of them): '%s'",
					    BENCH_SIZES, one);
			free(copy);
			return status;
		}
	}
	free(copy);
	qsort(bench->sizes, bench->size_count, sizeof *bench->sizes, compare_sizes);
	return EXIT_SUCCESS;
}

/* The picture can be written, as far as this can be known without making the file. */
static bool can_be_written(const char *path)
{
	struct stat status;
	char *copy, *slash;
	bool can;

	if (stat(path, &status) == 0) {
		if (S_ISDIR(status.st_mode))
			errno = EISDIR;
		return !S_ISDIR(status.st_mode) && access(path, W_OK) == 0;
	}
	copy = strdup(path);
	if (copy == NULL)
		return false;
	slash = strrchr(copy, '/');
	if (slash != NULL)
		slash[slash == copy ? 1 : 0] = '\0';
	can = access(slash != NULL ? copy : ".", W_OK | X_OK) == 0;
	free(copy);
	return can;
}

static bool read_seconds(const char *text, double *seconds)
{
	char *end;

	*seconds = strtod(text, &end);
	return end != text && *end == '\0' && *seconds >= 0.1 && *seconds <= 86400;
}

static int read_options(struct bench *bench, struct asked *asked, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *value;
		int status;
		if ((value = value_of("--size", argc, argv, &i)) != NULL) {
			asked->sizes_given = true;
			status = read_sizes(bench, value);
			if (status != EXIT_SUCCESS)
				return status;
		} else if ((value = value_of("--plot", argc, argv, &i)) != NULL) {
			asked->plot = value;
		} else if ((value = value_of("--seconds", argc, argv, &i)) != NULL) {
			if (!read_seconds(value, &bench->seconds))
				return usage_error("bench: not a number of seconds: '%s'", value);
		} else if (strcmp(argv[i], "--json") == 0) {
			asked->format = JSON;
		} else if (strcmp(argv[i], "--csv") == 0) {
			asked->format = CSV;
		} else if (strcmp(argv[i], "--progress") == 0) {
			bench->progress = true;
		} else {
			return option_error(&command_bench, argv[i]);
		}
	}
	return EXIT_SUCCESS;
}

/* ---- What there is --------------------------------------------------------------------------------------------- */

static void describe_machine(struct bench *bench)
{
	struct utsname name;
	time_t now = time(NULL);
	struct tm utc;

	if (uname(&name) == 0)
		snprintf(bench->kernel, sizeof bench->kernel, "%.64s", name.release);
#ifdef _CS_GNU_LIBC_VERSION
	if (confstr(_CS_GNU_LIBC_VERSION, bench->libc, sizeof bench->libc) == 0)
#endif
		snprintf(bench->libc, sizeof bench->libc, "another libc than glibc");
	if (gmtime_r(&now, &utc) != NULL)
		strftime(bench->date, sizeof bench->date, "%Y-%m-%d %H:%M UTC", &utc);
	bench->processors = sysconf(_SC_NPROCESSORS_ONLN);
	bench->memory_gib = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1 << 30);
}

static double load(void)
{
	double average;
	return getloadavg(&average, 1) == 1 ? average : 0;
}

/* If the kernel or a sandbox does not allow a pool, making one fails with a message. */
static void try_pool(struct bench *bench)
{
	odf_pool_options options = ODF_POOL_OPTIONS_INIT;
	odf_pool *pool;

	options.flags = ODF_POOL_NO_TASKS;
	pool = odf_pool_create(&options);
	bench->with_pool = pool != NULL;
	if (pool == NULL)
		bench_note(bench, "%s: left out: no pool can be had: %s", spawn_ways[SPAWN_BY_POOL].name,
			   strerror(errno));
	else
		(void)odf_pool_destroy(pool);
}

static void find_strategies(struct bench *bench)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	odf_kernel_verdict verdict = ODF_KERNEL_VERDICT_INIT;

	try_pool(bench);
	bench->with_spawn = spawn_ways_find();
	if (!bench->with_spawn)
		bench_note(bench, "%s: left out: there is no %s", bench_what_titles[BENCH_SPAWN], spawned_program);
	warn_of_trial("bench");
	(void)odf_kernel_verify(&verdict); /* its result becomes part of the capabilities */
	if (odf_capabilities_get(&capabilities) != 0)
		return;
	bench->with_kernel = capabilities.strategy[ODF_STRATEGY_KERNEL] == ODF_REASON_NONE;
	bench->with_region = capabilities.strategy[ODF_STRATEGY_REGION] == ODF_REASON_NONE;
	if (!bench->with_kernel && capabilities.kernel_interface != ODF_KERNEL_INTERFACE_NONE)
		bench_note(bench, "%s: left out: %s", bench_way_text(BENCH_KERNEL),
			   odf_reason_text(capabilities.strategy[ODF_STRATEGY_KERNEL]));
	if (!bench->with_region)
		bench_note(bench, "%s: left out: %s", bench_way_text(BENCH_REGION),
			   odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
}

/* Sizes that the user has given must all fit. Of the default sizes those that fit are taken. */
static bool sizes_fit(struct bench *bench, const struct asked *asked)
{
	char why[256] = "";

	for (size_t i = 0; i < bench->size_count && asked->sizes_given; i++) {
		if (!bench_fits(bench, bench->sizes[i], why, sizeof why)) {
			fprintf(stderr, "odfork: bench: %s\n", why);
			return false;
		}
	}
	for (size_t i = 0; i < sizeof default_sizes / sizeof *default_sizes && !asked->sizes_given; i++) {
		if (!add_size(bench, default_sizes[i]))
			continue;
		if (!bench_fits(bench, bench->sizes[bench->size_count - 1], why, sizeof why)) {
			bench->size_count--;
			bench_note(bench, "%s", why);
		}
	}
	if (bench->size_count == 0)
		fprintf(stderr, "odfork: bench: %s\n", why);
	return bench->size_count > 0;
}

/* ---- The whole ------------------------------------------------------------------------------------------------- */

static bool write_plot(const struct bench *bench, const char *path)
{
	FILE *file = fopen(path, "we");
	bool written;

	if (file == NULL) {
		fprintf(stderr, "odfork: bench: %s: %s\n", path, strerror(errno));
		return false;
	}
	bench_plot(bench, file);
	written = ferror(file) == 0;
	if (fclose(file) != 0 || !written) {
		fprintf(stderr, "odfork: bench: %s: %s\n", path, strerror(errno));
		return false;
	}
	return true;
}

static int measure_and_print(struct bench *bench, const struct asked *asked)
{
	int status;

	if (asked->plot != NULL && !can_be_written(asked->plot)) {
		fprintf(stderr, "odfork: bench: %s: %s\n", asked->plot, strerror(errno));
		return EXIT_OWN;
	}
	describe_machine(bench);
	find_strategies(bench);
	if (!sizes_fit(bench, asked))
		return EXIT_OWN;
	bench->load_before = load();
	status = bench_run(bench);
	bench->load_after = load();
	if (status < 0)
		raise(-status); /* ends by the signal, for a waiting parent; if the signal is blocked or ignored, with
		                   the number below */
	if (status != 0)
		return status < 0 ? 128 - status : EXIT_OWN;
	if (asked->format == TABLE)
		bench_print_table(bench, stdout);
	else if (asked->format == CSV)
		bench_print_csv(bench, stdout);
	else
		bench_print_json(bench);
	return asked->plot == NULL || write_plot(bench, asked->plot) ? EXIT_SUCCESS : EXIT_OWN;
}

static int bench_command(int argc, char **argv)
{
	struct asked asked = { 0 };
	struct bench *bench;
	int status;

	if (argc == 4 && strcmp(argv[1], "--worker") == 0)
		return work((enum memory)atoi(argv[2]), strtoul(argv[3], NULL, 10));
	for (int i = 1; i < argc; i++)
		if (is_help(argv[i]))
			return help("bench", argv[i]);
	bench = calloc(1, sizeof *bench);
	if (bench == NULL) {
		perror("odfork: bench");
		return EXIT_OWN;
	}
	bench->seconds = 40;
	bench->progress = isatty(STDERR_FILENO) == 1;
	status = read_options(bench, &asked, argc, argv);
	if (status == EXIT_SUCCESS)
		status = measure_and_print(bench, &asked);
	for (size_t i = 0; i < bench->note_count; i++)
		free(bench->notes[i]);
	free(bench);
	return status;
}

const struct command command_bench = {
	.name = "bench",
	.run = bench_command,
	.usage = "  odfork bench [OPTIONS]             what forks and programs started cost on this machine, plain and "
		 "by the library\n"
		 "      --size=LIST    amounts of memory of the process, as 64M,1G,8G; default: 64M,256M,1G,4G, those "
		 "that fit\n"
		 "      --seconds=N    how long to measure at most, without filling the memory; default: 40\n"
		 "      --csv, --json  for programs\n"
		 "      --plot=FILE    a picture as well (SVG)\n"
		 "      --progress     on standard error, even if that is no terminal\n",
};
