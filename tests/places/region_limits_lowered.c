/* SPDX-License-Identifier: MIT
 *
 * Cases of region_limits: limits of the process, and the limit of mappings.
 */
#include "region_limits.h"

/* The first probe, too, is made while memory is short: its answer must hold for that moment only, not for the
 * machine. */
void case_as_create(char **unused)
{
	struct rlimit before;

	(void)unused;
	before = limit_to(RLIMIT_AS, statm(0));
	for (int i = 0; i < 3; i++) {
		errno = 0;
		REQUIRE(odf_region_create(64 * MIB, 0) == NULL);
		if (errno != ENOMEM)
			dprintf(2, "no address space: %s\n", strerror(errno));
		REQUIRE(errno == ENOMEM || errno == EAGAIN); /* the keeper may lack memory for its stack */
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

void case_as_lowered(char **unused)
{
	(void)unused;
	lowered(RLIMIT_AS, 0);
}

void case_data_lowered(char **unused)
{
	(void)unused;
	lowered(RLIMIT_DATA, 5);
}

void case_nofile_create(char **unused)
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
		/* The number is free in the keeper's table, but the limit is one for the whole process. */
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

void case_nofile_lowered(char **unused)
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

/* RLIMIT_FSIZE is about files: it must not affect regions, and its signal must not come. */
void case_fsize(char **unused)
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
		if (region == NULL) /* only now: the output may go to a file */
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

/* A limit on the user's processes and threads. */
void case_nproc(char **unused)
{
	struct rlimit before;
	pid_t pid;

	(void)unused;
	if (geteuid() == 0)
		REQUIRE(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
			prctl(PR_SET_DUMPABLE, 1) == 0);
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

/* ---- Mappings ---------------------------------------------------------------------------------------------------- */

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

/* Makes as many mappings as possible, less `spare`. Children do not inherit them. Every second page of an area becomes
 * a mapping, and so do the pages in between. */
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

void case_mappings(char **unused)
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
	/* From LIVE, and then with discards that have mappings of their own. */
	for (unsigned long spare = 0; spare <= 40; spare += spare < 12 ? 2 : 7) {
		size_t size;
		void *area = take_mappings(most, spare, &size);
		failed += live_with(ENOMEM);
		REQUIRE(munmap(area, size) == 0);
		recover(8 * MIB);
	}
	dprintf(1, "%d forks failed for want of mappings\n", failed);
	/* And while it is FROZEN, with mappings that come and go. */
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
	/* No mapping is left for a region. */
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
