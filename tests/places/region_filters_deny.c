/* SPDX-License-Identifier: MIT
 *
 * The filters of test_region_filters, each of which denies one thing.
 */
#include "region_filters.h"

/* Missing in older headers. */
#define REMAP_DONTUNMAP 4
#define WIPEONFORK      18
#define ADD_SEALS       1033
#define UFFD_NEW        _IO(0xAA, 0x00)
#define NOEXEC_SEAL     0x0008u
#define SCAN            _IOWR('f', 16, uint64_t[12])

/* ---- Filters ----------------------------------------------------------------------------------------------------- */

static scmp_filter_ctx filter;

void filter_begin(void)
{
	filter = seccomp_init(SCMP_ACT_ALLOW);
	REQUIRE(filter != NULL);
}

static void deny(int call, int error)
{
	REQUIRE(seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), call, 0) == 0);
}

static void deny_where(int call, int error, unsigned argument, uint64_t mask, uint64_t value)
{
	REQUIRE(seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), call, 1,
				 SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, mask, value)) == 0);
}

void filter_load(void)
{
	REQUIRE(seccomp_load(filter) == 0);
	seccomp_release(filter);
}

void deny_memfd(int error)
{
	deny(SCMP_SYS(memfd_create), error);
}

void deny_noexec_seal(int error)
{
	deny_where(SCMP_SYS(memfd_create), error, 1, NOEXEC_SEAL, NOEXEC_SEAL);
}

void deny_seals(int error)
{
	deny_where(SCMP_SYS(fcntl), error, 1, 0xffffffffu, ADD_SEALS);
}

void deny_remap(int error)
{
	deny_where(SCMP_SYS(mremap), error, 3, REMAP_DONTUNMAP, REMAP_DONTUNMAP);
}

void deny_every_remap(int error)
{
	deny(SCMP_SYS(mremap), error);
}

void deny_wipe(int error)
{
	deny_where(SCMP_SYS(madvise), error, 2, 0xffffffffu, WIPEONFORK);
}

void deny_remove(int error)
{
	deny_where(SCMP_SYS(madvise), error, 2, 0xffffffffu, MADV_REMOVE);
}

void deny_dontfork(int error)
{
	deny_where(SCMP_SYS(madvise), error, 2, 0xffffffffu, MADV_DONTFORK);
}

void deny_userfault(int error)
{
	deny(SCMP_SYS(userfaultfd), error);
	deny_where(SCMP_SYS(ioctl), error, 1, 0xffffffffu, UFFD_NEW);
}

void deny_minor(int error)
{
	deny_where(SCMP_SYS(ioctl), error, 1, 0xffffffffu, UFFDIO_API);
}

void deny_register(int error)
{
	deny_where(SCMP_SYS(ioctl), error, 1, 0xffffffffu, UFFDIO_REGISTER);
}

void deny_scan(int error)
{
	deny_where(SCMP_SYS(ioctl), error, 1, 0xffffffffu, SCAN);
}

void deny_pagemap(int error)
{
	deny_scan(error);
	deny(SCMP_SYS(pread64), error);
}

void deny_close_range(int error)
{
	deny(SCMP_SYS(close_range), error);
}

void deny_clone3(int error)
{
	deny(SCMP_SYS(clone3), error);
}

/* Not clones of threads, which share memory. */
void deny_fork(int error)
{
	deny(SCMP_SYS(fork), error);
	deny_where(SCMP_SYS(clone), error, 0, CLONE_VM, 0);
}
