/* SPDX-License-Identifier: MIT
 *
 * Cases of region_limits: calls that are refused, no /proc, too little memory, large pages.
 */
#include "region_limits.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/* ---- The machine ------------------------------------------------------------------------------------------------- */

void case_refused(char **arguments)
{
	errno = 0;
	REQUIRE(odf_region_create(MIB, 0) == NULL && errno == ENOTSUP);
	if (strcmp(odf_reason_name(reason()), arguments[0]) != 0)
		dprintf(2, "refused for %s\n", odf_reason_name(reason()));
	REQUIRE(strcmp(odf_reason_name(reason()), arguments[0]) == 0);
}

/* The region is made before the caller changes the machine, which it does when it reads our line. */
void case_changed_later(char **unused)
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

void case_no_proc(char **unused)
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
	/* memory that was in the file must not be held twice */
	for (int tries = 0; !is_given_up() || info().resident_bytes > 0; tries++) {
		REQUIRE(tries < 60000);
		usleep(1000);
	}
	REQUIRE(holds() && fork_and_check() == 0);
	REQUIRE(odf_region_destroy(region) == 0);
}

void case_works(char **unused)
{
	(void)unused;
	make_region(8 * MIB);
	for (int i = 0; i < 3; i++)
		must_recover();
	REQUIRE(info().settling == ODF_REGION_SETTLES_ALWAYS || info().settling == ODF_REGION_SETTLES_AT_FORK);
}

/* A few pages, far from each other. A settle goes over the whole region, in time that depends on its size. */
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

void case_huge(char **unused)
{
	static const size_t sizes[] = { ((size_t)1 << 40) + PAGE, (size_t)32 << 40, (size_t)40 << 40 };

	(void)unused;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		dprintf(1, "%zu GiB: %s\n", sizes[i] >> 30,
			works_at(sizes[i], sizes[i] <= (size_t)2 << 40) ? "works" : "no memory");
	for (int bits = 46; bits < 64; bits++) {
		errno = 0;
		REQUIRE(odf_region_create((size_t)1 << bits, 0) == NULL && errno == ENOMEM);
	}
	errno = 0;
	REQUIRE(odf_region_create(SIZE_MAX, 0) == NULL && errno == ENOMEM);
	REQUIRE(odf_region_create(0, 0) == NULL && errno == EINVAL);
}

/* MIB_OF_REGION PER_CENT: how much of the region is rewritten beside a child. */
void case_memory(char **arguments)
{
	size_t size = strtoul(arguments[0], NULL, 10) * MIB, part;

	make_region(size);
	part = pages * strtoul(arguments[1], NULL, 10) / 100;
	for (int round = 0; round < 3; round++) {
		pid_t sleeper;

		/* If a fork came before the settle of the last round, the child would share the process's own pages,
		 * and the file's pages under them would stay until the keeper gives them back: more memory than the
		 * limit permits. */
		must_settle();
		sleeper = start_sleeper();
		for (size_t page = 0; page < part; page++)
			base[page * WORDS] = base[page * WORDS];
		REQUIRE(holds());
		end_sleeper(sleeper);
		/* Here for the same reason, and because what is written next is held twice. */
		must_settle();
		REQUIRE(holds());
		while (fork_and_check() != 0)
			usleep(5000);
		must_settle();
		discard_and_check();
		REQUIRE(holds());
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
		REQUIRE(pread(pagemap, &entry, sizeof entry, (off_t)(((uintptr_t)base / PAGE + page) * sizeof entry)) ==
			sizeof entry);
		swapped += entry >> 62 & 1;
	}
	close(pagemap);
	return swapped;
}

void case_swap(char **unused)
{
	(void)unused;
	make_region(16 * MIB);
	for (int round = 0; round < 3; round++) {
		pid_t sleeper = start_sleeper();
		fill();
		/* Programs do not do this: it stands in for a shortage of memory. */
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

/* How many bytes of the region are mapped by large pages. */
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

/* From here on any call that makes a file system or a namespace raises SIGSYS. */
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

	REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* open|sandbox large|small: the size of a region's pages where ordinary memory has large ones. */
void case_large(char **arguments)
{
	if (strcmp(arguments[0], "sandbox") == 0)
		enter_sandbox();
	make_region(8 * MIB);
	/* The machine may have no large page at the moment. */
	for (int i = 0; i < 20 && strcmp(arguments[1], "large") == 0 && mapped_large() < 6 * MIB; i++) {
		REQUIRE(odf_region_destroy(region) == 0);
		usleep(200000);
		make_region(8 * MIB);
	}
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
	REQUIRE(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD); /* the process that made the file has ended */
}

/* NUMBER open|closed: the descriptor that was handed in must be open, or closed, here. It must never be open in a
 * program that this one executes. */
void case_descriptor(char **arguments)
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

/* NUMBER: a program that closes all descriptors, has a pipe of its own at that number before it makes a region, and
 * then closes the pipe. */
void case_number_taken(char **arguments)
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
	REQUIRE(poll(&poller, 1, 60000) == 1 && (poller.revents & POLLHUP)); /* no other process has the pipe */
	must_recover();
}
