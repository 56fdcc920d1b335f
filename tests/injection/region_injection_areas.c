/* SPDX-License-Identifier: MIT
 *
 * The memory of test_region_injection, what it must contain, and what a child must find in it.
 */
#include "region_injection.h"

struct area areas[AREAS] = { { .pages = 5 }, { .pages = MOST_PAGES } };

volatile uint64_t *word_at(const struct area *area, size_t page, size_t offset)
{
	return (volatile uint64_t *)(void *)(area->base + page * PAGE + offset);
}

static const size_t words[] = { 0, PAGE / 2, PAGE - sizeof(uint64_t) };
#define WORDS (sizeof words / sizeof *words)

void compare(const char *who)
{
	for (size_t i = 0; i < AREAS; i++) {
		struct area *area = &areas[i];
		if (area->region == NULL)
			continue;
		for (size_t page = 0; page < area->pages; page++)
			for (size_t word = 0; word < WORDS && !area->hole[page] && (area->used[page] || page % 16 == 0);
			     word++)
				if (*word_at(area, page, words[word]) != area->value[page])
					die("%s: page %zu of the %s region has %llx at %zu, not %llx", who, page,
					    i == SMALL ? "small" : "big",
					    (unsigned long long)*word_at(area, page, words[word]), words[word],
					    (unsigned long long)area->value[page]);
	}
}

void put(struct area *area, size_t page, uint64_t value)
{
	if (area->region == NULL || area->hole[page])
		return;
	area->value[page] = value << 32 | page << 8 | 1;
	area->used[page] = true;
	for (size_t word = 0; word < WORDS; word++)
		*word_at(area, page, words[word]) = area->value[page];
}

void discard(struct area *area, size_t page, size_t count)
{
	int error = odf_region_discard(area->region, area->base + page * PAGE, count * PAGE);

	if (error != 0)
		die("discard: %s", strerror(error));
	memset(&area->value[page], 0, count * sizeof area->value[0]);
}

odf_region_info info_of(const struct area *area)
{
	odf_region_info info = ODF_REGION_INFO_INIT;
	int error = odf_region_info_get(area->region, &info);

	if (error != 0)
		die("info: %s", strerror(error));
	return info;
}

bool failed_yet(void)
{
	return atomic_load(&control->failures) > 0;
}

void create(struct area *area, unsigned flags)
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

enum { IS_ABSENT = 3 };

bool bare; /* there is only one region, of the heap's kind */

/* The heap puts nothing into a region that has given itself up. What was in it is ordinary memory from then on, here
 * and in children. */
void end_if_given_up(void)
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

/* One attempt. */
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

/* Ends the child. True: it had the memory. */
bool end_of(struct child child)
{
	int status;

	if (child.pid < 0)
		return false;
	(void)!write(child.go, "", 1); /* a younger child may have this end of the pipe, too */
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

/* Repeats until there is a snapshot. A permanent failure is lifted once it has had an effect. */
struct child snapshot(bool by_libc)
{
	uint64_t deadline = now_ms() + PATIENCE_MS;
	struct child child = try_snapshot(by_libc);

	for (int tries = 0; child.pid < 0; tries++) {
		if (tries == 2)
			lift();
		if (now_ms() > deadline)
			die("forks fail for ever");
		wait_a_moment(); /* the keeper is at work */
		child = try_snapshot(by_libc);
	}
	return child;
}

/* ---- Settling ---------------------------------------------------------------------------------------------------- */

static bool never_settles(const struct area *area)
{
	if (info_of(area).settling != ODF_REGION_SETTLES_NEVER)
		return false;
	if (!failed_yet())
		die("never settles, for no reason");
	atomic_fetch_add(&control->never, 1);
	return true;
}

/* The area must become LIVE. */
void settle(struct area *area)
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
	/* A fork that could not freeze the region may have had it given up. The keeper repeats that until it
	 * succeeds. */
	if (area->region != NULL && info_of(area).state != ODF_REGION_LIVE && !never_settles(area))
		die("settled and not LIVE: %d", (int)info_of(area).state);
}

void *settle_beside(void *area)
{
	ours = true;
	(void)odf_region_settle(((struct area *)area)->region);
	sem_post(&halt.arrived);
	return NULL;
}

/* A fork comes between two steps. The keeper is held meanwhile, so the fork has one attempt. */
void interrupted_settle(struct area *area, int after)
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
		child = try_snapshot(false); /* nothing here may wait for the keeper */
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
		discard(area, 20, 40); /* may be partly LIVE */
		discard(area, 505, 300);
	}
	put(area, 600, 57);
	(void)end_of(child);
	compare("after the interrupting child");
}

/* ---- Scenario 0: everything by call ------------------------------------------------------------------------------ */

/* `densely`: so that a step merges part of a page table. */
void fill(uint64_t value, bool densely)
{
	for (size_t page = 0; page < areas[SMALL].pages; page++)
		put(&areas[SMALL], page, value);
	for (size_t page = 0; page < areas[BIG].pages; page++)
		if (page % 32 < (densely ? 18 : 2))
			put(&areas[BIG], page, value);
}

void must_not_settle(void)
{
	if (odf_region_settle(areas[BIG].region) == 0)
		die("settled although a child maps the snapshot");
}
