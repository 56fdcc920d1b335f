/* SPDX-License-Identifier: MIT
 *
 * region_forks: makes processes in every possible way in a program that has a snapshot region and is linked with the
 * shared library. Each child must find the region as it was, keep its writes to itself, and see none of its parent's.
 * When all children are gone, the region must be LIVE again, with every byte right. Ways that share memory, or end in
 * exec, must freeze nothing.
 *
 * TAP. Each case is a process of its own. With the name of a case as argument, that case runs in this process.
 */
#include "region_forks.h"

/* ---- Running the cases ------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "every_way", case_every_way },
	{ "another_thread", case_another_thread },
	{ "threads_at_once", case_threads_at_once },
	{ "handler", case_handler },
	{ "timer", case_timer },
	{ "child_goes_on", case_child_goes_on },
	{ "handler_writes", case_handler_writes },
	{ "memory_shared", case_memory_shared },
	{ "daemon", case_daemon },
	{ "shells", case_shells },
	{ "nothing_frozen", case_nothing_frozen },
	{ "past_the_library", case_past_the_library },
	{ "generations", case_generations },
	{ "orphan", case_orphan },
	{ "neighbours", case_neighbours },
	{ "atfork_handlers", case_atfork_handlers },
	{ "ids", case_ids },
	{ "cancelled", case_cancelled },
	{ "ends", case_ends },
	{ "descriptors", case_descriptors },
};
enum { CASES = sizeof cases / sizeof *cases };

static bool runs_well(int which)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		setpgid(0, 0);
		cases[which].run();
		_exit(0);
	}
	for (time_t end = now() + 2 * DEADLINE; waitpid(pid, &status, WNOHANG) == 0; usleep(2000)) {
		if (now() > end) {
			printf("# hangs\n");
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
	}
	kill(-pid, SIGKILL); /* what a failed case has left behind */
	if (status != 0)
		printf("# wait status %#x\n", (unsigned)status);
	return status == 0;
}

int main(int count, char **arguments)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	bool fine = true, result;

	setvbuf(stdout, NULL, _IOLBF, 0);
	messages = fcntl(2, F_DUPFD_CLOEXEC, 1024);
	if (messages < 0)
		messages = 2;
	bare = (pid_t(*)(void))dlsym(RTLD_DEFAULT, "_Fork");
	if (bare == NULL)
		bare = fork;
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(shared != MAP_FAILED && odf_capabilities_get(&capabilities) == 0);
	if (count > 1) {
		for (int i = 0; i < CASES; i++)
			if (strcmp(arguments[1], cases[i].name) == 0)
				cases[i].run();
		return 0;
	}
	if (capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE) {
		printf("1..0 # SKIP %s\n", odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
		return 0;
	}
	printf("1..%d\n", CASES + 2);
	start_endings();
	for (int i = 0; i < CASES; i++) {
		result = runs_well(i);
		printf("%s %d - %s\n", result ? "ok" : "not ok", i + 1, cases[i].name);
		fine = fine && result;
	}
	for (int i = 0; i < 2; i++) {
		result = ends_in_time(&endings[i]);
		printf("%s %d - last_thread%s\n", result ? "ok" : "not ok", CASES + i + 1, i == 1 ? "_frozen" : "");
		fine = fine && result;
	}
	return fine ? 0 : 1;
}
