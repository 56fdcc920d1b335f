/* SPDX-License-Identifier: MIT
 *
 * Memory for plans. By raw system calls: the interposed calls may put it into a region, where the kernel would not find
 * the word that it clears when a child lets go of the memory. Under the thread sanitizer by libc's functions, from
 * which it learns that the memory is new.
 */
#ifndef ODF_SPAWN_BLOCK_H
#define ODF_SPAWN_BLOCK_H

#include <stddef.h>
#include <sys/mman.h>

#include "../sys/syscall.h"

/* NULL: no memory. */
static inline void *block_map(size_t size, int flags)
{
#ifdef __SANITIZE_THREAD__
	void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return block == MAP_FAILED ? NULL : block;
#else
	long block = sys_call6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1,
			       0);

	return block < 0 && block > -4096 ? NULL : (void *)block;
#endif
}

/* Unmaps a block or a part of it. Cannot fail for a whole block, which splits no mapping. */
static inline void block_unmap(void *block, size_t size)
{
#ifdef __SANITIZE_THREAD__
	(void)munmap(block, size);
#else
	(void)sys_call2(SYS_munmap, block, size);
#endif
}
#endif
