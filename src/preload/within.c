/* SPDX-License-Identifier: MIT
 *
 * Calls within libc. Its malloc calls mmap, munmap, mprotect, mremap and brk by names that cannot be interposed. If
 * these calls were not seen, malloc's memory could not be settled while the program runs: between a step's read and its
 * move of pages another thread's free() may unmap the place and mmap something else there, and the step would destroy
 * that. A lock around malloc and free would cost each call, would deadlock with a thread that is stopped in one, and
 * would not tell what was unmapped.
 *
 * So the first bytes of these functions in libc are replaced by a jump to ours, in this process's memory only. malloc's
 * mapping calls are then handled like the program's. malloc itself stays libc's, with the same addresses, sizes and
 * memory, and its calls cost the same.
 *
 * This is done only where it is known to be right: on x86-64, in a process of one thread, if the functions are libc's
 * own, reach a system call after the bytes that are replaced, and do not begin with somebody else's jump. The bytes are
 * written by /proc/self/mem, which needs no change of the code's protection. If any of that fails, libc stays as it is,
 * and its malloc's memory stays out of regions. A program may have been started under a seccomp filter: only open,
 * seek, read, write and close are used, which each filter allows that allows a program to start.
 *
 * libc maps thread stacks by the same functions, with MAP_STACK. These never go into regions.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../heap/heap.h"
#include "../region/region.h"
#include "../sys/syscall.h"
#include "preload.h"

static void *find(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (found == NULL)
		(void)dlerror(); /* the program's next dlerror() must not show our message */
	return found;
}

/* Range of libc's code. */
static uintptr_t libc_from, libc_to;

static int look_for_libc(struct dl_phdr_info *info, size_t size, void *of_libc)
{
	uintptr_t from = UINTPTR_MAX, to = 0;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr,
			  end = start + info->dlpi_phdr[i].p_memsz;
		if (info->dlpi_phdr[i].p_type != PT_LOAD)
			continue;
		from = start < from ? start : from;
		to = end > to ? end : to;
	}
	if ((uintptr_t)of_libc < from || (uintptr_t)of_libc >= to)
		return 0;
	libc_from = from;
	libc_to = to;
	return 1;
}

/* Checked by address: tcmalloc and mimalloc define libc's inner names too (__libc_malloc). By program headers, as
 * dladdr looks at each symbol of libc. */
static bool is_in_libc(const void *function)
{
	if (libc_to == 0) {
		void *of_libc_alone = find("gnu_get_libc_version");
		if (of_libc_alone == NULL || dl_iterate_phdr(look_for_libc, of_libc_alone) != 1)
			return false;
	}
	return (uintptr_t)function >= libc_from && (uintptr_t)function < libc_to;
}

/* A non-PIE executable that takes a function's address has a PLT entry that is the function's address everywhere; its
 * symbol is undefined. */
static bool is_mere_entry(const void *function)
{
	void *symbol = NULL;
	Dl_info info;

	return dladdr1(function, &info, &symbol, RTLD_DL_SYMENT) != 0 && symbol != NULL &&
	       ((const ElfW(Sym) *)symbol)->st_shndx == SHN_UNDEF;
}

bool preload_malloc_is_libcs(void)
{
	static const char *const family[] = { "malloc", "free", "realloc" };

	for (size_t i = 0; i < sizeof family / sizeof *family; i++) {
		const void *function = dlsym(RTLD_DEFAULT, family[i]);
		if (function == NULL ||
		    (!is_in_libc(function) && !(is_mere_entry(function) && is_in_libc(find(family[i])))))
			return false;
	}
	return true;
}

#if defined __x86_64__ && !defined __ILP32__
#define JUMP      0xe9
#define JUMP_SIZE 5
#define LANDING   "\xf3\x0f\x1e\xfa" /* endbr64: stays first where it is */
/* Bytes of a function's code that are looked at. */
#define LOOKED_AT 64u

static const struct {
	const char *name;
	void (*ours)(void);
} calls[] = {
	{ "mmap", (void (*)(void))preload_mmap },         { "munmap", (void (*)(void))preload_munmap },
	{ "mremap", (void (*)(void))preload_mremap },     { "mprotect", (void (*)(void))preload_mprotect },
	{ "madvise", (void (*)(void))preload_madvise },   { "brk", (void (*)(void))preload_brk },
	/* The last step of exit(), after all handlers and the flush of streams. Optional: without it a child's end is
	 * seen later, when its memory has been freed. */
	{ "_exit", (void (*)(void))_exit },
};
#define CALLS (sizeof calls / sizeof *calls)
#define NEEDED (CALLS - 1)

struct change {
	unsigned char *at;
	unsigned char jump[JUMP_SIZE];
};

/* It reaches its system call after the bytes that are replaced. */
static bool is_long_enough(const unsigned char *at)
{
	for (size_t i = JUMP_SIZE; i < LOOKED_AT; i++)
		if (at[i] == 0x0f && at[i + 1] == 0x05)
			return true;
	return false;
}

/* Another jump, or a breakpoint. */
static bool is_taken(const unsigned char *at)
{
	return at[0] == JUMP || at[0] == 0xeb || at[0] == 0xff || at[0] == 0xcc;
}

static bool prepare(size_t which, struct change *change)
{
	unsigned char *at = find(calls[which].name);
	intptr_t distance;
	int32_t near;

	if (at == NULL || !is_in_libc(at) || !is_in_libc(at + LOOKED_AT + 8))
		return false;
	if (memcmp(at, LANDING, 4) == 0)
		at += 4;
	distance = (intptr_t)calls[which].ours - (intptr_t)(at + JUMP_SIZE);
	near = (int32_t)distance;
	if (near != distance || is_taken(at) || !is_long_enough(at))
		return false;
	change->at = at;
	change->jump[0] = JUMP;
	memcpy(change->jump + 1, &near, sizeof near);
	return true;
}

static bool seek(int memory, const void *address)
{
	return sys_call3(SYS_lseek, memory, (long)address, SEEK_SET) == (long)address;
}

/* The file reads this process's memory. An emulator's may be that of the emulator. */
static bool is_there(int memory, const struct change *change)
{
	unsigned char bytes[JUMP_SIZE];

	return seek(memory, change->at) && sys_call3(SYS_read, memory, bytes, JUMP_SIZE) == JUMP_SIZE &&
	       memcmp(bytes, change->at, JUMP_SIZE) == 0;
}

static bool write_at(int memory, unsigned char *address, const unsigned char bytes[JUMP_SIZE])
{
	return seek(memory, address) && sys_call3(SYS_write, memory, bytes, JUMP_SIZE) == JUMP_SIZE;
}

/* All of them or none. */
static bool write_all(int memory, const struct change changes[CALLS], size_t count)
{
	unsigned char was[CALLS][JUMP_SIZE];
	size_t done = 0;

	if (!is_there(memory, &changes[0]))
		return false;
	while (done < count) {
		memcpy(was[done], changes[done].at, JUMP_SIZE);
		if (!write_at(memory, changes[done].at, changes[done].jump))
			break;
		done++;
	}
	if (done == count)
		return true;
	while (done-- > 0)
		(void)write_at(memory, changes[done].at, was[done]); /* the same write has just succeeded */
	return false;
}

bool preload_see_within(void)
{
	struct change changes[CALLS];
	size_t count = NEEDED;
	uint64_t all = ~0ull, mask;
	int memory;
	bool written;

	if (!region_has_one_thread() || !preload_segment_is_known())
		return false;
	for (size_t i = 0; i < NEEDED; i++)
		if (!prepare(i, &changes[i]))
			return false;
	count += prepare(NEEDED, &changes[NEEDED]);
	/* Its file system is not checked (heap/process.c): a file that is not this process's memory does not have
	 * libc's code at that offset. */
	memory = sys_open("/proc/self/mem", O_RDWR | O_NONBLOCK | O_NOCTTY, 0);
	if (memory < 0)
		return false;
	/* A signal handler that moves the break would loop between libc's function and ours. */
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	written = write_all(memory, changes, count);
	if (written)
		preload_segment_is_seen();
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	sys_close(memory);
	return written;
}
#else
bool preload_see_within(void)
{
	return false;
}
#endif
