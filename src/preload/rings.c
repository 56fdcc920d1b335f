/* SPDX-License-Identifier: MIT
 *
 * Rings of io_uring. Memory is registered with them, files opened for direct input, and devices given commands, by entries of the ring, which nobody sees: so
 * all memory leaves the region when a ring is made. liburing makes the system calls by instructions of its own, also that for the mapping: it is known by its
 * functions. Whoever asks for them where there is no liburing is told what it says where the kernel has none.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../sys/readable.h"
#include "../sys/syscall.h"
#include "syscall.h"

#define EXPORTED __attribute__((visibility("default")))
#define CALL(which, ...) ((__typeof__(__VA_ARGS__) *)libc_find(which))

#define SETUP_NO_MMAP (1u << 14)

/* The start of struct io_uring_params. */
struct parameters {
	uint32_t entries, more_entries, flags;
};

/* A ring in memory of the program's own (Linux 6.5) is pinned by the call. */
static void before_setup(const void *parameters)
{
	const struct parameters *wanted = parameters;

	if (sys_is_readable(wanted, sizeof *wanted) && (wanted->flags & SETUP_NO_MMAP))
		heap_leave(ODF_REASON_HEAP_PINS);
}

/* Also while the heap is asleep: a ring need not keep a descriptor by which it could be found. */
static long made_ring(long result)
{
	if (result >= 0)
		heap_leave(ODF_REASON_HEAP_PINS);
	return result;
}

EXPORTED int io_uring_queue_init(unsigned entries, void *ring, unsigned flags);
EXPORTED int io_uring_queue_init(unsigned entries, void *ring, unsigned flags)
{
	if (libc_find(LIBC_URING_INIT) == NULL)
		return -ENOSYS;
	return (int)made_ring(CALL(LIBC_URING_INIT, int(unsigned, void *, unsigned))(entries, ring, flags));
}

EXPORTED int io_uring_queue_init_params(unsigned entries, void *ring, void *parameters);
EXPORTED int io_uring_queue_init_params(unsigned entries, void *ring, void *parameters)
{
	if (libc_find(LIBC_URING_INIT_PARAMS) == NULL)
		return -ENOSYS;
	before_setup(parameters);
	return (int)made_ring(CALL(LIBC_URING_INIT_PARAMS, int(unsigned, void *, void *))(entries, ring, parameters));
}

EXPORTED int io_uring_queue_init_try_nosqarr(unsigned entries, void *ring, void *parameters);
EXPORTED int io_uring_queue_init_try_nosqarr(unsigned entries, void *ring, void *parameters)
{
	if (libc_find(LIBC_URING_INIT_TRY) == NULL)
		return -ENOSYS;
	before_setup(parameters);
	return (int)made_ring(CALL(LIBC_URING_INIT_TRY, int(unsigned, void *, void *))(entries, ring, parameters));
}

EXPORTED int io_uring_queue_init_mem(unsigned entries, void *ring, void *parameters, void *memory, size_t size);
EXPORTED int io_uring_queue_init_mem(unsigned entries, void *ring, void *parameters, void *memory, size_t size)
{
	if (libc_find(LIBC_URING_INIT_MEM) == NULL)
		return -ENOSYS;
	heap_leave(ODF_REASON_HEAP_PINS);
	return CALL(LIBC_URING_INIT_MEM, int(unsigned, void *, void *, void *, size_t))(entries, ring, parameters, memory, size);
}

EXPORTED int io_uring_queue_mmap(int file, void *parameters, void *ring);
EXPORTED int io_uring_queue_mmap(int file, void *parameters, void *ring)
{
	if (libc_find(LIBC_URING_MMAP) == NULL)
		return -ENOSYS;
	return (int)made_ring(CALL(LIBC_URING_MMAP, int(int, void *, void *))(file, parameters, ring));
}

EXPORTED int io_uring_setup(unsigned entries, void *parameters);
EXPORTED int io_uring_setup(unsigned entries, void *parameters)
{
	if (libc_find(LIBC_URING_SETUP) == NULL)
		return -ENOSYS;
	before_setup(parameters);
	return (int)made_ring(CALL(LIBC_URING_SETUP, int(unsigned, void *))(entries, parameters));
}

#if defined __x86_64__ && !defined __ILP32__
long syscall_io_uring_setup(long number, const long w[6])
{
	before_setup((const void *)w[1]);
	return made_ring(sys_call2(number, w[0], w[1]));
}
#endif
