/* SPDX-License-Identifier: MIT
 *
 * Cases of region_forks: children that do what programs do: write, fork, become daemons, share memory.
 */
#include "region_forks.h"

/* A child made by a handler returns to where its parent was interrupted. In a single-threaded program that may be in
 * the middle of these functions. */
static pid_t owner;

static void go_on_in_child(int signal)
{
	(void)signal;
	if (getpid() != owner)
		return;
	handler_child = bare();
	if (handler_child == 0)
		alarm(case_seconds(120));
}

void case_child_goes_on(void)
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

/* Gives up root, and with it userfaultfd for faults in kernel mode. */
static void become_nobody(void)
{
	(void)setpriority(PRIO_PROCESS, 0, -15); /* if permitted: so that handlers run in time on a busy machine */
	if (geteuid() == 0)
		REQUIRE(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
	REQUIRE(prctl(PR_SET_DUMPABLE, 1) == 0); /* otherwise its own pagemap is readable by root only */
}

/* The value of the second word of some pages: as many as one step of a settle takes. */
static volatile unsigned counts[PAGES];
enum { COUNTED = 8 };

static void add_some(int signal)
{
	(void)signal;
	for (size_t page = 0; page < PAGES; page += COUNTED) {
		base[page * WORDS + 1]++;
		counts[page]++;
	}
}

int end_at_once(void)
{
	return SEEN;
}

/* Forks, and touches enough pages in between to make a settle worthwhile, until forks have settled `settles` times, or
 * for `seconds` at most. */
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
		dprintf(messages, "# %u of %d counters are wrong after %d settles\n", wrong, PAGES / COUNTED,
			(int)info().settles);
	REQUIRE(wrong == 0);
}

/* In a single-threaded process only its signal handlers run beside it. */
void case_handler_writes(void)
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

atomic_bool stop;

static int add_always(void)
{
	while (!stop)
		add_some(0);
	return SEEN;
}

/* A child that shares the memory is not a thread either. */
void case_memory_shared(void)
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

/* ---- Forks by libc's own functions ------------------------------------------------------------------------------- */

static int be_a_daemon(int report)
{
	unsigned char fine = 1;

	is_child = true;
	REQUIRE(info().state == ODF_REGION_INHERITED && holds());
	write_odd_pages();
	REQUIRE(odf_region_settle(region) == 0 && holds());
	shared->go = 1;
	for (int i = 0; i < way_count; i++) {
		pid_t pid = ways[i].start(look);
		REQUIRE(pid > 0 && exits_with(pid, SEEN));
	}
	REQUIRE(holds() && odf_region_destroy(region) == 0);
	make_region(); /* this child's own region, which is LIVE */
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

void case_daemon(void)
{
	daemonize(false);
	daemonize(true);
}

void case_shells(void)
{
	char line[64] = "";
	FILE *stream;

	make_region();
	REQUIRE(system("exit 16") == 16 << 8);
	stream = popen("echo through popen", "r");
	REQUIRE(stream != NULL && fgets(line, sizeof line, stream) != NULL && strcmp(line, "through popen\n") == 0 &&
		pclose(stream) == 0);
	REQUIRE(info().freezes == 0 && info().state == ODF_REGION_LIVE && holds());
	snapshot_by(by_fork);
	REQUIRE(system("exit 17") == 17 << 8 && holds());
}
