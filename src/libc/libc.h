/* SPDX-License-Identifier: MIT
 *
 * The libc functions that the shared library interposes, as the next object in the symbol search order defines them. In
 * the static library, which interposes nothing, they are the functions themselves.
 *
 * Each sets errno (or returns an errno value) as libc's function does, and is async-signal-safe where that is. One
 * exception: in the shared library a call before the constructor has run first looks the symbol up.
 */
#ifndef ODF_LIBC_LIBC_H
#define ODF_LIBC_LIBC_H

#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <termios.h>

pid_t libc_fork(void);

/* fork without atfork handlers (glibc 2.34, POSIX.1-2024). ENOSYS if libc has none. */
pid_t libc_fork_bare(void);

/* Versions of libc's posix_spawn functions. Binaries that were linked before glibc 2.15 use versions that run a file of
 * unknown format by a shell, so their calls must reach those. */
enum libc_spawn { LIBC_SPAWN, LIBC_SPAWN_PATH, LIBC_SPAWN_SHELL, LIBC_SPAWN_PATH_SHELL, LIBC_SPAWN_COUNT };

/* In the shared library only, which interposes these too. ENOSYS if libc has none. */
int libc_daemon(int no_chdir, int no_close);
pid_t libc_forkpty(int *terminal, char *name, const struct termios *attributes, const struct winsize *size);
int libc_clone(int (*function)(void *), void *stack, int flags, void *argument, void *parent_id, void *storage,
	       void *child_id);
/* The plain function, the one for large files, and those that fortified programs call. */
enum libc_open { LIBC_OPEN, LIBC_OPEN64, LIBC_OPEN_2, LIBC_OPEN64_2, LIBC_OPEN_COUNT };
int libc_open(enum libc_open which, const char *path, int flags, unsigned mode);
int libc_openat(enum libc_open which, int directory, const char *path, int flags, unsigned mode);
int libc_fcntl(enum libc_open which, int file, int command, void *argument);
int libc_prlimit(pid_t process, int resource, const struct rlimit64 *limit, struct rlimit64 *old);
int libc_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int libc_pthread_attr_setstack(pthread_attr_t *attributes, void *stack, size_t size);
int libc_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int libc_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int libc_pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attributes);
int libc_pthread_barrier_init(pthread_barrier_t *barrier, const pthread_barrierattr_t *attributes, unsigned count);
int libc_sem_init(sem_t *semaphore, int shared, unsigned value);
pid_t libc_waitpid(pid_t pid, int *status, int options);
pid_t libc_wait4(pid_t pid, int *status, int options, struct rusage *usage);
int libc_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int libc_msync(void *address, size_t length, int flags);
int libc_execve(const char *path, char *const argv[], char *const envp[]);
int libc_execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags);
int libc_execvpe(const char *file, char *const argv[], char *const envp[]);
int libc_fexecve(int fd, char *const argv[], char *const envp[]);
/* Functions that make descriptors, processes or threads. NULL: libc has none. Each libc has those before LIBC_FOPEN,
 * and the constructor looks them up. The others are not looked up there: a look-up that fails calls malloc for its
 * message, before it is known whose malloc that is. */
enum libc_call {
	LIBC_OPEN_BY_HANDLE_AT, LIBC_RECVMSG, LIBC_RECVMMSG, LIBC_SOCKET, LIBC_SETSOCKOPT, LIBC_IOCTL,
	LIBC_SBRK, LIBC_BRK, LIBC_SEND, LIBC_SENDTO, LIBC_SENDMSG, LIBC_SENDMMSG, LIBC_VMSPLICE, LIBC_SETNS,
	LIBC_UNSHARE, LIBC_KILL,
	LIBC_FOPEN, LIBC_FOPEN64, LIBC_FREOPEN, LIBC_FREOPEN64, LIBC_TMPFILE, LIBC_TMPFILE64,
	LIBC_MKSTEMP, LIBC_MKSTEMP64, LIBC_MKSTEMPS, LIBC_MKSTEMPS64, LIBC_MKOSTEMP, LIBC_MKOSTEMP64, LIBC_MKOSTEMPS,
	LIBC_MKOSTEMPS64, LIBC_URING_INIT, LIBC_URING_INIT_PARAMS, LIBC_URING_INIT_MEM, LIBC_URING_INIT_TRY,
	LIBC_URING_MMAP, LIBC_URING_SETUP, LIBC_SYSTEM, LIBC_POPEN, LIBC_PTHREAD_CREATE, LIBC_THRD_CREATE,
	LIBC_DLMOPEN,
	LIBC_CALL_COUNT
};
typedef void libc_function(void);
libc_function *libc_find(enum libc_call which);
/* The function itself, for a caller that must jump to it. */
typedef long libc_syscall_function(long number, ...);
libc_syscall_function *libc_syscall(void);

int libc_posix_spawn(enum libc_spawn which, pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);
#endif
