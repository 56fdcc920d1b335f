/* SPDX-License-Identifier: MIT
 *
 * A program that is not written for the library runs with the library preloaded and its memory in a heap, while one of
 * the library's system calls fails. Run by faults.c, one scenario at a time. The program calls each interposed
 * function. Each call must return its usual result, or the errno of the failed call, as if the kernel had returned it.
 * No byte may change, in the program or in its children, and the library's background work must have no visible effect.
 */
#include "faulted_preloaded.h"

extern char **environ;

#define BLOCK  ((size_t)512 << 10)

unsigned char *blocks[BLOCKS];

bool all_holds(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		if (blocks[i] != NULL && !holds(blocks[i], BLOCK, (unsigned char)i))
			return false;
	return true;
}

/* Looks the function up by its name in libc: a header may redirect that name to another. */
void *named(const char *name)
{
	void *found = dlsym(RTLD_DEFAULT, name);

	MUST(found != NULL);
	return found;
}

/* ---- Processes ---- */

void end_child(pid_t pid)
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
	/* With waits of different kinds. */
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

/* daemon() forks within libc, without the library, which finds out about that process later. In a child, as the process
 * that calls daemon() ends. */
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
			/* A failure must have the errno of the failed call. */
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

/* ---- Threads, and objects that processes share ---- */

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

/* ---- The scenario ---- */

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
