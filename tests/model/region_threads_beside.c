/* SPDX-License-Identifier: MIT
 *
 * Threads of test_region_threads that work beside the writers: they map memory, create and destroy regions and threads,
 * and query regions.
 */
#include "region_threads.h"

void *spin(void *unused)
{
	volatile uint64_t value = 0;

	(void)unused;
	while (!stop) {
		for (int i = 0; i < 100000; i++)
			value = value + 1;
		if (load_rests())
			usleep(5000);
	}
	return NULL;
}

/* No mapping of the test may ever be placed where a region is. */
static void check_place(uint64_t *random)
{
	int r = (int)below(random, REGIONS);
	void *wanted = regions[r].base + below(random, regions[r].pages) * PAGE;
	void *got = mmap(wanted, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			 0);

	if (got == wanted)
		failure("foreign memory can be mapped into region %d, at %p", r, wanted);
	else if (got != MAP_FAILED)
		munmap(got, PAGE);
}

/* Maps and unmaps other memory all the time: if the library unmaps something by mistake, it hits memory that is
 * checked. */
void *map_always(void *unused)
{
	static const size_t sizes[] = { 1, 1, 2, 3, 16, 17, 511, 512, 513, 1024, 2048 };
	struct {
		unsigned char *memory;
		size_t pages;
		uint64_t tag;
	} ring[MAPPINGS];
	uint64_t random = 9, tag = 0;

	(void)unused;
	memset(ring, 0, sizeof ring);
	while (!stop && outcome->failures == 0) {
		size_t i = below(&random, MAPPINGS), step;
		check_place(&random);
		if (ring[i].memory != NULL) {
			for (size_t page = 0; page < ring[i].pages; page++) {
				uint64_t is = *(volatile uint64_t *)(void *)(ring[i].memory + page * PAGE +
									     8 * (page % 512));
				/* Most pages of the larger mappings were never touched. */
				step = ring[i].pages > 100 ? 61 : 1;
				if (is != (page % step == 0 ? ring[i].tag + page : 0))
					failure("foreign memory at %p+%zu pages was changed to %016" PRIx64,
						(void *)ring[i].memory, page, is);
				if (step > 1)
					page += step - 1;
			}
			munmap(ring[i].memory, ring[i].pages * PAGE);
		}
		ring[i].pages = sizes[below(&random, sizeof sizes / sizeof *sizes)];
		ring[i].tag = tag += 1ull << 32;
		ring[i].memory = mmap(NULL, ring[i].pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				      -1, 0);
		if (ring[i].memory == MAP_FAILED) {
			failure("mmap: %s", strerror(errno));
			break;
		}
		for (int r = 0; r < REGIONS; r++)
			if (ring[i].memory < regions[r].base + regions[r].pages * PAGE &&
			    ring[i].memory + ring[i].pages * PAGE > regions[r].base)
				failure("foreign memory at %p lies in region %d", (void *)ring[i].memory, r);
		step = ring[i].pages > 100 ? 61 : 1;
		for (size_t page = 0; page < ring[i].pages; page += step) {
			volatile uint64_t *word = (volatile uint64_t *)(void *)(ring[i].memory + page * PAGE +
										8 * (page % 512));
			if (*word != 0)
				failure("new foreign memory at %p is not zeros", (void *)ring[i].memory);
			*word = ring[i].tag + page;
		}
		mappings++;
		if (below(&random, 16) == 0)
			usleep(200);
	}
	for (size_t i = 0; i < MAPPINGS; i++)
		if (ring[i].memory != NULL && ring[i].memory != MAP_FAILED)
			munmap(ring[i].memory, ring[i].pages * PAGE);
	return NULL;
}

/* Creates and destroys regions. */
void *churn_always(void *unused)
{
	uint64_t random = 13;

	(void)unused;
	while (!stop && outcome->failures == 0) {
		size_t pages = 1 + below(&random, below(&random, 4) == 0 ? 1100 : 20), words = pages * PAGE / 8;
		odf_region *region = odf_region_create(pages * PAGE, below(&random, 2) == 0 ? ODF_REGION_MANUAL : 0);
		uint64_t *base, tag = random;
		if (region == NULL) {
			failure("odf_region_create: %s", strerror(errno));
			break;
		}
		base = odf_region_base(region);
		for (int turn = 0; turn < 4; turn++) {
			for (size_t i = 0; i < words; i += 200)
				if (__atomic_exchange_n(&base[i], tag + (uint64_t)turn + i, __ATOMIC_RELAXED) !=
				    (turn == 0 ? 0 : tag + (uint64_t)turn - 1 + i))
					failure("a young region lost word %zu", i);
			usleep((useconds_t)below(&random, 2000));
		}
		if (odf_region_destroy(region) != 0)
			failure("odf_region_destroy");
		churned++;
	}
	return NULL;
}

static void check_info(int r, odf_region_info *last)
{
	odf_region_info now = ODF_REGION_INFO_INIT;
	int error = odf_region_info_get(regions[r].region, &now);
	bool fine = error == 0 && now.capacity == regions[r].pages * PAGE && now.live_bytes <= now.capacity &&
		    now.private_bytes <= now.capacity &&
		    (now.state == ODF_REGION_LIVE || now.state == ODF_REGION_FROZEN ||
		     now.state == ODF_REGION_SETTLING) &&
		    (now.state != ODF_REGION_LIVE || now.live_bytes == now.capacity) && now.freezes >= last->freezes &&
		    now.settles >= last->settles && now.interrupted >= last->interrupted && now.steps >= last->steps &&
		    now.merged_pages >= last->merged_pages && now.settles <= now.freezes &&
		    now.longest_pause_ns >= last->longest_pause_ns;

	if (!fine)
		failure("region %d says of itself: error %d, state %d, live %zu, private %zu, resident %zu, freezes "
			"%" PRIu64 " (%" PRIu64 " before), settles %" PRIu64 " (%" PRIu64 "), steps %" PRIu64
			", merged %" PRIu64,
			r, error, now.state, now.live_bytes, now.private_bytes, now.resident_bytes, now.freezes,
			last->freezes, now.settles, last->settles, now.steps, now.merged_pages);
	*last = now;
}

/* Queries the regions, and where the keeper works in the background also asks it to settle. */
void *watch_always(void *unused)
{
	odf_region_info last[REGIONS];
	uint64_t random = 17;

	(void)unused;
	memset(last, 0, sizeof last);
	while (!stop && outcome->failures == 0) {
		int r = (int)below(&random, REGIONS);
		check_info(r, &last[r]);
		if (last[r].settling == ODF_REGION_SETTLES_ALWAYS && below(&random, 8) == 0) {
			int error = odf_region_settle(regions[r].region);
			if (error != 0 && error != EBUSY && error != EAGAIN)
				failure("odf_region_settle: %s", strerror(error));
			settle_calls++;
		}
		usleep((useconds_t)below(&random, 5000));
	}
	return NULL;
}
