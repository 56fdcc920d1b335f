/* SPDX-License-Identifier: MIT
 *
 * When to settle (measured, bench/RESULTS.md): a fork of a FROZEN region copies the page tables of what was touched
 * since the freeze, about a microsecond for 2 MiB that were touched at all and more for each page, and each first
 * write to a page costs a copy of it, which a LIVE region does not pay. So: as soon as no descendant is left, if the
 * program has taken SETTLE_FAULTS page faults since the freeze; if it takes fewer the next fork is cheap anyway, and
 * the settle waits until no fork has come for SETTLE_IDLE_NS; and where all that it touched it only read, which no fork
 * copies, and would have to map again after the settle, for READ_IDLE_NS. This covers the case of short memory too:
 * what a settle could give back before that is the copies of SETTLE_FAULTS pages. Whether descendants are left is asked
 * when a child has ended, or has said that it will, and else at intervals that grow with the time since the last fork:
 * an answer takes the lock of the address space a dozen times, and on a busy machine who holds it may not run for
 * milliseconds.
 */
#include "keeper.h"

/* Young memory of a process that has not forked, or that the last freeze could not take in, is taken in when it has
 * grown old: most of it was there a second ago, or some seconds where others have work for all processors. What comes
 * and goes faster would be copied for nothing. */
#define YOUNG_AGE_NS   1000000000u
#define YOUNG_BUSY_NS  4000000000u
#define YOUNG_LEAST    ((uint64_t)4 << 20)
#define YOUNG_PART     4
#define YOUNG_FIRST_NS 250000000u
#define YOUNG_LAST_NS  4000000000u
#define THIN_FIRST_NS  250000000u
#define THIN_LAST_NS   60000000000u
#define DRAIN_PAUSE_NS 50000u
#define SETTLE_FAULTS  64u
#define SETTLE_IDLE_NS 20000000u
#define READ_IDLE_NS   250000000u
#define ASK_OFTEN_NS   1000000000u
#define ASK_LAST_NS    8000000000u
#define GATHER_IDLE_NS 100000000u
/* The longest pause between two steps, also as a part of the time since the last fork, so that a program that forks
 * often does not find half of the region FROZEN. */
#define PAUSE_MOST_NS  4000000u
#define PAUSE_PART     64u
/* For so long the mmap lock is left free, so that a thread that sleeps for it wakes and takes it: otherwise the keeper
 * takes it first, again and again, for up to 4 ms (the kernel's limit). If a fork is near, the pause may cost as much
 * as the fork would. */
#define PAUSE_SHORT_NS 60000u
#define PAUSE_SHARE    4u
#define UNPAUSED_NS    20000000u
/* Waking the keeper costs the caller of fork as much as the freeze. So after a fork the keeper looks for the next one
 * by itself for a while, less and less often: each look has a price too, as a processor on which the address space was
 * active gets TLB flushes. */
#define ALERT_NS       1000000000u
#define LOOK_FIRST_NS  500000u
/* If settles were late: so often between two forks, as a settle that begins late is not done before the next fork. */
#define LOOK_OFTEN     16u
#define LOOK_LEAST_NS  100000u
#define LOOK_LAST_NS   SCHEDULE_FAST_ASLEEP_NS
#define LOOK_PART      512u
#define LOOK_MOST_NS   1000000000u

static uint64_t between(uint64_t value, uint64_t least, uint64_t most)
{
	return value < least ? least : value > most ? most : value;
}

/* For the end of a child. A look takes some 60 us as long as there are children: it is rarer the older they are. */
static uint64_t next_look(uint64_t now, uint64_t fork_ns)
{
	uint64_t since = now - fork_ns, most = between(since / LOOK_PART, LOOK_LAST_NS, LOOK_MOST_NS);

	return now + between(since / 16, SCHEDULE_ASK_FIRST_NS, most);
}

/* For a fork, and for what was touched since. */
static uint64_t look_interval(uint64_t since, uint64_t behind_ns)
{
	uint64_t first = behind_ns == 0 ? LOOK_FIRST_NS : between(behind_ns / LOOK_OFTEN, LOOK_LEAST_NS, LOOK_FIRST_NS);

	return between(since / 4, first, LOOK_LAST_NS);
}

static struct schedule wait_until(uint64_t then)
{
	return (struct schedule){ .action = SCHEDULE_WAIT, .then = then };
}

static struct schedule act(enum schedule_action action)
{
	return (struct schedule){ .action = action };
}

bool schedule_takes_young(const struct schedule_facts *facts)
{
	return facts->settles && (facts->fork_ns == 0 || facts->young_missed);
}

static bool young_pays(const struct schedule_facts *facts)
{
	return schedule_takes_young(facts) && facts->young >= YOUNG_LEAST;
}

static bool is_mostly_old(const struct schedule_facts *facts)
{
	return facts->young_floor >= facts->young - facts->young / YOUNG_PART;
}

bool schedule_young_anew(const struct schedule_facts *facts)
{
	return facts->young_ns == 0 || facts->young < facts->young_floor ||
	       (facts->now - facts->young_ns >= YOUNG_AGE_NS && !is_mostly_old(facts));
}

uint64_t schedule_young_look(bool changed, uint64_t young, uint64_t last_ns)
{
	/* Too little memory to take in does not age: an idle program must hardly be woken. */
	return changed ? YOUNG_FIRST_NS
		       : between(2 * last_ns, YOUNG_FIRST_NS, young < YOUNG_LEAST ? THIN_LAST_NS : YOUNG_LAST_NS);
}

static uint64_t old_at(const struct schedule_facts *facts)
{
	return facts->young_ns + (facts->busy ? YOUNG_BUSY_NS : YOUNG_AGE_NS);
}

static struct schedule wait_for_age(const struct schedule_facts *facts)
{
	uint64_t look = facts->now + facts->young_look_ns, old = old_at(facts);

	return wait_until(old > facts->now && old < look ? old : look);
}

struct schedule schedule_region(const struct schedule_facts *facts)
{
	uint64_t now = facts->now, since = now - facts->fork_ns;
	struct schedule settle = act(SCHEDULE_SETTLE);

	if (facts->left && facts->drained)
		return wait_until(SCHEDULE_NEVER);
	if (facts->left)
		return now >= facts->ask_ns ? act(SCHEDULE_DRAIN) : wait_until(facts->ask_ns);
	if (facts->lost)
		return act(SCHEDULE_GIVE_UP);
	if (facts->aside_lost)
		return act(SCHEDULE_MEND);
	if (facts->settled && young_pays(facts) && is_mostly_old(facts) && now >= old_at(facts) && !facts->stopped)
		return act(SCHEDULE_ADOPT);
	if (facts->settled && facts->huge)
		return since >= GATHER_IDLE_NS ? act(SCHEDULE_GATHER) : wait_until(facts->fork_ns + GATHER_IDLE_NS);
	/* Also if there is little yet: a program that has just grown goes on growing, and no call shows it. */
	if (facts->settled)
		return schedule_takes_young(facts) && facts->young_look_ns != 0
			       ? wait_for_age(facts)
			       : wait_until(SCHEDULE_NEVER);
	if (facts->thins)
		return now >= facts->ask_ns ? act(SCHEDULE_THIN) : wait_until(facts->ask_ns);
	if (!facts->settles)
		return wait_until(SCHEDULE_NEVER);
	if (!facts->vacant &&
	    since < (facts->only_read && facts->touched >= SETTLE_FAULTS ? READ_IDLE_NS : SETTLE_IDLE_NS) &&
	    (facts->only_read || facts->touched < SETTLE_FAULTS))
		return wait_until(now + look_interval(since, facts->behind_ns));
	if (!facts->vacant && now < facts->ask_ns && !facts->child_ended) {
		uint64_t look = next_look(now, facts->fork_ns);
		return wait_until(look < facts->ask_ns ? look : facts->ask_ns);
	}
	if (facts->stopped)
		return wait_until(now + between(since / 4, SCHEDULE_STOPPED_NS, LOOK_LAST_NS));
	settle.pause_most = between(since / PAUSE_PART, 0, PAUSE_MOST_NS);
	return settle;
}

/* The median is right as soon as two of the three are, whatever pause came before. */
static uint64_t middle(const uint64_t distances[SCHEDULE_DISTANCES])
{
	uint64_t a = distances[0] - 1, b = distances[1] - 1, c = distances[2] - 1; /* 0, not known: the largest */
	uint64_t low = a < b ? a : b, high = a < b ? b : a;

	return c < low ? low : c > high ? high : c;
}

uint64_t schedule_distance(const uint64_t distances[SCHEDULE_DISTANCES])
{
	uint64_t distance = middle(distances) + 1;

	return distance == 0 ? SCHEDULE_NEVER : distance;
}

uint64_t schedule_until_fork(uint64_t since, const uint64_t distances[SCHEDULE_DISTANCES])
{
	uint64_t distance = schedule_distance(distances);

	if (distance == SCHEDULE_NEVER)
		return SCHEDULE_NEVER;
	/* A fork that is late may be about to come, or never come: half of the time so far is between the two. */
	return distance > since ? distance - since : since / 2;
}

/* A fifth of the time is the program's: steps without a pause between them made each thread that takes page faults
 * wait for the lock of the address space, over and over (99th percentile of Redis's requests with 1 GiB to settle: 1.1
 * to 5.7 ms, with pauses as long as the steps 0.3 to 0.5). Not where a fork would come before the end: what it copies
 * holds all threads up for longer. Who waits does not say whether to pause: it waits for that lock, anywhere in the
 * memory, and hardly ever for the piece of the step, where userfaultfd would tell. With pauses only after steps in
 * which somebody did, one request in a thousand took 13 ms after a save of 2 GiB, with pauses 1.2. */
uint64_t schedule_pause(const struct region_progress *progress, uint64_t most, uint64_t until_fork)
{
	uint64_t pause = progress->step_ns / PAUSE_SHARE;

	if (progress->rest_ns > until_fork / (progress->is_behind ? 8 : 2))
		pause = progress->rest_ns > UNPAUSED_NS ? PAUSE_SHORT_NS : 0;
	else if (pause < PAUSE_SHORT_NS)
		pause = PAUSE_SHORT_NS;
	return pause < most ? pause : most;
}

uint64_t schedule_after(int error, uint64_t now, uint64_t fork_ns)
{
	uint64_t since = now - fork_ns;

	if (error != EBUSY && error != EAGAIN)
		return now + SCHEDULE_RETRY_NS;
	return now + between(since < ASK_OFTEN_NS ? since / 8 : since / 2, SCHEDULE_ASK_FIRST_NS, ASK_LAST_NS);
}

uint64_t schedule_again(int error, uint64_t now, uint64_t fork_ns, uint64_t ask_ns)
{
	uint64_t look = next_look(now, fork_ns);

	return error == EBUSY && look < ask_ns ? look : ask_ns;
}

uint64_t schedule_thin(uint64_t last_wait_ns)
{
	return between(2 * last_wait_ns, THIN_FIRST_NS, THIN_LAST_NS);
}

uint64_t schedule_drain(int error, uint64_t last_wait_ns)
{
	return error == 0 ? DRAIN_PAUSE_NS : between(2 * last_wait_ns, SCHEDULE_ASK_FIRST_NS, THIN_LAST_NS);
}

bool schedule_thin_pays(uint64_t faults)
{
	return faults >= SETTLE_FAULTS;
}

uint64_t schedule_look(uint64_t now, uint64_t fork_ns, uint64_t behind_ns)
{
	uint64_t since = now - fork_ns;

	return since < ALERT_NS ? now + look_interval(since, behind_ns) : SCHEDULE_NEVER;
}
