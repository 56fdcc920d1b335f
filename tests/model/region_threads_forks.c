/* SPDX-License-Identifier: MIT
 *
 * Threads of test_region_threads that make processes, and what the children must find.
 */
#include "region_threads.h"
#include "../support/real_call.h"

/* What a child saw at its first look. It is in ordinary memory, which each child has for itself. */
static uint64_t seen_rounds[VECTORS][SLOTS], seen_shared[SHARED], seen_guarded[GUARDED][2],
	seen_discards[REGIONS][DISCARD_PAGES][3];

static void look_at_vectors(bool again)
{
	for (int v = 0; v < VECTORS; v++) {
		uint64_t newest = 0, last = 0;
		for (int slot = 0; slot < SLOTS; slot++) {
			uint64_t value = atomic_load_explicit(slots[v][slot], memory_order_relaxed),
				 round = value & round_mask;
			if (value != value_of(v, slot, round))
				failure("a child finds %016" PRIx64 " in slot %d of writer %d", value, slot, v);
			if (slot == 0)
				newest = last = round;
			if (round > last || round + 1 < newest)
				failure("a torn snapshot: writer %d was in round %" PRIu64 " at slot 0, %" PRIu64
					" at slot %d, %" PRIu64 " at slot %d",
					v, newest, last, slot - 1, round, slot);
			if (again && round != seen_rounds[v][slot])
				failure("a child's memory changes: slot %d of writer %d from round %" PRIu64
					" to %" PRIu64,
					slot, v, seen_rounds[v][slot], round);
			seen_rounds[v][slot] = last = round;
		}
	}
}

static void look_at_rest(bool again)
{
	for (int i = 0; i < SHARED; i++) {
		uint64_t value = atomic_load_explicit(shared[i], memory_order_relaxed);
		if (again && value != seen_shared[i])
			failure("a child's memory changes: shared counter %d from %" PRIu64 " to %" PRIu64, i,
				seen_shared[i], value);
		seen_shared[i] = value;
	}
	for (int i = 0; i < GUARDED; i++) {
		uint64_t second = guarded[i]->second, first = guarded[i]->first;
		if (first != second && first != second + 1)
			failure("a torn snapshot: what a mutex guards is %" PRIu64 " and %" PRIu64, first, second);
		if (again && (first != seen_guarded[i][0] || second != seen_guarded[i][1]))
			failure("a child's memory changes: what mutex %d guards", i);
		seen_guarded[i][0] = first;
		seen_guarded[i][1] = second;
	}
	for (int r = 0; r < REGIONS; r++) {
		size_t first, count;
		discard_range(r, &first, &count);
		for (size_t page = 0; page < count; page += 7)
			for (size_t word = 0; word < 3; word++) {
				uint64_t *at = (uint64_t *)(void *)(regions[r].base + (first + page) * PAGE +
								    tagged[word]);
				uint64_t value = __atomic_load_n(at, __ATOMIC_RELAXED);
				if (value != 0 && value >> 24 != discard_tag(r, first + page, 0) >> 24)
					failure("a child finds %016" PRIx64 " in page %zu of region %d", value,
						first + page, r);
				if (again && value != seen_discards[r][page][word])
					failure("a child's memory changes: page %zu of region %d from %016" PRIx64
						" to %016" PRIx64,
						first + page, r, seen_discards[r][page][word], value);
				seen_discards[r][page][word] = value;
			}
	}
}

static void look(bool again)
{
	look_at_vectors(again);
	look_at_rest(again);
	outcome->looks++;
}

/* The child writes everywhere; no other process must see it. */
static void scribble(uint64_t tag, bool discard_too)
{
	for (int v = 0; v < VECTORS; v++)
		for (int slot = 0; slot < SLOTS; slot++)
			atomic_store_explicit(slots[v][slot], tag + (uint64_t)slot, memory_order_relaxed);
	for (int i = 0; i < SHARED; i++)
		atomic_fetch_add_explicit(shared[i], tag, memory_order_relaxed);
	for (int i = 0; i < GUARDED; i++)
		memset((void *)guarded[i], 0x66, sizeof *guarded[i]);
	for (int i = 0; i < KERNEL_WRITERS; i++)
		memset(blocks[i], (int)tag, BLOCK_PAGES * PAGE);
	for (int r = 0; r < REGIONS && discard_too; r++) {
		size_t first, count;
		discard_range(r, &first, &count);
		if (odf_region_discard(regions[r].region, regions[r].base + first * PAGE, count * PAGE) != 0)
			failure("discard in a child");
		for (size_t page = 0; page < count; page += 5)
			if (*(uint64_t *)(void *)(regions[r].base + (first + page) * PAGE) != 0)
				failure("a child reads what it discarded");
	}
	usleep(1000);
	for (int v = 0; v < VECTORS; v++)
		for (int slot = 0; slot < SLOTS; slot++)
			if (atomic_load_explicit(slots[v][slot], memory_order_relaxed) != tag + (uint64_t)slot)
				failure("a child loses what it wrote");
}

const char *const way_names[] = { "fork", "odf_fork", "odf_fork_with", "_Fork", "syscall" };
bool way_works[WAY_COUNT] = { [WAY_FORK] = true, [WAY_ODF_FORK] = true, [WAY_ODF_FORK_WITH] = true };
atomic_ulong way_used[WAY_COUNT];
pid_t (*bare_fork)(void);

bool is_interposed(const char *name, void **symbol)
{
	Dl_info info;

	*symbol = dlsym(RTLD_DEFAULT, name);
	return *symbol != NULL && dladdr(*symbol, &info) != 0 && info.dli_fname != NULL &&
	       strstr(info.dli_fname, "libodfork") != NULL;
}

static pid_t fork_by(enum way way)
{
	switch (way) {
	case WAY_ODF_FORK:
		return odf_fork();
	case WAY_ODF_FORK_WITH:
		return odf_fork_with(NULL, NULL);
	case WAY_BARE:
		return bare_fork();
	case WAY_SYSCALL:
		return (pid_t)syscall(FORK_BY_NUMBER);
	default:
		return fork();
	}
}

__attribute__((noreturn)) static void be_orphan(uint64_t random)
{
	alarm(GUARD_SECONDS);
	look(true);
	usleep((useconds_t)below(&random, 10000));
	look(true);
	outcome->orphans_well++;
	_exit(outcome->failures == 0 ? 0 : 1);
}

/* A child of a multi-threaded process calls only what libc permits there. If it is to be killed it makes no child,
 * which would be an orphan unknown to the test. */
__attribute__((noreturn)) void be_child(uint64_t random, enum way way, bool doomed)
{
	static const useconds_t delays[] = { 0, 100, 500, 3000, 3000, 20000 };
	bool by_libc = way < WAY_PLAIN;
	pid_t grandchild = -1;
	int status = 0;

	alarm(GUARD_SECONDS);
	if (below(&random, 6) == 0)
		_exit(0); /* ends at once, to allow a settle */
	look(false);
	usleep(delays[below(&random, 6)]);
	look(true);
	if (below(&random, 5) == 0) {
		bool wait = below(&random, 2) == 0 || doomed;
		if (!wait)
			outcome->orphans_made++;
		grandchild = by_libc ? fork() : (pid_t)syscall(FORK_BY_NUMBER);
		if (grandchild == 0) {
			if (!wait)
				be_orphan(random);
			look(true);
			scribble(0x7700000000000000, false);
			_exit(outcome->failures == 0 ? 0 : 1);
		}
		if (grandchild < 0)
			failure("a child cannot fork: %s", strerror(errno));
		if (!wait)
			_exit(0);
		look(true);
	}
	if (below(&random, 2) == 0)
		scribble(0x6600000000000000 + random % 1000, by_libc);
	if (grandchild > 0) {
		while (waitpid(grandchild, &status, 0) < 0 && errno == EINTR)
			;
		if (status != 0)
			failure("a grandchild ended with %#x", status);
	}
	_exit(outcome->failures == 0 ? 0 : 1);
}

/* Waits until part of every region, or all of it, is LIVE again: the next fork then interrupts a settle, or freezes the
 * whole. Not for long: another thread may be forking, or nothing may settle. */
static void wait_for_settles(bool all)
{
	for (double end = now() + 0.1; now() < end && !stop_forks;) {
		bool there = true;
		for (int r = 0; r < REGIONS && there; r++) {
			odf_region_info info = ODF_REGION_INFO_INIT;
			if (odf_region_info_get(regions[r].region, &info) != 0)
				failure("odf_region_info_get");
			there = info.live_bytes == info.capacity || (!all && info.live_bytes > 0);
		}
		if (there)
			return;
		usleep(1000);
	}
}

void *fork_always(void *number)
{
	uint64_t random = 1000 + (uint64_t)(intptr_t)number;

	while (!stop_forks && outcome->failures == 0) {
		enum way way = (enum way)below(&random, WAY_COUNT);
		bool kill_it = below(&random, 10) == 0;
		int status = 0;
		pid_t pid;
		if (!way_works[way])
			way = (enum way)below(&random, WAY_PLAIN);
		below(&random, 2);
		pid = fork_by(way);
		if (pid == 0)
			be_child(random, way, kill_it);
		if (pid < 0) {
			failure("%s: %s", way_names[way], strerror(errno));
			break;
		}
		way_used[way]++;
		forks++;
		if (kill_it) {
			usleep((useconds_t)below(&random, 5000));
			kill(pid, SIGKILL);
			kills++;
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status != 0 && !(kill_it && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
			failure("a child by %s ended with %#x", way_names[way], status);
		/* Sometimes forks follow at once, sometimes there is enough time to settle, or almost enough. All but
		 * the first thread pause part of the time. */
		usleep((useconds_t)below(&random, below(&random, 8) == 0 ? 60000 : 2500));
		if (below(&random, 2) == 0)
			wait_for_settles(below(&random, 2) == 0);
		while (number != NULL && (uint64_t)(now() * 2.9) % 2 == 0 && !stop_forks)
			usleep(5000);
	}
	return NULL;
}

/* ---- Noise ------------------------------------------------------------------------------------------------------- */

static pid_t make_vfork_child(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(0);
	return pid;
}

void *spawn_always(void *unused)
{
	static char name[] = "true", *argv[] = { name, NULL };
	uint64_t random = 5;

	(void)unused;
	while (!stop && outcome->failures == 0) {
		int error = 0, status = 0;
		pid_t pid = -1;
#ifdef __SANITIZE_THREAD__
		switch (below(&random, 2)) { /* makes a vfork into a fork */
#else
		switch (below(&random, 4)) {
#endif
		case 0:
			error = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
			break;
		case 1: {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			/* The last engine is FORK, which freezes. */
			options.allow = ODF_ALLOW(engines[below(&random, stop_forks ? 2 : 3)]);
			error = odf_spawn(&pid, "/bin/true", argv, NULL, &options, NULL);
			break;
		}
		default:
			pid = make_vfork_child();
			error = pid < 0 ? errno : 0;
		}
		if (error != 0) {
			failure("a spawn: %s", strerror(error));
			break;
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status != 0)
			failure("a spawned process ended with %#x", status);
		spawns++;
		usleep((useconds_t)below(&random, 4000));
	}
	return NULL;
}
