/* SPDX-License-Identifier: MIT
 *
 * region_limits CASE [ARGUMENT...]: a snapshot region while a resource is short or missing. Each case creates a region,
 * forks, discards and settles in that state, and often again once the resource is back. Each failure must be by the
 * documented error, with the data unchanged; never by a signal. Exit status 0; or 77, with a reason, if the case cannot
 * run here. Run by region_limits.sh and region_unprivileged.sh.
 */
#include "region_limits.h"

static const struct {
	const char *name;
	void (*run)(char **arguments);
	int arguments;
} cases[] = {
	{ "as_create", case_as_create, 0 },
	{ "as_lowered", case_as_lowered, 0 },
	{ "data_lowered", case_data_lowered, 0 },
	{ "nofile_create", case_nofile_create, 0 },
	{ "nofile_lowered", case_nofile_lowered, 0 },
	{ "fsize", case_fsize, 0 },
	{ "nproc", case_nproc, 0 },
	{ "mappings", case_mappings, 0 },
	{ "refused", case_refused, 1 },
	{ "changed_later", case_changed_later, 0 },
	{ "no_proc", case_no_proc, 0 },
	{ "works", case_works, 0 },
	{ "huge", case_huge, 0 },
	{ "memory", case_memory, 2 },
	{ "swap", case_swap, 0 },
	{ "threads", case_threads, 2 },
	{ "large", case_large, 2 },
	{ "descriptor", case_descriptor, 2 },
	{ "number_taken", case_number_taken, 1 },
};

int main(int count, char **arguments)
{
	alarm(4 * (unsigned)DEADLINE); /* longer than that, and it hangs */
	for (size_t i = 0; i < sizeof cases / sizeof *cases && count > 1; i++) {
		if (strcmp(arguments[1], cases[i].name) == 0 && count == 2 + cases[i].arguments) {
			cases[i].run(arguments + 2);
			return 0;
		}
	}
	fprintf(stderr, "usage: region_limits CASE [ARGUMENT...]\n");
	return 2;
}
