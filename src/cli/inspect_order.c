/* SPDX-License-Identifier: MIT
 *
 * How the pages of a range are placed in physical memory. A fork increments a counter of each page, in a kernel array
 * in physical order. For adjacent pages the processor prefetches it; else each page is a cache miss. The kernel shows
 * the placement to a process with CAP_SYS_ADMIN (/proc/PID/pagemap).
 */
#include <unistd.h>

#include "inspect.h"

#define PIECE 512 /* entries in one read */
#define PIECES 512 /* of one range, evenly spread */
#define MOST ((uint64_t)4 << 20) /* entries of one process */
#define RUN_LEAST 8 /* this many adjacent pages, ascending or descending, are in order */
#define PRESENT (UINT64_C(1) << 63)
#define FRAME_MASK ((UINT64_C(1) << 55) - 1)

static void end_run(struct inspect_order *order, uint64_t length)
{
	if (length >= RUN_LEAST)
		order->in_order += length;
	else
		order->scattered += length;
}

static void look_at(struct inspect_order *order, const uint64_t *entries, size_t count)
{
	uint64_t before = 0, length = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t frame = entries[i] & PRESENT ? entries[i] & FRAME_MASK : 0;
		if (frame != 0 && length > 0 && (frame == before + 1 || frame + 1 == before)) {
			length++;
		} else {
			end_run(order, length);
			length = frame != 0;
		}
		before = frame;
	}
	end_run(order, length);
}

void inspect_order_add(struct inspect_order *order, uint64_t start, uint64_t end)
{
	uint64_t entries[PIECE], pages = (end - start) / 4096, step = pages / PIECES / PIECE * PIECE;

	if (step == 0)
		step = PIECE;
	for (uint64_t at = 0; order->pagemap >= 0 && at < pages && order->looked_at < MOST; at += step) {
		uint64_t count = pages - at < PIECE ? pages - at : PIECE;
		ssize_t got = pread(order->pagemap, entries, count * sizeof *entries,
				    (off_t)((start / 4096 + at) * sizeof *entries));
		if (got <= 0)
			return;
		look_at(order, entries, (size_t)got / sizeof *entries);
		order->looked_at += count;
	}
}

double inspect_order_scattered(const struct inspect_order *order)
{
	uint64_t all = order->scattered + order->in_order;

	return all == 0 ? -1 : (double)order->scattered / (double)all;
}
