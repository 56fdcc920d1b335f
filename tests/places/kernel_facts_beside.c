/* SPDX-License-Identifier: MIT
 *
 * Commands of kernel_facts: forks in combination with threads, regions and signal handlers, and what a verification
 * leaves unchanged.
 */
#include "kernel_facts.h"

static volatile pid_t forked;
static odf_report handler_report = ODF_REPORT_INIT;

static void on_signal(int signal)
{
	(void)signal;
	forked = odf_fork_with(NULL, &handler_report);
	if (forked == 0)
		_exit(0);
}

int command_handler(void)
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

/* Lists descriptors, with their flags. */
static void list_descriptors(char *list, size_t size)
{
	size_t used = 0;

	for (int fd = 0; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFD);
		if (flags >= 0)
			used += (size_t)snprintf(list + used, size - used, "%d:%d ", fd, flags);
	}
}

int command_undisturbed(void)
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
	if (verdict.interface != ODF_KERNEL_INTERFACE_USE_ODF_ARMED) /* for that one nothing is forked */
		REQUIRE(verdict.check[ODF_KERNEL_CHECK_END] == ODF_ANSWER_YES);
	REQUIRE(verdict.elapsed_ns > 0);
	list_descriptors(after, sizeof after);
	REQUIRE(strcmp(before, after) == 0);
	REQUIRE(sigprocmask(SIG_BLOCK, NULL, &mask_after) == 0);
	REQUIRE(memcmp(&mask_before, &mask_after, sizeof mask_before) == 0);
	REQUIRE(signals_seen == 0 && handlers_run == 0);
	REQUIRE(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
	REQUIRE(bit() == bit_before);
	/* The answers are cached. */
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

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

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
		/* A fork that found the switch in use may have come before the switch was first turned on. */
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || (WEXITSTATUS(status) != expected_bit &&
		    (expected_bit == '0' || report.strategy == ODF_STRATEGY_KERNEL || WEXITSTATUS(status) != '0')))
			wrong++;
	}
	return NULL;
}

/* The child of a fork that did not ask for the switch must not keep a switch that another thread had set at that
 * moment. */
static void *fork_plainly(void *unused)
{
	(void)unused;
	while (!stop) {
		odf_fork_options options = ODF_FORK_OPTIONS_INIT;
		int status;
		pid_t pid;
		options.allow = ODF_ALLOW(ODF_STRATEGY_FORK);
		pid = by_fork % 2 ? fork() : odf_fork_with(&options, NULL); /* libc's fork, too */
		if (pid == 0)
			_exit(bit() == '0' || expected_bit == '1'
				      ? 0
				      : 1); /* asked for in any case: the emulation waits for a child to appear */
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

int command_threads(char child_bit)
{
	pthread_t forkers[2], plain;

	expected_bit = child_bit;
	take("20");
	REQUIRE(pthread_create(&plain, NULL, fork_plainly, NULL) == 0);
	for (int i = 0; i < 2; i++)
		REQUIRE(pthread_create(&forkers[i], NULL, fork_by_name, NULL) == 0);
	for (int i = 0; i < 100; i++) { /* each fork uses up an armed switch */
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

/* ---- Regions ----------------------------------------------------------------------------------------------------- */

int command_regions(const char *mebibytes)
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
	/* Several rounds: frozen, settled or not, with writes in between. */
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
			(void)odf_region_settle(region); /* its result depends on the sandbox */
	}
	second = odf_region_create(4096, 0);
	printf("second=%s\n", second != NULL ? "made" : errno == ENOTSUP ? "refused" : "failed");
	if (second != NULL)
		odf_region_destroy(second);
	odf_region_destroy(region);
	return 0;
}

/* A region in a process whose forks are already on demand. */
int command_region_after(void)
{
	odf_region *region;
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	take("20");
	command_fork("kernel");
	region = odf_region_create(4096, 0);
	REQUIRE(region != NULL || errno == ENOTSUP);
	REQUIRE(odf_capabilities_get(&capabilities) == 0);
	printf("region=%s\nreason=%s\n", region != NULL ? "made" : "refused",
	       odf_reason_name(capabilities.strategy[ODF_STRATEGY_REGION]));
	if (region != NULL)
		odf_region_destroy(region);
	return 0;
}

/* Maps single pages wherever the kernel likes to place them: none may share a page table with a region. */
int command_layout(void)
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
		/* The token lies just below, in a page table of its own. */
		from[i] -= table;
		memset(odf_region_base(region), 1, capacities[i]);
		pid = odf_fork(); /* mappings that a freeze makes need a place, too */
		if (pid == 0)
			_exit(0);
		must_exit(pid);
	}
	for (int i = 0; i < PAGES; i++) { /* alternating protection, so that the kernel does not merge the mappings */
		uintptr_t page = (uintptr_t)mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE,
						 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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
				REQUIRE(strstr(line, "odfork-") != NULL || strncmp(mode, "---p", 4) == 0);
	}
	fclose(maps);
	printf("layout=apart\n");
	return 0;
}
