/* SPDX-License-Identifier: MIT
 *
 * Which process this is: the one that the heap's state is about, a child with a copy of the state, or a child of vfork
 * that runs on its parent's.
 */
#include <pthread.h>

#include "internal.h"

/* A child of vfork runs on its parent's memory and must not wake the heap there: the descriptors would be the child's,
 * and so would the heap. */
atomic_int *heap_process;

/* Used until the heap wakes for the first time. Until then the library makes no system call that the program may not
 * make itself, but to open, read, write, seek in, stat and close files: a filter that the program was started with
 * could kill for others. */
static atomic_int process_at_first;

static void note_process(void)
{
	if (heap_process != NULL)
		atomic_store_explicit(heap_process, (int)sys_call0(SYS_getpid), memory_order_relaxed);
}

/* The thread id of a single-threaded process is its pid. It is read from the owner field of a glibc mutex, without a
 * system call. */
void heap_note_process_quietly(void)
{
	int thread = 0;

#ifdef __GLIBC__
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

	if (pthread_mutex_lock(&mutex) == 0) {
		thread = mutex.__data.__owner;
		(void)pthread_mutex_unlock(&mutex);
	}
#endif
	if (thread == 0)
		note_process();
	else if (heap_process != NULL)
		atomic_store_explicit(heap_process, thread, memory_order_relaxed);
}

/* Nothing is known of the state of the process that this one is a copy of. */
void heap_meet_process(void)
{
	note_process();
}

void heap_note_in_page(void)
{
	long page;

	if (heap_process != &process_at_first)
		return;
	page = sys_call6(SYS_mmap, 0, HEAP_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page < 0 && page > -4096)
		return;
	if (sys_call3(SYS_madvise, page, HEAP_PAGE, MADV_WIPEONFORK) < 0) {
		(void)sys_call2(SYS_munmap, page, HEAP_PAGE);
		return;
	}
	heap_process = (atomic_int *)page;
	note_process();
}

bool heap_is_guest(void)
{
	if (heap_is_new_process())
		heap_meet_process();
	return heap_process != NULL &&
	       atomic_load_explicit(heap_process, memory_order_relaxed) != (int)sys_call0(SYS_getpid);
}

void heap_note_first_process(bool quietly)
{
	heap_process = &process_at_first;
	if (quietly)
		heap_note_process_quietly();
	else
		note_process();
}
