/* SPDX-License-Identifier: MIT */
#include "../spawn/process.h"
#include "../sys/structure.h"
#include "internal.h"

int odf_pool_spawn(odf_pool *pool, pid_t *pid, const char *file, char *const argv[], char *const envp[],
		   const odf_spawn_options *options, odf_report *report)
{
	odf_spawn_options own = ODF_SPAWN_OPTIONS_INIT;

	if (options != NULL && structure_read(&own, sizeof own, options, SPAWN_OPTIONS_FIRST_SIZE) != 0)
		return odf_spawn(pid, file, argv, envp, options, report); /* refuses these options */
	if (pool == NULL)
		own.flags |= 1ull << 63; /* an unknown flag, which odf_spawn refuses */
	own.pool = pool;
	return odf_spawn(pid, file, argv, envp, &own, report);
}
