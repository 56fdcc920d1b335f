/* SPDX-License-Identifier: MIT
 *
 * The heap in a dump that another process makes (gcore). That process reads each mapping without MADV_DONTDUMP, even
 * without rights, and reading a page of a file allocates it. The dump must have all memory of the program, but not the
 * region's whole capacity.
 */
#include "../support/preloaded.h"

#define GIB ((size_t)1 << 30)

/* The bytes of the region that a dump would read. *in: whether `address` is among them. */
static size_t dumped(const void *address, bool *in)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	unsigned long from = 0, to = 0, start, end;
	char line[512], rights[5];
	bool ours = false;
	size_t sum = 0;

	must(maps != NULL);
	*in = false;
	while (fgets(line, sizeof line, maps) != NULL) {
		if (sscanf(line, "%lx-%lx %4s", &start, &end, rights) == 3) {
			from = start;
			to = end;
			/* a reserved address range is read as well */
			ours = strstr(line, "odfork-region") != NULL || end - start > GIB;
		} else if (ours && strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " dd") == NULL) {
			sum += to - from;
			*in = *in || ((unsigned long)address >= from && (unsigned long)address < to);
		}
	}
	fclose(maps);
	return sum;
}

static void must_be_dumped(void)
{
	/* twice, for the time that it is FROZEN; and the allocator's own data */
	static const size_t most = 8 * (MAPPED + PIECES * PIECE) + 512 * MIB;
	bool in;
	size_t sum = dumped(mapped + MAPPED / 2, &in);

	/* The keeper marks a mapping right after it has made it, and may be between the two calls. */
	for (int tries = 0; sum > most && tries < 4000; tries++) {
		wait_ms(5);
		sum = dumped(mapped + MAPPED / 2, &in);
	}
	must(in);
	if (sum > most)
		dprintf(2, "%zu MiB\n", sum / MIB);
	must(sum <= most);
}

/* In the child it is an ordinary copy. */
static void forks_meanwhile(void)
{
	int go[2];
	char byte;
	pid_t pid;

	must(pipe(go) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		close(go[1]);
		must_be_dumped();
		_exit(read(go[0], &byte, 1) == 0 && is_right() ? 0 : 1);
	}
	close(go[0]);
	fill_mapped(30);
	must_be_dumped();
	close(go[1]);
	must(status_of(pid) == 0);
}

static void in_dumps(char *words[CASE_WORDS])
{
	(void)words;
	grow();
	must(info().state == ODF_HEAP_AWAKE && is_inside(mapped));
	must_be_dumped();
	for (int round = 0; round < 3; round++) {
		forks_meanwhile();
		fill_mapped((char)(40 + round));
		needs_settling();
		for (int tries = 0; !is_live(mapped); tries++) {
			must(tries < 12000);
			wait_ms(5);
		}
		must_be_dumped();
	}
}

/* Memory that leaves the region piece by piece is dumped as before. */
static void parts_that_leave(char *words[CASE_WORDS])
{
	bool in;

	(void)words;
	grow();
	must(mprotect(mapped + MAPPED / 2, MIB, PROT_READ) == 0);
	must_be_dumped();
	must(mprotect(mapped + MAPPED / 2, MIB, PROT_READ | PROT_WRITE) == 0);
	forks_meanwhile();
	must(madvise(mapped + MIB, MIB, MADV_DONTDUMP) == 0);
	(void)dumped(mapped + MIB, &in);
	must(!in);
	must(madvise(mapped + MIB, MIB, MADV_DODUMP) == 0);
	(void)dumped(mapped + MIB, &in);
	must(in);
}

static const struct preloaded_case cases[] = {
	{ "in_dumps", in_dumps },
	{ "parts_that_leave", parts_that_leave },
};

int main(int argc, char **argv)
{
	if (argc > 1)
		run_case(cases, sizeof cases / sizeof *cases, argc, argv);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *words[] = { "heap_dumped", cases[i].name, NULL };
		tell_case(execute("on", words, NULL, NULL), "%s", cases[i].name);
	}
	return end_of_cases();
}
