/* SPDX-License-Identifier: MIT
 *
 * io_uring. By entries of a ring a program registers memory, opens files with O_DIRECT and sends commands to devices,
 * and no call shows it. So all memory leaves its region when a ring is made. liburing makes its system calls by
 * instructions of its own, mmap included, so its functions are interposed. If a program calls them and there is no
 * liburing, they return what liburing returns on a kernel without io_uring.
 */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../sys/readable.h"
#include "../sys/syscall.h"
#include "syscall.h"

#define EXPORTED __attribute__((visibility("default")))

#define SETUP_NO_MMAP (1u << 14)

/* The start of struct io_uring_params. */
struct parameters {
	uint32_t entries, more_entries, flags;
};

/* With IORING_SETUP_NO_MMAP (Linux 6.5) the call pins the ring's memory, which is the program's. */
static void before_setup(const void *parameters)
{
	const struct parameters *wanted = parameters;

	if (sys_is_readable(wanted, sizeof *wanted) && (wanted->flags & SETUP_NO_MMAP))
		heap_leave(ODF_REASON_HEAP_PINS);
}

/* Also while the heap is asleep: a ring may have no descriptor by which it could be found later. */
static long made_ring(long result)
{
	if (result >= 0)
		heap_leave(ODF_REASON_HEAP_PINS);
	return result;
}

/* The function that the call would have reached without us: that of the program's liburing, or of one that a library
 * loaded later, by a name that only that library finds. (The return address does not tell the caller: a call at the end
 * of a function is a jump.) */
static libc_function *find(enum libc_call which, const char *name, libc_function *own)
{
	libc_function *function = libc_find(which);
	void *self = NULL;
	Dl_info object;

	if (function != NULL || dladdr1((const void *)own, &object, &self, RTLD_DL_LINKMAP) == 0)
		return function;
	for (const struct link_map *map = self; map != NULL && function == NULL; map = map->l_next) {
		void *handle = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
		if (handle == NULL)
			continue;
		function = (libc_function *)dlsym(handle, name);
		if (function == own)
			function = NULL;
		(void)dlclose(handle);
	}
	(void)dlerror(); /* the program's next dlerror() must not show our message */
	return function;
}

#define FIND(which, name, ...)											\
	__typeof__(__VA_ARGS__) *next = (__typeof__(__VA_ARGS__) *)find(which, #name, (libc_function *)name);	\
	if (next == NULL)											\
		return -ENOSYS

EXPORTED int io_uring_queue_init(unsigned entries, void *ring, unsigned flags);
EXPORTED int io_uring_queue_init(unsigned entries, void *ring, unsigned flags)
{
	FIND(LIBC_URING_INIT, io_uring_queue_init, int(unsigned, void *, unsigned));
	return (int)made_ring(next(entries, ring, flags));
}

EXPORTED int io_uring_queue_init_params(unsigned entries, void *ring, void *parameters);
EXPORTED int io_uring_queue_init_params(unsigned entries, void *ring, void *parameters)
{
	FIND(LIBC_URING_INIT_PARAMS, io_uring_queue_init_params, int(unsigned, void *, void *));
	before_setup(parameters);
	return (int)made_ring(next(entries, ring, parameters));
}

EXPORTED int io_uring_queue_init_try_nosqarr(unsigned entries, void *ring, void *parameters);
EXPORTED int io_uring_queue_init_try_nosqarr(unsigned entries, void *ring, void *parameters)
{
	FIND(LIBC_URING_INIT_TRY, io_uring_queue_init_try_nosqarr, int(unsigned, void *, void *));
	before_setup(parameters);
	return (int)made_ring(next(entries, ring, parameters));
}

EXPORTED int io_uring_queue_init_mem(unsigned entries, void *ring, void *parameters, void *memory, size_t size);
EXPORTED int io_uring_queue_init_mem(unsigned entries, void *ring, void *parameters, void *memory, size_t size)
{
	FIND(LIBC_URING_INIT_MEM, io_uring_queue_init_mem, int(unsigned, void *, void *, void *, size_t));
	heap_leave(ODF_REASON_HEAP_PINS);
	return next(entries, ring, parameters, memory, size);
}

EXPORTED int io_uring_queue_mmap(int file, void *parameters, void *ring);
EXPORTED int io_uring_queue_mmap(int file, void *parameters, void *ring)
{
	FIND(LIBC_URING_MMAP, io_uring_queue_mmap, int(int, void *, void *));
	return (int)made_ring(next(file, parameters, ring));
}

EXPORTED int io_uring_setup(unsigned entries, void *parameters);
EXPORTED int io_uring_setup(unsigned entries, void *parameters)
{
	FIND(LIBC_URING_SETUP, io_uring_setup, int(unsigned, void *));
	before_setup(parameters);
	return (int)made_ring(next(entries, parameters));
}

#if PRELOAD_HAS_SYSCALL
long syscall_io_uring_setup(long number, const long w[6])
{
	before_setup((const void *)w[1]);
	return made_ring(sys_call2(number, w[0], w[1]));
}
#endif
