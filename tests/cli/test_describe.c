/* SPDX-License-Identifier: MIT
 * What odfork run --log says about the heap on machines and for programs that the tests do not have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/cli/describe.h"

static void expect(const struct findings *findings, const char *text)
{
	char *said = NULL;
	size_t length;
	FILE *to = open_memstream(&said, &length);

	assert_non_null(to);
	describe_heap(to, "./app", findings);
	fclose(to);
	assert_string_equal(said, text);
	free(said);
}

#define APP "odfork: run: ./app: "

static void test_no_heap(void **unused)
{
	struct allocator allocator = { .kind = ALLOCATOR_LIBC };
	struct findings findings = {
		.by_kernel = true, .settles = true, .threshold = 32 << 20, .allocator = &allocator,
	};

	(void)unused;
	expect(&findings, APP "no heap: the kernel's on-demand fork needs none\n");
	findings.heap = SETTINGS_HEAP_OFF;
	expect(&findings, APP "no heap: ODFORK_HEAP=off\n");
	findings.heap = SETTINGS_HEAP_ON;
	findings.by_kernel = true; /* who asks for a heap gets one */
	findings.region = ODF_REASON_REGION_NO_REMAP;
	expect(&findings,
	       APP "no heap: this kernel cannot move a shared mapping and leave its place mapped (Linux 5.13)\n");
	findings.region = ODF_REASON_REGION_OVERCOMMIT;
	expect(&findings, APP "no heap: strict overcommit: the memory of a region cannot be promised\n");
}

static void test_allocators(void **unused)
{
	struct allocator allocator = { .kind = ALLOCATOR_LIBC, .where = "/lib/libc.so.6" };
	struct findings findings = { .settles = true, .threshold = 32 << 20, .allocator = &allocator };

	(void)unused;
	expect(&findings, APP "its malloc is libc's: once it has grown past 32 MiB, what that has is in regions where "
			      "it lies, as other memory is\n");
	findings.heap = SETTINGS_HEAP_ON;
	expect(&findings, APP
	       "its malloc is libc's: from the start, what that has is in regions where it lies, as other memory is\n");
	allocator = (struct allocator){ .kind = ALLOCATOR_OTHER, .where = "/lib/libjemalloc.so.2" };
	expect(&findings, APP "its malloc is jemalloc's (/lib/libjemalloc.so.2): from the start, what that maps is in "
			      "regions where it lies\n");
	allocator = (struct allocator){ .kind = ALLOCATOR_OTHER, .where = "libtcmalloc_minimal.so.4" };
	expect(&findings, APP "its malloc is tcmalloc's (libtcmalloc_minimal.so.4): from the start, what that maps is "
			      "in regions where it lies\n");
	allocator = (struct allocator){ .kind = ALLOCATOR_OTHER, .where = "/app" };
	findings.threshold = 48 << 20;
	findings.heap = SETTINGS_HEAP_AUTO;
	expect(&findings, APP "its malloc is one of its own (/app): once it has grown past 48 MiB, what that maps is "
			      "in regions where it lies\n");
	allocator = (struct allocator){ .kind = ALLOCATOR_UNKNOWN };
	expect(&findings, APP
	       "its malloc is not known: once it has grown past 48 MiB, what it maps is in regions where it lies\n");
}

static void test_settling(void **unused)
{
	struct allocator allocator = { .kind = ALLOCATOR_OTHER, .where = "/app" };
	struct findings findings = { .threshold = 32 << 20, .allocator = &allocator };

	(void)unused;
	expect(&findings, APP "its malloc is one of its own (/app): once it has grown past 32 MiB, what that maps is "
			      "in regions where it lies\n" APP
			      "userfaultfd may not be used here: no heap if the program has several threads by then\n");
	findings.heap = SETTINGS_HEAP_ON;
	expect(&findings, APP
	       "its malloc is one of its own (/app): from the start, what that maps is in regions where it lies\n" APP
	       "userfaultfd may not be used here: if the program has several threads, only its first fork is fast\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_heap),
		cmocka_unit_test(test_allocators),
		cmocka_unit_test(test_settling),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
