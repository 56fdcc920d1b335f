/* SPDX-License-Identifier: MIT
 *
 * What the cases of malloc_in_place share: blocks, and their contents.
 */
#ifndef TESTS_MALLOC_IN_PLACE_H
#define TESTS_MALLOC_IN_PLACE_H

#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"

#define MIB     ((size_t)1 << 20)
#define AMOUNT  (64 * MIB)

#define must(condition) ((condition) ? (void)0 : wrong(__FILE__, __LINE__, #condition))

static inline __attribute__((noreturn)) void wrong(const char *file, int line, const char *condition)
{
	const char *folder = strrchr(file, '/');

	dprintf(2, "%s:%d: %s (errno %d)\n", folder == NULL ? file : folder + 1, line, condition, errno);
	_exit(1);
}

/* ---- Blocks and their contents ---- */

struct block {
	unsigned char *memory;
	size_t size;
	unsigned value;
};

struct blocks {
	struct block *list;
	size_t count, each;
};

#ifdef __x86_64__
void in_a_sandbox(void);
void in_a_sandbox_later(void);
#endif

/* malloc_in_place_blocks.c */
void wait_ms(long milliseconds);
bool is_preloaded(void);
odf_heap_info info(void);
void wait_for_inside(size_t least, size_t most);
void fill(struct block *block, size_t size, unsigned value);
bool is_right(const struct block *block);
struct blocks make(size_t each, size_t whole);
void check(const struct blocks *blocks);
void unmake(struct blocks *blocks, size_t but_each);
void fork_once(struct blocks *blocks, unsigned count);
void go_through(struct blocks *blocks, unsigned count);
#endif
