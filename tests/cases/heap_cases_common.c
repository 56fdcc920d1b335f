/* SPDX-License-Identifier: MIT
 *
 * The base of the cases of test_heap.
 */
#include "heap_cases.h"

__attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	const char *needed = getenv("ODF_MUST_WORK");

	dprintf(2, "skipped: %s\n", reason);
	_exit(needed != NULL && strcmp(needed, "1") == 0 ? 1 : 77);
}

odf_heap_info info(void)
{
	odf_heap_info found = ODF_HEAP_INFO_INIT;

	must(heap_info_get(&found) == 0 && found.size == sizeof found);
	return found;
}

bool is_awake(void)
{
	return info().state == ODF_HEAP_AWAKE;
}

char *slurp(const char *path)
{
	static char text[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = 0, part;

	must(fd >= 0);
	while ((part = read(fd, text + size, sizeof text - 1 - (size_t)size)) > 0)
		size += part;
	text[size] = '\0';
	close(fd);
	return text;
}

/* False: nothing is mapped there. */
static bool look_up(const void *pointer, bool *inside)
{
	char *line = slurp("/proc/self/maps"), *end;

	for (; *line != '\0'; line = end + 1) {
		unsigned long start, limit;
		end = strchr(line, '\n');
		*end = '\0';
		if (sscanf(line, "%lx-%lx", &start, &limit) == 2 && (unsigned long)pointer >= start &&
		    (unsigned long)pointer < limit) {
			*inside = strstr(line, "odfork-region") != NULL;
			return true;
		}
	}
	return false;
}

/* Whether the mapping belongs to a region. The kernel reads the list without the lock of the address space, so a
 * mapping that the keeper is replacing may be missing from it; msync takes the lock. */
bool is_inside(const void *pointer)
{
	void *page = (void *)((uintptr_t)pointer / PAGE * PAGE);
	bool inside = false;

	while (!look_up(pointer, &inside) && msync(page, PAGE, MS_ASYNC) == 0)
		;
	return inside;
}

void wait_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

/* Skips unless the library can see what libc's malloc does. */
void need_libcs_calls(void)
{
	must(is_awake());
	if (info().malloc_door != ODF_HEAP_MALLOC_IN_PLACE)
		cannot_be_done_here("libc's own calls are not seen here");
}

void fill(void *memory, size_t size, unsigned seed)
{
	unsigned char *bytes = memory;

	for (size_t i = 0; i < size; i += size > 4 * PAGE ? 509 : 1)
		bytes[i] = (unsigned char)(seed + i * 7);
	if (size > 0)
		bytes[size - 1] = (unsigned char)seed;
}

bool holds(const void *memory, size_t size, size_t filled_size, unsigned seed)
{
	const unsigned char *bytes = memory;

	for (size_t i = 0; i < size; i += filled_size > 4 * PAGE ? 509 : 1)
		if (i != filled_size - 1 && bytes[i] != (unsigned char)(seed + i * 7))
			return false;
	return size < filled_size || size == 0 || bytes[size - 1] == (unsigned char)seed;
}

void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED);
	return memory;
}

int status_of(pid_t pid)
{
	int status;

	must(pid > 0);
	while (waitpid(pid, &status, 0) != pid)
		must(errno == EINTR);
	return status;
}

/* Runs the predicate in a child, where it must be true. */
void in_child(bool (*predicate)(void))
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(predicate() ? 0 : 1);
	must(status_of(pid) == 0);
}

int count_tasks(void)
{
	struct stat tasks;

	must(stat("/proc/self/task", &tasks) == 0);
	return (int)tasks.st_nlink - 2;
}

/* Root has userfaultfd. Otherwise a new mapping wakes the heap before it is used, and is in a region from the start. */
bool settles_beside(void)
{
	return geteuid() == 0;
}

/* New mappings of a process that has not forked are young. In a process that has, they are in a region from the start,
 * as soon as the old memory is LIVE. */
static void become_a_forker(void)
{
	pid_t pid;
	void *probe;

	if (!settles_beside()) {
		must(is_inside(probe = map(MIB)) && munmap(probe, MIB) == 0);
		return;
	}
	pid = fork();
	if (pid == 0)
		_exit(0);
	must(status_of(pid) == 0);
	for (int tries = 0; !is_inside(probe = map(MIB)); tries++) {
		must(munmap(probe, MIB) == 0 && tries < 30000);
		wait_ms(1);
	}
	must(munmap(probe, MIB) == 0);
}

void wake_by_mapping(void)
{
	void *memory = map(64 * MIB);

	memset(memory, 1, 64 * MIB);
	must(is_awake());
	must(madvise(memory, 64 * MIB, MADV_DONTNEED) == 0);
	become_a_forker();
}
