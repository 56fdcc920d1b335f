/* SPDX-License-Identifier: MIT
 *
 * One case for each thing that would go wrong if a line of the region code were missing; mutations.sh removes the lines and runs the case that must notice.
 * The system calls are routed through here, so that threads meet at the one moment that matters instead of by chance.
 *
 *   region_cases              all, each in a process of its own, as TAP
 *   region_cases NAME         that one; exits with 0, 1, or 77 if it cannot be done here
 *
 * ODF_CASE_SECONDS says how long one may take (20).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src/region/internal.h"
#include "../support/real_call.h"

#define PAGE          ((size_t)4096)
#define TABLE         ((size_t)512) /* pages */
#define SCAN          _IOWR('f', 16, uint64_t[12])
#define SCAN_SWAPPED  (1ull << 4)
#define ENTRY_FILE    (1ull << 61)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_PRESENT (1ull << 63)

long sys_call6(long number, long a, long b, long c, long d, long e, long f);

#define must(condition) ((condition) ? (void)0 : wrong(__LINE__, #condition))

static __attribute__((noreturn)) void wrong(int line, const char *condition)
{
	fprintf(stderr, "line %d: %s\n", line, condition);
	_exit(1);
}

static __attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	const char *needed = getenv("ODF_MUST_WORK");

	fprintf(stderr, "skipped: %s\n", reason);
	_exit(needed != NULL && strcmp(needed, "1") == 0 ? 1 : 77);
}

/* ---- The calls --------------------------------------------------------------------------------------------------------------- */

static __thread bool ours; /* not the keeper's */

struct call {
	long number, a, b, c, d, e, f;
};
/* Called before each system call of the library: true if that is all, with *result. */
static bool (*volatile hook)(const struct call *call, long *result);

/* The keeper stands still. */
enum place {
	NOWHERE,
	BETWEEN_STEPS, /* without the lock: before it looks how far the next step goes */
	IN_A_STEP      /* with the lock: nobody can write to home, and it looks for private pages to merge */
};
static struct {
	enum place place;
	atomic_int countdown; /* at which it is there */
	bool reached;
	sem_t arrived, resume;
} halt;

static bool is_scan(long number, long b)
{
	return number == SYS_ioctl && b == (long)SCAN;
}

/* A look for private pages to merge: without a limit, or, where home is protected, at the entries of several pages. */
static bool merges(long number, long b, long c)
{
	return is_scan(number, b) ? ((const uint64_t *)(uintptr_t)c)[7] == 0 : number == SYS_pread64 && c > 8 && c % 8 == 0;
}

static void halt_here(long number, long b, long c)
{
	enum place here = merges(number, b, c) ? IN_A_STEP : is_scan(number, b) ? BETWEEN_STEPS : NOWHERE;

	if (ours || here == NOWHERE || halt.place != here || atomic_fetch_sub(&halt.countdown, 1) != 1)
		return;
	halt.reached = true;
	sem_post(&halt.arrived);
	while (sem_wait(&halt.resume) != 0)
		;
}

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	struct call call = { number, a, b, c, d, e, f };
	long result;

	halt_here(number, b, c);
	if (hook != NULL && hook(&call, &result))
		return result;
	return real_call(number, a, b, c, d, e, f);
}

/* ---- What the cases are made of ------------------------------------------------------------------------------------------------ */

static odf_region *region;
static char *home;
static size_t pages;

static void make(size_t count, unsigned flags)
{
	region = odf_region_create(count * PAGE, flags);
	must(region != NULL);
	home = odf_region_base(region);
	pages = count;
}

static volatile uint64_t *word(size_t page)
{
	return (volatile uint64_t *)(void *)(home + page * PAGE);
}

/* All pages from `from` to `end` are of that generation. 0: discarded, or never written. */
static void fill(size_t from, size_t end, uint64_t generation)
{
	for (size_t page = from; page < end; page++)
		*word(page) = generation << 32 | page;
}

static bool holds(size_t from, size_t end, uint64_t generation)
{
	for (size_t page = from; page < end; page++)
		if (*word(page) != (generation == 0 ? 0 : generation << 32 | page))
			return false;
	return true;
}

static odf_region_info info(void)
{
	odf_region_info found = ODF_REGION_INFO_INIT;

	must(odf_region_info_get(region, &found) == 0);
	return found;
}

static void wait_ms(unsigned milliseconds)
{
	struct timespec time = { milliseconds / 1000, (long)(milliseconds % 1000) * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

/* Ends when told. */
struct child {
	pid_t pid;
	int go;
};

static bool holds_all_1(void)
{
	return holds(0, pages, 1);
}

/* A child in which the predicate is true, at first, and when told to end. */
static struct child child_with(bool (*predicate)(void))
{
	struct child child;
	int ends[2];
	char byte;

	must(pipe2(ends, O_CLOEXEC) == 0);
	child.pid = odf_fork();
	if (child.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		must(predicate());
		(void)!read(ends[0], &byte, 1);
		must(predicate());
		_exit(0);
	}
	close(ends[0]);
	child.go = ends[1];
	return child;
}

static int status_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		must(errno == EINTR);
	return status;
}

static void end(struct child child)
{
	(void)!write(child.go, "", 1);
	close(child.go);
	must(status_of(child.pid) == 0);
}

static void fork_and_end(bool (*predicate)(void))
{
	struct child child = child_with(predicate);

	must(child.pid > 0);
	end(child);
}

static void settle(void)
{
	must(odf_region_settle(region) == 0);
	must(info().state == ODF_REGION_LIVE);
}

static void *settle_beside(void *error)
{
	ours = true;
	*(int *)error = odf_region_settle(region);
	sem_post(&halt.arrived);
	return NULL;
}

static pthread_t settler;
static int settler_error;

/* Starts a settle and returns when it stands still. */
static void settle_until(enum place place, int countdown)
{
	sem_init(&halt.arrived, 0, 0);
	sem_init(&halt.resume, 0, 0);
	halt.reached = false;
	halt.place = place;
	atomic_store(&halt.countdown, countdown);
	must(pthread_create(&settler, NULL, settle_beside, &settler_error) == 0);
	while (sem_wait(&halt.arrived) != 0)
		;
	if (!halt.reached && odf_probe_get(ODF_PROBE_PAGEMAP_SCAN, NULL) != ODF_ANSWER_YES)
		cannot_be_done_here("no PAGEMAP_SCAN, at which the keeper would stand still");
	must(halt.reached);
}

/* Returns what the settle returned. */
static int settle_on(void)
{
	halt.place = NOWHERE;
	sem_post(&halt.resume);
	pthread_join(settler, NULL);
	return settler_error;
}

/* Past the library, as inline assembly would. */
static pid_t raw_clone(void)
{
	return (pid_t)real_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
}

/* Whether a child made past the library can read the page. */
static bool raw_child_reads(size_t page)
{
	pid_t pid = raw_clone();
	int status;

	if (pid == 0) {
		(void)*word(page);
		_exit(0);
	}
	must(pid > 0);
	status = status_of(pid);
	must(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
	return status == 0;
}

static void need_userfaultfd(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	must(odf_capabilities_get(&capabilities) == 0);
	if (capabilities.uffd_kernel_faults != ODF_ANSWER_YES || odf_probe_get(ODF_PROBE_UFFD_MINOR, NULL) != ODF_ANSWER_YES)
		cannot_be_done_here("no userfaultfd for kernel-mode faults");
}

static bool is_child(void)
{
	return info().state == ODF_REGION_INHERITED;
}

/* ---- Descendants --------------------------------------------------------------------------------------------------------------- */

static void settles(void)
{
	make(2 * TABLE + 5, ODF_REGION_MANUAL);
	for (int round = 0; round < 3; round++) {
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		fill(0, pages, 2);
		settle();
		must(holds(0, pages, 2));
	}
	must(info().settles == 3 && info().private_bytes == 0);
}

static void descendant_keeps_its_snapshot(void)
{
	struct child child;

	make(TABLE + 5, ODF_REGION_MANUAL);
	for (int round = 0; round < 3; round++) {
		fill(0, pages, 1);
		child = child_with(holds_all_1);
		fill(0, pages, 2);
		must(odf_region_settle(region) == EBUSY);
		must(odf_region_settle(region) == EBUSY);
		end(child);
		settle();
		must(holds(0, pages, 2));
	}
}

/* Made after the question about descendants, of the same freeze. */
static void younger_descendant(void)
{
	struct child older, younger;

	make(5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	older = child_with(holds_all_1);
	must(odf_region_settle(region) == EBUSY);
	younger = child_with(holds_all_1);
	end(older);
	fill(0, pages, 2);
	must(odf_region_settle(region) == EBUSY);
	end(younger);
	settle();
}

static bool token_comes_back_not;

/* The token cannot be mapped again after a verdict that there are descendants: those to come have none. */
static bool fails_to_map_shared_page(const struct call *call, long *result)
{
	if (!token_comes_back_not || call->number != SYS_mmap || call->b != (long)PAGE || !(call->d & MAP_SHARED))
		return false;
	*result = -ENOMEM;
	return true;
}

static bool fails_after_verdict(const struct call *call, long *result)
{
	if (call->number == SYS_fcntl && !ours) {
		*result = real_call(call->number, call->a, call->b, call->c, 0, 0, 0);
		token_comes_back_not = *result == -EBUSY;
		return true;
	}
	return fails_to_map_shared_page(call, result);
}

/* It comes by itself, soon. */
static void must_be_given_up(void)
{
	for (int tries = 0; info().state != ODF_REGION_GIVEN_UP; tries++) {
		must(tries < 2000);
		wait_ms(1);
	}
	must(info().settling == ODF_REGION_SETTLES_NEVER && odf_region_settle(region) == ENOTSUP);
}

static void doubt_is_given_up(void)
{
	struct child older, younger;

	make(5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	older = child_with(holds_all_1);
	hook = fails_after_verdict;
	must(odf_region_settle(region) == EBUSY);
	hook = NULL;
	younger = child_with(holds_all_1); /* has no token */
	end(older);
	fill(0, pages, 2);
	must_be_given_up();
	end(younger);
	must(holds(0, pages, 2));
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
}

/* ---- Forks and settles together ------------------------------------------------------------------------------------------------ */

static void fork_between_steps(void)
{
	struct child child;

	make(3 * TABLE, ODF_REGION_MANUAL);
	for (int after = 1; after < 3; after++) {
		fill(0, pages, 2);
		fork_and_end(is_child);
		fill(0, pages, 1);
		settle_until(BETWEEN_STEPS, after + 1);
		child = child_with(holds_all_1);
		fill(0, pages, 2);
		must(settle_on() == EAGAIN);
		must(odf_region_settle(region) == EBUSY);
		end(child);
		must(holds(0, pages, 2));
		settle();
		must(holds(0, pages, 2));
	}
}

/* Forks come more often than a settle takes, which goes on behind what the last one did. */
static void no_part_waits_for_ever(void)
{
	size_t left;

	need_userfaultfd(); /* otherwise there are no steps: the process stands still */
	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	left = info().private_bytes;
	must(left == 3 * TABLE * PAGE);
	for (int step = 0; step < 6; step++) {
		settle_until(BETWEEN_STEPS, 2);
		fork_and_end(holds_all_1);
		must(settle_on() == EAGAIN);
		must(info().private_bytes < left && info().private_bytes > 0);
		left = info().private_bytes;
	}
}

/* Who wants a page of the step that is under way waits for all of it, so that one of private pages only is less than a table. */
static void steps_are_small(void)
{
	size_t left;

	need_userfaultfd();
	make(2 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	left = info().private_bytes;
	settle_until(BETWEEN_STEPS, 2);
	fork_and_end(holds_all_1);
	must(settle_on() == EAGAIN);
	must(left - info().private_bytes <= TABLE * PAGE / 4);
	settle();
	must(holds(0, pages, 1));
}

static atomic_bool forked;

static void *resume_later(void *unused)
{
	ours = true;
	wait_ms(50);
	must(!atomic_load(&forked));
	halt.place = NOWHERE;
	sem_post(&halt.resume);
	return unused;
}

static void fork_waits_for_the_step(void)
{
	struct child child;
	pthread_t thread;

	need_userfaultfd();
	make(2 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle_until(IN_A_STEP, 1);
	must(pthread_create(&thread, NULL, resume_later, NULL) == 0);
	child = child_with(holds_all_1);
	atomic_store(&forked, true);
	must(child.pid > 0);
	pthread_join(thread, NULL);
	(void)settle_on();
	fill(0, pages, 2);
	end(child);
	settle();
	must(holds(0, pages, 2));
}

/* No bracket of ours around it: the atfork handlers do it. */
static void forks_of_libc(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	for (int round = 0; round < 2; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			must(is_child());
			must(holds_all_1());
			fill(0, pages, 7);
			_exit(0);
		}
		must(status_of(pid) == 0);
		must(holds_all_1());
		settle();
	}
}

/* Between the freeze and the copy the lock is not held. */
static int settled_amid_fork;

static void *settle_amid_fork(void *unused)
{
	ours = true;
	settled_amid_fork = odf_region_settle(region);
	return unused;
}

static void before_the_copy(void)
{
	pthread_t thread;

	if (region == NULL || settled_amid_fork != -1)
		return;
	must(pthread_create(&thread, NULL, settle_amid_fork, NULL) == 0);
	pthread_join(thread, NULL);
}

static void no_settling_amid_a_fork(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	must(pthread_atfork(before_the_copy, NULL, NULL) == 0);
	settled_amid_fork = -1;
	fork_and_end(holds_all_1);
	must(settled_amid_fork == EAGAIN);
	settle();
}

/* A signal comes while the lock is held, and its handler forks. */
static void fork_in_handler(int unused)
{
	pid_t pid = odf_fork();

	(void)unused;
	if (pid == 0)
		_exit(holds(1, pages, 1) ? 0 : 1);
	must(status_of(pid) == 0);
}

static bool raises(const struct call *call, long *result)
{
	(void)result;
	if (ours && call->number == SYS_madvise && call->c == MADV_REMOVE) {
		hook = NULL;
		raise(SIGUSR1);
	}
	return false;
}

static void handler_forks_while_the_lock_is_held(void)
{
	make(20, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	signal(SIGUSR1, fork_in_handler);
	hook = raises;
	must(odf_region_discard(region, home, PAGE) == 0);
	must(hook == NULL);
	must(holds(0, 1, 0) && holds(1, pages, 1));
}

/* ---- What children have --------------------------------------------------------------------------------------------------------- */

static bool lives_on_its_own(void)
{
	odf_region *inherited = region;

	must(is_child() && holds_all_1());
	must(odf_region_settle(region) == 0 && is_child());
	must(odf_region_discard(region, home + PAGE, 10 * PAGE) == 0 && odf_region_discard(region, home + 20 * PAGE, PAGE) == 0);
	must(holds(1, 11, 0) && holds(20, 21, 0) && holds(11, 20, 1) && holds(0, 1, 1));
	fill(0, 30, 3);
	must(holds(0, 30, 3) && holds(30, pages, 1));
	make(TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	must(odf_region_destroy(inherited) == 0);
	must(odf_region_settle(region) == 0);
	fork_and_end(holds_all_1);
	settle();
	must(odf_region_destroy(region) == 0);
	_exit(0);
}

static void child_is_a_program_too(void)
{
	make(TABLE + 40, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(lives_on_its_own);
	must(holds_all_1());
	settle();
	must(holds_all_1());
}

/* ---- Children made past the library --------------------------------------------------------------------------------------------- */

static void raw_clone_while_live(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	must(!raw_child_reads(0) && !raw_child_reads(pages - 1));
	fork_and_end(holds_all_1);
	fill(0, 10, 1);
	settle();
	must(!raw_child_reads(0) && !raw_child_reads(pages - 1));
	must(holds_all_1());
}

static void raw_clone_amid_settle(void)
{
	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle_until(BETWEEN_STEPS, 2);
	must(!raw_child_reads(0) && !raw_child_reads(pages - 1));
	must(odf_region_discard(region, home + (pages - 30) * PAGE, 20 * PAGE) == 0);
	must(!raw_child_reads(pages - 20));
	must(settle_on() == 0);
	must(!raw_child_reads(0) && !raw_child_reads(pages - 20) && !raw_child_reads(pages - 1));
	must(holds(0, pages - 30, 1) && holds(pages - 30, pages - 10, 0) && holds(pages - 10, pages, 1));
}

static void raw_clone_while_frozen(void)
{
	pid_t pid;

	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	pid = raw_clone();
	if (pid == 0) {
		must(is_child());
		must(holds_all_1());
		fill(0, pages, 9);
		must(odf_region_settle(region) == 0);
		must(odf_region_discard(region, home, 20 * PAGE) == 0 && holds(0, 20, 0));
		_exit(0);
	}
	must(status_of(pid) == 0);
	must(holds_all_1());
	settle();
	must(holds_all_1());
}

/* Stands still with the lock, in the middle of a discard. */
static bool halts_in_discard(const struct call *call, long *result)
{
	(void)result;
	if (!ours || call->number != SYS_mmap || !(call->d & MAP_FIXED))
		return false;
	hook = NULL;
	sem_post(&halt.arrived);
	while (sem_wait(&halt.resume) != 0)
		;
	return false;
}

static void *discard_beside(void *unused)
{
	ours = true;
	must(odf_region_discard(region, home, 70 * PAGE) == 0); /* of less no mapping is made */
	return unused;
}

static void raw_clone_while_the_lock_is_held(void)
{
	pthread_t thread;
	pid_t pid;

	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	sem_init(&halt.arrived, 0, 0);
	sem_init(&halt.resume, 0, 0);
	hook = halts_in_discard;
	must(pthread_create(&thread, NULL, discard_beside, NULL) == 0);
	while (sem_wait(&halt.arrived) != 0)
		;
	pid = raw_clone();
	if (pid == 0) {
		must(is_child());
		must(odf_region_discard(region, home + 90 * PAGE, 20 * PAGE) == 0);
		must(holds(90, 110, 0) && holds(110, pages, 1));
		_exit(0);
	}
	must(status_of(pid) == 0);
	sem_post(&halt.resume);
	pthread_join(thread, NULL);
	must(holds(0, 70, 0) && holds(70, pages, 1));
	settle();
	must(holds(0, 70, 0) && holds(70, pages, 1));
}

static bool showing_fails;

static bool fails_to_show(const struct call *call, long *result)
{
	if (!showing_fails || call->number != SYS_madvise || call->c != MADV_DOFORK)
		return false;
	*result = -ENOMEM;
	return true;
}

/* A fork that fails half-way leaves a part FROZEN that such a child gets: what follows must not be seen there. */
static void raw_clone_after_a_failed_fork(void)
{
	int ends[2], status;
	char byte;
	pid_t pid;

	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle_until(BETWEEN_STEPS, 2);
	showing_fails = true;
	hook = fails_to_show;
	must(odf_fork() == -1 && errno == ENOMEM);
	hook = NULL;
	must(pipe2(ends, O_CLOEXEC) == 0);
	pid = raw_clone();
	if (pid == 0) {
		uint64_t first = *word(0); /* if it is not there: as good */
		(void)!read(ends[0], &byte, 1);
		_exit(*word(0) == first ? 0 : 1);
	}
	fill(0, pages, 3);
	(void)settle_on();
	(void)odf_region_settle(region);
	must_be_given_up();
	(void)!write(ends[1], "", 1);
	status = status_of(pid);
	must(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
	must(holds(0, pages, 3));
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
}

/* ---- Failures --------------------------------------------------------------------------------------------------------------------- */

static int fail_moves_from, moves_to_fail;
static bool failed_moves_unmap;

/* Moves of whole tables by the caller: those of a freeze. */
static bool fails_moves(const struct call *call, long *result)
{
	if (!ours || call->number != SYS_mremap || --fail_moves_from > 0 || moves_to_fail == 0)
		return false;
	moves_to_fail--;
	if (failed_moves_unmap)
		(void)real_call(SYS_munmap, call->e, call->c, 0, 0, 0, 0);
	*result = -ENOMEM;
	return true;
}

static void fork_fails_where(int call, bool unmaps)
{
	pid_t pid;

	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fail_moves_from = call;
	moves_to_fail = 1;
	failed_moves_unmap = unmaps;
	hook = fails_moves;
	errno = 0;
	pid = odf_fork();
	if (pid == 0)
		_exit(holds_all_1() ? 0 : 1);
	hook = NULL;
	must(moves_to_fail == 0);
	must(holds_all_1());
	must(pid > 0 && status_of(pid) == 0); /* it was tried again */
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	settle();
	must(holds_all_1());
}

static void fork_fails_in_its_first_step(void)
{
	fork_fails_where(1, false);
}

static void fork_fails_in_its_second_step(void)
{
	fork_fails_where(2, false);
}

/* What keeps it from being frozen lasts, and plain memory's fork would not fail for it. */
static void fork_of_what_cannot_be_frozen(void)
{
	for (int call = 1; call <= 2; call++) {
		make(TABLE + 5, ODF_REGION_MANUAL);
		fill(0, pages, 1);
		fail_moves_from = call;
		moves_to_fail = 1000000;
		failed_moves_unmap = false;
		hook = fails_moves;
		fork_and_end(holds_all_1);
		must_be_given_up();
		fill(0, pages, 2);
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		hook = NULL;
		for (int tries = 0; info().resident_bytes > 0; tries++) { /* what was in the file is not held twice */
			must(tries < 2000);
			wait_ms(1);
		}
		must(holds_all_1());
		must(odf_region_discard(region, home, 10 * PAGE) == 0 && holds(0, 10, 0) && holds(10, pages, 1));
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		must(odf_region_destroy(region) == 0);
	}
}

/* And home is not there any more. */
static void fork_loses_home(void)
{
	fork_fails_where(2, true);
}

/* What another thread mapped into a place that we lost is not ours. */
static char *foreign;

static bool loses_aside(const struct call *call, long *result)
{
	*result = -ENOMEM;
	if (!ours && call->number == SYS_mmap && call->a == 0 && foreign != NULL)
		return true; /* nor can the keeper make another one, for the moment */
	if (!ours || call->number != SYS_mremap || foreign != NULL)
		return false;
	(void)real_call(SYS_munmap, call->e, call->c, 0, 0, 0, 0);
	foreign = mmap((void *)call->e, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	must(foreign == (char *)call->e);
	memset(foreign, 77, PAGE);
	return true;
}

static void foreign_memory_is_left_alone(void)
{
	make(TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	hook = loses_aside;
	fork_and_end(holds_all_1);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	hook = NULL;
	must_be_given_up();
	fork_and_end(holds_all_1);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	must(odf_region_destroy(region) == 0);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
}

/* The same, and the settle that the fork came into goes on. */
static void foreign_memory_is_left_alone_amid_a_settle(void)
{
	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle_until(BETWEEN_STEPS, 2);
	hook = loses_aside;
	fork_and_end(holds_all_1);
	hook = NULL;
	(void)settle_on();
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	must_be_given_up();
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	must(holds_all_1());
	fork_and_end(holds_all_1);
	must(odf_region_destroy(region) == 0);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
}

/* Home turns out to be two mappings, of which one is moved and the other cannot be; then nothing can be moved for a moment. */
static int move_of_freeze;

static bool fails_between_halves(const struct call *call, long *result)
{
	if (!ours || call->number != SYS_mremap || ++move_of_freeze == 2 || move_of_freeze > 5)
		return false;
	(void)real_call(SYS_munmap, call->e, call->c, 0, 0, 0, 0);
	*result = move_of_freeze == 1 ? -EFAULT : -ENOMEM;
	return true;
}

static void fork_fails_between_two_halves(void)
{
	make(3 * TABLE, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	hook = fails_between_halves;
	fork_and_end(holds_all_1); /* in the end */
	hook = NULL;
	must(move_of_freeze > 5 && holds_all_1());
}

static int scans_to_fail;

static bool fails_merging_scan(const struct call *call, long *result)
{
	if (ours || !merges(call->number, call->b, call->c) || scans_to_fail-- <= 0)
		return false;
	*result = -ENOMEM;
	return true;
}

static void pages_that_cannot_be_told_apart(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	scans_to_fail = 1;
	hook = fails_merging_scan;
	if (odf_region_settle(region) == 0 && scans_to_fail > 0)
		cannot_be_done_here("no PAGEMAP_SCAN");
	hook = NULL;
	must(holds_all_1());
	must(info().state != ODF_REGION_LIVE);
	settle();
	must(holds_all_1());
}

static int last_moves_to_fail;

static bool fails_last_move(const struct call *call, long *result)
{
	if (ours || call->number != SYS_mremap || (call->d & 4 /* MREMAP_DONTUNMAP */) || last_moves_to_fail == 0)
		return false;
	last_moves_to_fail--;
	*result = -ENOMEM;
	return true;
}

/* All is merged, and only home cannot be replaced. */
static void step_refused_in_the_end(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	last_moves_to_fail = 1;
	hook = fails_last_move;
	must(odf_region_settle(region) == ENOMEM);
	hook = NULL;
	must(holds_all_1());
	must(info().state != ODF_REGION_LIVE);
	fill(0, 20, 2);
	settle();
	must(holds(0, 20, 2) && holds(20, pages, 1));
}

/* ---- Which pages are private ------------------------------------------------------------------------------------------------------ */

/* As if all private pages had been swapped out. */
static bool says_swapped(const struct call *call, long *result)
{
	uint64_t *entries = (uint64_t *)(uintptr_t)call->b;

	if (call->number == SYS_ioctl && call->b == (long)SCAN) {
		*result = -ENOTTY;
		return true;
	}
	if (call->number != SYS_pread64)
		return false;
	*result = real_call(call->number, call->a, call->b, call->c, call->d, 0, 0);
	for (long i = 0; i < *result / (long)sizeof *entries; i++)
		if ((entries[i] & ENTRY_PRESENT) && !(entries[i] & ENTRY_FILE))
			entries[i] = (entries[i] & ~ENTRY_PRESENT) | ENTRY_SWAPPED;
	return true;
}

static void swapped_pages_count(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages, 1);
	hook = says_swapped;
	settle();
	hook = NULL;
	must(holds_all_1());
}

/* A machine with swap would be needed to see it: what is asked for is looked at instead. */
static bool sees_question(const struct call *call, long *result)
{
	const uint64_t *scan = (const uint64_t *)(uintptr_t)call->c;

	(void)result;
	if (call->number == SYS_ioctl && call->b == (long)SCAN)
		must(scan[10] /* category_anyof_mask */ & SCAN_SWAPPED);
	return false;
}

static void swapped_pages_are_asked_for(void)
{
	make(5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	hook = sees_question;
	fork_and_end(is_child);
	fill(0, pages, 1);
	settle();
	must(holds_all_1());
}

static bool fails_to_remove(const struct call *call, long *result)
{
	if (call->number != SYS_madvise || call->c != MADV_REMOVE)
		return false;
	*result = -EOPNOTSUPP;
	return true;
}

/* A page that the program has made all zeros, over one of the file that is not. */
static void pages_of_zeros(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	for (int failing = 0; failing < 2; failing++) {
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		for (size_t page = 20; page < 60; page++)
			memset(home + page * PAGE, 0, PAGE);
		hook = failing ? fails_to_remove : NULL;
		settle();
		hook = NULL;
		must(holds(0, 20, 1) && holds(20, 60, 0) && holds(60, pages, 1));
	}
}

/* ---- Discards ---------------------------------------------------------------------------------------------------------------------- */

static void discard(size_t page, size_t count)
{
	must(odf_region_discard(region, home + page * PAGE, count * PAGE) == 0);
	must(holds(page, page + count, 0));
}

static void discard_while_live(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	discard(10, 20);
	discard(pages - 1, 1);
	must(holds(0, 10, 1) && holds(30, pages - 1, 1));
}

static void discard_while_frozen(void)
{
	struct child child;

	make(2 * TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	child = child_with(holds_all_1);
	discard(10, 20);
	discard(50, 2);
	fill(100, 120, 2);
	discard(90, 20);
	discard(2 * TABLE - 10, 15);
	end(child);
	for (int settled = 0; settled < 2; settled++) {
		must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, 50, 1) && holds(50, 52, 0) && holds(52, 90, 1));
		must(holds(90, 110, 0) && holds(110, 120, 2) && holds(120, 2 * TABLE - 10, 1) && holds(2 * TABLE - 10, pages, 0));
		settle();
	}
}

/* Nobody looks at the zeros before the settle: a look alone would make pages of them, to be merged. */
static void discards_are_punched(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	for (int failing = 0; failing < 2; failing++) {
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		must(odf_region_discard(region, home + 10 * PAGE, 40 * PAGE) == 0);
		must(odf_region_discard(region, home + 100 * PAGE, 100 * PAGE) == 0); /* mapped, and remembered */
		hook = failing ? fails_to_remove : NULL;
		settle();
		hook = NULL;
		must(holds(0, 10, 1) && holds(10, 50, 0) && holds(50, 100, 1));
		must(holds(100, 200, 0) && holds(200, pages, 1));
	}
}

/* What is written after a discard is later than it. */
static void written_after_a_discard(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	discard(10, 40);
	fill(20, 30, 2);
	settle();
	must(holds(0, 10, 1) && holds(10, 20, 0) && holds(20, 30, 2) && holds(30, 50, 0) && holds(50, pages, 1));
}

/* A discard is done once, not again at the next settle. */
static void discard_is_forgotten(void)
{
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	discard(10, 40);
	settle();
	fill(10, 50, 1);
	fork_and_end(holds_all_1);
	discard(100, 20);
	settle();
	must(holds(0, 100, 1) && holds(100, 120, 0) && holds(120, pages, 1));
}

/* ---- Other threads ------------------------------------------------------------------------------------------------------------------ */

static atomic_int touched;

/* Pages that are private; that are in the file and not private; that are in neither. */
static const size_t meeting[] = { 3, 80, 50 };
static const uint64_t generations[] = { 2, 1, 0 };
static const size_t indices[] = { 0, 1, 2 };

static void *touch(void *index)
{
	size_t i = *(const size_t *)index, page = meeting[i];

	ours = true;
	must(holds(page, page + 1, generations[i]));
	*word(page) = 5ull << 32 | page;
	atomic_fetch_add(&touched, 1);
	return NULL;
}

/* Whoever writes to a page that is part of a step waits, finds what was there, and does not lose what it writes. */
static void threads_amid_a_step(void)
{
	pthread_t threads[3];

	need_userfaultfd();
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, 30, 1);
	fill(60, pages, 1);
	fork_and_end(is_child);
	fill(0, 40, 2);
	settle_until(IN_A_STEP, 1);
	for (int i = 0; i < 3; i++)
		must(pthread_create(&threads[i], NULL, touch, (void *)(uintptr_t)&indices[i]) == 0);
	wait_ms(50);
	must(atomic_load(&touched) == 0);
	must(settle_on() == 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 3; i++)
		must(holds(meeting[i], meeting[i] + 1, 5));
	must(holds(0, 3, 2) && holds(4, 40, 2) && holds(51, 60, 0) && holds(60, 80, 1) && holds(81, pages, 1));
}

/* They go on as if nothing had been tried. */
static void threads_after_a_failed_step(void)
{
	pthread_t threads[3];

	need_userfaultfd();
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, 30, 1);
	fill(60, pages, 1);
	fork_and_end(is_child);
	fill(0, 40, 2);
	scans_to_fail = 1;
	hook = fails_merging_scan;
	settle_until(IN_A_STEP, 1);
	for (int i = 0; i < 3; i++)
		must(pthread_create(&threads[i], NULL, touch, (void *)(uintptr_t)&indices[i]) == 0);
	wait_ms(50);
	must(settle_on() != 0);
	hook = NULL;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int again = 0; again < 2; again++) {
		for (int i = 0; i < 3; i++)
			must(holds(meeting[i], meeting[i] + 1, 5));
		must(holds(0, 3, 2) && holds(4, 40, 2) && holds(51, 60, 0) && holds(60, 80, 1) && holds(81, pages, 1));
		settle();
	}
}

#include "../cases/region_readers.h"

static bool no_userfaultfd(const struct call *call, long *result)
{
	if (call->number != SYS_userfaultfd && !(call->number == SYS_ioctl && call->b == (long)_IO(0xAA, 0x00)))
		return false;
	*result = -EPERM;
	return true;
}

static void *sleep_beside(void *unused)
{
	ours = true;
	wait_ms(100000);
	return unused;
}

/* Without userfaultfd a fork settles on its way, if little is written between two forks, and only in a process of one
 * thread. */
static void no_settling_beside_threads(void)
{
	pthread_t thread;

	hook = no_userfaultfd;
	make(4 * TABLE, 0);
	must(info().settling == ODF_REGION_SETTLES_AT_FORK);
	for (int beside = 0; beside < 2; beside++) {
		if (beside)
			must(pthread_create(&thread, NULL, sleep_beside, NULL) == 0);
		uint64_t before = info().settles;
		fill(0, pages, 1);
		for (int i = 0; i < (beside ? 200 : 2000) && (beside || info().settles == before); i++) {
			pid_t pid = odf_fork();
			if (pid == 0)
				_exit(0);
			must(status_of(pid) == 0);
			fill(0, 1, 1);
		}
		must(beside ? info().settles == before : info().settles > before);
	}
}

/* What takes too long for one fork is done by several, each of which finds its part FROZEN or LIVE. */
static void settles_in_slices(void)
{
	struct region_allowance none = { .all_pages = 2, .all_ns = 1 };
	unsigned slices = 0;
	uint64_t merged = 0;
	int error;

	hook = no_userfaultfd;
	make(8 * TABLE, 0);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	fill(0, pages, 1);
	must(region_order_settle(&none) == E2BIG && none.merged == 0);
	do {
		struct region_allowance slice = { .all_pages = 2, .all_ns = 1, .slice_ns = 1 };
		error = region_order_settle(&slice);
		if (error == EBUSY || error == EAGAIN) { /* the keeper gives back what is held twice */
			wait_ms(1);
			continue;
		}
		must(error == 0 || error == ETIME);
		must(slice.merged < pages);
		merged += slice.merged;
		slices++;
		must(holds(0, pages, 1));
		if (slices == 3)
			fork_and_end(holds_all_1); /* freezes the LIVE part again */
		must(slices < pages);
	} while (error != 0);
	must(slices > 3 && merged == pages && info().settles == 1);
	fork_and_end(holds_all_1);
}

/* ---- A region with holes and islands --------------------------------------------------------------------------------------------- */

/* Whole pages of the region for the heap. It settles by call only. */
static void make_bare(void)
{
	int error;

	region = region_make_bare(1, ODF_REGION_MANUAL, NULL, &error);
	must(region != NULL);
	home = odf_region_base(region);
	pages = 3 * TABLE;
}

typedef int range_function(struct odf_region *, size_t, size_t);

static int apply(range_function *function, size_t page, size_t count)
{
	uint64_t mask;
	int error;

	region_lock(&mask);
	error = function(region, page * PAGE, count * PAGE);
	region_unlock(&mask);
	return error;
}

static int take(size_t page, size_t count)
{
	return apply(region_take, page, count);
}

static int give(size_t page, size_t count)
{
	return apply(region_give, page, count);
}

static int cut(size_t page, size_t count)
{
	return apply(region_cut, page, count);
}

static void *lose(size_t page, size_t count)
{
	uint64_t mask;
	void *there;

	region_lock(&mask);
	must(region_lose_begin(region, page * PAGE, count * PAGE) == 0);
	there = mmap(home + page * PAGE, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	must(there != MAP_FAILED);
	region_lose_end(region, page * PAGE, count * PAGE);
	region_unlock(&mask);
	return there;
}

/* All of so many pages is that kind. */
static bool is_all(size_t page, size_t count, enum region_kind kind)
{
	struct region_extent run;
	uint64_t mask;

	region_lock(&mask);
	run = region_run_at(region, page * PAGE, (page + count) * PAGE);
	region_unlock(&mask);
	return run.kind == kind && run.length == count * PAGE;
}

/* By the kernel, which says so. */
static bool can_be_read(size_t page)
{
	int ends[2];
	ssize_t result;

	must(pipe2(ends, O_CLOEXEC) == 0);
	result = write(ends[1], home + page * PAGE, 1);
	close(ends[0]);
	close(ends[1]);
	return result == 1;
}

/* Memory in all pages, of generation 1, and the region is LIVE and has a keeper. */
static void make_filled(void)
{
	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	settle();
}

/* Settled by a part: the first step's pages, at most a table, are LIVE, the rest FROZEN and hidden, and no descendant is left. The page where that begins. */
static size_t settle_by_half(void)
{
	size_t border;

	fork_and_end(holds_all_1);
	fill(0, pages, 1);
	settle_until(BETWEEN_STEPS, 2);
	border = (region->live_from + region->live_length) % region->length / PAGE;
	must(border >= 10 && border <= TABLE);
	return border;
}

static bool holds_all_3(void)
{
	return holds(0, pages, 3);
}

static void bare_region_is_hidden(void)
{
	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	must(!raw_child_reads(0) && !raw_child_reads(pages - 1));
	fork_and_end(holds_all_1);
	settle();
	must(give(20, 5) == 0 && take(22, 2) == 0);
	must(!raw_child_reads(0) && !raw_child_reads(22));
}

static void holes_fault(void)
{
	make_filled();
	must(give(10, 20) == 0 && is_all(10, 20, REGION_HOLE));
	must(!can_be_read(10) && !can_be_read(29) && can_be_read(9) && can_be_read(30));
	must(take(10, 20) == 0);
	fill(10, 30, 1);
	fork_and_end(holds_all_1);
	must(give(10, 20) == 0 && is_all(10, 20, REGION_HOLE));
	must(!can_be_read(10) && !can_be_read(29) && can_be_read(9) && can_be_read(30));
	settle();
	must(!can_be_read(10) && !can_be_read(29) && can_be_read(9) && can_be_read(30));
	must(!raw_child_reads(10));
}

/* Nobody looks at it before the settle: a look alone would make pages of zeros, to be merged. */
static void memory_taken_again_is_zero(void)
{
	struct child child;

	make_filled();
	for (int failing = 0; failing < 2; failing++) {
		hook = failing ? fails_to_remove : NULL;
		must(give(10, 20) == 0);
		must(take(10, 20) == (failing ? EAGAIN : 0));
		hook = NULL;
		if (failing) { /* then by the next settle */
			fork_and_end(is_child);
			settle();
			must(take(10, 20) == 0);
		}
		must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, pages, 1));
		fill(10, 30, 1);
	}
	child = child_with(holds_all_1);
	must(give(10, 20) == 0 && take(10, 20) == 0 && give(40, 20) == 0);
	must(take(40, 20) == 0 && holds(40, 60, 0));
	fill(41, 43, 2);
	end(child);
	settle();
	must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, 40, 1) && holds(40, 41, 0) && holds(41, 43, 2) && holds(43, 60, 0));
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	must(give(10, 20) == 0);
	settle();
	must(take(10, 20) == 0);
	must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, pages, 1));
	fill(0, pages, 3); /* what the file had there was of generation 1 */
	fork_and_end(holds_all_3);
	settle();
	must(holds_all_3());
}

/* A hole that was one when the region froze has nothing at aside. */
static void holes_taken_while_frozen(void)
{
	make_filled();
	must(give(100, 50) == 0);
	fork_and_end(is_child);
	must(take(100, 50) == 0 && holds(100, 150, 0));
	fill(100, 120, 1);
	settle();
	must(holds(0, 120, 1) && holds(120, 150, 0) && holds(150, pages, 1));
	fill(120, 150, 1);
	fork_and_end(holds_all_1);
	settle();
	must(holds_all_1() && is_all(0, pages, REGION_MEMORY));
}

static void taken_amid_a_settle_is_hidden(void)
{
	make_filled();
	(void)settle_by_half();
	must(give(TABLE + 100, 20) == 0 && take(TABLE + 100, 20) == 0);
	must(!raw_child_reads(TABLE + 100));
	(void)settle_on();
	settle();
	must(!raw_child_reads(TABLE + 100) && holds(TABLE + 100, TABLE + 120, 0));
}

/* One call for what is LIVE in part and FROZEN in part. */
static void over_the_end_of_what_is_live(void)
{
	size_t border;

	make_filled();
	border = settle_by_half();
	must(give(border - 10, 20) == 0);
	must(!can_be_read(border - 1) && !can_be_read(border));
	(void)settle_on();
	settle();
	must(take(border - 10, 20) == 0 && holds(border - 10, border + 10, 0));
	fill(0, pages, 3);
	fork_and_end(holds_all_3);
	must(holds_all_3() && is_all(0, pages, REGION_MEMORY));
	fill(0, pages, 1);
	border = settle_by_half();
	must(cut(border - 10, 20) == 0 && holds_all_1());
	fill(border - 10, border + 10, 1);
	(void)settle_on();
	settle();
	must(holds_all_1());
	fork_and_end(holds_all_1);
	settle();
	must(holds_all_1() && is_all(border - 10, 20, REGION_ISLAND));
}

static void islands_are_private(void)
{
	struct child child;
	int status;
	pid_t pid;

	make_filled();
	must(cut(10, 20) == 0 && is_all(10, 20, REGION_ISLAND));
	for (int frozen = 0; frozen < 2; frozen++) {
		must(holds_all_1());
		pid = raw_clone();
		if (pid == 0) {
			must(holds(10, 30, 1));
			fill(10, 30, 7);
			_exit(0);
		}
		status = status_of(pid);
		must(status == 0 && holds_all_1());
		child = child_with(holds_all_1);
		fill(0, pages, 2);
		must(odf_region_settle(region) == EBUSY);
		end(child);
		settle();
		must(holds(0, pages, 2));
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		must(cut(500, 30) == 0); /* while it is FROZEN, over a border of tables */
	}
	settle();
	must(holds_all_1());
	fill(0, pages, 3); /* what the file has under the islands was of other generations */
	fork_and_end(holds_all_3);
	must(holds_all_3());
	settle();
	must(holds_all_3());
}

static void islands_amid_a_settle_are_inherited(void)
{
	make_filled();
	(void)settle_by_half();
	must(cut(TABLE + 100, 20) == 0);
	must(raw_child_reads(TABLE + 100) && !raw_child_reads(TABLE + 99));
	(void)settle_on();
	settle();
	must(raw_child_reads(TABLE + 100) && holds_all_1());
}

/* After a settle is complete, aside still shows what is under them. */
static void islands_given_back(void)
{
	make_filled();
	must(cut(10, 20) == 0);
	fork_and_end(holds_all_1);
	must(cut(100, 20) == 0);
	settle();
	must(give(10, 20) == 0 && give(100, 20) == 0);
	must(take(10, 20) == EAGAIN && is_all(10, 20, REGION_HOLE));
	fork_and_end(is_child);
	settle();
	must(take(10, 20) == 0 && take(100, 20) == 0);
	must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, 100, 1) && holds(100, 120, 0) && holds(120, pages, 1));
}

/* Given back while LIVE, and only at the second settle from then on can it be punched. */
static void islands_given_back_late(void)
{
	make_filled();
	(void)settle_by_half();
	must(cut(10, 20) == 0 && give(10, 20) == 0);
	(void)settle_on();
	settle();
	fork_and_end(is_child);
	settle();
	must(take(10, 20) == 0);
	must(holds(0, 10, 1) && holds(10, 30, 0) && holds(30, pages, 1));
}

static void what_waits_is_not_proposed(void)
{
	uint64_t mask;

	make_filled();
	must(cut(10, 20) == 0 && give(10, 20) == 0);
	region_lock(&mask);
	must(region_find_hole(region, 20 * PAGE, PAGE) == pages * PAGE);
	region_unlock(&mask);
	must(give(30, 20) == 0);
	region_lock(&mask);
	must(region_find_hole(region, 20 * PAGE, PAGE) == 30 * PAGE);
	must(region_find_hole(region, 21 * PAGE, PAGE) == pages * PAGE);
	must(region_find_hole(region, 10 * PAGE, 32 * PAGE) == 32 * PAGE);
	must(region_find_hole(region, (size_t)1 << 40, PAGE) == SIZE_MAX);
	region_unlock(&mask);
}

/* A child made past the library while the first table is LIVE and the rest FROZEN: it has the island, and the token. */
static struct child raw_child_with_island(size_t page, size_t count)
{
	struct child child;
	int ends[2];
	char byte;

	must(pipe2(ends, O_CLOEXEC) == 0);
	child.pid = raw_clone();
	if (child.pid == 0) {
		close(ends[1]);
		must(holds(page, page + 1, 1)); /* the others only later: what it has looked at is in its page tables */
		(void)!read(ends[0], &byte, 1);
		must(holds(page, page + count, 1));
		_exit(0);
	}
	must(child.pid > 0);
	close(ends[0]);
	child.go = ends[1];
	return child;
}

static bool live_part_is_1(void)
{
	return holds(0, 50, 1);
}

/* What an island shows of the file is not punched while such a child lives; nor does the answer that there is one show it what is LIVE. */
static void islands_of_raw_children(void)
{
	struct child raw, child;

	for (int lost = 0; lost < 2; lost++) {
		make_filled();
		must(cut(TABLE + 100, 20) == 0);
		(void)settle_by_half();
		raw = raw_child_with_island(TABLE + 100, 20);
		if (lost)
			(void)lose(TABLE + 100, 20);
		else
			must(give(TABLE + 100, 20) == 0);
		must(settle_on() == EAGAIN);
		must(odf_region_settle(region) == EBUSY);
		must(!raw_child_reads(0));
		child = child_with(live_part_is_1);
		fill(0, 50, 2);
		end(child);
		end(raw);
		settle();
		must(holds(0, 50, 2) && holds(50, TABLE + 100, 1) && holds(TABLE + 120, pages, 1));
	}
}

/* Their place is the program's, and what the file had there is given back. */
static void lost_memory_is_given_back(void)
{
	make_filled();
	must(region_resident(region) == pages * PAGE);
	memset(lose(10, 20), 7, 20 * PAGE);
	must(region_resident(region) == (pages - 20) * PAGE);
	fork_and_end(is_child);
	memset(lose(100, 20), 7, 20 * PAGE);
	must(is_all(100, 20, REGION_FOREIGN));
	settle();
	must(region_resident(region) == (pages - 40) * PAGE);
	must(cut(200, 20) == 0);
	memset(lose(200, 20), 7, 20 * PAGE);
	fork_and_end(is_child);
	settle();
	must(region_resident(region) == (pages - 60) * PAGE);
	for (size_t page = 0; page < pages; page++)
		if ((page >= 10 && page < 30) || (page >= 100 && page < 120) || (page >= 200 && page < 220))
			must(home[page * PAGE] == 7 && home[page * PAGE + PAGE - 1] == 7);
		else
			must(holds(page, page + 1, 1));
}

/* The program's call was refused after all: nothing can be seen of what was begun. */
static void nothing_lost(void)
{
	uint64_t mask;

	make_filled();
	for (int frozen = 0; frozen < 2; frozen++) {
		region_lock(&mask);
		must(region_lose_begin(region, 10 * PAGE, 20 * PAGE) == 0);
		region_unlock(&mask);
		must(holds_all_1() && is_all(0, pages, REGION_MEMORY));
		fork_and_end(holds_all_1);
	}
	settle();
	must(holds_all_1());
}

/* Written into it as if by as many calls, which would take too long. */
static void list_is_full(void)
{
	enum { MOST = REGION_EXTENTS };
	struct region_extents *extents;
	uint64_t mask;

	make_bare();
	must(take(0, MOST + 10) == 0);
	fill(MOST, MOST + 10, 1);
	must(cut(0, MOST - 2) == 0);
	region_lock(&mask);
	extents = region->extents;
	must(extents->count == 2);
	extents->list[MOST - 2] = extents->list[1];
	for (size_t page = 0; page < MOST - 2; page++)
		extents->list[page] = (struct region_extent){
			.from = page * PAGE, .length = PAGE, .kind = REGION_ISLAND, .protection = PROT_READ | (page % 2 ? PROT_WRITE : 0) };
	extents->count = MOST - 1;
	region_unlock(&mask);
	must(is_all(MOST - 3, 1, REGION_ISLAND) && is_all(MOST - 2, 12, REGION_MEMORY));
	must(give(MOST + 3, 1) == ENOMEM && holds(MOST, MOST + 10, 1) && is_all(MOST - 2, 12, REGION_MEMORY));
	must(cut(MOST + 3, 1) == ENOMEM && holds(MOST, MOST + 10, 1) && is_all(MOST - 2, 12, REGION_MEMORY));
	region_lock(&mask);
	must(region_lose_begin(region, (MOST + 8) * PAGE, PAGE) == ENOMEM);
	region_unlock(&mask);
	must(holds(MOST, MOST + 10, 1));
}

/* ---- Given up as a whole ------------------------------------------------------------------------------------------------------------ */

/* A child that is made as soon as it is given up, before its file is emptied. */
static void child_of_one_just_given_up(void)
{
	int ends[2];
	uint64_t mask;
	char byte;
	pid_t pid;

	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	must(pipe2(ends, O_CLOEXEC) == 0);
	region_lock(&mask);
	must(region_give_up(region, ODF_REASON_HEAP_PINS) == 0);
	pid = raw_clone();
	if (pid == 0) {
		(void)!read(ends[0], &byte, 1);
		_exit(holds_all_1() ? 0 : 1);
	}
	region_unlock(&mask);
	wait_ms(100);
	must(write(ends[1], "", 1) == 1 && status_of(pid) == 0 && holds_all_1());
	for (int tries = 0; region_resident(region) > 0; tries++) {
		must(tries < 5000);
		wait_ms(1);
	}
	must(holds_all_1());
}

static int leave(void)
{
	uint64_t mask;
	int error;

	region_lock(&mask);
	error = region_give_up(region, ODF_REASON_HEAP_PINS);
	region_unlock(&mask);
	return error;
}

static void leaves(void)
{
	struct child child;

	for (int state = 0; state < 3; state++) {
		make_bare();
		must(take(0, pages) == 0);
		fill(0, pages, 1);
		must(cut(20, 5) == 0);
		if (state > 0)
			fork_and_end(holds_all_1);
		if (state == 2)
			settle();
		child = (struct child){ 0, 0 };
		if (state == 1)
			child = child_with(holds_all_1);
		must(leave() == 0 && holds_all_1());
		fill(0, pages, 2);
		if (state == 1)
			end(child);
		must(give(10, 5) == 0 && !can_be_read(10));
		must(mmap(home + 10 * PAGE, 5 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == home + 10 * PAGE);
		fill(0, pages, 1);
		fork_and_end(holds_all_1);
		fill(0, pages, 2);
		must(holds(0, pages, 2));
		must(take(pages, 1) != 0 || !can_be_read(pages));
	}
}

/* A child made past the library has the island, and goes on seeing what it saw. */
static void leaves_a_raw_child_alone(void)
{
	struct child raw;

	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	must(cut(20, 20) == 0);
	raw = raw_child_with_island(20, 20);
	must(leave() == 0);
	fill(0, pages, 2);
	end(raw);
	must(holds(0, pages, 2));
}

/* ---- Its places, when they are another's ------------------------------------------------------------------------------------------ */

/* The template cannot stay whole. */
static bool fails_to_keep_template(const struct call *call, long *result)
{
	if (!ours || call->number != SYS_mremap || !(call->d & 4 /* MREMAP_DONTUNMAP */) || (char *)call->e < home || (char *)call->e >= home + pages * PAGE)
		return false;
	*result = -ENOMEM;
	return true;
}

static char *template_part;

/* Another thread's mapping comes to lie in the place that the template left. */
static bool takes_place_of_template(const struct call *call, long *result)
{
	if (fails_to_keep_template(call, result))
		return true;
	if (!ours || call->number != SYS_mremap || (call->d & 4) || template_part != NULL)
		return false;
	*result = real_call(call->number, call->a, call->b, call->c, call->d, call->e, 0);
	template_part = mmap((void *)call->a, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	must(template_part == (char *)call->a);
	memset(template_part, 77, PAGE);
	return true;
}

static void foreign_memory_in_the_template(void)
{
	make_filled();
	hook = takes_place_of_template;
	must(cut(10, 1) == 0);
	hook = NULL;
	for (int round = 0; round < 2; round++) {
		must(template_part[0] == 77 && template_part[PAGE - 1] == 77);
		fork_and_end(holds_all_1);
		must(template_part[0] == 77 && template_part[PAGE - 1] == 77);
		settle();
		must(template_part[0] == 77 && template_part[PAGE - 1] == 77);
	}
	must(holds_all_1());
}

static char *left_by_template;

static bool sees_template(const struct call *call, long *result)
{
	if (fails_to_keep_template(call, result))
		return true;
	if (ours && call->number == SYS_mremap && !(call->d & 4) && left_by_template == NULL)
		left_by_template = (char *)call->a;
	return false;
}

/* The place that the template leaves for an island is not to be had. */
static void place_of_the_template_is_kept(void)
{
	make_filled();
	hook = sees_template;
	must(cut(10, 1) == 0);
	hook = NULL;
	must(left_by_template != NULL);
	must(mmap(left_by_template, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST);
}

/* A place at aside where memory is LIVE is lost, and another's mapping is there now: a move to there was refused, for a loss that
 * then did not begin. */
static int lose_place(size_t page, size_t count)
{
	int error;

	hook = loses_aside;
	error = apply(region_lose_begin, page, count);
	must(foreign != NULL && foreign[0] == 77);
	return error;
}

static bool is_foreign_untouched(void)
{
	return foreign[0] == 77 && foreign[PAGE - 1] == 77;
}

/* Before the keeper has made another aside nothing is moved to there, nor is it unmapped with the region. */
static void nothing_is_moved_to_a_lost_place(void)
{
	int error;

	make_filled();
	must(lose_place(10, 5) == ENOMEM && region->aside_lost && is_all(0, pages, REGION_MEMORY));
	error = apply(region_lose_begin, 10, 1);
	must(is_foreign_untouched() && error == ENOMEM);
	error = cut(10, 1);
	must(is_foreign_untouched() && error == 0 && is_all(10, 1, REGION_ISLAND));
	must(give(10, 1) == 0);
	(void)take(10, 1);
	must(give(11, 2) == 0 && is_foreign_untouched());
	must(holds(0, 10, 1) && holds(13, pages, 1));
	must(region->aside_lost && odf_region_destroy(region) == 0);
	must(is_foreign_untouched());
	hook = NULL;
}

/* The same where a fork lost it, which gives the region up then. */
static void fork_with_a_lost_place(void)
{
	make_filled();
	must(cut(20, 5) == 0);
	hook = loses_aside;
	fork_and_end(holds_all_1);
	must(foreign != NULL && is_foreign_untouched());
	must_be_given_up();
	(void)cut(0, 1);
	must(is_foreign_untouched());
	(void)apply(region_lose_begin, 0, 1);
	must(is_foreign_untouched());
	(void)give(0, 1);
	(void)take(0, 1);
	must(is_foreign_untouched() && holds(1, pages, 1));
	must(odf_region_destroy(region) == 0 && is_foreign_untouched());
	hook = NULL;
}

/* The same between two steps of a settle, which does not go on with what it does not have. */
static void lost_place_amid_a_settle(void)
{
	for (int cuts = 0, error; cuts < 2; cuts++) {
		foreign = NULL;
		make_filled();
		(void)settle_by_half();
		if (cuts) { /* which is done all the same, by another way */
			hook = loses_aside;
			must(cut(0, 1) == 0 && foreign != NULL && foreign[0] == 77);
		} else {
			must(lose_place(0, 1) == ENOMEM && is_all(0, pages, REGION_MEMORY));
		}
		hook = NULL;
		error = settle_on();
		must(is_foreign_untouched() && error == EAGAIN);
		settle();
		must(is_foreign_untouched() && holds_all_1());
	}
}

static void lost_place_of_a_hole_amid_a_settle(void)
{
	make_filled();
	must(give(2 * TABLE, TABLE) == 0);
	fork_and_end(is_child);
	fill(0, 2 * TABLE, 1);
	settle_until(BETWEEN_STEPS, 2);
	hook = loses_aside;
	must(take(2 * TABLE, TABLE) != 0 && foreign != NULL);
	must(take(2 * TABLE, TABLE) != 0);
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	hook = NULL;
	(void)settle_on();
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77);
	settle();
	must(foreign[0] == 77 && foreign[PAGE - 1] == 77 && holds(0, 2 * TABLE, 1));
	must(take(2 * TABLE, TABLE) == 0 && holds(2 * TABLE, pages, 0));
}

/* ---- Its files, which are the keeper's ---------------------------------------------------------------------------------------------- */

/* Descriptors of that name in this process, or with all names of the library's (the path of this program may have the project's in it), of which the first
 * is found. */
static int count_files(const char *name, int *first)
{
	DIR *files = opendir("/proc/self/fd");
	struct dirent *entry;
	int count = 0;

	must(files != NULL);
	while ((entry = readdir(files)) != NULL) {
		char path[300], target[100] = "";
		snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
		if (readlink(path, target, sizeof target - 1) <= 0)
			continue;
		if ((name != NULL ? strstr(target, name) != NULL : strstr(target, "odfork-region") != NULL || strstr(target, "odfork-token") != NULL) &&
		    count++ == 0 && first != NULL)
			*first = atoi(entry->d_name);
	}
	closedir(files);
	return count;
}

static bool has_no_files(void)
{
	must(is_child() && holds_all_1());
	return count_files(NULL, NULL) == 0;
}

/* No number in the program's table is taken, not for a moment that its other threads could see: the highest that the program has stays the next one's neighbour. */
static void files_are_the_keepers(void)
{
	int before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;
	pid_t pid;

	must(before >= 0);
	make_bare();
	must(take(0, pages) == 0);
	fill(0, pages, 1);
	must(count_files(NULL, NULL) == 0);
	pid = fork(); /* libc's */
	if (pid == 0)
		_exit(has_no_files() ? 0 : 1);
	must(status_of(pid) == 0);
	fork_and_end(has_no_files);
	must(count_files(NULL, NULL) == 0);
	settle();
	after = open("/dev/null", O_RDONLY | O_CLOEXEC);
	must(holds_all_1() && after == before + 1);
}

/* Another region exists first, and with it the keeper, which cannot open files any more. */
static void files_of_a_late_region(void)
{
	odf_region *first = odf_region_create(PAGE, ODF_REGION_MANUAL);

	must(first != NULL);
	make_filled();
	must(count_files(NULL, NULL) == 0);
	fork_and_end(holds_all_1);
	settle();
	must(odf_region_destroy(first) == 0);
	fork_and_end(holds_all_1);
	settle();
}

/* ---- Steps without page tables --------------------------------------------------------------------------------------------------- */

static bool is_mapped_now(size_t page)
{
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	must(file >= 0);
	must(pread(file, &entry, sizeof entry, (off_t)((uintptr_t)(home + page * PAGE) / PAGE * sizeof entry)) == sizeof entry);
	close(file);
	return entry & ENTRY_PRESENT;
}

static void page_tables_come_home(void)
{
	need_userfaultfd();
	make_filled();
	for (int fresh = 0; fresh < 2; fresh++) {
		must(is_mapped_now(0));
		fork_and_end(holds_all_1);
		region_fresh_always = fresh;
		settle();
		must(is_mapped_now(0) == !fresh);
		must(holds_all_1());
	}
}

static bool fails_to_write(const struct call *call, long *result)
{
	if (call->number != SYS_pwrite64)
		return false;
	*result = call->c > (long)PAGE ? (long)PAGE : -ENOSPC; /* a part, or nothing */
	return true;
}

static void writes_to_the_file_fail(void)
{
	need_userfaultfd();
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, pages, 2);
	fork_and_end(is_child);
	fill(0, pages / 2, 1);
	fill(pages / 2 + 1, pages, 1);
	region_fresh_always = true;
	hook = fails_to_write;
	settle();
	hook = NULL;
	must(holds(0, pages / 2, 1) && holds(pages / 2, pages / 2 + 1, 2) && holds(pages / 2 + 1, pages, 1));
	fork_and_end(is_child);
}

/* ---- All of them --------------------------------------------------------------------------------------------------------------------- */

#define CASE(name)           { #name, name, false, false }
#define WITHOUT_TABLES(name) { #name "_without_tables", name, true, false }
#define TAKEN_OUT(name)      { #name "_taken_out", name, false, true }
static const struct {
	const char *name;
	void (*run)(void);
	bool fresh;     /* steps move no page tables home, as where forks come close */
	bool taken_out; /* and leave no page where it is, as where the kernel cannot protect it */
} cases[] = {
	CASE(settles),
	CASE(descendant_keeps_its_snapshot),
	CASE(younger_descendant),
	CASE(doubt_is_given_up),
	CASE(fork_between_steps),
	CASE(no_part_waits_for_ever),
	CASE(steps_are_small),
	CASE(fork_waits_for_the_step),
	CASE(forks_of_libc),
	CASE(no_settling_amid_a_fork),
	CASE(handler_forks_while_the_lock_is_held),
	CASE(child_is_a_program_too),
	CASE(raw_clone_while_live),
	CASE(raw_clone_amid_settle),
	CASE(raw_clone_while_frozen),
	CASE(raw_clone_while_the_lock_is_held),
	CASE(raw_clone_after_a_failed_fork),
	CASE(fork_fails_in_its_first_step),
	CASE(fork_fails_in_its_second_step),
	CASE(fork_of_what_cannot_be_frozen),
	CASE(fork_loses_home),
	CASE(foreign_memory_is_left_alone),
	CASE(foreign_memory_is_left_alone_amid_a_settle),
	CASE(fork_fails_between_two_halves),
	CASE(pages_that_cannot_be_told_apart),
	CASE(step_refused_in_the_end),
	CASE(swapped_pages_count),
	CASE(swapped_pages_are_asked_for),
	CASE(pages_of_zeros),
	CASE(discard_while_live),
	CASE(discard_while_frozen),
	CASE(discards_are_punched),
	CASE(written_after_a_discard),
	CASE(discard_is_forgotten),
	CASE(threads_amid_a_step),
	CASE(threads_after_a_failed_step),
	CASE(no_settling_beside_threads),
	CASE(settles_in_slices),
	CASE(bare_region_is_hidden),
	CASE(holes_fault),
	CASE(memory_taken_again_is_zero),
	CASE(holes_taken_while_frozen),
	CASE(taken_amid_a_settle_is_hidden),
	CASE(over_the_end_of_what_is_live),
	CASE(islands_are_private),
	CASE(islands_amid_a_settle_are_inherited),
	CASE(islands_given_back),
	CASE(islands_given_back_late),
	CASE(what_waits_is_not_proposed),
	CASE(islands_of_raw_children),
	CASE(lost_memory_is_given_back),
	CASE(nothing_lost),
	CASE(list_is_full),
	CASE(child_of_one_just_given_up),
	CASE(leaves),
	CASE(leaves_a_raw_child_alone),
	CASE(foreign_memory_in_the_template),
	CASE(place_of_the_template_is_kept),
	CASE(nothing_is_moved_to_a_lost_place),
	CASE(fork_with_a_lost_place),
	CASE(lost_place_amid_a_settle),
	CASE(lost_place_of_a_hole_amid_a_settle),
	CASE(files_are_the_keepers),
	CASE(files_of_a_late_region),
	CASE(page_tables_come_home),
	CASE(writes_to_the_file_fail),
	WITHOUT_TABLES(settles),
	WITHOUT_TABLES(fork_between_steps),
	WITHOUT_TABLES(raw_clone_amid_settle),
	WITHOUT_TABLES(pages_that_cannot_be_told_apart),
	WITHOUT_TABLES(step_refused_in_the_end),
	WITHOUT_TABLES(pages_of_zeros),
	WITHOUT_TABLES(discards_are_punched),
	WITHOUT_TABLES(written_after_a_discard),
	WITHOUT_TABLES(threads_amid_a_step),
	WITHOUT_TABLES(threads_after_a_failed_step),
	WITHOUT_TABLES(lost_place_amid_a_settle),
	CASE(readers_amid_a_step),
	WITHOUT_TABLES(readers_amid_a_step),
	CASE(zeros_before_the_memory_goes),
	WITHOUT_TABLES(zeros_before_the_memory_goes),
	CASE(steps_merge_what_is_private),
	CASE(nothing_stays_protected),
	TAKEN_OUT(settles),
	TAKEN_OUT(fork_between_steps),
	TAKEN_OUT(raw_clone_amid_settle),
	TAKEN_OUT(pages_that_cannot_be_told_apart),
	TAKEN_OUT(step_refused_in_the_end),
	TAKEN_OUT(pages_of_zeros),
	TAKEN_OUT(discards_are_punched),
	TAKEN_OUT(written_after_a_discard),
	TAKEN_OUT(threads_amid_a_step),
	TAKEN_OUT(threads_after_a_failed_step),
	TAKEN_OUT(lost_place_amid_a_settle),
};
#define CASES (sizeof cases / sizeof *cases)

static unsigned patience(void)
{
	const char *seconds = getenv("ODF_CASE_SECONDS");

	return seconds == NULL ? 20 : (unsigned)atoi(seconds);
}

static __attribute__((noreturn)) void run(size_t which)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	signal(SIGPIPE, SIG_IGN);
	alarm(patience());
	must(odf_capabilities_get(&capabilities) == 0);
	if (capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE)
		cannot_be_done_here(odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
	region_fresh_always = cases[which].fresh;
	region_take_out_always = cases[which].taken_out;
	cases[which].run();
	_exit(0);
}

static volatile pid_t running;

/* From outside, where the library has signals blocked. */
static void end_of_patience(int unused)
{
	(void)unused;
	kill(running, SIGKILL);
}

int main(int argc, char **argv)
{
	int failed = 0;

	ours = true;
	region_zero_pages_never = true; /* they are given back in: gives_back, and every second seed of the models */
	unsetenv("ODFORK_UFFD_FD");
	for (size_t i = 0; argc == 2 && i < CASES; i++)
		if (strcmp(argv[1], cases[i].name) == 0)
			run(i);
	if (argc != 1) {
		fprintf(stderr, "no such case\n");
		return 2;
	}
	printf("1..%zu\n", CASES);
	for (size_t i = 0; i < CASES; i++) {
		int status;
		pid_t pid;
		fflush(stdout);
		pid = fork();
		if (pid == 0)
			run(i);
		running = pid;
		signal(SIGALRM, end_of_patience);
		alarm(patience() + 2);
		status = status_of(pid);
		alarm(0);
		signal(SIGALRM, SIG_DFL);
		if (WIFSIGNALED(status))
			printf("# %s\n", WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGKILL ? "hangs" : strsignal(WTERMSIG(status)));
		failed += status != 0 && status != 77 << 8;
		printf("%s %zu - %s%s\n", status == 0 || status == 77 << 8 ? "ok" : "not ok", i + 1, cases[i].name,
		       status == 77 << 8 ? " # SKIP not here" : "");
	}
	return failed > 0;
}
