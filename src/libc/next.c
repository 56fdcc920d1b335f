/* SPDX-License-Identifier: MIT
 * For the shared library: the functions of the next object in the symbol search order. dlsym may lock and allocate, so
 * the constructor looks up all that each libc has (libc_call). A call that comes earlier (from another library's
 * constructor) looks up what it needs; only one thread can run then. Racing look-ups store the same value. */
#include "libc.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

typedef pid_t fork_function(void);
typedef int daemon_function(int, int);
typedef pid_t forkpty_function(int *, char *, const struct termios *, const struct winsize *);
typedef int clone_function(int (*)(void *), void *, int, void *, ...);
typedef int msync_function(void *, size_t, int);
typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
			   char *const[], char *const[]);

enum next {
	NEXT_FORK,
	NEXT_FORK_BARE,
	NEXT_DAEMON,
	NEXT_FORKPTY,
	NEXT_CLONE,
	NEXT_SYSCALL,
	NEXT_MSYNC,
	NEXT_EXECVE,
	NEXT_EXECVEAT,
	NEXT_EXECVPE,
	NEXT_FEXECVE,
	NEXT_OPEN,
	NEXT_OPENAT = NEXT_OPEN + LIBC_OPEN_COUNT,
	NEXT_FCNTL = NEXT_OPENAT + LIBC_OPEN_COUNT,
	NEXT_FCNTL64,
	NEXT_PRLIMIT,
	NEXT_PRCTL,
	NEXT_SETSTACK,
	NEXT_MUTEX_INIT,
	NEXT_COND_INIT,
	NEXT_RWLOCK_INIT,
	NEXT_BARRIER_INIT,
	NEXT_SEM_INIT,
	NEXT_WAITPID,
	NEXT_WAIT4,
	NEXT_WAITID,
	NEXT_SPAWN,
	NEXT_COUNT = NEXT_SPAWN + LIBC_SPAWN_COUNT
};

static const struct {
	const char *name;
	const char *version; /* NULL: the default version */
} symbols[NEXT_COUNT] = {
	[NEXT_FORK] = { "fork", NULL },
	[NEXT_FORK_BARE] = { "_Fork", NULL },
	[NEXT_DAEMON] = { "daemon", NULL },
	[NEXT_FORKPTY] = { "forkpty", NULL },
	[NEXT_CLONE] = { "clone", NULL },
	[NEXT_SYSCALL] = { "syscall", NULL },
	[NEXT_MSYNC] = { "msync", NULL },
	[NEXT_EXECVE] = { "execve", NULL },
	[NEXT_EXECVEAT] = { "execveat", NULL },
	[NEXT_EXECVPE] = { "execvpe", NULL },
	[NEXT_FEXECVE] = { "fexecve", NULL },
	[(size_t)NEXT_OPEN + LIBC_OPEN] = { "open", NULL },
	[(size_t)NEXT_OPEN + LIBC_OPEN64] = { "open64", NULL },
	[(size_t)NEXT_OPEN + LIBC_OPEN_2] = { "__open_2", NULL },
	[(size_t)NEXT_OPEN + LIBC_OPEN64_2] = { "__open64_2", NULL },
	[(size_t)NEXT_OPENAT + LIBC_OPEN] = { "openat", NULL },
	[(size_t)NEXT_OPENAT + LIBC_OPEN64] = { "openat64", NULL },
	[(size_t)NEXT_OPENAT + LIBC_OPEN_2] = { "__openat_2", NULL },
	[(size_t)NEXT_OPENAT + LIBC_OPEN64_2] = { "__openat64_2", NULL },
	[NEXT_FCNTL] = { "fcntl", NULL },
	[NEXT_FCNTL64] = { "fcntl64", NULL },
	[NEXT_PRLIMIT] = { "prlimit64", NULL },
	[NEXT_PRCTL] = { "prctl", NULL },
	[NEXT_SETSTACK] = { "pthread_attr_setstack", NULL },
	[NEXT_MUTEX_INIT] = { "pthread_mutex_init", NULL },
	[NEXT_COND_INIT] = { "pthread_cond_init", NULL },
	[NEXT_RWLOCK_INIT] = { "pthread_rwlock_init", NULL },
	[NEXT_BARRIER_INIT] = { "pthread_barrier_init", NULL },
	[NEXT_SEM_INIT] = { "sem_init", NULL },
	[NEXT_WAITPID] = { "waitpid", NULL },
	[NEXT_WAIT4] = { "wait4", NULL },
	[NEXT_WAITID] = { "waitid", NULL },
	[(size_t)NEXT_SPAWN + LIBC_SPAWN] = { "posix_spawn", NULL },
	[(size_t)NEXT_SPAWN + LIBC_SPAWN_PATH] = { "posix_spawnp", NULL },
#ifdef ODF_SHELL_SPAWN_VERSION
	[(size_t)NEXT_SPAWN + LIBC_SPAWN_SHELL] = { "posix_spawn", ODF_SHELL_SPAWN_VERSION },
	[(size_t)NEXT_SPAWN + LIBC_SPAWN_PATH_SHELL] = { "posix_spawnp", ODF_SHELL_SPAWN_VERSION },
#endif
};

static _Atomic(void *) resolved[NEXT_COUNT];

static void *find(enum next which)
{
	void *function = atomic_load_explicit(&resolved[which], memory_order_relaxed);

	if (function != NULL || symbols[which].name == NULL)
		return function;
#ifdef ODF_SHELL_SPAWN_VERSION
	if (symbols[which].version != NULL)
		function = dlvsym(RTLD_NEXT, symbols[which].name, symbols[which].version);
	else
#endif
		function = dlsym(RTLD_NEXT, symbols[which].name);
	if (function == NULL)
		(void)dlerror(); /* clears the message, which the program's next dlerror() must not show */
	atomic_store_explicit(&resolved[which], function, memory_order_relaxed);
	return function;
}

static const char *const calls[LIBC_CALL_COUNT] = {
	[LIBC_OPEN_BY_HANDLE_AT] = "open_by_handle_at",
	[LIBC_RECVMSG] = "recvmsg",
	[LIBC_RECVMMSG] = "recvmmsg",
	[LIBC_SOCKET] = "socket",
	[LIBC_SETSOCKOPT] = "setsockopt",
	[LIBC_IOCTL] = "ioctl",
	[LIBC_SBRK] = "sbrk",
	[LIBC_BRK] = "brk",
	[LIBC_SEND] = "send",
	[LIBC_SENDTO] = "sendto",
	[LIBC_SENDMSG] = "sendmsg",
	[LIBC_SENDMMSG] = "sendmmsg",
	[LIBC_VMSPLICE] = "vmsplice",
	[LIBC_SETNS] = "setns",
	[LIBC_UNSHARE] = "unshare",
	[LIBC_KILL] = "kill",
	[LIBC_FOPEN] = "fopen",
	[LIBC_FOPEN64] = "fopen64",
	[LIBC_FREOPEN] = "freopen",
	[LIBC_FREOPEN64] = "freopen64",
	[LIBC_TMPFILE] = "tmpfile",
	[LIBC_TMPFILE64] = "tmpfile64",
	[LIBC_MKSTEMP] = "mkstemp",
	[LIBC_MKSTEMP64] = "mkstemp64",
	[LIBC_MKSTEMPS] = "mkstemps",
	[LIBC_MKSTEMPS64] = "mkstemps64",
	[LIBC_MKOSTEMP] = "mkostemp",
	[LIBC_MKOSTEMP64] = "mkostemp64",
	[LIBC_MKOSTEMPS] = "mkostemps",
	[LIBC_MKOSTEMPS64] = "mkostemps64",
	[LIBC_URING_INIT] = "io_uring_queue_init",
	[LIBC_URING_INIT_PARAMS] = "io_uring_queue_init_params",
	[LIBC_URING_INIT_MEM] = "io_uring_queue_init_mem",
	[LIBC_URING_INIT_TRY] = "io_uring_queue_init_try_nosqarr",
	[LIBC_URING_MMAP] = "io_uring_queue_mmap",
	[LIBC_URING_SETUP] = "io_uring_setup",
	[LIBC_SYSTEM] = "system",
	[LIBC_POPEN] = "popen",
	[LIBC_PTHREAD_CREATE] = "pthread_create",
	[LIBC_THRD_CREATE] = "thrd_create",
	[LIBC_DLMOPEN] = "dlmopen",
};
static _Atomic(libc_function *) found[LIBC_CALL_COUNT];

libc_function *libc_find(enum libc_call which)
{
	libc_function *function = atomic_load_explicit(&found[which], memory_order_relaxed);

	if (function != NULL)
		return function;
	function = (libc_function *)dlsym(RTLD_NEXT, calls[which]);
	if (function == NULL)
		(void)dlerror();
	atomic_store_explicit(&found[which], function, memory_order_relaxed);
	return function;
}

__attribute__((constructor(101))) static void resolve(void)
{
	for (enum next which = 0; which < NEXT_COUNT; which++)
		find(which);
	for (enum libc_call which = 0; which < LIBC_FOPEN; which++)
		(void)libc_find(which);
}

pid_t libc_fork(void)
{
	fork_function *function = (fork_function *)find(NEXT_FORK);

	if (function == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return function();
}

pid_t libc_fork_bare(void)
{
	fork_function *function = (fork_function *)find(NEXT_FORK_BARE);

	if (function == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return function();
}

int libc_execve(const char *path, char *const argv[], char *const envp[])
{
	int (*function)(const char *, char *const[],
			char *const[]) = (int (*)(const char *, char *const[], char *const[]))find(NEXT_EXECVE);

	if (function == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return function(path, argv, envp);
}

int libc_execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	int (*function)(int, const char *, char *const[], char *const[], int) =
		(int (*)(int, const char *, char *const[], char *const[], int))find(NEXT_EXECVEAT);

	if (function == NULL) { /* in glibc since 2.34 */
		errno = ENOSYS;
		return -1;
	}
	return function(fd, path, argv, envp, flags);
}

int libc_execvpe(const char *file, char *const argv[], char *const envp[])
{
	int (*function)(const char *, char *const[],
			char *const[]) = (int (*)(const char *, char *const[], char *const[]))find(NEXT_EXECVPE);

	if (function == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return function(file, argv, envp);
}

int libc_fexecve(int fd, char *const argv[], char *const envp[])
{
	int (*function)(int, char *const[],
			char *const[]) = (int (*)(int, char *const[], char *const[]))find(NEXT_FEXECVE);

	if (function == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return function(fd, argv, envp);
}

int libc_daemon(int no_chdir, int no_close)
{
	daemon_function *function = (daemon_function *)find(NEXT_DAEMON);

	if (function == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return function(no_chdir, no_close);
}

pid_t libc_forkpty(int *terminal, char *name, const struct termios *attributes, const struct winsize *size)
{
	forkpty_function *function = (forkpty_function *)find(NEXT_FORKPTY);

	if (function == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return function(terminal, name, attributes, size);
}

int libc_clone(int (*child)(void *), void *stack, int flags, void *argument, void *parent_id, void *storage,
	       void *child_id)
{
	clone_function *function = (clone_function *)find(NEXT_CLONE);

	if (function == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return function(child, stack, flags, argument, parent_id, storage, child_id);
}

int libc_msync(void *address, size_t length, int flags)
{
	msync_function *function = (msync_function *)find(NEXT_MSYNC);

	if (function == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return function(address, length, flags);
}

/* For functions that each libc has that this can be built with. */
#define CALL(which, ...) ((__typeof__(__VA_ARGS__) *)find(which))

int libc_open(enum libc_open which, const char *path, int flags, unsigned mode)
{
	return CALL(NEXT_OPEN + (enum next)which, int(const char *, int, ...))(path, flags, mode);
}

int libc_openat(enum libc_open which, int directory, const char *path, int flags, unsigned mode)
{
	return CALL(NEXT_OPENAT + (enum next)which, int(int, const char *, int, ...))(directory, path, flags, mode);
}

int libc_fcntl(enum libc_open which, int file, int command, void *argument)
{
	return CALL(which == LIBC_OPEN ? NEXT_FCNTL : NEXT_FCNTL64, int(int, int, ...))(file, command, argument);
}

int libc_prlimit(pid_t process, int resource, const struct rlimit64 *limit, struct rlimit64 *old)
{
	return CALL(NEXT_PRLIMIT, int(pid_t, int, const struct rlimit64 *, struct rlimit64 *))(process, resource, limit,
											       old);
}

int libc_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	return CALL(NEXT_PRCTL, int(int, ...))(option, a, b, c, d);
}

int libc_pthread_attr_setstack(pthread_attr_t *attributes, void *stack, size_t size)
{
	return CALL(NEXT_SETSTACK, int(pthread_attr_t *, void *, size_t))(attributes, stack, size);
}

int libc_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
	return CALL(NEXT_MUTEX_INIT, int(pthread_mutex_t *, const pthread_mutexattr_t *))(mutex, attributes);
}

int libc_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
	return CALL(NEXT_COND_INIT, int(pthread_cond_t *, const pthread_condattr_t *))(condition, attributes);
}

int libc_pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attributes)
{
	return CALL(NEXT_RWLOCK_INIT, int(pthread_rwlock_t *, const pthread_rwlockattr_t *))(lock, attributes);
}

int libc_pthread_barrier_init(pthread_barrier_t *barrier, const pthread_barrierattr_t *attributes, unsigned count)
{
	return CALL(NEXT_BARRIER_INIT,
		    int(pthread_barrier_t *, const pthread_barrierattr_t *, unsigned))(barrier, attributes, count);
}

int libc_sem_init(sem_t *semaphore, int shared, unsigned value)
{
	return CALL(NEXT_SEM_INIT, int(sem_t *, int, unsigned))(semaphore, shared, value);
}

pid_t libc_waitpid(pid_t pid, int *status, int options)
{
	return CALL(NEXT_WAITPID, pid_t(pid_t, int *, int))(pid, status, options);
}

pid_t libc_wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
	return CALL(NEXT_WAIT4, pid_t(pid_t, int *, int, struct rusage *))(pid, status, options, usage);
}

int libc_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	return CALL(NEXT_WAITID, int(idtype_t, id_t, siginfo_t *, int))(type, id, info, options);
}

libc_syscall_function *libc_syscall(void)
{
	return (libc_syscall_function *)find(NEXT_SYSCALL);
}

int libc_posix_spawn(enum libc_spawn which, pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	spawn_function *function = (spawn_function *)find(NEXT_SPAWN + (enum next)which);

	if (function == NULL)
		return ENOSYS;
	return function(pid, file, actions, attributes, argv, envp);
}
