/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: the kernel's zero page in a child that gives memory back. A piece is split from its mapping
 * while zero pages are put into it. Older kernels, which this program emulates, merge it again only if a private page
 * of the process was there before.
 */
#include "region_cases.h"
#include "../support/mappings.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define PIECES 40

static bool has_no_populate, is_written;
static unsigned put;

/* Before Linux 6.16, and before 5.14. */
static bool as_older_kernels(const struct call *call, long *result)
{
	if (call->number == SYS_madvise && call->c == MADV_POPULATE_WRITE) {
		if (has_no_populate) {
			*result = -EINVAL;
			return true;
		}
		is_written = true;
	}
	if (call->number == SYS_ioctl && call->b == (long)UFFDIO_ZEROPAGE)
		put++;
	if (call->number != SYS_ioctl || call->b != (long)UFFDIO_UNREGISTER || is_written)
		return false;
	*result = real_call(call->number, call->a, call->b, call->c, 0, 0, 0);
	if (*result == 0) { /* a mapping of its own from here on */
		const struct uffdio_range *range = (const void *)(uintptr_t)call->c;
		must(madvise((void *)(uintptr_t)range->start, range->len, MADV_DONTDUMP) == 0);
	}
	return true;
}

static bool gives_back(void)
{
	int before = count_mappings();

	for (size_t i = 0; i < PIECES; i++)
		must(odf_region_discard(region, home + i * 7 * PAGE, (1 + i % 3) * PAGE) == 0);
	must(count_mappings() < before + 4);
	for (size_t i = 0; i < PIECES; i++)
		must(holds(i * 7, i * 7 + 1 + i % 3, 0) && holds(i * 7 + 1 + i % 3, i * 7 + 7, 1));
	*word(0) = 5;
	must(*word(0) == 5 && *word(7) == 0);
	if (!has_no_populate && put == 0)
		cannot_be_done_here("no userfaultfd for the own faults");
	must(put == (has_no_populate ? 0 : PIECES));
	return true;
}

static void in_a_child(void)
{
	pid_t pid;
	int status;

	region_zero_pages_never = false;
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	hook = as_older_kernels;
	pid = odf_fork();
	if (pid == 0)
		_exit(gives_back() ? 0 : 1);
	must(pid > 0);
	status = status_of(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		_exit(77);
	must(status == 0);
	must(holds_all_1());
	hook = NULL;
	settle();
	must(holds_all_1());
}

void zeros_take_no_mapping(void)
{
	in_a_child();
}

void zeros_take_no_mapping_without_populate(void)
{
	has_no_populate = true;
	in_a_child();
}
