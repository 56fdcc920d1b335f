/* SPDX-License-Identifier: MIT
 *
 * The picture of odfork bench: a panel for each kind of round, with a logarithmic time axis and the sizes side by side.
 * The legend is below each panel, where it overlaps no other text. The colours follow the viewer's preference for light
 * or dark. */
#include <math.h>

#include "bench.h"
#include "odfork.h"

enum {
	PANEL_WIDTH = 460,
	PANEL_HEIGHT = 360,
	HEAD = 88,
	LEFT = 70,
	RIGHT = 20,
	TOP = 50,
	PLOT_HEIGHT = 210,
	LEGEND = TOP + PLOT_HEIGHT + 46,
	LINE = 18,
	LABEL = 60, /* pixels for the name of a size */
};

/* In each panel the plain way has the same colour and mark, and so has the library's. Marks too, as not everybody can
 * tell the colours apart. */
static size_t line_of(enum bench_way way)
{
	switch ((int)way) {
	case BENCH_PLAIN:
	case BENCH_SPAWNS + SPAWN_BY_FORK:
		return 0;
	case BENCH_REGION:
	case BENCH_SPAWNS + SPAWN_BY_ODF:
		return 1;
	case BENCH_HUGE:
	case BENCH_SPAWNS + SPAWN_BY_LIBC:
		return 2;
	case BENCH_SPAWNS + SPAWN_BY_POOL:
		return 4;
	case BENCH_SPAWNS + SPAWN_BY_POOL_NO_WAIT:
		return 5;
	default:
		return 3;
	}
}

static const char *const classes[] = { "a", "b", "c", "d", "e", "f" };

static const char style[] =
	"<style>text{font:13px "
	"sans-serif;fill:#222}.h{font-size:16px;font-weight:bold}.t{font-weight:bold}.s{fill:#555;font-size:12px}"
	".bg{fill:#fff}.grid{stroke:#ddd}.axis{stroke:#888}.l{fill:none;stroke-width:2}.r{stroke-width:1.5;opacity:.6}"
	".a{stroke:#c0392b;fill:#c0392b}.b{stroke:#0072b2;fill:#0072b2}.c{stroke:#00795a;fill:#00795a}.d{stroke:#"
	"a86a00;fill:#a86a00}"
	".e{stroke:#8e44ad;fill:#8e44ad}.f{stroke:#5d6d1e;fill:#5d6d1e}.l{fill:none!important}"
	"@media(prefers-color-scheme:dark){text{fill:#e6e6e6}.s{fill:#b0b0b0}.bg{fill:#16181d}.grid{stroke:#33373f}."
	"axis{stroke:#777}"
	".a{stroke:#ff7b6b;fill:#ff7b6b}.b{stroke:#5cb8ff;fill:#5cb8ff}.c{stroke:#4fd0a5;fill:#4fd0a5}.d{stroke:#"
	"f0b04a;fill:#f0b04a}"
	".e{stroke:#d39be8;fill:#d39be8}.f{stroke:#c9d66b;fill:#c9d66b}}</style>\n";

static void print_text(const char *text, FILE *to)
{
	for (; *text != '\0'; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", to);
			break;
		case '>':
			fputs("&gt;", to);
			break;
		case '&':
			fputs("&amp;", to);
			break;
		default:
			putc((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f ? '?' : *text, to);
		}
	}
}

/* Whole powers of ten that include all values of the panel. */
struct scale {
	int lowest, highest;
};

static struct scale scale_of(const struct bench *bench, enum bench_what what)
{
	double least = 0, most = 0;
	struct scale scale;

	for (size_t r = 0; r < bench->row_count; r++) {
		const struct bench_row *row = &bench->rows[r];
		if (row->what != what)
			continue;
		least = least == 0 || row->low < least ? row->low : least;
		most = row->high > most ? row->high : most;
	}
	scale.lowest = (int)floor(log10(least > 0.1 ? least : 0.1));
	scale.highest = (int)ceil(log10(most > 0.1 ? most : 0.1));
	if (scale.highest == scale.lowest)
		scale.highest++;
	return scale;
}

static double height(struct scale scale, double us)
{
	double part = (log10(us > 0.1 ? us : 0.1) - scale.lowest) / (scale.highest - scale.lowest);
	return (double)TOP + (double)PLOT_HEIGHT * (1 - part);
}

static double across(const struct bench *bench, size_t size)
{
	return (double)LEFT + (double)(PANEL_WIDTH - LEFT - RIGHT) * ((double)size + 0.5) / (double)bench->size_count;
}

static void plot_axes(const struct bench *bench, struct scale scale, FILE *to)
{
	size_t fit = (PANEL_WIDTH - LEFT - RIGHT) / LABEL, every = (bench->size_count + fit - 1) / fit;
	char text[32];

	for (int power = scale.lowest; power <= scale.highest; power++) {
		double y = height(scale, pow(10, power));
		fprintf(to, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT,
			PANEL_WIDTH - RIGHT, y, y);
		if (power < 0)
			snprintf(text, sizeof text, "%.1f us", pow(10, power));
		else
			snprintf(text, sizeof text, "%.0f %s", pow(10, power % 3),
				 power < 3   ? "us"
				 : power < 6 ? "ms"
					     : "s");
		fprintf(to, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 8, y + 4, text);
	}
	fprintf(to, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT, PANEL_WIDTH - RIGHT,
		TOP + PLOT_HEIGHT, TOP + PLOT_HEIGHT);
	for (size_t s = 0; s < bench->size_count; s += every)
		fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", across(bench, s),
			TOP + PLOT_HEIGHT + 20, bench_amount(text, bench->sizes[s]));
}

/* Each line has its own mark: circle, square, triangle, diamond; for the last two a diagonal and an upright cross. */
static void plot_mark(size_t line, double x, double y, FILE *to)
{
	switch (line) {
	case 0:
		fprintf(to, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>", classes[line], x, y);
		break;
	case 1:
		fprintf(to, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\"/>", classes[line],
			x - 3.5, y - 3.5);
		break;
	case 2:
		fprintf(to, "<path class=\"%s\" d=\"M%.1f %.1fl5 8h-10z\"/>", classes[line], x, y - 5);
		break;
	case 3:
		fprintf(to, "<path class=\"%s\" d=\"M%.1f %.1fl5 5-5 5-5-5z\"/>", classes[line], x, y - 5);
		break;
	case 4:
		fprintf(to, "<path class=\"%s\" stroke-width=\"2\" d=\"M%.1f %.1fl8 8m0-8l-8 8\"/>", classes[line],
			x - 4, y - 4);
		break;
	default:
		fprintf(to, "<path class=\"%s\" stroke-width=\"2\" d=\"M%.1f %.1fv10m-5-5h10\"/>", classes[line], x,
			y - 5);
	}
}

static void plot_line(const struct bench *bench, struct scale scale, enum bench_what what, enum bench_way way, FILE *to)
{
	size_t line = line_of(way);
	const char *class = classes[line];
	bool begun = false;

	fprintf(to, "<path class=\"l %s\" d=\"", class);
	for (size_t s = 0; s < bench->size_count; s++) {
		const struct bench_row *row = bench_find(bench, bench->sizes[s], what, way);
		if (row != NULL)
			fprintf(to, "%c%.1f %.1f", begun ? 'L' : 'M', across(bench, s), height(scale, row->median));
		begun = begun || row != NULL;
	}
	fprintf(to, "\"/>\n");
	for (size_t s = 0; s < bench->size_count; s++) {
		const struct bench_row *row = bench_find(bench, bench->sizes[s], what, way);
		if (row == NULL)
			continue;
		fprintf(to, "<line class=\"r %s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", class,
			across(bench, s), across(bench, s), height(scale, row->low), height(scale, row->high));
		plot_mark(line, across(bench, s), height(scale, row->median), to);
	}
	fprintf(to, "\n");
}

static void plot_panel(const struct bench *bench, enum bench_what what, FILE *to)
{
	struct scale scale = scale_of(bench, what);
	size_t lines = 0;

	fprintf(to,
		"<g transform=\"translate(%d,%d)\">\n<text class=\"t\" x=\"%d\" y=\"16\">%s</text><text class=\"s\" "
		"x=\"%d\" y=\"34\">%s</text>\n",
		(int)what % 2 * PANEL_WIDTH, HEAD + (int)what / 2 * PANEL_HEIGHT, LEFT, bench_what_titles[what], LEFT,
		bench_what_measures[what]);
	plot_axes(bench, scale, to);
	for (enum bench_way way = 0; way < BENCH_WAYS; way++) {
		bool measured = false;
		size_t row = lines / 2;
		for (size_t s = 0; s < bench->size_count; s++)
			measured = measured || bench_find(bench, bench->sizes[s], what, way) != NULL;
		if (!measured)
			continue;
		plot_line(bench, scale, what, way, to);
		plot_mark(line_of(way), (double)(LEFT + 6) + (double)(lines % 2) * 195,
			  (double)LEGEND + (double)row * (double)LINE - 4, to);
		fprintf(to, "<text x=\"%zu\" y=\"%zu\">%s</text>\n", LEFT + 18 + lines % 2 * 195, LEGEND + row * LINE,
			bench_way_text(way));
		lines++;
	}
	fprintf(to, "</g>\n");
}

void bench_plot(const struct bench *bench, FILE *to)
{
	int width = 2 * PANEL_WIDTH, tall = HEAD + 2 * PANEL_HEIGHT;

	fprintf(to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
		"role=\"img\">\n",
		width, tall, width, tall);
	fprintf(to, "<title>odfork bench: forks and programs started, by memory of the process</title>\n%s", style);
	fprintf(to,
		"<rect class=\"bg\" width=\"%d\" height=\"%d\"/>\n<text class=\"h\" x=\"20\" y=\"26\">odfork %s: forks "
		"and programs started, by memory "
		"of the process</text>\n<text class=\"s\" x=\"20\" y=\"46\">Linux ",
		width, tall, odf_version());
	print_text(bench->kernel, to);
	fprintf(to, ", %ld processors, %.1f GiB, ", bench->processors, bench->memory_gib);
	print_text(bench->libc, to);
	fprintf(to,
		", %s, load %.1f before and %.1f after</text>\n<text class=\"s\" x=\"20\" y=\"64\">Medians; within the "
		"thin bars "
		"are half of the samples.</text>\n",
		bench->date, bench->load_before, bench->load_after);
	for (enum bench_what what = 0; what < BENCH_WHATS; what++)
		plot_panel(bench, what, to);
	fprintf(to, "</svg>\n");
}
