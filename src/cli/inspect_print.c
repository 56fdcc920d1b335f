/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inspect.h"
#include "json.h"

/* The process chooses its names, so they are escaped for a terminal. */
static void print_name(const char *name)
{
	for (; *name != '\0'; name++)
		putchar((unsigned char)*name < 0x20 || *name == 0x7f ? '?' : *name);
}

static const char *size_text(uint64_t bytes)
{
	static char texts[4][24];
	static unsigned next;
	char *text = texts[next++ % 4];

	if (bytes >= (uint64_t)1 << 30)
		snprintf(text, sizeof *texts, "%.2f GiB", (double)bytes / (1 << 30));
	else if (bytes >= (uint64_t)1 << 20)
		snprintf(text, sizeof *texts, "%.1f MiB", (double)bytes / (1 << 20));
	else
		snprintf(text, sizeof *texts, "%.0f KiB", (double)bytes / 1024);
	return text;
}

static const char *time_text(double us)
{
	static char texts[4][24];
	static unsigned next;
	char *text = texts[next++ % 4];

	if (us >= 10000)
		snprintf(text, sizeof *texts, "%.0f ms", us / 1e3);
	else if (us >= 1000)
		snprintf(text, sizeof *texts, "%.1f ms", us / 1e3);
	else
		snprintf(text, sizeof *texts, "%.0f us", us);
	return text;
}

static void print_memory(const struct inspection *inspection)
{
	const struct inspect_memory *memory = &inspection->memory;

	printf("memory       %s in pages of 4 KiB and %s in pages of 2 MiB are its own; %s of files, %s shared",
	       size_text(memory->private_small), size_text(memory->private_huge), size_text(memory->file),
	       size_text(memory->shared));
	if (memory->swapped > 0)
		printf("; %s swapped out", size_text(memory->swapped));
	if (memory->region > 0)
		printf("; %s in snapshot regions", size_text(memory->region));
	printf("\n             %zu mappings, %zu of which a fork copies; %s of page tables\n", memory->mappings,
	       memory->copied_mappings, size_text(inspection->process.table_bytes));
}

static void print_cost(const struct inspection *inspection)
{
	const struct inspect_costs *costs = &inspection->costs;
	double load;

	if (!costs->measured) {
		printf("fork         not known: too little memory is free here to measure what forks cost\n");
		return;
	}
	printf("fork         would hold it for about %s here: %s if little was written since the last one, %s if all "
	       "was\n",
	       time_text(inspection->cost.us), time_text(inspection->cost.low_us), time_text(inspection->cost.high_us));
	printf("             measured in %.1f s: %.0f to %.0f ns for a page of 4 KiB, %.0f for one of 2 MiB, %.0f for "
	       "a mapping; right within %.0f %%\n",
	       costs->seconds, costs->small_ns[0][0], costs->small_ns[1][1], costs->huge_ns, costs->copied_mapping_ns,
	       inspection->cost.error * 100);
	if (getloadavg(&load, 1) == 1 && load > (double)sysconf(_SC_NPROCESSORS_ONLN))
		printf("             (the machine is busy: these are times of the processor, for which the process "
		       "waits besides)\n");
	if (inspection->memory.scattered < 0)
		printf("             (where its pages lie in the machine's memory only CAP_SYS_ADMIN is told: with it, "
		       "this would be more exact)\n");
	if (inspection->library.loaded)
		return;
	printf("in regions   %s of that memory would be, under libodfork", size_text(inspection->memory.inside));
	if (costs->region_us < 0)
		printf("; there are no regions on this machine (odfork probe)\n");
	else if (inspection->under.us < inspection->cost.us)
		printf(": a fork would hold it for about %s\n", time_text(inspection->under.us));
	else
		printf("\n");
}

static void print_rate(const struct inspect_rate *rate)
{
	printf("forks        %s%llu in %.1f s", rate->lost ? "at least " : "", (unsigned long long)rate->forks,
	       rate->seconds);
	if (rate->seconds > 0 && rate->forks > 0)
		printf(" (%.1f a second)", (double)rate->forks / rate->seconds);
	printf("; %llu programs started without a fork", (unsigned long long)rate->spawns);
	if (rate->way == INSPECT_BY_TRACEPOINT)
		printf(", %llu threads (by the kernel's tracepoint)\n", (unsigned long long)rate->threads);
	else
		printf(" (by looking at its children, of which short-lived ones are missed; %s)\n", rate->why);
}

static void print_allocator(const struct inspect_allocator *allocator)
{
	printf("malloc       ");
	switch (allocator->kind) {
	case INSPECT_MALLOC_UNKNOWN:
		printf("not known\n");
		return;
	case INSPECT_MALLOC_OTHER:
		printf("one of its own");
		break;
	default:
		printf("%s", inspect_malloc_name(allocator->kind));
		break;
	}
	printf(allocator->in_program ? ", in the program itself (" : " (");
	print_name(allocator->where);
	printf(")%s%s\n", allocator->jvm ? "; with a Java virtual machine" : "", allocator->v8 ? "; with V8" : "");
}

static void print_since(const char *what, double seconds)
{
	if (seconds < 0)
		printf("%s: never", what);
	else
		printf("%s: %.1f s ago", what, seconds);
}

static const char *heap_name(const struct inspect_library *library)
{
	static const char *const states[] = { "off", "asleep", "awake" };

	if (!library->has_heap || library->heap_state > ODF_HEAP_AWAKE)
		return "none";
	return library->is_child ? "inherited" : states[library->heap_state];
}

static void print_library(const struct inspection *inspection)
{
	const struct inspect_library *library = &inspection->library;

	if (!library->loaded) {
		printf("libodfork    is not in it\n");
		return;
	}
	if (library->error != 0 && library->version[0] == '\0') {
		printf("libodfork    is in it; its state cannot be read: %s%s%s\n", strerror(library->error),
		       library->error == EPERM ? ". That needs " : "",
		       library->error == EPERM ? inspect_tracing_permission(&inspection->process) : "");
		return;
	}
	printf("libodfork    %s; heap %s", library->version, heap_name(library));
	if (library->has_heap && library->heap_state != ODF_HEAP_AWAKE)
		printf(" (%s)", odf_reason_text((odf_reason)library->heap_reason));
	printf("; %llu forks and %llu spawns by it\n", (unsigned long long)library->forks,
	       (unsigned long long)library->spawns);
	if (!library->has_region)
		return;
	printf("             %zu %s, %zu frozen, %zu given up; ", library->regions,
	       library->regions == 1 ? "region" : "regions", library->frozen, library->given_up);
	print_since("last freeze", library->since_freeze);
	if (library->since_freeze >= 0)
		printf(", in %s", time_text((double)library->last_freeze_ns / 1e3));
	print_since("; last settle", library->since_settle);
	printf("\n             a snapshot is held by ");
	if (library->holder_count == 0)
		printf("nobody");
	for (size_t i = 0; i < library->holder_count && i < INSPECT_HOLDERS; i++) {
		printf("%s%d (", i == 0 ? "" : ", ", (int)library->holders[i].pid);
		print_name(library->holders[i].name);
		putchar(')');
	}
	if (library->holder_count > INSPECT_HOLDERS)
		printf(" and %zu more", library->holder_count - INSPECT_HOLDERS);
	printf("%s\n", library->holders_complete ? "" : ", as far as may be seen");
}

static void print_obstacles(const struct inspect_obstacles *obstacles)
{
	for (size_t i = 0; i < obstacles->count; i++) {
		printf("%-12s ", obstacles->list[i].prevents ? "against it" : "mind");
		print_name(obstacles->list[i].text);
		printf(" [%s]\n", obstacles->list[i].name);
	}
	if (obstacles->count == 0)
		printf("against it   nothing that is seen from outside\n");
}

void inspect_print(const struct inspection *inspection)
{
	const struct inspect_process *process = &inspection->process;

	printf("process      %d ", (int)process->pid);
	print_name(process->name);
	if (process->program[0] != '\0') {
		printf(" (");
		print_name(process->program);
		printf(")");
	}
	printf(", user %u, %ld %s\n", process->uid, process->threads, process->threads == 1 ? "thread" : "threads");
	if (!inspection->has_memory && inspection->memory_error == ESRCH) {
		printf("memory       none: it is a thread of the kernel's, or has ended and waits for its parent\n");
	} else if (!inspection->has_memory) {
		printf("memory       cannot be read: %s. That needs %s\n", strerror(inspection->memory_error),
		       inspect_permission(process));
	} else {
		print_memory(inspection);
		if (inspection->has_rate)
			print_cost(inspection);
	}
	if (inspection->has_rate)
		print_rate(&inspection->rate);
	if (inspection->has_memory) {
		print_allocator(&inspection->allocator);
		print_library(inspection);
		if (!inspection->library.loaded)
			print_obstacles(&inspection->obstacles);
	}
	printf("\n");
	print_name(inspection->advice);
	printf("\n");
}

/* ---- JSON ---- */

static const char *truth(bool value)
{
	return value ? "true" : "false";
}

static void print_seconds(const char *name, double seconds)
{
	printf(",\"%s\":", name);
	printf(seconds < 0 ? "null" : "%.3f", seconds);
}

static void print_prediction(const char *name, const struct inspect_prediction *prediction)
{
	printf(",\"%s\":{\"low_us\":%.1f,\"us\":%.1f,\"high_us\":%.1f,\"error\":%.2f}", name, prediction->low_us,
	       prediction->us, prediction->high_us, prediction->error);
}

static void print_memory_json(const struct inspection *inspection)
{
	const struct inspect_memory *memory = &inspection->memory;
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "mappings", memory->mappings },
		{ "copied_mappings", memory->copied_mappings },
		{ "resident", memory->resident },
		{ "swapped", memory->swapped },
		{ "private_4k", memory->private_small },
		{ "private_2m", memory->private_huge },
		{ "shared", memory->shared },
		{ "file", memory->file },
		{ "region", memory->region },
		{ "page_tables", inspection->process.table_bytes },
		{ "copied_pages_4k", memory->copied_small },
		{ "copied_pages_2m", memory->copied_huge },
		{ "kept_from_children", memory->kept_from_children },
		{ "brk", memory->brk },
		{ "huge_asked", memory->asked_huge },
		{ "locked", memory->locked },
	};

	if (!inspection->has_memory) {
		fputs(",\"memory\":null,\"memory_error\":", stdout);
		json_print_string(strerror(inspection->memory_error));
		fputs(",\"permission\":", stdout);
		json_print_string(inspection->memory_error == ESRCH ? NULL : inspect_permission(&inspection->process));
		return;
	}
	fputs(",\"memory\":", stdout);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		printf("%s\"%s\":%llu", i == 0 ? "{" : ",", numbers[i].name, (unsigned long long)numbers[i].value);
	printf(memory->scattered < 0 ? ",\"scattered\":null}" : ",\"scattered\":%.3f}", memory->scattered);
}

static void print_cost_json(const struct inspection *inspection)
{
	const struct inspect_costs *costs = &inspection->costs;

	if (!costs->measured || !inspection->has_memory) {
		fputs(",\"fork\":null,\"under\":null", stdout);
	} else {
		print_prediction("fork", &inspection->cost);
		print_prediction("under", &inspection->under);
	}
	if (!costs->measured) {
		fputs(",\"machine\":null", stdout);
		return;
	}
	printf(",\"machine\":{\"base_us\":%.1f,\"page_4k_ns\":[%.2f,%.2f],\"scattered_4k_ns\":[%.2f,%.2f],\"page_2m_"
	       "ns\":%.1f,\"table_ns\":%.1f,\"mapping_ns\":%.1f,"
	       "\"copied_mapping_ns\":%.1f,",
	       costs->base_us, costs->small_ns[0][0], costs->small_ns[0][1], costs->small_ns[1][0],
	       costs->small_ns[1][1], costs->huge_ns, costs->table_ns, costs->mapping_ns, costs->copied_mapping_ns);
	printf("\"region_us\":");
	printf(costs->region_us < 0 ? "null" : "%.1f", costs->region_us);
	printf(",\"spread\":%.3f,\"measured_bytes\":%zu,\"seconds\":%.3f}", costs->spread, costs->bytes,
	       costs->seconds);
}

static void print_library_json(const struct inspect_library *library)
{
	printf(",\"library\":");
	if (!library->loaded) {
		fputs("null", stdout);
		return;
	}
	printf("{\"error\":%d,\"version\":", library->error);
	json_print_string(library->version);
	printf(",\"heap\":\"%s\",\"heap_reason\":\"%s\",\"heap_placed\":%llu,\"forks\":%llu,\"spawns\":%llu",
	       heap_name(library),
	       library->heap_state == ODF_HEAP_AWAKE ? "none" : odf_reason_name((odf_reason)library->heap_reason),
	       (unsigned long long)library->placed, (unsigned long long)library->forks,
	       (unsigned long long)library->spawns);
	printf(",\"regions\":%zu,\"frozen\":%zu,\"given_up\":%zu,\"freezes\":%llu,\"settles\":%llu,\"last_freeze_us\":%"
	       ".1f",
	       library->regions, library->frozen, library->given_up, (unsigned long long)library->freezes,
	       (unsigned long long)library->settles, (double)library->last_freeze_ns / 1e3);
	print_seconds("since_freeze", library->since_freeze);
	print_seconds("since_settle", library->since_settle);
	printf(",\"keeper\":%d,\"holders\":[", (int)library->keeper);
	for (size_t i = 0; i < library->holder_count && i < INSPECT_HOLDERS; i++) {
		printf("%s{\"pid\":%d,\"name\":", i == 0 ? "" : ",", (int)library->holders[i].pid);
		json_print_string(library->holders[i].name);
		putchar('}');
	}
	printf("],\"holders_complete\":%s}", truth(library->holders_complete));
}

static void print_rate_json(const struct inspect_rate *rate)
{
	printf(",\"rate\":{\"by\":\"%s\",\"seconds\":%.3f,\"forks\":%llu,\"spawns\":%llu,\"complete\":%s,\"why\":",
	       rate->way == INSPECT_BY_TRACEPOINT ? "tracepoint" : "sampling", rate->seconds,
	       (unsigned long long)rate->forks, (unsigned long long)rate->spawns, truth(!rate->lost));
	json_print_string(rate->why);
	putchar('}');
}

void inspect_print_json(const struct inspection *inspection)
{
	const struct inspect_process *process = &inspection->process;
	const struct inspect_rate *rate = &inspection->rate;
	const struct inspect_allocator *allocator = &inspection->allocator;

	printf("{\"pid\":%d,\"name\":", (int)process->pid);
	json_print_string(process->name);
	fputs(",\"program\":", stdout);
	json_print_string(process->program);
	printf(",\"uid\":%u,\"threads\":%ld,\"seccomp\":%d", process->uid, process->threads, process->seccomp);
	print_memory_json(inspection);
	print_cost_json(inspection);
	if (!inspection->has_rate)
		fputs(",\"rate\":null", stdout);
	else
		print_rate_json(rate);
	if (inspection->has_memory) {
		printf(",\"malloc\":\"%s\",\"malloc_in_program\":%s,\"malloc_file\":",
		       inspect_malloc_name(allocator->kind), truth(allocator->in_program));
		json_print_string(allocator->where);
		printf(",\"in_regions\":%llu,\"obstacles\":[", (unsigned long long)inspection->memory.inside);
		for (size_t i = 0; i < inspection->obstacles.count; i++) {
			printf("%s{\"name\":\"%s\",\"prevents\":%s,\"text\":", i == 0 ? "" : ",",
			       inspection->obstacles.list[i].name, truth(inspection->obstacles.list[i].prevents));
			json_print_string(inspection->obstacles.list[i].text);
			putchar('}');
		}
		putchar(']');
		print_library_json(&inspection->library);
	}
	fputs(",\"advice\":", stdout);
	json_print_string(inspection->advice);
	fputs("}\n", stdout);
}
