/* SPDX-License-Identifier: MIT
 *
 * The keeper: a thread that lives while this process has regions of its own. It owns every descriptor that they need, in a table of its own, carries out
 * orders, and settles what was frozen.
 *
 * When to settle (measured, bench/RESULTS.md): a fork of a FROZEN region copies the page tables of what was touched since the freeze, about a
 * microsecond for 2 MiB that were touched at all and more for each page, and each first write to a page costs a copy of it, which a LIVE region does not
 * pay. So: as soon as no descendant is left, if the program has taken SETTLE_FAULTS page faults since the freeze; if it takes fewer the next
 * fork is cheap anyway, and the settle waits until no fork has come for SETTLE_IDLE_NS. This covers the case of short memory too: what a settle could give back
 * before that is the copies of SETTLE_FAULTS pages. Whether descendants are left is asked when a child has ended, and else at intervals that grow with the
 * time since the last fork: an answer takes the lock of the address space a dozen times, and on a busy machine who holds it may not run for milliseconds.
 *
 * It calls libc for nothing but what runs in it once, at its start: no lock or memory of libc's is in play when a thread in the middle of fork or of
 * a signal handler waits for it.
 */
#include <errno.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "../record/settings.h"
#include "../sys/own_memory.h"
#include "../sys/process_lock.h"
#include "../sys/userfault.h"
#include "internal.h"

#define THIN_FIRST_NS 250000000u
#define THIN_LAST_NS  60000000000u
#define SETTLE_FAULTS  64u
#define SETTLE_IDLE_NS 20000000u
#define ASK_FIRST_NS   200000u
#define ASK_OFTEN_NS   1000000000u
#define ASK_LAST_NS    8000000000u
#define RETRY_NS       100000000u
/* So often, and the region is given up. */
#define FAILURES_MOST  100u
#define GATHER_IDLE_NS 100000000u
#define NEVER          UINT64_MAX
/* The longest pause between two steps, and in parts of the time since the last fork, so that who forks often does not find half of the region FROZEN. */
#define PAUSE_MOST_NS  4000000u
#define PAUSE_PART     64u
#define PAUSE_LEAST_NS 50000u
#define DESK_SIZE      ((sizeof(struct region_desk) + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE)
/* The less of a stack there is, the less a fork has to copy: what the keeper's functions need, several times. */
#define STACK_SIZE     65536
/* Waking a sleeper costs the caller of fork as much as the freeze does, so after one fork the keeper looks for the next by itself for a while, less and
 * less often: looking has its price as well, a core on which the address space was active is one more to tell of changes. */
#define ALERT_NS       1000000000u
#define LOOK_FIRST_NS  500000u
#define LOOK_LAST_NS   20000000u
/* How often the keeper looks whether it is the last thread left. */
#define ALONE_NS 5000000000u

static struct {
	atomic_bool running;
	pthread_t thread;
	atomic_uint notices; /* counts what the keeper should look at; it sleeps on this word */
	atomic_uint forks;   /* counts those that it should know about */
	atomic_bool asleep;  /* until a notice comes */
	atomic_bool settles; /* there is a region that it settles by itself */
	_Atomic(odf_region_settling) settling;
} keeper;

/* One order at a time. */
static struct {
	struct process_lock lock;
	enum region_order order;
	struct odf_region *region;
	uint64_t result;
	int error;
	atomic_int state;
} slot;
enum { SLOT_EMPTY, SLOT_ORDER, SLOT_DONE };

/* The keeper's own. */
static void answer_between_steps(uint64_t step_ns);
static void *keep(void *unused);
static struct {
	unsigned forks;
	uint64_t fork_ns; /* when it saw the last one */
} seen;
static struct region_settler settler = { -1, -1, NULL, answer_between_steps };
static uint64_t pause_most_ns; /* between the steps of the settle that is under way; 0: somebody waits for it */

/* ---- For everybody ---- */

static void wake_keeper(void)
{
	(void)sys_call3(SYS_futex, &keeper.notices, FUTEX_WAKE_PRIVATE, 1);
}

void region_keeper_notify(void)
{
	if (!atomic_load_explicit(&keeper.settles, memory_order_relaxed))
		return;
	atomic_fetch_add_explicit(&keeper.forks, 1, memory_order_relaxed);
	atomic_fetch_add(&keeper.notices, 1);
	if (atomic_load(&keeper.asleep))
		wake_keeper();
}

void region_keeper_call(void)
{
	atomic_fetch_add(&keeper.notices, 1);
	wake_keeper();
}

void region_keeper_forget(void)
{
	atomic_store(&keeper.running, false);
	atomic_store(&keeper.asleep, false);
	atomic_store(&keeper.settles, false);
	atomic_store(&slot.state, SLOT_EMPTY);
	settler.pagemap = settler.userfault = -1;
	region_maps_forget();
}

odf_region_settling region_keeper_settling(void)
{
	return atomic_load(&keeper.settling);
}

static int give_order(enum region_order order, struct odf_region *region, uint64_t *result)
{
	int error;

	slot.order = order;
	slot.region = region;
	slot.result = 0;
	atomic_store(&slot.state, SLOT_ORDER);
	atomic_fetch_add(&keeper.notices, 1);
	wake_keeper();
	while (atomic_load(&slot.state) == SLOT_ORDER)
		(void)sys_call4(SYS_futex, &slot.state, FUTEX_WAIT_PRIVATE, SLOT_ORDER, NULL);
	if (atomic_load(&slot.state) == SLOT_EMPTY) /* a child that a signal handler made goes on here, without a keeper */
		return ESRCH;
	error = slot.error;
	if (result != NULL)
		*result = slot.result;
	atomic_store(&slot.state, SLOT_EMPTY);
	return error;
}

int region_order(enum region_order order, struct odf_region *region, uint64_t *result)
{
	int error;

	process_lock_wait(&slot.lock);
	error = atomic_load(&keeper.running) ? give_order(order, region, result) : ESRCH;
	if (order == REGION_QUIT) /* before anybody else can give an order that nobody carries out */
		atomic_store(&keeper.running, false);
	process_lock_release(&slot.lock);
	return error;
}

int region_order_now(enum region_order order, uint64_t *result)
{
	int error;

	if (!process_lock_try(&slot.lock))
		return EBUSY;
	error = atomic_load(&keeper.running) ? give_order(order, NULL, result) : ESRCH;
	process_lock_release(&slot.lock);
	return error;
}

int region_keeper_start(void)
{
	sigset_t all, mask;
	pthread_attr_t attributes;
	bool was;
	int error;

	if (atomic_load(&keeper.running))
		return 0;
	process_lock_wait(&slot.lock);
	atomic_store(&slot.state, SLOT_ORDER);
	/* It keeps those that libc uses itself: setuid in one thread reaches all by signal. */
	sigfillset(&all);
	was = own_memory_begin();
	error = pthread_attr_init(&attributes);
	if (error == 0) {
		pthread_sigmask(SIG_SETMASK, &all, &mask);
		error = pthread_attr_setstacksize(&attributes, STACK_SIZE);
		if (error == 0)
			error = pthread_create(&keeper.thread, &attributes, keep, NULL);
		if (error == EINVAL) /* not enough for the thread-local storage of this program */
			error = pthread_create(&keeper.thread, NULL, keep, NULL);
		pthread_sigmask(SIG_SETMASK, &mask, NULL);
		pthread_attr_destroy(&attributes);
	}
	own_memory_end(was);
	if (error == 0) {
		while (atomic_load(&slot.state) != SLOT_DONE)
			(void)sys_call4(SYS_futex, &slot.state, FUTEX_WAIT_PRIVATE, SLOT_ORDER, NULL);
		error = slot.error;
		if (error != 0)
			pthread_join(keeper.thread, NULL);
	}
	if (error == 0) /* they are the keeper's now */
		for (struct odf_region *region = region_list; region != NULL; region = region->next)
			region_close_files_here(region);
	atomic_store(&slot.state, SLOT_EMPTY);
	atomic_store(&keeper.running, error == 0);
	process_lock_release(&slot.lock);
	return error;
}

bool region_keeper_runs(void)
{
	return atomic_load_explicit(&keeper.running, memory_order_relaxed);
}

void region_keeper_stop(void)
{
	if (region_order(REGION_QUIT, NULL, NULL) != 0)
		return;
	pthread_join(keeper.thread, NULL);
}

/* ---- The keeper ---- */

#define KEPT_MOST 16
struct kept {
	int files[KEPT_MOST]; /* sorted */
	int count;
};

static void keep_file(struct kept *kept, int file)
{
	int at = kept->count;

	if (file < 0 || kept->count == KEPT_MOST)
		return;
	for (; at > 0 && kept->files[at - 1] > file; at--)
		kept->files[at] = kept->files[at - 1];
	kept->files[at] = file;
	kept->count++;
}

static bool is_kept(const struct kept *kept, int file)
{
	for (int i = 0; i < kept->count; i++)
		if (kept->files[i] == file)
			return true;
	return false;
}

/* A copy of the table of descriptors, and all of them closed in it except those kept. */
static int leave_descriptors(const struct kept *kept)
{
	struct rlimit limit;
	unsigned from = 0;
	bool done = true;

	for (int i = 0; i < kept->count && done; i++) {
		unsigned file = (unsigned)kept->files[i];
		done = file <= from || sys_call3(SYS_close_range, from, file - 1, CLOSE_RANGE_UNSHARE) == 0;
		from = file + 1;
	}
	if (done && sys_call3(SYS_close_range, from, ~0u, CLOSE_RANGE_UNSHARE) == 0)
		return 0;
	if (sys_call1(SYS_unshare, CLONE_FILES) < 0 || sys_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0)
		return EPERM;
	for (int fd = 0; fd < (limit.rlim_max < (1 << 20) ? (int)limit.rlim_max : 1 << 20); fd++)
		if (!is_kept(kept, fd))
			sys_close(fd);
	return 0;
}

/* Both, as a file system of our own (file.c) numbers its files from the beginning. */
static bool is_file(int fd, uint64_t device, uint64_t inode)
{
	struct stat status;

	return fd >= 0 && fstat(fd, &status) == 0 && status.st_dev == device && status.st_ino == inode && inode != 0 && S_ISREG(status.st_mode) &&
	       status.st_nlink == 0;
}

static bool is_region_file(const struct odf_region *region)
{
	return is_file(region->file_here, region->file_device, region->file_inode);
}

static bool is_token_file(const struct odf_region *region)
{
	return is_file(region->token_here, region->token_device, region->token_inode);
}

/* What the regions that there are left in the program's table, and what the program has closed or put in its place since. */
static void take_over_files(void)
{
	for (struct odf_region *region = region_list; region != NULL; region = region->next) {
		if (region->file_here < 0)
			continue;
		if (is_region_file(region) && is_token_file(region))
			continue;
		/* Invariant 5. What is there now is a copy of the program's, which keeps its own. */
		region->doubt = true;
		sys_close(region->file);
		sys_close(region->token_file);
		region->file = region->token_file = -1;
		/* At once, as no child had any of it yet. */
		region_lock_as_keeper();
		(void)region_give_up(region, ODF_REASON_HEAP_NO_SETTLING);
		if (region->left)
			(void)region_drain(region, SIZE_MAX);
		region_unlock_as_keeper();
	}
}

bool region_file_is_here(const struct odf_region *region)
{
	return is_region_file(region);
}

void region_close_files_here(struct odf_region *region)
{
	if (is_region_file(region))
		sys_close(region->file_here);
	if (is_token_file(region))
		sys_close(region->token_here);
	region->file_here = region->token_here = -1;
}

static int prepare(void)
{
	int device = settings_userfault(), error, fd;
	struct kept kept = { .count = 0 };

	keep_file(&kept, device);
	for (const struct odf_region *region = region_list; region != NULL; region = region->next) {
		keep_file(&kept, region->file);
		keep_file(&kept, region->token_file);
	}
	error = leave_descriptors(&kept);
	if (error != 0)
		return error;
	take_over_files();
	/* The standard numbers are taken, so that nothing that writes to them, a sanitizer's report for one, can write into a region. */
	while ((fd = sys_open("/dev/null", O_RDWR, 0)) >= 0 && fd < 2)
		;
	if (fd > 2)
		sys_close(fd);
	settler.desk = region_map(NULL, DESK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (settler.desk == NULL)
		return ENOMEM;
	(void)sys_call3(SYS_madvise, settler.desk, DESK_SIZE, MADV_DONTFORK); /* only to save them its copy */
	region_learn_refusal();
	region_maps_keep();
	settler.pagemap = region_pagemap_open();
	settler.userfault = settler.pagemap < 0 ? -1 : userfault_open(device);
	if (device >= 0)
		sys_close(device);
	atomic_store(&keeper.settling, settler.pagemap < 0     ? ODF_REGION_SETTLES_NEVER
				       : settler.userfault < 0 ? ODF_REGION_SETTLES_AT_FORK
							       : ODF_REGION_SETTLES_ALWAYS);
	return 0;
}

static void close_files(struct odf_region *region)
{
	int *files[] = { &region->file, &region->second_file, &region->token_file, &region->spare_file };

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		if (*files[i] >= 0)
			sys_close(*files[i]);
		*files[i] = -1;
	}
}

static bool is_settled_here(const struct odf_region *region)
{
	return settler.userfault >= 0 && !(region->flags & ODF_REGION_MANUAL);
}

static bool is_thinned_here(const struct odf_region *region)
{
	return settler.userfault < 0 && settler.pagemap >= 0 && !(region->flags & ODF_REGION_MANUAL);
}

static void note_whether_it_settles(void)
{
	bool settles = false;

	for (const struct odf_region *region = region_list; region != NULL; region = region->next)
		settles = settles || is_settled_here(region) || is_thinned_here(region);
	atomic_store(&keeper.settles, settles);
}

/* Out of the way of a program that counts on its numbers. */
static int lift(int file, uint64_t *device, uint64_t *inode)
{
	struct stat status = { 0 };
	/* Not higher: every child gets a copy of the table, up to the last one in use. */
	long lifted = sys_call3(SYS_fcntl, file, F_DUPFD_CLOEXEC, 224);

	if (lifted >= 0) {
		sys_close(file);
		file = (int)lifted;
	}
	(void)fstat(file, &status);
	*device = status.st_dev;
	*inode = status.st_ino;
	return file;
}

/* The caller reserved the address space and unmaps it on failure. */
int region_adopt(struct odf_region *region)
{
	int file = region_file_make(region->capacity), error;
	uint64_t mask;

	if (file < 0)
		return -file;
	region->file = file;
	error = region_note_file(region);
	if (error == 0)
		error = region_token_make(region);
	if (error == 0 && region->extents != NULL && !region_keeper_runs()) {
		region->file = region->file_here = file = lift(file, &region->file_device, &region->file_inode);
		region->token_file = region->token_here = lift(region->token_file, &region->token_device, &region->token_inode);
	}
	/* Invariant 3: home is hidden from the first moment on that it can be written. */
	if (error == 0 && (region_map_file(region->home, region->length, MAP_SHARED | MAP_FIXED, file, 0) == NULL || region_hide(region) != 0))
		error = ENOMEM;
	if (error == 0 && region->extents != NULL)
		error = region_source_make(region);
	/* Holes too, for good. */
	if (error == 0 && region->extents != NULL && sys_call3(SYS_madvise, region->home, region->length, MADV_DONTFORK) < 0)
		error = ENOMEM;
	if (error == 0)
		error = region_template_make(region);
	/* All of it is a hole. */
	if (error == 0 && region->extents != NULL && sys_call3(SYS_mprotect, region->home, region->length, PROT_NONE) < 0)
		error = ENOMEM;
	if (error != 0) {
		close_files(region);
		return error;
	}
	region_lock(&mask);
	region->vacant = true;
	if (region_forks_pending > 0)
		error = region_freeze(region);
	if (error == 0) {
		region->next = region_list;
		region_list = region;
	}
	region_unlock(&mask);
	note_whether_it_settles();
	if (error != 0)
		close_files(region);
	return error;
}

static void release(struct odf_region *region)
{
	struct odf_region **link = &region_list;

	region_lock_as_keeper();
	while (*link != region)
		link = &(*link)->next;
	*link = region->next;
	region_unlock_as_keeper();
	note_whether_it_settles();
	close_files(region);
}

static int resident(const struct odf_region *region, uint64_t *bytes)
{
	struct stat status;

	if (fstat(region->file, &status) != 0)
		return EIO;
	*bytes = (uint64_t)status.st_blocks * 512;
	return 0;
}

static int all_resident(uint64_t *bytes)
{
	uint64_t one;

	for (struct odf_region *region = region_list; region != NULL; region = region->next)
		if (resident(region, &one) == 0)
			*bytes += one;
	return 0;
}

static int settle_quietly(void)
{
	struct region_settler quiet = { settler.pagemap, -1, settler.desk, answer_between_steps };
	int error = 0;

	for (struct odf_region *region = region_list; region != NULL; region = region->next)
		if (!(region->flags & ODF_REGION_MANUAL)) {
			int failed = region_settle(region, &quiet);
			error = error == 0 ? failed : error;
		}
	return error;
}

static void answer(int error)
{
	slot.error = error;
	atomic_store(&slot.state, SLOT_DONE);
	(void)sys_call3(SYS_futex, &slot.state, FUTEX_WAKE_PRIVATE, 1);
}

/* How much memory a region has; of all, if none is named. Between the steps of a settle too, which may take long. */
static bool answer_about_memory(void)
{
	if (atomic_load(&slot.state) != SLOT_ORDER || slot.order != REGION_RESIDENT)
		return false;
	answer(slot.region != NULL ? resident(slot.region, &slot.result) : all_resident(&slot.result));
	return true;
}

static uint64_t between(uint64_t value, uint64_t least, uint64_t most)
{
	return value < least ? least : value > most ? most : value;
}

/* Half of the time is the program's: steps without a pause between them made each thread that takes page faults wait for the lock of the address space, over and
 * over (99th percentile of Redis's requests with 1 GiB to settle: 1.1 to 5.7 ms, with pauses 0.3 to 0.5). An order ends the pause. */
static void answer_between_steps(uint64_t step_ns)
{
	unsigned notices = atomic_load(&keeper.notices);
	uint64_t pause = between(step_ns, 0, pause_most_ns);
	struct timespec time = { .tv_nsec = (long)pause };

	(void)answer_about_memory();
	if (pause >= PAUSE_LEAST_NS && atomic_load(&slot.state) != SLOT_ORDER)
		(void)sys_call4(SYS_futex, &keeper.notices, FUTEX_WAIT_PRIVATE, notices, &time);
}

/* True if the keeper is to end. */
static bool carry_out_order(void)
{
	if (atomic_load(&slot.state) != SLOT_ORDER || answer_about_memory())
		return false;
	switch (slot.order) { /* only now: before, it may be the last one's */
	case REGION_ADOPT:
		answer(region_adopt(slot.region));
		break;
	case REGION_RELEASE:
		release(slot.region);
		answer(0);
		break;
	case REGION_SETTLE:
		answer(region_settle(slot.region, &settler));
		break;
	case REGION_SETTLE_AT_FORK:
		answer(settle_quietly());
		break;
	case REGION_RESIDENT:
		break;
	case REGION_QUIT:
		answer(0);
		return true;
	}
	return false;
}

static uint64_t process_faults(void)
{
	struct rusage usage;

	if (sys_call2(SYS_getrusage, RUSAGE_SELF, &usage) < 0)
		return UINT64_MAX; /* as if many */
	return (uint64_t)usage.ru_minflt;
}

/* A hint that asking may be worth it, which disturbs nobody: no child is left, or one has ended and not been waited for. Nothing is waited for here. */
static bool a_child_ended(void)
{
	siginfo_t ended = { 0 };
	long error = sys_call5(SYS_waitid, P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT | __WALL, NULL);

	return error == -ECHILD || (error == 0 && ended.si_pid != 0);
}

/* A region that waits for a fork to be settled, or for ever. Looked at ever more rarely: what it holds twice grows only by what the program writes. */
static uint64_t thin_after(struct odf_region *region, uint64_t now)
{
	if (region->seen_forks != seen.forks) {
		region->seen_forks = seen.forks;
		region->thin_wait_ns = THIN_FIRST_NS;
		region->seen_faults = 0;
		region->ask_ns = now + THIN_FIRST_NS;
	}
	if (now < region->ask_ns)
		return region->ask_ns;
	region->thin_wait_ns = between(2 * region->thin_wait_ns, THIN_FIRST_NS, THIN_LAST_NS);
	if (process_faults() - region->seen_faults >= SETTLE_FAULTS) {
		uint64_t faults = process_faults();
		if (region_thin(region, &settler) == 0)
			region->seen_faults = faults;
	}
	return region->ask_ns = region_clock() + region->thin_wait_ns;
}

/* It was given up: what its file still has is given back when nobody needs it any more. */
static uint64_t drain_after(struct odf_region *region, uint64_t now)
{
	int error;

	if (now < region->ask_ns)
		return region->ask_ns;
	region_lock_as_keeper();
	error = region_drain(region, 1);
	region_unlock_as_keeper();
	if (region->drained >= region->capacity / REGION_PAGE * REGION_PAGE)
		return NEVER;
	region->thin_wait_ns = error == 0 ? PAUSE_LEAST_NS : between(2 * region->thin_wait_ns, ASK_FIRST_NS, THIN_LAST_NS);
	return region->ask_ns = region_clock() + region->thin_wait_ns;
}

/* It will never be LIVE again. */
static bool is_lost(const struct odf_region *region)
{
	return region->doubt || region->left_reason != ODF_REASON_NONE || region->failures > FAILURES_MOST ||
	       (settler.pagemap < 0 && region->visible);
}

/* When to look at the region again. */
static uint64_t look_after(struct odf_region *region, uint64_t now)
{
	bool settled, lost, vacant;
	uint64_t epoch, since, touched;
	bool ended;
	int error = 0;

	if (region->left)
		return drain_after(region, now);
	region_lock_as_keeper();
	if (is_lost(region)) {
		error = region_give_up(region, region->left_reason != ODF_REASON_NONE ? region->left_reason : ODF_REASON_HEAP_NO_SETTLING);
		region_unlock_as_keeper();
		return error == 0 ? now : now + RETRY_NS;
	}
	settled = region->live_length == region->length;
	lost = region->aside_lost;
	epoch = region->epoch;
	vacant = region->vacant;
	if (lost)
		error = region_aside_make(region);
	region_unlock_as_keeper();
	if (lost && error != 0)
		return now + RETRY_NS;
	if (settled && (region->flags & ODF_REGION_HUGE) && now - seen.fork_ns >= GATHER_IDLE_NS)
		return region_gather(region, now);
	if (settled && (region->flags & ODF_REGION_HUGE))
		return seen.fork_ns + GATHER_IDLE_NS;
	if (!settled && is_thinned_here(region))
		return thin_after(region, now);
	if (settled || !is_settled_here(region))
		return NEVER;
	if (epoch != region->seen_epoch) {
		region->seen_epoch = epoch;
		region->seen_faults = process_faults();
	}
	if (region->seen_forks != seen.forks) {
		region->seen_forks = seen.forks;
		region->ask_ns = seen.fork_ns + ASK_FIRST_NS;
		region->child_ended = false;
	}
	since = now - seen.fork_ns;
	touched = process_faults() - region->seen_faults;
	if (!vacant && since < SETTLE_IDLE_NS && touched < SETTLE_FAULTS)
		return now + between(since / 4, LOOK_FIRST_NS, LOOK_LAST_NS);
	ended = a_child_ended();
	if (!vacant && now < region->ask_ns && (!ended || region->child_ended)) {
		uint64_t look = now + between(since / 16, ASK_FIRST_NS, LOOK_LAST_NS);
		return look < region->ask_ns ? look : region->ask_ns;
	}
	region->child_ended = ended;
	region->touched = touched;
	pause_most_ns = between(since / PAUSE_PART, 0, PAUSE_MOST_NS);
	error = region_settle(region, &settler);
	pause_most_ns = 0;
	region->failures = error == 0 || error == EBUSY || error == EAGAIN ? 0 : region->failures + 1;
	if (error == 0)
		return NEVER;
	now = region_clock();
	if (region->failures > 0)
		return region->ask_ns = now + RETRY_NS;
	since = now - seen.fork_ns;
	return region->ask_ns = now + between(since < ASK_OFTEN_NS ? since / 8 : since / 2, ASK_FIRST_NS, ASK_LAST_NS);
}

/* A process ends when its last thread does, for libc and for the kernel; the keeper must not be that. Only a program whose main thread ended by
 * pthread_exit gets there. */
static bool is_alone(void)
{
	char text[256] = "";
	struct stat tasks;
	bool alone = false;
	int fd;

	if (stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink != 2 + 2)
		return false;
	fd = sys_open("/proc/self/stat", O_RDONLY, 0);
	if (fd < 0)
		return false;
	if (sys_read(fd, text, sizeof text - 1) > 0) {
		const char *name_end = strrchr(text, ')');
		alone = name_end != NULL && name_end[1] == ' ' && name_end[2] == 'Z';
	}
	sys_close(fd);
	return alone;
}

static void sleep_until(uint64_t then, unsigned notices)
{
	uint64_t now = region_clock(), wait = then > now ? then - now : 0;
	struct timespec time;

	if (wait == 0)
		return;
	if (wait > ALONE_NS)
		wait = ALONE_NS;
	time = (struct timespec){ .tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u) };
	if (wait > LOOK_LAST_NS)
		atomic_store(&keeper.asleep, true);
	(void)sys_call4(SYS_futex, &keeper.notices, FUTEX_WAIT_PRIVATE, notices, &time);
	atomic_store(&keeper.asleep, false);
}

static void *keep(void *unused)
{
	uint64_t alone_check = region_clock() + ALONE_NS;
	int error = prepare();

	(void)unused;
	(void)sys_call2(SYS_prctl, PR_SET_NAME, "odfork-keeper"); /* for people */
	note_whether_it_settles();
	answer(error);
	if (error != 0)
		return NULL;
	for (;;) {
		unsigned notices = atomic_load(&keeper.notices);
		uint64_t now = region_clock(), then = NEVER;
		unsigned forks = atomic_load(&keeper.forks);
		if (forks != seen.forks)
			seen.fork_ns = now;
		seen.forks = forks;
		if (carry_out_order())
			break;
		if (now >= alone_check) {
			if (is_alone())
				break; /* libc ends the process, as after any last thread; what that writes must not go to a region */
			alone_check = now + ALONE_NS;
		}
		for (struct odf_region *region = region_list; region != NULL && atomic_load(&slot.state) != SLOT_ORDER; region = region->next) {
			uint64_t next = look_after(region, now);
			then = next < then ? next : then;
		}
		if (then == NEVER && now - seen.fork_ns < ALERT_NS)
			then = now + between((now - seen.fork_ns) / 4, LOOK_FIRST_NS, LOOK_LAST_NS);
		if (atomic_load(&slot.state) != SLOT_ORDER)
			sleep_until(then, notices);
	}
	(void)sys_call3(SYS_close_range, 3, ~0u, 0); /* without it, and in a program that has just lost its last thread, they end with the process */
	region_maps_forget();
	settler.pagemap = settler.userfault = -1;
	region_unmap(settler.desk, DESK_SIZE);
	return NULL;
}
