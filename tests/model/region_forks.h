/* SPDX-License-Identifier: MIT
 *
 * What the cases of region_forks share: the region, its contents, and the ways to make a process.
 */
#ifndef TESTS_REGION_FORKS_H
#define TESTS_REGION_FORKS_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"
#include "../support/case_seconds.h"

enum { PAGE = 4096, WORDS = PAGE / 8, PAGES = 2048, SEEN = 42, NOBODY = 65534, STACK = 256 * 1024 };
#define DEADLINE ((int)case_seconds(120))

#define REQUIRE(condition) \
	do { \
		if (!(condition)) { \
			dprintf(messages, "# %s:%d: %s (errno %d, process %d)\n", __FILE__, __LINE__, #condition, \
				errno, (int)getpid()); \
			_exit(1); \
		} \
	} while (0)

struct shared {
	atomic_int go, ready;
};

typedef pid_t way(int (*child)(void));
struct known_way {
	const char *name;
	way *start;
	bool in_handlers; /* async-signal-safe */
};

struct ending {
	int *handlers_ran;
	pid_t pid;
};

void case_past_the_library(void);

/* region_forks_common.c */
extern int messages;
extern struct shared *shared;
extern odf_region *region;
extern volatile uint64_t *base;
extern unsigned even, odd;
extern pid_t (*bare)(void);
extern bool is_child;
void write_page(size_t page, unsigned seed);
bool page_has(size_t page, unsigned seed);
void make_region(void);
bool holds(void);
void write_odd_pages(void);
odf_region_info info(void);
time_t now(void);
void await_live(void);
bool exits_with(pid_t pid, int code);
int look(void);

/* region_forks_ways.c */
pid_t by_fork(int (*child)(void));
pid_t by_odf_fork_with(int (*child)(void));
pid_t by_bare_fork(int (*child)(void));
pid_t by_forkpty(int (*child)(void));
pid_t clone_with(int flags, int (*child)(void));
extern const struct known_way ways[];
extern const int way_count;
void snapshot_by(way *start);
void case_every_way(void);
void case_another_thread(void);
void case_threads_at_once(void);
extern volatile pid_t handler_child;
void case_handler(void);
timer_t start_timer(int signal, long after_ns, long every_ns);
void case_timer(void);

/* region_forks_children.c */
void case_child_goes_on(void);
int end_at_once(void);
void case_handler_writes(void);
extern atomic_bool stop;
void case_memory_shared(void);
void case_daemon(void);
void case_shells(void);

/* region_forks_past.c */
void case_nothing_frozen(void);

/* region_forks_lives.c */
void case_generations(void);
void case_orphan(void);
void case_neighbours(void);
void case_atfork_handlers(void);
void case_ids(void);
void case_cancelled(void);
void case_ends(void);
void case_descriptors(void);

/* region_forks_ends.c */
extern struct ending endings[2];
void start_endings(void);
bool ends_in_time(struct ending *ending);
#endif
