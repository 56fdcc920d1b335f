/* SPDX-License-Identifier: MIT
 *
 * Forks, and prints the results as NAME=VALUE lines, for kernel.sh and kernel_async.sh, which run this on emulated
 * kernels, with each of the libraries. It uses only what odfork.h declares.
 *
 *   kernel_facts verify                 the verdict
 *   kernel_facts capabilities
 *   kernel_facts fork MIB [HOW]         with so much memory; HOW: auto (default), kernel, only (the kernel's or none),
 *                                       plain
 *   kernel_facts again MIB              by name, and then plainly
 *   kernel_facts libc MIB               fork() itself, which is interposed where the library is preloaded
 *   kernel_facts execs MIB              and the child executes this program to see what is left of the switch
 *   kernel_facts handler MIB            in a signal handler
 *   kernel_facts heap MIB               whether there is a heap
 *   kernel_facts undisturbed            what a verification leaves of the process
 *   kernel_facts threads BIT            threads fork on demand, one plainly, others come and go; the bit that a child
 *                                       must have
 *   kernel_facts spawn                  programs, by each strategy
 *   kernel_facts layout                 what shares page tables with regions
 *   kernel_facts forbidden 439|65|16384 issues what the library never does
 *   kernel_facts regions MIB            by name, with a snapshot region; and a region after a fork by name
 */
#include "kernel_facts.h"

static int command_verify(void)
{
	odf_kernel_verdict verdict = ODF_KERNEL_VERDICT_INIT;
	int error = odf_kernel_verify(&verdict);

	printf("error=%d\ninterface=%s\nreason=%s\n", error, odf_kernel_interface_name(verdict.interface),
	       odf_reason_name(verdict.reason));
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
	       odf_reason_name(capabilities.strategy[ODF_STRATEGY_KERNEL]),
	       odf_reason_name(capabilities.strategy[ODF_STRATEGY_REGION]));
	return 0;
}

int command_fork(const char *how)
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

/* A fork by name, and then a plain one. */
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
	printf("again=%s\nagain_despite=%s\nagain_kernel=%s\n", odf_strategy_name(report.strategy),
	       odf_reason_name(report.despite), odf_reason_name(report.reason[ODF_STRATEGY_KERNEL]));
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

static int command_heap(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	REQUIRE(odf_heap_info_get(&info) == 0);
	printf("heap=%s\nheap_reason=%s\nbit=%c\n",
	       info.state == ODF_HEAP_OFF	  ? "off"
	       : info.state == ODF_HEAP_AWAKE ? "awake"
					      : "asleep",
	       odf_reason_name(info.reason), bit());
	return 0;
}

static int command_spawn(void)
{
	static const odf_strategy strategies[] = {
		ODF_STRATEGY_NONE, ODF_STRATEGY_VFORK, ODF_STRATEGY_POSIX_SPAWN, ODF_STRATEGY_FORK,
	};
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
			fprintf(stderr, "%s: %s at %s\n", odf_strategy_name(strategies[i]), strerror(error),
				odf_step_name(report.step));
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
	alarm(600);
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
	if (strcmp(what, "heap") == 0)
		return command_heap();
	return 2;
}
