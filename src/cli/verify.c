/* SPDX-License-Identifier: MIT
 *
 * odfork probe --verify. A process made by a plain fork does the measurements: if the switch cannot be cleared, or
 * memory is lost after it, only that process is affected.
 */
#include "verify.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEASURED_BYTES ((size_t)256 << 20)
#define ROUNDS         5

/* kB of page tables of this process, -1 if unknown. */
static long own_tables(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long found = -1;

	if (file == NULL)
		return -1;
	while (found < 0 && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, "VmPTE:", 6) == 0)
			found = atol(line + 6);
	fclose(file);
	return found;
}

/* One fork by the strategy, and what its child measures. */
static bool fork_once(odf_strategy strategy, double *us, long *tables)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	int ends[2], status;
	bool heard;
	pid_t pid;

	if (pipe(ends) != 0)
		return false;
	options.allow = ODF_ALLOW(strategy);
	pid = odf_fork_with(&options, &report);
	if (pid == 0) {
		long found = own_tables();
		_exit(write(ends[1], &found, sizeof found) == sizeof found ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	close(ends[1]);
	heard = pid > 0 && read(ends[0], tables, sizeof *tables) == sizeof *tables;
	close(ends[0]);
	*us = (double)report.elapsed_ns / 1e3;
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && heard && report.strategy == strategy;
}

static struct measurement measure_strategy(odf_strategy strategy)
{
	struct measurement result = { false, 0, -1 };

	for (int round = 0; round < ROUNDS; round++) {
		double us;
		if (!fork_once(strategy, &us, &result.table_kb))
			return (struct measurement){ false, 0, -1 };
		if (!result.done || us < result.fork_us)
			result.fork_us = us;
		result.done = true;
	}
	return result;
}

static _Noreturn void measure_here(int report, bool on_demand)
{
	struct measurement both[2] = { { false, 0, -1 }, { false, 0, -1 } };
	char *memory = mmap(NULL, MEASURED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		_exit(EXIT_FAILURE);
	/* a kernel without huge pages refuses this, and does not need it */
	(void)madvise(memory, MEASURED_BYTES, MADV_NOHUGEPAGE);
	memset(memory, 1, MEASURED_BYTES);
	both[0] = measure_strategy(ODF_STRATEGY_FORK);
	if (on_demand)
		both[1] = measure_strategy(ODF_STRATEGY_KERNEL);
	_exit(write(report, both, sizeof both) == sizeof both ? EXIT_SUCCESS : EXIT_FAILURE);
}

static void measure(struct verification *result)
{
	struct measurement both[2];
	int ends[2];
	pid_t pid;

	if (pipe(ends) != 0)
		return;
	pid = fork();
	if (pid == 0)
		measure_here(ends[1], result->verdict.interface != ODF_KERNEL_INTERFACE_NONE &&
					      result->verdict.reason == ODF_REASON_NONE);
	close(ends[1]);
	if (pid > 0 && read(ends[0], both, sizeof both) == sizeof both) {
		result->bytes = MEASURED_BYTES;
		result->plain = both[0];
		result->on_demand = both[1];
	}
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

void warn_of_trial(const char *command)
{
	static const odf_probe offers[] = { ODF_PROBE_USE_ODF, ODF_PROBE_ASYNC_FORK_PRCTL, ODF_PROBE_ASYNC_FORK };
	bool offered = false;

	for (size_t i = 0; i < sizeof offers / sizeof *offers; i++)
		offered = odf_probe_get(offers[i], NULL) == ODF_ANSWER_YES || offered;
	if (offered)
		fprintf(stderr,
			"odfork: %s: this kernel offers on-demand fork, which is tried out now; "
			"kernels have been seen to crash after it\n",
			command);
}

void verify(struct verification *result)
{
	*result = (struct verification){ .verdict = { .size = sizeof(odf_kernel_verdict) } };
	warn_of_trial("probe");
	result->error = odf_kernel_verify(&result->verdict);
	measure(result);
}

static const char *answer_word(odf_answer answer)
{
	return answer == ODF_ANSWER_YES ? "passed" : answer == ODF_ANSWER_NO ? "FAILED" : "-";
}

/* What makes the switch take effect, if that is known; else NULL. */
static const char *remedy(const odf_kernel_verdict *verdict)
{
	if (verdict->reason != ODF_REASON_KERNEL_NO_EFFECT)
		return NULL;
	switch (verdict->interface) {
	case ODF_KERNEL_INTERFACE_ASYNC_FORK_MODULE:
		return "load the kernel's module: modprobe async-fork";
	case ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL:
		return "allow it to processes: sysctl kernel.async_fork_enabled=1";
	default:
		return NULL;
	}
}

static void print_measurement(const char *name, const struct measurement *measured)
{
	if (!measured->done)
		return;
	printf("%-12s %10.1f us", name, measured->fork_us);
	if (measured->table_kb >= 0)
		printf(", the child begins with %ld kB of page tables", measured->table_kb);
	printf("\n");
}

void print_verification(const struct verification *result)
{
	const odf_kernel_verdict *verdict = &result->verdict;

	printf("\non-demand fork of the kernel\n");
	printf("%-18s %s\n", "interface", odf_kernel_interface_name(verdict->interface));
	if (result->error != 0)
		printf("%-18s could not be tried out: %s\n", "verdict", strerror(result->error));
	else if (verdict->reason == ODF_REASON_NONE)
		printf("%-18s keeps data, and is used by itself\n", "verdict");
	else
		printf("%-18s not used by itself: %s\n", "verdict", odf_reason_text(verdict->reason));
	if (remedy(verdict) != NULL)
		printf("%-18s %s\n", "remedy", remedy(verdict));
	if (verdict->interface != ODF_KERNEL_INTERFACE_NONE) {
		for (odf_kernel_check check = 0; check < ODF_KERNEL_CHECK_COUNT; check++)
			printf("%-18s %-6s %s\n", odf_kernel_check_name(check), answer_word(verdict->check[check]),
			       odf_kernel_check_text(check));
		printf("%-18s %zu kB, of its child %zu kB\n", "page tables", verdict->tables / 1024,
		       verdict->child_tables / 1024);
		printf("%-18s %.1f us\n", "tried out in", (double)verdict->elapsed_ns / 1e3);
	}
	if (result->bytes == 0) {
		printf("\nforks of a large process could not be measured\n");
		return;
	}
	printf("\nfork of a process of %zu MiB, the fastest of %d\n", result->bytes >> 20, ROUNDS);
	print_measurement("plain", &result->plain);
	print_measurement("on demand", &result->on_demand);
}

static const char *answer_json(odf_answer answer)
{
	return answer == ODF_ANSWER_YES ? "true" : answer == ODF_ANSWER_NO ? "false" : "null";
}

static void print_measurement_json(const char *name, const struct measurement *measured)
{
	if (!measured->done)
		printf(",\"%s\":null", name);
	else if (measured->table_kb < 0)
		printf(",\"%s\":{\"fork_us\":%.1f,\"child_table_kb\":null}", name, measured->fork_us);
	else
		printf(",\"%s\":{\"fork_us\":%.1f,\"child_table_kb\":%ld}", name, measured->fork_us,
		       measured->table_kb);
}

void print_verification_json(const struct verification *result)
{
	const odf_kernel_verdict *verdict = &result->verdict;

	printf(",\"verification\":{\"interface\":\"%s\",\"reason\":\"%s\",\"error\":%d,\"checks\":{",
	       odf_kernel_interface_name(verdict->interface), odf_reason_name(verdict->reason), result->error);
	for (odf_kernel_check check = 0; check < ODF_KERNEL_CHECK_COUNT; check++)
		printf("%s\"%s\":%s", check == 0 ? "" : ",", odf_kernel_check_name(check),
		       answer_json(verdict->check[check]));
	printf("},\"table_kb\":%zu,\"child_table_kb\":%zu,\"elapsed_us\":%.1f,\"measured_bytes\":%zu",
	       verdict->tables / 1024, verdict->child_tables / 1024, (double)verdict->elapsed_ns / 1e3, result->bytes);
	if (remedy(verdict) != NULL)
		printf(",\"remedy\":\"%s\"", remedy(verdict));
	else
		printf(",\"remedy\":null");
	print_measurement_json("plain", &result->plain);
	print_measurement_json("on_demand", &result->on_demand);
	printf("}");
}
