/* SPDX-License-Identifier: MIT
 *
 * The regions of a process of test_region_model: their contents, what the library says about them, and how they are
 * made and destroyed.
 */
#include "region_model.h"

struct totals *totals;

struct board *board;

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

struct process self;

bool trace;

void draw_from_step(unsigned step)
{
	uint64_t value = mix(self.seed);

	for (const char *c = self.path; *c != '\0'; c++)
		value = mix(value ^ (unsigned char)*c);
	self.random = mix(value ^ (uint64_t)step << 8);
}

/* Ends this process, which fails the whole seed. */
__attribute__((noreturn, format(printf, 1, 2))) void failure(const char *format, ...)
{
	va_list arguments;
	int nobody = 0, length;

	if (atomic_compare_exchange_strong(&board->failed, &nobody, 1)) {
		length = snprintf(board->text, sizeof board->text, "seed %" PRIu64 " process %s step %u: ", self.seed,
				  self.path, self.step);
		va_start(arguments, format);
		vsnprintf(board->text + length, sizeof board->text - (size_t)length, format, arguments);
		va_end(arguments);
		board->told = true;
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
	length = snprintf(line, sizeof line, "# %s@%u ", self.path, self.step);
	va_start(arguments, format);
	vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
	va_end(arguments);
	dprintf(2, "%s\n", line);
}

const char *state_name(odf_region_state state)
{
	static const char *const names[] = { "LIVE", "FROZEN", "SETTLING", "INHERITED", "ABSENT" };

	return (unsigned)state < 5 ? names[state] : "unknown";
}

odf_region_info info_of(const odf_region *region)
{
	odf_region_info info = ODF_REGION_INFO_INIT;
	int error = odf_region_info_get(region, &info);

	if (error != 0)
		failure("odf_region_info_get: %s", strerror(error));
	return info;
}

int number_of(const struct region *r)
{
	return (int)(r - self.regions);
}

/* ---- Comparing --------------------------------------------------------------------------------------------------- */

__attribute__((noreturn)) static void mismatch(const struct region *r, size_t page)
{
	const unsigned char *is = r->base + page * PAGE, *must = r->shadow + page * PAGE;
	odf_region_info info = info_of(r->handle);
	size_t first = PAGE, count = 0;
	uint64_t value, wanted;

	for (size_t i = 0; i < PAGE; i++)
		if (is[i] != must[i]) {
			first = count == 0 ? i : first;
			count++;
		}
	if (count == 0)
		failure("region %d: page %zu of %zu changed while it was compared (%s)", number_of(r), page, r->pages,
			state_name(info.state));
	first &= ~(size_t)7;
	memcpy(&value, is + first, 8);
	memcpy(&wanted, must + first, 8);
	failure("region %d (%zu pages at %p, %s, %s): offset %#zx (page %zu) is %016" PRIx64 ", must be %016" PRIx64
		"; %zu bytes of the page differ; freezes %" PRIu64 " settles %" PRIu64 " interrupted %" PRIu64
		" merged %" PRIu64,
		number_of(r), r->pages, (void *)r->base, r->owned ? "own" : "inherited", state_name(info.state),
		page * PAGE + first, page, value, wanted, count, info.freezes, info.settles, info.interrupted,
		info.merged_pages);
}

void compare_page(const struct region *r, size_t page)
{
	if (memcmp(r->base + page * PAGE, r->shadow + page * PAGE, PAGE) != 0)
		mismatch(r, page);
	atomic_fetch_add_explicit(&totals->compared, 1, memory_order_relaxed);
}

static bool is_touched(const struct region *r, size_t page)
{
	return r->blocks[page / BLOCK] != 0 && (r->touched[page / 64] >> page % 64 & 1) != 0;
}

void touch(struct region *r, size_t page, size_t count)
{
	for (size_t p = page; p < page + count; p++) {
		if (!is_touched(r, p))
			self.page_budget--;
		r->blocks[p / BLOCK] = 1;
		r->touched[p / 64] |= 1ul << p % 64;
	}
}

/* Compares all that was ever touched, and some of the rest, which must be zero. */
void compare_region(const struct region *r)
{
	for (size_t block = 0; block * BLOCK < r->pages; block++) {
		if (!r->blocks[block])
			continue;
		for (size_t word = block * BLOCK / 64; word < (block + 1) * BLOCK / 64; word++)
			for (uint64_t bits = r->touched[word]; bits != 0; bits &= bits - 1)
				compare_page(r, word * 64 + (size_t)__builtin_ctzl(bits));
	}
	for (size_t i = 0; i < 16 && i < r->pages; i++)
		compare_page(r, r->pages <= 16 ? i : below(r->pages));
}

void compare_all(void)
{
	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
		if (r->handle != NULL)
			compare_region(r);
}

/* ---- What the library says about a region ------------------------------------------------------------------------ */

void check_info(struct region *r)
{
	odf_region_info now = info_of(r->handle), *last = &r->last;
	size_t capacity = r->pages * PAGE, whole_blocks = (r->pages + BLOCK - 1) / BLOCK * BLOCK * PAGE;
	bool fine = now.capacity == capacity && now.size == sizeof now &&
		    (unsigned)now.settling <= ODF_REGION_SETTLES_NEVER;

	switch (now.state) {
	case ODF_REGION_LIVE:
		fine = fine && r->owned && now.live_bytes == capacity && now.private_bytes == 0;
		break;
	case ODF_REGION_FROZEN:
		fine = fine && r->owned && now.live_bytes == 0 && now.freezes > 0;
		break;
	case ODF_REGION_SETTLING:
		/* A settle makes whole page tables LIVE, which may extend beyond the capacity. */
		fine = fine && r->owned && now.live_bytes <= capacity && now.freezes > 0;
		break;
	case ODF_REGION_INHERITED:
		fine = fine && !r->owned && now.live_bytes == 0 && now.resident_bytes == 0;
		break;
	default:
		fine = false;
	}
	/* The file may use 2 MiB pages. */
	fine = fine && now.resident_bytes <= whole_blocks && now.private_bytes <= capacity &&
	       now.settles <= now.freezes && now.interrupted <= now.freezes &&
	       now.longest_pause_ns >= now.last_pause_ns;
	fine = fine && now.freezes >= last->freezes && now.settles >= last->settles &&
	       now.interrupted >= last->interrupted && now.steps >= last->steps &&
	       now.merged_pages >= last->merged_pages && now.longest_pause_ns >= last->longest_pause_ns;
	if (!fine)
		failure("region %d (%s, %zu pages) says of itself: %s, settling %d, capacity %zu, live %zu, resident "
			"%zu, "
			"private %zu, freezes %" PRIu64 " (%" PRIu64 " before), settles %" PRIu64 " (%" PRIu64
			"), interrupted %" PRIu64 " (%" PRIu64 "), steps %" PRIu64 " (%" PRIu64 "), merged %" PRIu64
			" (%" PRIu64 "), pause %" PRIu64 " longest %" PRIu64 " (%" PRIu64 ")",
			number_of(r), r->owned ? "own" : "inherited", r->pages, state_name(now.state), now.settling,
			now.capacity, now.live_bytes, now.resident_bytes, now.private_bytes, now.freezes, last->freezes,
			now.settles, last->settles, now.interrupted, last->interrupted, now.steps, last->steps,
			now.merged_pages, last->merged_pages, now.last_pause_ns, now.longest_pause_ns,
			last->longest_pause_ns);
	*last = now;
}

void count_for_totals(const struct region *r)
{
	odf_region_info info;

	if (!r->owned)
		return;
	info = info_of(r->handle);
	totals->kernel_settles += info.settles;
	totals->interrupted += info.interrupted;
	totals->merged += info.merged_pages;
}

/* Whether a process that was forked from this one, directly or not, may still live. */
static bool has_descendants(void)
{
	int used = board->used < MAX_PROCESSES ? board->used : MAX_PROCESSES;

	for (int i = 0; i < used; i++) {
		int above = board->entries[i].parent;
		if (board->entries[i].gone)
			continue;
		while (above >= 0 && above != self.entry)
			above = board->entries[above].parent;
		if (above == self.entry)
			return true;
	}
	return false;
}

void settle(struct region *r)
{
	/* The vfork child of a killed descendant may keep its memory for a moment. */
	for (int patience = 10000;; patience--) {
		bool alone = !has_descendants();
		int error = odf_region_settle(r->handle);
		odf_region_info info = info_of(r->handle);
		if (error == 0) {
			if (info.state != (r->owned ? ODF_REGION_LIVE : ODF_REGION_INHERITED))
				failure("region %d is %s after odf_region_settle", number_of(r),
					state_name(info.state));
			totals->settles++;
			return;
		}
		if (error == ENOTSUP && info.settling == ODF_REGION_SETTLES_NEVER && r->owned)
			return;
		if (error != EBUSY || !r->owned)
			failure("region %d (%s, %s): odf_region_settle: %s", number_of(r),
				r->owned ? "own" : "inherited", state_name(info.state), strerror(error));
		totals->busy++;
		if (!alone || board->failed)
			return;
		if (patience == 0)
			failure("region %d: odf_region_settle finds a descendant though all are gone", number_of(r));
		usleep(1000);
	}
}

/* ---- Making and destroying regions ------------------------------------------------------------------------------- */

static size_t draw_pages(void)
{
	switch (below(16)) {
	case 0:
	case 1:
	case 2:
		return 1 + below(8);
	case 3:
	case 4:
	case 5:
		return 1 + below(40);
	case 6:
	case 7:
	case 8:
		return 1 + below(1100);
	case 9:
		return BLOCK << below(4);
	case 10:
		return (BLOCK << below(4)) + 1;
	case 11:
	case 12:
	case 13:
		return 1 + below(16384); /* 64 MiB */
	default:
		return (1u << 18) + below(1u << 21); /* 1 to 9 GiB */
	}
}

void create(struct region *r)
{
	size_t bytes, block_count, bitmap;
	void *memory;

	memset(r, 0, sizeof *r);
	r->pages = draw_pages();
	bytes = r->pages * PAGE - (one_in(4) ? below(PAGE) : 0);
	r->handle = odf_region_create(bytes, one_in(4) ? ODF_REGION_MANUAL : 0);
	if (r->handle == NULL)
		failure("odf_region_create(%zu): %s", bytes, strerror(errno));
	r->base = odf_region_base(r->handle);
	r->owned = true;
	if ((uintptr_t)r->base % PAGE != 0 || odf_region_capacity(r->handle) != r->pages * PAGE)
		failure("a region of %zu bytes is at %p with capacity %zu", bytes, (void *)r->base,
			odf_region_capacity(r->handle));
	block_count = (r->pages + BLOCK - 1) / BLOCK;
	bitmap = block_count * BLOCK / 8;
	r->aside_size = bitmap + block_count;
	r->shadow = mmap(NULL, r->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			 0);
	memory = mmap(NULL, r->aside_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->shadow == MAP_FAILED || memory == MAP_FAILED)
		failure("no memory for the shadow of %zu pages", r->pages);
	madvise(r->shadow, r->pages * PAGE, MADV_NOHUGEPAGE);
	r->touched = memory;
	r->blocks = (unsigned char *)memory + bitmap;
	/* The first, the last, both sides of a border of page tables (whether or not the base is aligned to one), and
	 * any other. */
	for (size_t i = 0; i < HOT; i++) {
		size_t page = below(r->pages);
		if (i == 0)
			page = 0;
		if (i == 1)
			page = r->pages - 1;
		if (i >= 2 && i < 6)
			page = page / BLOCK * BLOCK - (i % 2);
		r->hot[i] = page < r->pages ? page : r->pages - 1;
	}
	totals->created++;
	note("create %d: %zu pages at %p", number_of(r), r->pages, (void *)r->base);
}

void destroy(struct region *r)
{
	int error;

	count_for_totals(r);
	error = odf_region_destroy(r->handle);
	if (error != 0)
		failure("odf_region_destroy: %s", strerror(error));
	munmap(r->shadow, r->pages * PAGE);
	munmap(r->touched, r->aside_size);
	r->handle = NULL;
	totals->destroyed++;
}

struct region *draw_region(void)
{
	struct region *there[MAX_REGIONS];
	size_t count = 0;

	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
		if (r->handle != NULL)
			there[count++] = r;
	return count == 0 ? NULL : there[below(count)];
}

/* ---- Touching memory --------------------------------------------------------------------------------------------- */

size_t draw_page(const struct region *r)
{
	size_t page = r->hot[below(HOT)];

	switch (below(8)) {
	case 0:
		return below(r->pages);
	case 1:
	case 2:
		page += below(8);
		return page < r->pages ? page : r->pages - 1;
	default:
		return page;
	}
}

/* Draws the length of a run of pages that begins at `page`. */
size_t draw_run(const struct region *r, size_t page, size_t most)
{
	size_t run = 1 + below(one_in(8) ? most : one_in(2) ? 40 : 4), left = r->pages - page;

	return run < left ? run : left;
}
