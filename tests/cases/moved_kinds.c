/* SPDX-License-Identifier: MIT
 *
 * Cases of test_moved: memory that is one mapping for the kernel, but of several kinds for the library; and properties
 * of memory that the list of mappings does not show.
 */
#include "moved.h"

static bool is_whole(const char *p, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE)
		if (p[at] != 1)
			return false;
	return true;
}

/* As realloc does with a large block. */
static bool grows(char *p, size_t from, size_t size)
{
	char *moved = mremap(p + from, size, size + 8 * MIB, MREMAP_MAYMOVE);

	if (moved == MAP_FAILED || !is_whole(moved, size))
		return false;
	memset(moved + size, 1, 8 * MIB);
	moved = mremap(moved, size + 8 * MIB, size + 16 * MIB, MREMAP_MAYMOVE); /* it is one mapping again */
	return moved != MAP_FAILED && is_whole(moved, size + 8 * MIB) && moved[size + 8 * MIB] == 0;
}

/* The middle has large pages, and the rest is in the region. */
void moved_with_large_pages(void)
{
	char *p = map_inside(16 * MIB), *q;

	q = mmap(NULL, 16 * MIB, RW, PLAIN, -1, 0);
	must(q != MAP_FAILED && madvise(q + 3 * PAGE, 16 * MIB - 5 * PAGE, MADV_HUGEPAGE) == 0);
	memset(q, 1, 16 * MIB);
	must(is_whole(p, 16 * MIB) && grows(q, 3 * PAGE, 16 * MIB - 5 * PAGE));
}

/* The parent's mapping, part of which is in the region and part of which is not, or no longer is. */
static bool grows_whole(char *p)
{
	return grows(p, PAGE, 12 * MIB - PAGE);
}

void moved_by_a_child(void)
{
	char *p = map_inside(12 * MIB);

	/* For the kernel, memory that a call past the library put there is one mapping with the rest. */
	must(raw(SYS_mmap, p + 4 * MIB, 4 * MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + 4 * MIB));
	memset(p + 4 * MIB, 1, 4 * MIB);
	child_agrees(grows_whole, p);
	must(grows_whole(p));
}

/* Advice that the kernel refuses for locked memory. If RLIMIT_MEMLOCK prevents the lock, there is nothing to test. */
static bool is_kept(char *p)
{
	char *locked = (char *)raw(SYS_mmap, p + MIB, 2 * PAGE, RW, PLAIN | MAP_FIXED | MAP_LOCKED, -1, 0);

	if (locked != p + MIB)
		return errno == EAGAIN;
	memset(locked, 9, 2 * PAGE);
	if (madvise(locked, 2 * PAGE, MADV_DONTNEED) != -1 || errno != EINVAL || locked[PAGE] != 9)
		return false;
	if (madvise(locked, 2 * PAGE, MADV_FREE) != -1 || errno != EINVAL || locked[PAGE] != 9)
		return false;
	if (madvise(p, 2 * MIB, MADV_DONTNEED_LOCKED) != 0)
		return errno == EINVAL; /* before Linux 5.18 */
	return locked[PAGE] == 0 && p[0] == 0 && p[2 * MIB] == 1;
}

void locked_past(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child;

	child_agrees(is_kept, p);
	must(is_kept(p));
	child = hold();
	must(is_kept(p + 4 * MIB));
	let_go(child);
}

static char *secret;
static pid_t owner; /* children inherit no lock */

static bool is_locked(char *p)
{
	return p[0] == 1 && secret[0] == 9 &&
	       (getpid() != owner || msync(secret, PAGE, MS_ASYNC | MS_INVALIDATE) == -1);
}

/* Over existing memory, before any fork. */
void locked_past_before_a_fork(void)
{
	char *p;

	p = map(2 * MIB);
	grown = map(32 * MIB);
	secret = (char *)raw(SYS_mmap, p + MIB, 2 * PAGE, RW, PLAIN | MAP_FIXED | MAP_LOCKED, -1, 0);
	if (secret != p + MIB)
		cannot_be_done_here("no memory can be locked");
	memset(secret, 9, 2 * PAGE);
	owner = getpid();
	over_forks(is_locked, p);
}

void names(void)
{
	char *p = map_inside(MIB);
	int file = (int)syscall(SYS_memfd_create, "file", 0u);
	char *q = mmap(NULL, PAGE, RW, PLAIN, -1, 0), *shared;

	if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, q, PAGE, "mine") != 0) { /* a kernel without names of mappings */
		int error = errno;
		must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == -1 && errno == error);
		must(syscall(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == -1 && errno == error);
		return;
	}
	must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == 0);
	must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, NULL) == 0);
	must(syscall(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == 0);
	must(syscall(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, 16) == -1 && errno == EFAULT);
	must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "no\nname") == -1 && errno == EINVAL);
	must(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, 16) == -1 && errno == EFAULT);
	must(mprotect(p, PAGE, PROT_READ) == 0 && prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == 0);
	must(ftruncate(file, (off_t)PAGE) == 0);
	shared = mmap(p, PAGE, RW, MAP_SHARED | MAP_FIXED, file, 0);
	must(shared == p && prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, PAGE, "mine") == -1 && errno == EBADF);
	must(munmap(p, MIB / 2) == 0 && prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, MIB, "mine") == -1 &&
	     errno == ENOMEM);
}
