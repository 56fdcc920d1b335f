/* SPDX-License-Identifier: MIT
 *
 * The situations of soak. Each leaves memory behind whose contents must not change.
 */
#include "soak.h"
#include "../support/real_call.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define NUMBER_MSEAL       462
#define NUMBER_CLOSE_RANGE 436

/* ---- Situations: each leaves memory behind whose contents must not change ---- */

void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(memory != MAP_FAILED);
	return memory;
}

void plain(unsigned *random)
{
	keep(map(MIB), MIB, (unsigned char)(1 + random_below(random, 250)));
}

void foreign_in_the_middle(unsigned *random)
{
	char *memory = map(MIB);
	long flags = MAP_ANONYMOUS | MAP_FIXED | (random_below(random, 2) ? MAP_PRIVATE : MAP_SHARED);

	memset(memory, 9, MIB);
	keep(memory, MIB / 4, 11);
	REQUIRE(real_call(SYS_munmap, (long)(memory + MIB / 4), MIB / 4, 0, 0, 0, 0) == 0);
	if (random_below(random, 2)) {
		REQUIRE(real_call(SYS_mmap, (long)(memory + MIB / 4), MIB / 4, PROT_READ | PROT_WRITE, flags, -1, 0) ==
			(long)(memory + MIB / 4));
		keep(memory + MIB / 4, MIB / 4, 12);
	}
	keep(memory + MIB / 2 + PAGE, MIB / 2 - PAGE, 13);
	if (random_below(random, 2)) {
		REQUIRE(real_call(SYS_mprotect, (long)(memory + MIB / 2), PAGE, PROT_READ, 0, 0, 0) == 0);
		REQUIRE(memory[MIB / 2] == 9);
	}
}

void shared_memory(unsigned *random)
{
	int id = shmget(IPC_PRIVATE, MIB, IPC_CREAT | 0600);
	char *memory = map(3 * MIB), *at;

	if (id < 0) { /* not available here */
		keep(memory, 3 * MIB, 14);
		return;
	}
	keep(memory, MIB, 15);
	if (random_below(random, 2)) {
		at = shmat(id, memory + MIB, SHM_REMAP);
	} else {
		REQUIRE(munmap(memory + MIB, MIB) == 0);
		at = shmat(id, memory + MIB, 0);
		if (at == (char *)-1 && errno == EINVAL) /* another thread's mapping has been placed there */
			at = shmat(id, NULL, 0);
	}
	REQUIRE(shmctl(id, IPC_RMID, NULL) == 0);
	REQUIRE(at != (char *)-1);
	keep(at, MIB, 16);
	keep(memory + 2 * MIB, MIB, 17);
}

void sealed(unsigned *random)
{
	char *memory = map(MIB / 2);

	(void)random;
	keep(memory, MIB / 2, 18);
	/* By syscall(), which the library interposes. If the library did not see the call, a view of the region's file
	 * would be sealed and could not be replaced any more, and forks would be refused. */
	(void)syscall(NUMBER_MSEAL, memory, MIB / 2, 0);
}

void advised(unsigned *random)
{
	static const int advice[] = {
		MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLLAPSE, MADV_MERGEABLE, MADV_DONTDUMP, MADV_SEQUENTIAL,
		MADV_WILLNEED,
	};
	char *memory = map(4 * MIB);

	(void)madvise(memory, 4 * MIB, advice[random_below(random, sizeof advice / sizeof *advice)]);
	keep(memory, 4 * MIB, 19);
	(void)madvise(memory, 4 * MIB, advice[random_below(random, sizeof advice / sizeof *advice)]);
}

void locked(unsigned *random)
{
	char *memory = map(16 * PAGE);

	keep(memory, 16 * PAGE, 20);
	(void)mlock(memory, PAGE * (1 + random_below(random, 16)));
	if (random_below(random, 2))
		(void)munlock(memory, 16 * PAGE);
}

void moved(unsigned *random)
{
	char *memory = map(2 * MIB), *elsewhere = map(4 * MIB);

	memset(memory, 21, 2 * MIB);
	REQUIRE(mremap(memory, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere + MIB) == elsewhere + MIB);
	keep(elsewhere, 4 * MIB, 22);
	keep(memory + MIB, MIB, (unsigned char)(23 + random_below(random, 100)));
}

/* Pages that the program's own handler provides. */
static int served = -1;
static char *served_memory;

static void *serve(void *unused)
{
	static char page[PAGE] __attribute__((aligned(4096)));
	struct pollfd wait = { served, POLLIN, 0 };
	struct uffd_msg message;

	(void)unused;
	memset(page, 77, PAGE);
	while (!atomic_load(&over)) {
		if (poll(&wait, 1, 20) <= 0 || read(served, &message, sizeof message) != sizeof message ||
		    message.event != UFFD_EVENT_PAGEFAULT)
			continue;
		struct uffdio_copy copy = {
			.dst = message.arg.pagefault.address & ~(uint64_t)(PAGE - 1), .src = (uintptr_t)page,
			.len = PAGE,
		};
		REQUIRE(ioctl(served, UFFDIO_COPY, &copy) == 0 || errno == EEXIST || errno == EAGAIN);
	}
	return NULL;
}

void own_userfault(unsigned *random)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range;
	static pthread_t thread;
	long descriptor = served >= 0 ? -1 : syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	(void)random;
	if (descriptor < 0)
		return; /* not permitted to this user, or there is one already */
	served = (int)descriptor;
	served_memory = map(64 * PAGE);
	range = (struct uffdio_register){ .range = { (uintptr_t)served_memory, 64 * PAGE },
					  .mode = UFFDIO_REGISTER_MODE_MISSING };
	REQUIRE(ioctl(served, UFFDIO_API, &api) == 0 && ioctl(served, UFFDIO_REGISTER, &range) == 0);
	REQUIRE(pthread_create(&thread, NULL, serve, NULL) == 0);
}

void touch_served(void)
{
	if (served < 0)
		return;
	for (size_t page = 0; page < 64; page += 3)
		REQUIRE(served_memory[page * PAGE + 5] == 77);
}

/* ---- Direct input ---- */

#define DIRECT_BLOCKS 32
static char direct_path[] = "/var/tmp/odfork-soak-XXXXXX";
static int direct = -1;
static unsigned char *direct_memory;

static int receive(int file)
{
	int pair[2], got = -1;
	char byte = 0, control[CMSG_SPACE(sizeof(int))];
	struct iovec piece = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control,
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &file, sizeof file);
	REQUIRE(sendmsg(pair[0], &message, 0) == 1);
	REQUIRE(recvmsg(pair[1], &message, 0) == 1);
	header = CMSG_FIRSTHDR(&message);
	REQUIRE(header != NULL);
	memcpy(&got, CMSG_DATA(header), sizeof got);
	close(pair[0]);
	close(pair[1]);
	return got;
}

void open_direct(unsigned *random)
{
	static unsigned char blocks[DIRECT_BLOCKS][PAGE];
	int plain_file;

	if (direct >= 0)
		return;
	for (unsigned i = 0; i < DIRECT_BLOCKS; i++)
		memset(blocks[i], (int)i + 1, PAGE);
	plain_file = mkstemp(direct_path);
	REQUIRE(plain_file >= 0 && write(plain_file, blocks, sizeof blocks) == (ssize_t)sizeof blocks);
	switch (random_below(random, 4)) {
	case 0: direct = open(direct_path, O_RDONLY | O_DIRECT); break;
	case 1: direct = (int)syscall(SYS_openat, AT_FDCWD, direct_path, O_RDONLY | O_DIRECT); break;
	case 2:
		direct = open(direct_path, O_RDONLY);
		if (direct >= 0 && fcntl(direct, F_SETFL, O_DIRECT) != 0)
			direct = -1;
		break;
	default: {
		int first = (int)syscall(OPEN_BY_NUMBER, direct_path, O_RDONLY | O_DIRECT);
		if (first >= 0) {
			direct = receive(first);
			close(first);
		}
	}
	}
	close(plain_file);
	unlink(direct_path);
	if (direct >= 0)
		direct_memory = map(DIRECT_BLOCKS * PAGE);
}

void read_direct(unsigned *random)
{
	for (unsigned i = 0; direct >= 0 && i < 8; i++) {
		unsigned block = random_below(random, DIRECT_BLOCKS);
		unsigned char *at = direct_memory + block * PAGE;
		REQUIRE(pread(direct, at, PAGE, (off_t)(block * PAGE)) == (ssize_t)PAGE);
		REQUIRE(at[0] == block + 1 && at[PAGE - 1] == block + 1);
	}
}

/* ---- Once per round, near its end ---- */

static sigjmp_buf back;
static atomic_bool may_jump;

void jump(int signal)
{
	(void)signal;
	if (atomic_load(&may_jump))
		siglongjmp(back, 1);
}

static void jump_out_of_prepare(void)
{
	if (atomic_load(&may_jump))
		siglongjmp(back, 1);
}

/* Leaves a fork by a jump: from an atfork handler, or from a signal handler. */
void leave_a_fork(unsigned *random)
{
	static atomic_bool registered;

	if (!atomic_exchange(&registered, true))
		REQUIRE(pthread_atfork(jump_out_of_prepare, NULL, NULL) == 0);
	(void)random;
	if (sigsetjmp(back, 1) == 0) {
		pid_t child;
		atomic_store(&may_jump, true);
		child = fork();
		atomic_store(&may_jump, false);
		if (child == 0)
			_exit(0);
		REQUIRE(child > 0 && waitpid(child, NULL, 0) == child);
	}
	atomic_store(&may_jump, false);
}

static void *fork_without_end(void *unused)
{
	(void)unused;
	for (;;) {
		pid_t child = fork();
		if (child == 0)
			_exit(0);
		if (child > 0)
			(void)waitpid(child, NULL, 0); /* a cancellation point */
	}
	return NULL;
}

void cancel_a_forker(unsigned *random)
{
	struct timespec moment = { 0, 1000 * (long)(1 + random_below(random, 3000)) };
	pthread_t thread;

	REQUIRE(pthread_create(&thread, NULL, fork_without_end, NULL) == 0);
	nanosleep(&moment, NULL);
	REQUIRE(pthread_cancel(thread) == 0 && pthread_join(thread, NULL) == 0);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

void close_all(unsigned *random)
{
	(void)random;
	if (direct < 0 && served < 0)
		(void)syscall(NUMBER_CLOSE_RANGE, 3, ~0u, 0);
}

void drop_ids(unsigned *random)
{
	(void)random;
	if (geteuid() == 0)
		REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
}

void limit_memory(unsigned *random)
{
	struct rlimit limit = { (rlim_t)4 << 30, (rlim_t)4 << 30 };

	REQUIRE(setrlimit(random_below(random, 2) ? RLIMIT_DATA : RLIMIT_AS, &limit) == 0);
}

/* A filter that refuses all calls that change mappings, except those that an ordinary program needs: mmap, munmap, brk,
 * mprotect, madvise. */
void enter_sandbox(unsigned *random)
{
	static const unsigned refused[] = {
		SYS_mremap, SYS_memfd_create, SYS_userfaultfd, SYS_ftruncate, SYS_fallocate, SYS_msync, SYS_mincore,
	};
	unsigned action = random_below(random, 3) == 0 ? SECCOMP_RET_KILL_PROCESS
						       : SECCOMP_RET_ERRNO | (random_below(random, 2) ? EPERM : ENOSYS);
	enum { COUNT = sizeof refused / sizeof *refused };
	struct sock_filter code[COUNT + 3];
	struct sock_fprog program = { COUNT + 3, code };

	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < COUNT; i++)
		code[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused[i],
							   (unsigned char)(COUNT - i), 0);
	code[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	atomic_store(&over, true); /* the workers call mremap, which this filter is about to refuse */
	for (unsigned i = 0; i < WORKERS; i++)
		REQUIRE(pthread_join(workers[i].thread, NULL) == 0);
	REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (random_below(random, 2))
		REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
	else
		REQUIRE(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
}
