/* SPDX-License-Identifier: MIT
 *
 * libc's fork. For requests with pre_exec, and where memory cannot be shared or is not really shared.
 *
 * The parent learns without a descriptor what became of the child: the caller may have none left, pre_exec may close
 * all, and children that other threads make at the same time would inherit it, which would hide its closing. Instead,
 * one shared page has the outcome and a robust futex that the child owns. At exec, exit or kill the kernel marks the
 * futex and wakes the parent (set_robust_list(2), since Linux 2.6.17).
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>

#include "../fork/fork.h"
#include "../libc/libc.h"
#include "../sys/syscall.h"
#include "engine.h"

struct shared_page {
	struct child_outcome outcome;
	atomic_uint owner; /* 0; the child's id and FUTEX_WAITERS; then FUTEX_OWNER_DIED */
	volatile int unwatched; /* the kernel took no robust list: the parent has to poll */
	struct robust_list_head head;
	struct robust_list node;

	atomic_int descriptor_done; /* with a pidfd: the caller has opened it, or has failed to */

	/* With a go-between: */
	atomic_int detached;        /* the child's pid, once it exists */
	struct result result;
};

static void wake(atomic_int *word)
{
	(void)sys_call3(SYS_futex, word, FUTEX_WAKE, 1);
}

/* In the child. The futex is one link from the list's head, and the head one link from it. The kernel is told first: if
 * the child dies before it sets the owner, the futex has none, and the parent polls. */
static void own(struct shared_page *page)
{
	page->head.list.next = &page->node;
	page->head.futex_offset = (long)offsetof(struct shared_page, owner) - (long)offsetof(struct shared_page, node);
	page->head.list_op_pending = NULL;
	page->node.next = &page->head.list;
	if (sys_call2(SYS_set_robust_list, &page->head, sizeof page->head) < 0)
		page->unwatched = 1;
	atomic_store(&page->owner, (unsigned)sys_call0(SYS_gettid) | FUTEX_WAITERS);
}

/* In the child. Waits until the caller has opened the pidfd: until then the child must not end, be reaped, and its pid
 * be reused. */
static void await_descriptor(struct shared_page *page)
{
	const struct timespec tick = { 0, 20000000 };
	long parent = sys_call0(SYS_getppid);

	while (!atomic_load(&page->descriptor_done) && sys_call0(SYS_getppid) == parent)
		(void)sys_call4(SYS_futex, &page->descriptor_done, FUTEX_WAIT, 0, &tick);
}

static _Noreturn void end(int status)
{
	sys_call1(SYS_exit_group, status);
	__builtin_trap(); /* the request's filter refuses even that */
}

static void in_child(struct plan *plan, struct shared_page *page, bool pidfd)
{
	uint64_t all = ~0ull;

	own(page);
	sys_sigprocmask(SIG_SETMASK, &all, NULL);
	if (pidfd)
		await_descriptor(page);
	child_run(&plan->child);
	end(127);
}

/* Returns when the child has executed the program or is ending. Each wait is limited, and the parent then looks itself:
 * for a child that was killed before it owned the futex, and if the kernel took no robust list. */
static void watch(const struct shared_page *page, pid_t pid)
{
	for (;;) {
		unsigned owner = atomic_load(&page->owner);
		struct timespec tick = { 0, page->unwatched ? 1000000 : 20000000 };

		if ((owner & FUTEX_OWNER_DIED) || page->outcome.error != 0)
			return;
		/* EAGAIN (the word has changed), EINTR and ETIMEDOUT all mean: look again. */
		(void)sys_call4(SYS_futex, &page->owner, FUTEX_WAIT, owner, &tick);
		if (page->unwatched || owner == 0) {
			enum life life = engine_life(pid);
			if (life != LIFE_RUNS && (life != LIFE_UNKNOWN || page->outcome.step == ODF_STEP_EXEC))
				return;
		}
	}
}

/* Opens a pidfd of this process. If that fails, no child is forked. */
static int pidfd_possible(void)
{
	int fd = (int)sys_call2(SYS_pidfd_open, getpid(), 0);
	return fd < 0 ? fd : sys_close(fd);
}

static void watch_and_conclude(struct result *result, const struct shared_page *page, pid_t pid)
{
	watch(page, pid);
	engine_conclude(result, &page->outcome, pid);
}

/* Opens the pidfd of a child that waits for it. If that fails, the child is killed. ESRCH: it has already been killed
 * and reaped elsewhere, and its pid may be another process's. */
static void open_pidfd(struct shared_page *page, struct result *result, pid_t pid)
{
	int fd = (int)sys_call2(SYS_pidfd_open, pid, 0);

	if (fd >= 0) {
		result->pidfd = fd;
	} else {
		result->step = fd == -ESRCH ? ODF_STEP_CLONE : ODF_STEP_PIDFD;
		result->error = fd == -ESRCH ? ECHILD : -fd;
		if (fd != -ESRCH)
			sys_call2(SYS_kill, pid, SIGKILL);
	}
	atomic_store(&page->descriptor_done, 1);
	wake(&page->descriptor_done);
}

/* Forks with all signals blocked: a handler of the caller must not run in the child before its dispositions are reset.
 * The caller's own mask is restored at once, however long the child takes to execute the program. */
static pid_t fork_blocked(struct plan *plan, struct shared_page *page, bool pidfd, const uint64_t *mask,
			  void (*child)(struct plan *, struct shared_page *, bool))
{
	pid_t pid = fork_plainly();
	int error = errno;

	if (pid == 0)
		child(plan, page, pidfd);
	sys_sigprocmask(SIG_SETMASK, mask, NULL);
	errno = error;
	return pid;
}

static void fork_own(struct plan *plan, struct shared_page *page, bool pidfd, const uint64_t *mask,
		     struct result *result)
{
	pid_t pid = fork_blocked(plan, page, pidfd, mask, in_child);

	if (pid < 0) {
		result->step = ODF_STEP_CLONE;
		result->error = errno;
		return;
	}
	if (pidfd)
		open_pidfd(page, result, pid);
	if (result->error == 0)
		watch_and_conclude(result, page, pid);
	else
		engine_reap(pid);
}

/* The go-between. It forks again by libc, which repairs its state for the child too, and watches the child until it has
 * executed the program or ended. */
static void go_between(struct plan *plan, struct shared_page *page, bool pidfd)
{
	struct result result = RESULT_INIT;
	pid_t pid = libc_fork();

	if (pid == 0)
		in_child(plan, page, pidfd);
	if (pid < 0) {
		result.step = ODF_STEP_CLONE;
		result.error = errno;
	} else {
		atomic_store(&page->detached, pid);
		wake(&page->detached);
		watch_and_conclude(&result, page, pid);
	}
	page->result = result;
	end(0);
}

static void fork_detached(struct plan *plan, struct shared_page *page, bool pidfd, const uint64_t *mask,
			  struct result *result)
{
	const struct timespec tick = { 0, 20000000 };
	struct result descriptor = RESULT_INIT;
	pid_t pid;

	page->result = (struct result)RESULT_INIT; /* stays if the go-between is killed */
	page->result.step = ODF_STEP_CLONE;
	page->result.error = ECHILD;
	pid = fork_blocked(plan, page, pidfd, mask, go_between);
	if (pid < 0) {
		result->step = ODF_STEP_CLONE;
		result->error = errno;
		return;
	}
	if (pidfd) {
		while (atomic_load(&page->detached) == 0 && !engine_ended(pid))
			(void)sys_call4(SYS_futex, &page->detached, FUTEX_WAIT, 0, &tick);
		if (atomic_load(&page->detached) != 0)
			open_pidfd(page, &descriptor, atomic_load(&page->detached));
	}
	engine_reap(pid);
	*result = page->result;
	result->pidfd = descriptor.pidfd;
	if (descriptor.error != 0) { /* the child was killed for that */
		result->pid = -1;
		result->step = descriptor.step;
		result->error = descriptor.error;
		result->wait_status = 0;
	}
}

void engine_fork(struct plan *plan, bool pidfd, struct result *result)
{
	uint64_t all = ~0ull, mask;
	struct shared_page *page;
	int saved = errno, cancel_state;

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
	page->outcome.step = ODF_STEP_CLONE;
	page->outcome.index = -1;
	plan->child.outcome = &page->outcome;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	sys_sigprocmask(SIG_SETMASK, &all, &mask);
	plan_inherit_mask(plan, mask);
	if (plan->child.flags & ODF_SPAWN_DETACH)
		fork_detached(plan, page, pidfd, &mask, result);
	else
		fork_own(plan, page, pidfd, &mask, result);
	pthread_setcancelstate(cancel_state, &cancel_state);
	if (result->pid < 0 && result->pidfd >= 0) {
		sys_close(result->pidfd);
		result->pidfd = -1;
	}
	/* Cannot fail for a whole mapping. */
	(void)munmap(page, sizeof *page);
	errno = saved;
}
