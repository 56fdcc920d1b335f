/* SPDX-License-Identifier: MIT
 *
 * The life of a process of test_region_model, and how a worker runs a seed.
 */
#include "region_model.h"

enum operation {
	DO_WORDS, DO_RUN, DO_ADD, DO_KERNEL_WRITE, DO_KERNEL_READ, DO_COMPARE_SOME, DO_COMPARE, DO_DISCARD, DO_REFUSED,
	DO_FORK, DO_CHILD, DO_SETTLE, DO_INFO, DO_DESTROY, DO_CREATE, DO_SPAWN, DO_PAST, DO_RACE, DO_SLEEP, DO_COUNT
};

static const unsigned char weights[DO_COUNT] = {
	[DO_WORDS] = 26, [DO_RUN] = 12, [DO_ADD] = 6, [DO_KERNEL_WRITE] = 8, [DO_KERNEL_READ] = 4,
	[DO_COMPARE_SOME] = 8, [DO_COMPARE] = 5, [DO_DISCARD] = 8, [DO_REFUSED] = 1, [DO_FORK] = 14, [DO_CHILD] = 10,
	[DO_SETTLE] = 5, [DO_INFO] = 6, [DO_DESTROY] = 2, [DO_CREATE] = 4, [DO_SPAWN] = 2, [DO_PAST] = 1, [DO_RACE] = 1,
	[DO_SLEEP] = 4,
};

static enum operation draw_operation(void)
{
	size_t sum = 0, at;
	enum operation operation = DO_WORDS;

	for (int i = 0; i < DO_COUNT; i++)
		sum += weights[i];
	for (at = below(sum); at >= weights[operation]; operation++)
		at -= weights[operation];
	return operation;
}

static void create_one_more(void)
{
	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
		if (r->handle == NULL) {
			create(r);
			return;
		}
}

static void take_step(void)
{
	enum operation operation = draw_operation();
	struct region *r = draw_region();

	if (r == NULL && operation != DO_FORK && operation != DO_CHILD && operation != DO_SPAWN &&
	    operation != DO_SLEEP)
		operation = DO_CREATE;
	switch (operation) {
	case DO_WORDS:
		write_words(r);
		break;
	case DO_RUN:
		write_run(r);
		break;
	case DO_ADD:
		add_words(r);
		break;
	case DO_KERNEL_WRITE:
		kernel_writes(r);
		break;
	case DO_KERNEL_READ:
		kernel_reads(r);
		break;
	case DO_COMPARE_SOME:
		compare_some(r);
		break;
	case DO_COMPARE:
		compare_region(r);
		break;
	case DO_DISCARD:
		if (one_in(4))
			discard_patchwork(r);
		else
			discard(r);
		break;
	case DO_REFUSED:
		refused(r);
		break;
	case DO_FORK:
		if (self.depth < MAX_DEPTH && self.forks < self.fork_limit)
			make_child();
		else if (r != NULL)
			write_words(r);
		break;
	case DO_CHILD:
		treat_child();
		break;
	case DO_SETTLE:
		note("settle %d", number_of(r));
		settle(r);
		break;
	case DO_INFO:
		check_info(r);
		break;
	case DO_DESTROY:
		note("destroy %d", number_of(r));
		destroy(r);
		break;
	case DO_CREATE:
		if (!self.past_libc)
			create_one_more();
		break;
	case DO_SPAWN:
		make_other_process();
		break;
	case DO_PAST:
		make_child_past_the_library();
		break;
	case DO_RACE:
		race_settle(r);
		break;
	default:
		usleep((useconds_t)below(one_in(4) ? 4000 : 400));
	}
}

__attribute__((noreturn)) static void end_program(bool root)
{
	bool leave_children = one_in(root ? 8 : 4), leave_by_exec = !root && one_in(6);

	self.step++;
	compare_all();
	if (leave_children) {
		totals->orphans += (unsigned long)self.child_count;
	} else {
		while (self.child_count > 0 && !board->failed)
			reap(0);
		compare_all();
		self.step++;
		for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
			if (r->handle != NULL && one_in(2)) {
				settle(r);
				check_info(r);
				compare_region(r);
			}
	}
	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
		if (r->handle != NULL) {
			if (one_in(2))
				destroy(r);
			else
				count_for_totals(r);
		}
	if (board->failed)
		_exit(1);
	if (leave_by_exec) {
		totals->execs++;
		board->entries[self.entry].leaves = true;
		execl("/bin/true", "true", (char *)NULL);
		failure("cannot execute /bin/true: %s", strerror(errno));
	}
	board->entries[self.entry].done = true;
	_exit(0);
}

/* Ends the process; exit status 0: no failure. */
void run_program(void)
{
	static const unsigned char most_forks[] = { 7, 4, 3, 2, 1 };
	bool root = self.depth == 0;
	unsigned steps;

	alarm(GUARD_SECONDS);
	draw_from_step(~0u);
	steps = root ? 30 + (unsigned)below(50) : (unsigned)below(one_in(4) ? 40 : 16);
	self.forks = 0;
	self.fork_limit = (unsigned)below(most_forks[self.depth] + 1u);
	self.page_budget = root && self.seed % 64 == 0 ? 20000 : 3000;
	self.step = 0;
	if (root) {
		for (size_t i = 1 + below(3); i > 0; i--)
			create(&self.regions[i - 1]);
	} else {
		for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
			if (r->handle != NULL && (odf_region_base(r->handle) != r->base ||
						  odf_region_capacity(r->handle) != r->pages * PAGE))
				failure("region %d is elsewhere or of another size in the child", number_of(r));
		if (one_in(2))
			compare_all();
	}
	while (self.step < steps && !board->failed) {
		self.step++;
		draw_from_step(self.step);
		take_step();
		atomic_fetch_add_explicit(&totals->steps, 1, memory_order_relaxed);
	}
	if (board->failed)
		_exit(1);
	end_program(root);
}

/* ---- Seeds ------------------------------------------------------------------------------------------------------- */

static void on_guard(int signal)
{
	static const char text[] = "\n# a seed hangs\n";
	int nobody = 0;

	(void)signal;
	(void)!write(2, text, sizeof text - 1);
	if (atomic_compare_exchange_strong(&board->failed, &nobody, 1)) {
		snprintf(board->text, sizeof board->text, "seed %" PRIu64 ": does not end", self.seed);
		board->told = true;
	}
	for (int i = 0; i < board->used && i < MAX_PROCESSES; i++)
		if (board->entries[i].pid > 0 && !board->entries[i].gone)
			kill(board->entries[i].pid, SIGKILL);
}

static struct entry *entry_of(pid_t pid)
{
	for (int i = 0; i < board->used && i < MAX_PROCESSES; i++)
		if (board->entries[i].pid == pid && !board->entries[i].gone)
			return &board->entries[i];
	return NULL;
}

/* cmocka catches these signals to continue with the next test. Only cmocka's own process must do that. */
void let_signals_kill(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS };

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		signal(signals[i], SIG_DFL);
}

/* Test hooks of the library; not there if it is linked as programs link it. Every second seed gives small pieces back
 * in the other ways. */
extern bool region_zero_pages_never __attribute__((weak));
/* Every third seed settles without page tables, as when forks come in quick succession. */
extern bool region_fresh_always __attribute__((weak));
/* Every second seed frees what no descendant sees as soon as possible. */
extern bool region_older_always __attribute__((weak));

/* In a worker: makes the root, and waits for it and for all processes that outlive their parents. The worker adopts
 * those. */
bool run_seed(uint64_t seed)
{
	struct sigaction in_handler = { .sa_handler = fork_in_handler }, at_guard = { .sa_handler = on_guard };
	struct entry *root = &board->entries[0];
	pid_t pid;
	int status;

	memset(&self, 0, sizeof self);
	memset(board, 0, offsetof(struct board, entries));
	memset(root, 0, sizeof *root);
	if (&region_zero_pages_never != NULL)
		region_zero_pages_never = seed % 2 == 0;
	if (&region_fresh_always != NULL)
		region_fresh_always = seed % 3 == 0;
	if (&region_older_always != NULL)
		region_older_always = seed % 4 < 2;
	self.seed = seed;
	strcpy(self.path, "0");
	strcpy(root->path, "0");
	root->parent = -1;
	board->used = 1;
	sigaction(SIGUSR1, &in_handler, NULL);
	pid = fork();
	if (pid == 0) {
		signal(SIGALRM, SIG_DFL);
		root->pid = getpid();
		run_program();
	}
	if (pid < 0)
		return false;
	root->pid = pid;
	sigaction(SIGALRM, &at_guard, NULL);
	alarm(GUARD_SECONDS + 60);
	while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR) {
		struct entry *e = pid > 0 ? entry_of(pid) : NULL;
		bool ended, killed;
		if (e == NULL)
			continue; /* a spawned process whose parent was killed */
		ended = WIFEXITED(status) && WEXITSTATUS(status) == 0 && (e->done || e->leaves);
		killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && e->doomed;
		e->gone = true;
		if (!ended && !killed && !board->failed) {
			board->failed = 1;
			snprintf(board->text, sizeof board->text, "seed %" PRIu64 ": process %s ended with %s %d", seed,
				 e->path, WIFSIGNALED(status) ? "signal" : "status",
				 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
			board->told = true;
		}
	}
	alarm(0);
	totals->seeds++;
	return board->failed == 0;
}
