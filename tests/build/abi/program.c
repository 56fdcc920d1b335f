/* SPDX-License-Identifier: MIT
 *
 * A program that is compiled with one version of the header and runs with a library that was compiled with another:
 * abi_growth.sh. Compiles as C and as C++. Guard bytes follow every structure. With ODF_NEWER the header is newer than
 * the library. */
#include <odfork.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUIRE(condition)                                                      \
	do {                                                                    \
		if (!(condition)) {                                             \
			printf("line %d: %s\n", __LINE__, #condition);          \
			exit(1);                                                \
		}                                                               \
	} while (0)

#define GUARD 0xa5
#define GUARDED(type, name)                \
	struct {                           \
		type it;                   \
		unsigned char guard[64];   \
	} name;                            \
	memset(&name, GUARD, sizeof name); \
	name.it = ODF_SIZED_(type)

static void must_stand(const unsigned char *guard)
{
	for (int i = 0; i < 64; i++)
		REQUIRE(guard[i] == GUARD);
}

#ifdef ODF_NEWER
#define MUST_BE_WHOLE(name)                          \
	REQUIRE(name.it.next_member == 0);           \
	REQUIRE(name.it.size == sizeof name.it);     \
	must_stand(name.guard)
#else
#define MUST_BE_WHOLE(name) REQUIRE(name.it.size == sizeof name.it); must_stand(name.guard)
#endif

static char shell[] = "sh", dash_c[] = "-c",
	script[] = "test \"$(pwd)\" = / && test -z \"$(cat)\" && umask | grep -q 0123", missing[] = "missing";

static void spawn(void)
{
	char *argv[] = { shell, dash_c, script, NULL };
	odf_fd_action map[] = { ODF_FD_NULL(0), ODF_FD_KEEP(2) };
	int status, pidfd = -5;
	char text[2000];
	pid_t pid = -1;
	GUARDED(odf_spawn_options, options);
	GUARDED(odf_report, report);

	options.it.flags = ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_UMASK | ODF_SPAWN_CLOSE_OTHER_FDS;
	options.it.umask = 0123;
	options.it.cwd = "/";
	options.it.fds = map;
	options.it.fd_count = sizeof map / sizeof *map;
	REQUIRE(odf_spawn(&pid, shell, argv, NULL, &options.it, &report.it) == 0);
	REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
	MUST_BE_WHOLE(report);
	REQUIRE(report.it.strategy == ODF_STRATEGY_VFORK && report.it.step == ODF_STEP_NONE && report.it.error == 0);
	REQUIRE(report.it.reason[ODF_STRATEGY_VFORK] == ODF_REASON_CHOSEN &&
		report.it.reason[ODF_STRATEGY_FORK] == ODF_REASON_BETTER_CHOSEN);
	REQUIRE(report.it.elapsed_ns > 0 && report.it.despite == ODF_REASON_NONE && report.it.forgiven == 0);
	REQUIRE(odf_report_format(&report.it, text, sizeof text) > 0 && strncmp(text, "made by vfork", 13) == 0);

	report.it = ODF_REPORT_INIT;
	options.it.pidfd = &pidfd;
	REQUIRE(odf_spawn(&pid, "/missing/program", argv, NULL, &options.it, &report.it) == ENOENT);
	REQUIRE(report.it.step == ODF_STEP_EXEC && report.it.error == ENOENT && report.it.index == -1 && pidfd == -1);
	REQUIRE(strcmp(odf_step_name(report.it.step), "exec") == 0);
	MUST_BE_WHOLE(report);

	options.it.forgive = ODF_FORGIVE(ODF_STEP_NICE);
	options.it.cwd = "/missing";
	REQUIRE(odf_spawn(&pid, missing, argv, NULL, &options.it, &report.it) == ENOENT &&
		report.it.step == ODF_STEP_CWD);

	pidfd = -5;
	options.it.cwd = NULL;
#ifdef ODF_NEWER
	options.it.next_member = 1;
	REQUIRE(odf_spawn(&pid, shell, argv, NULL, &options.it, &report.it) == E2BIG &&
		report.it.step == ODF_STEP_REQUEST && pidfd == -1);
#else
	options.it.size = offsetof(odf_spawn_options, reserved[1]);
	REQUIRE(odf_spawn(&pid, shell, argv, NULL, &options.it, &report.it) == EINVAL &&
		report.it.step == ODF_STEP_REQUEST && pidfd == -1);
#endif
}

static void fork_and_report(void)
{
	int status, pidfd = -5;
	pid_t pid;
	GUARDED(odf_fork_options, options);
	GUARDED(odf_report, report);

	options.it.pidfd = &pidfd;
	pid = odf_fork_with(&options.it, &report.it);
	if (pid == 0)
		_exit(7);
	REQUIRE(pid > 0 && pidfd >= 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	MUST_BE_WHOLE(report);
	REQUIRE(report.it.strategy == ODF_STRATEGY_FORK && report.it.reason[ODF_STRATEGY_FORK] == ODF_REASON_CHOSEN);
}

static void outputs(void)
{
	odf_region *region = odf_region_create(1 << 20, ODF_REGION_MANUAL);
	struct utsname name;
	GUARDED(odf_capabilities, capabilities);
	GUARDED(odf_kernel_verdict, verdict);
	GUARDED(odf_region_info, info);
	GUARDED(odf_heap_info, heap);

	REQUIRE(odf_capabilities_get(&capabilities.it) == 0 && uname(&name) == 0);
	MUST_BE_WHOLE(capabilities);
	REQUIRE(capabilities.it.page_size == (size_t)sysconf(_SC_PAGESIZE) &&
		strcmp(capabilities.it.kernel_release, name.release) == 0);
	REQUIRE(capabilities.it.strategy[ODF_STRATEGY_FORK] == ODF_REASON_NONE &&
		capabilities.it.strategy[ODF_STRATEGY_POOL] == capabilities.it.strategy[ODF_STRATEGY_VFORK]);
	REQUIRE(odf_kernel_verify(&verdict.it) == 0);
	MUST_BE_WHOLE(verdict);
	REQUIRE(verdict.it.reason == capabilities.it.strategy[ODF_STRATEGY_KERNEL]);
	REQUIRE(odf_heap_info_get(&heap.it) == 0);
	MUST_BE_WHOLE(heap);
	REQUIRE(heap.it.state == ODF_HEAP_OFF && heap.it.reason == ODF_REASON_HEAP_NOT_INTERPOSED);
	if (region == NULL) {
		REQUIRE(errno == ENOTSUP);
		return;
	}
	REQUIRE(odf_region_info_get(region, &info.it) == 0);
	MUST_BE_WHOLE(info);
	REQUIRE(info.it.state == ODF_REGION_LIVE && info.it.capacity == 1 << 20 &&
		info.it.settling == ODF_REGION_SETTLES_BY_CALL);
	info.it.size = 8;
	REQUIRE(odf_region_info_get(region, &info.it) == EINVAL);
	info.it.size = (size_t)1 << 20;
	REQUIRE(odf_region_info_get(region, &info.it) == E2BIG);
	REQUIRE(odf_region_destroy(region) == 0);
}

int main(void)
{
	spawn();
	fork_and_report();
	outputs();
	return 0;
}
