/* SPDX-License-Identifier: MIT
 * Why the library would not work in the program, or would gain nothing. */
#include <stdarg.h>
#include <string.h>

#include "../heap/heap.h"
#include "../region/region.h"
#include "inspect.h"
#include "target.h"

void inspect_add_obstacle(struct inspect_obstacles *obstacles, const char *name, bool prevents, const char *format, ...)
{
	struct inspect_obstacle *obstacle = &obstacles->list[obstacles->count];
	va_list arguments;

	for (size_t i = 0; i < obstacles->count; i++)
		if (strcmp(obstacles->list[i].name, name) == 0)
			return; /* one of each kind is enough */
	if (obstacles->count == INSPECT_OBSTACLES)
		return;
	obstacle->name = name;
	obstacle->prevents = prevents;
	va_start(arguments, format);
	vsnprintf(obstacle->text, sizeof obstacle->text, format, arguments);
	va_end(arguments);
	obstacles->count++;
}

static void look_at_program(const struct inspect_process *process, struct inspect_obstacles *obstacles)
{
	static struct target target;
	char path[64];

	if (process->is_secure)
		inspect_add_obstacle(obstacles, "gains_rights", true,
				     "it gained rights by being executed (set-user-id, set-group-id or capabilities): "
				     "the loader preloads nothing then");
	if (process->program[0] == '\0') /* a kernel thread, or it may not be read */
		return;
	snprintf(path, sizeof path, "/proc/%d/exe", (int)process->pid);
	target_examine(path, false, &target);
	if (target.obstacle != NULL && !process->is_secure)
		inspect_add_obstacle(obstacles, "program", true, "%s", target.obstacle);
}

static void look_at_limits(const struct inspect_process *process, struct inspect_obstacles *obstacles)
{
	const char *name = odf_reason_name(ODF_REASON_HEAP_LIMIT);

	if (process->limit_as < HEAP_NO_LIMIT)
		inspect_add_obstacle(obstacles, name, true,
				     "its address space is limited (RLIMIT_AS): a region counts against that");
	else if (process->limit_data < HEAP_NO_LIMIT)
		inspect_add_obstacle(obstacles, name, true,
				     "its data is limited (RLIMIT_DATA), against which a region does not count");
	else if (process->limit_fsize < HEAP_NO_LIMIT)
		inspect_add_obstacle(obstacles, name, true,
				     "the size of its files is limited (RLIMIT_FSIZE), and a region is one");
	if (process->limit_processes < REGION_PROCESSES_LEAST)
		inspect_add_obstacle(obstacles, odf_reason_name(ODF_REASON_HEAP_PROCESS), true,
				     "its user may have few processes (RLIMIT_NPROC): there is no room for the one "
				     "that looks after the heap");
}

static void look_at_memory(const struct inspect_memory *memory, const struct inspect_process *process,
			   struct inspect_obstacles *obstacles)
{
	if (memory->pinning != ODF_REASON_NONE)
		inspect_add_obstacle(obstacles, odf_reason_name(memory->pinning), true, "%s (it is mapped)",
				     odf_reason_text(memory->pinning));
	if (memory->locked > 0 && memory->locked >= memory->resident / 2)
		inspect_add_obstacle(obstacles, odf_reason_name(ODF_REASON_HEAP_LOCKED), true,
				     "it locks its memory (mlockall)");
	else if (process->locked_bytes > (uint64_t)1 << 20)
		inspect_add_obstacle(obstacles, "locked_memory", false,
				     "some of its memory is locked, and stays outside");
	if (memory->asked_huge > memory->resident / 4)
		inspect_add_obstacle(obstacles, "huge_pages", false,
				     "much of its memory is to be huge pages (MADV_HUGEPAGE), and stays outside");
	if (memory->kept_from_children > memory->resident / 4)
		inspect_add_obstacle(
			obstacles, "kept_from_children", false,
			"much of its memory is kept from children (MADV_DONTFORK), and costs its forks nothing");
}

static void look_at_machine(const struct inspect_process *process, struct inspect_obstacles *obstacles)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	odf_reason region;

	if (odf_capabilities_get(&capabilities) != 0)
		return;
	region = capabilities.strategy[ODF_STRATEGY_REGION];
	if (region != ODF_REASON_NONE)
		inspect_add_obstacle(obstacles, odf_reason_name(region), true, "%s", odf_reason_text(region));
	else if (process->threads > 1 && process->uid != 0 &&
		 odf_probe_get(ODF_PROBE_UFFD_MINOR, NULL) != ODF_ANSWER_YES)
		inspect_add_obstacle(obstacles, odf_reason_name(ODF_REASON_HEAP_NO_SETTLING), true,
				     "it has several threads, and userfaultfd may not be used here");
}

void inspect_obstacles_find(const struct inspect_process *process, const struct inspect_memory *memory,
			    struct inspect_obstacles *obstacles)
{
	*obstacles = (struct inspect_obstacles){ 0 };
	look_at_program(process, obstacles);
	if (process->seccomp > 0)
		inspect_add_obstacle(obstacles, odf_reason_name(ODF_REASON_HEAP_SANDBOX), process->seccomp == 1,
				     process->seccomp == 1 ? "it is in the strict sandbox of seccomp"
							   : "it is in a seccomp sandbox: when the heap wakes it tries "
							     "out whether it can live in it");
	look_at_limits(process, obstacles);
	look_at_memory(memory, process, obstacles);
	inspect_descriptors_look(process, obstacles);
	look_at_machine(process, obstacles);
}
