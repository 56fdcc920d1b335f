/* SPDX-License-Identifier: MIT
 *
 * touch HOW: fresh memory, in turns of N MiB.
 *
 *   grow       mapped 64 MiB at a time, each page written once, and kept
 *   turnover   the same, but each mapping is unmapped before the next
 *   buffers    buffers of 256 KiB to 16 MiB from malloc, filled and freed, as numerical programs have them
 *   access     512 MiB are mapped and filled first; N times 1 Mi words at random are changed
 */
#include <string.h>

#include "clock.h"
#include "turns.h"

enum { MAPPED = 64 << 20, HELD = 512 << 20 };

static char *map(size_t bytes)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return memory;
}

static void map_and_write(size_t bytes, bool keep)
{
	char *memory = map(bytes);

	for (size_t at = 0; at < bytes; at += 4096)
		memory[at] = 1;
	if (!keep)
		munmap(memory, bytes);
}

static size_t fill_buffer(uint64_t *random)
{
	size_t bytes = (256u << 10) + random_number(random) % (16u << 20);
	char *buffer = malloc(bytes);

	if (buffer == NULL) {
		perror("malloc");
		exit(1);
	}
	memset(buffer, 1, bytes);
	__asm__ volatile("" : : "r"(buffer) : "memory"); /* else the compiler could drop the writes */
	free(buffer);
	return bytes;
}

int main(int argc, char **argv)
{
	const char *how = argc == 2 ? argv[1] : "";
	bool grow = strcmp(how, "grow") == 0, turnover = strcmp(how, "turnover") == 0,
	     access = strcmp(how, "access") == 0;
	uint64_t random = 1, *held = NULL;
	unsigned long mib;

	if (!grow && !turnover && !access && strcmp(how, "buffers") != 0) {
		fprintf(stderr, "usage: touch grow|turnover|buffers|access\n");
		return 2;
	}
	if (access) {
		held = (uint64_t *)(void *)map(HELD);
		memset(held, 1, HELD);
	}
	while (next_turn(&mib)) {
		double start = now_us();
		size_t bytes = mib << 20, done = 0;
		while (done < bytes) {
			if (access) {
				for (size_t i = 0; i < 1u << 20; i++)
					held[random_number(&random) % (HELD / sizeof *held)] += i;
				done += 1u << 20;
			} else if (grow || turnover) {
				map_and_write(MAPPED, grow);
				done += MAPPED;
			} else {
				done += fill_buffer(&random);
			}
		}
		printf("rate %.1f\n", (double)(done >> 20) / (now_us() - start) * 1e6);
	}
	return 0;
}
