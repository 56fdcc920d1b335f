/* SPDX-License-Identifier: MIT
 *
 * The interposed mapping calls. Each calls the heap; while that is asleep or off, it costs a branch before the system
 * call. msync calls libc's function, as it is a cancellation point.
 */
#undef _FILE_OFFSET_BITS /* mmap and mmap64 are to be two names */
#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/uio.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "preload.h"

#define EXPORTED __attribute__((visibility("default")))

static long finish(long result)
{
	if (result < 0 && result >= -4095) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

/* ---- Targets of the calls within libc (within.c) ---- */

void *preload_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	return (void *)finish(heap_mmap_within(address, length, protection, flags, file, offset));
}

int preload_munmap(void *address, size_t length)
{
	return (int)finish(heap_munmap(address, length));
}

void *preload_mremap(void *old, size_t old_length, size_t length, int flags, ...)
{
	void *fixed = NULL;
	va_list rest;

	if (flags & MREMAP_FIXED) {
		va_start(rest, flags);
		fixed = va_arg(rest, void *);
		va_end(rest);
	}
	return (void *)finish(heap_mremap(old, old_length, length, flags, fixed));
}

int preload_mprotect(void *address, size_t length, int protection)
{
	return (int)finish(heap_mprotect(address, length, protection));
}

int preload_madvise(void *address, size_t length, int advice)
{
	return (int)finish(heap_madvise(address, length, advice));
}

/* ---- The program's ---- */

EXPORTED void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	return (void *)finish(heap_mmap(address, length, protection, flags, file, offset));
}

EXPORTED void *mmap64(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	return (void *)finish(heap_mmap(address, length, protection, flags, file, offset));
}

EXPORTED int munmap(void *address, size_t length)
{
	return preload_munmap(address, length);
}

EXPORTED void *mremap(void *old, size_t old_length, size_t length, int flags, ...)
	__attribute__((alias("preload_mremap")));

EXPORTED int madvise(void *address, size_t length, int advice)
{
	return preload_madvise(address, length, advice);
}

/* Returns an errno value, and does nothing for POSIX_MADV_DONTNEED, as libc's does. */
EXPORTED int posix_madvise(void *address, size_t length, int advice)
{
	return advice == POSIX_MADV_DONTNEED ? 0 : (int)-heap_madvise(address, length, advice);
}

EXPORTED int mprotect(void *address, size_t length, int protection)
{
	return preload_mprotect(address, length, protection);
}

EXPORTED int pkey_mprotect(void *address, size_t length, int protection, int key)
{
	return (int)finish(heap_pkey_mprotect(address, length, protection, key));
}

EXPORTED int msync(void *address, size_t length, int flags)
{
	int result = libc_msync(address, length, flags);

	if (result == 0 && heap_meets_hole(address, length)) {
		errno = ENOMEM;
		return -1;
	}
	return result;
}

EXPORTED int mlock(const void *address, size_t length)
{
	return (int)finish(heap_mlock((void *)(uintptr_t)address, length));
}

EXPORTED int mlock2(const void *address, size_t length, unsigned flags)
{
	return (int)finish(heap_mlock2((void *)(uintptr_t)address, length, flags));
}

EXPORTED int munlock(const void *address, size_t length)
{
	return (int)finish(heap_munlock((void *)(uintptr_t)address, length));
}

EXPORTED int mlockall(int flags)
{
	return (int)finish(heap_mlockall(flags));
}

EXPORTED int mincore(void *address, size_t length, unsigned char *states)
{
	return (int)finish(heap_mincore(address, length, states));
}

/* In <sys/mman.h> since glibc 2.36. */
EXPORTED ssize_t process_madvise(int process, const struct iovec *pieces, size_t count, int advice, unsigned flags);
EXPORTED ssize_t process_madvise(int process, const struct iovec *pieces, size_t count, int advice, unsigned flags)
{
	return (ssize_t)finish(heap_process_madvise(process, pieces, count, advice, flags));
}

EXPORTED void *shmat(int id, const void *address, int flags)
{
	return (void *)finish(heap_shmat(id, address, flags));
}

EXPORTED int shmdt(const void *address)
{
	return (int)finish(heap_shmdt(address));
}

EXPORTED int remap_file_pages(void *address, size_t length, int protection, size_t page, int flags)
{
	return (int)finish(heap_remap_file_pages(address, length, protection, page, flags));
}

/* In glibc since 2.41. */
EXPORTED int mseal(void *address, size_t length, unsigned long flags);
EXPORTED int mseal(void *address, size_t length, unsigned long flags)
{
	return (int)finish(heap_mseal(address, length, flags));
}
