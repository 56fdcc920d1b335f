/* SPDX-License-Identifier: MIT
 *
 * Calls that make a process or a thread within libc. If that fails because of a limit on processes (RLIMIT_NPROC,
 * pids.max), in which the keeper counts, the keeper ends (region/region.h) and the call is made again, as for fork. And
 * a new thread's stack is kept out of regions. In the shared library only.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <threads.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/clone.h"
#include "../sys/syscall.h"
#include "preload.h"

#define EXPORTED __attribute__((visibility("default")))

static ODF_UNINSTRUMENTED int end_at_once(void *unused)
{
	(void)unused;
	return 0;
}

/* EAGAIN may mean a lack of memory, which the keeper's end does not mend. Tried by a child with CLONE_VM that only
 * exits. */
static bool is_full(void)
{
	_Alignas(16) char stack[4096];
	struct clone_request request = {
		.flags = CLONE_VM | CLONE_VFORK | CLONE_UNTRACED, .stack = stack, .stack_size = sizeof stack,
		.function = end_at_once,
	};
	uint64_t all = ~0ull, mask;
	long pid;

	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	pid = clone_child(&request);
	while (pid > 0 && sys_call4(SYS_wait4, pid, NULL, __WCLONE, NULL) == -EINTR)
		;
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	return pid == -EAGAIN;
}

static bool made_room(void)
{
	int saved = errno;
	bool made = region_keeper_process() != 0 && is_full() && region_give_way();

	errno = saved;
	return made;
}

/* system() reports the failure as the shell's exit status 127, with the reason in errno. */
EXPORTED int system(const char *command)
{
	int (*function)(const char *) = (int (*)(const char *))libc_find(LIBC_SYSTEM);
	int saved = errno, result;

	errno = 0;
	result = function(command);
	if ((result == -1 || (WIFEXITED(result) && WEXITSTATUS(result) == 127)) && errno == EAGAIN && made_room()) {
		errno = 0;
		result = function(command);
	}
	if (errno == 0)
		errno = saved;
	return result;
}

/* glibc's sets ENOMEM for each failure. */
EXPORTED FILE *popen(const char *command, const char *type)
{
	FILE *(*function)(const char *, const char *) = (FILE * (*)(const char *, const char *))libc_find(LIBC_POPEN);
	FILE *stream = function(command, type);

	if (stream == NULL && (errno == EAGAIN || errno == ENOMEM) && made_room())
		stream = function(command, type);
	return stream;
}

/* A stack that the program provides has the futex on which pthread_join waits, and that is not private. The attribute
 * may be older than the mapping, or have been set by a call that is not interposed, so it is asked here. */
static void keep_stack(const pthread_attr_t *attributes)
{
	void *start = NULL;
	size_t size = 0;
	uintptr_t end;

	if (attributes == NULL || pthread_attr_getstack(attributes, &start, &size) != 0)
		return;
	end = (uintptr_t)start + size; /* glibc: 0 if it is to allocate the stack */
	if (end != 0 && (size != 0 || pthread_attr_getstacksize(attributes, &size) == 0))
		heap_keep((const void *)(end - size), size);
}

EXPORTED int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
			    void *(*start)(void *), void *restrict argument)
{
	int (*function)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
		(int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))libc_find(LIBC_PTHREAD_CREATE);
	int error;

	preload_before_thread();
	keep_stack(attributes);
	error = function(thread, attributes, start, argument);
	if (error == EAGAIN && (made_room() || heap_makes_room())) /* memory for the stack may be short too */
		error = function(thread, attributes, start, argument);
	return error;
}

EXPORTED int thrd_create(thrd_t *thread, thrd_start_t start, void *argument)
{
	int (*function)(thrd_t *, thrd_start_t,
			void *) = (int (*)(thrd_t *, thrd_start_t, void *))libc_find(LIBC_THRD_CREATE);
	int result;

	preload_before_thread();
	result = function(thread, start, argument);
	if (result != thrd_success && result != thrd_nomem && (made_room() || heap_makes_room()))
		result = function(thread, start, argument);
	return result;
}
