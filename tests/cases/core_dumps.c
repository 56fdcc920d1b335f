/* SPDX-License-Identifier: MIT
 *
 * The kernel's core dump of a program under the library: it has all memory of the program, at its addresses, and about
 * the size of a plain program's dump. The program's memory is LIVE, FROZEN while a child has its snapshot, or that
 * child's, each with and without later writes.
 */
#include <elf.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../support/preloaded.h"

#define ALL  (24 * MIB)
#define MARK (ALL / 2 + 123)
#define PAGE ((size_t)4096)
#define SETTLING_TRIES 6 /* about one try in ten finds a step under way */

static char *memory;

static void load(void)
{
	memory = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	memset(memory, 'Z', ALL);
	strcpy(memory + MARK, "the marker");
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

/* In the dump, which is the only file in this directory. */
static void must_be_in(int core)
{
	uint64_t at = (uint64_t)(uintptr_t)memory, end = at + ALL;
	Elf64_Ehdr head;
	static char page[PAGE];
	size_t found = 0;

	must(pread(core, &head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 &&
	     head.e_type == ET_CORE);
	for (unsigned i = 0; i < head.e_phnum; i++) {
		Elf64_Phdr part;
		must(pread(core, &part, sizeof part, (off_t)(head.e_phoff + i * head.e_phentsize)) ==
		     (ssize_t)sizeof part);
		if (part.p_type != PT_LOAD)
			continue;
		for (uint64_t address = part.p_vaddr; address < part.p_vaddr + part.p_filesz; address += PAGE) {
			if (address < at || address >= end)
				continue;
			must(pread(core, page, PAGE, (off_t)(part.p_offset + address - part.p_vaddr)) == (ssize_t)PAGE);
			must(page[0] == 'Z' && page[PAGE - 1] == 'Z');
			if (address == at + MARK / PAGE * PAGE)
				must(strcmp(page + MARK % PAGE, "the marker") == 0);
			found++;
		}
	}
	must(found == ALL / PAGE); /* each page once */
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
	must_be_in(core);
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

	memset(memory, 'Z', ALL);
	strcpy(memory + MARK, "the marker");
	must(kill(pid, SIGKILL) == 0 && WIFSIGNALED(status_of(pid)));
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
		pid_t keeps = wait_for_nothing();
		dprintf(3, "%d %p %d", getpid(), (void *)memory, keeps);
	} else if (strcmp(words[0], "child") == 0 || strcmp(words[0], "grandchild") == 0) {
		for (int depth = strcmp(words[0], "child") == 0 ? 1 : 2; depth > 0; depth--) {
			pid_t pid = fork();
			must(pid >= 0);
			if (pid > 0) {
				must(WIFSIGNALED(status_of(pid)) || depth == 2);
				_exit(0);
			}
		}
		dprintf(3, "%d %p 0", getpid(), (void *)memory);
	} else {
		dprintf(3, "%d %p 0", getpid(), (void *)memory);
	}
	if (strcmp(words[0], "settling") == 0)
		let_it_be_settled();
	if (writes)
		memory[ALL / 4] = 'Z';
	abort();
}

static void dies(char *words[CASE_WORDS])
{
	char directory[] = "/tmp/odfork-core-XXXXXX", said[128] = "";
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	int dead, keeps, ends[2];
	void *address;
	pid_t pid;

	must(mkdtemp(directory) != NULL && chdir(directory) == 0 && pipe(ends) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		must(dup2(ends[1], 3) == 3 && setrlimit(RLIMIT_CORE, &limit) == 0);
		die(words);
	}
	close(ends[1]);
	(void)status_of(pid);
	must(read(ends[0], said, sizeof said - 1) > 0 && sscanf(said, "%d %p %d", &dead, &address, &keeps) == 3);
	memory = address;
	look_at_dump(dead);
	if (keeps > 0)
		must(kill(keeps, SIGKILL) == 0);
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
		if (getenv("ODF_MUST_WORK") != NULL && strcmp(getenv("ODF_MUST_WORK"), "1") == 0) {
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
