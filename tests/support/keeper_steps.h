/* SPDX-License-Identifier: MIT
 *
 * Three helpers for tests of a settle: how far it has come, as the mappings of the program show; which of the two ways
 * a step uses to keep other threads from the pages that it copies (odfork_keeper(7)); and a tracer that stops the
 * keeper at each of its system calls.
 */
#ifndef ODF_TESTS_KEEPER_STEPS_H
#define ODF_TESTS_KEEPER_STEPS_H

#include <linux/capability.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "keeper_program.h"

/* Counts the bytes of [address, address + length) in process `pid` that are LIVE (mapped shared), and those that are
 * still frozen. */
static inline void count_views(pid_t pid, const char *address, size_t length, size_t *live, size_t *frozen)
{
	char path[64], line[512], rights[8];
	unsigned long first = (unsigned long)address, last = first + length, start, end;
	FILE *maps;

	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	must(maps != NULL);
	*live = *frozen = 0;
	while (fgets(line, sizeof line, maps) != NULL) {
		must(sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3);
		start = start < first ? first : start;
		end = end > last ? last : end;
		if (start < end)
			*(rights[3] == 's' ? live : frozen) += end - start;
	}
	fclose(maps);
}

/* In this process. */
static inline void wait_until_live(const char *address, size_t length)
{
	size_t live, frozen;

	while (count_views(getpid(), address, length, &live, &frozen), frozen != 0)
		wait_ms(1);
}

/* Gives up CAP_SYS_ADMIN: from here on steps take pages out instead of write-protecting them. */
static inline void have_pages_taken_out(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3];

	must(syscall(SYS_capget, &header, has) == 0);
	has[0].effective &= ~(1u << CAP_SYS_ADMIN);
	has[0].permitted &= ~(1u << CAP_SYS_ADMIN);
	must(syscall(SYS_capset, &header, has) == 0);
}

static inline void must_settle_by_itself(void)
{
	odf_region_info info = ODF_REGION_INFO_INIT;
	odf_region *region = odf_region_create(4096, 0);

	must(region != NULL && odf_region_info_get(region, &info) == 0 && odf_region_destroy(region) == 0);
	if (info.settling != ODF_REGION_SETTLES_ALWAYS)
		cannot_be_done_here("nothing settles beside a program here");
}

/* Stops a tracee, which may be running. */
static inline void hold(pid_t pid)
{
	int status;

	must(ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0 && waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
}

static inline void seize_and_hold(pid_t pid)
{
	must(ptrace(PTRACE_SEIZE, pid, 0, (void *)PTRACE_O_TRACESYSGOOD) == 0);
	hold(pid);
}

/* Lets a stopped tracee continue to its next system call entry or exit. */
static inline void hold_at_next_call(pid_t pid)
{
	int status, signal = 0;

	for (;;) {
		must(ptrace(PTRACE_SYSCALL, pid, 0, signal) == 0);
		must(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return;
		signal = status >> 16 != 0 ? 0 : WSTOPSIG(status);
	}
}
#endif
