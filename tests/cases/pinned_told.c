/* SPDX-License-Identifier: MIT
 *
 * More of test_pinned.c: memory that the kernel knows by its address, counts by its page tables, or merges.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pinned.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

#define MIB ((size_t)1 << 20)

/* ---- AF_XDP ---- */

/* Only the memory that is given to AF_XDP leaves the region. The request is made on any socket, and the kernel then
 * refuses it. */
static void registered_by_option(void)
{
	uint64_t registration[4] = { 0, 2 * MIB, 4096, 0 };
	int any = socket(AF_INET, SOCK_DGRAM, 0);

	wake();
	registration[0] = (uintptr_t)(ballast + 4 * MIB);
	must(setsockopt(any, 283, 4, registration, sizeof registration) == -1);
	must(info().state == ODF_HEAP_AWAKE);
	fork_once(1);
	must(setsockopt(any, 283, 4, (void *)8, sizeof registration) == -1);
	must(syscall(SYS_setsockopt, any, 283, 4, registration, sizeof registration) == -1);
	must(setsockopt(any, 282, 2, registration, sizeof registration) == -1); /* TLS_RX */
	must_have_left(ODF_REASON_HEAP_DEVICE);
}

/* Before the heap wakes; it then adopts the memory beside it. */
static void registered_while_asleep(void)
{
	uint64_t registration[4] = { 0, MIB, 4096, 0 };
	int any = socket(AF_INET, SOCK_DGRAM, 0);
	unsigned char *early = map(4 * MIB);

	memset(early, 1, 4 * MIB);
	must(info().state == ODF_HEAP_ASLEEP);
	registration[0] = (uintptr_t)(early + MIB);
	must(setsockopt(any, 283, 4, registration, sizeof registration) == -1);
	registration[0] = (uintptr_t)(early + 2 * MIB);
	must(syscall(SYS_setsockopt, any, 283, 4, registration, sizeof registration) == -1);
	wake();
	for (int i = 0; i < 6000 && !(is_inside(early) && is_inside(early + 3 * MIB)); i++) {
		fork_once(i);
		usleep(5000);
	}
	/* Without userfaultfd older memory may be adopted later. */
	must((is_inside(early) && is_inside(early + 3 * MIB)) || geteuid() != 0);
	must(!is_inside(early + MIB) && !is_inside(early + 3 * MIB - 4096));
}

/* ---- Page tables that a program examines ---- */

#define CLEAR_REFS "/proc/self/clear_refs"

/* A program that clears the soft-dirty bits later finds what was written since, also across a fork. */
static void count_written(int file)
{
	int pages = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;
	bool told;

	must_have_left(ODF_REASON_HEAP_USERFAULT);
	must(pages >= 0 && write(file, "4", 1) == 1);
	for (size_t page = 0; page < 1000; page += 10)
		((volatile unsigned char *)ballast)[page * 4096] = 3;
	must(pread(pages, &entry, sizeof entry, (off_t)((uintptr_t)ballast / 4096 * sizeof entry)) == sizeof entry);
	told = (entry >> 55 & 1) != 0; /* otherwise the kernel was built without them */
	fork_once(20);
	for (size_t page = 0; page < 1000 && told; page += 10) {
		off_t at = (off_t)(((uintptr_t)ballast / 4096 + page) * sizeof entry);
		must(pread(pages, &entry, sizeof entry, at) == sizeof entry && (entry >> 55 & 1) != 0);
	}
}

#define CLEARED(name, call)           \
	static void name(void)        \
	{                             \
		wake();               \
		count_written((call)); \
	}

static const uint64_t to_write[3] = { O_WRONLY }; /* flags, mode, resolve */

CLEARED(refs_by_open, open(CLEAR_REFS, O_WRONLY))
CLEARED(refs_by_openat, openat(open("/proc/self", O_RDONLY | O_DIRECTORY), "clear_refs", O_WRONLY))
CLEARED(refs_by_creat, creat(CLEAR_REFS, 0600))
CLEARED(refs_by_creat64, creat64(CLEAR_REFS, 0600))
#ifdef SYS_creat
CLEARED(refs_by_number_of_creat, (int)syscall(SYS_creat, CLEAR_REFS, 0600))
#endif
CLEARED(refs_by_fopen, fileno(fopen(CLEAR_REFS, "w")))
CLEARED(refs_by_number, (int)syscall(SYS_openat, AT_FDCWD, CLEAR_REFS, O_WRONLY))
CLEARED(refs_by_openat2, (int)syscall(SYS_openat2, AT_FDCWD, CLEAR_REFS, to_write, sizeof to_write))

static void refs_while_asleep(void)
{
	must(open(CLEAR_REFS, O_WRONLY) >= 0);
	ballast = map(32 * MIB);
	memset(ballast, 1, 32 * MIB);
	must_have_left(ODF_REASON_HEAP_USERFAULT);
	must(!is_inside(ballast));
}

/* A file that only has such a name is like any other. */
static void named_like_refs(void)
{
	char path[4096];

	wake();
	snprintf(path, sizeof path, "%s-clear_refs", direct_path());
	must(open(path, O_RDWR | O_CREAT, 0600) >= 0 && unlink(path) == 0);
	must(fopen("/proc/self/comm", "r+") != NULL && info().state == ODF_HEAP_AWAKE);
}

/* ---- Equal pages are merged ---- */

static void must_know_merging(void)
{
	if (prctl(68 /* PR_GET_MEMORY_MERGE */, 0, 0, 0, 0) != 0)
		cannot_be_done_here("no KSM for whole processes");
}

static void merged(void)
{
	must_know_merging();
	wake();
	must(prctl(67 /* PR_SET_MEMORY_MERGE */, 0, 0, 0, 0) == 0 && info().state == ODF_HEAP_AWAKE);
	must(prctl(67, 1, 0, 0, 0) == 0);
	must_have_left(ODF_REASON_HEAP_MERGED);
}

static void merged_by_number(void)
{
	must_know_merging();
	wake();
	must(syscall(SYS_prctl, 67, 1, 0, 0, 0) == 0);
	must_have_left(ODF_REASON_HEAP_MERGED);
}

/* The caller of this program has turned it on. */
static void merged_from_the_start(void)
{
	if (getenv("ODF_TEST_MERGED") == NULL) {
		must_know_merging();
		must(prctl(67, 1, 0, 0, 0) == 0);
		setenv("ODF_TEST_MERGED", "1", 1);
		execl("/proc/self/exe", "test_pinned", (char *)NULL);
		must(false);
	}
	if (prctl(68, 0, 0, 0, 0) != 1)
		cannot_be_done_here("not inherited");
	ballast = map(32 * MIB);
	memset(ballast, 1, 32 * MIB);
	must_have_left(ODF_REASON_HEAP_MERGED);
	must(!is_inside(ballast));
}

/* ---- The library's own userfaultfd ---- */

static atomic_bool given_back;

static void *give_back(void *unused)
{
	while (!atomic_load(&given_back))
		for (size_t at = 0; at < 32 * MIB && !atomic_load(&given_back); at += 12288)
			must(madvise(ballast + at, 8192, MADV_DONTNEED) == 0);
	return unused;
}

static void grow_beside(void)
{
	pthread_t thread;
	unsigned char *own;

	must(pthread_create(&thread, NULL, give_back, NULL) == 0);
	usleep(5000);
	own = map(64 * MIB);
	memset(own, 1, 64 * MIB);
	for (int tries = 0; info().state == ODF_HEAP_ASLEEP && tries < 20000; tries++)
		usleep(1000);
	if (info().state != ODF_HEAP_AWAKE)
		dprintf(2, "state %d, reason %d\n", (int)info().state, (int)info().reason);
	must(info().state == ODF_HEAP_AWAKE);
	atomic_store(&given_back, true);
	must(pthread_join(thread, NULL) == 0);
}

/* A child gives back inherited memory, for which the library opens a userfaultfd for a moment, while another thread
 * grows: the heap that wakes must not take that for one of the program's. */
static void own_userfaultfd(void)
{
	if (geteuid() != 0)
		cannot_be_done_here("without userfaultfd a multi-threaded program has no heap");
	wake();
	for (int round = 0; round < 8; round++) {
		pid_t pid = fork();
		int status;
		must(pid >= 0);
		if (pid == 0) {
			grow_beside();
			_exit(0);
		}
		must(waitpid(pid, &status, 0) == pid && status == 0);
	}
}

const struct pinned_case pinned_told_cases[] = {
	{ "registered_by_option", registered_by_option },
	{ "registered_while_asleep", registered_while_asleep },
	{ "refs_by_open", refs_by_open },
	{ "refs_by_openat", refs_by_openat },
	{ "refs_by_creat", refs_by_creat },
	{ "refs_by_creat64", refs_by_creat64 },
#ifdef SYS_creat
	{ "refs_by_number_of_creat", refs_by_number_of_creat },
#endif
	{ "refs_by_fopen", refs_by_fopen },
	{ "refs_by_number", refs_by_number },
	{ "refs_by_openat2", refs_by_openat2 },
	{ "refs_while_asleep", refs_while_asleep },
	{ "named_like_refs", named_like_refs },
	{ "merged", merged },
	{ "merged_by_number", merged_by_number },
	{ "merged_from_the_start", merged_from_the_start },
	{ "own_userfaultfd", own_userfaultfd },
};
const size_t pinned_told_count = sizeof pinned_told_cases / sizeof *pinned_told_cases;
