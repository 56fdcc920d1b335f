/* SPDX-License-Identifier: MIT
 *
 * Futexes, which the kernel identifies by the page behind the address. A thread that sleeps on one, in memory that a
 * region could have, must be woken, whatever is requeued, frozen and settled meanwhile. Cases use each system call on
 * futexes, objects that were made before the heap woke, and the end of a thread on a stack of the program's own. Each
 * case is a process of its own, run without the library, with the heap awake from the start, and with a heap that wakes
 * as the program grows.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "../support/preloaded.h"

#define NUMBER_WAITV   449 /* Linux 5.16 and 6.7; newer than some headers */
#define NUMBER_WAKE    454
#define NUMBER_WAIT    455
#define NUMBER_REQUEUE 456
#define SIZE_32        2

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

static bool has_library(void)
{
	return getenv("LD_PRELOAD") != NULL;
}

static char *map(size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED);
	memset(memory, 0, size);
	return memory;
}

static void must_become_live(const void *memory)
{
	if (!has_library())
		return;
	needs_settling();
	for (int tries = 0; !is_live(memory); tries++) {
		must(tries < 12000);
		fork_and_check();
		wait_ms(5);
	}
}

/* Ordinary memory, which is LIVE. */
static char *map_live(void)
{
	char *memory;

	grow();
	memory = map(4 * MIB);
	must_become_live(memory);
	/* It settles in steps, and no process forks any more. */
	for (int tries = 0; has_library() && !is_live(memory + 4 * MIB - 1); tries++) {
		must(tries < 60000);
		wait_ms(1);
	}
	return memory;
}

/* ---- A sleeper ---- */

static struct sleeper {
	pthread_t thread;
	atomic_int id;
	long call[7]; /* number and arguments */
	long result;
} sleeper;

static void *sleep_there(void *unused)
{
	const long *call = sleeper.call;

	sleeper.id = (int)syscall(SYS_gettid);
	sleeper.result = syscall(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
	return unused;
}

/* Waits until the thread sleeps in this system call. */
static void must_sleep_in(int id, long number)
{
	char path[64], text[32], wanted[32];

	snprintf(path, sizeof path, "/proc/self/task/%d/syscall", id);
	snprintf(wanted, sizeof wanted, "%ld ", number);
	for (int tries = 0;; tries++) {
		int file = open(path, O_RDONLY);
		ssize_t got = file >= 0 ? read(file, text, sizeof text - 1) : -1;
		if (got < 0)
			cannot_be_done_here("what a thread sleeps in is not told");
		text[got] = '\0';
		close(file);
		if (strncmp(text, wanted, strlen(wanted)) == 0)
			return;
		must(tries < 10000);
		wait_ms(1);
	}
}

static void put_to_sleep(long number, long a, long b, long c, long d, long e, long f)
{
	const long call[] = { number, a, b, c, d, e, f };

	sleeper.id = 0;
	memcpy(sleeper.call, call, sizeof call);
	must(pthread_create(&sleeper.thread, NULL, sleep_there, NULL) == 0);
	while (sleeper.id == 0)
		wait_ms(1);
	must_sleep_in(sleeper.id, number);
}

static void must_wake(const int *word)
{
	must(syscall(SYS_futex, word, FUTEX_WAKE, 1) == 1);
	must(pthread_join(sleeper.thread, NULL) == 0 && sleeper.result >= 0);
}

static bool is_missing(long number)
{
	return syscall(number, 8, 0, 0, ~0u, 8, 0) == -1 && errno == ENOSYS;
}

/* ---- System calls ---- */

static void requeued(char *words[CASE_WORDS])
{
	char *memory = map_live();
	int *a = (int *)(void *)memory, *b = (int *)(void *)(memory + MIB);

	(void)words;
	put_to_sleep(SYS_futex, (long)a, FUTEX_WAIT, 0, 0, 0, 0);
	must(syscall(SYS_futex, a, FUTEX_CMP_REQUEUE, 0, INT_MAX, b, 0) == 1);
	must_wake(b);
	put_to_sleep(SYS_futex, (long)a, FUTEX_WAIT, 0, 0, 0, 0);
	must(syscall(SYS_futex, a, FUTEX_REQUEUE, 0, INT_MAX, b + 4096, 0) == 1);
	must_wake(b + 4096);
}

static void waited_for_several(char *words[CASE_WORDS])
{
	char *memory = map_live();
	struct {
		uint64_t value, address;
		uint32_t flags, reserved;
	} list[2] = { { 0, (uintptr_t)memory, SIZE_32, 0 }, { 0, (uintptr_t)memory + MIB, SIZE_32, 0 } };

	(void)words;
	if (is_missing(NUMBER_WAITV))
		cannot_be_done_here("no futex_waitv");
	put_to_sleep(NUMBER_WAITV, (long)list, 2, 0, 0, 0, 0);
	must_wake((int *)(void *)(memory + MIB));
	must(sleeper.result == 1);
}

static void newer_calls(char *words[CASE_WORDS])
{
	char *memory = map_live();
	int *a = (int *)(void *)memory, *b = (int *)(void *)(memory + MIB), *c = (int *)(void *)(memory + 2 * MIB);
	struct {
		uint64_t value, address;
		uint32_t flags, reserved;
	} pair[2] = { { 0, (uintptr_t)a, SIZE_32, 0 }, { 0, (uintptr_t)b, SIZE_32, 0 } };

	(void)words;
	if (is_missing(NUMBER_WAIT))
		cannot_be_done_here("no futex_wait");
	put_to_sleep(NUMBER_WAIT, (long)c, 0, ~0u, SIZE_32, 0, 0);
	must_wake(c);
	put_to_sleep(NUMBER_WAIT, (long)a, 0, ~0u, SIZE_32, 0, 0);
	must(syscall(NUMBER_REQUEUE, pair, 0, 0, 1) == 1);
	must(syscall(NUMBER_WAKE, b, ~0u, 1, SIZE_32) == 1);
	must(pthread_join(sleeper.thread, NULL) == 0 && sleeper.result == 0);
}

/* Addresses that cannot be read: the kernel must refuse them. */
static void bad_words(char *words[CASE_WORDS])
{
	(void)words;
	grow();
	must(syscall(SYS_futex, 8, FUTEX_WAKE, 1) == -1 && errno == EFAULT);
	if (is_missing(NUMBER_WAIT))
		return;
	must(syscall(NUMBER_WAITV, 8, 1, 0, NULL, 0) == -1 && errno == EFAULT);
	must(syscall(NUMBER_REQUEUE, 8, 0, 0, 1) == -1 && errno == EFAULT);
	must(syscall(NUMBER_WAKE, 8, ~0u, 1, SIZE_32) == -1 && errno == EFAULT);
}

/* A word that the kernel itself changes leaves the region, private or not: the kernel does not wait for a settle
 * there. */
static void changed_by_the_kernel(char *words[CASE_WORDS])
{
	char *memory = map_live();
	int *a = (int *)(void *)memory, *b = (int *)(void *)(memory + MIB), *c = (int *)(void *)(memory + 2 * MIB);
	int set = FUTEX_OP(FUTEX_OP_SET, 5, FUTEX_OP_CMP_EQ, 9);

	(void)words;
	must(syscall(SYS_futex, a, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, 1L, b, set) == 0 && *b == 5);
	must(syscall(SYS_futex, c, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0) == 0 && *c != 0);
	must(!is_live(b) && !is_live(c) && is_live(memory + 3 * MIB) == has_library());
	must(syscall(SYS_futex, c, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0) == 0 && *c == 0);
}

/* ---- Objects made before the heap ---- */

struct objects {
	_Alignas(4096) pthread_mutex_t robust;
	_Alignas(4096) pthread_mutex_t shared;
	_Alignas(4096) pthread_cond_t condition;
	_Alignas(4096) pthread_rwlock_t lock;
	_Alignas(4096) pthread_barrier_t barrier;
	_Alignas(4096) char end[4096];
};

static void make_objects(struct objects *objects)
{
	pthread_mutexattr_t robust, shared;
	pthread_condattr_t condition;
	pthread_rwlockattr_t lock;
	pthread_barrierattr_t barrier;

	must(pthread_mutexattr_init(&robust) == 0 && pthread_mutexattr_init(&shared) == 0 &&
	     pthread_condattr_init(&condition) == 0 && pthread_rwlockattr_init(&lock) == 0 &&
	     pthread_barrierattr_init(&barrier) == 0);
	must(pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST) == 0 &&
	     pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED) == 0 &&
	     pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED) == 0 &&
	     pthread_rwlockattr_setpshared(&lock, PTHREAD_PROCESS_SHARED) == 0 &&
	     pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED) == 0);
	must(pthread_mutex_init(&objects->robust, &robust) == 0 && pthread_mutex_init(&objects->shared, &shared) == 0 &&
	     pthread_cond_init(&objects->condition, &condition) == 0 &&
	     pthread_rwlock_init(&objects->lock, &lock) == 0 &&
	     pthread_barrier_init(&objects->barrier, &barrier, 2) == 0);
}

static void *lock_and_unlock(void *mutex)
{
	sleeper.id = (int)syscall(SYS_gettid);
	must(pthread_mutex_lock(mutex) == 0 && pthread_mutex_unlock(mutex) == 0);
	return NULL;
}

/* A child that stays until it is told to end. */
static pid_t fork_one_that_stays(int go[2])
{
	char byte;
	pid_t pid;

	must(pipe(go) == 0);
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		_exit(read(go[0], &byte, 1) == 0 && is_right() ? 0 : 1);
	}
	must(pid > 0);
	return pid;
}

static void end_child(pid_t pid, const int go[2])
{
	close(go[1]);
	must(status_of(pid) == 0);
}

static void made_early(char *words[CASE_WORDS])
{
	struct objects *objects = (struct objects *)(void *)map(4 * MIB);
	pthread_mutex_t *mutexes[] = { &objects->robust, &objects->shared };
	int go[2];

	(void)words;
	make_objects(objects);
	grow();
	must_become_live(objects->end);
	must(!is_live(&objects->robust) && !is_live(&objects->shared) && !is_live(&objects->condition) &&
	     !is_live(&objects->lock) && !is_live(&objects->barrier));
	for (int i = 0; i < 2; i++) {
		pid_t pid;
		must(pthread_mutex_lock(mutexes[i]) == 0);
		sleeper.id = 0;
		must(pthread_create(&sleeper.thread, NULL, lock_and_unlock, mutexes[i]) == 0);
		while (sleeper.id == 0)
			wait_ms(1);
		must_sleep_in(sleeper.id, SYS_futex);
		pid = fork_one_that_stays(go);
		must(pthread_mutex_unlock(mutexes[i]) == 0);
		must(pthread_join(sleeper.thread, NULL) == 0);
		end_child(pid, go);
	}
}

/* ---- Stacks ---- */

#define STACK MIB

static int ends[2];

static void *wait_for_the_end(void *unused)
{
	char byte;

	must(read(ends[0], &byte, 1) == 1);
	return unused;
}

static void *join(void *thread)
{
	sleeper.id = (int)syscall(SYS_gettid);
	must(pthread_join(*(pthread_t *)thread, NULL) == 0);
	return NULL;
}

/* again: the attribute is older than the memory. only_end: by the older system call, which the library does not see. */
static void joined(char *words[CASE_WORDS])
{
	char *memory = map_live();
	int (*set_end)(pthread_attr_t *, void *), go[2];
	pthread_attr_t attributes;
	pthread_t thread;
	pid_t pid;

	must(pthread_attr_init(&attributes) == 0);
	if (strcmp(words[0], "again") == 0) {
		must(pthread_attr_setstack(&attributes, memory, STACK) == 0);
		must(munmap(memory, 4 * MIB) == 0);
		must(mmap(memory, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		     memory);
		memset(memory, 0, 4 * MIB);
		must_become_live(memory + STACK - 1);
	} else {
		*(void **)&set_end = dlsym(RTLD_DEFAULT, "pthread_attr_setstackaddr");
		if (set_end == NULL)
			cannot_be_done_here("no pthread_attr_setstackaddr");
		must(pthread_attr_setstacksize(&attributes, STACK) == 0 && set_end(&attributes, memory + STACK) == 0);
	}
	must(pipe(ends) == 0 && pthread_create(&thread, &attributes, wait_for_the_end, NULL) == 0);
	sleeper.id = 0;
	must(pthread_create(&sleeper.thread, NULL, join, &thread) == 0);
	while (sleeper.id == 0)
		wait_ms(1);
	must_sleep_in(sleeper.id, SYS_futex);
	pid = fork_one_that_stays(go);
	must(write(ends[1], "", 1) == 1 && pthread_join(sleeper.thread, NULL) == 0);
	end_child(pid, go);
}

static const struct preloaded_case cases[] = {
	{ "requeued", requeued },
	{ "waited_for_several", waited_for_several },
	{ "newer_calls", newer_calls },
	{ "bad_words", bad_words },
	{ "changed_by_the_kernel", changed_by_the_kernel },
	{ "made_early", made_early },
	{ "joined", joined },
};

int main(int argc, char **argv)
{
	static const char *const runs[][4] = {
		{ "requeued" },		     { "waited_for_several" }, { "newer_calls" },     { "bad_words" },
		{ "changed_by_the_kernel" }, { "made_early" },	       { "joined", "again" }, { "joined", "only_end" },
	};

	if (argc > 1)
		run_case(cases, sizeof cases / sizeof *cases, argc, argv);
	for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
		tell_with_each_heap("futexes", runs[i]);
	return end_of_cases();
}
