/* SPDX-License-Identifier: MIT
 *
 * The edges of memory that became a region's in place: where the data segment ends within a page, where a mapping was
 * shrunk, and where memory was made accessible piece by piece. Each case also passes without the library.
 */
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "../support/preloaded.h"
#include "../support/real_call.h"

#define PAGE ((size_t)4096)

/* The memory has been in a region for a while, if there is one. */
static void fork_for_a_while(const char *memory)
{
	for (int round = 0; round < 3; round++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		must(status_of(pid) == 0);
		for (int tries = 0; tries < 100 && getenv("ODFORK_HEAP") != NULL && started_as == 0 && !is_live(memory);
		     tries++)
			wait_ms(5);
	}
}

static char *map(size_t length, int protection)
{
	char *memory = mmap(NULL, length, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED);
	return memory;
}

static bool is_all(const char *start, const char *end, char value)
{
	for (; start < end; start++)
		if (*start != value)
			return false;
	return true;
}

/* Grows the process, and its data segment by `size` from a page border on, filled with 7. */
static char *grow_segment(size_t size)
{
	char *start;

	memset(map(24 * MIB, PROT_READ | PROT_WRITE), 1, 24 * MIB);
	must(sbrk((intptr_t)(PAGE - (uintptr_t)sbrk(0) % PAGE)) != (void *)-1);
	start = sbrk((intptr_t)size);
	must(start != (void *)-1);
	memset(start, 7, size);
	fork_for_a_while(start + size / 2);
	return start;
}

/* The program break moves down to the middle of a page, and up again. */
static void segment(char *words[CASE_WORDS])
{
	char *start, *end;

	(void)words;
	start = grow_segment(32 * MIB);
	for (int step = 0; step < 3; step++) {
		must(sbrk(-(intptr_t)(4 * MIB + 100)) != (void *)-1);
		end = sbrk(0);
		must(sbrk((intptr_t)MIB) == end);
		must(is_all(start, end, 7) && is_all(end + PAGE, end + MIB - 1, 0));
		memset(end, 7, MIB);
		if (step == 1)
			fork_for_a_while(start + 16 * MIB);
		must(is_all(start, end + MIB - 1, 7));
	}
}

/* The break moves up from the middle of a page that has contents, when all new memory comes from a region at once. */
static void segment_in_steps(char *words[CASE_WORDS])
{
	enum { SMALL = 6000, STEPS = 20 };
	char *memory = map(24 * MIB, PROT_READ | PROT_WRITE);

	(void)words;
	memset(memory, 1, 24 * MIB);
	fork_for_a_while(memory + 16 * MIB);
	for (int step = 0; step < STEPS; step++) {
		char *small = sbrk(SMALL), *large;
		must(small != (void *)-1);
		memset(small, 7, SMALL);
		large = sbrk((intptr_t)MIB);
		must(large == small + SMALL && is_all(small, large, 7) && is_all(large, large + MIB, 0));
		memset(large, 8, MIB);
		if (step % 5 == 0)
			fork_for_a_while(large + MIB / 2);
		must(is_all(small, large, 7) && is_all(large, large + MIB, 8));
	}
}

/* The kernel refuses a break below the start of the data segment, and changes nothing. */
static void segment_refused(char *words[CASE_WORDS])
{
	char *start;

	(void)words;
	start = grow_segment(8 * MIB);
	for (uintptr_t end = 1; end <= PAGE + 1; end += PAGE) {
		must(brk((void *)end) == 0 && sbrk(0) == start + 8 * MIB);
		must(is_all(start, start + 8 * MIB, 7));
	}
	must(munmap(start + MIB, PAGE) == 0 && brk((void *)1) == 0);
	must(is_all(start, start + MIB, 7) && is_all(start + MIB + PAGE, start + 8 * MIB, 7));
}

/* A system call that bypasses libc moves the break, and libc goes on from the break that it has cached. Data beyond
 * that break belongs to the program. */
static void segment_past_libc(char *words[CASE_WORDS])
{
	char *start, *end;

	(void)words;
	start = grow_segment(8 * MIB);
	end = start + 8 * MIB;
	must(syscall(SYS_brk, end + 4 * MIB) == (long)(end + 4 * MIB));
	memset(end, 9, 4 * MIB);
	must(brk(end + 4 * MIB) == 0 && is_all(end, end + 4 * MIB, 9));
	must(syscall(SYS_brk, end + 6 * MIB) == (long)(end + 6 * MIB));
	memset(end + 4 * MIB, 9, 2 * MIB);
	must(sbrk((intptr_t)MIB) == end + 4 * MIB && is_all(end, end + 5 * MIB, 9)); /* down, by one */
	must(sbrk((intptr_t)MIB) == end + 5 * MIB && is_all(end + 5 * MIB, end + 6 * MIB, 0));
	fork_for_a_while(start + 4 * MIB);
	must(is_all(start, end, 7) && is_all(end, end + 5 * MIB, 9));
}

/* A mapping over others that fails leaves them as they are, also if there was a hole among them. */
static void refused_over(char *words[CASE_WORDS])
{
	char *memory;

	(void)words;
	memset(map(24 * MIB, PROT_READ | PROT_WRITE), 1, 24 * MIB);
	memory = map(8 * MIB, PROT_READ | PROT_WRITE);
	memset(memory, 7, 8 * MIB);
	fork_for_a_while(memory + 4 * MIB);
	must(munmap(memory + MIB, MIB) == 0);
	must(mmap(memory, 8 * MIB, PROT_READ, MAP_PRIVATE | MAP_FIXED, 987, 0) == MAP_FAILED && errno == EBADF);
	must(is_all(memory, memory + MIB, 7) && is_all(memory + 2 * MIB, memory + 8 * MIB, 7));
	fork_for_a_while(memory + 4 * MIB);
	must(is_all(memory, memory + MIB, 7) && is_all(memory + 2 * MIB, memory + 8 * MIB, 7));
}

/* A new mapping behind one that was shrunk is separate memory. */
static void tail(char *words[CASE_WORDS])
{
	char *memory, *behind;

	(void)words;
	memset(map(64 * MIB, PROT_READ | PROT_WRITE), 1, 64 * MIB);
	memory = map(8 * MIB, PROT_NONE);
	must(mprotect(memory, 8 * MIB, PROT_READ | PROT_WRITE) == 0);
	memset(memory, 2, 8 * MIB);
	must(mremap(memory, 8 * MIB, MIB, 0) == memory);
	behind = memory + MIB;
	must(real_call(SYS_mmap, (long)behind, 4 * MIB, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == (long)behind);
	memset(behind, 5, 4 * MIB);
	fork_for_a_while(memory);
	must(is_all(behind, behind + 4 * MIB, 5));
	must(real_call(SYS_madvise, (long)behind, 4 * MIB, MADV_DONTNEED, 0, 0, 0) == 0);
	must(is_all(behind, behind + 4 * MIB, 0) && is_all(memory, behind, 2));
}

/* A system call that bypasses libc unmapped the place, and the mapping grows over it again. */
static void grown_again(char *words[CASE_WORDS])
{
	char *memory, *behind;

	(void)words;
	memset(map(64 * MIB, PROT_READ | PROT_WRITE), 1, 64 * MIB);
	memory = map(8 * MIB, PROT_READ | PROT_WRITE);
	behind = memory + 4 * MIB;
	for (int frozen = 0; frozen < 2; frozen++) {
		pid_t held = 0;
		int status;

		memset(memory, 2, 8 * MIB);
		fork_for_a_while(memory);
		if (frozen) {
			held = fork();
			if (held == 0)
				for (;;)
					pause();
		}
		must(real_call(SYS_munmap, (long)behind, 4 * MIB, 0, 0, 0, 0) == 0);
		must(mremap(memory, 4 * MIB, 8 * MIB, 0) == memory && is_all(behind + 3 * MIB, behind + 4 * MIB, 0));
		memset(behind, 5, MIB);
		must(!frozen || (kill(held, SIGKILL) == 0 && waitpid(held, &status, 0) == held));
		fork_for_a_while(memory);
		must(is_all(memory, behind, 2) && is_all(behind, behind + MIB, 5) &&
		     is_all(behind + MIB, behind + 4 * MIB, 0));
	}
}

/* Reserved, and made accessible in steps around a fork: it is one mapping, and moves as one. */
static void opened(char *words[CASE_WORDS])
{
	char *memory, *moved;

	(void)words;
	memset(map(64 * MIB, PROT_READ | PROT_WRITE), 1, 64 * MIB);
	memory = map(8 * MIB, PROT_NONE);
	must(mprotect(memory, MIB, PROT_READ | PROT_WRITE) == 0);
	memset(memory, 3, MIB);
	fork_for_a_while(memory);
	for (size_t at = MIB; at < MIB + 4 * PAGE; at += PAGE) {
		must(mprotect(memory + at, PAGE, PROT_READ | PROT_WRITE) == 0);
		memory[at] = 9;
	}
	moved = mremap(memory, MIB + 4 * PAGE, 4 * MIB, MREMAP_MAYMOVE);
	must(moved != MAP_FAILED && is_all(moved, moved + MIB, 3) && moved[MIB] == 9 && moved[MIB + 3 * PAGE] == 9 &&
	     moved[4 * MIB - 1] == 0);
	fork_for_a_while(moved);
	must(is_all(moved, moved + MIB, 3) && moved[MIB] == 9);
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = {
		{ "segment", segment }, { "segment_in_steps", segment_in_steps },
		{ "segment_refused", segment_refused }, { "segment_past_libc", segment_past_libc },
		{ "refused_over", refused_over }, { "opened", opened },
		{ "tail", tail }, { "grown_again", grown_again },
	};
	const size_t count = sizeof cases / sizeof *cases;

	if (argc > 1)
		run_case(cases, count, argc, argv);
	for (size_t i = 0; i < count; i++)
		tell_with_each_heap("in_place_edges", (const char *const[4]){ cases[i].name });
	return end_of_cases();
}
