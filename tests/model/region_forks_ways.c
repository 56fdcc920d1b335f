/* SPDX-License-Identifier: MIT
 *
 * Cases of region_forks: every way to make a process, from the main thread, other threads, several threads at once, and
 * signal handlers.
 */
#include "region_forks.h"

pid_t by_fork(int (*child)(void))
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

pid_t by_odf_fork_with(int (*child)(void))
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

pid_t by_bare_fork(int (*child)(void))
{
	pid_t pid = bare();

	if (pid == 0)
		_exit(child());
	return pid;
}

pid_t by_forkpty(int (*child)(void))
{
	static __thread int terminal = -1;
	pid_t pid;

	/* The last child's terminal. That child has ended; closing it earlier would hang up the terminal while the
	 * child is made. */
	if (terminal >= 0)
		close(terminal);
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

pid_t clone_with(int flags, int (*child)(void))
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct call *call = (void *)stack;
	pid_t pid;

	REQUIRE(stack != MAP_FAILED);
	call->function = child;
	pid = clone(make_call, stack + STACK, flags, call);
	if (!(flags & CLONE_VM) || (flags & CLONE_VFORK))
		munmap(stack, STACK); /* no thread runs on it */
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
	if (pid < 0 && (errno == ENOSYS || errno == EPERM)) /* not offered by the kernel, or refused by a sandbox */
		return by_call_clone(child);
	return pid;
}

const struct known_way ways[] = {
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
const int way_count = sizeof ways / sizeof *ways;

/* Makes one process in one way, while the region is LIVE. */
void snapshot_by(way *start)
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

void case_every_way(void)
{
	make_region();
	for (int i = 0; i < 2 * way_count; i++)
		snapshot_by(ways[i % way_count].start);
	REQUIRE(odf_region_destroy(region) == 0);
}

static void *every_way(void *unused)
{
	for (int i = 0; i < way_count; i++)
		snapshot_by(ways[i].start);
	return unused;
}

void case_another_thread(void)
{
	pthread_t thread;

	make_region();
	REQUIRE(pthread_create(&thread, NULL, every_way, NULL) == 0);
	REQUIRE(pthread_join(thread, NULL) == 0);
	snapshot_by(by_fork);
}

/* ---- Several threads at once: each owns a stripe, with the same number in all its pages -------------------------- */

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
		pid = ways[(round + self) % way_count].start(look_at_stripe);
		REQUIRE(pid > 0 && exits_with(pid, SEEN));
		REQUIRE(stripe_has(stripe_seed));
		if (round % 5 == self)
			(void)odf_region_info_get(region, &ODF_REGION_INFO_INIT);
	}
	return NULL;
}

void case_threads_at_once(void)
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

/* ---- Signal handlers --------------------------------------------------------------------------------------------- */

static volatile int handler_way;
volatile pid_t handler_child;

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

void case_handler(void)
{
	struct sigaction action = { .sa_handler = start_in_handler };

	make_region();
	sigaction(SIGUSR1, &action, NULL);
	for (handler_way = 0; handler_way < way_count; handler_way++)
		if (ways[handler_way].in_handlers)
			snapshot_by(by_raise);
}

timer_t start_timer(int signal, long after_ns, long every_ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = signal };
	struct itimerspec when = { { 0, every_ns }, { 0, after_ns } };
	timer_t timer;

	REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	REQUIRE(timer_settime(timer, 0, &when, NULL) == 0);
	return timer;
}

enum { STEADY = PAGES / 2 }; /* the next case writes and discards the pages from here on */

static int look_at_steady(void)
{
	for (size_t page = 0; page < STEADY; page++)
		if (!page_has(page, 0))
			return 1;
	return SEEN;
}

static atomic_int handler_forks;
static timer_t handler_timer;

/* A one-shot timer: even if a fork takes long, the program makes progress before the next one. */
static void fork_again_in(long ns)
{
	const struct itimerspec then = { { 0, 0 }, { 0, ns } };

	REQUIRE(timer_settime(handler_timer, 0, &then, NULL) == 0);
}

static void fork_in_handler(int signal)
{
	int saved = errno;
	pid_t pid = by_bare_fork(look_at_steady);

	(void)signal;
	REQUIRE(pid > 0);
	atomic_fetch_add(&handler_forks, 1);
	fork_again_in(2600000);
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

/* The handler interrupts any function of the library, and must not wait for what it has interrupted. */
void case_timer(void)
{
	struct sigaction action = { .sa_handler = fork_in_handler, .sa_flags = SA_RESTART };
	time_t end = now() + 3;
	int reaped = 0, others = 0;

	make_region();
	sigaction(SIGALRM, &action, NULL);
	handler_timer = start_timer(SIGALRM, 0, 0); /* not armed yet */
	fork_again_in(1000000);
	for (unsigned round = 0; now() < end || handler_forks <= 5 || others <= 5; round++) {
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
	REQUIRE(signal(SIGALRM, SIG_IGN) != SIG_ERR && timer_delete(handler_timer) == 0);
	while (reaped < handler_forks)
		reap(&reaped);
	await_live();
	REQUIRE(look_at_steady() == SEEN);
}
