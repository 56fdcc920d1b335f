/* SPDX-License-Identifier: MIT
 *
 * What the cases of test_heap share.
 */
#ifndef TESTS_HEAP_CASES_H
#define TESTS_HEAP_CASES_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"

#define MIB  ((size_t)1 << 20)
#define GIB  ((size_t)1 << 30)
#define PAGE ((size_t)4096)

#define must(condition) ((condition) ? (void)0 : wrong(__FILE__, __LINE__, #condition))

static inline __attribute__((noreturn)) void wrong(const char *file, int line, const char *condition)
{
	const char *folder = strrchr(file, '/');

	dprintf(2, "%s:%d: %s (errno %d)\n", folder == NULL ? file : folder + 1, line, condition, errno);
	_exit(1);
}

/* ---- The base of the cases --------------------------------------------------------------------------------------- */

#ifdef ODF_TEST_STATIC
#define heap_info_get odf_heap_info_get
#define heap_enable   odf_heap_enable
#else
/* The library is preloaded, linked, or absent. */
static inline int heap_info_get(odf_heap_info *info)
{
	int (*function)(odf_heap_info *);

	*(void **)&function = dlsym(RTLD_DEFAULT, "odf_heap_info_get");
	must(function != NULL);
	return function(info);
}

static inline int heap_enable(size_t capacity)
{
	int (*function)(size_t);

	*(void **)&function = dlsym(RTLD_DEFAULT, "odf_heap_enable");
	must(function != NULL);
	return function(capacity);
}
#endif

#define EARLIER 2000
struct earlier {
	unsigned char *memory;
	size_t size;
};

enum way { PLAIN, PRELOADED, LINKED, STATIC };

/* heap_cases_common.c */
__attribute__((noreturn)) void cannot_be_done_here(const char *reason);
odf_heap_info info(void);
bool is_awake(void);
char *slurp(const char *path);
bool is_inside(const void *pointer);
void wait_ms(long milliseconds);
void need_libcs_calls(void);
void fill(void *memory, size_t size, unsigned seed);
bool holds(const void *memory, size_t size, size_t filled_size, unsigned seed);
void *map(size_t size);
int status_of(pid_t pid);
void in_child(bool (*predicate)(void));
int count_tasks(void);
bool settles_beside(void);
void wake_by_mapping(void);

/* heap_cases_states.c */
void is_asleep(void);
void is_off(void);
bool is_asleep_again(void);
void counts(void);
void is_on(void);
void is_two_gib(void);
void linked_enables(void);
void is_not_interposed(void);
void *request_cleared(size_t size);
void wakes_by_small_requests(void);
void wakes_by_large_requests(void);
void wakes_by_cleared_requests(void);
void wakes_by_growing_requests(void);
void wakes_by_mappings(void);
void reservations_do_not_wake(void);

/* heap_cases_malloc.c */
void semantics_asleep(void);
void semantics_awake(void);
void semantics_plain(void);
void errno_is_left_alone(void);
void resize(unsigned rounds);
extern struct earlier earlier[EARLIER];
void request_earlier(void);
void across_waking(void);

/* heap_cases_children.c */
extern unsigned char *inherited;
void children_wake_for_themselves(void);
void children_wake_by_requests(void);
void children_of_malloc(void);
void children_beside_threads(void);
void children_past_libc(void);
void no_thread_is_made(void);
void guests_do_not_wake_it(void);
void no_descriptor_in_the_way(void);
void locked_memory_retires_it(void);
void advice_by_descriptor(void);

/* heap_cases_forks.c */
void constructor_forks(void);
void exit_handler_forks(void);
void forks_while_others_request(void);

/* heap_cases_mappings.c */
void tell_mappings(void);
#endif
