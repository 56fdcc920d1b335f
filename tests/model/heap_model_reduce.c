/* SPDX-License-Identifier: MIT
 *
 * How test_heap_model shows a difference, and how it finds the steps that the difference needs.
 */
#include "heap_model.h"

/* Prints the lines of a text around offset `at`, as TAP comments. */
static void show_text(const char *title, const struct entry *e, unsigned at, size_t before)
{
	size_t from = at, length;

	if (e == NULL)
		return;
	while (from > 0 && before > 0)
		for (from--, before--; from > 0 && e->text[from - 1] != '\n'; from--)
			;
	for (; from < e->length; from += length + 1) {
		length = line_length(e->text, from, e->length);
		print_message("# %s %s %.*s\n", title, e->path, (int)length, e->text + from);
		if (from > at)
			break;
	}
}

static const struct entry *find_entry(const struct side *side, const struct difference *d)
{
	struct entry key;

	key.seed = d->seed;
	memcpy(key.path, d->path, sizeof key.path);
	return counterpart(side->board, &key);
}

void show_difference(const struct side *heap, const struct side *plain, const struct difference *d, size_t before)
{
	const struct entry *h = find_entry(heap, d), *p = find_entry(plain, d);

	print_message("# seed %" PRIu64 " (ODFORK_HEAP=%s%s%s), process %s: %s\n", d->seed,
		      mode_names[mode_of(d->seed)], noisy_of(d->seed) ? ", with signals" : "",
		      goes_past(d->seed) ? ", past the library" : "", d->path[0] == '\0' ? "?" : d->path,
		      d->what[0] == '\0' ? "not the same" : d->what);
	if (heap->status != 0 || plain->status != 0)
		print_message("# the run with the heap ended with %#x, without it with %#x\n", (unsigned)heap->status,
			      (unsigned)plain->status);
	if (heap->hung || plain->hung)
		for (int s = 0; s < 2; s++) {
			const struct board *b = s == 0 ? heap->board : plain->board;
			for (unsigned i = 0; i < b->used && i < MAX_ENTRIES; i++)
				if (!b->entries[i].done)
					show_text(s == 0 ? "unfinished heap " : "unfinished plain", &b->entries[i],
						  b->entries[i].length, 4);
		}
	show_text("plain", p, d->at, before);
	show_text("heap ", h, d->at, before > 0 ? 1 : 0);
	/* A line may be long: shows where the two differ in it. */
	if (p != NULL && h != NULL && d->what[0] == '\0') {
		size_t at = d->at, from;
		while (at < p->length && at < h->length && p->text[at] == h->text[at])
			at++;
		from = at - d->at > 60 ? at - 60 : d->at;
		print_message("# first: plain ...%.*s\n", (int)less(100, line_length(p->text, from, p->length)),
			      p->text + from);
		print_message("# first: heap  ...%.*s\n", (int)less(100, line_length(h->text, from, h->length)),
			      h->text + from);
	}
}

static void show_everything(const struct side *side, uint64_t seed)
{
	for (unsigned i = 0; i < side->board->used && i < MAX_ENTRIES; i++)
		if (side->board->entries[i].seed == seed)
			show_text(side->board->tested ? "heap " : "plain", &side->board->entries[i],
				  side->board->entries[i].length, SIZE_MAX);
}

/* The first word of the line that differs. */
static void verb_of(const struct side *heap, const struct side *plain, const struct difference *d, char *verb,
		    size_t size)
{
	const struct entry *e = find_entry(plain, d);
	const char *from, *end;

	if (e == NULL || d->at >= e->length)
		e = find_entry(heap, d);
	snprintf(verb, size, "%.32s", d->what);
	if (e == NULL || d->at >= e->length)
		return;
	from = e->text + d->at;
	from += strcspn(from, " ") + 1;
	end = from + strcspn(from, "( \n");
	snprintf(verb, less(size, (size_t)(end - from) + 1), "%s", from);
}

/* If `verb` is given, the difference must be in that operation. */
static bool still_differs(struct side *heap, struct side *plain, uint64_t seed, uint64_t times, struct difference *d,
			  const char *verb)
{
	char found[64];

	for (uint64_t i = 0; i < times; i++) {
		*d = run_both(heap, plain, seed, 1);
		if (!d->found)
			continue;
		verb_of(heap, plain, d, found, sizeof found);
		if (verb == NULL || strcmp(verb, found) == 0)
			return true;
	}
	return false;
}

/* Collects all steps of a seed from the log of the plain run. */
static unsigned collect_steps(const struct board *b, uint64_t seed, struct skip *steps)
{
	unsigned count = 0;

	for (unsigned i = 0; i < b->used && i < MAX_ENTRIES; i++) {
		const struct entry *e = &b->entries[i];
		if (e->seed != seed)
			continue;
		for (size_t at = 0; at < e->length && count < MAX_SKIPS; at += line_length(e->text, at, e->length) + 1)
			if (e->text[at] == '@')
				steps[count++] = (struct skip){ mix_path(seed, e->path),
								(unsigned)strtoul(e->text + at + 1, NULL, 10) };
	}
	return count;
}

/* Leaves out steps while the seed still differs, first in large groups, then in smaller ones. */
static void reduce(struct side *heap, struct side *plain, uint64_t seed, uint64_t times)
{
	static struct skip steps[MAX_SKIPS];
	static bool out[MAX_SKIPS];
	struct board *boards[2] = { heap->board, plain->board };
	struct difference d;
	unsigned count, left = 0;
	char verb[64];

	if (!still_differs(heap, plain, seed, 4 * times, &d, NULL)) {
		print_message("# does not differ again\n");
		return;
	}
	verb_of(heap, plain, &d, verb, sizeof verb);
	count = collect_steps(plain->board, seed, steps);
	memset(out, 0, sizeof out);
	boards[0]->skipping = boards[1]->skipping = 1;
	for (unsigned size = count / 2, again = 0; size > 0; size = again ? size : size / 2) {
		again = 0;
		for (unsigned from = 0; from < count; from += size) {
			bool tried[MAX_SKIPS], any = false;
			unsigned skipped = 0;
			memcpy(tried, out, sizeof tried);
			for (unsigned i = from; i < from + size && i < count; i++) {
				any = any || !tried[i];
				tried[i] = true;
			}
			if (!any)
				continue;
			for (unsigned i = 0; i < count; i++)
				if (tried[i]) {
					boards[0]->skips[skipped] = boards[1]->skips[skipped] = steps[i];
					skipped++;
				}
			boards[0]->skip_count = boards[1]->skip_count = skipped;
			if (still_differs(heap, plain, seed, times, &d, verb)) {
				memcpy(out, tried, sizeof out);
				again = size == 1;
			}
		}
	}
	boards[0]->skip_count = 0;
	for (unsigned i = 0; i < count; i++) {
		if (out[i]) {
			boards[0]->skips[boards[0]->skip_count++] = steps[i];
		}
		left += !out[i];
	}
	boards[1]->skip_count = boards[0]->skip_count;
	memcpy(boards[1]->skips, boards[0]->skips, sizeof boards[0]->skips);
	print_message("# reduced: %u of %u steps are left\n", left, count);
	if (still_differs(heap, plain, seed, 10 * times, &d, verb)) {
		show_difference(heap, plain, &d, 0);
		show_everything(plain, seed);
		show_everything(heap, seed);
	} else {
		print_message("# which do not differ again\n");
	}
	boards[0]->skipping = boards[1]->skipping = 0;
}

/* Runs the seed alone or in its batch, and counts how often the difference happens again. */
void investigate(struct side *heap, struct side *plain, const struct difference *first)
{
	uint64_t times = number_from("ODF_TEST_REDUCE", 0);
	unsigned again = 0;

	if (number_from("ODF_TEST_ONCE", 0) != 0)
		return;
	if (number_from("ODF_TEST_GO_ON", 0) == 0 || times > 0) {
		for (int i = 0; i < 5; i++)
			again += run_both(heap, plain, first->seed, 1).found;
		print_message("# alone it differs %u times of 5; replay: test_heap_model %" PRIu64 " [TIMES]\n", again,
			      first->seed);
	}
	if (again == 0 && number_from("ODF_TEST_GO_ON", 0) == 0) {
		for (int i = 0; i < 5; i++)
			again += run_both(heap, plain, first->seed / BATCH * BATCH, BATCH).found;
		print_message("# with its batch (ODF_TEST_WHOLE=1) %u times of 5\n", again);
	}
	if (times > 0)
		reduce(heap, plain, first->seed, times);
}
