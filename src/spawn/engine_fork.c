/* SPDX-License-Identifier: MIT
 *
 * libc's fork, for code of the caller's that must run before exec, and where sharing memory is refused or not real.
 *
 * How the parent learns what became of the child, without a descriptor (the caller may have none left, the child's code may close all, and
 * a descriptor would be inherited by children that other threads make at the same moment, which would hide its closing): one shared
 * page has the outcome and a robust futex that the child owns. At exec, exit or kill the kernel marks the futex and wakes the parent
 * (set_robust_list(2), since Linux 2.6.17).
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>

#include "../capability/capability.h"
#include "../libc/libc.h"
#include "../sys/syscall.h"
#include "engine.h"

struct shared_page {
	struct child_outcome outcome;
	atomic_uint owner; /* 0; the child's id and FUTEX_WAITERS; then FUTEX_OWNER_DIED */
	volatile int unwatched; /* the kernel took no robust list: look now and then */
	struct robust_list_head head;
	struct robust_list node;
};

/* In the child: the futex is one link away from the list's head and the head one link away from it. */
static void own(struct shared_page *page)
{
	page->head.list.next = &page->node;
	page->head.futex_offset = (long)offsetof(struct shared_page, owner) - (long)offsetof(struct shared_page, node);
	page->head.list_op_pending = NULL;
	page->node.next = &page->head.list;
	atomic_store(&page->owner, (unsigned)sys_call0(SYS_gettid) | FUTEX_WAITERS);
	if (sys_call2(SYS_set_robust_list, &page->head, sizeof page->head) < 0)
		page->unwatched = 1;
}

static _Noreturn void in_child(struct plan *plan, struct shared_page *page)
{
	uint64_t all = ~0ull;

	own(page);
	sys_sigprocmask(SIG_SETMASK, &all, NULL);
	child_run(&plan->child);
	for (;;)
		sys_call1(SYS_exit_group, 127);
}

/* Returns when the child has executed the program or is ending. The wait has an end of its own, at which the parent looks itself: for a
 * child that was killed before it owned the futex, and where the kernel took no robust list. */
static void watch(const struct shared_page *page, pid_t pid)
{
	for (;;) {
		unsigned owner = atomic_load(&page->owner);
		struct timespec tick = { 0, page->unwatched ? 1000000 : 20000000 };

		if ((owner & FUTEX_OWNER_DIED) || page->outcome.error != 0)
			return;
		/* EAGAIN (it changed), EINTR and ETIMEDOUT all mean: look again. */
		(void)sys_call4(SYS_futex, &page->owner, FUTEX_WAIT, owner, &tick);
		if (page->unwatched || owner == 0) {
			enum life life = engine_life(pid);
			if (life != LIFE_RUNS && (life != LIFE_UNKNOWN || page->outcome.step == ODF_STEP_EXEC))
				return;
		}
	}
}

/* Nothing is forked if a descriptor of the child could not be had. */
static int pidfd_possible(void)
{
	int fd = (int)sys_call2(SYS_pidfd_open, getpid(), 0);
	return fd < 0 ? fd : sys_close(fd);
}

void engine_fork(struct plan *plan, bool pidfd, struct result *result)
{
	uint64_t all = ~0ull, mask;
	struct shared_page *page;
	int saved = errno;
	pid_t pid;

	if (pidfd) {
		result->error = -pidfd_possible();
		if (result->error != 0) {
			result->step = ODF_STEP_PIDFD;
			return;
		}
	}
	page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED) {
		result->step = ODF_STEP_CLONE;
		result->error = ENOMEM;
		errno = saved;
		return;
	}
	page->outcome.index = -1;
	plan->child.outcome = &page->outcome;
	/* Until the child has reset its dispositions, a handler of the caller's must not run in it. */
	sys_sigprocmask(SIG_SETMASK, &all, &mask);
	plan_inherit_mask(plan, mask);
	pid = libc_fork();
	if (pid == 0)
		in_child(plan, page);
	sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	if (pid < 0) {
		result->step = ODF_STEP_CLONE;
		result->error = errno;
	} else {
		if (pidfd) {
			result->pidfd = (int)sys_call2(SYS_pidfd_open, pid, 0);
			if (result->pidfd < 0) { /* the last number was taken meanwhile: all or nothing */
				result->step = ODF_STEP_PIDFD;
				result->error = -result->pidfd;
				result->pidfd = -1;
				sys_call2(SYS_kill, pid, SIGKILL);
				engine_reap(pid);
			}
		}
		if (result->error == 0) {
			watch(page, pid);
			engine_conclude(result, &page->outcome, pid);
			if (result->pid < 0 && result->pidfd >= 0) {
				sys_close(result->pidfd);
				result->pidfd = -1;
			}
		}
	}
	/* Cannot fail for a page that mmap gave. */
	(void)munmap(page, sizeof *page);
	errno = saved;
}
