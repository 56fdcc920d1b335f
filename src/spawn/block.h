/* SPDX-License-Identifier: MIT
 *
 * Memory of plans. By raw calls, as the interposed ones may lay it into a region, where the kernel does not find the
 * word that it clears when a child lets go; under the thread sanitizer by libc's, from which it learns that memory is
 * another's now. */
#ifndef ODF_SPAWN_BLOCK_H
#define ODF_SPAWN_BLOCK_H

#include <stddef.h>
#include <sys/mman.h>

#include "../sys/syscall.h"

/* NULL: there is none. */
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

/* All of what was mapped, or a part. Cannot fail for memory that was mapped so and is not split. */
static inline void block_unmap(void *block, size_t size)
{
#ifdef __SANITIZE_THREAD__
	(void)munmap(block, size);
#else
	(void)sys_call2(SYS_munmap, block, size);
#endif
}
#endif
