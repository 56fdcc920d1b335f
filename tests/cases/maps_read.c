/* SPDX-License-Identifier: MIT
 *
 * A program reads each of its mappings that the list of mappings calls readable, as conservative garbage collectors and
 * memory scanners do. Each must be readable at its start, and no fault may end the program. LIVE, FROZEN, and in a
 * child.
 */
#include <setjmp.h>

#include "../support/preloaded.h"

#define ALL (32 * MIB)

static sigjmp_buf back;

static void faulted(int signal)
{
	siglongjmp(back, signal);
}

/* The kernel's own pages, such as those of the clock, cannot all be read, and are not in files. */
static bool is_kernels(const char *line)
{
	return strstr(line, "[v") != NULL;
}

static void must_be_readable(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], rights[5];
	unsigned long from, to;

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		must(sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3);
		if (rights[0] != 'r' || is_kernels(line))
			continue;
		if (sigsetjmp(back, 1) == 0) {
			(void)*(volatile char *)from;
		} else {
			dprintf(2, "# cannot be read: %s", line);
			must(!mapping_of((void *)from, rights, &(bool){ false }) || rights[0] != 'r');
		}
	}
	fclose(maps);
}

static void read_all(char *words[CASE_WORDS])
{
	char *memory = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), byte;
	int go[2];

	(void)words;
	must(memory != MAP_FAILED && pipe(go) == 0);
	must(signal(SIGBUS, faulted) != SIG_ERR && signal(SIGSEGV, faulted) != SIG_ERR);
	memset(memory, 5, ALL);
	for (int round = 0; round < 3; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			must(round == 2 || (must_be_readable(), true));
			close(go[1]);
			_exit(round < 2 || read(go[0], &byte, 1) == 0 ? 0 : 1);
		}
		must(pid > 0 && (round == 2 || status_of(pid) == 0));
		must_be_readable();
		if (round == 2) {
			close(go[1]);
			must(status_of(pid) == 0);
		}
		for (int tries = 0; getenv("ODFORK_HEAP") != NULL && tries < 20 && !is_live(memory); tries++)
			wait_ms(5);
		must_be_readable();
	}
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = { { "read_all", read_all } };

	if (argc > 1)
		run_case(cases, 1, argc, argv);
	tell_with_each_heap("maps_read", (const char *const[4]){ "read_all" });
	return end_of_cases();
}
