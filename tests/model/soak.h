/* SPDX-License-Identifier: MIT
 *
 * What the parts of soak share: blocks of memory, and what they must contain.
 */
#ifndef TESTS_SOAK_H
#define TESTS_SOAK_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE     ((size_t)4096)
#define MIB      ((size_t)1 << 20)
#define WORKERS  3
#define BLOCKS   20
#define SPECIALS 64

#define REQUIRE(condition) \
	do { \
		if (!(condition)) { \
			dprintf(2, "seed %lu, %s: %s:%d: %s (errno %d)\n", seed, doing, __FILE__, __LINE__, \
				#condition, errno); \
			_exit(1); \
		} \
	} while (0)

/* ---- Memory with known contents: each block is filled with its own number ---------------------------------------- */

struct block {
	unsigned char *memory;
	size_t size;
	unsigned char value;
	bool by_malloc;
	bool first_only; /* only the first byte of each page is known */
};

struct worker {
	pthread_t thread;
	pthread_mutex_t lock; /* held for each change, and for a fork that compares */
	struct block blocks[BLOCKS];
	unsigned random;
};

/* soak_memory.c */
extern unsigned long seed;
extern const char *doing;
unsigned random_below(unsigned *state, unsigned limit);
void fill(const struct block *block);
extern struct block specials[SPECIALS];
extern unsigned special_count;
struct block *keep(void *memory, size_t size, unsigned char value);
extern struct worker workers[WORKERS];
extern atomic_bool over;
void *work(void *argument);
int compare_all(void);
void lock_all(bool lock);
void fork_and_compare(unsigned *random);

/* soak_situations.c */
void *map(size_t size);
void plain(unsigned *random);
void foreign_in_the_middle(unsigned *random);
void shared_memory(unsigned *random);
void sealed(unsigned *random);
void advised(unsigned *random);
void locked(unsigned *random);
void moved(unsigned *random);
void own_userfault(unsigned *random);
void touch_served(void);
void open_direct(unsigned *random);
void read_direct(unsigned *random);
void jump(int signal);
void leave_a_fork(unsigned *random);
void cancel_a_forker(unsigned *random);
void close_all(unsigned *random);
void drop_ids(unsigned *random);
void limit_memory(unsigned *random);
void enter_sandbox(unsigned *random);
#endif
