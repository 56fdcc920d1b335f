/* SPDX-License-Identifier: MIT
 *
 * region_limits CASE [ARGUMENT...]: a snapshot region where something is short or missing. Each case asks for a region, forks, discards and settles while it is,
 * and often after it came back. Whatever fails must fail with the error that is documented, with the data as it was; never by a signal.
 * Exit status 0; 77 and a reason if the case cannot be had here. Run by region_limits.sh and region_unprivileged.sh.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

enum { PAGE = 4096, WORDS = PAGE / 8, DEADLINE = 15, NOBODY = 65534 };
#define MIB ((size_t)1 << 20)

#define REQUIRE(condition)                                                                                                     \
	do {                                                                                                                   \
		if (!(condition)) {                                                                                            \
			dprintf(2, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);                           \
			_exit(1);                                                                                              \
		}                                                                                                              \
	} while (0)

static void skip(const char *reason)
{
	dprintf(1, "skipped: %s\n", reason);
	_exit(77);
}

/* ---- A region and what is in it -------------------------------------------------------------------------------------------------- */

static odf_region *region;
static volatile uint64_t *base;
static size_t pages;
static unsigned generation;

static void fill(void)
{
	generation++;
	for (size_t page = 0; page < pages; page++)
		base[page * WORDS] = base[page * WORDS + WORDS - 1] = generation * 1000000ull + page;
}

static bool holds(void)
{
	for (size_t page = 0; page < pages; page++)
		if (base[page * WORDS] != generation * 1000000ull + page || base[page * WORDS + WORDS - 1] != generation * 1000000ull + page)
			return false;
	return true;
}

static void make_region(size_t size)
{
	region = odf_region_create(size, 0);
	REQUIRE(region != NULL);
	base = odf_region_base(region);
	pages = size / PAGE;
	fill();
}

static odf_region_info info(void)
{
	odf_region_info found = ODF_REGION_INFO_INIT;

	REQUIRE(odf_region_info_get(region, &found) == 0);
	return found;
}

static odf_reason reason(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	REQUIRE(odf_capabilities_get(&capabilities) == 0);
	return capabilities.strategy[ODF_STRATEGY_REGION];
}

static bool ends_well(pid_t pid)
{
	int status;

	REQUIRE(waitpid(pid, &status, 0) == pid);
	if (status != 0)
		dprintf(2, "wait status %#x\n", (unsigned)status);
	return status == 0;
}

/* 0, or the error that fork gave. */
static int fork_and_check(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (!holds())
			_exit(1);
		for (size_t page = 0; page < pages; page += 7)
			base[page * WORDS] = 0;
		_exit(0);
	}
	if (pid < 0) {
		int error = errno;
		REQUIRE(holds());
		return error;
	}
	REQUIRE(ends_well(pid) && holds());
	return 0;
}

static void discard_and_check(void)
{
	size_t page = pages / 3 + generation % 64, count = 1 + generation * 7 % 40;

	REQUIRE(odf_region_discard(region, (char *)odf_region_base(region) + page * PAGE, count * PAGE) == 0);
	for (size_t i = page; i < page + count; i++)
		REQUIRE(base[i * WORDS] == 0 && base[i * WORDS + WORDS - 1] == 0);
	REQUIRE(base[(page - 1) * WORDS] != 0 && base[(page + count) * WORDS] != 0);
	fill();
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* A fork went on without the region, which could not be frozen. */
static bool is_given_up(void)
{
	return info().state == ODF_REGION_GIVEN_UP;
}

/* Everything, with what may be short: how often forks failed. */
static int live_with(int allowed)
{
	int failed = 0;

	for (int i = 0; i < 6; i++) {
		int error = fork_and_check();
		if (error != 0 && error != allowed)
			dprintf(2, "fork: %s\n", strerror(error));
		REQUIRE(error == 0 || error == allowed);
		failed += error != 0;
		discard_and_check();
		error = odf_region_settle(region);
		if (error != 0 && error != ENOMEM && error != EBUSY && error != EAGAIN && error != EMFILE && !is_given_up())
			dprintf(2, "settle: %s\n", strerror(error));
		REQUIRE(error == 0 || error == ENOMEM || error == EBUSY || error == EAGAIN || error == EMFILE || (error == ENOTSUP && is_given_up()));
		discard_and_check();
		(void)info();
		REQUIRE(holds());
	}
	return failed;
}

/* Forks work again, and the region becomes LIVE. */
static void must_recover(void)
{
	time_t end = now() + DEADLINE;

	while (fork_and_check() != 0) {
		REQUIRE(now() < end);
		usleep(5000);
	}
	while (info().state != ODF_REGION_LIVE) {
		REQUIRE(now() < end);
		(void)odf_region_settle(region);
		usleep(1000);
	}
	REQUIRE(holds());
	REQUIRE(fork_and_check() == 0);
	discard_and_check();
	REQUIRE(holds());
}

/* Or it was given up, and the next one works. */
static void recover(size_t size)
{
	time_t end = now() + DEADLINE;

	while (!is_given_up() && info().state != ODF_REGION_LIVE) {
		REQUIRE(now() < end);
		(void)odf_region_settle(region);
		usleep(1000);
	}
	if (is_given_up()) {
		REQUIRE(holds() && fork_and_check() == 0);
		REQUIRE(odf_region_destroy(region) == 0);
		make_region(size);
	}
	must_recover();
}

static pid_t start_sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(4 * DEADLINE);
		pause();
		_exit(1);
	}
	REQUIRE(pid > 0);
	return pid;
}

static void end_sleeper(pid_t pid)
{
	int status;

	REQUIRE(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
}

/* ---- Limits of the process -------------------------------------------------------------------------------------------------------- */

/* No function here may need memory: there may be none. */
static size_t statm(int which)
{
	char text[128] = "", *at = text;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	size_t number = 0;

	REQUIRE(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
	close(fd);
	for (int i = 0; i <= which; i++)
		number = strtoul(at, &at, 10);
	return number * PAGE;
}

static struct rlimit limit_to(int resource, rlim_t soft)
{
	struct rlimit before, limit;

	REQUIRE(getrlimit(resource, &before) == 0);
	limit = before;
	if (limit.rlim_max < soft)
		skip("the hard limit is too low");
	limit.rlim_cur = soft;
	REQUIRE(setrlimit(resource, &limit) == 0);
	return before;
}

/* The first question, too, is asked where memory is short: the answer is about the moment, not about the machine. */
static void case_as_create(char **unused)
{
	struct rlimit before;

	(void)unused;
	before = limit_to(RLIMIT_AS, statm(0));
	for (int i = 0; i < 3; i++) {
		errno = 0;
		REQUIRE(odf_region_create(64 * MIB, 0) == NULL);
		if (errno != ENOMEM)
			dprintf(2, "no address space: %s\n", strerror(errno));
		REQUIRE(errno == ENOMEM || errno == EAGAIN); /* the keeper's stack may be what is missing */
		REQUIRE(reason() == ODF_REASON_NONE || i == 0);
		if (i == 0) {
			setrlimit(RLIMIT_AS, &before);
			(void)reason();
			(void)limit_to(RLIMIT_AS, statm(0) + 32 * MIB);
		}
	}
	setrlimit(RLIMIT_AS, &before);
	make_region(64 * MIB);
	must_recover();
}

static void lowered(int resource, size_t field)
{
	for (int frozen = 0; frozen < 2; frozen++) {
		struct rlimit before;
		pid_t sleeper = -1;
		size_t used;
		make_region(32 * MIB);
		if (frozen) {
			sleeper = start_sleeper();
			fill();
		}
		used = statm((int)field);
		for (size_t less = 0; less <= 48 * MIB; less += 12 * MIB) {
			before = limit_to(resource, used > less ? used - less : 0);
			(void)live_with(ENOMEM);
			setrlimit(resource, &before);
			if (sleeper > 0) {
				REQUIRE(fork_and_check() == 0); /* nothing was LIVE */
				continue;
			}
			recover(32 * MIB);
		}
		if (sleeper > 0)
			end_sleeper(sleeper);
		if (!is_given_up())
			must_recover();
		REQUIRE(odf_region_destroy(region) == 0);
	}
}

static void case_as_lowered(char **unused)
{
	(void)unused;
	lowered(RLIMIT_AS, 0);
}

static void case_data_lowered(char **unused)
{
	(void)unused;
	lowered(RLIMIT_DATA, 5);
}

static void case_nofile_create(char **unused)
{
	struct rlimit before = limit_to(RLIMIT_NOFILE, 64);

	(void)unused;
	while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
		;
	for (int i = 0; i < 2; i++) {
		errno = 0;
		region = odf_region_create(8 * MIB, 0);
		if (region == NULL && errno != EMFILE)
			dprintf(2, "no descriptor left: %s, %s\n", strerror(errno), odf_reason_name(reason()));
		REQUIRE(region != NULL || errno == EMFILE);
		if (region != NULL)
			REQUIRE(odf_region_destroy(region) == 0);
		/* The number is free in the keeper's table, but the limit is for all of the process. */
		if (i == 0) {
			setrlimit(RLIMIT_NOFILE, &before);
			REQUIRE(reason() == ODF_REASON_NONE);
			(void)limit_to(RLIMIT_NOFILE, 0);
		}
	}
	setrlimit(RLIMIT_NOFILE, &before);
	make_region(8 * MIB);
	must_recover();
}

static void case_nofile_lowered(char **unused)
{
	(void)unused;
	make_region(8 * MIB);
	for (int i = 0; i < 3; i++) {
		struct rlimit before = limit_to(RLIMIT_NOFILE, (rlim_t)i);
		REQUIRE(live_with(0) == 0);
		setrlimit(RLIMIT_NOFILE, &before);
		must_recover();
	}
}

/* The limit on the size of files is about files, and the signal that tells of it must not come. */
static void case_fsize(char **unused)
{
	(void)unused;
	for (rlim_t size = 0; size <= 16384; size += 8192) {
		struct rlimit before = limit_to(RLIMIT_FSIZE, size);
		sigset_t pending;
		int error;
		errno = 0;
		(void)reason();
		region = odf_region_create(8 * MIB, 0);
		error = errno;
		if (region == NULL)
			REQUIRE(error == EFBIG || error == ENOMEM || error == ENOTSUP);
		else
			REQUIRE(odf_region_destroy(region) == 0);
		REQUIRE(sigpending(&pending) == 0 && !sigismember(&pending, SIGXFSZ));
		setrlimit(RLIMIT_FSIZE, &before);
		if (region == NULL) /* only now: it may go to a file */
			dprintf(1, "a file size limit of %lu: %s\n", (unsigned long)size, strerror(error));
	}
	make_region(8 * MIB);
	for (rlim_t size = 0; size <= 8192; size += 4096) {
		struct rlimit before = limit_to(RLIMIT_FSIZE, size);
		for (int i = 0; i < 5; i++) {
			REQUIRE(fork_and_check() == 0);
			(void)odf_region_settle(region);
			discard_and_check();
		}
		setrlimit(RLIMIT_FSIZE, &before);
		must_recover();
	}
}

/* Of processes and threads of the user. */
static void case_nproc(char **unused)
{
	struct rlimit before;
	pid_t pid;

	(void)unused;
	if (geteuid() == 0)
		REQUIRE(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
	REQUIRE(reason() == ODF_REASON_NONE);
	before = limit_to(RLIMIT_NPROC, 0);
	pid = fork();
	if (pid == 0)
		_exit(0);
	if (pid > 0) {
		REQUIRE(ends_well(pid));
		skip("the limit on processes does not hold here");
	}
	errno = 0;
	REQUIRE(odf_region_create(8 * MIB, 0) == NULL && errno == EAGAIN);
	setrlimit(RLIMIT_NPROC, &before);
	make_region(8 * MIB);
	for (int i = 0; i < 3; i++) {
		before = limit_to(RLIMIT_NPROC, 0);
		REQUIRE(live_with(EAGAIN) == 6);
		setrlimit(RLIMIT_NPROC, &before);
		must_recover();
	}
}

/* ---- Mappings ---------------------------------------------------------------------------------------------------------------------------- */

static unsigned long count_mappings(void)
{
	static char buffer[65536];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	unsigned long lines = 0;
	ssize_t got;

	REQUIRE(fd >= 0);
	while ((got = read(fd, buffer, sizeof buffer)) > 0)
		for (ssize_t i = 0; i < got; i++)
			lines += buffer[i] == '\n';
	close(fd);
	return lines;
}

/* As many as there may be, less `spare`. Children do not get them. Every second page of an area becomes a mapping, and what is between them. */
static void *take_mappings(unsigned long most, unsigned long spare, size_t *size)
{
	unsigned long count = count_mappings(), wanted = most > spare ? most - spare : 0;
	char *area;

	*size = (most + 16) * PAGE;
	area = mmap(NULL, *size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	REQUIRE(area != MAP_FAILED && madvise(area, *size, MADV_DONTFORK) == 0);
	count++;
	for (char *at = area + PAGE; count + 2 <= wanted; at += 2 * PAGE, count += 2)
		if (mprotect(at, PAGE, PROT_READ) != 0)
			break;
	return area;
}

static void case_mappings(char **unused)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
	unsigned long most = 0;
	int failed = 0;

	(void)unused;
	REQUIRE(file != NULL && fscanf(file, "%lu", &most) == 1);
	fclose(file);
	if (most > 300000)
		skip("more mappings are allowed than can be made in a test");
	make_region(8 * MIB);
	/* From the state LIVE, and then with discards that have mappings of their own. */
	for (unsigned long spare = 0; spare <= 40; spare += spare < 12 ? 2 : 7) {
		size_t size;
		void *area = take_mappings(most, spare, &size);
		failed += live_with(ENOMEM);
		REQUIRE(munmap(area, size) == 0);
		recover(8 * MIB);
	}
	dprintf(1, "%d forks failed for want of mappings\n", failed);
	/* And while it is FROZEN, and comes and goes there. */
	for (unsigned long spare = 0; spare < 12; spare += 4) {
		pid_t sleeper = start_sleeper();
		size_t size;
		void *area;
		fill();
		area = take_mappings(most, spare, &size);
		discard_and_check();
		end_sleeper(sleeper);
		(void)live_with(ENOMEM);
		REQUIRE(munmap(area, size) == 0);
		recover(8 * MIB);
	}
	/* Nothing left for a region. */
	{
		size_t size;
		void *area = take_mappings(most, 0, &size);
		odf_region *other;
		errno = 0;
		other = odf_region_create(8 * MIB, 0);
		REQUIRE(other != NULL || errno == ENOMEM);
		if (other != NULL)
			REQUIRE(odf_region_destroy(other) == 0);
		REQUIRE(holds() && odf_region_destroy(region) == 0);
		REQUIRE(munmap(area, size) == 0);
	}
}

/* ---- The machine ------------------------------------------------------------------------------------------------------------------------- */

static void case_refused(char **arguments)
{
	errno = 0;
	REQUIRE(odf_region_create(MIB, 0) == NULL && errno == ENOTSUP);
	if (strcmp(odf_reason_name(reason()), arguments[0]) != 0)
		dprintf(2, "refused for %s\n", odf_reason_name(reason()));
	REQUIRE(strcmp(odf_reason_name(reason()), arguments[0]) == 0);
}

/* Made before, when the caller changed the machine on our line to it. */
static void case_changed_later(char **unused)
{
	char byte;

	(void)unused;
	make_region(32 * MIB);
	REQUIRE(fork_and_check() == 0);
	REQUIRE(write(1, "\n", 1) == 1 && read(0, &byte, 1) == 1);
	(void)live_with(ENOMEM);
	REQUIRE(write(1, "\n", 1) == 1 && read(0, &byte, 1) == 1);
	if (is_given_up())
		REQUIRE(fork_and_check() == 0 && holds());
	else
		must_recover();
}

static void case_no_proc(char **unused)
{
	(void)unused;
	if (access("/proc/self/stat", F_OK) == 0)
		skip("/proc is there");
	make_region(8 * MIB);
	REQUIRE(info().settling == ODF_REGION_SETTLES_NEVER);
	for (int i = 0; i < 20; i++) {
		REQUIRE(fork_and_check() == 0);
		fill();
		discard_and_check();
		REQUIRE(odf_region_settle(region) == ENOTSUP);
	}
	for (int tries = 0; !is_given_up() || info().resident_bytes > 0; tries++) { /* what was in the file is not held twice */
		REQUIRE(tries < 5000);
		usleep(1000);
	}
	REQUIRE(holds() && fork_and_check() == 0);
	REQUIRE(odf_region_destroy(region) == 0);
}

static void case_works(char **unused)
{
	(void)unused;
	make_region(8 * MIB);
	for (int i = 0; i < 3; i++)
		must_recover();
	REQUIRE(info().settling == ODF_REGION_SETTLES_ALWAYS || info().settling == ODF_REGION_SETTLES_AT_FORK);
}

/* Few pages, far from each other. Settling goes over all of it in time that depends on the size. */
static bool works_at(size_t size, bool settle)
{
	enum { COUNT = 64 };
	size_t apart = size / COUNT / PAGE * PAGE;
	unsigned flags = settle ? 0 : ODF_REGION_MANUAL;
	time_t end;

	errno = 0;
	region = odf_region_create(size, flags);
	if (region == NULL) {
		REQUIRE(errno == ENOMEM);
		return false;
	}
	REQUIRE(odf_region_capacity(region) == size);
	base = odf_region_base(region);
	for (uint64_t round = 1; round < 3; round++) {
		pid_t pid;
		for (size_t i = 0; i < COUNT; i++)
			base[i * apart / 8] = round * (i + 1);
		pid = fork();
		if (pid == 0) {
			for (size_t i = 0; i < COUNT; i++)
				if (base[i * apart / 8] != round * (i + 1))
					_exit(1);
			base[0] = 0;
			_exit(0);
		}
		REQUIRE(pid > 0);
		for (size_t i = 0; i < COUNT; i++)
			base[i * apart / 8] = 100 * (i + 1);
		REQUIRE(ends_well(pid));
		REQUIRE(odf_region_discard(region, (void *)(uintptr_t)(base + apart / 8), 40 * apart) == 0);
		for (size_t i = 0; i < COUNT; i++)
			REQUIRE(base[i * apart / 8] == (i >= 1 && i < 41 ? 0 : 100 * (i + 1)));
		for (end = now() + 2 * DEADLINE; settle && info().state != ODF_REGION_LIVE; usleep(1000)) {
			REQUIRE(now() < end);
			(void)odf_region_settle(region);
		}
		for (size_t i = 0; i < COUNT; i++)
			REQUIRE(base[i * apart / 8] == (i >= 1 && i < 41 ? 0 : 100 * (i + 1)));
	}
	REQUIRE(odf_region_destroy(region) == 0);
	return true;
}

static void case_huge(char **unused)
{
	static const size_t sizes[] = { ((size_t)1 << 40) + PAGE, (size_t)32 << 40, (size_t)40 << 40 };

	(void)unused;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		dprintf(1, "%zu GiB: %s\n", sizes[i] >> 30, works_at(sizes[i], sizes[i] <= (size_t)2 << 40) ? "works" : "no memory");
	for (int bits = 46; bits < 64; bits++) {
		errno = 0;
		REQUIRE(odf_region_create((size_t)1 << bits, 0) == NULL && errno == ENOMEM);
	}
	errno = 0;
	REQUIRE(odf_region_create(SIZE_MAX, 0) == NULL && errno == ENOMEM);
	REQUIRE(odf_region_create(0, 0) == NULL && errno == EINVAL);
}

/* MIB_OF_REGION PER_CENT: how much of it is rewritten while a child is there. */
static void case_memory(char **arguments)
{
	size_t size = strtoul(arguments[0], NULL, 10) * MIB, part;

	make_region(size);
	part = pages * strtoul(arguments[1], NULL, 10) / 100;
	for (int round = 0; round < 3; round++) {
		pid_t sleeper = start_sleeper();
		for (size_t page = 0; page < part; page++)
			base[page * WORDS] = base[page * WORDS];
		REQUIRE(holds());
		end_sleeper(sleeper);
		must_recover();
	}
	REQUIRE(odf_region_destroy(region) == 0);
}

static size_t swapped_pages(void)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t swapped = 0;

	REQUIRE(pagemap >= 0);
	for (size_t page = 0; page < pages; page++) {
		uint64_t entry;
		REQUIRE(pread(pagemap, &entry, sizeof entry, (off_t)(((uintptr_t)base / PAGE + page) * sizeof entry)) == sizeof entry);
		swapped += entry >> 62 & 1;
	}
	close(pagemap);
	return swapped;
}

static void case_swap(char **unused)
{
	(void)unused;
	make_region(16 * MIB);
	for (int round = 0; round < 3; round++) {
		pid_t sleeper = start_sleeper();
		fill();
		/* Not for programs: it stands for memory that is short. */
		if (madvise((void *)(uintptr_t)base, pages * PAGE, MADV_PAGEOUT) != 0)
			skip("no MADV_PAGEOUT");
		if (swapped_pages() < pages / 2)
			skip("pages are not swapped out");
		end_sleeper(sleeper);
		while (info().state != ODF_REGION_LIVE)
			(void)odf_region_settle(region);
		REQUIRE(info().merged_pages >= pages / 2 && holds());
		/* The file's own pages, too. */
		REQUIRE(madvise((void *)(uintptr_t)base, pages * PAGE, MADV_PAGEOUT) == 0);
		must_recover();
	}
}

/* ---- The right to userfaultfd ------------------------------------------------------------------------------------------------------------- */

enum { WRITERS = 3, SLOTS = 2048 };
static atomic_bool stop;
static unsigned long shadow[WRITERS][SLOTS];

/* In words of pages that all writers share. */
static void *write_always(void *number)
{
	size_t self = (size_t)(uintptr_t)number;
	unsigned chance = (unsigned)self + 1;

	while (!stop) {
		size_t page = (chance = chance * 1103515245u + 12345u) >> 8 & (SLOTS - 1);
		base[page * WORDS + 1 + self]++;
		shadow[self][page]++;
	}
	return NULL;
}

static const char *const settling_names[] = { "always", "at_fork", "by_call", "never" };

/* SETTLING MILLISECONDS: threads write throughout; longer where the machine is busy. */
static void case_threads(char **arguments)
{
	struct timespec start, time;
	pthread_t threads[WRITERS];
	odf_region_info found;
	long wanted = atol(arguments[1]), passed, forks = 0;
	bool enough;

	make_region((size_t)SLOTS * PAGE);
	found = info();
	if (strcmp(settling_names[found.settling], arguments[0]) != 0)
		dprintf(2, "settles %s, not %s\n", settling_names[found.settling], arguments[0]);
	REQUIRE(strcmp(settling_names[found.settling], arguments[0]) == 0);
	for (uintptr_t i = 0; i < WRITERS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, write_always, (void *)i) == 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		REQUIRE(fork_and_check() == 0);
		forks++;
		usleep(3000);
		clock_gettime(CLOCK_MONOTONIC, &time);
		passed = (time.tv_sec - start.tv_sec) * 1000 + (time.tv_nsec - start.tv_nsec) / 1000000;
		enough = forks > 5 && (found.settling != ODF_REGION_SETTLES_ALWAYS || info().settles > 0);
	} while (passed < wanted || (!enough && passed < DEADLINE * 1000));
	stop = true;
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < WRITERS; i++)
		for (size_t page = 0; page < SLOTS; page++)
			REQUIRE(base[page * WORDS + 1 + i] == shadow[i][page]);
	found = info();
	dprintf(1, "%ld forks, %d freezes, %d settles\n", forks, (int)found.freezes, (int)found.settles);
	REQUIRE(holds() && enough);
	REQUIRE(found.settling != ODF_REGION_SETTLES_ALWAYS || found.settles > 0);
	REQUIRE(found.settling == ODF_REGION_SETTLES_ALWAYS || found.settles == 0);
	while (odf_region_settle(region) != 0)
		usleep(1000);
	REQUIRE(holds() && info().state == ODF_REGION_LIVE);
}

/* How much of the region the page tables map by large pages. */
static size_t mapped_large(void)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	uintptr_t start, end, at = (uintptr_t)base;
	char line[512];
	size_t sum = 0, size;
	bool inside = false;

	REQUIRE(file != NULL);
	while (fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
			inside = start < at + pages * PAGE && end > at;
		else if (inside && sscanf(line, "ShmemPmdMapped: %zu kB", &size) == 1)
			sum += size << 10;
	fclose(file);
	return sum;
}

/* Any call that makes a file system or a namespace is a SIGSYS from here on. */
static void enter_sandbox(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 430, 3, 0), /* fsopen */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWUSER, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* open|sandbox large|small: what pages a region has where ordinary memory has large ones. */
static void case_large(char **arguments)
{
	if (strcmp(arguments[0], "sandbox") == 0)
		enter_sandbox();
	make_region(8 * MIB);
	dprintf(1, "%zu bytes in large pages\n", mapped_large());
	REQUIRE((mapped_large() >= 6 * MIB) == (strcmp(arguments[1], "large") == 0));
	REQUIRE(mapped_large() == 0 || strcmp(arguments[1], "large") == 0);
	for (int round = 0; round < 3; round++) {
		REQUIRE(fork_and_check() == 0);
		fill();
		discard_and_check();
		while (odf_region_settle(region) != 0)
			usleep(1000);
		REQUIRE(holds());
	}
	REQUIRE(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD); /* who made the file is gone */
}

/* NUMBER open|closed: of the descriptor that was handed in, here; and never in a program that this one executes. */
static void case_descriptor(char **arguments)
{
	int fd = atoi(arguments[0]), flags = fcntl(fd, F_GETFD), status;
	char command[64];

	REQUIRE((flags >= 0) == (strcmp(arguments[1], "open") == 0));
	REQUIRE(flags < 0 || flags == FD_CLOEXEC);
	make_region(MIB);
	snprintf(command, sizeof command, "test ! -e /proc/self/fd/%d", fd);
	status = system(command);
	REQUIRE(status == 0);
	REQUIRE(fork_and_check() == 0);
}

/* NUMBER: a program that closes all descriptors, and has a pipe of its own there before it makes a region, and closes that. */
static void case_number_taken(char **arguments)
{
	struct pollfd poller = { .events = POLLIN };
	int fd = atoi(arguments[0]), ends[2];

	close(fd);
	REQUIRE(pipe(ends) == 0);
	if (ends[1] != fd)
		REQUIRE(dup2(ends[1], fd) == fd && close(ends[1]) == 0);
	make_region(MIB);
	close(fd);
	poller.fd = ends[0];
	REQUIRE(poll(&poller, 1, 2000) == 1 && (poller.revents & POLLHUP)); /* nobody else has it */
	must_recover();
}

static const struct {
	const char *name;
	void (*run)(char **arguments);
	int arguments;
} cases[] = {
	{ "as_create", case_as_create, 0 },
	{ "as_lowered", case_as_lowered, 0 },
	{ "data_lowered", case_data_lowered, 0 },
	{ "nofile_create", case_nofile_create, 0 },
	{ "nofile_lowered", case_nofile_lowered, 0 },
	{ "fsize", case_fsize, 0 },
	{ "nproc", case_nproc, 0 },
	{ "mappings", case_mappings, 0 },
	{ "refused", case_refused, 1 },
	{ "changed_later", case_changed_later, 0 },
	{ "no_proc", case_no_proc, 0 },
	{ "works", case_works, 0 },
	{ "huge", case_huge, 0 },
	{ "memory", case_memory, 2 },
	{ "swap", case_swap, 0 },
	{ "threads", case_threads, 2 },
	{ "large", case_large, 2 },
	{ "descriptor", case_descriptor, 2 },
	{ "number_taken", case_number_taken, 1 },
};

int main(int count, char **arguments)
{
	alarm(60); /* what is not over by then hangs */
	for (size_t i = 0; i < sizeof cases / sizeof *cases && count > 1; i++) {
		if (strcmp(arguments[1], cases[i].name) == 0 && count == 2 + cases[i].arguments) {
			cases[i].run(arguments + 2);
			return 0;
		}
	}
	fprintf(stderr, "usage: region_limits CASE [ARGUMENT...]\n");
	return 2;
}
