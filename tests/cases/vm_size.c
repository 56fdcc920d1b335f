/* SPDX-License-Identifier: MIT
 *
 * The address space of a process (VmSize) is at most twice what it would be without the library, plus a little, in each
 * state of its memory except one: three times while memory in chunks is settled. The sizes are compared with those of
 * the same program without the library.
 */
#include <sys/syscall.h>

#include "../support/preloaded.h"

#define ALL    (56 * MIB)
#define MORE   (6 * MIB)
#define LITTLE (8 * 1024L) /* KiB, for what does not grow with the memory */
#define PAGE   ((size_t)4096)

enum state { GROWN, LOWER, CHILD, FROZEN, WRITTEN, SETTLING, SETTLED, CHUNKS, CHUNKS_SETTLING, GROWN_AGAIN, CUT, SHRUNK,
	OUTLIVED, STATES };
static const char *const names[STATES] = { "grown", "lower", "child", "frozen", "written", "settling", "settled",
	"in chunks", "settling in chunks", "grown again", "cut", "shrunk", "outlived" };

/* Shared by all runs. */
static struct sizes {
	long most[STATES];
	bool is_over; /* the last process has ended */
} *sizes;

static void note(enum state state)
{
	long now = kib("VmSize:");

	must(now > 0);
	if (now > sizes->most[state])
		sizes->most[state] = now;
}

static char *map(size_t length)
{
	char *start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(start != MAP_FAILED);
	memset(start, 3, length);
	return start;
}

/* A child that stays until it is told to end. */
static pid_t fork_and_stay(int *door)
{
	int ends[2];
	pid_t pid;
	char byte;

	must(pipe(ends) == 0);
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		note(CHILD);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	must(pid > 0);
	close(ends[0]);
	*door = ends[1];
	return pid;
}

/* During a settle, or at its end, there are views that settled memory does not have. */
static bool is_all_live(const char *memory)
{
	return is_live(memory) && is_live(memory + ALL / 2) && is_live(memory + ALL - PAGE);
}

static void wait_until_settled(const char *memory, enum state meanwhile, enum state then)
{
	bool settles = getenv("ODFORK_HEAP") != NULL && started_as == 0;

	for (int tries = 0; tries < 60000 && settles && !is_all_live(memory); tries++) {
		note(meanwhile);
		wait_ms(1);
	}
	must(!settles || is_all_live(memory));
	wait_ms(50); /* and the end of it */
	note(then);
}

/* Several forks find the memory FROZEN, and the program writes much of it in between: the library divides it into
 * chunks. */
static void divide(char *memory)
{
	enum { CHILDREN = 3 };

	for (int round = 0; round < 3; round++) {
		pid_t children[CHILDREN];
		int doors[CHILDREN];
		for (int i = 0; i < CHILDREN; i++) {
			children[i] = fork_and_stay(&doors[i]);
			note(CHUNKS);
			for (size_t at = 0; at < 6000 * PAGE; at += PAGE)
				memory[at] = (char)(round + i);
			note(CHUNKS);
		}
		for (int i = 0; i < CHILDREN; i++) /* each child has the earlier ones' doors open as well */
			close(doors[i]);
		for (int i = 0; i < CHILDREN; i++)
			must(status_of(children[i]) == 0);
		wait_until_settled(memory, CHUNKS_SETTLING, CHUNKS);
	}
}

/* Maps it anew in a run, from the inherited descriptor. */
static void use_sizes(const char *fd)
{
	sizes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(fd), 0);
	must(sizes != MAP_FAILED);
}

static void states(char *words[CASE_WORDS])
{
	char *memory, *blocks[64], *more[4];
	int door;
	pid_t pid;

	use_sizes(words[0]);
	memory = map(ALL);
	for (int i = 0; i < 64; i++) {
		blocks[i] = malloc(50000);
		must(blocks[i] != NULL);
		memset(blocks[i], 4, 50000);
	}
	note(GROWN);
	for (int round = 0; round < 3; round++) {
		more[round] = map(MORE); /* each below the last one */
		note(LOWER);
		pid = fork_and_stay(&door);
		note(FROZEN);
		for (size_t at = 0; at < ALL; at += 64 * PAGE)
			memory[at] = (char)round;
		note(WRITTEN);
		wait_ms(20);
		note(WRITTEN);
		close(door);
		must(status_of(pid) == 0);
		wait_until_settled(memory, SETTLING, SETTLED);
	}
	divide(memory);
	more[3] = map(4 * MORE);
	note(GROWN_AGAIN);
	must(mprotect(memory + ALL / 4, MIB, PROT_READ) == 0 && madvise(memory + ALL / 2, MIB, MADV_DONTNEED) == 0);
	note(CUT);
	pid = fork_and_stay(&door);
	note(CUT);
	close(door);
	must(status_of(pid) == 0);
	for (int i = 0; i < 3; i++)
		must(munmap(more[i], MORE) == 0);
	note(SHRUNK);
	pid = fork(); /* the child lives on */
	must(pid >= 0);
	if (pid > 0)
		_exit(0);
	for (int i = 0; i < 100 && getppid() != 1; i++)
		wait_ms(2);
	for (int i = 0; i < 10; i++) {
		memset(map(MORE), i, MORE);
		note(OUTLIVED);
		wait_ms(10);
	}
	__atomic_store_n(&sizes->is_over, true, __ATOMIC_RELEASE);
}

/* As long as the orphan runs. */
static void wait_for_the_last(const struct sizes *found)
{
	for (int tries = 0; tries < 12000 && !__atomic_load_n(&found->is_over, __ATOMIC_ACQUIRE); tries++)
		wait_ms(10);
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = { { "states", states } };
	static const char *const heaps[] = { NULL, "auto", "on" };
	struct sizes *found[3];
	int number = 0, failed = 0;

	if (argc > 1)
		run_case(cases, 1, argc, argv);
	for (size_t heap = 0; heap < 3; heap++) {
		int fd = memfd_create("sizes", 0);
		char word[16];
		const char *words[] = { "vm_size", "states", word, NULL };
		must(fd >= 0 && ftruncate(fd, (off_t)PAGE) == 0);
		snprintf(word, sizeof word, "%d", fd);
		found[heap] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		must(found[heap] != MAP_FAILED);
		must(execute(heaps[heap], words, NULL, NULL) == 0);
		wait_for_the_last(found[heap]);
		close(fd);
	}
	for (size_t heap = 1; heap < 3; heap++)
		for (int state = 0; state < STATES; state++) {
			bool settling = state == SETTLING || state == CHUNKS_SETTLING;
			int alike = state == SETTLING ? SETTLED : state == CHUNKS_SETTLING ? CHUNKS : state;
			long plain = found[0]->most[alike];
			long ours = found[heap]->most[state];
			if (settling && started_as != 0)
				continue; /* it does not, beside a program, without userfaultfd */
			/* For the first step, and for memory in chunks the slack of its template. */
			long room = settling || state == CHUNKS ? LITTLE + plain / 8 : LITTLE;
			long times = state == CHUNKS_SETTLING ? 3 : 2;
			bool right = found[heap]->is_over && plain > 0 && ours > 0 && ours <= times * plain + room;
			printf("%s %d - %s, %s: %ld KiB, plain %ld\n", right ? "ok" : "not ok", ++number, heaps[heap],
			       names[state], ours, plain);
			failed += !right;
		}
	printf("1..%d\n", number);
	return failed > 0;
}
