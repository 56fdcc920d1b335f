/* SPDX-License-Identifier: MIT
 *
 * What the parts of shapes share: areas of memory, and their contents.
 */
#ifndef TESTS_SHAPES_H
#define TESTS_SHAPES_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE   ((size_t)4096)
#define RW     (PROT_READ | PROT_WRITE)
#define PLAIN  (MAP_PRIVATE | MAP_ANONYMOUS)
#define AREAS  6
#define PAGES  ((size_t)640) /* at most, per area */

enum shape { FREELY, HINTED, LOW, OPENED, FIXED, SEGMENT, EXECUTABLE, RESERVED, PIECES, SHAPES };

#define REQUIRE(condition) \
	do { \
		if (!(condition)) { \
			dprintf(2, "%s, seed %lu, %s: line %d: %s (errno %d)\n", shape_names[shape], seed, doing, \
				__LINE__, #condition, errno); \
			_exit(1); \
		} \
	} while (0)

/* ---- Areas, and the contents of each page ---- */

enum access { GONE, CLOSED, READABLE, OPEN };
struct area {
	char *base; /* NULL: none */
	size_t pages;
	unsigned char value[PAGES]; /* 0 also for a page that was never written */
	unsigned char access[PAGES];
};

/* shapes.c */
extern enum shape shape;

/* shapes_areas.c */
extern const char *const shape_names[SHAPES];
extern unsigned long seed;
extern const char *doing;
extern unsigned long state;
size_t below(size_t limit);
void wait_ms(long milliseconds);
extern struct area areas[AREAS];
void put_code(char *page);
void execute(const unsigned char *page);
bool is_right(void);
char *new_memory(size_t size);
void open_pages(char *from, size_t size);
void make_area(struct area *area);
void change_something(void);
#endif
