/* SPDX-License-Identifier: MIT
 * What the library would save, and a sentence of advice. */
#include <errno.h>
#include <string.h>

#include "inspect.h"

/* A fork that takes less is no problem. */
#define NO_TROUBLE_US 1000.0

static const struct inspect_obstacle *first_that_prevents(const struct inspect_obstacles *obstacles)
{
	for (size_t i = 0; i < obstacles->count; i++)
		if (obstacles->list[i].prevents)
			return &obstacles->list[i];
	return NULL;
}

/* The command that started it, as far as this can be known. A link to the program's file may have another name, which
 * tells the program what to do; the kernel keeps 15 bytes of it. */
static void name_command(const struct inspect_process *process, char *command, size_t room)
{
	const char *slash = strrchr(process->program, '/');

	if (slash != NULL && (strncmp(slash + 1, process->name, 15) == 0 || strlen(process->name) >= 15))
		snprintf(command, room, "%.120s", process->program);
	else
		snprintf(command, room, "%.120s", process->name);
}

static void advise(struct inspection *inspection)
{
	const struct inspect_obstacle *obstacle = first_that_prevents(&inspection->obstacles);
	const struct inspect_library *library = &inspection->library;
	char *advice = inspection->advice;
	size_t room = sizeof inspection->advice;
	char user[32] = "", command[128];

	if (inspection->process.threads > 1 && inspection->process.uid != 0)
		snprintf(user, sizeof user, "--user=%u ", inspection->process.uid);
	name_command(&inspection->process, command, sizeof command);
	if (library->loaded && library->has_heap && library->error == 0 && library->heap_state == ODF_HEAP_AWAKE)
		snprintf(advice, room,
			 "It runs under libodfork, and its heap is awake: compare held times by odfork stats on the "
			 "file of --stats.");
	else if (library->loaded && library->has_heap && library->error == 0 && library->heap_state == ODF_HEAP_OFF)
		snprintf(advice, room, "It runs under libodfork without a heap (%s); man odfork_heap tells what helps.",
			 odf_reason_text((odf_reason)library->heap_reason));
	else if (library->loaded)
		snprintf(advice, room, "It runs under libodfork; its memory is placed once it has grown.");
	else if (!inspection->has_memory && inspection->memory_error == ESRCH)
		snprintf(advice, room, "There is nothing to do for it.");
	else if (!inspection->has_memory)
		snprintf(advice, room, "Ask again with that permission.");
	else if (inspection->costs.measured && inspection->cost.us < NO_TROUBLE_US)
		snprintf(advice, room, "Leave it as it is: a fork of it is fast already.");
	else if (obstacle != NULL)
		snprintf(advice, room, "Running it under libodfork would gain nothing as it is: %.240s.",
			 obstacle->text);
	else if (inspection->has_rate && inspection->rate.forks == 0 && inspection->rate.spawns > 0)
		snprintf(advice, room,
			 "It starts programs without copying itself (vfork or posix_spawn), which is fast already; "
			 "look again (--watch) for forks.");
	else
		snprintf(advice, room,
			 "Start it by: odfork run --log --stats=/tmp/forks.json %s-- %s ARGUMENTS; and compare by: "
			 "odfork stats /tmp/forks.json",
			 user, command);
}

void inspect_judge(struct inspection *inspection)
{
	if (inspection->has_memory && inspection->costs.measured) {
		inspection->cost = inspect_predict(&inspection->costs, &inspection->memory);
		inspection->under = inspection->cost;
		if (inspection->costs.region_us >= 0 && first_that_prevents(&inspection->obstacles) == NULL &&
		    !inspection->library.loaded)
			inspection->under = inspect_predict_under(&inspection->costs, &inspection->memory,
								  inspection->memory.inside);
	}
	advise(inspection);
}
