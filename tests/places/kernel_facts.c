/* SPDX-License-Identifier: MIT
 *
 * Forks, and prints what came of it as NAME=VALUE lines, for kernel.sh, which runs this on emulated kernels, with each of the libraries. Uses what odfork.h has and
 * nothing of the library's parts.
 *
 *   kernel_facts verify                 the verdict
 *   kernel_facts capabilities
 *   kernel_facts fork MIB [HOW]         with so much memory; HOW: auto (default), kernel, only (the kernel's or none), plain
 *   kernel_facts again MIB              by name, and then plainly
 *   kernel_facts libc MIB               fork() itself, which is interposed where the library is preloaded
 *   kernel_facts execs MIB              and the child executes this program to see what is left of the switch
 *   kernel_facts handler MIB            in a signal handler
 *   kernel_facts undisturbed            what a verification leaves of the process
 *   kernel_facts threads BIT            threads fork on demand, one plainly, others come and go; the bit that a child must have
 *   kernel_facts spawn                  programs, by each strategy
 *   kernel_facts layout                 what shares page tables with regions
 *   kernel_facts forbidden 439|65|16384 issues what the library never does
 *   kernel_facts regions MIB            by name, with a snapshot region; and a region after a fork by name
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork.h"

#define REQUIRE(condition)                                                                                  \
	do {                                                                                                \
		if (!(condition)) {                                                                         \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);   \
			_exit(1);                                                                           \
		}                                                                                           \
	} while (0)

static char **own_arguments;

/* '0' or '1' of the switch; 'n' where there is none. */
static char bit(void)
{
	char byte = 'n';
	int fd = open("/proc/self/use_odf", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 'n';
	REQUIRE(read(fd, &byte, 1) == 1);
	close(fd);
	return byte;
}

/* kB of page tables of this process. */
static long tables(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long found = -1;

	if (file == NULL)
		return -1;
	while (found < 0 && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, "VmPTE:", 6) == 0)
			found = atol(line + 6);
	fclose(file);
	return found;
}

static char *memory;
static size_t memory_size;

static void take(const char *mebibytes)
{
	memory_size = strtoul(mebibytes, NULL, 10) << 20;
	memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(memory != MAP_FAILED);
	(void)madvise(memory, memory_size, MADV_NOHUGEPAGE); /* huge pages have no page tables to count; where there are none, this fails */
	for (size_t at = 0; at < memory_size; at += 4096)
		memory[at] = (char)(at >> 12);
}

static bool keeps(size_t except)
{
	for (size_t at = 0; at < memory_size; at += 4096)
		if (at != except && memory[at] != (char)(at >> 12))
			return false;
	return true;
}

/* What a child sees, which the parent prints. */
struct seen {
	char bit;
	bool keeps;
	long tables;
};

static void tell(int fd)
{
	struct seen seen = { bit(), keeps(memory_size), tables() };

	if (memory_size > 0)
		memory[0] = 99;
	REQUIRE(write(fd, &seen, sizeof seen) == sizeof seen);
}

static void print_reasons(const odf_report *report)
{
	printf("strategy=%s\n", odf_strategy_name(report->strategy));
	printf("kernel=%s\n", odf_reason_name(report->reason[ODF_STRATEGY_KERNEL]));
	printf("despite=%s\n", odf_reason_name(report->despite));
	printf("step=%s\nerror=%d\n", odf_step_name(report->step), report->error);
}

static void print_seen(int fd, long own_tables)
{
	struct seen seen;

	REQUIRE(read(fd, &seen, sizeof seen) == sizeof seen);
	printf("child_bit=%c\nchild_keeps=%d\n", seen.bit, seen.keeps);
	/* On demand or not: far from each other with the memory that is used here. */
	printf("child_tables=%s\n", seen.tables < 0 || own_tables < 0 ? "unknown" : seen.tables * 2 < own_tables ? "few" : "copied");
}

static void must_exit(pid_t pid)
{
	int status;

	REQUIRE(waitpid(pid, &status, 0) == pid);
	REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int command_verify(void)
{
	odf_kernel_verdict verdict = ODF_KERNEL_VERDICT_INIT;
	int error = odf_kernel_verify(&verdict);

	printf("error=%d\ninterface=%s\nreason=%s\n", error, odf_kernel_interface_name(verdict.interface), odf_reason_name(verdict.reason));
	for (odf_kernel_check check = 0; check < ODF_KERNEL_CHECK_COUNT; check++)
		printf("%s=%s\n", odf_kernel_check_name(check),
		       verdict.check[check] == ODF_ANSWER_YES  ? "passed"
		       : verdict.check[check] == ODF_ANSWER_NO ? "failed"
							       : "not_asked");
	printf("tables=%s\n", verdict.tables == 0 || verdict.child_tables == 0  ? "unknown"
			     : verdict.child_tables * 2 < verdict.tables ? "few"
									  : "copied");
	printf("bit=%c\n", bit());
	return 0;
}

static int command_capabilities(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	REQUIRE(odf_capabilities_get(&capabilities) == 0);
	printf("interface=%s\nkernel=%s\nregion=%s\n", odf_kernel_interface_name(capabilities.kernel_interface),
	       odf_reason_name(capabilities.strategy[ODF_STRATEGY_KERNEL]), odf_reason_name(capabilities.strategy[ODF_STRATEGY_REGION]));
	return 0;
}

static int command_fork(const char *how)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	long own = tables();
	char text[1024];
	int ends[2];
	pid_t pid;

	if (strcmp(how, "kernel") == 0)
		options.allow = ODF_ALLOW(ODF_STRATEGY_KERNEL) | ODF_ALLOW(ODF_STRATEGY_FORK);
	else if (strcmp(how, "only") == 0)
		options.allow = ODF_ALLOW(ODF_STRATEGY_KERNEL);
	else if (strcmp(how, "plain") == 0)
		options.allow = ODF_ALLOW(ODF_STRATEGY_FORK);
	REQUIRE(pipe(ends) == 0);
	pid = odf_fork_with(&options, &report);
	if (pid == 0) {
		tell(ends[1]);
		_exit(0);
	}
	print_reasons(&report);
	REQUIRE(odf_report_format(&report, text, sizeof text) > 0);
	printf("text=%.*s\n", (int)strcspn(text, ";"), text);
	if (pid > 0) {
		print_seen(ends[0], own);
		must_exit(pid);
		printf("keeps=%d\n", keeps(memory_size));
	}
	printf("bit=%c\n", bit());
	return 0;
}

/* By name, and then one that is to be plain. */
static int command_again(void)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	pid_t pid;

	command_fork("kernel");
	options.allow = ODF_ALLOW(ODF_STRATEGY_FORK);
	pid = odf_fork_with(&options, &report);
	if (pid == 0)
		_exit(0);
	must_exit(pid);
	printf("again=%s\nagain_despite=%s\nagain_kernel=%s\n", odf_strategy_name(report.strategy), odf_reason_name(report.despite),
	       odf_reason_name(report.reason[ODF_STRATEGY_KERNEL]));
	return 0;
}

static int command_libc(bool execute)
{
	long own = tables();
	int ends[2];
	pid_t pid;

	REQUIRE(pipe(ends) == 0);
	fflush(stdout);
	pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0) {
		char name[16];
		if (!execute) {
			tell(ends[1]);
			_exit(0);
		}
		snprintf(name, sizeof name, "%d", ends[1]);
		execl("/proc/self/exe", own_arguments[0], "--tell", name, (char *)NULL);
		_exit(1);
	}
	print_seen(ends[0], own);
	must_exit(pid);
	printf("keeps=%d\nbit=%c\n", keeps(memory_size), bit());
	return 0;
}

static volatile pid_t forked;
static odf_report handler_report = ODF_REPORT_INIT;

static void on_signal(int signal)
{
	(void)signal;
	forked = odf_fork_with(NULL, &handler_report);
	if (forked == 0)
		_exit(0);
}

static int command_handler(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
	raise(SIGUSR1);
	REQUIRE(forked > 0);
	must_exit(forked);
	print_reasons(&handler_report);
	return 0;
}

static volatile sig_atomic_t signals_seen, handlers_run;

static void count_signal(int signal)
{
	(void)signal;
	signals_seen++;
}

static void count_handler(void)
{
	handlers_run++;
}

/* Descriptors, with their flags. */
static void list_descriptors(char *list, size_t size)
{
	size_t used = 0;

	for (int fd = 0; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFD);
		if (flags >= 0)
			used += (size_t)snprintf(list + used, size - used, "%d:%d ", fd, flags);
	}
}

static int command_undisturbed(void)
{
	struct sigaction action = { .sa_handler = count_signal };
	odf_kernel_verdict verdict = ODF_KERNEL_VERDICT_INIT;
	char before[4096] = "", after[4096] = "", bit_before = bit();
	sigset_t mask_before, mask_after;

	REQUIRE(pthread_atfork(count_handler, count_handler, count_handler) == 0);
	for (int signal = 1; signal < 32; signal++)
		if (signal != SIGKILL && signal != SIGSTOP)
			REQUIRE(sigaction(signal, &action, NULL) == 0);
	REQUIRE(sigprocmask(SIG_BLOCK, NULL, &mask_before) == 0);
	list_descriptors(before, sizeof before);
	errno = 77;
	REQUIRE(odf_kernel_verify(&verdict) == 0);
	REQUIRE(errno == 77);
	if (verdict.interface != ODF_KERNEL_INTERFACE_USE_ODF_ARMED) /* of which nothing is forked */
		REQUIRE(verdict.check[ODF_KERNEL_CHECK_END] == ODF_ANSWER_YES);
	REQUIRE(verdict.elapsed_ns > 0);
	list_descriptors(after, sizeof after);
	REQUIRE(strcmp(before, after) == 0);
	REQUIRE(sigprocmask(SIG_BLOCK, NULL, &mask_after) == 0);
	REQUIRE(memcmp(&mask_before, &mask_after, sizeof mask_before) == 0);
	REQUIRE(signals_seen == 0 && handlers_run == 0);
	REQUIRE(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
	REQUIRE(bit() == bit_before);
	/* What was asked is known. */
	{
		odf_kernel_verdict again = ODF_KERNEL_VERDICT_INIT;
		REQUIRE(odf_kernel_verify(&again) == 0);
		REQUIRE(memcmp(&again, &verdict, sizeof again) == 0);
	}
	REQUIRE(odf_kernel_verify(NULL) == EINVAL);
	verdict.size = 8;
	REQUIRE(odf_kernel_verify(&verdict) == EINVAL);
	printf("undisturbed=1\n");
	return 0;
}

/* ---- Threads -------------------------------------------------------------------------------------------------------------------------------- */

static char expected_bit;
static atomic_bool stop;
static atomic_int by_kernel, by_fork, busy_count, wrong;

static void *fork_by_name(void *unused)
{
	(void)unused;
	for (int i = 0; i < 40; i++) {
		odf_fork_options options = ODF_FORK_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		pid_t pid;
		options.allow = ODF_ALLOW(ODF_STRATEGY_KERNEL) | ODF_ALLOW(ODF_STRATEGY_FORK);
		pid = odf_fork_with(&options, &report);
		if (pid == 0)
			_exit(keeps(memory_size) ? bit() : 1);
		if (pid < 0) {
			wrong++;
			continue;
		}
		if (report.strategy == ODF_STRATEGY_KERNEL)
			by_kernel++;
		else if (report.reason[ODF_STRATEGY_KERNEL] == ODF_REASON_KERNEL_BUSY)
			busy_count++;
		else
			wrong++;
		int status;
		/* A fork that found the switch busy may have come before it was thrown for the first time. */
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || (WEXITSTATUS(status) != expected_bit &&
		    (expected_bit == '0' || report.strategy == ODF_STRATEGY_KERNEL || WEXITSTATUS(status) != '0')))
			wrong++;
	}
	return NULL;
}

/* A child of a fork that asked for none of it must not keep a switch that another thread had set in that moment. */
static void *fork_plainly(void *unused)
{
	(void)unused;
	while (!stop) {
		odf_fork_options options = ODF_FORK_OPTIONS_INIT;
		int status;
		pid_t pid;
		options.allow = ODF_ALLOW(ODF_STRATEGY_FORK);
		pid = by_fork % 2 ? fork() : odf_fork_with(&options, NULL); /* libc's own as well */
		if (pid == 0)
			_exit(bit() == '0' || expected_bit == '1' ? 0 : 1); /* asked in any case: the emulation waits for a child to appear */
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			wrong++;
		by_fork++;
	}
	return NULL;
}

static void *nothing(void *unused)
{
	return unused;
}

static int command_threads(char child_bit)
{
	pthread_t forkers[2], plain;

	expected_bit = child_bit;
	take("20");
	REQUIRE(pthread_create(&plain, NULL, fork_plainly, NULL) == 0);
	for (int i = 0; i < 2; i++)
		REQUIRE(pthread_create(&forkers[i], NULL, fork_by_name, NULL) == 0);
	for (int i = 0; i < 100; i++) { /* each uses up what was armed */
		pthread_t passing;
		REQUIRE(pthread_create(&passing, NULL, nothing, NULL) == 0);
		pthread_join(passing, NULL);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(forkers[i], NULL);
	stop = true;
	pthread_join(plain, NULL);
	printf("by_kernel=%d\nby_fork=%d\nwrong=%d\n", by_kernel > 0, by_fork > 0, wrong);
	printf("all=%d\nbit=%c\n", by_kernel + busy_count, bit());
	return 0;
}

/* ---- Regions -------------------------------------------------------------------------------------------------------------------------------- */

static int command_regions(const char *mebibytes)
{
	size_t size = (size_t)8 << 20;
	odf_region *region = odf_region_create(size, 0), *second;
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	char *base;

	take(mebibytes);
	if (region == NULL) {
		REQUIRE(errno == ENOTSUP);
		REQUIRE(odf_capabilities_get(&capabilities) == 0);
		printf("region=%s\n", odf_reason_name(capabilities.strategy[ODF_STRATEGY_REGION]));
		return 0;
	}
	printf("region=none\n");
	base = odf_region_base(region);
	for (size_t at = 0; at < size; at += 4096)
		base[at] = (char)(at >> 12);
	/* Several rounds: frozen, settled or not, written in between. */
	for (int round = 0; round < 4; round++) {
		odf_fork_options options = ODF_FORK_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		pid_t pid;
		options.allow = round < 2 ? ODF_ALLOW(ODF_STRATEGY_KERNEL) | ODF_ALLOW(ODF_STRATEGY_FORK) : 0;
		pid = odf_fork_with(&options, &report);
		REQUIRE(pid >= 0);
		if (pid == 0) {
			for (size_t at = 0; at < size; at += 4096)
				REQUIRE(base[at] == (char)((at >> 12) + (at == 4096 ? (size_t)round : 0)));
			base[8192] = 77;
			REQUIRE(odf_region_discard(region, base + 12288, 4096) == 0 && base[12288] == 0);
			REQUIRE(keeps(memory_size));
			_exit(0);
		}
		base[4096] = (char)(base[4096] + 1);
		must_exit(pid);
		for (size_t at = 0; at < size; at += 4096)
			REQUIRE(base[at] == (char)((at >> 12) + (at == 4096 ? (size_t)round + 1 : 0)));
		if (round == 0 || round == 2)
			print_reasons(&report);
		if (round == 1)
			(void)odf_region_settle(region); /* what it says depends on the sandbox */
	}
	second = odf_region_create(4096, 0);
	printf("second=%s\n", second != NULL ? "made" : errno == ENOTSUP ? "refused" : "failed");
	if (second != NULL)
		odf_region_destroy(second);
	odf_region_destroy(region);
	return 0;
}

/* A region in a process whose forks are on demand already. */
static int command_region_after(void)
{
	odf_region *region;
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	take("20");
	command_fork("kernel");
	region = odf_region_create(4096, 0);
	REQUIRE(region != NULL || errno == ENOTSUP);
	REQUIRE(odf_capabilities_get(&capabilities) == 0);
	printf("region=%s\nreason=%s\n", region != NULL ? "made" : "refused", odf_reason_name(capabilities.strategy[ODF_STRATEGY_REGION]));
	if (region != NULL)
		odf_region_destroy(region);
	return 0;
}

/* Single pages, everywhere where the kernel likes to put them: none may share a page table with a region. */
static int command_layout(void)
{
	static const size_t capacities[] = { 4096, (size_t)1 << 20, (size_t)3 << 20, (size_t)20 << 20 };
	enum { REGIONS = sizeof capacities / sizeof *capacities, PAGES = 3000 };
	const uintptr_t table = (uintptr_t)2 << 20;
	uintptr_t from[REGIONS], to[REGIONS];
	unsigned long start, end;
	char line[512], mode[8];
	FILE *maps;

	for (int i = 0; i < REGIONS; i++) {
		odf_region *region = odf_region_create(capacities[i], 0);
		pid_t pid;
		if (region == NULL) {
			printf("layout=none\n");
			return 0;
		}
		from[i] = (uintptr_t)odf_region_base(region);
		REQUIRE(from[i] % table == 0);
		to[i] = (from[i] + capacities[i] + table - 1) / table * table;
		/* The token is just below, in a page table of its own. */
		from[i] -= table;
		memset(odf_region_base(region), 1, capacities[i]);
		pid = odf_fork(); /* what is made at a freeze lies somewhere too */
		if (pid == 0)
			_exit(0);
		must_exit(pid);
	}
	for (int i = 0; i < PAGES; i++) { /* of alternating protection, so that they are not one mapping */
		uintptr_t page = (uintptr_t)mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		REQUIRE(page != (uintptr_t)MAP_FAILED);
		for (int r = 0; r < REGIONS; r++)
			REQUIRE(page < from[r] || page >= to[r]);
	}
	maps = fopen("/proc/self/maps", "re");
	REQUIRE(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		REQUIRE(sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3);
		for (int r = 0; r < REGIONS; r++)
			if (start < to[r] && end > from[r])
				REQUIRE(strstr(line, "memfd:odfork") != NULL || strncmp(mode, "---p", 4) == 0);
	}
	fclose(maps);
	printf("layout=apart\n");
	return 0;
}

static int command_spawn(void)
{
	static const odf_strategy strategies[] = { ODF_STRATEGY_NONE, ODF_STRATEGY_VFORK, ODF_STRATEGY_POSIX_SPAWN, ODF_STRATEGY_FORK };
	char *arguments[] = { own_arguments[0], (char[]){ "exit" }, NULL };

	for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		odf_report report = ODF_REPORT_INIT;
		pid_t pid;
		int error;
		if (strategies[i] != ODF_STRATEGY_NONE)
			options.allow = ODF_ALLOW(strategies[i]);
		if (strategies[i] != ODF_STRATEGY_POSIX_SPAWN)
			options.flags = ODF_SPAWN_CLOSE_OTHER_FDS | ODF_SPAWN_RESET_SIGNALS;
		error = odf_spawn(&pid, "/proc/self/exe", arguments, NULL, &options, &report);
		if (error != 0)
			fprintf(stderr, "%s: %s at %s\n", odf_strategy_name(strategies[i]), strerror(error), odf_step_name(report.step));
		REQUIRE(error == 0);
		must_exit(pid);
	}
	{
		odf_fork_options options = ODF_FORK_OPTIONS_INIT;
		int pidfd;
		pid_t pid;
		options.pidfd = &pidfd;
		pid = odf_fork_with(&options, NULL);
		if (pid == 0)
			_exit(0);
		REQUIRE(pid > 0 && pidfd >= 0);
		must_exit(pid);
		close(pidfd);
	}
	printf("spawned=1\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	own_arguments = argv;
	alarm(60);
	if (strcmp(what, "--tell") == 0 && argc == 3) {
		tell(atoi(argv[2]));
		return 0;
	}
	if (strcmp(what, "verify") == 0)
		return command_verify();
	if (strcmp(what, "capabilities") == 0)
		return command_capabilities();
	if (strcmp(what, "exit") == 0)
		return 0;
	if (strcmp(what, "spawn") == 0)
		return command_spawn();
	if (strcmp(what, "layout") == 0)
		return command_layout();
	if (strcmp(what, "forbidden") == 0 && argc == 3)
		return strcmp(argv[2], "439") == 0 ? (int)syscall(439, 0, 0, 0, 0) : prctl(atoi(argv[2]), 0, 0, 0, 0);
	if (strcmp(what, "undisturbed") == 0)
		return command_undisturbed();
	if (strcmp(what, "threads") == 0 && argc == 3)
		return command_threads(argv[2][0]);
	if (strcmp(what, "region_after") == 0)
		return command_region_after();
	if (strcmp(what, "regions") == 0 && argc == 3)
		return command_regions(argv[2]);
	if (argc < 3)
		return 2;
	take(argv[2]);
	if (strcmp(what, "fork") == 0)
		return command_fork(argc > 3 ? argv[3] : "auto");
	if (strcmp(what, "again") == 0)
		return command_again();
	if (strcmp(what, "libc") == 0)
		return command_libc(false);
	if (strcmp(what, "execs") == 0)
		return command_libc(true);
	if (strcmp(what, "handler") == 0)
		return command_handler();
	return 2;
}
