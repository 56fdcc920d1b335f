/* SPDX-License-Identifier: MIT
 *
 * Operations of test_region_model: the program and the kernel write, read and discard bytes.
 */
#include "region_model.h"

void write_words(struct region *r)
{
	for (size_t i = 1 + below(12); i > 0; i--) {
		size_t page = draw_page(r), at = page * PAGE + below(PAGE - 7), size = one_in(3) ? 8 : 1 + below(8);
		uint64_t value = draw();
		touch(r, page, 1);
		memcpy(r->base + at, &value, size);
		memcpy(r->shadow + at, &value, size);
	}
}

void write_run(struct region *r)
{
	size_t page = draw_page(r), run = draw_run(r, page, 1300);
	uint64_t tag = draw();

	if (self.page_budget < 0)
		run = 1;
	touch(r, page, run);
	note("write %d: pages %zu+%zu", number_of(r), page, run);
	for (size_t p = page; p < page + run; p++) {
		size_t from = p == page && one_in(2) ? below(PAGE) : 0,
		       to = p == page + run - 1 && one_in(2) ? from + below(PAGE - from) : PAGE;
		memset(r->base + p * PAGE + from, (int)(tag + p), to - from);
		memset(r->shadow + p * PAGE + from, (int)(tag + p), to - from);
		if (from == 0 && to == PAGE)
			for (size_t word = 0; word < PAGE; word += 1 + (size_t)(tag & 1023)) {
				r->base[p * PAGE + word] ^= (unsigned char)(tag >> 16);
				r->shadow[p * PAGE + word] ^= (unsigned char)(tag >> 16);
			}
	}
}

void add_words(struct region *r)
{
	for (size_t i = 1 + below(8); i > 0; i--) {
		size_t page = draw_page(r), at = page * PAGE + below(PAGE / 8) * 8;
		uint64_t value = draw(), was, must;
		touch(r, page, 1);
		was = __atomic_fetch_add((uint64_t *)(void *)(r->base + at), value, __ATOMIC_RELAXED);
		must = __atomic_fetch_add((uint64_t *)(void *)(r->shadow + at), value, __ATOMIC_RELAXED);
		if (was != must)
			failure("region %d: an atomic addition at %#zx found %016" PRIx64 ", must be %016" PRIx64,
				number_of(r), at, was, must);
	}
}

/* Draws a range of up to three pages. */
static size_t draw_span(struct region *r, size_t *length)
{
	size_t page = draw_page(r), at = page * PAGE + below(PAGE), left = r->pages * PAGE - at;

	*length = 1 + below(one_in(2) ? 64 : RUN_BUFFER);
	if (*length > left)
		*length = left;
	touch(r, page, (at + *length - 1) / PAGE - page + 1);
	return at;
}

static void through_pipe(const void *from, void *to, size_t length)
{
	int fds[2];
	ssize_t sent, received = 0;

	if (pipe2(fds, O_CLOEXEC) != 0)
		failure("pipe2: %s", strerror(errno));
	sent = write(fds[1], from, length);
	if (sent == (ssize_t)length)
		received = read(fds[0], to, length);
	if (sent != (ssize_t)length || received != (ssize_t)length)
		failure("a pipe took %zd and gave %zd of %zu bytes: %s", sent, received, length, strerror(errno));
	close(fds[0]);
	close(fds[1]);
}

/* The kernel writes into the region. */
void kernel_writes(struct region *r)
{
	static unsigned char bytes[RUN_BUFFER];
	size_t length, at = draw_span(r, &length);
	uint64_t value = draw(), how = below(3);

	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)(value >> i % 8 * 8) ^ (unsigned char)i;
	if (how == 0) {
		through_pipe(bytes, r->base + at, length);
	} else if (how == 1) {
		struct iovec to = { r->base + at, length }, from = { bytes, length };
		ssize_t count = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
		if (count < 0 && (errno == EPERM || errno == ENOSYS))
			through_pipe(bytes, r->base + at, length); /* a sandbox refuses the call */
		else if (count != (ssize_t)length)
			failure("process_vm_readv into region %d gave %zd of %zu: %s", number_of(r), count, length,
				strerror(errno));
	} else {
		if (length > 256)
			length = 256;
		/* The raw call: libc's getrandom may not enter the kernel. */
		if (syscall(SYS_getrandom, r->base + at, length, 0) != (ssize_t)length)
			failure("getrandom into region %d: %s", number_of(r), strerror(errno));
		memcpy(bytes, r->base + at, length);
	}
	memcpy(r->shadow + at, bytes, length);
}

void kernel_reads(struct region *r)
{
	static unsigned char bytes[RUN_BUFFER];
	size_t length, at = draw_span(r, &length);

	through_pipe(r->base + at, bytes, length);
	for (size_t i = 0; i < length; i++)
		if (bytes[i] != r->shadow[at + i])
			failure("region %d: the kernel reads %02x at %#zx, must be %02x", number_of(r), bytes[i],
				at + i, r->shadow[at + i]);
}

void compare_some(const struct region *r)
{
	for (size_t i = 1 + below(16); i > 0; i--)
		compare_page(r, draw_page(r));
}

void discard(struct region *r)
{
	size_t page = draw_page(r), run = one_in(12) ? r->pages - page : draw_run(r, page, 2000);
	size_t length = run * PAGE - (one_in(3) ? below(PAGE) : 0);
	int error;

	note("discard %d: pages %zu+%zu", number_of(r), page, run);
	error = odf_region_discard(r->handle, r->base + page * PAGE, length);
	if (error != 0)
		failure("odf_region_discard of %zu pages from page %zu of region %d (%s): %s", run, page, number_of(r),
			state_name(info_of(r->handle).state), strerror(error));
	if (run < 16)
		memset(r->shadow + page * PAGE, 0, run * PAGE);
	else
		madvise(r->shadow + page * PAGE, run * PAGE, MADV_DONTNEED);
	for (size_t p = page; p < page + run && p < page + 8; p++)
		touch(r, p, 1);
	totals->discards++;
}

/* Discards adjacent ranges, and writes to each in between, so that the kernel does not merge the mappings. */
void discard_patchwork(struct region *r)
{
	size_t page = draw_page(r), patch = 6 + below(6);

	for (size_t i = 1 + below(8); i > 0 && page + patch <= r->pages; i--, page += patch + (one_in(4) ? 1 : 0)) {
		size_t at = page * PAGE + below(patch * PAGE);
		int error = odf_region_discard(r->handle, r->base + page * PAGE, patch * PAGE);
		if (error != 0)
			failure("odf_region_discard: %s", strerror(error));
		memset(r->shadow + page * PAGE, 0, patch * PAGE);
		touch(r, page, patch);
		if (one_in(4))
			continue;
		r->base[at] = r->shadow[at] = (unsigned char)draw();
	}
	totals->discards++;
}

void refused(struct region *r)
{
	size_t size = r->pages * PAGE;
	const int got[] = {
		odf_region_discard(r->handle, r->base + 1, 1),
		odf_region_discard(r->handle, r->base + size, 1),
		odf_region_discard(r->handle, r->base, size + 1),
		odf_region_discard(r->handle, r->base - PAGE, PAGE),
		odf_region_discard(r->handle, r->base, SIZE_MAX),
	};

	for (size_t i = 0; i < sizeof got / sizeof *got; i++)
		if (got[i] != EINVAL)
			failure("wrong discard %zu gives %s", i, strerror(got[i]));
}
