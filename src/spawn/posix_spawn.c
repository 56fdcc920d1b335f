/* SPDX-License-Identifier: MIT
 *
 * posix_spawn, passed on to libc: its attribute and action objects are libc's own, and it makes children without
 * copying page tables.
 */
#include "spawn.h"

#include <errno.h>

#include "../record/counts.h"
#include "../record/record.h"
#include "../region/region.h"
#include "../sys/readable.h"
#include "../sys/trace.h"

int spawn_by_libc(const char *call, enum libc_spawn which, pid_t *pid, const char *file,
		  const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, char *const argv[],
		  char *const envp[])
{
	odf_report report = { .size = sizeof report, .index = -1 };
	pid_t child = -1;
	uint64_t start;

	if (!record_wanted() && !TRACE_IS_WATCHED(spawn)) {
		report.error = libc_posix_spawn(which, pid, file, actions, attributes, argv, envp);
		if (report.error == EAGAIN && region_give_way())
			report.error = libc_posix_spawn(which, pid, file, actions, attributes, argv, envp);
		if (report.error == 0)
			counts_spawn();
		return report.error;
	}
	start = record_now();
	report.error = libc_posix_spawn(which, &child, file, actions, attributes, argv, envp);
	if (report.error == EAGAIN && region_give_way())
		report.error = libc_posix_spawn(which, &child, file, actions, attributes, argv, envp);
	report.elapsed_ns = record_now() - start;
	report.strategy = ODF_STRATEGY_POSIX_SPAWN;
	if (report.error != 0) {
		report.step = ODF_STEP_UNKNOWN;
		child = -1;
	} else {
		counts_spawn();
		if (pid != NULL)
			*pid = child;
	}
	/* A name that the kernel could not read cannot be recorded. */
	if (report.error == EFAULT && !sys_is_readable_string(file))
		file = "";
	TRACE_5(spawn, child, file, odf_strategy_name(report.strategy), report.elapsed_ns, report.error);
	if (record_wanted())
		record_write(&(struct record){ .call = call, .file = file, .child = child, .report = &report });
	return report.error;
}

int odf_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		    const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	return spawn_by_libc("odf_posix_spawn", LIBC_SPAWN, pid, path, actions, attributes, argv, envp);
}

int odf_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	return spawn_by_libc("odf_posix_spawnp", LIBC_SPAWN_PATH, pid, file, actions, attributes, argv, envp);
}
