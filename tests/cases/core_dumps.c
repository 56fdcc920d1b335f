/* SPDX-License-Identifier: MIT
 *
 * The kernel's core dump of a program under the library: it has all memory of the program, at its addresses, and about
 * the size of a plain program's dump. The program's memory is LIVE, FROZEN while a child has its snapshot, or that
 * child's, each with and without later writes. For memory that the program has touched the dump allocates nothing.
 */
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../support/core_file.h"
#include "../support/region_files.h"

#define ALL  (24 * MIB)
#define PAGE ((size_t)4096)
#define SETTLING_TRIES 6 /* about one try in ten finds a step under way */

static char *memory;

static void load(void)
{
	memory = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	core_fill(memory, ALL);
	for (int round = 0; round < 2; round++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		must(status_of(pid) == 0);
	}
	for (int tries = 0; tries < 6000 && getenv("ODFORK_HEAP") != NULL && started_as == 0 &&
			    !(is_live(memory) && is_live(memory + ALL - PAGE));
	     tries++)
		wait_ms(5);
}

static void look_at_dump(pid_t dead)
{
	char name[32];
	struct stat status;
	int core;

	snprintf(name, sizeof name, "core.%d", dead);
	core = open(name, O_RDONLY | O_CLOEXEC);
	if (core < 0)
		core = open("core", O_RDONLY | O_CLOEXEC);
	must(core >= 0 && fstat(core, &status) == 0);
	core_must_have(core, memory, ALL);
	must((size_t)status.st_blocks * 512 < ALL + 12 * MIB);
	must((size_t)status.st_size < ALL + 40 * MIB);
	close(core);
}

static pid_t wait_for_nothing(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		alarm(600);
		pause();
		_exit(0);
	}
	return pid;
}

/* Without this capability a step takes pages out while it settles them (odfork(7)). */
static void drop_right_to_see_protection(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	must(syscall(SYS_capget, &header, has) == 0);
	has[0].effective &= ~(1u << CAP_SYS_ADMIN);
	has[0].permitted &= ~(1u << CAP_SYS_ADMIN);
	must(syscall(SYS_capset, &header, has) == 0);
}

/* Writes all memory beside a child, then kills the child: all is to be settled, and from here on it can be. */
static void let_it_be_settled(void)
{
	pid_t pid = wait_for_nothing();

	core_fill(memory, ALL);
	must(kill(pid, SIGKILL) == 0 && WIFSIGNALED(status_of(pid)));
}

/* The process that reads the dump opens the region's file meanwhile. */
static void say_and_wait(pid_t keeps)
{
	char byte;

	dprintf(3, "%d %p %d", getpid(), (void *)memory, keeps);
	must(read(4, &byte, 1) == 1);
}

/* The process that dies, in a child of the one that reads the dump. `words`: which process it is, and whether it
 * writes. */
static void die(char *words[CASE_WORDS])
{
	bool writes = words[1] != NULL && strcmp(words[1], "writes") == 0;

	if (strcmp(words[0], "settling") == 0)
		drop_right_to_see_protection();
	load();
	if (strcmp(words[0], "frozen") == 0) {
		say_and_wait(wait_for_nothing());
	} else if (strcmp(words[0], "child") == 0 || strcmp(words[0], "grandchild") == 0) {
		for (int depth = strcmp(words[0], "child") == 0 ? 1 : 2; depth > 0; depth--) {
			pid_t pid = fork();
			must(pid >= 0);
			if (pid > 0) {
				must(WIFSIGNALED(status_of(pid)) || depth == 2);
				_exit(0);
			}
		}
		say_and_wait(0);
	} else {
		say_and_wait(0);
	}
	if (strcmp(words[0], "settling") == 0)
		let_it_be_settled();
	if (writes)
		memory[ALL / 4] = 'Z';
	abort();
}

/* The region's file that has the middle of the memory; -1: none, or it may not be looked at. Open, it is there when the
 * process has ended. */
static int open_file_of(pid_t pid)
{
	char path[320], name[128];
	struct dirent *entry;
	int file = -1;
	DIR *links;

	snprintf(path, sizeof path, "/proc/%d/map_files", pid);
	links = opendir(path);
	while (links != NULL && file < 0 && (entry = readdir(links)) != NULL) {
		unsigned long from, to, at = (unsigned long)(uintptr_t)(memory + ALL / 2);
		ssize_t length;
		if (sscanf(entry->d_name, "%lx-%lx", &from, &to) != 2 || at < from || at >= to)
			continue;
		snprintf(path, sizeof path, "/proc/%d/map_files/%s", pid, entry->d_name);
		length = readlink(path, name, sizeof name - 1);
		name[length < 0 ? 0 : length] = '\0';
		if (strstr(name, "odfork-region") != NULL)
			file = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (links != NULL)
		closedir(links);
	return file;
}

static size_t bytes_of(int file)
{
	struct stat status;

	must(file < 0 || fstat(file, &status) == 0);
	return file < 0 ? 0 : (size_t)status.st_blocks * 512;
}

static void dies(char *words[CASE_WORDS])
{
	char directory[] = "/tmp/odfork-core-XXXXXX", said[128] = "";
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	int dead, keeps, ends[2], go[2], file;
	void *address;
	size_t before;
	pid_t pid;

	must(mkdtemp(directory) != NULL && chdir(directory) == 0);
	must(pipe2(ends, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		int to = fcntl(ends[1], F_DUPFD_CLOEXEC, 10), from = fcntl(go[0], F_DUPFD_CLOEXEC, 10);
		must(dup2(to, 3) == 3 && dup2(from, 4) == 4 && setrlimit(RLIMIT_CORE, &limit) == 0);
		die(words);
	}
	close(ends[1]);
	must(read(ends[0], said, sizeof said - 1) > 0 && sscanf(said, "%d %p %d", &dead, &address, &keeps) == 3);
	memory = address;
	file = open_file_of(dead);
	before = bytes_of(file);
	must(getenv("ODFORK_HEAP") == NULL || started_as != 0 || before >= ALL);
	must(write(go[1], "", 1) == 1);
	(void)status_of(pid);
	if (keeps > 0)
		must(kill(keeps, SIGKILL) == 0);
	look_at_dump(dead);
	/* A step puts pages into it that were nobody's for as long as the dump was written. */
	if (strcmp(words[0], "settling") != 0)
		must(bytes_of(file) <= before + MIB);
	snprintf(said, sizeof said, "rm -r %s", directory);
	must(chdir("/") == 0 && system(said) == 0);
}

static bool dumps_come_here(void)
{
	FILE *pattern = fopen("/proc/sys/kernel/core_pattern", "re");
	char line[128] = "";
	struct rlimit limit;
	bool here = pattern != NULL && fgets(line, sizeof line, pattern) != NULL &&
		    (strcmp(line, "core\n") == 0 || strcmp(line, "core.%p\n") == 0);

	if (pattern != NULL)
		fclose(pattern);
	return here && getrlimit(RLIMIT_CORE, &limit) == 0 && (limit.rlim_max == RLIM_INFINITY || geteuid() == 0);
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = { { "dies", dies } };
	static const char *const heaps[] = { NULL, "auto", "on" };
	static const char *const who[] = { "live", "frozen", "child", "grandchild", "settling" };

	if (argc > 1)
		run_case(cases, 1, argc, argv);
	if (!dumps_come_here()) { /* a setting of the machine, which a test does not change */
		if (must_work()) {
			printf("Bail out! must not be skipped\n");
			return 1;
		}
		printf("1..0 # SKIP the kernel writes core dumps elsewhere, or none\n");
		return 0;
	}
	for (size_t i = 0; i < sizeof who / sizeof *who; i++)
		for (int writes = 0; writes < 2; writes++)
			for (size_t heap = 0; heap < 3; heap++) {
				const char *words[] = { "core_dumps", "dies", who[i], writes ? "writes" : NULL, NULL };
				bool settling = strcmp(who[i], "settling") == 0 && heap != 0;
				int result = 0, tries = settling ? SETTLING_TRIES : 1;
				if (writes && (heap == 0 || i == 0 || settling))
					continue;
				while (result == 0 && tries-- > 0)
					result = execute(heaps[heap], words, NULL, NULL);
				tell_case(result, "%s %s %s", heap_name(heaps[heap]), who[i], writes ? "writes" : "");
			}
	return end_of_cases();
}
