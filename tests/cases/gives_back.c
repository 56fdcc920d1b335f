/* SPDX-License-Identifier: MIT
 *
 * Memory that a child, or a parent beside a child, gives back piece by piece, as a server does that saves one value
 * after another: it reads as zeros and takes neither memory nor mappings, as without the library. And memory from
 * malloc that is never used takes none.
 */
#include "../support/mappings.h"
#include "../support/preloaded.h"

#define ALL    (48 * MIB)
#define PAGE   ((size_t)4096)

static char *memory;

/* Every second piece, in an order in which no two neighbours follow each other. */
static void give_back(size_t piece)
{
	size_t count = ALL / piece / 2, step = 7919;

	for (size_t i = 0; i < count; i++)
		must(madvise(memory + i * step % count * 2 * piece, piece, MADV_DONTNEED) == 0);
}

static bool is_as_it_should_be(size_t piece)
{
	for (size_t at = 0; at < ALL; at += PAGE)
		if (memory[at] != (at / piece % 2 == 0 ? 0 : 5) ||
		    memory[at + PAGE - 1] != (at / piece % 2 == 0 ? 0 : 5))
			return false;
	return true;
}

static void must_cost_nothing(size_t piece)
{
	long before = kib("RssAnon:");
	int mappings = count_mappings();

	give_back(piece);
	must(kib("RssAnon:") < before + 2048);
	must(count_mappings() < mappings + 40);
	must(is_as_it_should_be(piece));
	memory[0] = 9; /* it can be written again, this page only */
	must(memory[0] == 9 && memory[1] == 0 && memory[PAGE] == (piece > PAGE ? 0 : 5));
	memory[0] = 0;
}

static void load(void)
{
	memory = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	memset(memory, 5, ALL);
	for (int round = 0; round < 2; round++) { /* it has been in a region for a while */
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		must(status_of(pid) == 0);
	}
	for (int tries = 0; getenv("ODFORK_HEAP") != NULL && tries < (getuid() == 0 ? 2000 : 100) &&
			    !(is_live(memory) && is_live(memory + ALL / 2) && is_live(memory + ALL - PAGE));
	     tries++)
		wait_ms(5);
}

static void by_child(char *words[CASE_WORDS])
{
	size_t piece = (size_t)atol(words[0]);
	pid_t pid;

	load();
	pid = fork();
	if (pid == 0) {
		must_cost_nothing(piece);
		_exit(0);
	}
	must(pid > 0 && status_of(pid) == 0);
	for (size_t at = 0; at < ALL; at += PAGE)
		must(memory[at] == 5);
}

static void by_parent(char *words[CASE_WORDS])
{
	size_t piece = (size_t)atol(words[0]);
	int go[2];
	char byte;
	pid_t pid;

	load();
	must(pipe(go) == 0);
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		must(read(go[0], &byte, 1) == 0);
		for (size_t at = 0; at < ALL; at += PAGE)
			must(memory[at] == 5);
		_exit(0);
	}
	close(go[0]);
	must_cost_nothing(piece);
	close(go[1]);
	must(pid > 0 && status_of(pid) == 0);
	for (int tries = 0; tries < 20; tries++) { /* gives the settle time for its work */
		must(is_as_it_should_be(piece));
		wait_ms(10);
	}
	if (getenv("ODFORK_HEAP") != NULL && geteuid() == 0) {
		/* All of it: what is not settled yet is mapped at home and aside, and counted twice. */
		for (int tries = 0; !(is_live(memory) && is_live(memory + ALL / 2) && is_live(memory + ALL - PAGE));
		     tries++) {
			must(tries < 6000);
			wait_ms(5);
		}
		wait_ms(20);
		must(is_as_it_should_be(piece));
		must(kib("RssShmem:") + kib("RssAnon:") < (long)(ALL / 1024) * 3 / 4 + 16384);
	}
}

/* Memory from calloc is allocated page by page, and a block that grows is not copied to a second place. */
static void of_malloc(char *words[CASE_WORDS])
{
	char *volatile blocks[4];
	char *growing = NULL;

	(void)words;
	load();
	for (int round = 0; round < 2; round++) {
		long before = kib("VmRSS:");
		for (int i = 0; i < 4; i++) {
			blocks[i] = calloc(1, 64 * MIB);
			must(blocks[i] != NULL && blocks[i][0] == 0 && blocks[i][64 * MIB - 1] == 0);
			blocks[i][0] = 1;
		}
		must(kib("VmRSS:") < before + 16 * 1024);
		for (int i = 0; i < 4; i++)
			free(blocks[i]);
	}
	for (size_t size = 0; size < 96 * MIB; size += 8 * MIB) {
		growing = realloc(growing, size + 8 * MIB);
		must(growing != NULL);
		memset(growing + size, (int)(size / MIB) + 1, 8 * MIB);
		if (size % (24 * MIB) == 0) {
			pid_t pid = fork();
			if (pid == 0)
				_exit(growing[0] == 1 && growing[size + MIB] == (char)(size / MIB + 1) ? 0 : 1);
			must(pid > 0 && status_of(pid) == 0);
		}
	}
	for (size_t at = 0; at < 96 * MIB; at += PAGE)
		must(growing[at] == (char)(at / (8 * MIB) * 8 + 1));
	growing = realloc(growing, 40 * MIB);
	must(growing != NULL && growing[40 * MIB - 1] == 33);
	free(growing);
}

/* Two thirds of the memory that a fork froze are given back, one while the child lives and one after its end. The
 * memory must be freed although nothing else happens: no fork, no page fault, and no settle. */
static void after_a_fork(char *words[CASE_WORDS])
{
	bool unmaps = strcmp(words[0], "unmap") == 0;
	long before;
	int go[2];
	char byte;
	pid_t pid;

	memory = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED && pipe(go) == 0);
	memset(memory, 5, ALL);
	for (int child = 0; child < 2; child++) {
		pid = fork();
		if (pid == 0) {
			close(go[1]);
			if (child == 1)
				must(read(go[0], &byte, 1) == 0 && memory[0] == 5 && memory[ALL - 1] == 5);
			_exit(0);
		}
		must(pid > 0 && (child == 1 || status_of(pid) == 0));
	}
	before = kib("VmRSS:");
	for (int end = 0; end < 2; end++) { /* while the child lives, and after its end */
		char *from = memory + (size_t)end * ALL / 3;
		if (unmaps)
			must(munmap(from, ALL / 3) == 0);
		else
			must(madvise(from, ALL / 3, MADV_DONTNEED) == 0 && from[0] == 0 && from[ALL / 3 - 1] == 0);
		if (end == 0) {
			close(go[1]);
			must(status_of(pid) == 0);
		}
		long most = before - (long)((size_t)(end + 1) * ALL / 3 / 1024) + 2048;
		for (int tries = 0; kib("VmRSS:") > most; tries++) {
			must(tries < 6000);
			wait_ms(10);
		}
	}
	for (size_t at = ALL / 3 * 2; at < ALL; at += PAGE)
		must(memory[at] == 5);
	must(unmaps || (memory[0] == 0 && memory[ALL / 3 * 2 - 1] == 0));
}

/* If nothing settles beside the program, the file's pages under its own pages must be given back. */
static void become_nobody(const void *unused)
{
	(void)unused;
	if (setgid(65534) != 0 || setuid(65534) != 0)
		_exit(77);
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = {
		{ "by_child", by_child }, { "by_parent", by_parent }, { "of_malloc", of_malloc },
		{ "after_a_fork", after_a_fork },
	};
	static const char *const sizes[] = { "4096", "8192", "65536" }, *const heaps[] = { "auto", "on", NULL };

	unsetenv("MALLOC_PERTURB_"); /* with it libc's calloc writes its memory */
	if (argc > 1)
		run_case(cases, 4, argc, argv);
	for (size_t i = 0; i < 2; i++)
		for (size_t size = 0; size < 3; size++)
			for (size_t heap = 0; heap < 3; heap++) {
				const char *words[] = { "gives_back", cases[i].name, sizes[size], NULL };
				int result;
				if (heap == 2 && size != 1) /* without the library */
					continue;
				result = execute(heaps[heap], words, NULL, NULL);
				tell_case(result, "%s %s %s", heap_name(heaps[heap]), cases[i].name, sizes[size]);
			}
	for (size_t round = 0; geteuid() == 0 && round < 3; round++) {
		const char *words[] = { "gives_back", "by_parent", sizes[0], NULL };
		int result = execute(heaps[round % 2], words, become_nobody, NULL);
		tell_case(result, "%s by_parent %s, nobody", heaps[round % 2], sizes[0]);
	}
	for (size_t round = 0; round < 4; round++) {
		const char *words[] = { "gives_back", "after_a_fork", round % 2 == 0 ? "unmap" : "drop", NULL };
		int result = execute(heaps[round / 2], words, geteuid() == 0 ? become_nobody : NULL, NULL);
		tell_case(result, "%s after_a_fork %s%s", heaps[round / 2], words[2], geteuid() == 0 ? ", nobody" : "");
	}
	for (size_t heap = 0; heap < 3; heap++) {
		const char *words[] = { "gives_back", "of_malloc", NULL };
		tell_case(execute(heaps[heap], words, NULL, NULL), "%s of_malloc", heap_name(heaps[heap]));
	}
	return end_of_cases();
}
