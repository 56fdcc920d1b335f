/* SPDX-License-Identifier: MIT
 *
 * A limit of processor time. The kernel counts each process on its own, and the keeper may need more than its program.
 */
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../support/keeper_program.h"

#define LIMIT_S 1u

/* The sum of utime and stime, in seconds. */
static double seconds_of(pid_t pid)
{
	char path[64], text[512] = "";
	unsigned long user = 0, system = 0;
	const char *at;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	at = fgets(text, sizeof text, file) != NULL ? strrchr(text, ')') : NULL;
	fclose(file);
	must(at != NULL && sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

#define MEMORY (256 * MIB)
#define PAGES  100

static char *large;

static bool is_live(void)
{
	char line[512], rights[8];
	bool found = false;
	FILE *maps = fopen("/proc/self/maps", "re");

	must(maps != NULL);
	while (!found && fgets(line, sizeof line, maps) != NULL) {
		unsigned long start, end;
		found = sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && (unsigned long)large >= start &&
			(unsigned long)large < end && rights[3] == 's';
	}
	fclose(maps);
	return found;
}

/* True: the process has the right to raise limits, or had it. */
static bool changes_right_to_raise(bool drop)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	bool had;

	must(syscall(SYS_capget, &header, has) == 0);
	had = has[0].effective & 1u << CAP_SYS_RESOURCE;
	has[0].effective &= ~(1u << CAP_SYS_RESOURCE);
	has[0].permitted &= ~(1u << CAP_SYS_RESOURCE);
	must(!drop || syscall(SYS_capset, &header, has) == 0);
	return had;
}

static odf_reason reason_of_heap(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	must(odf_heap_info_get(&info) == 0);
	return info.reason;
}

static void must_hold(char byte)
{
	for (size_t page = 0; page < MEMORY / 4096; page++)
		must(large[page * 4096] == (page % (MEMORY / 4096 / PAGES) == 0 ? byte : 1));
}

/* A fork and few writes: to settle this the keeper moves all page tables, and uses several times as much processor time
 * as the program. */
static void fork_and_write_little(char byte)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(0);
	must(status_of(pid) == 0);
	for (size_t page = 0; page < MEMORY / 4096; page += MEMORY / 4096 / PAGES)
		large[page * 4096] = byte;
}

/* Until the keeper has used that much processor time. */
static char keep_it_busy(pid_t keeper, double until)
{
	char byte = 1;

	while (seconds_of(keeper) < until && heap_is_awake()) {
		byte = (char)(byte % 100 + 1);
		fork_and_write_little(byte);
		for (double end = now() + 20; !is_live() && heap_is_awake(); wait_ms(4))
			must(now() < end);
	}
	return byte;
}

static pid_t begin(void)
{
	struct rlimit limit = { LIMIT_S, LIMIT_S };
	pid_t keeper;

	must(setrlimit(RLIMIT_CPU, &limit) == 0 && odf_heap_enable(0) == 0 && heap_is_awake());
	large = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(large != MAP_FAILED);
	for (size_t page = 0; page < MEMORY / 4096; page++)
		large[page * 4096] = 1;
	keeper = keeper_of(getpid());
	must(keeper > 0);
	return keeper;
}

/* All memory leaves the region in time, with its contents. */
static void gives_up_before_its_time_is_over(void)
{
	pid_t keeper;

	if (geteuid() != 0)
		cannot_be_done_here("takes userfaultfd, which root has");
	(void)changes_right_to_raise(true);
	keeper = begin();
	must_hold(keep_it_busy(keeper, 2.0 * LIMIT_S));
	must(has_memory(keeper));
	must(!heap_is_awake() && reason_of_heap() == ODF_REASON_HEAP_LIMIT && seconds_of(keeper) < LIMIT_S);
	fork_and_write_little(101);
	must_hold(101);
}

static void has_no_limit_where_that_may_be(void)
{
	pid_t keeper;

	if (geteuid() != 0)
		cannot_be_done_here("takes userfaultfd, which root has");
	keeper = begin();
	must_hold(keep_it_busy(keeper, 1.5 * LIMIT_S));
	must(has_memory(keeper) && heap_is_awake());
}

static const struct keeper_case cases[] = {
	CASE(gives_up_before_its_time_is_over, "auto"),
	CASE(has_no_limit_where_that_may_be, "auto"), /* the last case: see main */
};

int main(int argc, char **argv)
{
	size_t count = sizeof cases / sizeof cases[0];

	/* Root in a container may lack the right to raise limits; the first case tests what happens then. */
	if (argc == 1 && !changes_right_to_raise(false)) {
		puts("# left out, for want of CAP_SYS_RESOURCE: has_no_limit_where_that_may_be");
		count--;
	}
	return run_cases(argc, argv, cases, count);
}
