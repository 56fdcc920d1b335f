/* SPDX-License-Identifier: MIT
 *
 * libc's own calls. Its malloc maps, unmaps, opens and moves memory, and moves the end of the data segment, by calls
 * within libc, which no symbol leads to us. Were they not seen, nothing could be done to that memory beside a running
 * program: a step that puts pages home at the moment at which another thread's free() has unmapped the place, and
 * something else was mapped there, would destroy memory. To have them wait meanwhile takes a mark on each call of
 * malloc and free, and an answer for the thread that is stopped amid one; and what they gave back would be found out
 * late or never.
 *
 * So these functions, as libc has them, begin with a jump to ours, in the memory of this process alone. What malloc
 * does is then seen like what the program does, at the moment at which it is done, and needs no further care: malloc
 * itself is libc's, with the same addresses, sizes and memory, and a call of it costs what it costs without us.
 *
 * Done where this is known to be right: on x86-64, where the functions are libc's own, come to a system call behind
 * what is overwritten, and begin with nothing that another one has put there, and where no other thread could be in the
 * middle of it. By way of /proc/self/mem, which changes no rights of the code, at no moment, and asks for none. What is
 * refused leaves libc as it is: then its malloc's memory stays out of regions. A program may have been started with a
 * filter of system calls; open, seek, read, write and close each has.
 *
 * Thread stacks, which libc maps in the same way, say what they are (MAP_STACK), and are never a region's.
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
		(void)dlerror(); /* the message is not the program's */
	return found;
}

/* libc's code. */
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

/* Told by where it lies: tcmalloc and mimalloc have libc's inner names too (__libc_malloc). By its program headers, as
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

/* In an executable of fixed position which takes its address a function has an entry there that stands for it
 * everywhere; such a symbol is not defined. */
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
#define LANDING   "\xf3\x0f\x1e\xfa" /* endbr64, which has to stay the first where it is */
/* Of a function's code that is looked at. */
#define LOOKED_AT 64u

static const struct {
	const char *name;
	void (*ours)(void);
} calls[] = {
	{ "mmap", (void (*)(void))preload_mmap },         { "munmap", (void (*)(void))preload_munmap },
	{ "mremap", (void (*)(void))preload_mremap },     { "mprotect", (void (*)(void))preload_mprotect },
	{ "madvise", (void (*)(void))preload_madvise },   { "brk", (void (*)(void))preload_brk },
	/* The last step of exit(), behind all handlers and the last output. Not needed: without it a child's end is
	 * seen when its memory has been taken down. */
	{ "_exit", (void (*)(void))_exit },
};
#define CALLS (sizeof calls / sizeof *calls)
#define NEEDED (CALLS - 1)

struct change {
	unsigned char *at;
	unsigned char jump[JUMP_SIZE];
};

/* It comes to its system call, behind what is overwritten. */
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

/* What is read by way of the file is what is here: an emulator's may be its own memory. */
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
		(void)write_at(memory, changes[done].at, was[done]); /* as it could be written a moment ago */
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
	/* Which file system it is in is not asked (heap/process.c): what is no memory of this process does not have
	 * libc's code at its address. */
	memory = sys_open("/proc/self/mem", O_RDWR | O_NONBLOCK | O_NOCTTY, 0);
	if (memory < 0)
		return false;
	/* A handler that moves the end of the data segment would go round between libc's function and ours. */
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
