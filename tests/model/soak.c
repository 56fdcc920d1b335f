/* SPDX-License-Identifier: MIT
 *
 * Mixed situations: what a program may do to its memory, and to itself, all of it lawful, in a random order beside threads that allocate, while it forks and
 * every child compares all of the memory with what it must be. Each round is a process of its own under the preloaded library, with the heap as it wakes
 * by itself or awake from the start, as root or as an ordinary user: what a round does follows from its seed.
 *
 *   soak                        rounds for ODF_TEST_SECONDS (8), from seed ODF_TEST_SEED (1) on
 *   soak round SEED             one of them, as it is run: with LD_PRELOAD and ODFORK_HEAP set by who calls
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE     ((size_t)4096)
#define MIB      ((size_t)1 << 20)
#define WORKERS  3
#define BLOCKS   20
#define SPECIALS 64
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define NUMBER_MSEAL       462
#define NUMBER_CLOSE_RANGE 436

/* What a round does, in the order of the numbers that say so when it fails. */
static unsigned long seed;
static const char *doing = "start";

#define REQUIRE(condition)                                                                                                \
	do {                                                                                                              \
		if (!(condition)) {                                                                                       \
			dprintf(2, "seed %lu, %s: %s:%d: %s (errno %d)\n", seed, doing, __FILE__, __LINE__, #condition,   \
				errno);                                                                                   \
			_exit(1);                                                                                         \
		}                                                                                                         \
	} while (0)

static unsigned random_below(unsigned *state, unsigned limit)
{
	*state = *state * 1664525u + 1013904223u;
	return (*state >> 8) % limit;
}

/* ---- Memory that must be what it is: each block is filled with a number that it is known by ---- */

struct block {
	unsigned char *memory;
	size_t size;
	unsigned char value;
	bool by_malloc;
	bool first_only; /* only the first byte of each page is known */
};

static void fill(const struct block *block)
{
	if (!block->first_only) {
		memset(block->memory, block->value, block->size);
		return;
	}
	for (size_t at = 0; at < block->size; at += PAGE)
		block->memory[at] = block->value;
}

static bool is_whole(const struct block *block)
{
	size_t step = block->first_only ? PAGE : 61;

	for (size_t at = 0; at < block->size; at += step)
		if (block->memory[at] != block->value) {
			dprintf(2, "seed %lu, %s: byte %zu of a block of %zu at %p is %u and not %u\n", seed, doing, at, block->size,
				(void *)block->memory, block->memory[at], block->value);
			return false;
		}
	return true;
}

/* What the situations leave behind, for every child to look at. */
static struct block specials[SPECIALS];
static unsigned special_count;

static struct block *keep(void *memory, size_t size, unsigned char value)
{
	struct block *block = &specials[special_count];

	REQUIRE(special_count < SPECIALS);
	*block = (struct block){ memory, size, value, false, false };
	fill(block);
	special_count++;
	return block;
}

static struct worker {
	pthread_t thread;
	pthread_mutex_t lock; /* taken for each change, and for a fork that compares */
	struct block blocks[BLOCKS];
	unsigned random;
} workers[WORKERS];
static atomic_bool over;

static void release(struct block *block)
{
	if (block->memory == NULL)
		return;
	if (block->by_malloc)
		free(block->memory);
	else
		REQUIRE(munmap(block->memory, block->size) == 0);
	block->memory = NULL;
}

static void change(struct worker *worker)
{
	struct block *block = &worker->blocks[random_below(&worker->random, BLOCKS)];
	unsigned what = random_below(&worker->random, 8);

	if (block->memory != NULL && !is_whole(block))
		_exit(1);
	if (block->memory != NULL && what < 2) {
		block->value = (unsigned char)(1 + random_below(&worker->random, 250));
		fill(block);
	} else if (block->memory != NULL && what == 2 && !block->by_malloc) {
		void *moved = mremap(block->memory, block->size, 2 * block->size, MREMAP_MAYMOVE);
		REQUIRE(moved != MAP_FAILED);
		block->memory = moved;
		memset(block->memory + block->size, block->value, block->size);
		block->size *= 2;
		if (block->size > 4 * MIB)
			release(block);
	} else if (block->memory != NULL && what == 3 && !block->by_malloc) {
		REQUIRE(madvise(block->memory, block->size, MADV_DONTNEED) == 0);
		for (size_t at = 0; at < block->size; at += 509)
			REQUIRE(block->memory[at] == 0);
		fill(block);
	} else {
		release(block);
		block->by_malloc = random_below(&worker->random, 2);
		block->size = (1 + random_below(&worker->random, block->by_malloc ? 300 : 100)) * (block->by_malloc ? 977 : PAGE);
		block->memory = block->by_malloc ? malloc(block->size)
						 : mmap(NULL, block->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		REQUIRE(block->memory != NULL && block->memory != MAP_FAILED);
		block->value = (unsigned char)(1 + random_below(&worker->random, 250));
		fill(block);
	}
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	while (!atomic_load(&over)) {
		pthread_mutex_lock(&worker->lock);
		change(worker);
		pthread_mutex_unlock(&worker->lock);
		sched_yield();
	}
	return NULL;
}

static int compare_all(void)
{
	for (unsigned i = 0; i < special_count; i++)
		if (!is_whole(&specials[i]))
			return 1;
	for (unsigned i = 0; i < WORKERS; i++)
		for (unsigned k = 0; k < BLOCKS; k++)
			if (workers[i].blocks[k].memory != NULL && !is_whole(&workers[i].blocks[k]))
				return 1;
	return 0;
}

static void lock_all(bool lock)
{
	for (unsigned i = 0; i < WORKERS; i++)
		(void)(lock ? pthread_mutex_lock(&workers[i].lock) : pthread_mutex_unlock(&workers[i].lock));
}

static void fork_and_compare(unsigned *random)
{
	int status;
	pid_t child;

	lock_all(true);
	child = fork();
	if (child == 0) {
		if (random_below(random, 4) == 0) { /* a grandchild that outlives its parent */
			pid_t grandchild = fork();
			if (grandchild == 0)
				_exit(compare_all());
			if (grandchild > 0 && random_below(random, 2) == 0 && (waitpid(grandchild, &status, 0) != grandchild || status != 0))
				_exit(2);
		}
		_exit(compare_all());
	}
	lock_all(false);
	REQUIRE(child > 0);
	REQUIRE(waitpid(child, &status, 0) == child);
	if (status != 0) {
		dprintf(2, "seed %lu, %s: child ended with %#x\n", seed, doing, status);
		_exit(1);
	}
}

/* ---- System calls that pass no function ---- */

static long raw_call(long number, long a, long b, long c, long d, long e, long f)
{
#ifdef __x86_64__
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d,
			 x4 __asm__("x4") = e, x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else
	long result = syscall(number, a, b, c, d, e, f);

	return result == -1 ? -errno : result;
#endif
}

/* ---- Situations: each leaves memory behind that must stay what it is ---- */

static void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(memory != MAP_FAILED);
	return memory;
}

static void plain(unsigned *random)
{
	keep(map(MIB), MIB, (unsigned char)(1 + random_below(random, 250)));
}

static void foreign_in_the_middle(unsigned *random)
{
	char *memory = map(MIB);
	long flags = MAP_ANONYMOUS | MAP_FIXED | (random_below(random, 2) ? MAP_PRIVATE : MAP_SHARED);

	memset(memory, 9, MIB);
	keep(memory, MIB / 4, 11);
	REQUIRE(raw_call(SYS_munmap, (long)(memory + MIB / 4), MIB / 4, 0, 0, 0, 0) == 0);
	if (random_below(random, 2)) {
		REQUIRE(raw_call(SYS_mmap, (long)(memory + MIB / 4), MIB / 4, PROT_READ | PROT_WRITE, flags, -1, 0) == (long)(memory + MIB / 4));
		keep(memory + MIB / 4, MIB / 4, 12);
	}
	keep(memory + MIB / 2 + PAGE, MIB / 2 - PAGE, 13);
	if (random_below(random, 2)) {
		REQUIRE(raw_call(SYS_mprotect, (long)(memory + MIB / 2), PAGE, PROT_READ, 0, 0, 0) == 0);
		REQUIRE(memory[MIB / 2] == 9);
	}
}

static void shared_memory(unsigned *random)
{
	int id = shmget(IPC_PRIVATE, MIB, IPC_CREAT | 0600);
	char *memory = map(3 * MIB), *at;

	if (id < 0) { /* none to be had here */
		keep(memory, 3 * MIB, 14);
		return;
	}
	keep(memory, MIB, 15);
	if (random_below(random, 2)) {
		at = shmat(id, memory + MIB, SHM_REMAP);
	} else {
		REQUIRE(munmap(memory + MIB, MIB) == 0);
		at = shmat(id, memory + MIB, 0);
		if (at == (char *)-1 && errno == EINVAL) /* another thread's mapping has come to lie there */
			at = shmat(id, NULL, 0);
	}
	REQUIRE(shmctl(id, IPC_RMID, NULL) == 0);
	REQUIRE(at != (char *)-1);
	keep(at, MIB, 16);
	keep(memory + 2 * MIB, MIB, 17);
}

static void sealed(unsigned *random)
{
	char *memory = map(MIB / 2);

	(void)random;
	keep(memory, MIB / 2, 18);
	/* Not by an instruction of its own: what is sealed as a view of the region's file cannot be made anything else, and forks are refused then. */
	(void)syscall(NUMBER_MSEAL, memory, MIB / 2, 0);
}

static void advised(unsigned *random)
{
	static const int advice[] = { MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLLAPSE, MADV_MERGEABLE, MADV_DONTDUMP, MADV_SEQUENTIAL, MADV_WILLNEED };
	char *memory = map(4 * MIB);

	(void)madvise(memory, 4 * MIB, advice[random_below(random, sizeof advice / sizeof *advice)]);
	keep(memory, 4 * MIB, 19);
	(void)madvise(memory, 4 * MIB, advice[random_below(random, sizeof advice / sizeof *advice)]);
}

static void locked(unsigned *random)
{
	char *memory = map(16 * PAGE);

	keep(memory, 16 * PAGE, 20);
	(void)mlock(memory, PAGE * (1 + random_below(random, 16)));
	if (random_below(random, 2))
		(void)munlock(memory, 16 * PAGE);
}

static void moved(unsigned *random)
{
	char *memory = map(2 * MIB), *elsewhere = map(4 * MIB);

	memset(memory, 21, 2 * MIB);
	REQUIRE(mremap(memory, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere + MIB) == elsewhere + MIB);
	keep(elsewhere, 4 * MIB, 22);
	keep(memory + MIB, MIB, (unsigned char)(23 + random_below(random, 100)));
}

/* Pages that a handler of the program's own serves. */
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
		if (poll(&wait, 1, 20) <= 0 || read(served, &message, sizeof message) != sizeof message || message.event != UFFD_EVENT_PAGEFAULT)
			continue;
		struct uffdio_copy copy = { .dst = message.arg.pagefault.address & ~(uint64_t)(PAGE - 1), .src = (uintptr_t)page, .len = PAGE };
		REQUIRE(ioctl(served, UFFDIO_COPY, &copy) == 0 || errno == EEXIST || errno == EAGAIN);
	}
	return NULL;
}

static void own_userfault(unsigned *random)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range;
	static pthread_t thread;
	long descriptor = served >= 0 ? -1 : syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	(void)random;
	if (descriptor < 0)
		return; /* not for this user, or there is one */
	served = (int)descriptor;
	served_memory = map(64 * PAGE);
	range = (struct uffdio_register){ .range = { (uintptr_t)served_memory, 64 * PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	REQUIRE(ioctl(served, UFFDIO_API, &api) == 0 && ioctl(served, UFFDIO_REGISTER, &range) == 0);
	REQUIRE(pthread_create(&thread, NULL, serve, NULL) == 0);
}

static void touch_served(void)
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
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
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

static void open_direct(unsigned *random)
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
		int first = (int)syscall(SYS_open, direct_path, O_RDONLY | O_DIRECT);
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

static void read_direct(unsigned *random)
{
	for (unsigned i = 0; direct >= 0 && i < 8; i++) {
		unsigned block = random_below(random, DIRECT_BLOCKS);
		unsigned char *at = direct_memory + block * PAGE;
		REQUIRE(pread(direct, at, PAGE, (off_t)(block * PAGE)) == (ssize_t)PAGE);
		REQUIRE(at[0] == block + 1 && at[PAGE - 1] == block + 1);
	}
}

/* ---- Once in a round, towards its end ---- */

static sigjmp_buf back;
static atomic_bool may_jump;

static void jump(int signal)
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

/* Out of a fork by a jump: from a handler of it, or of a signal. */
static void leave_a_fork(unsigned *random)
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

static void cancel_a_forker(unsigned *random)
{
	struct timespec moment = { 0, 1000 * (long)(1 + random_below(random, 3000)) };
	pthread_t thread;

	REQUIRE(pthread_create(&thread, NULL, fork_without_end, NULL) == 0);
	nanosleep(&moment, NULL);
	REQUIRE(pthread_cancel(thread) == 0 && pthread_join(thread, NULL) == 0);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void close_all(unsigned *random)
{
	(void)random;
	if (direct < 0 && served < 0)
		(void)syscall(NUMBER_CLOSE_RANGE, 3, ~0u, 0);
}

static void drop_ids(unsigned *random)
{
	(void)random;
	if (geteuid() == 0)
		REQUIRE(setgid(65534) == 0 && setuid(65534) == 0);
}

static void limit_memory(unsigned *random)
{
	struct rlimit limit = { (rlim_t)4 << 30, (rlim_t)4 << 30 };

	REQUIRE(setrlimit(random_below(random, 2) ? RLIMIT_DATA : RLIMIT_AS, &limit) == 0);
}

/* Whatever is for mappings is refused but what a plain program needs: mmap, munmap, brk, mprotect, madvise. */
static void enter_sandbox(unsigned *random)
{
	static const unsigned refused[] = { SYS_mremap, SYS_memfd_create, SYS_userfaultfd, SYS_ftruncate, SYS_fallocate, SYS_msync, SYS_mincore };
	unsigned action = random_below(random, 3) == 0 ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | (random_below(random, 2) ? EPERM : ENOSYS);
	enum { COUNT = sizeof refused / sizeof *refused };
	struct sock_filter code[COUNT + 3];
	struct sock_fprog program = { COUNT + 3, code };

	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < COUNT; i++)
		code[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused[i], (unsigned char)(COUNT - i), 0);
	code[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	atomic_store(&over, true); /* the workers move memory, which this filter is about to forbid */
	for (unsigned i = 0; i < WORKERS; i++)
		REQUIRE(pthread_join(workers[i].thread, NULL) == 0);
	REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (random_below(random, 2))
		REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
	else
		REQUIRE(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
}

static const struct {
	const char *name;
	void (*function)(unsigned *random);
} situations[] = {
	{ "plain", plain }, { "plain", plain }, { "foreign", foreign_in_the_middle }, { "shared memory", shared_memory }, { "sealed", sealed },
	{ "advised", advised }, { "locked", locked }, { "moved", moved }, { "own userfaultfd", own_userfault }, { "direct input", open_direct },
	{ "out of a fork", leave_a_fork }, { "cancelled", cancel_a_forker }, { "descriptors closed", close_all },
}, endings[] = {
	{ "none", plain }, { "ids dropped", drop_ids }, { "limited", limit_memory }, { "sandbox", enter_sandbox },
};

static int run_round(void)
{
	unsigned random = (unsigned)seed * 2654435761u + 1;
	unsigned steps = 6 + random_below(&random, 12);

	/* A library that the loader cannot open is left out with a message, and the round would show nothing. */
	REQUIRE(getenv("LD_PRELOAD") == NULL || dlsym(RTLD_DEFAULT, "odf_heap_info_get") != NULL);
	(void)signal(SIGUSR1, jump);
	keep(map(24 * MIB), 24 * MIB, 200)->first_only = true;
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].random = random + i;
		REQUIRE(pthread_mutex_init(&workers[i].lock, NULL) == 0);
		REQUIRE(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
	}
	for (unsigned step = 0; step < steps; step++) {
		bool last = step + 1 == steps;
		unsigned which = last ? random_below(&random, sizeof endings / sizeof *endings)
				      : random_below(&random, sizeof situations / sizeof *situations);
		doing = last ? endings[which].name : situations[which].name;
		if (special_count + 4 < SPECIALS)
			(last ? endings[which] : situations[which]).function(&random);
		for (unsigned forks = 1 + random_below(&random, 4); forks > 0; forks--) {
			fork_and_compare(&random);
			read_direct(&random);
			touch_served();
			if (random_below(&random, 3) == 0)
				usleep(random_below(&random, 20000)); /* time to settle */
			fill(&specials[random_below(&random, special_count)]);
		}
		lock_all(true);
		REQUIRE(compare_all() == 0);
		lock_all(false);
	}
	for (unsigned forks = 0; forks < 5; forks++) {
		fork_and_compare(&random);
		usleep(2000);
	}
	return 0;
}

/* ---- The rounds ---- */

static unsigned long number_from(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text != NULL && *text != '\0' ? strtoul(text, NULL, 10) : otherwise;
}

/* Where every user can read and execute it: the build may lie in a home that is closed to others. */
static bool copy_for_everybody(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	static char piece[65536];
	ssize_t size = -1;
	bool done;

	while (in >= 0 && out >= 0 && (size = read(in, piece, sizeof piece)) > 0)
		if (write(out, piece, (size_t)size) != size)
			size = -1;
	done = size == 0 && fchmod(out, 0755) == 0;
	if (in >= 0)
		close(in);
	return out >= 0 && close(out) == 0 && done;
}

static int start_round(const char *self, const char *library, unsigned long number)
{
	bool on = number % 2, ordinary = number % 4 >= 2 && geteuid() == 0;
	char text[32];
	int status;
	pid_t child = fork();

	if (child == 0) {
		snprintf(text, sizeof text, "%lu", number);
		setenv("LD_PRELOAD", library, 1);
		setenv("ODFORK_HEAP", on ? "on" : "auto", 1);
		if (ordinary && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(3);
		execl(self, self, "round", text, (char *)NULL);
		_exit(4);
	}
	for (unsigned tenths = 0; child > 0 && tenths < 1200; tenths++) {
		if (waitpid(child, &status, WNOHANG) == child)
			return status;
		usleep(100000);
	}
	if (child > 0) {
		dprintf(2, "seed %lu: hangs\n", number);
		kill(child, SIGABRT);
		(void)waitpid(child, &status, 0);
	}
	return -1;
}

int main(int count, char **arguments)
{
	unsigned long seconds = number_from("ODF_TEST_SECONDS", 8), first = number_from("ODF_TEST_SEED", 1), rounds = 0, failed = 0;
	static char directory[] = "/tmp/odfork-soak-XXXXXX";
	char self[64], library[64], built[1024];
	time_t end = time(NULL) + (time_t)seconds;

	if (count > 2 && strcmp(arguments[1], "round") == 0) {
		seed = strtoul(arguments[2], NULL, 10);
		return run_round();
	}
	if (getenv("ODF_BUILD") == NULL || mkdtemp(directory) == NULL || chmod(directory, 0755) != 0)
		return 99;
	snprintf(built, sizeof built, "%s/libodfork.so.0", getenv("ODF_BUILD"));
	snprintf(library, sizeof library, "%s/libodfork.so.0", directory);
	snprintf(self, sizeof self, "%s/soak", directory);
	printf("1..1\n");
	if (!copy_for_everybody(built, library) || !copy_for_everybody("/proc/self/exe", self))
		end = 0; /* no round, which is told below */
	for (; time(NULL) < end; rounds++) {
		int status = start_round(self, library, first + rounds);
		if (status != 0) {
			printf("# seed %lu: status %#x\n", first + rounds, status);
			failed++;
		}
	}
	(void)unlink(library);
	(void)unlink(self);
	(void)rmdir(directory);
	printf("%s 1 - %lu rounds, %lu failed\n", failed == 0 && rounds > 0 ? "ok" : "not ok", rounds, failed);
	return failed != 0;
}
