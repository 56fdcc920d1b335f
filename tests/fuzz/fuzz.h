/* SPDX-License-Identifier: MIT
 *
 * Shared by the fuzzers. With libFuzzer (ODF_LIBFUZZER, tests/fuzz.sh) it is only the check; otherwise it also
 * generates random inputs, the same each time, or with ODF_TEST_SECONDS=N others each time, for N seconds. The
 * unchanged inputs of the corpus come first.
 */
#ifndef ODF_TESTS_FUZZ_H
#define ODF_TESTS_FUZZ_H

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                    \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                              \
		}                                                                             \
	} while (0)

/* Which of `kinds` targets an input is for: its first byte says it, or ODF_FUZZ_KIND for all of them. */
static inline unsigned fuzz_kind(uint8_t first, unsigned kinds)
{
	static int only = -2;

	if (only == -2) {
		const char *value = getenv("ODF_FUZZ_KIND");
		only = value == NULL ? -1 : atoi(value);
	}
	return (only < 0 ? first : (unsigned)only) % kinds;
}

#ifndef ODF_LIBFUZZER
static uint64_t fuzz_state = 88172645463325252u;

static inline uint64_t chance(uint64_t below)
{
	fuzz_state ^= fuzz_state << 13;
	fuzz_state ^= fuzz_state >> 7;
	fuzz_state ^= fuzz_state << 17;
	return fuzz_state % below;
}

static inline size_t read_file(const char *path, uint8_t *to, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, to, room);

	if (fd >= 0)
		close(fd);
	return length < 0 ? 0 : (size_t)length;
}

/* A few bytes become others that are likely to matter, every second time in the first `head` ones. */
static inline void change(uint8_t *data, size_t size, size_t head)
{
	static const uint64_t likely[] = {
		0, 1, 4, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, ~0ull, 0x1000, 4096 - 1
	};

	for (uint64_t count = chance(6) + 1; count > 0; count--) {
		size_t at = chance(chance(2) == 0 && size > head ? head : size), width = (size_t)1 << chance(4);
		uint64_t value = chance(2) == 0 ? likely[chance(sizeof likely / sizeof *likely)] : chance(UINT64_MAX);
		memcpy(data + at, &value, width < size - at ? width : size - at);
	}
}

/* Tells when `inputs` have been tried, of which each fuzzer has as many as take some seconds, or the time is over. */
static inline int is_over(long count, long inputs)
{
	static time_t end;
	const char *seconds = getenv("ODF_TEST_SECONDS");

	if (seconds == NULL)
		return count >= inputs;
	if (end == 0) {
		end = time(NULL) + atoi(seconds);
		fuzz_state ^= (uint64_t)time(NULL) << 20 | (uint64_t)getpid();
	}
	return time(NULL) >= end;
}

/* The files of tests/fuzz/corpus/NAME. */
struct corpus {
	size_t count;
	struct {
		uint8_t *data;
		size_t size;
	} inputs[512];
};

static inline int is_shown(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static inline void corpus_read(struct corpus *corpus, const char *name)
{
	enum { ROOM = 1 << 16 };
	char path[4096];
	struct dirent **entries;
	int count;
	const char *source = getenv("ODF_SOURCE");

	REQUIRE(source != NULL);
	snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", source, name);
	/* In an order that is the same everywhere: inputs at random are drawn from it. */
	count = scandir(path, &entries, is_shown, alphasort);
	REQUIRE(count > 0 && (size_t)count <= sizeof corpus->inputs / sizeof *corpus->inputs);
	for (int i = 0; i < count; i++) {
		char file[4096 + 256];
		uint8_t *data = malloc(ROOM);
		REQUIRE(data != NULL);
		snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
		corpus->inputs[corpus->count].data = data;
		corpus->inputs[corpus->count++].size = read_file(file, data, ROOM);
		free(entries[i]);
	}
	free(entries);
}
#endif
#endif
