/* SPDX-License-Identifier: MIT
 *
 * The life of a process of test_region_extents: its steps, its children, and the check of what is left at the end.
 */
#include "region_extents.h"

static void begin_child(bool by_libc)
{
	struct child *child = &self.children[self.child_count];
	int ends[2];

	if (self.child_count == MAX_CHILDREN || self.depth == MAX_DEPTH || self.forks >= (self.depth == 0 ? 30 : 1))
		return;
	if (pipe2(ends, O_CLOEXEC) != 0)
		failure("pipe: %s", strerror(errno));
	self.forks++;
	note("fork");
	child->pid = by_libc ? fork() : odf_fork(); /* libc's fork starts no keeper */
	if (child->pid < 0)
		failure("fork: %s", strerror(errno));
	if (child->pid == 0) {
		char byte;
		size_t length = strlen(self.path);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[1]);
		for (unsigned i = 0; i < self.child_count; i++)
			close(self.children[i].go);
		close(self.from_pipe);
		close(self.to_pipe);
		snprintf(self.path + length, sizeof self.path - length, ".%u", self.forks - 1);
		self.child_count = self.forks = self.step = 0;
		self.depth++;
		self.random ^= draw() + (uint64_t)self.path[length + 1];
		for (struct area **a = self.areas; a < self.areas + MAX_AREAS && *a != NULL; a++) {
			region_meet_child();
			if (!region_is_inherited((*a)->handle) || (*a)->handle->absent)
				failure("a child does not have the region");
			(*a)->owned = false;
		}
		atomic_fetch_add(&board->processes, 1);
		live();
		(void)!read(ends[0], &byte, 1); /* until the parent writes or is gone */
		for (struct area **a = self.areas; a < self.areas + MAX_AREAS && *a != NULL; a++)
			check(*a, true);
		_exit(0);
	}
	close(ends[0]);
	child->go = ends[1];
	child->fork = self.forks;
	self.child_count++;
}

static void end_child(size_t which)
{
	struct child child = self.children[which];
	int status;

	note("end of child");
	close(child.go);
	self.children[which] = self.children[--self.child_count];
	while (waitpid(child.pid, &status, 0) != child.pid)
		if (errno != EINTR)
			failure("waitpid: %s", strerror(errno));
	if (status != 0)
		failure("child %u ended with %#x", child.fork - 1, (unsigned)status);
}

/* Whether a child may still hold the snapshot. */
static bool is_held(const struct area *a)
{
	for (unsigned i = 0; i < self.child_count; i++)
		if (self.children[i].fork > a->born)
			return true;
	return false;
}

/* True: it is LIVE now. */
static bool settle(struct area *a)
{
	int error = odf_region_settle(a->handle);

	/* A child that has ended keeps its memory until its own keeper, if it had one, has noticed the end. */
	for (int i = 0; error == EBUSY && a->owned && !is_held(a) && i < 60000; i++) {
		usleep(1000);
		error = odf_region_settle(a->handle);
	}

	note("settle: %s", strerror(error));
	if (error == 0 && a->owned && is_held(a))
		failure("settled although a child has the snapshot");
	if (error == EBUSY && a->owned && is_held(a)) {
		atomic_fetch_add(&board->busy, 1);
		return false;
	}
	if (error != 0)
		failure("odf_region_settle (%s): %s", a->owned ? "own" : "inherited", strerror(error));
	atomic_fetch_add(&board->settles, 1);
	return a->owned;
}

/* ---- A program --------------------------------------------------------------------------------------------------- */

static void step(void)
{
	struct area *a = draw_area();

	switch (below(a->owned ? 32 : 28)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
		put_over(a);
		break;
	case 7:
	case 8:
		discard(a);
		break;
	case 9:
	case 10:
		cut(a);
		break;
	case 11:
		protect(a);
		break;
	case 12:
		if (one_in(2))
			lose(a);
		else
			reclaim(a);
		break;
	case 13:
		begin_child(one_in(3));
		break;
	case 14:
	case 15:
	case 16:
		if (self.child_count > 0)
			end_child(below(self.child_count));
		break;
	case 17:
		(void)settle(a);
		break;
	case 18:
		if (one_in(4))
			make_area();
		break;
	case 19:
		if (one_in(2))
			usleep(1500); /* lets the keeper run */
		break;
	case 20:
	case 21:
	case 22:
	case 23:
		take(a);
		break;
	case 24:
	case 25:
	case 26:
		give(a);
		break;
	case 27:
		if (a->owned)
			take_found(a);
		break;
	case 28:
	case 29:
		(void)settle(a);
		break;
	default:
		if (one_in(8))
			give_all(a);
		break;
	}
	check(a, one_in(8));
	atomic_fetch_add(&board->steps, 1);
}

static void open_pipe(void)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		failure("pipe: %s", strerror(errno));
	self.from_pipe = ends[0];
	self.to_pipe = ends[1];
}

/* When all memory has been given back and settled, the file is empty: a freeze and a settle pass over everything
 * stale. */
static void nothing_is_left(struct area *a)
{
	struct region_place place = { 0, 0 };
	const struct region_extent *extent;
	uint64_t left;

	give_all(a);
	for (int round = 0; round < 2; round++) {
		begin_child(false);
		while (self.child_count > 0)
			end_child(self.child_count - 1);
		if (!settle(a))
			failure("cannot be settled at the end");
	}
	check(a, true);
	while ((extent = region_extent_next(a->handle->extents, &place)) != NULL)
		if (extent->stale)
			failure("the extent at page %zu (%s) is stale after all was settled", extent->from / PAGE,
				kind_names[extent->kind]);
	left = region_resident(a->handle);
	atomic_fetch_add(&board->left, left);
	if (left != 0)
		failure("%" PRIu64 " bytes are left in the file", left);
}

void live(void)
{
	unsigned steps = self.depth == 0 ? 150 + (unsigned)below(250) : 4 + (unsigned)below(30);

	open_pipe();
	for (struct area **a = self.areas; a < self.areas + MAX_AREAS && *a != NULL; a++)
		check(*a, true);
	for (self.step = 1; self.step <= steps && board->failed == 0; self.step++)
		step();
	while (self.child_count > 0)
		end_child(self.child_count - 1);
	for (struct area **a = self.areas; a < self.areas + MAX_AREAS && *a != NULL; a++) {
		check(*a, true);
		self.forks = 0;
		(*a)->born = 0;
		if ((*a)->owned && self.depth < MAX_DEPTH)
			nothing_is_left(*a);
	}
}

__attribute__((noreturn)) void run_seed(uint64_t seed)
{
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS };
	odf_region *other = NULL;

	for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
		signal(deadly[i], SIG_DFL); /* cmocka has set handlers */
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	region_fresh_always = seed % 3 == 0; /* settle without page tables */
	region_zero_pages_never = seed % 4 < 2; /* give small pieces back in the other ways */
	region_older_always = seed % 5 < 3; /* free what no descendant sees as soon as possible */
	self.seed = seed;
	self.random = seed * 0x9e3779b97f4a7c15u;
	(void)draw();
	if (seed % 2 == 1) {
		other = odf_region_create(PAGE, ODF_REGION_MANUAL);
		if (other == NULL)
			failure("odf_region_create: %s", strerror(errno));
	}
	make_area();
	if (!region_keeper_runs())
		failure("the keeper does not run");
	live();
	if (other != NULL && odf_region_destroy(other) != 0)
		failure("odf_region_destroy");
	_exit(0);
}
