/* SPDX-License-Identifier: MIT
 *
 * The memory of worker tasks, its files and futexes. Raw system calls where libc's functions may be interposed: the
 * heap must not take this memory for the program's.
 */
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../sys/syscall.h"

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1u
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#define PAGE           ((uint64_t)sysconf(_SC_PAGESIZE)) /* mappings start at multiples of it in the file */
#define KEEP_SIZE      1 /* FALLOC_FL_KEEP_SIZE, */
#define PUNCH          3 /* and with FALLOC_FL_PUNCH_HOLE */
#define BACKED_AT_ONCE 64u /* slots */
#define BULK_SIZE      (INT64_C(1) << 62)

/* Maps by libc's function under the thread sanitizer, which learns from it that the memory is new. Returns the address,
 * or a negative errno value. */
static long map_file(uint64_t size, int rights, int flags, int file, uint64_t at)
{
#ifdef __SANITIZE_THREAD__
	void *base = mmap(NULL, size, rights, flags, file, (off_t)at);

	return base == MAP_FAILED ? -(long)errno : (long)base;
#else
	return sys_call6(SYS_mmap, 0, (long)size, rights, flags, file, (long)at);
#endif
}

/* Cannot fail for a range that map_file returned. */
static void unmap_file(void *base, uint64_t size)
{
#ifdef __SANITIZE_THREAD__
	(void)munmap(base, size);
#else
	(void)sys_call2(SYS_munmap, base, size);
#endif
}

static uint64_t whole(uint64_t length)
{
	return (length + PAGE - 1) & ~(PAGE - 1);
}

/* The longest file that RLIMIT_FSIZE permits: to make a longer one raises SIGXFSZ. */
static int64_t limit_of_files(void)
{
	struct rlimit limit;

	if (sys_call4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
	    limit.rlim_cur > (uint64_t)BULK_SIZE)
		return BULK_SIZE;
	return (int64_t)(limit.rlim_cur & ~(PAGE - 1));
}

/* The file's number is above the standard three. */
static int make_file(const char *name, int64_t size, int *file)
{
	/* Without MFD_NOEXEC_SEAL the call is refused if vm.memfd_noexec is 2. */
	int fd = (int)sys_call2(SYS_memfd_create, name, MFD_CLOEXEC | MFD_NOEXEC_SEAL), lifted;
	long error;

	if (fd == -EINVAL) /* before Linux 6.3 */
		fd = (int)sys_call2(SYS_memfd_create, name, MFD_CLOEXEC);
	if (fd >= 0 && fd <= STDERR_FILENO) {
		lifted = (int)sys_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		sys_close(fd);
		fd = lifted;
	}
	if (fd < 0)
		return -fd;
	error = sys_call2(SYS_ftruncate, fd, size);
	if (error < 0) {
		sys_close(fd);
		return (int)-error;
	}
	*file = fd;
	return 0;
}

/* With `base` 0 only view->size is of use. */
static void lay_out(struct share_view *view, uintptr_t base, unsigned slots, unsigned ring)
{
	size_t at = whole(sizeof(struct share));

	view->head = (struct share *)base;
	view->ring = (_Atomic unsigned *)(base + at);
	at += ring * sizeof(unsigned);
	view->fresh_ring = (_Atomic unsigned *)(base + at);
	at += ring * sizeof(unsigned);
	at = (at + 63) & ~(size_t)63;
	view->ended = (_Atomic uint64_t *)(base + at);
	at += (slots + 63) / 64 * sizeof(uint64_t);
	at = whole(at);
	view->slots = (struct slot *)(base + at);
	view->size = whole(at + slots * sizeof(struct slot));
}

static unsigned ring_of(unsigned slots)
{
	unsigned ring = 64;

	while (ring < slots)
		ring *= 2;
	return ring;
}

int share_map(struct share_view *view, int file)
{
	int64_t size = sys_call3(SYS_lseek, file, 0, SEEK_END);
	long base = size < 0 ? size : map_file((uint64_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (base < 0 && base > -4096)
		return (int)-base;
	view->limits = ((struct share *)base)->limits;
	lay_out(view, (uintptr_t)base, view->limits.slots, view->limits.ring_mask + 1);
	return 0;
}

static int allocate(int file, uint64_t at, uint64_t length)
{
	long error;

	do {
		error = sys_call4(SYS_fallocate, file, KEEP_SIZE, at, length);
	} while (error == -EINTR);
	return error == -ENOSPC ? ENOMEM : (int)-error;
}

unsigned share_back(const struct share_view *view, int file, unsigned slot)
{
	unsigned left = view->limits.slots - slot, count = left < BACKED_AT_ONCE ? left : BACKED_AT_ONCE;
	uint64_t at = (uint64_t)((char *)&view->slots[slot] - (char *)view->head);

	return allocate(file, at, count * sizeof(struct slot)) == 0 ? count : 0;
}

int share_make(struct share_view *view, unsigned slots, int *file)
{
	struct share_view sizes;
	long base;
	int error;

	lay_out(&sizes, 0, slots, ring_of(slots));
	if (limit_of_files() < (int64_t)sizes.size)
		return EFBIG;
	error = make_file("odfork-pool", (int64_t)sizes.size, file);
	if (error != 0)
		return error;
	error = allocate(*file, 0, (uint64_t)((char *)sizes.slots - (char *)sizes.head));
	if (error != 0) {
		sys_close(*file);
		*file = -1;
		return error;
	}
	base = map_file(sizes.size, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
	if (base < 0 && base > -4096) {
		sys_close(*file);
		*file = -1;
		return (int)-base;
	}
	lay_out(view, (uintptr_t)base, slots, ring_of(slots));
	view->limits = (struct share_limits){ .slots = slots, .ring_mask = ring_of(slots) - 1 };
	atomic_store(&view->head->bulk_next, PAGE); /* offset 0 means "within the slot" */
	return 0;
}

void share_set_limits(const struct share_view *view)
{
	view->head->limits = view->limits;
}

void share_unmap(struct share_view *view)
{
	if (view->head != NULL)
		unmap_file(view->head, view->size);
	view->head = NULL;
}

int share_make_bulk(int *file, uint64_t *size)
{
	int64_t limit = limit_of_files();

	*size = (uint64_t)limit;
	return make_file("odfork-pool-data", limit, file);
}

/* ---- Long data --------------------------------------------------------------------------------------------------- */

int share_bulk_place(const struct share_view *view, uint64_t length, uint64_t *at, uint64_t *room)
{
	uint64_t most = view->limits.bulk_size, size, from;

	if (length > most || whole(length) > most)
		return EFBIG;
	size = whole(length);
	from = atomic_fetch_add(&view->head->bulk_next, size);
	if (from == 0 || from % PAGE != 0 || from > most || size > most - from)
		return EFBIG;
	*at = from;
	*room = size;
	return 0;
}

int share_bulk_fill(const struct share_view *view, uint64_t at, uint64_t room)
{
	int error = allocate(view->bulk, at, room); /* a fault without memory would raise SIGBUS */

	if (error != 0)
		share_bulk_give(view, at, room);
	return error;
}

void share_bulk_give(const struct share_view *view, uint64_t at, uint64_t room)
{
	if (room != 0)
		(void)sys_call4(SYS_fallocate, view->bulk, PUNCH, at, room); /* a range of this file: cannot fail */
}

void *share_bulk_map(const struct share_view *view, uint64_t at, uint64_t length, bool writable)
{
	/* All pages at once, instead of a fault for each. */
	int flags = MAP_SHARED | MAP_POPULATE, rights = PROT_READ | (writable ? PROT_WRITE : 0);
	long base = map_file(whole(length), rights, flags, view->bulk, at);

	return base < 0 && base > -4096 ? NULL : (void *)base;
}

void share_bulk_unmap(void *data, uint64_t length)
{
	if (data != NULL)
		unmap_file(data, whole(length));
}

bool share_bulk_is_plausible(const struct share_view *view, uint64_t at, uint64_t length)
{
	uint64_t most = view->limits.bulk_size;
	struct stat status;

	if (at % PAGE != 0 || length == 0 || at > most || length > most - at)
		return false;
	return fstat(view->bulk, &status) != 0 || length <= (uint64_t)status.st_blocks * 512;
}

/* ---- Wakes and reports ------------------------------------------------------------------------------------------- */

uint64_t share_clock(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void share_futex_wake(_Atomic unsigned *word, int count)
{
	(void)sys_call3(SYS_futex, word, FUTEX_WAKE, count);
}

void share_futex_wait(_Atomic unsigned *word, unsigned value, uint64_t wait_ns)
{
	struct timespec wait = { (time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u) };

	(void)sys_call4(SYS_futex, word, FUTEX_WAIT, value, wait_ns == UINT64_MAX ? NULL : &wait);
}

void share_count(int event)
{
	const uint64_t one = 1;
	long count;

	/* The counter has room for more than the number of tasks, so EAGAIN does not last. A count must not be lost:
	 * its reader would sleep for ever. */
	do
		count = sys_write(event, &one, sizeof one);
	while (count == -EINTR || count == -EAGAIN);
}

void share_tell(const struct share_view *view, unsigned slot, bool always)
{
	atomic_fetch_or(&view->ended[slot / 64], UINT64_C(1) << slot % 64);
	/* While `told` is set the eventfd has been written, so only the first of many ends costs a system call. The
	 * reader drains the eventfd first, then clears `told`, then looks at the bits. */
	if (atomic_exchange(&view->head->told, 1) == 0 || always)
		share_count(view->tell);
}

bool share_end(const struct share_view *view, unsigned slot, unsigned from)
{
	_Atomic unsigned *word = &view->slots[slot].state;
	unsigned state = atomic_load(word);

	atomic_store(&view->slots[slot].ended_ns, share_clock());
	do {
		if ((state & ~SLOT_WAITED) != from)
			return false;
	} while (!atomic_compare_exchange_weak(word, &state, SLOT_ENDED));
	if (state & SLOT_WAITED)
		share_futex_wake(word, INT_MAX);
	share_tell(view, slot, false);
	return true;
}

void share_poke(const struct share_view *view)
{
	if (atomic_exchange(&view->head->poked, 1) == 0)
		share_count(view->poke);
}

bool share_wake_one(const struct share_view *view)
{
	for (unsigned i = 0; i < SHARE_WORKERS_MOST / 64 && i * 64 < view->limits.workers_most; i++) {
		uint64_t bits = atomic_load(&view->head->asleep[i]);

		while (bits != 0) {
			uint64_t lowest = bits & -bits;
			struct worker_seat *seat = &view->head->seats[i * 64 + (unsigned)__builtin_ctzll(bits)];

			bits = atomic_fetch_and(&view->head->asleep[i], ~lowest);
			if (bits & lowest) {
				atomic_fetch_add(&seat->wake, 1);
				share_futex_wake(&seat->wake, 1);
				return true;
			}
			bits &= ~lowest;
		}
	}
	return false;
}
