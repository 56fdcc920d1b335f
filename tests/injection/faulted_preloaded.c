/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of the library, and has it preloaded with its memory in a heap, while a system call that
 * the library makes fails: under faults.c, one scenario at a time. It calls each function that is interposed. A call of
 * its own has its result, or the errno that the failed call had, as it would have from the kernel; every byte is as it
 * was, here and in children; and what the library does beside the program is not felt.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <threads.h>

#include "faults_program.h"

extern char **environ;

#define PAGE   ((size_t)4096)
#define BLOCKS 16
#define BLOCK  ((size_t)512 << 10)

static unsigned char *blocks[BLOCKS];

static bool all_holds(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		if (blocks[i] != NULL && !holds(blocks[i], BLOCK, (unsigned char)i))
			return false;
	return true;
}

/* TRY(result, failed value, function, arguments): errno is the failed call's own, if it failed. */
#define TRY_NAMED(result, failure, name, call)         \
	do {                                           \
		arm(name, FAULTS_LIBRARY);             \
		errno = 0;                             \
		result = (__typeof__(result))call;     \
		if (at_round == FAILING)               \
			disarm();                      \
		if (result == (failure))               \
			EXPECT(errno, ENOMEM, EAGAIN); \
	} while (0)
#define TRY(result, failure, function, arguments) TRY_NAMED(result, failure, #function, function arguments)
/* The same of those whose result is an errno value. */
#define TRY_VALUE(result, function, arguments)  \
	do {                                    \
		arm(#function, FAULTS_LIBRARY); \
		result = function arguments;    \
		if (at_round == FAILING)        \
			disarm();               \
		EXPECT(result, ENOMEM, EAGAIN); \
	} while (0)

/* By the name that it has in libc, which a header may make another one of. */
static void *named(const char *name)
{
	void *found = dlsym(RTLD_DEFAULT, name);

	MUST(found != NULL);
	return found;
}

/* ---- Memory ---- */

static void memory(void)
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
	if (result != 0) /* as it may have been before */
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
	/* The data segment, past malloc. */
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

static void shared_memory(void)
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
	/* Over memory of the program's. */
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
	if (at_round == FAILING) { /* as it is sealed for good */
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

/* ---- Processes ---- */

static void end_child(pid_t pid)
{
	if (pid == 0) {
		if (!all_holds())
			leave(6);
		fill(blocks[0], BLOCK, 90);
		leave(holds(blocks[0], BLOCK, 90) ? 5 : 7);
	}
	if (pid > 0)
		MUST(reap(pid) == 5 << 8);
	MUST(all_holds());
}

static void settle(void)
{
	arm("keeper", FAULTS_LIBRARY);
	pause_ms(at_round == FAILING ? 10 : 3);
	disarm();
	MUST(all_holds());
}

static int in_clone(void *unused)
{
	(void)unused;
	leave(all_holds() ? 5 : 6);
	return 0;
}

static void forks(void)
{
	static char stack[64 << 10] __attribute__((aligned(16)));
	pid_t pid;
	int terminal, status;

	for (int turn = 0; turn < 3; turn++) {
		TRY(pid, -1, fork, ());
		fill(blocks[1], pid == 0 ? 0 : BLOCK, 1);
		end_child(pid);
		settle();
	}
	TRY(pid, -1, _Fork, ());
	end_child(pid);
	TRY(pid, -1, syscall, (SYS_clone, SIGCHLD, 0, 0, 0, 0));
	end_child(pid);
	TRY(pid, -1, clone, (in_clone, stack + sizeof stack, SIGCHLD, NULL));
	if (pid > 0)
		MUST(reap(pid) == 5 << 8);
	TRY(pid, -1, forkpty, (&terminal, NULL, NULL, NULL));
	if (pid >= 0) {
		end_child(pid);
		real_call(SYS_close, terminal, 0, 0, 0, 0, 0);
	}
	settle();
	/* With ways to wait. */
	for (int way = 0; way < 4; way++) {
		siginfo_t how = { 0 };
		pid_t waited;
		pid = (pid_t)real_call(SYS_fork, 0, 0, 0, 0, 0, 0);
		if (pid == 0)
			leave(5);
		MUST(pid > 0);
		if (way == 0)
			TRY(waited, -1, waitpid, (pid, &status, 0));
		else if (way == 1)
			TRY(waited, -1, wait4, (pid, &status, 0, NULL));
		else if (way == 2)
			TRY(waited, -1, wait3, (&status, 0, NULL));
		else
			TRY(waited, -1, waitid, (P_PID, (id_t)pid, &how, WEXITED));
		if (waited == -1)
			status = reap(pid);
		else if (way == 3)
			status = how.si_status << 8;
		MUST(status == 5 << 8);
	}
}

/* In a copy that the kernel alone makes, as this does not return; and which the library finds out about. */
static void daemons(void)
{
	int ends[2], result;
	char told = 0;
	pid_t pid;

	MUST(pipe2(ends, O_CLOEXEC) == 0);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		TRY(result, -1, daemon, (1, 1));
		told = all_holds() ? 'y' : 'n';
		leave(real_call(SYS_write, ends[1], (long)&told, 1, 0, 0, 0) == 1 ? 0 : 3);
	}
	real_call(SYS_close, ends[1], 0, 0, 0, 0, 0);
	(void)reap(pid);
	MUST(real_call(SYS_read, ends[0], (long)&told, 1, 0, 0, 0) == 1 && told == 'y');
	real_call(SYS_close, ends[0], 0, 0, 0, 0, 0);
	MUST(all_holds());
}

static void programs(void)
{
	char *argv[] = { (char[]){ "true" }, NULL },
	     *exits[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 5" }, NULL };
	pid_t pid;
	int result, file;
	FILE *from;

	TRY_VALUE(result, posix_spawn, (&pid, "/bin/true", NULL, NULL, argv, environ));
	if (result == 0)
		MUST(reap(pid) == 0);
	TRY_VALUE(result, posix_spawnp, (&pid, "true", NULL, NULL, argv, environ));
	if (result == 0)
		MUST(reap(pid) == 0);
	TRY(result, -1, system, ("exit 3"));
	/* 127: the shell could not be executed. */
	MUST(result == -1 || result == 3 << 8 || (result == 127 << 8 && faults->failures > 0));
	TRY(from, NULL, popen, ("exit 4", "r"));
	if (from != NULL)
		MUST(pclose(from) == 4 << 8);
	for (int way = 0; way < 11; way++) {
		file = open("/bin/sh", O_RDONLY | O_CLOEXEC);
		MUST(file >= 0);
		pid = (pid_t)real_call(SYS_fork, 0, 0, 0, 0, 0, 0);
		if (pid == 0) {
			/* Where it fails, with its errno. */
			switch (way) {
			case 0:
				TRY(result, -1, execve, ("/bin/sh", exits, environ));
				break;
			case 1:
				TRY(result, -1, execv, ("/bin/sh", exits));
				break;
			case 2:
				TRY(result, -1, execvp, ("sh", exits));
				break;
			case 3:
				TRY(result, -1, execvpe, ("sh", exits, environ));
				break;
			case 4:
				TRY(result, -1, execl, ("/bin/sh", "sh", "-c", "exit 5", (char *)NULL));
				break;
			case 5:
				TRY(result, -1, execlp, ("sh", "sh", "-c", "exit 5", (char *)NULL));
				break;
			case 6:
				TRY(result, -1, execle, ("/bin/sh", "sh", "-c", "exit 5", (char *)NULL, environ));
				break;
			case 7:
				TRY(result, -1, fexecve, (file, exits, environ));
				break;
			case 8:
				TRY(result, -1, execveat, (file, "", exits, environ, AT_EMPTY_PATH));
				break;
			case 9:
				arm("_Exit", FAULTS_LIBRARY);
				_Exit(5);
			default:
				arm("_exit", FAULTS_LIBRARY);
				_exit(5);
			}
			leave(5);
		}
		MUST(pid > 0 && reap(pid) == 5 << 8);
		disarm();
		real_call(SYS_close, file, 0, 0, 0, 0, 0);
	}
	MUST(all_holds());
}

/* ---- Descriptors ---- */

static void closes(int file)
{
	if (file >= 0)
		real_call(SYS_close, file, 0, 0, 0, 0, 0);
}

static FILE *closed(FILE *stream)
{
	if (stream != NULL)
		fclose(stream);
	return NULL;
}

/* As a program has it that is built for large files, and one that is not; and as fortified ones call them. */
static void open_by_each_name(void)
{
	static const char *const plain[] = { "open", "open64" }, *const fortified[] = { "__open_2", "__open64_2" };
	static const char *const at[] = { "openat", "openat64" }, *const fortified_at[] = { "__openat_2",
											    "__openat64_2" };
	static const char *const streams[] = { "fopen", "fopen64" }, *const again[] = { "freopen", "freopen64" },
				 *const nameless[] = { "tmpfile", "tmpfile64" };
	int flags = O_RDONLY | O_CLOEXEC, file;
	FILE *stream, *second;

	for (size_t i = 0; i < 2; i++) {
		TRY_NAMED(file, -1, plain[i], ((int (*)(const char *, int, ...))named(plain[i]))("/etc/passwd", flags));
		closes(file);
		TRY_NAMED(file, -1, fortified[i],
			  ((int (*)(const char *, int))named(fortified[i]))("/etc/passwd", flags));
		closes(file);
		TRY_NAMED(file, -1, at[i],
			  ((int (*)(int, const char *, int, ...))named(at[i]))(AT_FDCWD, "/etc/passwd", flags));
		closes(file);
		TRY_NAMED(file, -1, fortified_at[i],
			  ((int (*)(int, const char *, int))named(fortified_at[i]))(AT_FDCWD, "/etc/passwd", flags));
		closes(file);
		TRY_NAMED(stream, NULL, streams[i],
			  ((FILE * (*)(const char *, const char *)) named(streams[i]))("/etc/passwd", "re"));
		if (stream != NULL) {
			TRY_NAMED(second, NULL, again[i],
				  ((FILE * (*)(const char *, const char *, FILE *)) named(again[i]))("/etc/group", "re",
												     stream));
			closed(second);
		}
		TRY_NAMED(stream, NULL, nameless[i], ((FILE * (*)(void)) named(nameless[i]))());
		closed(stream);
	}
}

static void make_by_each_name(void)
{
	static const char *const names[] = { "mkstemp",	 "mkstemp64",  "mkostemp",  "mkostemp64",
					     "mkstemps", "mkstemps64", "mkostemps", "mkostemps64" };
	char path[64];
	int file;

	for (size_t i = 0; i < 8; i++) {
		bool suffix = i >= 4;
		snprintf(path, sizeof path, "/tmp/odfork-faults-XXXXXX%s", suffix ? ".x" : "");
		/* What a function does not take it does not look at. */
		TRY_NAMED(file, -1, names[i],
			  ((int (*)(char *, int, int))named(names[i]))(path, suffix ? 2 : O_CLOEXEC, O_CLOEXEC));
		if (file >= 0)
			MUST(unlink(path) == 0);
		closes(file);
	}
}

static void open_handle(void)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} of = { .handle = { .handle_bytes = MAX_HANDLE_SZ } };
	int mount, directory, file;

	if (name_to_handle_at(AT_FDCWD, "/etc/passwd", &of.handle, &mount, 0) != 0)
		return;
	directory = (int)real_call(SYS_openat, AT_FDCWD, (long)"/", O_RDONLY | O_DIRECTORY, 0, 0, 0);
	/* Not every file system can, and not everybody may. */
	arm("open_by_handle_at", FAULTS_LIBRARY);
	file = open_by_handle_at(directory, &of.handle, O_RDONLY);
	disarm();
	closes(file);
	closes(directory);
}

static void files(void)
{
	static const char *const controls[] = { "fcntl", "fcntl64" };
	int file, result, on = 1;
	struct msghdr none = { 0 };
	struct mmsghdr no_more = { 0 };
	struct {
		uint64_t flags, mode, resolve;
	} how = { O_RDONLY | O_CLOEXEC, 0, 0 };

	open_by_each_name();
	make_by_each_name();
	open_handle();
	TRY(file, -1, syscall, (SYS_openat2, AT_FDCWD, "/etc/passwd", &how, sizeof how));
	closes(file);
	TRY_NAMED(
	    file, -1, "openat2",
	    ((int (*)(int, const char *, void *, size_t))named("openat2"))(AT_FDCWD, "/etc/passwd", &how, sizeof how));
	closes(file);
	file = (int)real_call(SYS_memfd_create, (long)"faults", 0, 0, 0, 0, 0);
	if (file >= 0) {
		void *at;
		for (size_t i = 0; i < 2; i++)
			TRY_NAMED(result, -1, controls[i],
				  ((int (*)(int, int, ...))named(controls[i]))(file, F_SETFL, 0));
		arm("ioctl", FAULTS_LIBRARY);
		MUST(ioctl(file, TCGETS, &on) == -1);
		disarm();
		MUST(ftruncate(file, (off_t)PAGE) == 0);
		TRY(at, MAP_FAILED, mmap, (NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0));
		if (at != MAP_FAILED)
			MUST(real_call(SYS_munmap, (long)at, (long)PAGE, 0, 0, 0, 0) == 0);
		closes(file);
	}
	TRY(file, -1, socket, (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (file >= 0) {
		TRY(result, -1, setsockopt, (file, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
		arm("recvmsg", FAULTS_LIBRARY);
		MUST(recvmsg(file, &none, MSG_DONTWAIT) == -1);
		disarm();
		arm("recvmmsg", FAULTS_LIBRARY);
		MUST(recvmmsg(file, &no_more, 1, MSG_DONTWAIT, NULL) == -1);
		disarm();
		closes(file);
	}
	MUST(all_holds());
}

/* ---- Threads and what is shared between processes ---- */

static void *in_thread(void *unused)
{
	unsigned char *bytes = malloc(300000);

	if (bytes != NULL)
		memset(bytes, 1, 300000);
	free(bytes);
	return unused;
}

static int in_plain_thread(void *unused)
{
	return in_thread(unused) == NULL ? 0 : 1;
}

static void threads(void)
{
	pthread_t thread;
	thrd_t plain;
	pthread_attr_t attributes;
	pthread_mutexattr_t mutex_attributes;
	pthread_mutex_t *mutex = malloc(sizeof *mutex);
	pthread_cond_t *condition = malloc(sizeof *condition);
	pthread_rwlock_t *lock = malloc(sizeof *lock);
	pthread_barrier_t *barrier = malloc(sizeof *barrier);
	pthread_condattr_t condition_attributes;
	pthread_rwlockattr_t lock_attributes;
	pthread_barrierattr_t barrier_attributes;
	sem_t *semaphore = malloc(sizeof *semaphore);
	size_t stack_size = 256 << 10;
	void *stack = mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	int result;

	MUST(stack != MAP_FAILED && mutex != NULL && condition != NULL && lock != NULL && barrier != NULL &&
	     semaphore != NULL);
	MUST(pthread_attr_init(&attributes) == 0);
	TRY_VALUE(result, pthread_attr_setstack, (&attributes, stack, stack_size));
	TRY_VALUE(result, pthread_create, (&thread, result == 0 ? &attributes : NULL, in_thread, NULL));
	if (result == 0)
		MUST(pthread_join(thread, NULL) == 0);
	(void)pthread_attr_destroy(&attributes);
	arm("thrd_create", FAULTS_LIBRARY);
	result = thrd_create(&plain, in_plain_thread, NULL);
	disarm();
	MUST(result == thrd_success || faults->failures > 0);
	if (result == thrd_success)
		MUST(thrd_join(plain, NULL) == thrd_success);
	(void)pthread_mutexattr_init(&mutex_attributes);
	(void)pthread_mutexattr_setpshared(&mutex_attributes, PTHREAD_PROCESS_SHARED);
	TRY_VALUE(result, pthread_mutex_init, (mutex, &mutex_attributes));
	(void)pthread_condattr_init(&condition_attributes);
	(void)pthread_condattr_setpshared(&condition_attributes, PTHREAD_PROCESS_SHARED);
	TRY_VALUE(result, pthread_cond_init, (condition, &condition_attributes));
	(void)pthread_rwlockattr_init(&lock_attributes);
	(void)pthread_rwlockattr_setpshared(&lock_attributes, PTHREAD_PROCESS_SHARED);
	TRY_VALUE(result, pthread_rwlock_init, (lock, &lock_attributes));
	(void)pthread_barrierattr_init(&barrier_attributes);
	(void)pthread_barrierattr_setpshared(&barrier_attributes, PTHREAD_PROCESS_SHARED);
	TRY_VALUE(result, pthread_barrier_init, (barrier, &barrier_attributes, 1));
	TRY(result, -1, sem_init, (semaphore, 1, 0));
	MUST(real_call(SYS_munmap, (long)stack, (long)stack_size, 0, 0, 0, 0) == 0);
	free(mutex), free(condition), free(lock), free(barrier), free(semaphore);
	MUST(all_holds());
}

/* ---- Rights and limits ---- */

/* A filter that permits all, which the library tries out in a process of its own first. */
static void filters(void)
{
	struct sock_filter all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog filter = { 1, all };
	int result;

	if (at_round != FAILING) /* there is no way out */
		return;
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	TRY(result, -1, syscall, (SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
	MUST(all_holds());
	TRY(result, -1, prctl, (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0));
	MUST(all_holds());
}

static void limits(void)
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
	MUST(all_holds());
}

/* The last thing that a process does, so once only. */
static void locked(void)
{
	int result;

	if (at_round != FAILING)
		return;
	if (geteuid() == 0) {
		TRY(result, -1, mlockall, (MCL_CURRENT));
	} else { /* what it has is more than it may lock */
		arm("mlockall", FAULTS_LIBRARY);
		result = mlockall(MCL_CURRENT);
		disarm();
		if (result != 0 && errno != ENOMEM && errno != EPERM)
			EXPECT(errno, EAGAIN);
	}
	end_child(fork());
}

/* ---- Which one ---- */

#define WITH_BLOCKS(name)                                         \
	static void run_##name(void)                              \
	{                                                         \
		for (size_t i = 0; i < BLOCKS; i++) {             \
			if (blocks[i] == NULL)                    \
				blocks[i] = malloc(BLOCK);        \
			MUST(blocks[i] != NULL);                  \
			fill(blocks[i], BLOCK, (unsigned char)i); \
		}                                                 \
		end_child(fork());                                \
		settle();                                         \
		name();                                           \
		end_child(fork());                                \
		settle();                                         \
		for (size_t i = 8; i < BLOCKS; i++) {             \
			free(blocks[i]);                          \
			blocks[i] = NULL;                         \
		}                                                 \
	}
WITH_BLOCKS(memory)
WITH_BLOCKS(shared_memory)
WITH_BLOCKS(forks)
WITH_BLOCKS(daemons)
WITH_BLOCKS(programs)
WITH_BLOCKS(files)
WITH_BLOCKS(threads)
WITH_BLOCKS(limits)
WITH_BLOCKS(locked)
WITH_BLOCKS(filters)

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "memory", run_memory, true },	    { "shared_memory", run_shared_memory, true },
		{ "forks", run_forks, true },	    { "daemons", run_daemons, true },
		{ "programs", run_programs, true }, { "files", run_files, true },
		{ "threads", run_threads, true },   { "limits", run_limits, true },
		{ "locked", run_locked, true },	    { "filters", run_filters, true },
	};

	return argc != 2 ? 2 : run_scenario(scenarios, sizeof scenarios / sizeof *scenarios, argv[1]);
}
