/* SPDX-License-Identifier: MIT
 *
 * Operations of test_heap_model: children, made by each way of forking; and signals that interrupt all of it.
 */
#include "heap_model.h"

enum way { WAY_FORK, WAY_BARE, WAY_SYSCALL, WAY_SYSCALL_CLONE, WAY_CLONE, WAY_HANDLER, WAY_COUNT };

static const char *const way_names[] = {
	"fork", "_Fork", "syscall fork", "syscall clone", "clone", "fork in a handler",
};

/* Since glibc 2.34. */
pid_t _Fork(void) __attribute__((weak));

static unsigned char clone_stack[CLONE_STACK] __attribute__((aligned(64)));
static unsigned next_entry;
static bool next_waited_for;

/* The first thing that a child does. */
__attribute__((noreturn)) static void be_child(void)
{
	self.entry = next_entry;
	entry()->pid = getpid();
	memcpy(self.path, entry()->path, sizeof self.path);
	self.depth++;
	self.child_count = 0;
	line_start = 0;
	if (!next_waited_for)
		self.shared_file = -1;
	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++)
		for (size_t i = 0; a->base != NULL && i < a->pages; i++) {
			struct page *p = page_at(a, i);
			/* If process_madvise failed at another place, this page may not have the advice. */
			if (is_mapped(p) && (p->flags & NOT_FORKED) != 0)
				set_kind(a, i, 1, p->kind == SHARED && !next_waited_for ? UNKNOWN : HOLE);
			else if (p->kind == SHARED && !next_waited_for)
				p->flags |= FOREIGN;
			p->flags &= (uint8_t)~LOCKED;
		}
	run_program();
}

static int child_of_clone(void *unused)
{
	(void)unused;
	be_child();
}

static volatile pid_t handler_result;

void fork_in_handler(int signal)
{
	(void)signal;
	handler_result = fork();
}

static pid_t fork_by(enum way way)
{
	errno = NO_ERROR;
	switch (way) {
	case WAY_BARE:
		return _Fork != NULL ? _Fork() : fork();
	case WAY_SYSCALL:
#ifdef SYS_fork
		return (pid_t)syscall(SYS_fork);
#endif
	case WAY_SYSCALL_CLONE:
		return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	case WAY_CLONE:
		return clone(child_of_clone, clone_stack + CLONE_STACK, SIGCHLD, NULL);
	case WAY_HANDLER:
		handler_result = -1;
		kill(getpid(), SIGUSR2);
		return handler_result;
	default:
		return fork();
	}
}

static int wait_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			broken("waitpid");
	return status;
}

static void say_status(int status)
{
	if (WIFSIGNALED(status))
		say(" signal %d", WTERMSIG(status));
	else
		say(" exit %d", WEXITSTATUS(status));
}

void reap(unsigned index)
{
	struct child child = self.children[index];
	struct entry *e = &board->entries[child.entry];
	int status = wait_status(child.pid);

	self.children[index] = self.children[--self.child_count];
	say("wait for %s:", e->path);
	if (!e->doomed)
		say_status(status);
}

void make_child(void)
{
	enum way way = one_in(2) ? WAY_FORK : (enum way)below(WAY_COUNT);
	bool waited_for = one_in(4);
	struct entry *e;
	pid_t pid;

	if (self.child_count == MAX_CHILDREN)
		reap((unsigned)below(MAX_CHILDREN));
	next_entry = atomic_fetch_add(&board->used, 1);
	next_waited_for = waited_for;
	if (next_entry >= MAX_ENTRIES)
		broken("more processes than foreseen");
	e = &board->entries[next_entry];
	e->doomed = e->done = false;
	e->length = 0;
	memset(e->text + TEXT_SIZE - 64, 0, 64);
	e->seed = self.seed;
	e->pid = 0;
	snprintf(e->path, sizeof e->path, "%.38s.%u", self.path, self.forks++ % 1000);
	ever_forked = true;
	say("%s makes %s%s", way_names[way], e->path, waited_for ? " and waits" : "");
	pid = fork_by(way);
	if (pid == 0)
		be_child();
	if (pid < 0) {
		say_result(-1);
		return;
	}
	board->processes++;
	e->pid = pid;
	if (waited_for)
		say_status(wait_status(pid));
	else
		self.children[self.child_count++] = (struct child){ pid, (unsigned)(e - board->entries) };
}

void treat_child(void)
{
	unsigned index;

	if (self.child_count == 0)
		return;
	index = (unsigned)below(self.child_count);
	if (one_in(3)) {
		say("kill ");
		board->entries[self.children[index].entry].doomed = true;
		board->kills++;
		if (one_in(2))
			usleep((useconds_t)below(1000));
		kill(self.children[index].pid, SIGKILL);
	}
	reap(index);
}

/* In a function of its own: vfork returns twice into the same frame. */
__attribute__((noinline)) static pid_t make_vfork_child(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(3);
	return pid;
}

void make_vfork(void)
{
	say("vfork:");
	say_status(wait_status(make_vfork_child()));
}

/* ---- Noise: signals at any moment, whose handlers map memory and fork -------------------------------------------- */

timer_t noise;
static unsigned noise_turn;

/* Starts the timer once more. A periodic timer could leave no time for anything else. */
static void arm_noise(void)
{
	struct itimerspec when = { { 0, 0 }, { 0, 0 } };

	when.it_value.tv_nsec = (long)(100000 + mix(self.entry + noise_turn) % 2000000);
	if (noise_turn < 40)
		timer_settime(noise, 0, &when, NULL);
}

void make_noise(int signal)
{
	int saved = errno, status;
	unsigned char *memory = MAP_FAILED;
	pid_t pid;

	(void)signal;
	if (noise_turn++ % 2 == 0) {
		memory = mmap(NULL, 40 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory != MAP_FAILED)
			memory[5 * PAGE] = 77;
	}
	pid = _Fork != NULL ? _Fork() : fork();
	if (pid == 0)
		_exit(memory != MAP_FAILED && memory[5 * PAGE] != 77 ? 1 : 0);
	if (pid > 0 && (waitpid(pid, &status, 0) != pid || status != 0))
		say(" NOISE %#x", (unsigned)status);
	if (memory != MAP_FAILED)
		munmap(memory, 40 * PAGE);
	arm_noise();
	errno = saved;
}

/* Called in each process: a child does not inherit timers. Only in the run with the library; the plain run has no
 * noise, and nothing compared depends on it. */
void start_noise(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };

	if (!self.noisy)
		return;
	if (timer_create(CLOCK_MONOTONIC, &event, &noise) != 0)
		broken("timer_create");
	noise_turn = 0;
	arm_noise();
}
