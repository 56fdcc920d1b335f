/* SPDX-License-Identifier: MIT
 *
 * Runs test_heap_model's program with the library and without it, and finds where the two differ.
 */
#include "heap_model.h"

char library[4096];

void make_side(struct side *side, bool tested)
{
	side->fd = (int)syscall(SYS_memfd_create, "board", 0);
	assert_true(side->fd >= 0);
	assert_int_equal(ftruncate(side->fd, sizeof *side->board), 0);
	side->board = mmap(NULL, sizeof *side->board, PROT_READ | PROT_WRITE, MAP_SHARED, side->fd, 0);
	assert_true(side->board != MAP_FAILED);
	side->board->tested = tested;
	if (getenv("ODF_TEST_WITHOUT") != NULL)
		snprintf(side->board->without, sizeof side->board->without, "%s", getenv("ODF_TEST_WITHOUT"));
	side->board->trace = number_from("ODF_TEST_TRACE", 0) != 0;
}

enum { ENVIRONMENT = 512 };

/* An inherited LD_PRELOAD is dropped; the test sets its own. */
static void make_environment(char **environment, const char *const *ours)
{
	size_t count = 0;

	for (char **e = environ; *e != NULL && count < ENVIRONMENT - 8; e++)
		if (strncmp(*e, "LD_PRELOAD=", 11) != 0 && strncmp(*e, "ODFORK_HEAP=", 12) != 0)
			environment[count++] = *e;
	for (; *ours != NULL; ours++)
		environment[count++] = (char *)(uintptr_t)*ours;
	environment[count] = NULL;
}

/* This program, or its variant that is linked with the library. */
static void find_program(char path[PATH_MAX], bool linked)
{
	ssize_t length;

	strcpy(path, "/proc/self/exe");
	if (!linked)
		return;
	length = readlink("/proc/self/exe", path, PATH_MAX - 16);
	assert_true(length > 0);
	strcpy(path + length, "_linked");
}

static void start_side(struct side *side, bool linked, const char *const *ours, uint64_t first, uint64_t step,
		       uint64_t count)
{
	char texts[4][32], *arguments[7] = { (char *)(uintptr_t) "test_heap_model", (char *)(uintptr_t) "--run" };
	char *environment[ENVIRONMENT], program[PATH_MAX];

	snprintf(texts[0], sizeof texts[0], "%d", side->fd);
	snprintf(texts[1], sizeof texts[1], "%" PRIu64, first);
	snprintf(texts[2], sizeof texts[2], "%" PRIu64, step);
	snprintf(texts[3], sizeof texts[3], "%" PRIu64, count);
	for (int i = 0; i < 4; i++)
		arguments[2 + i] = texts[i];
	arguments[6] = NULL;
	make_environment(environment, ours);
	find_program(program, linked);
	/* A process that is killed while it makes a child leaves an entry without a log. */
	for (unsigned i = 0; i < side->board->used && i < MAX_ENTRIES; i++)
		side->board->entries[i].path[0] = '\0';
	side->board->used = 0;
	side->hung = false;
	side->pid = fork();
	if (side->pid == 0) {
		setpgid(0, 0);
		execve(program, arguments, environment);
		_exit(90);
	}
	assert_true(side->pid > 0);
	setpgid(side->pid, side->pid);
}

static void end_side(struct side *side, double end)
{
	int fd = (int)syscall(SYS_pidfd_open, side->pid, 0);
	struct pollfd wait = { fd, POLLIN, 0 };
	double left = end - now();

	if (fd < 0 || poll(&wait, 1, left < 0 ? 0 : (int)(left * 1000)) == 0)
		side->hung = true;
	/* Kills the group: processes may have outlived the root if that was killed. */
	kill(-side->pid, SIGKILL);
	while (waitpid(side->pid, &side->status, 0) != side->pid)
		assert_int_equal(errno, EINTR);
	if (fd >= 0)
		close(fd);
}

const struct entry *counterpart(const struct board *b, const struct entry *of)
{
	for (unsigned i = 0; i < b->used && i < MAX_ENTRIES; i++)
		if (b->entries[i].seed == of->seed && strcmp(b->entries[i].path, of->path) == 0)
			return &b->entries[i];
	return NULL;
}

/* The process, or an ancestor, may have been killed. Then its log may be shorter or empty, but must agree up to its
 * end. */
static bool may_be_short(const struct board *b, const struct entry *e)
{
	for (unsigned i = 0; i < b->used && i < MAX_ENTRIES; i++) {
		const struct entry *other = &b->entries[i];
		size_t length = strlen(other->path);
		if (length > 0 && other->seed == e->seed && other->doomed &&
		    strncmp(other->path, e->path, length) == 0 && (e->path[length] == '.' || e->path[length] == '\0'))
			return true;
	}
	return false;
}

size_t line_length(const char *text, size_t at, size_t length)
{
	const char *end = at < length ? memchr(text + at, '\n', length - at) : NULL;

	return end == NULL ? length - at : (size_t)(end - text) - at;
}

/* Length of the complete lines: a killed process may have begun another. */
static size_t whole_length(const struct entry *e, bool may_end)
{
	size_t length = e->length;

	while (may_end && length > 0 && e->text[length - 1] != '\n')
		length--;
	return length;
}

/* Finds the first line that differs. */
static bool texts_differ(const struct entry *a, const struct entry *b, bool may_end, unsigned *at)
{
	size_t a_length = whole_length(a, may_end), b_length = whole_length(b, may_end),
	       common = less(a_length, b_length), i, line = 0;

	for (i = 0; i < common && a->text[i] == b->text[i]; i++)
		if (a->text[i] == '\n')
			line = i + 1;
	*at = (unsigned)line;
	if (i < common)
		return true;
	if (a_length == b_length)
		return memcmp(a->text + TEXT_SIZE - 64, b->text + TEXT_SIZE - 64, 64) != 0 && !may_end;
	return !may_end;
}

/* Prefers the first seed, and in it the process nearest to the root. */
static bool is_earlier(const struct entry *e, const struct difference *than)
{
	size_t length = strlen(e->path), other = strlen(than->path);

	if (!than->found || e->seed != than->seed)
		return !than->found || e->seed < than->seed;
	return length != other ? length < other : strcmp(e->path, than->path) < 0;
}

static void take_difference(struct difference *d, const struct entry *e, unsigned at, const char *what)
{
	if (!is_earlier(e, d))
		return;
	d->found = true;
	d->seed = e->seed;
	d->at = at;
	memcpy(d->path, e->path, sizeof d->path);
	snprintf(d->what, sizeof d->what, "%s", what);
}

static struct difference compare_sides(const struct side *heap, const struct side *plain)
{
	const struct board *boards[2] = { heap->board, plain->board };
	struct difference d = { 0 };
	unsigned at;

	for (int s = 0; s < 2; s++)
		for (unsigned i = 0; i < boards[s]->used && i < MAX_ENTRIES; i++) {
			const struct entry *e = &boards[s]->entries[i], *other = counterpart(boards[1 - s], e);
			bool may_end = may_be_short(boards[s], e) || may_be_short(boards[1 - s], e);
			if (e->path[0] == '\0')
				continue;
			if (other == NULL && !may_end)
				take_difference(&d, e, 0,
						s == 0 ? "exists with the heap only" : "exists without the heap only");
			else if (s == 0 && other != NULL && texts_differ(e, other, may_end, &at))
				take_difference(&d, e, at, "");
			else if (!e->done && !may_end)
				take_difference(&d, e, e->length,
						s == 0 ? "did not end with the heap" : "did not end without the heap");
		}
	if (!d.found && (heap->status != 0 || heap->hung || plain->status != 0 || plain->hung)) {
		d.found = true;
		d.path[0] = '\0';
		snprintf(d.what, sizeof d.what, "the run with the heap %s %#x, without it %s %#x",
			 heap->hung ? "hung" : "ended with", (unsigned)heap->status,
			 plain->hung ? "hung" : "ended with", (unsigned)plain->status);
	}
	return d;
}

const char *const mode_names[] = { "on", "auto", "off", "auto", "auto" };

enum mode mode_of(uint64_t seed)
{
	const char *fixed = getenv("ODF_TEST_HEAP");
	uint64_t value = mix(seed / BATCH * 3 + 1) % 16;

	if (fixed != NULL)
		return strcmp(fixed, "auto") == 0 ? MODE_AUTO : strcmp(fixed, "off") == 0 ? MODE_OFF
		       : strcmp(fixed, "late") == 0 ? MODE_LATE : strcmp(fixed, "asleep") == 0 ? MODE_ASLEEP : MODE_ON;
	switch (value) {
	case 0:
		return MODE_OFF;
	case 1:
	case 2:
	case 3:
		return MODE_AUTO;
	case 4:
	case 5:
		return MODE_LATE;
	case 6:
		return MODE_ASLEEP;
	default:
		return MODE_ON;
	}
}

bool noisy_of(uint64_t seed)
{
	return number_from("ODF_TEST_NOISE", mix(seed / BATCH * 7 + 5) % 6 == 0) != 0;
}

bool goes_past(uint64_t seed)
{
	return number_from("ODF_TEST_PAST", mix(seed / BATCH * 11 + 3) % 2 == 0) != 0;
}

/* The kernel refuses PROCMAP_QUERY, as before Linux 6.11: the library then reads the text of /proc/self/maps. */
bool has_no_queries(uint64_t seed)
{
	return number_from("ODF_TEST_NO_QUERIES", mix(seed / BATCH * 13 + 7) % 6 == 0) != 0;
}

/* Runs `count` seeds from `first` on. The first seed determines the mode. */
struct difference run_both(struct side *heap, struct side *plain, uint64_t first, uint64_t count)
{
	char preload[sizeof library + 16], search[sizeof library + 24], setting[64];
	const char *const with[] = { preload, setting, NULL }, *const linked[] = { search, NULL },
			  *const without[] = { NULL };
	double end = now() + (double)GUARD_SECONDS + 5;
	enum mode mode = mode_of(first);
	bool is_linked = mode == MODE_LATE && library[0] != '\0';

	snprintf(preload, sizeof preload, "LD_PRELOAD=%s", library);
	snprintf(search, sizeof search, "LD_LIBRARY_PATH=%.*s", (int)(strrchr(library, '/') - library), library);
	snprintf(setting, sizeof setting, "ODFORK_HEAP=%s", mode_names[mode]);
	heap->board->grows = plain->board->grows = mode == MODE_AUTO || mode == MODE_LATE;
	heap->board->late = plain->board->late = mode == MODE_LATE || mode == MODE_ASLEEP;
	heap->board->off = mode == MODE_OFF;
	heap->board->noisy = plain->board->noisy = noisy_of(first);
	heap->board->past_the_library = plain->board->past_the_library = goes_past(first);
	heap->board->no_queries = has_no_queries(first);
	start_side(heap, is_linked, library[0] == '\0' ? without : is_linked ? linked : with, first, 1, count);
	start_side(plain, false, without, first, 1, count);
	end_side(heap, end);
	end_side(plain, end);
	return compare_sides(heap, plain);
}
