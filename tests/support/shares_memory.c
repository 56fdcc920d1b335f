/* SPDX-License-Identifier: MIT
 *
 * shares_memory yes|no: spawns programs, with success and with failure. Checks that the library has detected whether
 * CLONE_VM is honoured here, and that failures are reported in both cases. "no" is for emulators that copy the memory.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "odfork.h"

#define REQUIRE(condition)                                                            \
	do {                                                                          \
		if (!(condition)) {                                                   \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			return 1;                                                     \
		}                                                                     \
	} while (0)

int main(int argc, char **argv)
{
	char *arguments[] = { (char[]){ "true" }, NULL };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	int fake = argc == 2 && strcmp(argv[1], "no") == 0, status;
	pid_t pid;

	for (int round = 0; round < 3; round++) {
		REQUIRE(odf_spawn(&pid, "/bin/true", arguments, NULL, NULL, &report) == 0);
		REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
		REQUIRE(report.strategy == (fake ? ODF_STRATEGY_FORK : ODF_STRATEGY_VFORK));
		REQUIRE(!fake || report.reason[ODF_STRATEGY_VFORK] == ODF_REASON_CLONE_VM_FAKE);
		REQUIRE(odf_spawn(&pid, "/nonexistent", arguments, NULL, NULL, &report) == ENOENT);
		REQUIRE(report.step == ODF_STEP_EXEC && report.error == ENOENT);
	}
	options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK);
	REQUIRE(odf_spawn(&pid, "/nonexistent", arguments, NULL, &options, &report) == (fake ? ENOTSUP : ENOENT));
	return 0;
}
