/* SPDX-License-Identifier: MIT
 *
 * Zeros without memory and without a mapping: the kernel's zero page, which a userfaultfd puts into a private view of
 * the file. The userfaultfd serves faults of user mode only, so that any process may open one (Linux 5.11), and it
 * exists for some microseconds, under the lock, with signals blocked.
 *
 * Not under a seccomp filter, which may punish a call that the program does not make. Whether there is one is looked up
 * once; interposed calls that enter one report it.
 *
 * Async-signal-safe.
 */
#include <errno.h>
#include <fcntl.h>

#include "../capability/sandbox.h"
#include "../sys/userfault.h"
#include "internal.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Another thread that reads there at that moment may map a page of the file again. */
#define TRIES 8

bool region_zero_pages_never;

enum { UNKNOWN, FORBIDDEN, PERMITTED };
static atomic_int permitted; /* a child has the filters of its parent */

void region_forbid_zero_pages(void)
{
	atomic_store(&permitted, FORBIDDEN);
}

bool region_is_unfiltered(void)
{
	int known = atomic_load_explicit(&permitted, memory_order_relaxed), unknown = UNKNOWN;
	struct sandbox own;

	if (known != UNKNOWN)
		return known == PERMITTED;
	known = sandbox_read(0, &own) && own.mode == 0 ? PERMITTED : FORBIDDEN;
	(void)atomic_compare_exchange_strong(&permitted, &unknown, known); /* a filter may be entered at this moment */
	return atomic_load(&permitted) == PERMITTED;
}

static int open_for_user_mode(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	long file = sys_call1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (file < 0)
		return (int)file;
	if (sys_call3(SYS_ioctl, file, UFFDIO_API, &api) < 0) {
		sys_close((int)file);
		return -EINVAL;
	}
	return (int)file;
}

static bool put(int file, char *start, size_t length)
{
	long error = -EEXIST;

	for (unsigned tries = 0; tries < TRIES && (error == -EEXIST || error == -EAGAIN); tries++) {
		struct uffdio_zeropage zeros = { .range = { (uintptr_t)start, length } };
		if (sys_call3(SYS_madvise, start, length, MADV_DONTNEED) < 0)
			return false;
		error = sys_call3(SYS_ioctl, file, UFFDIO_ZEROPAGE, &zeros);
	}
	return error == 0;
}

/* Registering the range splits it off its mapping. Until Linux 6.16 the parts merge again only if there was a page of
 * the process's own before the split; otherwise a mapping stays for each range, in a child for each value that it gives
 * back. So such a page is made; it goes with the range. */
static bool has_been_written(char *start)
{
	return sys_call3(SYS_madvise, start, REGION_PAGE, MADV_POPULATE_WRITE) == 0;
}

static bool put_zero_pages(char *start, size_t length)
{
	static atomic_bool fails;
	struct uffdio_register request = {
		.range = { (uintptr_t)start, length }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_range range = request.range;
	bool done = false;
	int file;

	if (region_zero_pages_never || atomic_load_explicit(&fails, memory_order_relaxed) || !region_is_unfiltered())
		return false;
	file = open_for_user_mode();
	if (file < 0) {
		if (file == -EPERM || file == -ENOSYS || file == -EINVAL) /* not for lack of a descriptor */
			atomic_store_explicit(&fails, true, memory_order_relaxed);
		return false;
	}
	if (!has_been_written(start)) {
		sys_close(file);
		return false;
	}
	/* Registered before the pages go: a thread that touches them meanwhile waits, and finds zeros. */
	if (sys_call3(SYS_ioctl, file, UFFDIO_REGISTER, &request) == 0) {
		done = put(file, start, length);
		while (sys_call3(SYS_ioctl, file, UFFDIO_UNREGISTER, &range) == -ENOMEM)
			region_pause_ms(1);
	}
	sys_close(file); /* wakes the threads that wait */
	return done;
}

bool region_put_zero_pages(char *start, size_t length)
{
	bool done;

	userfault_begin_own();
	done = put_zero_pages(start, length);
	userfault_end_own();
	return done;
}
