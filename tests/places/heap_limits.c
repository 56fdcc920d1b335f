/* SPDX-License-Identifier: MIT
 *
 * Limits and guarantees of memory under the preloaded library: what the kernel refuses to a plain process it refuses
 * here too, and no process is killed for using memory that was granted. Each run executes one case, which the argument
 * names; each also passes without the library.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* By write: with a limit on the size of files, stdio may be unable to write. */
#define REQUIRE(condition)										\
	do {												\
		if (!(condition)) {									\
			dprintf(2, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);	\
			_exit(1);									\
		}											\
	} while (0)

static int variant; /* of a case: its second argument */

static void limit(int resource, size_t value)
{
	struct rlimit now;

	REQUIRE(getrlimit((__rlimit_resource_t)resource, &now) == 0);
	now.rlim_cur = value;
	REQUIRE(setrlimit((__rlimit_resource_t)resource, &now) == 0);
}

/* More than the heap's threshold, so that it wakes if nothing prevents it. */
static unsigned char *grow(void)
{
	unsigned char *memory = mmap(NULL, 48 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(memory != MAP_FAILED);
	memset(memory, 0x5a, 48 * MIB);
	return memory;
}

/* Forks three times; each child must see the memory of that moment. */
static void fork_and_check(unsigned char *memory)
{
	for (unsigned char round = 1; round <= 3; round++) {
		pid_t child;
		int status;

		memset(memory, round, 8 * MIB);
		child = fork();
		REQUIRE(child >= 0);
		if (child == 0)
			_exit(memory[0] == round && memory[8 * MIB - 1] == round && memory[48 * MIB - 1] == 0x5a ? 0
														 : 1);
		REQUIRE(waitpid(child, &status, 0) == child && status == 0);
	}
}

/* How much can be mapped, in pieces of 64 MiB, before the kernel refuses. */
static size_t mappable(size_t most)
{
	size_t sum = 0;

	while (sum < most &&
	       mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
					MAP_FAILED)
		sum += 64 * MIB;
	return sum;
}

/* A limit on the size of files must not affect memory. */
static void case_fsize(void)
{
	limit(RLIMIT_FSIZE, MIB);
	fork_and_check(grow());
}

static void case_fsize_later(void)
{
	unsigned char *memory = grow();

	fork_and_check(memory);
	limit(RLIMIT_FSIZE, 0);
	fork_and_check(memory);
	fork_and_check(grow());
}

/* With the limit set before the memory grows, and after. */
static void check_refusal(int resource, size_t value)
{
	size_t mapped;

	limit(resource, value);
	mapped = mappable(2 * value);
	REQUIRE(mapped < value && mapped > value / 2);
	REQUIRE(errno == ENOMEM && malloc(value) == NULL && errno == ENOMEM);
}

static void case_data(void)
{
	unsigned char *memory;

	limit(RLIMIT_DATA, GIB);
	memory = grow();
	fork_and_check(memory);
	check_refusal(RLIMIT_DATA, GIB);
	fork_and_check(memory);
}

static void case_data_later(void)
{
	unsigned char *memory = grow();

	fork_and_check(memory);
	check_refusal(RLIMIT_DATA, GIB);
	fork_and_check(memory);
}

/* Memory that leaves its region before any fork: children that are made at once must keep it as long as they live,
 * whatever is taken out of the file meanwhile. */
static void case_data_first(void)
{
	enum { CHILDREN = 8 };
	unsigned char *memory = grow();
	pid_t children[CHILDREN];
	int status;

	limit(RLIMIT_DATA, GIB);
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		REQUIRE(children[i] >= 0);
		for (int looks = 0; children[i] == 0 && looks < 20; looks++) {
			for (size_t at = 0; at < 48 * MIB; at += 4096)
				if (memory[at] != 0x5a)
					_exit(1);
			usleep(20000);
		}
		if (children[i] == 0)
			_exit(0);
	}
	for (int i = 0; i < CHILDREN; i++)
		REQUIRE(waitpid(children[i], &status, 0) == children[i] && status == 0);
	REQUIRE(memory[0] == 0x5a && memory[48 * MIB - 1] == 0x5a);
}

static void case_as(void)
{
	unsigned char *memory;

	limit(RLIMIT_AS, 2 * GIB);
	memory = grow();
	fork_and_check(memory);
	check_refusal(RLIMIT_AS, 2 * GIB);
	fork_and_check(memory);
}

static void case_as_later(void)
{
	unsigned char *memory = grow();

	fork_and_check(memory);
	check_refusal(RLIMIT_AS, 2 * GIB);
	fork_and_check(memory);
}

/* With heuristic overcommit the kernel refuses a request for more than the machine has, by every call; it grants
 * less. */
static void case_machine(void)
{
	struct sysinfo machine;
	size_t more;
	char mode = '?', *block;
	int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY);

	REQUIRE(fd >= 0 && read(fd, &mode, 1) == 1);
	if (mode != '0') {
		dprintf(1, "skipped: overcommit is not by heuristic\n");
		_exit(77);
	}
	REQUIRE(sysinfo(&machine) == 0);
	more = (machine.totalram + machine.totalswap) * machine.mem_unit + GIB;
	fork_and_check(grow());
	errno = 0;
	REQUIRE(malloc(more) == NULL && errno == ENOMEM);
	REQUIRE(calloc(1, more) == NULL && calloc(more / 4096, 4096) == NULL);
	REQUIRE(mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
		errno == ENOMEM);
	block = malloc(MIB);
	REQUIRE(block != NULL);
	memset(block, 7, MIB);
	REQUIRE(realloc(block, more) == NULL && block[0] == 7 && block[MIB - 1] == 7);
	/* Memory that is not accounted is granted. */
	REQUIRE(mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) !=
		MAP_FAILED);
	REQUIRE(malloc(machine.totalram * machine.mem_unit / 4) != NULL);
}

static int at_start;

static void case_errno(void)
{
	REQUIRE(at_start == 0);
}

static void limit_from_outside(int resource, size_t value)
{
	struct rlimit now = { value, value };
	pid_t parent = getpid(), child = fork();
	int status;

	REQUIRE(child >= 0);
	if (child == 0)
		_exit(prlimit(parent, (__rlimit_resource_t)resource, &now, NULL) == 0 ? 0 : errno == EPERM ? 77 : 1);
	REQUIRE(waitpid(child, &status, 0) == child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		printf("skipped: another process may not set this one's limits\n");
		exit(77);
	}
	REQUIRE(status == 0);
}

static void *sleep_in_thread(void *unused)
{
	(void)unused;
	return NULL;
}

/* As an administrator limits a running process. The variant selects the first call. */
static void case_as_from_outside(void)
{
	unsigned char *memory = grow(), *more, *moved, *segment;
	pthread_t thread;
	void *block;

	fork_and_check(memory);
	usleep(100000); /* LIVE by then, if it can be */
	limit_from_outside(RLIMIT_AS, GIB);
	switch (variant) {
	case 0:
		more = mmap(NULL, 256 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		REQUIRE(more != MAP_FAILED);
		memset(more, 3, 16 * MIB);
		moved = mremap(more, 256 * MIB, 300 * MIB, MREMAP_MAYMOVE);
		REQUIRE(moved != MAP_FAILED && moved[16 * MIB - 1] == 3 && moved[300 * MIB - 1] == 0);
		break;
	case 1:
		block = malloc(200 * MIB);
		REQUIRE(block != NULL);
		memset(block, 3, 4 * MIB);
		for (int i = 0; i < 100000; i++)
			REQUIRE(malloc(1000) != NULL);
		break;
	case 2:
		segment = sbrk((intptr_t)(50 * MIB));
		REQUIRE(segment != (void *)-1);
		memset(segment, 3, 50 * MIB);
		break;
	case 3:
		moved = mremap(memory, 48 * MIB, 64 * MIB, MREMAP_MAYMOVE);
		REQUIRE(moved != MAP_FAILED);
		memory = moved;
		break;
	default:
		REQUIRE(pthread_create(&thread, NULL, sleep_in_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
		break;
	}
	fork_and_check(memory);
	REQUIRE(mmap(NULL, GIB - 20 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
		errno == ENOMEM);
	fork_and_check(memory);
}

/* The same for RLIMIT_DATA. The variant selects how the program continues until it is refused. The refusal must come at
 * the limit and not above it, wherever the program's earlier memory lies. */
static void case_data_from_outside(void)
{
	size_t limited = 256 * MIB, got = 0, size = MIB;
	unsigned char *memory = grow(), *area, *more;

	fork_and_check(memory);
	usleep(100000); /* LIVE by then, if it can be */
	limit_from_outside(RLIMIT_DATA, limited);
	area = mmap(NULL, 2 * limited, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	REQUIRE(area != MAP_FAILED);
	switch (variant) {
	case 0:
		while (got < limited &&
		       mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
			got += size;
		break;
	case 1:
		for (; got < limited && (more = malloc(1000)) != NULL; got += 1008)
			more[999] = 1;
		break;
	case 2:
		for (more = malloc(size); more != NULL && got < limited; got += size) {
			unsigned char *moved = realloc(more, got + 2 * size);
			if (moved == NULL)
				break;
			more = moved;
		}
		break;
	default:
		while (got < limited && mprotect(area + got, size, PROT_READ | PROT_WRITE) == 0)
			got += size;
		break;
	}
	REQUIRE(errno == ENOMEM && got < limited - 48 * MIB && got > limited / 2);
	fork_and_check(memory);
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*function)(void);
	} cases[] = {
		{ "fsize", case_fsize }, { "fsize_later", case_fsize_later }, { "data", case_data },
		{ "data_later", case_data_later }, { "data_first", case_data_first },
		{ "as", case_as }, { "as_later", case_as_later }, { "as_from_outside", case_as_from_outside },
		{ "data_from_outside", case_data_from_outside }, { "machine", case_machine }, { "errno", case_errno },
	};
	at_start = errno;
	if (count > 2)
		variant = atoi(arguments[2]);
	for (size_t i = 0; count > 1 && i < sizeof cases / sizeof *cases; i++)
		if (strcmp(arguments[1], cases[i].name) == 0) {
			cases[i].function();
			return 0;
		}
	return 2;
}
