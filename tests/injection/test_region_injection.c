/* SPDX-License-Identifier: MIT
 *
 * System calls of the region code fail, in the caller, in the keeper and in children. The library is built a second time with its system calls
 * routed through here. A scenario that visits every state is run over and over, each time with another failure: the nth call of one number, once or
 * many times, with each errno that it can have. The call is not made; in a further variant of those that replace a mapping (MREMAP_FIXED, MAP_FIXED) the
 * old one is gone all the same, as older kernels leave it. By number and not by order over all, since the keeper makes its calls beside the others.
 *
 * Whatever fails: every byte is right in the process and in every child, always. A region is not made, with an errno; a fork fails with ENOMEM; a settle
 * says why and leaves the region FROZEN. When the failure is over, forks work and the region becomes LIVE, unless it says itself that it never
 * will. And nothing is left behind: no file mapped, no thread, no descriptor, no memory. Except for what was at aside when a move to there failed, as
 * nobody can tell whose it is then; the summary counts these. After a failure for good mappings and memory are not counted.
 *
 *   test_region_injection                 everything
 *   test_region_injection SCENARIO [MODES]          one of them: 0 by call, 1 with a thread beside; each call once, on a machine that lacks something
 *   test_region_injection SCENARIO MODES NUMBER NTH ERRNO TIMES UNMAP     one failure, as a report names it
 *
 * Scenarios 2 and 3 do this to the heap's region, with holes, islands and other memory in it; in a test run only some of their calls fail, by hand all.
 *
 * Never failed, because it cannot fail as it is used, or because nobody could carry on: rt_sigprocmask, futex, close, getpid, gettid, tgkill, nanosleep,
 * sched_yield, munmap (whole mappings of ours; but the trimming of a new reservation does fail here), UFFDIO_WAKE; UFFDIO_UNREGISTER fails
 * with ENOMEM only. With a thread beside, the variant that unmaps is left out: home is not there between that failure and its repair, and no
 * code could prevent it (the kernel fails so only without memory for its own structures).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src/region/region.h"
#include "../../src/sys/clone.h"
#include "../support/real_call.h"
#include "../support/support.h"

#define PAGE        ((size_t)4096)
#define TABLE       ((size_t)512 * PAGE)
#define SCAN        _IOWR('f', 16, uint64_t[12])
#define IOC_NEW     _IO(0xAA, 0x00)
#define FAKE_CLONE  1000 /* clone_child, among the numbers */
#define NUMBERS     1024
#define MANY        150 /* "for good": more often than anything is tried again, but lifted for whoever must go on for ever */
#define PATIENCE_MS 2000

/* Machines that lack something. */
enum { NO_SCAN = 1, NO_CLOSE_RANGE = 2, NO_USERFAULT = 4 };

long sys_call6(long number, long a, long b, long c, long d, long e, long f);
long __wrap_clone_child(const struct clone_request *request);
long __real_clone_child(const struct clone_request *request);

/* Shared with all processes of a run. */
static struct control {
	atomic_bool armed;
	unsigned modes;
	long number;
	int error;
	int times_at_first;
	bool unmap;
	bool trimming; /* munmap may fail: a reservation is being made */
	atomic_int countdown, times;
	atomic_int failures;
	atomic_int counts[NUMBERS];
	const char *volatile where;
	atomic_bool told;
	char text[512];
	/* Over all runs. */
	atomic_int no_region, no_fork, absent, never, not_settled, given_up;
} *control;

static __thread bool ours; /* not the keeper's */

/* ---- The calls --------------------------------------------------------------------------------------------------------------- */

static bool infallible(long number, long b)
{
	switch (number) {
	case SYS_rt_sigprocmask:
	case SYS_futex:
	case SYS_close:
	case SYS_getpid:
	case SYS_gettid:
	case SYS_tgkill:
	case SYS_nanosleep:
	case SYS_sched_yield:
	case SYS_getppid:
	case SYS_wait4:
	case SYS_exit_group:
		return true;
	case SYS_munmap:
		return !control->trimming || !ours;
	case SYS_ioctl:
		return b == (long)UFFDIO_WAKE || (b == (long)UFFDIO_UNREGISTER && control->error != ENOMEM);
	default:
		return false;
	}
}

static bool fails(long number, long b)
{
	if (control == NULL || !atomic_load(&control->armed) || infallible(number, b))
		return false;
	atomic_fetch_add(&control->counts[number], 1);
	if (number != control->number || atomic_fetch_sub(&control->countdown, 1) > 1 || atomic_fetch_sub(&control->times, 1) <= 0)
		return false;
	atomic_fetch_add(&control->failures, 1);
	return true;
}

/* The keeper stands still between two steps of a settle, where it does not hold the lock: before it looks how far the next one goes. */
static struct {
	atomic_int countdown;
	bool reached;
	sem_t arrived, resume;
} halt;

static void halt_between_steps(long number, long b, long c)
{
	const uint64_t *scan = (const uint64_t *)(uintptr_t)c;

	if (ours || number != SYS_ioctl || b != (long)SCAN || scan[7] == 0 /* max_pages: a merge */ || atomic_load(&halt.countdown) == 0 ||
	    atomic_fetch_sub(&halt.countdown, 1) != 1)
		return;
	halt.reached = true;
	sem_post(&halt.arrived);
	while (sem_wait(&halt.resume) != 0)
		;
}

static long lacking(long number, long b)
{
	if ((control->modes & NO_SCAN) && number == SYS_ioctl && b == (long)SCAN)
		return ENOTTY;
	if ((control->modes & NO_CLOSE_RANGE) && number == SYS_close_range)
		return ENOSYS;
	if ((control->modes & NO_USERFAULT) && (number == SYS_userfaultfd || (number == SYS_ioctl && b == (long)IOC_NEW)))
		return EPERM;
	return 0;
}

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	if (control == NULL)
		return real_call(number, a, b, c, d, e, f);
	if (lacking(number, b) != 0)
		return -lacking(number, b);
	halt_between_steps(number, b, c);
	if (!fails(number, b))
		return real_call(number, a, b, c, d, e, f);
	if (control->unmap && number == SYS_mremap && (d & MREMAP_FIXED))
		(void)real_call(SYS_munmap, e, c, 0, 0, 0, 0);
	if (control->unmap && number == SYS_mmap && (d & MAP_FIXED))
		(void)real_call(SYS_munmap, a, b, 0, 0, 0, 0);
	return -(long)control->error;
}

long __wrap_clone_child(const struct clone_request *request)
{
	return fails(FAKE_CLONE, 0) ? -(long)control->error : __real_clone_child(request);
}

/* ---- What a run says ----------------------------------------------------------------------------------------------------------- */

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void die(const char *format, ...)
{
	char text[400];
	va_list arguments;

	atomic_store(&control->armed, false);
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (!atomic_exchange(&control->told, true))
		snprintf(control->text, sizeof control->text, "%s: %s", control->where, text);
	_exit(1);
}

#define AT(place) (control->where = (place))

static void lift(void)
{
	atomic_store(&control->times, 0);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void wait_a_moment(void)
{
	struct timespec time = { 0, 300000 };

	nanosleep(&time, NULL);
}

/* ---- Regions and what must be in them ----------------------------------------------------------------------------------------- */

#define MOST_PAGES (2 * TABLE / PAGE + 37)

/* Each page holds its value in three words, and else zeros; but TOUCHED_WORD of the first TOUCHED pages belongs to the thread beside. */
struct area {
	odf_region *region;
	char *base;
	size_t pages;
	uint64_t value[MOST_PAGES];
	bool used[MOST_PAGES];
	bool hole[MOST_PAGES]; /* of a bare region */
};

enum { SMALL, BIG, AREAS };
static struct area areas[AREAS] = { { .pages = 5 }, { .pages = MOST_PAGES } };

#define TOUCHED      (TABLE / PAGE + 100)
#define TOUCHED_WORD 64

static volatile uint64_t *word_at(const struct area *area, size_t page, size_t offset)
{
	return (volatile uint64_t *)(void *)(area->base + page * PAGE + offset);
}

static const size_t words[] = { 0, PAGE / 2, PAGE - sizeof(uint64_t) };
#define WORDS (sizeof words / sizeof *words)

static void compare(const char *who)
{
	for (size_t i = 0; i < AREAS; i++) {
		struct area *area = &areas[i];
		if (area->region == NULL)
			continue;
		for (size_t page = 0; page < area->pages; page++)
			for (size_t word = 0; word < WORDS && !area->hole[page] && (area->used[page] || page % 16 == 0); word++)
				if (*word_at(area, page, words[word]) != area->value[page])
					die("%s: page %zu of the %s region has %llx at %zu, not %llx", who, page, i == SMALL ? "small" : "big",
					    (unsigned long long)*word_at(area, page, words[word]), words[word],
					    (unsigned long long)area->value[page]);
	}
}

static void put(struct area *area, size_t page, uint64_t value)
{
	if (area->region == NULL || area->hole[page])
		return;
	area->value[page] = value << 32 | page << 8 | 1;
	area->used[page] = true;
	for (size_t word = 0; word < WORDS; word++)
		*word_at(area, page, words[word]) = area->value[page];
}

static void discard(struct area *area, size_t page, size_t count)
{
	int error = odf_region_discard(area->region, area->base + page * PAGE, count * PAGE);

	if (error != 0)
		die("discard: %s", strerror(error));
	memset(&area->value[page], 0, count * sizeof area->value[0]);
}

static odf_region_info info_of(const struct area *area)
{
	odf_region_info info = ODF_REGION_INFO_INIT;
	int error = odf_region_info_get(area->region, &info);

	if (error != 0)
		die("info: %s", strerror(error));
	return info;
}

static bool failed_yet(void)
{
	return atomic_load(&control->failures) > 0;
}

static void create(struct area *area, unsigned flags)
{
	for (int tries = 0; area->region == NULL; tries++) {
		errno = 0;
		control->trimming = true;
		area->region = odf_region_create(area->pages * PAGE, flags);
		control->trimming = false;
		if (area->region != NULL)
			break;
		atomic_fetch_add(&control->no_region, 1);
		if (errno == 0)
			die("no region, no errno");
		if (!failed_yet() || tries == 1)
			die("no region: %s", strerror(errno));
		lift();
	}
	area->base = odf_region_base(area->region);
	memset(area->value, 0, sizeof area->value);
	memset(area->used, 0, sizeof area->used);
}

/* ---- Children -------------------------------------------------------------------------------------------------------------------- */

struct child {
	pid_t pid;
	int go;
};

enum { IS_ABSENT = 3 };

static void live_with_holes(void);
static void discard_memory(size_t from, size_t count);
static bool bare; /* there is one region only, for the heap */
static void end_if_given_up(void);

/* The heap puts nothing into a region that has given itself up, and what was there is ordinary memory: here and in children, and it stays that. */
static void end_if_given_up(void)
{
	odf_reason reason;
	int status;
	pid_t pid;

	if (!bare || areas[BIG].region == NULL || !region_has_left(areas[BIG].region, &reason))
		return;
	if (!failed_yet())
		die("given up without a cause");
	compare("given up");
	lift();
	pid = fork();
	if (pid == 0) {
		compare("child of one that is given up");
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		die("no fork after it was given up");
	for (size_t page = 0; page < areas[BIG].pages; page += 13)
		put(&areas[BIG], page, 103);
	wait_a_moment();
	compare("given up, in the end");
	atomic_fetch_add(&control->never, 1);
	_exit(0);
}

static void live_as_child(int go, pid_t parent)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	for (size_t i = 0; i < AREAS; i++)
		if (areas[i].region != NULL && info_of(&areas[i]).state == ODF_REGION_ABSENT)
			_exit(failed_yet() ? IS_ABSENT : 4);
	compare("child at first");
	for (size_t page = 0; page < areas[BIG].pages; page += 13)
		put(&areas[BIG], page, 101);
	put(&areas[SMALL], 1, 102);
	if (bare) {
		live_with_holes();
	} else {
		discard(&areas[BIG], 30, 20);
		discard(&areas[BIG], 300, 2);
		discard(&areas[SMALL], 0, 1);
	}
	compare("child after its own writes");
	(void)!read(go, &byte, 1);
	compare("child in the end");
	_exit(0);
}

/* One try. */
static struct child try_snapshot(bool by_libc)
{
	struct child child = { -1, -1 };
	int ends[2], error;
	pid_t parent = getpid();

	if (pipe2(ends, O_CLOEXEC) != 0)
		die("pipe: %s", strerror(errno));
	child.pid = by_libc ? fork() : odf_fork();
	error = errno;
	if (child.pid == 0) {
		close(ends[1]);
		live_as_child(ends[0], parent);
	}
	close(ends[0]);
	child.go = ends[1];
	if (child.pid < 0) {
		close(ends[1]);
		if (error != ENOMEM || !failed_yet())
			die("fork: %s", strerror(error));
		atomic_fetch_add(&control->no_fork, 1);
		compare("parent after a fork that failed");
	}
	return child;
}

/* True if it had the memory. */
static bool end_of(struct child child)
{
	int status;

	if (child.pid < 0)
		return false;
	(void)!write(child.go, "", 1); /* a younger child may hold the pipe as well */
	close(child.go);
	while (waitpid(child.pid, &status, 0) != child.pid)
		if (errno != EINTR)
			die("waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		die("child: signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) == IS_ABSENT) {
		atomic_fetch_add(&control->absent, 1);
		return false;
	}
	if (WEXITSTATUS(status) != 0)
		die("child: exit %d", WEXITSTATUS(status));
	return true;
}

/* Until there is one; a failure for good is lifted when it has been felt. */
static struct child snapshot(bool by_libc)
{
	uint64_t deadline = now_ms() + PATIENCE_MS;
	struct child child = try_snapshot(by_libc);

	for (int tries = 0; child.pid < 0; tries++) {
		if (tries == 2)
			lift();
		if (now_ms() > deadline)
			die("forks fail for ever");
		wait_a_moment(); /* the keeper is at it */
		child = try_snapshot(by_libc);
	}
	return child;
}

/* ---- Settling ---------------------------------------------------------------------------------------------------------------------- */

static bool never_settles(const struct area *area)
{
	if (info_of(area).settling != ODF_REGION_SETTLES_NEVER)
		return false;
	if (!failed_yet())
		die("never settles, for no reason");
	atomic_fetch_add(&control->never, 1);
	return true;
}

/* LIVE is what it must become. */
static void settle(struct area *area)
{
	uint64_t deadline = now_ms() + PATIENCE_MS;
	int error;

	for (int tries = 0; area->region != NULL; tries++) {
		error = odf_region_settle(area->region);
		if (error == 0)
			break;
		if (error == ESRCH && bare) /* the next fork tries again to make a keeper */
			(void)end_of(snapshot(false));
		if (never_settles(area))
			return;
		if (!failed_yet() && error != EBUSY && error != EAGAIN)
			die("settle: %s", strerror(error));
		atomic_fetch_add(&control->not_settled, 1);
		if (tries == 2)
			lift();
		if (now_ms() > deadline)
			die("does not settle: %s", strerror(error));
		wait_a_moment();
	}
	/* A fork that could not be frozen may have had it given up, which is tried again until it goes. */
	if (area->region != NULL && info_of(area).state != ODF_REGION_LIVE && !never_settles(area))
		die("settled and not LIVE: %d", (int)info_of(area).state);
}

static void *settle_beside(void *area)
{
	ours = true;
	(void)odf_region_settle(((struct area *)area)->region);
	sem_post(&halt.arrived);
	return NULL;
}

/* A fork comes between two steps. The keeper stands still meanwhile, so the fork has one try. */
static void interrupted_settle(struct area *area, int after)
{
	struct child child = { -1, -1 };
	pthread_t thread;

	halt.reached = false;
	sem_init(&halt.arrived, 0, 0);
	sem_init(&halt.resume, 0, 0);
	atomic_store(&halt.countdown, after + 1);
	if (pthread_create(&thread, NULL, settle_beside, area) != 0)
		die("no thread");
	while (sem_wait(&halt.arrived) != 0)
		;
	if (halt.reached) {
		child = try_snapshot(false); /* nothing here may ask the keeper */
		put(area, 3, 55);
		put(area, 700, 56);
		sem_post(&halt.resume);
	} else if (!failed_yet() && !(control->modes & NO_SCAN)) {
		die("the settle was not caught");
	}
	pthread_join(thread, NULL);
	atomic_store(&halt.countdown, 0);
	compare("after an interrupted settle");
	if (bare) {
		discard_memory(20, 40);
	} else {
		discard(area, 20, 40); /* partly LIVE, perhaps */
		discard(area, 505, 300);
	}
	put(area, 600, 57);
	(void)end_of(child);
	compare("after the interrupting child");
}

/* ---- Scenario 0: everything by call ------------------------------------------------------------------------------------------------ */

/* Densely: a step merges part of a table. */
static void fill(uint64_t value, bool densely)
{
	for (size_t page = 0; page < areas[SMALL].pages; page++)
		put(&areas[SMALL], page, value);
	for (size_t page = 0; page < areas[BIG].pages; page++)
		if (page % 32 < (densely ? 18 : 2))
			put(&areas[BIG], page, value);
}

static void must_not_settle(void)
{
	if (odf_region_settle(areas[BIG].region) == 0)
		die("settled although a child maps the snapshot");
}

static void by_call(void)
{
	struct child child, younger;

	AT("create");
	create(&areas[SMALL], ODF_REGION_MANUAL);
	create(&areas[BIG], ODF_REGION_MANUAL);
	AT("fill");
	fill(1, false);
	compare("LIVE");
	AT("discard while LIVE");
	discard(&areas[BIG], 40, 9);
	discard(&areas[SMALL], 2, 1);
	put(&areas[BIG], 41, 7);
	compare("LIVE");
	AT("first fork");
	child = snapshot(false);
	AT("FROZEN");
	compare("FROZEN");
	fill(2, false);
	discard(&areas[BIG], 60, 30);
	put(&areas[BIG], 70, 8);
	discard(&areas[BIG], 200, 3);
	discard(&areas[BIG], 500, 30); /* over a table's end */
	discard(&areas[BIG], MOST_PAGES - 17, 17);
	discard(&areas[SMALL], 3, 2);
	compare("FROZEN, written");
	AT("settle under descendants");
	must_not_settle();
	(void)info_of(&areas[BIG]);
	compare("FROZEN, asked");
	discard(&areas[BIG], 61, 9); /* zeros over zeros */
	younger = snapshot(false); /* of the same freeze, after the question */
	must_not_settle();
	(void)end_of(child);
	must_not_settle();
	fill(6, false);
	(void)end_of(younger);
	AT("first settle");
	settle(&areas[BIG]);
	compare("settled");
	settle(&areas[SMALL]);
	compare("settled");
	discard(&areas[BIG], 100, 9);
	put(&areas[BIG], 101, 9);
	AT("libc's fork");
	child = snapshot(true);
	fill(3, true);
	discard(&areas[BIG], 550, 20);
	(void)end_of(child);
	compare("after libc's fork");
	AT("interrupted settle");
	interrupted_settle(&areas[BIG], 1);
	AT("settle of the rest");
	settle(&areas[BIG]);
	compare("settled from the middle");
	AT("fork over the seam"); /* LIVE does not begin at home's start now */
	fill(4, false);
	child = snapshot(false);
	fill(5, true);
	(void)end_of(child);
	interrupted_settle(&areas[BIG], 2);
	compare("after a second interrupted settle");
	AT("end");
	settle(&areas[SMALL]);
	settle(&areas[BIG]);
	compare("settled");
}

/* ---- Scenario 1: the keeper settles by itself, beside a thread that never stops ---------------------------------------------------- */

static atomic_bool stop_touching;

static void *touch(void *unused)
{
	static uint64_t expected[TOUCHED];

	(void)unused;
	ours = true;
	for (uint64_t round = 1; !atomic_load(&stop_touching); round++)
		for (size_t page = 0; page < TOUCHED; page += 1 + round % 7) {
			volatile uint64_t *word = word_at(&areas[BIG], page, TOUCHED_WORD);
			if (*word != expected[page])
				die("the thread beside lost what it wrote to page %zu: %llu, not %llu", page, (unsigned long long)*word,
				    (unsigned long long)expected[page]);
			if (page % 3 != 0)
				*word = expected[page] = round << 32 | page;
			if (round % 8 == 0 && page % 64 == 0)
				sched_yield(); /* there may be one core only */
		}
	return NULL;
}

static void become_live(struct area *area)
{
	uint64_t deadline = now_ms() + PATIENCE_MS;

	while (info_of(area).state != ODF_REGION_LIVE) {
		if (info_of(area).settling != ODF_REGION_SETTLES_ALWAYS)
			return; /* nor may it be settled beside the thread */
		if (failed_yet())
			lift();
		if (failed_yet() && odf_region_settle(area->region) == 0) /* sooner than the keeper tries again */
			return;
		if (now_ms() > deadline)
			die("does not settle by itself");
		wait_a_moment();
	}
}

static void by_itself(void)
{
	struct child child;
	pthread_t thread;

	AT("create");
	create(&areas[SMALL], 0);
	create(&areas[BIG], 0);
	fill(1, true);
	atomic_store(&stop_touching, false);
	if (pthread_create(&thread, NULL, touch, NULL) != 0)
		die("no thread");
	for (int round = 0; round < 3; round++) {
		AT("fork");
		child = snapshot(round == 1);
		AT("FROZEN");
		fill((uint64_t)round + 2, round == 1);
		discard(&areas[BIG], TOUCHED + 10, 50);
		put(&areas[BIG], TOUCHED + 11, 9);
		compare("FROZEN");
		(void)end_of(child);
		AT("settle");
		if (round < 2)
			become_live(&areas[BIG]);
		discard(&areas[BIG], TOUCHED + 200, 50);
		compare("LIVE");
	}
	AT("end");
	become_live(&areas[BIG]);
	atomic_store(&stop_touching, true);
	pthread_join(thread, NULL);
	compare("after the thread");
	settle(&areas[BIG]);
	settle(&areas[SMALL]);
}

/* ---- Scenario 2: a region with holes, islands and other memory in it; its keeper comes with the first fork. 3: has come before ------------ */

typedef int range_function(struct odf_region *, size_t, size_t);

static struct region_extent run_at(size_t page)
{
	return region_run_at(areas[BIG].region, page * PAGE, (page + 1) * PAGE);
}

/* Tries until it is done; what was done and what was not the list must say. `must_be`: what becomes of it. */
static void change(range_function *function, const char *name, size_t from, size_t count, enum region_kind must_be)
{
	struct area *area = &areas[BIG];
	bool done = false;

	for (int tries = 0; !done; tries++) {
		odf_reason reason;
		uint64_t mask;
		int error;
		end_if_given_up();
		region_lock(&mask);
		if (region_has_left(area->region, &reason)) { /* since that look, by the keeper */
			region_unlock(&mask);
			continue;
		}
		error = function(area->region, from * PAGE, count * PAGE);
		for (size_t page = from; page < from + count; page++) {
			struct region_extent run = run_at(page);
			bool was_hole = area->hole[page];
			area->hole[page] = run.kind == REGION_HOLE;
			if (was_hole != area->hole[page]) /* zero when it is memory again */
				area->value[page] = 0;
			if (was_hole || area->hole[page])
				area->used[page] = true;
			if (error == 0 && run.kind != must_be && run.kind != REGION_FOREIGN && !(was_hole && must_be == REGION_ISLAND) &&
			    !(run.kind == REGION_ISLAND && must_be == REGION_MEMORY))
				die("%s: page %zu is of kind %d", name, page, run.kind);
		}
		region_unlock(&mask);
		compare(name);
		done = error == 0;
		if (!done && !failed_yet())
			die("%s: %s", name, strerror(error));
		if (error == EAGAIN)
			break; /* not there now */
		if (tries == 2)
			lift();
		if (tries > 2000)
			die("%s fails for ever: %s", name, strerror(error));
		if (!done)
			wait_a_moment(); /* the keeper may have to make something new */
	}
}

static void take(size_t from, size_t count)
{
	change(region_take, "take", from, count, REGION_MEMORY);
}

static void give(size_t from, size_t count)
{
	change(region_give, "give", from, count, REGION_HOLE);
}

static void cut(size_t from, size_t count)
{
	change(region_cut, "cut", from, count, REGION_ISLAND);
}

static void lose(size_t from, size_t count)
{
	struct area *area = &areas[BIG];

	for (int tries = 0;; tries++) {
		uint64_t mask;
		void *there;
		int error;
		end_if_given_up();
		region_lock(&mask);
		error = region_lose_begin(area->region, from * PAGE, count * PAGE);
		if (error != 0) {
			region_unlock(&mask);
			compare("what was not lost");
			if (!failed_yet() || tries > 2000)
				die("lose: %s", strerror(error));
			if (tries == 2)
				lift();
			wait_a_moment();
			continue;
		}
		there = (void *)real_call(SYS_mmap, (long)area->base + (long)(from * PAGE), (long)(count * PAGE), PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (there != area->base + from * PAGE)
			die("no memory");
		region_lose_end(area->region, from * PAGE, count * PAGE);
		for (size_t page = from; page < from + count; page++) {
			if (run_at(page).kind != REGION_FOREIGN)
				die("lost, and of kind %d", run_at(page).kind);
			area->value[page] = 0;
			area->used[page] = true;
			area->hole[page] = false;
		}
		region_unlock(&mask);
		break;
	}
	compare("after a loss");
}

/* Of what is memory in this range. */
static void discard_memory(size_t from, size_t count)
{
	struct area *area = &areas[BIG];

	for (size_t page = from; page < from + count; page++)
		if (run_at(page).kind == REGION_MEMORY)
			discard(area, page, 1);
	compare("after discards");
}

static void live_with_holes(void)
{
	cut(30, 10);
	give(60, 20);
	take(64, 4);
	put(&areas[BIG], 65, 103);
	lose(90, 3);
	discard_memory(300, 2);
}

static void make_bare(void)
{
	struct area *area = &areas[BIG];

	bare = true;
	for (int tries = 0; area->region == NULL; tries++) {
		int error = 0;
		control->trimming = true;
		area->region = region_make_bare(1, ODF_REGION_MANUAL, NULL, &error);
		control->trimming = false;
		if (area->region != NULL)
			break;
		atomic_fetch_add(&control->no_region, 1);
		if (error == 0 || !failed_yet() || tries > 3)
			die("no region: %s", strerror(error));
		if (tries == 1)
			lift();
	}
	area->base = odf_region_base(area->region);
	memset(area->hole, true, sizeof area->hole);
}

static void with_holes(void)
{
	struct child child;

	AT("make");
	make_bare();
	take(0, MOST_PAGES);
	fill(1, true);
	AT("LIVE");
	give(10, 20);
	take(15, 5);
	put(&areas[BIG], 16, 2);
	cut(40, 10);
	put(&areas[BIG], 44, 2);
	give(42, 4);
	lose(100, 5);
	lose(18, 4); /* partly a hole */
	AT("first fork");
	child = snapshot(false);
	AT("FROZEN");
	fill(2, false);
	give(505, 20);
	take(510, 10);
	take(20, 5); /* was one before */
	put(&areas[BIG], 21, 3);
	cut(120, 9);
	cut(508, 4);
	put(&areas[BIG], 122, 3);
	lose(140, 4);
	lose(524, 4);
	give(121, 3);
	discard_memory(200, 20);
	must_not_settle();
	compare("FROZEN, changed");
	(void)end_of(child);
	AT("settle");
	settle(&areas[BIG]);
	compare("settled");
	AT("LIVE again");
	take(10, 60);
	give(600, 100);
	take(600, 60);
	fill(4, true);
	AT("libc's fork");
	child = snapshot(true);
	give(50, 10);
	fill(5, true);
	(void)end_of(child);
	AT("half a settle");
	interrupted_settle(&areas[BIG], 1);
	give(490, 40); /* partly LIVE, perhaps */
	cut(480, 5);
	take(490, 40);
	lose(495, 3);
	put(&areas[BIG], 500, 7);
	compare("half settled");
	AT("settle of the rest");
	settle(&areas[BIG]);
	compare("settled from the middle");
	give(0, MOST_PAGES);
	child = snapshot(false);
	(void)end_of(child);
	settle(&areas[BIG]);
	take(0, MOST_PAGES);
	fill(6, false);
	compare("taken again");
}

static void with_holes_and_a_keeper(void)
{
	AT("create");
	create(&areas[SMALL], ODF_REGION_MANUAL);
	with_holes();
}

static void (*const scenarios[])(void) = { by_call, by_itself, with_holes, with_holes_and_a_keeper };

/* ---- One run ------------------------------------------------------------------------------------------------------------------------ */

static void wait_until_alone(void)
{
	for (int tries = 0; tries < 2000; tries++) { /* who has been joined may be there still, for a moment */
		char *status = read_file("/proc/self/status"), *line = status == NULL ? NULL : strstr(status, "\nThreads:");
		bool alone = line != NULL && strtoul(line + 9, NULL, 10) == 1;
		free(status);
		if (alone)
			return;
		wait_a_moment();
	}
	die("a thread is left behind");
}

/* Writable memory without a file and a name, in pages: what is handed out by mmap. */
static size_t count_memory(void)
{
	char *maps = read_file("/proc/self/maps"), *line, *rest = maps;
	size_t pages = 0;

	if (maps == NULL)
		die("no maps");
	while ((line = strsep(&rest, "\n")) != NULL) {
		unsigned long start, end;
		char access[8], name[8] = "";
		/* After a move to aside failed, what is there may be another thread's: given up, and if it was ours it keeps the file. */
		if (strstr(line, "odfork-region") != NULL && strstr(line, "rw-s") != NULL && control->number == SYS_mremap)
			atomic_fetch_add(&control->given_up, 1);
		else if ((strstr(line, "odfork-region") != NULL || strstr(line, "odfork-token") != NULL) && control->times_at_first == 1)
			die("left behind: %s", line);
		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %7s", &start, &end, access, name) >= 3 && access[1] == 'w' && name[0] == '\0')
			pages += (end - start) / PAGE;
	}
	free(maps);
	return pages;
}

static void destroy(void)
{
	for (size_t i = 0; i < AREAS; i++) {
		if (areas[i].region != NULL && odf_region_destroy(areas[i].region) != 0)
			die("destroy");
		areas[i].region = NULL;
	}
}

static void run(int scenario)
{
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS };
	struct surroundings before, after;
	size_t memory;
	pthread_t thread;

	ours = true;
	for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
		signal(deadly[i], SIG_DFL); /* cmocka has handlers, which would go on in its main program */
	signal(SIGPIPE, SIG_IGN);
	AT("warming up"); /* what stays for good is made: the marker, libc's cache of stacks, arenas */
	create(&areas[SMALL], ODF_REGION_MANUAL);
	create(&areas[BIG], ODF_REGION_MANUAL);
	if (pthread_create(&thread, NULL, settle_beside, &areas[BIG]) != 0)
		die("no thread");
	pthread_join(thread, NULL);
	destroy();
	wait_until_alone();
	before = surroundings_take();
	memory = count_memory();
	atomic_store(&control->armed, true);
	scenarios[scenario]();
	AT("forks afterwards");
	lift();
	(void)end_of(snapshot(false));
	if (!end_of(snapshot(true)))
		die("absent for ever");
	fill(9, false);
	compare("afterwards");
	AT("settle afterwards");
	settle(&areas[BIG]);
	settle(&areas[SMALL]);
	compare("afterwards");
	(void)end_of(snapshot(false));
	if (atomic_load(&control->countdown) > 0)
		lift();
	if (bare)
		_exit(0); /* it is there to stay */
	AT("destroy");
	destroy();
	atomic_store(&control->armed, false);
	AT("what is left");
	wait_until_alone();
	after = surroundings_take();
	if (strcmp(before.text, after.text) != 0)
		die("descriptors, mask or dispositions changed: %.150s ... %.150s", before.text, after.text);
	if (count_memory() > memory && control->times_at_first == 1)
		die("%zu pages of memory are left behind", count_memory() - memory);
	_exit(0);
}

/* ---- All of them -------------------------------------------------------------------------------------------------------------------- */

static const struct {
	long number;
	const char *name;
	int errors[4];
	bool replaces; /* mappings */
} calls[] = {
	{ SYS_mmap, "mmap", { ENOMEM }, true },
	{ SYS_munmap, "munmap", { ENOMEM }, false },
	{ SYS_mremap, "mremap", { ENOMEM, EFAULT }, true },
	{ SYS_madvise, "madvise", { ENOMEM }, false },
	{ SYS_ioctl, "ioctl", { ENOMEM, ENOTTY }, false },
	{ SYS_memfd_create, "memfd_create", { EMFILE, EINVAL }, false },
	{ SYS_ftruncate, "ftruncate", { ENOMEM }, false },
	{ SYS_fcntl, "fcntl", { EBUSY, EPERM }, false },
	{ SYS_openat, "openat", { EMFILE, ENOENT }, false },
	{ SYS_pread64, "pread64", { EIO, EINTR }, false },
	{ SYS_read, "read", { EIO }, false },
	{ SYS_pwrite64, "pwrite64", { EFBIG, ENOMEM }, false },
	{ SYS_prctl, "prctl", { EINVAL }, false },
	{ SYS_chdir, "chdir", { EACCES }, false },
	{ SYS_readlinkat, "readlinkat", { EACCES }, false },
	{ SYS_pidfd_open, "pidfd_open", { EMFILE, ENOSYS }, false },
	{ SYS_ppoll, "ppoll", { ENOMEM }, false },
	{ SYS_fstat, "fstat", { EPERM }, false },
	{ SYS_capset, "capset", { EPERM }, false },
	{ SYS_close_range, "close_range", { ENOSYS, ENOMEM }, false },
	{ SYS_unshare, "unshare", { ENOMEM, EPERM }, false },
	{ SYS_prlimit64, "prlimit64", { EPERM }, false },
	{ SYS_userfaultfd, "userfaultfd", { EPERM, ENFILE }, false },
	{ FAKE_CLONE, "clone", { EAGAIN, ENOMEM }, false },
};
#define CALLS (sizeof calls / sizeof *calls)

static int runs, injected, bad, shown;

static volatile pid_t running;
static volatile bool hung;

/* What each thread of it is doing. */
static void tell_where(pid_t pid)
{
	char path[128], text[101] = "";
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
		static const char *const files[] = { "comm", "stat", "wchan", "syscall" };
		for (size_t i = 0; entry->d_name[0] != '.' && i < sizeof files / sizeof *files; i++) {
			int fd;
			ssize_t size;
			snprintf(path, sizeof path, "/proc/%d/task/%.20s/%s", (int)pid, entry->d_name, files[i]);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			size = fd < 0 ? -1 : read(fd, text, 100);
			text[size > 0 ? size : 0] = '\0';
			if (size > 0)
				print_message("# %s %s: %.*s\n", entry->d_name, files[i], (int)strcspn(text, "\n"), text);
			if (fd >= 0)
				close(fd);
		}
	}
	if (tasks != NULL)
		closedir(tasks);
}

/* From outside, as the library has signals blocked where it waits. Comes while this process waits for the run, and does nothing else. */
static void end_of_patience(int unused)
{
	(void)unused;
	hung = true;
	tell_where(running);
	kill(running, SIGKILL);
}

/* True if the failure took place. */
static bool inject(int scenario, unsigned modes, long number, int nth, int error, int times, bool unmap)
{
	int status;
	pid_t pid;
	bool took_place;

	control->modes = modes;
	control->number = number;
	control->error = error;
	control->unmap = unmap;
	control->countdown = nth;
	control->times = control->times_at_first = times;
	control->failures = 0;
	control->armed = control->told = control->trimming = false;
	memset(control->counts, 0, sizeof control->counts);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		run(scenario);
	assert_true(pid > 0);
	running = pid;
	hung = false;
	signal(SIGALRM, end_of_patience);
	alarm(10);
	status = wait_for(pid);
	alarm(0);
	took_place = control->failures > 0;
	runs++;
	injected += took_place;
	if (status != 0) {
		bad++;
		if (shown++ < 40)
			print_message("# bad: %d %u %ld %d %d %d %d (%s): %s %s\n", scenario, modes, number, nth, error, times, unmap,
				      strerror(error),
				      WIFSIGNALED(status) ? (hung ? "hangs" : strsignal(WTERMSIG(status))) : "",
				      WIFSIGNALED(status) ? control->where : control->text);
	}
	return took_place;
}

/* Every nth call of a number, or each stride-th of them. */
enum { IN_A_RUN = 3 };

static void inject_all(int scenario, unsigned modes, size_t call, int error, int times, bool unmap, int stride)
{
	for (int nth = stride == IN_A_RUN ? 1 + (int)(time(NULL) / 86400 % IN_A_RUN) : 1; nth < 400 && inject(scenario, modes, calls[call].number, nth, error, times, unmap); nth += stride)
		;
}

/* `every`: of so many calls one, for the test run. */
static void run_scenario(int scenario, unsigned modes, bool everything, int every)
{
	uint64_t start = now_ms();
	int before = runs, bad_before = bad;

	(void)inject(scenario, modes, -1, 1, 0, 0, false);
	if (bad > bad_before)
		return; /* even without a failure */
	for (size_t i = 0; i < CALLS; i++) {
		for (int e = 0; e < 4 && calls[i].errors[e] != 0; e++) {
			inject_all(scenario, modes, i, calls[i].errors[e], 1, false, every);
			if (!everything)
				break;
			if (calls[i].replaces)
				inject_all(scenario, modes, i, calls[i].errors[e], 1, true, every);
			if (e == 0 && calls[i].number != SYS_munmap) /* whose other uses must not fail */
				inject_all(scenario, modes, i, calls[i].errors[e], MANY, false, every * (calls[i].replaces ? 5 : 3));
		}
	}
	print_message("# scenario %d, modes %u: %d runs, %llu ms\n", scenario, modes, runs - before, (unsigned long long)(now_ms() - start));
}

static void summary(void)
{
	print_message("# %d runs with %d failures: no region %d times, no fork %d, no memory in the child %d, not settled %d, never %d, "
		      "places given up %d\n", runs,
		      injected, control->no_region, control->no_fork, control->absent, control->not_settled, control->never, control->given_up);
}

/* In a run every third call of a kind fails, and the others in the next two days; with ODF_TEST_SCALE each. */
static int every(void)
{
	return getenv("ODF_TEST_SCALE") != NULL ? 1 : IN_A_RUN;
}

/* Each page of zeros that is put is six calls more: all of them fail by call, and elsewhere small pieces are given back in the other ways. */
extern bool region_zero_pages_never;
/* Steps without page tables, as where forks come close: in one half of the tests. */
extern bool region_fresh_always;

static void test_by_call(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = false;
	run_scenario(0, 0, true, every());
	summary();
	assert_int_equal(bad, 0);
}

static void test_on_lesser_machines(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = false;
	region_zero_pages_never = true;
	run_scenario(0, NO_USERFAULT, false, every());
	run_scenario(0, NO_SCAN | NO_CLOSE_RANGE, false, every());
	summary();
	assert_int_equal(bad, 0);
}

static void test_with_holes(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = true;
	region_zero_pages_never = true;
	run_scenario(2, 0, true, 7);
	summary();
	assert_int_equal(bad, 0);
}

static void test_with_holes_otherwise(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = false;
	region_zero_pages_never = true;
	run_scenario(3, 0, false, 8);
	run_scenario(2, NO_USERFAULT, false, 8);
	summary();
	assert_int_equal(bad, 0);
}

static void test_by_itself(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = true;
	region_zero_pages_never = true;
	run_scenario(1, 0, false, every());
	summary();
	assert_int_equal(bad, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_call),
		cmocka_unit_test(test_on_lesser_machines),
		cmocka_unit_test(test_by_itself),
		cmocka_unit_test(test_with_holes),
		cmocka_unit_test(test_with_holes_otherwise),
	};
	ours = true;
	unsetenv("ODFORK_UFFD_FD");
	for (odf_probe probe = 0; probe < ODF_PROBE_COUNT; probe++)
		odf_probe_get(probe, NULL);
	control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (control == MAP_FAILED)
		return 2;
	control->where = "start";
	if (argc == 2 || argc == 3) {
		run_scenario(atoi(argv[1]), argc == 3 ? (unsigned)atoi(argv[2]) : 0, argc == 2, 1);
		summary();
		return bad > 0;
	}
	if (argc == 8) {
		(void)inject(atoi(argv[1]), (unsigned)atoi(argv[2]), atol(argv[3]), atoi(argv[4]), atoi(argv[5]), atoi(argv[6]),
			     atoi(argv[7]) != 0);
		print_message("%d failures; mremap %d mmap %d madvise %d ioctl %d\n", control->failures, control->counts[SYS_mremap],
			      control->counts[SYS_mmap], control->counts[SYS_madvise], control->counts[SYS_ioctl]);
		return bad > 0;
	}
	return cmocka_run_group_tests_name("region injection", tests, NULL, NULL);
}
