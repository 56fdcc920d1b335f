/* SPDX-License-Identifier: MIT
 *
 * How often a process forks and spawns. By the kernel's tracepoint task:task_newtask if that is permitted: it reports
 * each new process and thread with its clone flags, at a cost of some hundred nanoseconds each for the process. Else by
 * looking at its children repeatedly, which misses short-lived ones.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "inspect.h"

#define PROCESSORS_MOST 4096
#define RING_PAGES 16 /* for each processor: some hundred events; read at least ten times a second */
#define CHILDREN_MOST 4096
#define LOOK_NS 2000000L

struct ring {
	int event;
	struct perf_event_mmap_page *page;
};

struct inspect_watch {
	struct inspect_process process;
	enum inspect_way way;
	char why[160];
	/* For the tracepoint. */
	struct ring *rings;
	size_t ring_count;
	size_t flags_offset; /* in the tracepoint's record */
	double began; /* events count from this time on */
	/* Without the tracepoint: the children at the last look. */
	pid_t known[CHILDREN_MOST];
	size_t known_count;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- The tracepoint ---- */

static FILE *open_event(const char *name)
{
	static const char *const places[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	char path[128];
	FILE *file = NULL;

	errno = ENOENT;
	for (size_t i = 0; i < sizeof places / sizeof *places && file == NULL && errno == ENOENT; i++) {
		snprintf(path, sizeof path, "%s/events/task/task_newtask/%s", places[i], name);
		file = fopen(path, "re");
	}
	return file;
}

/* False with errno on failure. */
static bool read_format(unsigned long long *id, size_t *flags_offset)
{
	FILE *file = open_event("id");
	char line[256];
	bool found = false;
	int got;

	if (file == NULL)
		return false;
	got = fscanf(file, "%llu", id);
	fclose(file);
	file = got == 1 ? open_event("format") : NULL;
	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (strstr(line, " clone_flags;") != NULL && strstr(line, "offset:") != NULL) {
			*flags_offset = strtoul(strstr(line, "offset:") + strlen("offset:"), NULL, 10);
			found = true;
		}
	if (file != NULL)
		fclose(file);
	if (!found)
		errno = ENOENT;
	return found;
}

static void close_rings(struct inspect_watch *watch)
{
	for (size_t i = 0; i < watch->ring_count; i++) {
		if (watch->rings[i].page != NULL)
			munmap(watch->rings[i].page, (RING_PAGES + 1) * 4096);
		close(watch->rings[i].event);
	}
	free(watch->rings);
	watch->rings = NULL;
	watch->ring_count = 0;
}

/* For one processor. 0, ENODEV: it is offline; or another errno value. */
static int open_ring(struct inspect_watch *watch, unsigned long long id, int processor)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof attributes,
		.config = id,
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_RAW,
		.wakeup_events = 1,
	};
	struct ring *ring = &watch->rings[watch->ring_count];
	void *page;
	int error;

	ring->event = (int)syscall(SYS_perf_event_open, &attributes, -1, processor, -1, PERF_FLAG_FD_CLOEXEC);
	if (ring->event < 0)
		return errno;
	page = mmap(NULL, (RING_PAGES + 1) * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring->event, 0);
	if (page == MAP_FAILED) {
		error = errno;
		close(ring->event);
		return error;
	}
	ring->page = page;
	watch->ring_count++;
	return 0;
}

static bool open_tracepoint(struct inspect_watch *watch)
{
	long processors = sysconf(_SC_NPROCESSORS_CONF);
	unsigned long long id;
	int error = 0;

	if (sysconf(_SC_PAGESIZE) != 4096 || processors < 1 || processors > PROCESSORS_MOST) {
		snprintf(watch->why, sizeof watch->why, "a machine of which that is not known how");
		return false;
	}
	if (!read_format(&id, &watch->flags_offset)) {
		snprintf(watch->why, sizeof watch->why,
			 "the tracepoint cannot be read (%s): root may, where tracefs is mounted", strerror(errno));
		return false;
	}
	watch->rings = calloc((size_t)processors, sizeof *watch->rings);
	for (int i = 0; watch->rings != NULL && i < processors && (error == 0 || error == ENODEV); i++)
		error = open_ring(watch, id, i);
	if (watch->rings != NULL && (error == 0 || error == ENODEV) && watch->ring_count > 0)
		return true;
	snprintf(watch->why, sizeof watch->why,
		 "the tracepoint may not be used (%s): root may, and who has CAP_PERFMON",
		 strerror(watch->rings == NULL ? ENOMEM : error));
	close_rings(watch);
	return false;
}

/* Copies from position `at` of a ring. */
static void copy_out(const struct ring *ring, uint64_t at, void *to, size_t size)
{
	const unsigned char *data = (const unsigned char *)ring->page + 4096;

	for (size_t i = 0; i < size; i++)
		((unsigned char *)to)[i] = data[(at + i) % (RING_PAGES * 4096)];
}

static void count_flags(uint64_t flags, struct inspect_rate *rate)
{
	if (flags & CLONE_THREAD)
		rate->threads++;
	else if (flags & CLONE_VM)
		rate->spawns++;
	else
		rate->forks++;
}

static void drain(const struct inspect_watch *watch, const struct ring *ring, struct inspect_rate *rate)
{
	uint64_t head = __atomic_load_n(&ring->page->data_head, __ATOMIC_ACQUIRE), at = ring->page->data_tail;

	while (at < head) {
		struct perf_event_header header;
		struct {
			uint32_t process, thread, size;
		} sample;
		copy_out(ring, at, &header, sizeof header);
		if (header.size < sizeof header)
			break;
		if (header.type == PERF_RECORD_LOST)
			rate->lost = true;
		if (header.type == PERF_RECORD_SAMPLE && header.size >= sizeof header + sizeof sample) {
			uint64_t flags = 0;
			copy_out(ring, at + sizeof header, &sample, sizeof sample);
			if (sample.process == (uint32_t)watch->process.pid &&
			    watch->flags_offset + sizeof(long) <= sample.size &&
			    sizeof header + sizeof sample + sample.size <= header.size) {
				copy_out(ring, at + sizeof header + sizeof sample + watch->flags_offset, &flags,
					 sizeof(long));
				count_flags(flags, rate);
			}
		}
		at += header.size;
	}
	__atomic_store_n(&ring->page->data_tail, head, __ATOMIC_RELEASE);
}

/* ---- Looking ---- */

static bool is_known(const struct inspect_watch *watch, pid_t pid)
{
	for (size_t i = 0; i < watch->known_count; i++)
		if (watch->known[i] == pid)
			return true;
	return false;
}

/* A child that runs another program was spawned; one that was forked may execute one later. */
static void count_child(const struct inspect_watch *watch, pid_t pid, struct inspect_rate *rate)
{
	char path[64], program[PATH_MAX];
	ssize_t length;

	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	length = readlink(path, program, sizeof program - 1);
	program[length > 0 ? length : 0] = '\0';
	if (length > 0 && strcmp(program, watch->process.program) != 0)
		rate->spawns++;
	else
		rate->forks++;
}

/* The children of all threads. */
static void look(struct inspect_watch *watch, struct inspect_rate *rate)
{
	static pid_t seen[CHILDREN_MOST];
	char path[96];
	size_t count = 0;
	struct dirent *entry;
	DIR *threads;

	snprintf(path, sizeof path, "/proc/%d/task", (int)watch->process.pid);
	threads = opendir(path);
	while (threads != NULL && (entry = readdir(threads)) != NULL) {
		FILE *file;
		int pid;
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof path, "task/%.20s/children", entry->d_name);
		file = inspect_open(watch->process.pid, path);
		while (file != NULL && count < CHILDREN_MOST && fscanf(file, "%d", &pid) == 1) {
			if (rate != NULL && !is_known(watch, pid))
				count_child(watch, pid, rate);
			seen[count++] = pid;
		}
		if (file != NULL)
			fclose(file);
	}
	if (threads != NULL)
		closedir(threads);
	memcpy(watch->known, seen, count * sizeof *seen);
	watch->known_count = count;
}

/* ---- Both ---- */

struct inspect_watch *inspect_watch_begin(const struct inspect_process *process)
{
	struct inspect_watch *watch = calloc(1, sizeof *watch);

	if (watch == NULL)
		return NULL;
	watch->process = *process;
	watch->way = open_tracepoint(watch) ? INSPECT_BY_TRACEPOINT : INSPECT_BY_SAMPLING;
	if (watch->way == INSPECT_BY_SAMPLING)
		look(watch, NULL);
	watch->began = now();
	return watch;
}

void inspect_watch_for(struct inspect_watch *watch, double seconds, struct inspect_rate *rate)
{
	double end = now() + seconds;
	bool by_looking = watch->way == INSPECT_BY_SAMPLING;

	*rate = (struct inspect_rate){ .way = watch->way, .why = by_looking ? watch->why : NULL };
	if (by_looking) {
		look(watch, NULL); /* children that are older than this call do not count for it */
		watch->began = now();
		rate->threads = UINT64_MAX;
		rate->lost = true;
	}
	do {
		struct timespec moment = { 0, by_looking ? LOOK_NS : 20000000L };
		for (size_t i = 0; i < watch->ring_count; i++)
			drain(watch, &watch->rings[i], rate);
		(void)nanosleep(&moment, NULL);
		if (by_looking)
			look(watch, rate);
	} while (now() < end);
	for (size_t i = 0; i < watch->ring_count; i++)
		drain(watch, &watch->rings[i], rate);
	rate->seconds = now() - watch->began;
	watch->began = now();
}

void inspect_watch_end(struct inspect_watch *watch)
{
	close_rings(watch);
	free(watch);
}
