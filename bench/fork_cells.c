/* SPDX-License-Identifier: MIT */
#include "fork_cells.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct plan full[EXPERIMENTS] = {
	[HELD] = { "64M,128M,256M,512M,1G,2G,4G,8G,16G", 3000, 10, 1000 },
	[MIX] = { "64M,256M,1G,4G", 300, 4, 60 },
	[STEADY] = { "1G", 5000, 4, 20000 },
	[CLOSE] = { "1G", 60000, 6, 180 },
	[AFTER] = { "512M", 30000, 4, 40 },
	[ALIVE] = { "512M", 30000, 2, 60 },
	[FAULT] = { "1G", 1500, 4, 100000 },
	[SPARSE] = { "64M,256M,1G", 300, 4, 60 },
}, quick[EXPERIMENTS] = {
	[HELD] = { "64M,256M,1G", 300, 4, 200 },
	[MIX] = { "256M", 60, 2, 30 },
	[STEADY] = { "1G", 1200, 2, 2000 },
	[CLOSE] = { "1G", 20000, 2, 60 },
	[AFTER] = { "512M", 1000, 2, 10 },
	[ALIVE] = { "512M", 1000, 1, 10 },
	[FAULT] = { "256M", 150, 2, 10000 },
	[SPARSE] = { "256M", 60, 2, 20 },
};

struct fork_options options = { .selected = IN(EXPERIMENTS) - 1, .note = "bench/fork" };

const struct plan *plan_of(enum experiment experiment)
{
	return options.quick ? &quick[experiment] : &full[experiment];
}

void die(const char *what)
{
	fprintf(stderr, "fork: %s: %s\n", what, strerror(errno));
	exit(1);
}

void usage(void)
{
	fprintf(stderr,
		"usage: fork [--sizes LIST] [--only held,mix,steady,close,after,alive,fault,sparse] [--child LIST] "
		"[--parent LIST] [--quick] [--csv PREFIX] [--note TEXT]\n");
	exit(2);
}

/* Parses numbers separated by commas. With `bytes`: amounts in MiB, or with the suffix K, M or G. */
static struct list numbers(const char *text, bool bytes)
{
	struct list list = { 0 };

	while (*text != 0) {
		char *end;
		double number = strtod(text, &end), unit = bytes ? 1 << 20 : 1;
		if (bytes && *end != 0 && strchr("KMG", *end) != NULL)
			unit = (double)(1u << (*end == 'K' ? 10 : *end == 'M' ? 20 : 30)), end++;
		if (end == text || number < 0 || (*end != 0 && *end != ',') || list.count == MOST)
			usage();
		list.item[list.count++] = number * unit;
		text = *end == ',' ? end + 1 : end;
	}
	return list;
}

static double largest(const struct list *list)
{
	double most = 0;
	for (size_t i = 0; i < list->count; i++)
		most = list->item[i] > most ? list->item[i] : most;
	return most;
}

bool holds(const struct list *list, double number)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->item[i] == number)
			return true;
	return false;
}

struct list sizes_of(enum experiment experiment)
{
	return numbers(options.sizes != NULL ? options.sizes : plan_of(experiment)->sizes, true);
}

static struct list child_percents(void)
{
	return numbers(options.child != NULL ? options.child : options.quick ? "0,10,100" : "0,1,10,50,100", false);
}

static struct list parent_percents(enum experiment experiment)
{
	if (options.parent != NULL)
		return numbers(options.parent, false);
	if (experiment == STEADY)
		return numbers(options.quick ? "1" : "0.1,1,10", false);
	return numbers(options.quick ? "0,1" : "0,1,10", false);
}

size_t need_beyond(enum experiment experiment, size_t bytes)
{
	struct list child = child_percents(), parent = parent_percents(experiment);
	double percent = experiment == AFTER    ? 100
			 : experiment == ALIVE  ? 150
			 : experiment == MIX    ? largest(&child) + largest(&parent)
			 : experiment == STEADY ? largest(&parent)
						: 2;

	return (size_t)((double)bytes * percent / 100) + bytes / 64 + (256u << 20);
}

/* ---- Cells and their samples ------------------------------------------------------------------------------------- */

struct entry *entries;
size_t entry_count;

static void add(struct cell cell)
{
	entries = reallocarray(entries, entry_count + 1, sizeof *entries);
	if (entries == NULL)
		die("memory");
	memset(&entries[entry_count], 0, sizeof *entries);
	entries[entry_count].cell = cell;
	for (size_t v = 0; v < VARIANTS; v++)
		entries[entry_count].of[v].huge_percent = entries[entry_count].of[v].settling = -1;
	entry_count++;
}

static void add_mixes(void)
{
	struct list child = child_percents(), parent = parent_percents(MIX);

	for (size_t p = 0; p < parent.count; p++) {
		for (size_t c = 0; c < child.count; c++) {
			struct cell cell = {
				.experiment = MIX, .parent_percent = parent.item[p], .child_percent = child.item[c],
			};
			add(cell);
			cell.writes = true;
			if (cell.child_percent > 0)
				add(cell);
		}
	}
	/* For comparison, children that touch the pages in order: two amounts, with a parent that does not write and
	 * one that does. */
	for (size_t c = 0; c < child.count && !options.quick; c++) {
		struct cell cell = { .experiment = MIX, .child_percent = child.item[c], .in_order = true };
		if (cell.child_percent != 10 && cell.child_percent != 100)
			continue;
		add(cell);
		cell.writes = true;
		add(cell);
	}
}

static void add_steady(void)
{
	struct list parent = parent_percents(STEADY);

	for (size_t p = 0; p < parent.count; p++) {
		struct cell cell = { .experiment = STEADY, .parent_percent = parent.item[p] };
		if (cell.parent_percent == 0)
			continue;
		add(cell);
		cell.lives_us = 5000;
		if (!options.quick)
			add(cell);
	}
}

/* Rounds that follow each other without a rest, from the first one on. */
static void add_close(size_t bytes)
{
	enum { READ = 2000 };

	add((struct cell){ .experiment = CLOSE, .parent_percent = 1,
			   .child_percent = 100.0 * (double)READ / (double)(bytes / PAGE) });
}

static void add_after(void)
{
	static const unsigned lives_us[] = { 0, 5000, 20000 };

	for (size_t writes = 0; writes < 2; writes++)
		for (size_t i = 0; i < LENGTH(lives_us); i++)
			add((struct cell){ .experiment = AFTER, .parent_percent = 100, .writes = writes == 1,
					   .lives_us = lives_us[i] });
}

static void add_alive(void)
{
	static const size_t alive[] = { 1, 8, 32, 128 };

	for (size_t i = 0; i < LENGTH(alive); i++)
		add((struct cell){ .experiment = ALIVE, .parent_percent = 1, .alive = alive[i] });
}

static void add_faults(size_t bytes)
{
	size_t pages = bytes / PAGE / 4 < 20000 ? bytes / PAGE / 4 : 20000;

	for (int which = 0; which < 4; which++)
		add((struct cell){ .experiment = FAULT, .in_parent = which < 2, .writes = which % 2 == 0,
				   .pages = pages });
}

static void add_sparse(size_t bytes)
{
	size_t widths[] = { PAGE, 2u << 20, 64u << 20, 256u << 20, bytes };
	size_t amounts[] = { 1, 32, 512, bytes / PAGE / 100, 8192 };

	for (size_t read = 0; read < 2; read++) {
		for (size_t w = 0; w < LENGTH(widths); w++) {
			if (w + 1 < LENGTH(widths) && widths[w] >= bytes)
				continue;
			for (size_t a = 0; a < LENGTH(amounts); a++) {
				bool wanted = !options.quick || (w % 2 == 0 && a < 2) ||
					      (widths[w] == bytes && amounts[a] == bytes / PAGE / 100);
				if (wanted && amounts[a] <= widths[w] / PAGE)
					add((struct cell){ .experiment = SPARSE, .pages = amounts[a],
							   .width = widths[w], .reads_all = read == 1 });
			}
		}
	}
}

void add_cells(enum experiment experiment, size_t bytes)
{
	switch (experiment) {
	case HELD:
		add((struct cell){ .experiment = HELD });
		break;
	case MIX:
		add_mixes();
		break;
	case STEADY:
		add_steady();
		break;
	case CLOSE:
		add_close(bytes);
		break;
	case AFTER:
		add_after();
		break;
	case ALIVE:
		add_alive();
		break;
	case FAULT:
		add_faults(bytes);
		break;
	default:
		add_sparse(bytes);
	}
}
