/* SPDX-License-Identifier: MIT
 *
 * Operations of test_region_model: processes, made in each way, and what becomes of them.
 */
#include "region_model.h"
#include "../support/real_call.h"

const char *const way_names[] = {
	"fork", "odf_fork", "odf_fork_with", "fork in a handler", "_Fork", "_Fork in a handler", "syscall", "clone",
};

bool way_works[WAY_COUNT] = {
	[WAY_FORK] = true, [WAY_ODF_FORK] = true, [WAY_ODF_FORK_WITH] = true, [WAY_HANDLER] = true,
};
pid_t (*bare_fork)(void);

bool is_interposed(const char *name, void **symbol)
{
	Dl_info info;

	*symbol = dlsym(RTLD_DEFAULT, name);
	return *symbol != NULL && dladdr(*symbol, &info) != 0 && info.dli_fname != NULL &&
	       strstr(info.dli_fname, "libodfork") != NULL;
}

void find_ways(void)
{
	void *symbol;

	if (is_interposed("_Fork", &symbol)) {
		memcpy(&bare_fork, &symbol, sizeof symbol);
		way_works[WAY_BARE] = way_works[WAY_HANDLER_BARE] = true;
	}
	way_works[WAY_SYSCALL] = is_interposed("syscall", &symbol);
	/* The address sanitizer does not know the new stack. At the child's first noreturn call it would unpoison the
	 * wrong one. */
	way_works[WAY_CLONE] = !SANITIZED && is_interposed("clone", &symbol);
}

static enum way draw_way(void)
{
	enum way way = (enum way)below(WAY_COUNT), plain = (enum way)below(WAY_PLAIN);

	return way_works[way] ? way : plain;
}

static volatile sig_atomic_t handler_is_bare;
static volatile pid_t handler_result;

void fork_in_handler(int signal)
{
	(void)signal;
	handler_result = handler_is_bare ? bare_fork() : fork();
}

/* The first thing that a child does. */
__attribute__((noreturn)) static void be_child(int entry, enum way way)
{
	struct entry *e = &board->entries[entry];

	self.entry = entry;
	e->pid = getpid();
	strcpy(self.path, e->path);
	self.depth++;
	self.past_libc = self.past_libc || way == WAY_SYSCALL || way == WAY_CLONE;
	self.child_count = 0;
	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++) {
		r->owned = false;
		memset(&r->last, 0, sizeof r->last);
	}
	/* If its parent dies, the child is continued: none stays stopped for good. */
	prctl(PR_SET_PDEATHSIG, SIGCONT);
	e->ready = true;
	run_program();
}

static int child_of_clone(void *argument)
{
	be_child(*(int *)argument, WAY_CLONE);
}

static void *stack_for_clone(void)
{
	void *stack = mmap(NULL, CLONE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			   0);

	if (stack == MAP_FAILED)
		failure("no memory for a stack");
	return stack;
}

static pid_t fork_by(enum way way, int entry)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	const unsigned allow[] = { 0, 0, ODF_ALLOW(ODF_STRATEGY_FORK),
				   ODF_ALLOW(ODF_STRATEGY_FORK) | ODF_ALLOW(ODF_STRATEGY_REGION) };
	int pidfd = -1;
	pid_t pid = -1;
	void *stack;

	switch (way) {
	case WAY_ODF_FORK:
		return odf_fork();
	case WAY_ODF_FORK_WITH:
		options.allow = allow[below(4)];
		options.pidfd = one_in(3) ? &pidfd : NULL;
		pid = odf_fork_with(&options, &report);
		if (pidfd >= 0)
			close(pidfd);
		return pid;
	case WAY_BARE:
		return bare_fork();
	case WAY_HANDLER:
	case WAY_HANDLER_BARE:
		handler_is_bare = way == WAY_HANDLER_BARE;
		/* Not raise(), which takes the thread id from libc. No other thread has the signal unblocked, so the
		 * handler runs before the system call returns. */
		handler_result = -2;
		kill(getpid(), SIGUSR1);
		if (handler_result == -2)
			failure("a signal of the process did not come to its only thread");
		return handler_result;
	case WAY_SYSCALL:
		return (pid_t)(one_in(2) ? syscall(FORK_BY_NUMBER) : syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	case WAY_CLONE:
		stack = stack_for_clone();
		pid = clone(child_of_clone, (char *)stack + CLONE_STACK, SIGCHLD, &entry);
		munmap(stack, CLONE_STACK);
		return pid;
	default:
		return fork();
	}
}

static void judge(struct entry *e, int status)
{
	bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0 && (e->done || e->leaves);
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && e->doomed;

	e->gone = true;
	if (board->failed)
		return;
	if (!ended && !killed)
		failure("process %s ended with %s %d", e->path, WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static int wait_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			failure("waitpid: %s", strerror(errno));
	return status;
}

void reap(int index)
{
	struct child child = self.children[index];

	if (child.stopped)
		kill(child.pid, SIGCONT);
	self.children[index] = self.children[--self.child_count];
	judge(&board->entries[child.entry], wait_status(child.pid));
}

void make_child(void)
{
	enum way way = draw_way();
	int entry = atomic_fetch_add(&board->used, 1);
	uint64_t freezes[MAX_REGIONS];
	bool live[MAX_REGIONS] = { false };
	struct entry *e;
	pid_t pid;

	if (entry >= MAX_PROCESSES)
		failure("more processes than the test foresaw");
	if (self.child_count == MAX_CHILDREN)
		reap((int)below(MAX_CHILDREN));
	e = &board->entries[entry];
	memset(e, 0, sizeof *e);
	e->parent = self.entry;
	snprintf(e->path, sizeof e->path, "%.38s.%u", self.path, self.forks++ % 1000);
	for (int i = 0; i < MAX_REGIONS; i++)
		if (self.regions[i].handle != NULL && self.regions[i].owned && one_in(2)) {
			odf_region_info info = info_of(self.regions[i].handle);
			live[i] = info.state == ODF_REGION_LIVE;
			freezes[i] = info.freezes;
		}
	pid = fork_by(way, entry);
	if (pid == 0)
		be_child(entry, way);
	if (pid < 0)
		failure("%s: %s", way_names[way], strerror(errno));
	e->pid = pid;
	totals->processes++;
	note("%s makes %s, %d", way_names[way], e->path, (int)pid);
	self.children[self.child_count++] = (struct child){ pid, entry, false };
	for (int i = 0; i < MAX_REGIONS; i++)
		if (live[i]) {
			odf_region_info info = info_of(self.regions[i].handle);
			if (info.freezes != freezes[i] + 1)
				failure("region %d was LIVE with %" PRIu64 " freezes, and has %" PRIu64 " after %s", i,
					freezes[i], info.freezes, way_names[way]);
		}
}

/* Kills, stops, continues or waits for a child. */
void treat_child(void)
{
	int index;
	struct child *child;
	struct entry *e;

	if (self.child_count == 0)
		return;
	index = (int)below((size_t)self.child_count);
	child = &self.children[index];
	e = &board->entries[child->entry];
	switch (below(6)) {
	case 0:
	case 1:
		e->doomed = true;
		kill(child->pid, SIGKILL);
		note("kills %s", e->path);
		totals->kills++;
		reap(index);
		break;
	case 2:
	case 3:
		if (child->stopped || !e->ready)
			break;
		child->stopped = true;
		kill(child->pid, SIGSTOP);
		note("stops %s", e->path);
		totals->stops++;
		break;
	case 4:
		child->stopped = false;
		kill(child->pid, SIGCONT);
		break;
	default:
		note("waits for %s", e->path);
		reap(index);
	}
}

/* In a function of its own: vfork returns twice into the same frame. */
__attribute__((noinline)) static pid_t make_vfork_child(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(0);
	return pid;
}

/* A spawn must not touch the regions. */
void make_other_process(void)
{
	static char name[] = "true", *argv[] = { name, NULL };
	odf_region_info before[MAX_REGIONS];
	bool spawn = one_in(3);
	pid_t pid = -1;
	int status, error = 0;

	for (int i = 0; i < MAX_REGIONS; i++)
		if (self.regions[i].handle != NULL)
			before[i] = info_of(self.regions[i].handle);
	if (spawn) {
		error = one_in(2) ? posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ)
				  : odf_posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
	} else {
		pid = make_vfork_child();
	}
	if (error != 0 || pid < 0)
		failure("%s: %s", spawn ? "posix_spawn" : "vfork", strerror(error == 0 ? errno : error));
	status = wait_status(pid);
	if (status != 0)
		failure("a spawned process ended with %#x", status);
	for (int i = 0; i < MAX_REGIONS; i++)
		if (self.regions[i].handle != NULL) {
			odf_region_info after = info_of(self.regions[i].handle);
			/* The keeper may have settled meanwhile. */
			if (after.freezes != before[i].freezes ||
			    (before[i].state == ODF_REGION_LIVE && after.state != ODF_REGION_LIVE))
				failure("a %s made region %d go from %s to %s", spawn ? "spawn" : "vfork", i,
					state_name(before[i].state), state_name(after.state));
		}
	totals->spawns++;
}

/* In a child whose region is ABSENT. If memory is mapped there all the same, it must not be the parent's, which
 * compares its own afterwards. The kernel writes, as it returns EFAULT where an access would kill this process. */
static void try_to_write(const struct region *r)
{
	for (int i = 0; i < 6; i++) {
		unsigned char *at = r->base + draw_page(r) * PAGE + below(PAGE - 64);
		ssize_t count = syscall(SYS_getrandom, at, 64, 0);
		if (count != 64 && (count >= 0 || errno != EFAULT))
			failure("getrandom in a child that has not got the memory gives %zd: %s", count,
				strerror(errno));
	}
}

/* The child of a fork that the library does not see: the library must tell it that it does not have the memory, unless
 * it does. */
void make_child_past_the_library(void)
{
	long pid = real_fork();
	int status;

	if (pid == -ENOSYS)
		return;
	if (pid == 0) {
		alarm(GUARD_SECONDS / 2);
		for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++) {
			odf_region_info info = ODF_REGION_INFO_INIT;
			int error;
			if (r->handle == NULL)
				continue;
			error = odf_region_info_get(r->handle, &info);
			if (error != 0)
				failure("odf_region_info_get past the library: %s", strerror(error));
			if (info.state == ODF_REGION_INHERITED)
				compare_region(r);
			else if (info.state != ODF_REGION_ABSENT || !r->owned)
				failure("region %d (%s) is %s in a child made past the library", number_of(r),
					r->owned ? "own" : "inherited", state_name(info.state));
			else if ((error = odf_region_discard(r->handle, r->base, PAGE)) != ENXIO)
				failure("discard in a child that has not got the memory: %s", strerror(error));
			else
				try_to_write(r);
		}
		_exit(0);
	}
	if (pid < 0)
		failure("a raw fork: %s", strerror((int)-pid));
	status = wait_status((pid_t)pid);
	if (status != 0 && !board->failed)
		failure("a child made past the library ended with %#x", status);
	compare_all();
	totals->past++;
}

/* With much to merge and no descendant left the keeper settles, and a fork interrupts it at some point. */
void race_settle(struct region *r)
{
	size_t tables = (r->pages + BLOCK - 1) / BLOCK, step = 1 + below(4);

	if (self.depth > 1 || self.page_budget < 0)
		return;
	make_child();
	for (size_t i = 0; i < 2; i++) {
		write_run(r);
		discard(r);
		discard_patchwork(r);
	}
	/* A few pages in each page table, then more in some of them. */
	for (size_t table = 0; table < tables && table < 80 * step; table += step) {
		size_t page = table * BLOCK + below(BLOCK);
		if (page >= r->pages)
			break;
		touch(r, page, 1);
		r->base[page * PAGE] = r->shadow[page * PAGE] = (unsigned char)draw();
	}
	for (size_t i = 0; i < 3; i++) {
		size_t page = draw_page(r), run = r->pages - page < 300 ? r->pages - page : 300;
		touch(r, page, run);
		for (size_t p = page; p < page + run; p++)
			r->base[p * PAGE + 8] = r->shadow[p * PAGE + 8] = (unsigned char)(p + i);
	}
	while (self.child_count > 0) {
		board->entries[self.children[0].entry].doomed = true;
		kill(self.children[0].pid, SIGKILL);
		totals->kills++;
		reap(0);
	}
	usleep((useconds_t)below(one_in(4) ? 30000 : 3000));
	make_child();
	compare_region(r);
}
