/* SPDX-License-Identifier: MIT
 *
 * The base of the cases of test_pinned: a heap that is awake, and reads into its memory during forks.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_alg.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>

#include "direct_fs.h"
#include "pinned.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define MIB ((size_t)1 << 20)

odf_heap_info info(void)
{
	odf_heap_info found = ODF_HEAP_INFO_INIT;
	int (*function)(odf_heap_info *);

	*(void **)&function = dlsym(RTLD_DEFAULT, "odf_heap_info_get");
	must(function != NULL && function(&found) == 0);
	return found;
}

unsigned char *map(size_t size)
{
	unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED);
	return memory;
}

bool is_inside(const void *address)
{
	char line[512];
	bool found = false;
	FILE *maps = fopen("/proc/self/maps", "r");

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long start, end;
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && (unsigned long)address >= start &&
		    (unsigned long)address < end)
			found = strstr(line, "odfork-region") != NULL;
	}
	fclose(maps);
	return found;
}

unsigned char *ballast;
unsigned char *wake_buffers;

/* Allocates enough memory to wake the heap, and a buffer for each reader, all of it in the region. */
void wake(void)
{
	int (*enable)(size_t);

	if (ballast != NULL)
		return;
	ballast = map(32 * MIB);
	memset(ballast, 1, 32 * MIB);
	*(void **)&enable = dlsym(RTLD_DEFAULT, "odf_heap_enable");
	must(info().state == ODF_HEAP_AWAKE && enable != NULL && enable(0) == 0); /* new memory is in the region at once
	                                                                             from now on */
	wake_buffers = map((THREADS + 1) * DIRECT_BLOCK);
	/* The keeper may have waited for a processor. */
	for (int tries = 0; !is_inside(wake_buffers); tries++) {
		must(tries < 60000 && info().state == ODF_HEAP_AWAKE);
		must(munmap(wake_buffers, (THREADS + 1) * DIRECT_BLOCK) == 0);
		usleep(1000);
		wake_buffers = map((THREADS + 1) * DIRECT_BLOCK);
	}
	memset(wake_buffers, 1, (THREADS + 1) * DIRECT_BLOCK);
	must(info().state == ODF_HEAP_AWAKE);
}

const char *direct_path(void)
{
	return getenv("ODF_TEST_FILE");
}

const char *fuse_path(void)
{
	const char *path = getenv("ODF_TEST_FUSE");

	if (path == NULL)
		cannot_be_done_here("there is no FUSE, or not for this user");
	return path;
}

/* ---- Reads during forks ------------------------------------------------------------------------------------------ */

static int reads(void)
{
	const char *number = getenv("ODF_TEST_READS");

	return number != NULL ? atoi(number) : 48;
}

struct reader {
	pthread_t thread;
	unsigned char *buffer;
	read_function *read;
	int file, count;
};

static void read_once(const struct reader *reader, int number)
{
	size_t block = (size_t)number % DIRECT_BLOCKS;

	memset(reader->buffer, 0xee, DIRECT_BLOCK);
	must(reader->read(reader->file, reader->buffer, block * DIRECT_BLOCK) == (ssize_t)DIRECT_BLOCK);
	for (size_t at = 0; at < DIRECT_BLOCK; at += 512)
		must(reader->buffer[at] == direct_byte(block * DIRECT_BLOCK + at));
}

static void *read_on(void *reader_pointer)
{
	struct reader *reader = reader_pointer;

	for (int i = 0; i < reader->count; i++)
		read_once(reader, i);
	return NULL;
}

/* A fork and some writes, so that there is something to settle. */
void fork_once(int number)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(0);
	memset(ballast + (size_t)(number % 24) * MIB, number, 8 * MIB);
	must(waitpid(pid, NULL, 0) == pid);
}

static atomic_bool stop;

static void *fork_on(void *unused)
{
	for (int i = 0; !stop; i++) {
		fork_once(i);
		usleep((useconds_t)(i % 5) * 500);
	}
	return unused;
}

ssize_t plain_read(int file, void *buffer, size_t offset)
{
	return pread(file, buffer, DIRECT_BLOCK, (off_t)offset);
}

/* Into memory that was in the region before, and into newer memory. */
void read_under_forks(int file, read_function *function)
{
	struct reader readers[THREADS];
	unsigned char *fresh = map(DIRECT_BLOCK);
	pthread_t forker;

	memset(fresh, 1, DIRECT_BLOCK);
	for (int i = 0; i < reads(); i++) {
		struct reader reader = { .buffer = i % 2 == 0 ? wake_buffers : fresh, .read = function, .file = file };
		if (i % 12 == 0)
			fork_once(i);
		read_once(&reader, i);
	}
	must(pthread_create(&forker, NULL, fork_on, NULL) == 0);
	for (int i = 0; i < THREADS; i++) {
		readers[i] = (struct reader){ .buffer = wake_buffers + (size_t)(i + 1) * DIRECT_BLOCK, .read = function,
					      .file = file, .count = reads() / THREADS };
		must(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]) == 0);
	}
	for (int i = 0; i < THREADS; i++)
		must(pthread_join(readers[i].thread, NULL) == 0);
	stop = true;
	must(pthread_join(forker, NULL) == 0);
	munmap(fresh, DIRECT_BLOCK);
}

void must_have_left(odf_reason reason)
{
	odf_heap_info now = info();
	unsigned char *later = map(MIB);

	if (now.state != ODF_HEAP_OFF || now.reason != reason)
		dprintf(2, "state %d, reason %d, not %d\n", (int)now.state, (int)now.reason, (int)reason);
	must(now.state == ODF_HEAP_OFF && now.reason == reason);
	must(!is_inside(later));
	munmap(later, MIB);
}
