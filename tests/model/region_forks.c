/* SPDX-License-Identifier: MIT
 *
 * region_forks: every way that makes a process, through a program that has a snapshot region, linked with the shared library. Each child must find the
 * region as it was, keep what it writes to itself and see nothing of what its parent writes; and when all of them are gone the region must be LIVE again,
 * every byte as it should be. Ways that share memory, or end in exec, must freeze nothing.
 *
 * TAP. Each case in a process of its own; with the name of one as argument, in this one.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"

enum { PAGE = 4096, WORDS = PAGE / 8, PAGES = 2048, SEEN = 42, NOBODY = 65534, STACK = 256 * 1024, DEADLINE = 20 };

static int messages = 2; /* where a case has its own idea of standard error */

#define REQUIRE(condition)                                                                                                         \
	do {                                                                                                                       \
		if (!(condition)) {                                                                                                \
			dprintf(messages, "# %s:%d: %s (errno %d, process %d)\n", __FILE__, __LINE__, #condition, errno, (int)getpid()); \
			_exit(1);                                                                                                  \
		}                                                                                                                  \
	} while (0)

static struct shared {
	atomic_int go, ready;
} *shared; /* between parents and children, outside of any region */

static odf_region *region;
static volatile uint64_t *base;
static unsigned even, odd; /* what the even and the odd pages are filled with */
static pid_t (*bare)(void);
static bool is_child; /* of the process that made the region */

/* ---- The region and what is in it -------------------------------------------------------------------------------------------- */

static void write_page(size_t page, unsigned seed)
{
	volatile uint64_t *word = base + page * WORDS;

	word[0] = word[WORDS / 2] = word[WORDS - 1] = seed * 1000003ull + page * 7 + 1;
}

static bool page_has(size_t page, unsigned seed)
{
	volatile uint64_t *word = base + page * WORDS;
	uint64_t value = seed * 1000003ull + page * 7 + 1;

	return word[0] == value && word[WORDS / 2] == value && word[WORDS - 1] == value && word[1] == 0;
}

static void make_region_of(unsigned flags)
{
	region = odf_region_create((size_t)PAGES * PAGE, flags);
	REQUIRE(region != NULL);
	base = odf_region_base(region);
	is_child = false;
	for (size_t page = 0; page < PAGES; page++)
		write_page(page, 0);
	even = odd = 0;
}

static void make_region(void)
{
	make_region_of(0);
}

static bool holds(void)
{
	for (size_t page = 0; page < PAGES; page++)
		if (!page_has(page, page % 2 == 0 ? even : odd))
			return false;
	return true;
}

static void write_odd_pages(void)
{
	odd++;
	for (size_t page = 1; page < PAGES; page += 2)
		write_page(page, odd);
}

static odf_region_info info(void)
{
	odf_region_info found = ODF_REGION_INFO_INIT;

	REQUIRE(odf_region_info_get(region, &found) == 0);
	return found;
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* Once no descendant is left: by itself, or because it is told to. */
static void await_live(void)
{
	time_t end = now() + DEADLINE;

	for (;;) {
		odf_region_info found = info();
		if (found.state == ODF_REGION_LIVE)
			return;
		REQUIRE(now() < end);
		if (found.settling != ODF_REGION_SETTLES_ALWAYS)
			(void)odf_region_settle(region);
		usleep(1000);
	}
}

static bool exits_with(pid_t pid, int code)
{
	int status;
	pid_t waited;

	do
		waited = waitpid(pid, &status, __WALL);
	while (waited < 0 && errno == EINTR);
	if (waited == pid && status != code << 8)
		dprintf(messages, "# wait status %#x\n", (unsigned)status);
	return waited == pid && status == code << 8;
}

/* ---- The ways ------------------------------------------------------------------------------------------------------------------ */

static int look(void)
{
	alarm(2 * DEADLINE); /* should its parent not come to it */
	REQUIRE(holds());
	for (size_t page = 0; page < PAGES; page += 3)
		write_page(page, 1000000);
	while (!shared->go)
		usleep(100);
	for (size_t page = 0; page < PAGES; page++)
		REQUIRE(page_has(page, page % 3 == 0 ? 1000000 : page % 2 == 0 ? even : odd));
	return SEEN;
}

static pid_t by_fork(int (*child)(void))
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(child());
	return pid;
}

static pid_t by_odf_fork(int (*child)(void))
{
	pid_t pid = odf_fork();

	if (pid == 0)
		_exit(child());
	return pid;
}

static pid_t by_odf_fork_with(int (*child)(void))
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	int pidfd = -1;
	pid_t pid;

	options.pidfd = &pidfd;
	pid = odf_fork_with(&options, &report);
	if (pid == 0)
		_exit(child());
	REQUIRE(pid > 0 && pidfd >= 0);
	REQUIRE(report.strategy == (is_child ? ODF_STRATEGY_FORK : ODF_STRATEGY_REGION));
	close(pidfd);
	return pid;
}

static pid_t by_bare_fork(int (*child)(void))
{
	pid_t pid = bare();

	if (pid == 0)
		_exit(child());
	return pid;
}

static pid_t by_forkpty(int (*child)(void))
{
	static __thread int terminal = -1;
	pid_t pid;

	if (terminal >= 0)
		close(terminal); /* of the last child, which has ended; before that it would lose its terminal while it is being made */
	pid = forkpty(&terminal, NULL, NULL, NULL);
	if (pid == 0)
		_exit(child());
	return pid;
}

struct call {
	int (*function)(void);
};

static int make_call(void *pointer)
{
	const struct call *call = pointer;

	return call->function();
}

static pid_t clone_with(int flags, int (*child)(void))
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct call *call = (void *)stack;
	pid_t pid;

	REQUIRE(stack != MAP_FAILED);
	call->function = child;
	pid = clone(make_call, stack + STACK, flags, call);
	if (!(flags & CLONE_VM) || (flags & CLONE_VFORK))
		munmap(stack, STACK); /* nobody is on it */
	return pid;
}

static pid_t by_clone(int (*child)(void))
{
	return clone_with(SIGCHLD, child);
}

static pid_t by_clone_without_signal(int (*child)(void))
{
	return clone_with(0, child);
}

#ifdef SYS_fork
static pid_t by_call_fork(int (*child)(void))
{
	pid_t pid = (pid_t)syscall(SYS_fork);

	if (pid == 0)
		_exit(child());
	return pid;
}
#endif

static pid_t by_call_clone(int (*child)(void))
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(child());
	return pid;
}

static pid_t by_call_clone3(int (*child)(void))
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} arguments = { .exit_signal = SIGCHLD };
	pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);

	if (pid == 0)
		_exit(child());
	if (pid < 0 && (errno == ENOSYS || errno == EPERM)) /* a kernel or a sandbox without */
		return by_call_clone(child);
	return pid;
}

typedef pid_t way(int (*child)(void));
static const struct {
	const char *name;
	way *start;
	bool in_handlers; /* async-signal-safe */
} ways[] = {
	{ "fork", by_fork, false },
	{ "odf_fork", by_odf_fork, false },
	{ "odf_fork_with", by_odf_fork_with, false },
	{ "_Fork", by_bare_fork, true },
	{ "forkpty", by_forkpty, false },
	{ "clone", by_clone, false },
	{ "clone without a signal", by_clone_without_signal, false },
#ifdef SYS_fork
	{ "syscall(SYS_fork)", by_call_fork, true },
#endif
	{ "syscall(SYS_clone)", by_call_clone, true },
	{ "syscall(SYS_clone3)", by_call_clone3, true },
};
enum { WAYS = sizeof ways / sizeof *ways };

/* One process made in one way of a region that is LIVE. */
static void snapshot_by(way *start)
{
	uint64_t freezes;
	pid_t pid;

	await_live();
	freezes = info().freezes;
	shared->go = 0;
	errno = 77;
	pid = start(look);
	REQUIRE(pid > 0 && errno == 77);
	write_odd_pages();
	shared->go = 1;
	REQUIRE(holds());
	REQUIRE(exits_with(pid, SEEN));
	REQUIRE(holds());
	REQUIRE(info().freezes == freezes + 1);
	await_live();
	REQUIRE(holds());
}

static void case_every_way(void)
{
	make_region();
	for (int i = 0; i < 2 * WAYS; i++)
		snapshot_by(ways[i % WAYS].start);
	REQUIRE(odf_region_destroy(region) == 0);
}

static void *every_way(void *unused)
{
	for (int i = 0; i < WAYS; i++)
		snapshot_by(ways[i].start);
	return unused;
}

static void case_another_thread(void)
{
	pthread_t thread;

	make_region();
	REQUIRE(pthread_create(&thread, NULL, every_way, NULL) == 0);
	REQUIRE(pthread_join(thread, NULL) == 0);
	snapshot_by(by_fork);
}

/* ---- Several threads at once: each has a stripe, the same number in all its pages --------------------------------------------------- */

enum { FORKERS = 4, STRIPE = PAGES / FORKERS };

static __thread size_t stripe;

static bool stripe_has(unsigned seed)
{
	for (size_t page = stripe; page < stripe + STRIPE; page++)
		if (!page_has(page, seed))
			return false;
	return true;
}

static __thread unsigned stripe_seed;

static int look_at_stripe(void)
{
	return stripe_has(stripe_seed) ? SEEN : 1;
}

static void *fork_much(void *number)
{
	unsigned self = (unsigned)(uintptr_t)number;

	stripe = self * STRIPE;
	for (unsigned round = 0; round < 15; round++) {
		pid_t pid;
		stripe_seed++;
		for (size_t page = stripe; page < stripe + STRIPE; page++)
			write_page(page, stripe_seed);
		pid = ways[(round + self) % WAYS].start(look_at_stripe);
		REQUIRE(pid > 0 && exits_with(pid, SEEN));
		REQUIRE(stripe_has(stripe_seed));
		if (round % 5 == self)
			(void)odf_region_info_get(region, &ODF_REGION_INFO_INIT);
	}
	return NULL;
}

static void case_threads_at_once(void)
{
	pthread_t threads[FORKERS];

	make_region();
	for (uintptr_t i = 0; i < FORKERS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, fork_much, (void *)i) == 0);
	for (int i = 0; i < FORKERS; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	await_live();
	for (size_t page = 0; page < PAGES; page++)
		REQUIRE(page_has(page, 15));
}

/* ---- Handlers of signals ---------------------------------------------------------------------------------------------------------- */

static volatile int handler_way;
static volatile pid_t handler_child;

static void start_in_handler(int signal)
{
	int saved = errno;

	(void)signal;
	errno = 77;
	handler_child = ways[handler_way].start(look);
	REQUIRE(errno == 77);
	errno = saved;
}

static pid_t by_raise(int (*child)(void))
{
	(void)child;
	raise(SIGUSR1);
	return handler_child;
}

static void case_handler(void)
{
	struct sigaction action = { .sa_handler = start_in_handler };

	make_region();
	sigaction(SIGUSR1, &action, NULL);
	for (handler_way = 0; handler_way < WAYS; handler_way++)
		if (ways[handler_way].in_handlers)
			snapshot_by(by_raise);
}

static timer_t start_timer(int signal, long after_ns, long every_ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = signal };
	struct itimerspec when = { { 0, every_ns }, { 0, after_ns } };
	timer_t timer;

	REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	REQUIRE(timer_settime(timer, 0, &when, NULL) == 0);
	return timer;
}

enum { STEADY = PAGES / 2 }; /* pages from here on are written and discarded in the next case */

static int look_at_steady(void)
{
	for (size_t page = 0; page < STEADY; page++)
		if (!page_has(page, 0))
			return 1;
	return SEEN;
}

static atomic_int handler_forks;

static void fork_in_handler(int signal)
{
	int saved = errno;
	pid_t pid = by_bare_fork(look_at_steady);

	(void)signal;
	REQUIRE(pid > 0);
	atomic_fetch_add(&handler_forks, 1);
	errno = saved;
}

static void reap(int *reaped)
{
	int status;

	while (waitpid(-1, &status, WNOHANG) > 0) {
		REQUIRE(status == SEEN << 8);
		(*reaped)++;
	}
}

/* The handler comes in the middle of all functions. It must not wait for what it interrupted. */
static void case_timer(void)
{
	struct sigaction action = { .sa_handler = fork_in_handler, .sa_flags = SA_RESTART };
	time_t end = now() + 3;
	int reaped = 0, others = 0;
	timer_t timer;

	make_region();
	sigaction(SIGALRM, &action, NULL);
	timer = start_timer(SIGALRM, 1000000, 2600000);
	for (unsigned round = 0; now() < end; round++) {
		size_t from = STEADY + round * 37 % (STEADY / 2), length = 1 + round * 11 % (STEADY / 2);
		pid_t pid;
		int error;
		for (size_t page = from; page < from + length; page += 4)
			write_page(page, round);
		(void)info();
		error = odf_region_discard(region, (char *)(uintptr_t)base + from * PAGE, length * PAGE);
		REQUIRE(error == 0);
		for (size_t page = from; page < from + length; page++)
			REQUIRE(base[page * WORDS] == 0 && base[page * WORDS + WORDS - 1] == 0);
		error = odf_region_settle(region);
		if (error != 0 && error != EBUSY && error != EAGAIN)
			dprintf(messages, "# settle: %s\n", strerror(error));
		REQUIRE(error == 0 || error == EBUSY || error == EAGAIN);
		if (round % 3 == 0) {
			pid = by_fork(look_at_steady);
			REQUIRE(pid > 0 && exits_with(pid, SEEN));
			others++;
		}
		reap(&reaped);
	}
	timer_delete(timer);
	while (reaped < handler_forks)
		reap(&reaped);
	REQUIRE(handler_forks > 5 && others > 5);
	await_live();
	REQUIRE(look_at_steady() == SEEN);
}

/* A child that a handler made goes on where the parent was interrupted, as it may in the middle of these functions in a program of one thread. */
static pid_t owner;

static void go_on_in_child(int signal)
{
	(void)signal;
	if (getpid() != owner)
		return;
	handler_child = bare();
	if (handler_child == 0)
		alarm(10);
}

static void case_child_goes_on(void)
{
	make_region();
	owner = getpid();
	signal(SIGALRM, SIG_DFL);
	signal(SIGUSR1, go_on_in_child);
	for (int round = 0; round < 60; round++) {
		timer_t timer;
		handler_child = -1;
		timer = start_timer(SIGUSR1, 1 + round * 7919 % 150000, 0);
		while (handler_child == -1) {
			odf_region_info found = ODF_REGION_INFO_INIT;
			REQUIRE(odf_region_info_get(region, &found) == 0);
			REQUIRE(odf_region_discard(region, (char *)(uintptr_t)base, 0) == 0);
			if (round % 2 == 0)
				(void)odf_region_settle(region);
		}
		if (handler_child == 0)
			_exit(holds() && info().state == ODF_REGION_INHERITED ? SEEN : 1);
		timer_delete(timer);
		REQUIRE(exits_with(handler_child, SEEN));
	}
	await_live();
	REQUIRE(holds());
}

/* Without the right to userfaultfd for kernel-mode faults, if there is one to give up. */
static void become_nobody(void)
{
	(void)setpriority(PRIO_PROCESS, 0, -15); /* where it may: handlers in time, on a busy machine too */
	if (geteuid() == 0)
		REQUIRE(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
	REQUIRE(prctl(PR_SET_DUMPABLE, 1) == 0); /* else its own pagemap is root's */
}

static volatile unsigned counts[PAGES]; /* what is in the second word of some pages: as many as one step of settling takes */
enum { COUNTED = 8 };

static void add_some(int signal)
{
	(void)signal;
	for (size_t page = 0; page < PAGES; page += COUNTED) {
		base[page * WORDS + 1]++;
		counts[page]++;
	}
}

static int end_at_once(void)
{
	return SEEN;
}

/* Forks, and touches enough in between to make settling worth it, until forks have settled `settles` times; no longer than some seconds. */
static void fork_until_settled(uint64_t settles, time_t seconds)
{
	time_t end = now() + seconds;
	uint64_t before = info().settles;

	while (now() < end && info().settles - before < settles) {
		for (size_t page = 0; page < PAGES; page++)
			if (page % COUNTED == 0)
				base[page * WORDS + 2]++;
			else
				(void)base[page * WORDS];
		for (int i = 0; i < 8; i++) {
			pid_t pid = by_fork(end_at_once);
			REQUIRE(pid > 0 && exits_with(pid, SEEN));
		}
	}
}

static void must_have_counts(void)
{
	unsigned wrong = 0;

	for (size_t page = 0; page < PAGES; page++)
		wrong += base[page * WORDS + 1] != counts[page];
	if (wrong > 0)
		dprintf(messages, "# %u of %d counters are wrong after %d settles\n", wrong, PAGES / COUNTED, (int)info().settles);
	REQUIRE(wrong == 0);
}

/* Nobody else runs in a process of one thread, except its handlers. */
static void case_handler_writes(void)
{
	struct sigaction action = { .sa_handler = add_some, .sa_flags = SA_RESTART };
	timer_t timer;

	become_nobody();
	make_region();
	sigaction(SIGALRM, &action, NULL);
	timer = start_timer(SIGALRM, 50000, 50000);
	fork_until_settled(60, 4);
	timer_delete(timer);
	must_have_counts();
}

static atomic_bool stop;

static int add_always(void)
{
	while (!stop)
		add_some(0);
	return SEEN;
}

/* Nor is this child of the same memory a thread. */
static void case_memory_shared(void)
{
	pid_t pid;

	become_nobody();
	make_region();
	pid = clone_with(CLONE_VM | SIGCHLD, add_always);
	REQUIRE(pid > 0);
	fork_until_settled(60, 2);
	stop = true;
	REQUIRE(exits_with(pid, SEEN));
	must_have_counts();
	fork_until_settled(3, 4);
	must_have_counts();
}

/* ---- Forks in libc ---------------------------------------------------------------------------------------------------------------- */

static int be_a_daemon(int report)
{
	unsigned char fine = 1;

	is_child = true;
	REQUIRE(info().state == ODF_REGION_INHERITED && holds());
	write_odd_pages();
	REQUIRE(odf_region_settle(region) == 0 && holds());
	shared->go = 1;
	for (int i = 0; i < WAYS; i++) {
		pid_t pid = ways[i].start(look);
		REQUIRE(pid > 0 && exits_with(pid, SEEN));
	}
	REQUIRE(holds() && odf_region_destroy(region) == 0);
	make_region(); /* of its own, which is LIVE */
	snapshot_by(by_fork);
	REQUIRE(write(report, &fine, 1) == 1);
	return 0;
}

static void daemonize(bool frozen)
{
	unsigned char fine = 0;
	struct pollfd poller = { .events = POLLIN };
	int report[2];
	pid_t pid, child = -1;

	REQUIRE(pipe(report) == 0);
	pid = fork();
	if (pid == 0) {
		close(report[0]);
		make_region();
		shared->go = 0;
		if (frozen) {
			child = by_fork(look);
			REQUIRE(child > 0);
			write_odd_pages();
		}
		REQUIRE(daemon(1, 1) == 0);
		_exit(be_a_daemon(report[1]));
	}
	close(report[1]);
	REQUIRE(pid > 0 && exits_with(pid, 0));
	poller.fd = report[0];
	REQUIRE(poll(&poller, 1, DEADLINE * 1000) == 1 && read(report[0], &fine, 1) == 1 && fine == 1);
	close(report[0]);
}

static void case_daemon(void)
{
	daemonize(false);
	daemonize(true);
}

static void case_shells(void)
{
	char line[64] = "";
	FILE *stream;

	make_region();
	REQUIRE(system("exit 16") == 16 << 8);
	stream = popen("echo through popen", "r");
	REQUIRE(stream != NULL && fgets(line, sizeof line, stream) != NULL && strcmp(line, "through popen\n") == 0 && pclose(stream) == 0);
	REQUIRE(info().freezes == 0 && info().state == ODF_REGION_LIVE && holds());
	snapshot_by(by_fork);
	REQUIRE(system("exit 17") == 17 << 8 && holds());
}

/* ---- What shares memory, or ends in exec ------------------------------------------------------------------------------------------- */

static int write_for_parent(void)
{
	write_odd_pages(); /* the counter is the parent's too */
	return SEEN;
}

#ifdef __x86_64__
/* On the parent's stack, where a call would write over what the parent returns to. */
static inline void end_without_call(int code)
{
	__asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(code) : "rcx", "r11", "memory");
}

__attribute__((noinline)) static pid_t call_vfork(void)
{
	long pid = syscall(SYS_vfork);

	if (pid == 0)
		end_without_call(SEEN);
	return (pid_t)pid;
}

__attribute__((noinline)) static pid_t call_clone_vfork(void)
{
	long pid = syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		end_without_call(SEEN);
	return (pid_t)pid;
}
#endif

static int in_shared_memory(void *unused)
{
	(void)unused;
	return odf_region_base(region) != NULL ? 0 : 1;
}

static void spawn_by_every_engine(void)
{
	static const odf_strategy engines[] = { ODF_STRATEGY_POSIX_SPAWN, ODF_STRATEGY_VFORK, ODF_STRATEGY_FORK };
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 42" }, NULL };

	for (int i = 0; i < 4; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		bool by_fork_engine = i >= 2;
		uint64_t freezes;
		pid_t pid;
		await_live();
		freezes = info().freezes;
		if (i < 3)
			options.allow = ODF_ALLOW(engines[i]);
		else
			options.pre_exec = in_shared_memory; /* not shared, as it is */
		if (odf_spawn(&pid, "/bin/sh", argv, NULL, &options, &report) == ENOTSUP && i < 2)
			continue; /* a sandbox that refuses it */
		REQUIRE(report.error == 0 && exits_with(pid, SEEN) && holds());
		REQUIRE(report.strategy == engines[i < 3 ? i : 2]);
		REQUIRE(info().freezes == freezes + by_fork_engine);
	}
	await_live();
}

static int check_before_exec(void *unused)
{
	(void)unused;
	if (!holds() || info().state != ODF_REGION_INHERITED)
		return EIO;
	write_page(2, 99);
	return 0;
}

static void case_nothing_frozen(void)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 42" }, NULL };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t pid;

	make_region();
	REQUIRE(exits_with(clone_with(CLONE_VM | CLONE_VFORK | SIGCHLD, write_for_parent), SEEN) && odd == 1 && holds());
	REQUIRE(exits_with(clone_with(CLONE_VM | SIGCHLD, write_for_parent), SEEN) && odd == 2 && holds());
	REQUIRE(exits_with(clone_with(CLONE_VM, write_for_parent), SEEN) && odd == 3 && holds());
#ifdef __x86_64__
	REQUIRE(exits_with(call_vfork(), SEEN));
	REQUIRE(exits_with(call_clone_vfork(), SEEN));
#endif
	pid = vfork();
	if (pid == 0)
		_exit(SEEN);
	REQUIRE(exits_with(pid, SEEN));
	REQUIRE(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) == 0 && exits_with(pid, SEEN));
	REQUIRE(posix_spawnp(&pid, "sh", NULL, NULL, argv, environ) == 0 && exits_with(pid, SEEN));
	REQUIRE(syscall(SYS_getpid) == getpid());
	errno = 0;
	REQUIRE(syscall(SYS_close, -1) == -1 && errno == EBADF);
	REQUIRE(info().freezes == 0 && info().state == ODF_REGION_LIVE && holds());
	spawn_by_every_engine();
	/* While FROZEN, too. */
	shared->go = 0;
	pid = by_fork(look);
	REQUIRE(pid > 0);
	REQUIRE(exits_with(clone_with(CLONE_VM | SIGCHLD, write_for_parent), SEEN) && odd == 4 && holds());
#ifdef __x86_64__
	REQUIRE(exits_with(call_vfork(), SEEN));
#endif
	shared->go = 1;
	REQUIRE(exits_with(pid, SEEN));
	options.pre_exec = check_before_exec;
	REQUIRE(odf_spawn(&pid, "/bin/sh", argv, NULL, &options, NULL) == 0 && exits_with(pid, SEEN) && holds());
	await_live();
	REQUIRE(holds());
}

/* ---- Past the library -------------------------------------------------------------------------------------------------------------- */

#ifdef __x86_64__
static pid_t raw_clone(int (*child)(void))
{
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	long pid;

	__asm__ volatile("syscall"
			 : "=a"(pid)
			 : "a"(SYS_clone), "D"(SIGCHLD), "S"(0), "d"(0), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	if (pid == 0)
		_exit(child());
	return (pid_t)pid;
}

static int find_nothing(void)
{
	odf_region_info found = info();

	REQUIRE(found.state == ODF_REGION_ABSENT && found.live_bytes == 0 && found.resident_bytes == 0);
	REQUIRE(odf_region_settle(region) == 0);
	REQUIRE(odf_region_discard(region, (void *)(uintptr_t)base, PAGE) == ENXIO);
	shared->ready = 1;
	base[0] = 1;
	return SEEN;
}

static int find_and_destroy(void)
{
	REQUIRE(odf_region_destroy(region) == 0);
	return SEEN;
}

static void case_past_the_library(void)
{
	int status;
	pid_t pid, past;

	make_region();
	shared->ready = 0;
	pid = raw_clone(find_nothing);
	REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
	REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && shared->ready == 1);
	REQUIRE(exits_with(raw_clone(find_and_destroy), SEEN));
	REQUIRE(holds() && info().freezes == 0 && info().state == ODF_REGION_LIVE);

	/* FROZEN: a child like others, which counts. */
	shared->go = 0;
	pid = by_fork(look);
	REQUIRE(pid > 0);
	write_odd_pages();
	/* The region is hidden while the keeper asks for descendants: who is made then has none of it. */
	for (int tries = 0; tries < 20; tries++) {
		past = raw_clone(look);
		REQUIRE(past > 0);
		usleep(30000);
		if (waitpid(past, &status, WNOHANG) == 0)
			break;
		REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && tries < 19);
	}
	write_odd_pages();
	REQUIRE(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	usleep(50000);
	REQUIRE(odf_region_settle(region) == EBUSY && info().state == ODF_REGION_FROZEN && info().live_bytes == 0);
	shared->go = 1;
	REQUIRE(exits_with(past, SEEN) && holds());
	await_live();
	REQUIRE(holds());
	snapshot_by(by_fork);
}
#endif

/* ---- Children's lives ---------------------------------------------------------------------------------------------------------------- */

static int grandchild(void)
{
	odf_region *inherited = region;
	volatile uint64_t *there = base;

	REQUIRE(holds());
	make_region();
	write_odd_pages();
	for (int i = 0; i < WAYS; i++)
		snapshot_by(ways[i].start);
	REQUIRE(odf_region_destroy(region) == 0);
	region = inherited;
	base = there;
	return SEEN;
}

static int child_with_children(void)
{
	odf_region_info found = info();

	is_child = true;
	REQUIRE(found.state == ODF_REGION_INHERITED && found.live_bytes == 0 && found.resident_bytes == 0 && found.capacity == (size_t)PAGES * PAGE);
	REQUIRE(holds());
	write_odd_pages();
	REQUIRE(info().private_bytes >= (size_t)PAGES / 2 * PAGE);
	REQUIRE(odf_region_settle(region) == 0 && odf_region_base(region) == base);
	shared->go = 1;
	for (int i = 0; i < WAYS; i++)
		REQUIRE(exits_with(ways[i].start(look), SEEN));
	REQUIRE(exits_with(by_fork(grandchild), SEEN));
	/* Discards of all sizes: zeros here, and only here. */
	for (size_t length = 1; length <= 512; length *= 2)
		REQUIRE(odf_region_discard(region, (char *)(uintptr_t)base + 512 * PAGE, length * PAGE) == 0);
	for (size_t page = 512; page < 1024; page++)
		REQUIRE(base[page * WORDS] == 0 && base[page * WORDS + WORDS - 1] == 0);
	REQUIRE(odf_region_discard(region, (char *)(uintptr_t)base + 1, PAGE) == EINVAL);
	REQUIRE(page_has(511, odd) && page_has(1024, even));
	write_page(600, 5);
	REQUIRE(page_has(600, 5));
	REQUIRE(odf_region_destroy(region) == 0);
	return SEEN;
}

static void case_generations(void)
{
	make_region();
	for (int i = 0; i < WAYS; i++) {
		if (ways[i].in_handlers && ways[i].start != by_bare_fork)
			continue; /* libc knows nothing of such a child, which makes no threads */
		REQUIRE(exits_with(ways[i].start(child_with_children), SEEN));
		REQUIRE(holds());
	}
	await_live();
	REQUIRE(holds());
}

static int leave_an_orphan(void)
{
	pid_t pid = by_bare_fork(look);

	return pid > 0 ? SEEN : 1;
}

/* Its parent is gone, its grandparent's file is not. */
static void case_orphan(void)
{
	make_region();
	shared->go = 0;
	REQUIRE(exits_with(by_fork(leave_an_orphan), SEEN));
	write_odd_pages();
	for (int i = 0; i < 20; i++) {
		REQUIRE(odf_region_settle(region) == EBUSY && info().state == ODF_REGION_FROZEN);
		usleep(5000);
	}
	REQUIRE(holds());
	shared->go = 1;
	await_live();
	REQUIRE(holds());
}

/* Discards side by side, each with memory of its own: mappings that the kernel does not merge. */
static void case_neighbours(void)
{
	char *first;

	make_region();
	first = (char *)(uintptr_t)base;
	for (int round = 0; round < 3; round++) {
		shared->go = 1;
		REQUIRE(exits_with(by_fork(look), SEEN));
		for (int i = 0; i < 3; i++) {
			static const size_t order[] = { 0, 2, 1 };
			size_t page = 16 + 16 * order[i];
			REQUIRE(odf_region_discard(region, first + page * PAGE, 16 * PAGE) == 0);
			base[page * WORDS] = page;
		}
		await_live();
		for (size_t page = 16; page < 64; page++) {
			REQUIRE(base[page * WORDS] == (page % 16 == 0 ? page : 0) && base[page * WORDS + 1] == 0);
			write_page(page, page % 2 == 0 ? even : odd);
		}
		REQUIRE(holds());
	}
}

static int handled[3];
static void prepare_handler(void)
{
	write_page(0, 500);
	handled[0]++;
}
static void parent_handler(void)
{
	write_page(2, 501);
	handled[1]++;
}
static void child_handler(void)
{
	write_page(4, 502);
	handled[2]++;
}

static int look_after_handlers(void)
{
	REQUIRE(page_has(0, 500) && page_has(2, 0) && page_has(4, 502) && handled[0] == 1 && handled[1] == 0 && handled[2] == 1);
	return SEEN;
}

static void case_atfork_handlers(void)
{
	REQUIRE(pthread_atfork(prepare_handler, parent_handler, child_handler) == 0);
	make_region();
	REQUIRE(exits_with(by_fork(look_after_handlers), SEEN));
	await_live();
	REQUIRE(page_has(0, 500) && page_has(2, 501) && page_has(4, 0) && handled[0] == 1 && handled[1] == 1 && handled[2] == 0);
}

/* ---- Threads and ids ------------------------------------------------------------------------------------------------------------------ */

static void *fork_while_ids_change(void *unused)
{
	while (!stop) {
		pid_t pid = by_fork(end_at_once);
		REQUIRE(pid > 0 && exits_with(pid, SEEN));
		usleep(1000);
	}
	return unused;
}

static void every_thread_must_have(uid_t uid)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int threads = 0;

	REQUIRE(tasks != NULL);
	while ((entry = readdir(tasks)) != NULL) {
		char path[300], line[256];
		unsigned real = 0, effective = 0;
		FILE *status;
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
		status = fopen(path, "r");
		REQUIRE(status != NULL);
		while (fgets(line, sizeof line, status) != NULL)
			if (sscanf(line, "Uid: %u %u", &real, &effective) == 2)
				break;
		fclose(status);
		REQUIRE(effective == uid);
		threads++;
	}
	closedir(tasks);
	REQUIRE(threads >= 2);
}

static void case_ids(void)
{
	uid_t other = geteuid() == 0 ? NOBODY : geteuid();
	gid_t other_group = geteuid() == 0 ? NOBODY : getegid();
	pthread_t thread;

	make_region();
	REQUIRE(pthread_create(&thread, NULL, fork_while_ids_change, NULL) == 0);
	for (int i = 0; i < 40; i++) {
		uid_t self = geteuid();
		gid_t group = getegid();
		REQUIRE(setegid(other_group) == 0 && seteuid(other) == 0);
		every_thread_must_have(other);
		REQUIRE(seteuid(self) == 0 && setegid(group) == 0);
	}
	REQUIRE(setgid(other_group) == 0 && setuid(other) == 0);
	every_thread_must_have(other);
	usleep(50000);
	stop = true;
	pthread_join(thread, NULL);
	REQUIRE(holds());
	REQUIRE(exits_with(by_fork(end_at_once), SEEN));
	await_live();
	REQUIRE(holds());
}

static void *destroy_cancelled(void *unused)
{
	pthread_cancel(pthread_self());
	(void)odf_region_destroy(region);
	return unused;
}

static void *make_cancelled(void *unused)
{
	pthread_cancel(pthread_self());
	make_region();
	(void)info();
	(void)odf_region_settle(region);
	return unused;
}

/* None of the functions is a cancellation point. */
static void case_cancelled(void)
{
	for (int i = 0; i < 40; i++) {
		pthread_t thread;
		void *result = NULL;
		REQUIRE(pthread_create(&thread, NULL, make_cancelled, NULL) == 0 && pthread_join(thread, &result) == 0);
		REQUIRE(result != PTHREAD_CANCELED && holds());
		REQUIRE(pthread_create(&thread, NULL, destroy_cancelled, NULL) == 0 && pthread_join(thread, &result) == 0);
		REQUIRE(result != PTHREAD_CANCELED);
	}
}

static void *execute(void *unused)
{
	execl("/bin/sh", "sh", "-c", "exit 42", (char *)NULL);
	return unused;
}

static int exec_in_thread(void)
{
	pthread_t thread;

	make_region();
	REQUIRE(by_fork(look) > 0);
	REQUIRE(pthread_create(&thread, NULL, execute, NULL) == 0);
	pthread_join(thread, NULL);
	return 1;
}

static void exit_frozen_at_exit(void)
{
	REQUIRE(holds() && info().state == ODF_REGION_FROZEN);
	shared->ready = 1;
}

static int exit_frozen(void)
{
	make_region();
	REQUIRE(by_fork(look) > 0);
	write_odd_pages();
	REQUIRE(atexit(exit_frozen_at_exit) == 0);
	exit(SEEN);
}

static void case_ends(void)
{
	shared->go = 0;
	REQUIRE(exits_with(by_fork(exec_in_thread), SEEN));
	shared->ready = 0;
	REQUIRE(exits_with(by_fork(exit_frozen), SEEN) && shared->ready == 1);
	shared->go = 1;
}

/* ---- Descriptors ------------------------------------------------------------------------------------------------------------------------ */

static unsigned open_descriptors(void)
{
	DIR *numbers = opendir("/proc/self/fd");
	unsigned count = 0;

	REQUIRE(numbers != NULL);
	while (readdir(numbers) != NULL)
		count++;
	closedir(numbers);
	return count;
}

static int count_descriptors(void)
{
	return (int)open_descriptors();
}

static int close_everything(void)
{
	struct rlimit limit;

	REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	make_region();
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	for (int i = 0; i < WAYS; i++)
		if (ways[i].start != by_forkpty)
			snapshot_by(ways[i].start);
	/* And none may be opened. */
	limit.rlim_cur = 0;
	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	shared->go = 1;
	for (int i = 0; i < WAYS; i++) {
		if (ways[i].start != by_forkpty && ways[i].start != by_odf_fork_with)
			REQUIRE(exits_with(ways[i].start(look), SEEN));
		(void)odf_region_settle(region);
		write_odd_pages();
	}
	REQUIRE(holds());
	limit.rlim_cur = 32;
	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	snapshot_by(by_fork);
	return SEEN;
}

static void case_descriptors(void)
{
	unsigned before = open_descriptors();
	pid_t pid;

	make_region();
	REQUIRE(open_descriptors() == before);
	shared->go = 0;
	pid = by_fork(look);
	REQUIRE(pid > 0 && open_descriptors() == before);
	REQUIRE(exits_with(by_fork(count_descriptors), (int)before));
	shared->go = 1;
	REQUIRE(exits_with(pid, SEEN) && open_descriptors() == before);
	await_live();
	(void)info();
	REQUIRE(open_descriptors() == before);
	REQUIRE(exits_with(by_fork(close_everything), SEEN));
	REQUIRE(odf_region_destroy(region) == 0 && open_descriptors() == before);
}

/* ---- The last thread ends the process, though the keeper is there. Started first and looked at last: it may take a while ---------------------- */

static void *end_last(void *unused)
{
	usleep(100000);
	return unused;
}

/* Shared with the parent. Descriptors are no witness: by then the program's own are closed. */
static int *handlers_ran;

static void note_that_handlers_run(void)
{
	*handlers_ran = 1;
}

static int end_by_last_thread(bool frozen)
{
	pthread_t thread;

	make_region();
	REQUIRE(atexit(note_that_handlers_run) == 0);
	shared->go = 0;
	if (frozen)
		REQUIRE(by_fork(look) > 0);
	REQUIRE(pthread_create(&thread, NULL, end_last, NULL) == 0 && pthread_detach(thread) == 0);
	pthread_exit(NULL);
}

static struct ending {
	int *handlers_ran;
	pid_t pid;
} endings[2];
static time_t endings_until;

static void start_endings(void)
{
	for (int i = 0; i < 2; i++) {
		endings[i].handlers_ran = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		REQUIRE(endings[i].handlers_ran != MAP_FAILED);
		endings[i].pid = fork();
		if (endings[i].pid == 0) {
			setpgid(0, 0);
			handlers_ran = endings[i].handlers_ran;
			shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
			_exit(end_by_last_thread(i == 1));
		}
	}
	endings_until = now() + 14;
}

static bool ends_in_time(struct ending *ending)
{
	int status = 0;
	pid_t pid;

	while ((pid = waitpid(ending->pid, &status, WNOHANG)) == 0 && now() <= endings_until)
		usleep(20000);
	kill(-ending->pid, SIGKILL); /* its child, too */
	if (pid == 0)
		waitpid(ending->pid, &status, 0);
	if (pid != ending->pid || status != 0)
		printf("# %s, wait status %#x\n", pid == 0 ? "had to be killed" : "ended", (unsigned)status);
	if (!*ending->handlers_ran)
		printf("# its atexit handlers did not run\n");
	return pid == ending->pid && status == 0 && *ending->handlers_ran;
}

/* ---- Running them ---------------------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "every_way", case_every_way },
	{ "another_thread", case_another_thread },
	{ "threads_at_once", case_threads_at_once },
	{ "handler", case_handler },
	{ "timer", case_timer },
	{ "child_goes_on", case_child_goes_on },
	{ "handler_writes", case_handler_writes },
	{ "memory_shared", case_memory_shared },
	{ "daemon", case_daemon },
	{ "shells", case_shells },
	{ "nothing_frozen", case_nothing_frozen },
#ifdef __x86_64__
	{ "past_the_library", case_past_the_library },
#endif
	{ "generations", case_generations },
	{ "orphan", case_orphan },
	{ "neighbours", case_neighbours },
	{ "atfork_handlers", case_atfork_handlers },
	{ "ids", case_ids },
	{ "cancelled", case_cancelled },
	{ "ends", case_ends },
	{ "descriptors", case_descriptors },
};
enum { CASES = sizeof cases / sizeof *cases };

static bool runs_well(int which)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		setpgid(0, 0);
		cases[which].run();
		_exit(0);
	}
	for (time_t end = now() + 2 * DEADLINE; waitpid(pid, &status, WNOHANG) == 0; usleep(2000)) {
		if (now() > end) {
			printf("# hangs\n");
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
	}
	kill(-pid, SIGKILL); /* what a case that failed left behind */
	if (status != 0)
		printf("# wait status %#x\n", (unsigned)status);
	return status == 0;
}

int main(int count, char **arguments)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	bool fine = true, result;

	setvbuf(stdout, NULL, _IOLBF, 0);
	messages = fcntl(2, F_DUPFD_CLOEXEC, 1024);
	if (messages < 0)
		messages = 2;
	bare = (pid_t(*)(void))dlsym(RTLD_DEFAULT, "_Fork");
	if (bare == NULL)
		bare = fork;
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(shared != MAP_FAILED && odf_capabilities_get(&capabilities) == 0);
	if (count > 1) {
		for (int i = 0; i < CASES; i++)
			if (strcmp(arguments[1], cases[i].name) == 0)
				cases[i].run();
		return 0;
	}
	if (capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE) {
		printf("1..0 # SKIP %s\n", odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
		return 0;
	}
	printf("1..%d\n", CASES + 2);
	start_endings();
	for (int i = 0; i < CASES; i++) {
		result = runs_well(i);
		printf("%s %d - %s\n", result ? "ok" : "not ok", i + 1, cases[i].name);
		fine = fine && result;
	}
	for (int i = 0; i < 2; i++) {
		result = ends_in_time(&endings[i]);
		printf("%s %d - last_thread%s\n", result ? "ok" : "not ok", CASES + i + 1, i == 1 ? "_frozen" : "");
		fine = fine && result;
	}
	return fine ? 0 : 1;
}
