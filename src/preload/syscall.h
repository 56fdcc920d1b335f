/* SPDX-License-Identifier: MIT
 *
 * The entries of syscall.c's table. `words` are the six arguments of the system call as syscall() got them; those that
 * the caller did not pass are garbage. A pointer among them may be bad, and then the kernel has to answer: an entry
 * reads it by sys/readable.h, or after the kernel has accepted it.
 */
#ifndef ODF_PRELOAD_SYSCALL_H
#define ODF_PRELOAD_SYSCALL_H

#include <stdbool.h>

/* On other architectures syscall() is not interposed. */
#if (defined __x86_64__ && !defined __ILP32__) || defined __aarch64__
#define PRELOAD_HAS_SYSCALL 1
#else
#define PRELOAD_HAS_SYSCALL 0
#endif

/* Called before the system call. False: libc's syscall() makes it, by a jump. True: the answer function makes it. */
typedef bool syscall_look(const long words[6]);
/* Makes the system call. The result, or minus an errno value. */
typedef long syscall_answer(long number, const long words[6]);

struct syscall_entry {
	syscall_look *look;     /* NULL: always ours */
	syscall_answer *answer; /* NULL: libc always makes the call, `look` is called for its effects */
};

/* ---- wait.c ---- */
syscall_look syscall_look_at_wait4, syscall_look_at_waitid;
syscall_answer syscall_wait4, syscall_waitid;
/* ---- clone.c ---- */
syscall_look syscall_look_at_fork, syscall_look_at_clone, syscall_look_at_clone3;
syscall_answer syscall_make_process;
/* ---- execute.c ---- */
syscall_answer syscall_execve, syscall_execveat;
/* ---- futex.c ---- The same numbers on every architecture, Linux 5.16 and 6.7. */
#define NUMBER_FUTEX_WAITV   449
#define NUMBER_FUTEX_WAKE    454
#define NUMBER_FUTEX_WAIT    455
#define NUMBER_FUTEX_REQUEUE 456
syscall_look syscall_look_at_futex, syscall_look_at_futex_waitv, syscall_look_at_futex2, syscall_look_at_futex_requeue;
/* ---- alone.c ---- */
syscall_answer syscall_setns, syscall_unshare, syscall_kill;
/* ---- lend.c ---- */
syscall_look syscall_look_at_sendto, syscall_look_at_sendmsg, syscall_look_at_sendmmsg;
syscall_answer syscall_vmsplice;
/* ---- descriptors.c, rings.c ---- */
syscall_look syscall_look_at_fcntl, syscall_look_at_setsockopt, syscall_look_at_ioctl;
syscall_answer syscall_creat, syscall_open, syscall_openat, syscall_openat2, syscall_open_by_handle_at, syscall_receive,
	syscall_recvmsg, syscall_recvmmsg, syscall_socket, syscall_userfaultfd, syscall_ioctl, syscall_io_uring_setup;
#endif
