/* SPDX-License-Identifier: MIT
 *
 * Scenarios of faulted_preloaded: memory, shared memory, and limits and locks of memory.
 */
#include "faulted_preloaded.h"

void memory(void)
{
	const size_t size = 3 << 20;
	unsigned char *map, *moved;
	int result;

	TRY(map, MAP_FAILED, mmap, (NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	if (map == MAP_FAILED)
		return;
	fill(map, size, 50);
	TRY(result, -1, mprotect, (map, PAGE, PROT_READ));
	TRY(result, -1, mprotect, (map, PAGE, PROT_READ | PROT_WRITE));
	if (result != 0) /* it may have failed without a failed call, too */
		MUST(real_call(SYS_mprotect, (long)map, (long)PAGE, PROT_READ | PROT_WRITE, 0, 0, 0) == 0);
	TRY(result, -1, pkey_mprotect, (map, PAGE, PROT_READ | PROT_WRITE, -1));
	TRY(result, -1, madvise, (map + PAGE, PAGE, MADV_DONTNEED));
	MUST(result != 0 || map[PAGE] == 0);
	TRY_VALUE(result, posix_madvise, (map, PAGE, POSIX_MADV_WILLNEED));
	{
		unsigned char there[1] = { 0 };
		TRY(result, -1, mincore, (map, PAGE, there));
	}
	TRY(result, -1, msync, (map, PAGE, MS_SYNC));
	MUST(holds(map, PAGE, 50) && holds(map + 2 * PAGE, size - 2 * PAGE, (unsigned char)(50 + 16)));
	TRY(moved, MAP_FAILED, mremap, (map, size, 2 * size, MREMAP_MAYMOVE));
	if (moved != MAP_FAILED)
		map = moved;
	MUST(holds(map, PAGE, 50) && holds(map + 2 * PAGE, size - 2 * PAGE, (unsigned char)(50 + 16)));
	TRY(result, -1, mlock, (map, PAGE));
	TRY(result, -1, mlock2, (map, PAGE, 0));
	TRY(result, -1, munlock, (map, PAGE));
	TRY(result, -1, munmap, (map, moved != MAP_FAILED ? 2 * size : size));
	if (result != 0)
		MUST(real_call(SYS_munmap, (long)map, (long)(moved != MAP_FAILED ? 2 * size : size), 0, 0, 0, 0) == 0);
	/* The data segment, by calls past malloc. */
	{
		char *end;
		TRY(end, (char *)-1, sbrk, (1 << 20));
		if (end != (char *)-1) {
			memset(end, 9, 1 << 20);
			TRY(result, -1, brk, (end));
			MUST(sbrk(0) == end || result != 0);
		}
	}
	MUST(all_holds());
}

void shared_memory(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600), result;
	void *at;

	MUST(id >= 0);
	TRY(at, (void *)-1, shmat, (id, NULL, 0));
	if (at != (void *)-1) {
		memset(at, 1, PAGE);
		TRY(result, -1, shmdt, (at));
		if (result != 0)
			MUST(real_call(SYS_shmdt, (long)at, 0, 0, 0, 0, 0) == 0);
	}
	/* Over the program's own memory. */
	TRY(at, MAP_FAILED, mmap, (NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	if (at != MAP_FAILED) {
		void *over;
		fill(at, 1 << 20, 70);
		TRY(over, (void *)-1, shmat, (id, (char *)at + PAGE, SHM_REMAP));
		MUST(holds(at, PAGE, 70) && holds((unsigned char *)at + 2 * PAGE, (1 << 20) - 2 * PAGE, 70 + 16));
		MUST(((unsigned char *)at)[PAGE] == (over == (void *)-1 ? 70 + 8 : 1) || faults->failures > 0);
		MUST(real_call(SYS_munmap, (long)at, 1 << 20, 0, 0, 0, 0) == 0);
	}
	MUST(shmctl(id, IPC_RMID, NULL) == 0);
	if (at_round == FAILING) { /* sealing is permanent */
		TRY(at, MAP_FAILED, mmap, (NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		if (at != MAP_FAILED) {
			fill(at, 1 << 20, 70);
			arm("mseal", FAULTS_LIBRARY); /* Linux 6.10 */
			(void)((int (*)(void *, size_t, unsigned long))named("mseal"))(at, 1 << 20, 0);
			disarm();
			MUST(holds(at, 1 << 20, 70));
		}
	}
	TRY(at, MAP_FAILED, mmap64, (NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	if (at != MAP_FAILED) {
		TRY(result, -1, remap_file_pages, (at, PAGE, 0, 1, 0));
		MUST(real_call(SYS_munmap, (long)at, (long)(2 * PAGE), 0, 0, 0, 0) == 0);
	}
	MUST(all_holds());
}

/* ---- Rights and limits ---- */

/* A filter that permits everything. The library first tests it in another process. */
void filters(void)
{
	struct sock_filter all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog filter = { 1, all };
	int result;

	if (at_round != FAILING) /* a filter is permanent */
		return;
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	TRY(result, -1, syscall, (SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
	MUST(all_holds());
	TRY(result, -1, prctl, (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0));
	MUST(all_holds());
}

void limits(void)
{
	struct rlimit limit, same;
	struct iovec piece = { (void *)(((uintptr_t)blocks[2] + PAGE - 1) & ~(uintptr_t)(PAGE - 1)), PAGE };
	int result, self;

	MUST(getrlimit(RLIMIT_AS, &limit) == 0);
	for (size_t i = 0; i < 2; i++) {
		static const char *const sets[] = { "setrlimit", "setrlimit64" }, *const both[] = { "prlimit",
												    "prlimit64" };
		TRY_NAMED(result, -1, sets[i],
			  ((int (*)(int, const struct rlimit *))named(sets[i]))(RLIMIT_AS, &limit));
		TRY_NAMED(result, -1, both[i],
			  ((int (*)(pid_t, int, const struct rlimit *, struct rlimit *))named(both[i]))(0, RLIMIT_DATA,
													NULL, &same));
	}
	TRY(result, -1, prctl, (PR_SET_NAME, "faulted", 0, 0, 0));
	self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	MUST(self >= 0);
	TRY(result, -1, process_madvise, (self, &piece, 1, MADV_COLD, 0));
	TRY(result, -1, syscall, (SYS_pidfd_getfd, self, self, 0));
	closes(result);
	TRY_NAMED(result, -1, "pidfd_getfd", ((int (*)(int, int, unsigned))named("pidfd_getfd"))(self, self, 0));
	closes(result);
	closes(self);
	TRY(result, -1, syscall, (SYS_unshare, CLONE_FILES));
	TRY(result, -1, unshare, (CLONE_FILES));
	arm("syscall", FAULTS_LIBRARY); /* not every user is permitted this */
	(void)syscall(SYS_mbind, piece.iov_base, PAGE, MPOL_PREFERRED, NULL, 0, 0);
	disarm();
	(void)syscall(SYS_mbind, piece.iov_base, PAGE, MPOL_DEFAULT, NULL, 0, 0);
	TRY(result, -1, kill, (getpid(), 0));
	arm("setns", FAULTS_LIBRARY);
	MUST(setns(-1, CLONE_NEWUTS) == -1);
	disarm();
	MUST(all_holds());
}

/* The last thing that a process does, so only once. */
void locked(void)
{
	int result;

	if (at_round != FAILING)
		return;
	if (geteuid() == 0) {
		TRY(result, -1, mlockall, (MCL_CURRENT));
	} else { /* it has more memory than it may lock */
		arm("mlockall", FAULTS_LIBRARY);
		result = mlockall(MCL_CURRENT);
		disarm();
		if (result != 0 && errno != ENOMEM && errno != EPERM)
			EXPECT(errno, EAGAIN);
	}
	arm("dlmopen", FAULTS_LIBRARY);
	MUST(dlmopen(LM_ID_NEWLM, "/nowhere/library.so", RTLD_NOW) == NULL);
	disarm();
	MUST(dlerror() != NULL && dlerror() == NULL); /* the message is kept until it is read */
	end_child(fork());
}
