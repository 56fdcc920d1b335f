/* SPDX-License-Identifier: MIT
 *
 * What test_pinned.c and pinned_*.c share.
 */
#ifndef ODF_TESTS_PINNED_H
#define ODF_TESTS_PINNED_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "odfork.h"

#define ODF_NOT_HERE 77

#define must(condition) \
	((condition) ? (void)0 \
		     : (dprintf(2, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno), _exit(1)))

static inline __attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	const char *needed = getenv("ODF_MUST_WORK");

	dprintf(2, "skipped: %s\n", reason);
	_exit(needed != NULL && strcmp(needed, "1") == 0 ? 1 : ODF_NOT_HERE);
}

struct pinned_case {
	const char *name;
	void (*function)(void);
};
extern const struct pinned_case pinned_cases[];
extern const size_t pinned_count;
extern const struct pinned_case pinned_more_cases[];
extern const size_t pinned_more_count;
extern const struct pinned_case pinned_told_cases[];
extern const size_t pinned_told_count;
extern const struct pinned_case pinned_lent_cases[];
extern const size_t pinned_lent_count;

typedef ssize_t read_function(int file, void *buffer, size_t offset);

odf_heap_info info(void);
unsigned char *map(size_t size);
/* Four blocks, which are in the region once the heap is awake. */
extern unsigned char *wake_buffers;
bool is_inside(const void *address);
/* Wakes the heap. */
void wake(void);
void must_have_left(odf_reason reason);
void fork_once(int number);
extern unsigned char *ballast;
#define THREADS 3
const char *direct_path(void);
const char *fuse_path(void); /* skips the case if there is no FUSE */
/* pinned_direct.c: fills the file with what reads must find, and returns it. */
int fill_with_blocks(int file);
ssize_t plain_read(int file, void *buffer, size_t offset);
void read_under_forks(int file, read_function *function);
#endif
