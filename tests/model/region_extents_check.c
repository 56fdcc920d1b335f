/* SPDX-License-Identifier: MIT
 *
 * What test_region_extents compares: the bytes, the list of extents, and the kernel's mappings.
 */
#include "region_extents.h"

struct process self;

bool trace;

__attribute__((noreturn, format(printf, 1, 2))) void failure(const char *format, ...)
{
	va_list arguments;
	int nobody = 0, length;

	if (atomic_compare_exchange_strong(&board->failed, &nobody, 1)) {
		length = snprintf(board->text, sizeof board->text, "seed %" PRIu64 " process 0%s step %u: ", self.seed,
				  self.path, self.step);
		va_start(arguments, format);
		vsnprintf(board->text + length, sizeof board->text - (size_t)length, format, arguments);
		va_end(arguments);
	}
	_exit(1);
}

__attribute__((format(printf, 1, 2))) void note(const char *format, ...)
{
	char line[256];
	va_list arguments;
	int length;

	if (!trace)
		return;
	length = snprintf(line, sizeof line, "# 0%s@%u ", self.path, self.step);
	va_start(arguments, format);
	vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
	va_end(arguments);
	dprintf(2, "%s\n", line);
}

/* ---- Pages ------------------------------------------------------------------------------------------------------- */

const char *const kind_names[] = { "memory", "hole", "island", "foreign" };

size_t page_of(const struct area *a, size_t slot)
{
	return a->windows[slot / WINDOW] + slot % WINDOW;
}

unsigned char *at(const struct area *a, size_t slot)
{
	return a->base + page_of(a, slot) * PAGE;
}

unsigned char *shadow_at(const struct area *a, size_t slot)
{
	return a->shadow + slot * PAGE;
}

static bool can_read(const struct area *a, size_t slot)
{
	return a->kind[slot] != REGION_HOLE && (a->rights[slot] & PROT_READ);
}

bool can_write(const struct area *a, size_t slot)
{
	return a->kind[slot] != REGION_HOLE && (a->rights[slot] & PROT_WRITE);
}

/* Asks the kernel, which returns an error where an access by the program would raise a signal. */
static bool is_touchable(unsigned char *address, bool for_writing)
{
	char byte = 0;
	ssize_t result;

	if (!for_writing) {
		result = write(self.to_pipe, address, 1);
		if (result == 1 && read(self.from_pipe, &byte, 1) != 1)
			failure("pipe: %s", strerror(errno));
	} else {
		byte = 0;
		if (write(self.to_pipe, &byte, 1) != 1)
			failure("pipe: %s", strerror(errno));
		result = read(self.from_pipe, address, 1); /* writes a zero */
		if (result < 0 && read(self.from_pipe, &byte, 1) != 1)
			failure("pipe: %s", strerror(errno));
	}
	if (result != 1 && errno != EFAULT)
		failure("pipe: %s", strerror(errno));
	return result == 1;
}

static sigjmp_buf before_touch;

static void jump_back(int number)
{
	siglongjmp(before_touch, number);
}

static bool faults(volatile unsigned char *address)
{
	struct sigaction action = { .sa_handler = jump_back }, was[2];
	int signal;

	sigaction(SIGSEGV, &action, &was[0]);
	sigaction(SIGBUS, &action, &was[1]);
	signal = sigsetjmp(before_touch, 1);
	if (signal == 0)
		(void)*address;
	sigaction(SIGSEGV, &was[0], NULL);
	sigaction(SIGBUS, &was[1], NULL);
	if (signal == SIGBUS)
		failure("SIGBUS at %p", (void *)(uintptr_t)address);
	return signal == SIGSEGV;
}

/* ---- Comparing --------------------------------------------------------------------------------------------------- */

const char *describe(const struct area *a, size_t slot)
{
	static char text[160];
	struct region_extent run = region_run_at(a->handle, page_of(a, slot) * PAGE, (size_t)REGION_PAGES * PAGE);

	snprintf(text, sizeof text, "page %zu of the %s region, %s%s, live %zu+%zu pages, %s%s%s", page_of(a, slot),
		 a->owned ? "own" : "inherited", kind_names[run.kind], run.stale ? " (stale)" : "",
		 a->handle->live_from / PAGE, a->handle->live_length / PAGE, a->handle->visible ? "visible " : "",
		 a->handle->vacant ? "vacant " : "", a->handle->doubt ? "doubt" : "");
	return text;
}

static void compare_page(const struct area *a, size_t slot)
{
	const unsigned char *is = at(a, slot), *must = shadow_at(a, slot);

	if (memcmp(is, must, PAGE) == 0)
		return;
	for (size_t i = 0; i < PAGE; i++)
		if (is[i] != must[i])
			failure("byte %zu is %02x, must be %02x: %s", i, is[i], must[i], describe(a, slot));
	failure("changed while it was compared: %s", describe(a, slot));
}

static void compare_all(const struct area *a)
{
	for (size_t slot = 0; slot < WINDOWS * WINDOW; slot++)
		if (a->touched[slot] && can_read(a, slot))
			compare_page(a, slot);
}

/* The region's list: sorted, merged, whole pages, within the region; and the number of its pieces. */
static void check_list(const struct area *a)
{
	struct region_place place = { 0, 0 };
	const struct region_extent *e, *before = NULL;
	size_t end = 0, pieces = 0, i = 0;

	for (; (e = region_extent_next(a->handle->extents, &place)) != NULL; before = e, i++) {
		if (e->from % PAGE != 0 || e->length % PAGE != 0 || e->length == 0 || e->from < end ||
		    e->from + e->length > a->handle->length || e->kind == REGION_MEMORY || e->kind > REGION_FOREIGN)
			failure("extent %zu is %zu+%zu of kind %d, after %zu", i, e->from / PAGE, e->length / PAGE,
				e->kind, end / PAGE);
		if (before != NULL && before->from + before->length == e->from && before->kind == e->kind &&
		    before->stale == e->stale &&
		    (e->kind != REGION_ISLAND || (before->protection == e->protection && before->advice == e->advice)))
			failure("extents %zu and %zu, both %s, are not merged at page %zu", i - 1, i,
				kind_names[e->kind], e->from / PAGE);
		if (e->kind == REGION_ISLAND && e->stale)
			failure("an island is stale");
		pieces += e->from > end;
		end = e->from + e->length;
	}
	if (a->handle->extents->count != i)
		failure("there are %zu extents, and %zu are counted", i, a->handle->extents->count);
	if (a->handle->extents->pieces != pieces)
		failure("%zu extents begin behind memory, and %zu are counted", pieces, a->handle->extents->pieces);
}

/* The region and the oracle say the same of each page. */
static void check_runs(const struct area *a)
{
	size_t size = (size_t)REGION_PAGES * PAGE;

	for (size_t w = 0; w < WINDOWS; w++) {
		size_t slot = w * WINDOW, end = slot + WINDOW;
		while (slot < end) {
			size_t from = page_of(a, slot) * PAGE;
			struct region_extent run = region_run_at(a->handle, from, size);
			if (run.from != from || run.length == 0 || run.length % PAGE != 0)
				failure("the run at page %zu is %zu+%zu", from / PAGE, run.from, run.length);
			for (size_t page = 0; page < run.length / PAGE && slot < end; page++, slot++) {
				if (run.kind != a->kind[slot])
					failure("must be %s: %s", kind_names[a->kind[slot]], describe(a, slot));
				if (run.kind == REGION_ISLAND && run.protection != a->rights[slot])
					failure("rights %d, must be %d: %s", run.protection, a->rights[slot],
						describe(a, slot));
			}
		}
	}
}

/* Some pages must have the access rights that the oracle gives them. */
static void probe(const struct area *a)
{
	for (int i = 0; i < 6; i++) {
		size_t slot = below(WINDOWS * WINDOW);
		if ((a->kind[slot] == REGION_HOLE ||
		     (a->kind[slot] == REGION_FOREIGN && a->rights[slot] == PROT_NONE)) &&
		    !a->owned)
			continue; /* not mapped, and another mapping may lie there */
		if (is_touchable(at(a, slot), false) != can_read(a, slot))
			failure("%s be read: %s", can_read(a, slot) ? "cannot" : "can", describe(a, slot));
		if (can_read(a, slot))
			compare_page(a, slot);
		if (!can_write(a, slot) && is_touchable(at(a, slot), true))
			failure("can be written: %s", describe(a, slot));
		if (one_in(8) && faults(at(a, slot)) == can_read(a, slot))
			failure("%s: %s", can_read(a, slot) ? "faults" : "does not fault", describe(a, slot));
	}
}

/* What children inherit, by the kernel's mapping flags: memory if the region is visible, islands always, holes never
 * (invariant 3). A child has no holes. */
static void check_inheritance(const struct area *a)
{
	unsigned char *start = a->base, *limit = start + (size_t)REGION_PAGES * PAGE;
	unsigned long from = 0, end = 0;
	bool ours = false, is_file = false;
	uint64_t mask;
	char *text, *rest, *line;

	region_lock(&mask); /* the keeper makes no step meanwhile */
	text = read_file("/proc/self/smaps");
	if (text == NULL)
		failure("no smaps");
	for (rest = text; (line = strsep(&rest, "\n")) != NULL;) {
		unsigned long one, two;
		if (sscanf(line, "%lx-%lx ", &one, &two) == 2) {
			from = one;
			end = two;
			ours = (unsigned char *)from < limit && (unsigned char *)end > start;
			is_file = strstr(line, "odfork-region") != NULL;
		}
		if (!ours || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		for (size_t slot = 0; slot < WINDOWS * WINDOW; slot++) {
			bool kept = strstr(line, " dc") != NULL,
			     wanted = a->kind[slot] != REGION_HOLE &&
				      (a->kind[slot] != REGION_MEMORY || a->handle->visible);
			if (at(a, slot) < (unsigned char *)from || at(a, slot) >= (unsigned char *)end)
				continue;
			if (!a->owned && is_file && a->kind[slot] == REGION_HOLE)
				failure("the child has the file in a hole: %s", describe(a, slot));
			if (a->owned && kept == wanted)
				failure("%s by children: %s", kept ? "not inherited" : "inherited", describe(a, slot));
			if (a->kind[slot] == REGION_MEMORY && (!a->owned || a->handle->visible) &&
			    strstr(line, " sh") != NULL)
				failure("shared with children: %s", describe(a, slot));
		}
	}
	region_unlock(&mask);
	free(text);
}

void check(const struct area *a, bool everything)
{
	uint64_t mask;

	region_lock(&mask);
	check_list(a);
	check_runs(a);
	region_unlock(&mask);
	probe(a);
	if (everything)
		compare_all(a);
	if (one_in(24))
		check_inheritance(a);
}
