/* SPDX-License-Identifier: MIT
 *
 * Text in fixed-size buffers, structures across versions, reports as text.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/sys/structure.h"
#include "../../src/sys/text.h"
#include "../support/support.h"

static void test_numbers(void **state)
{
	static const int64_t values[] = { 0, 1, -1, 9, 10, 4096, -4096, INT64_MAX, INT64_MIN };
	char buffer[64], expected[64];

	(void)state;
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		struct text text = text_start(buffer, sizeof buffer);
		text_add_signed(&text, values[i]);
		text_add(&text, " ");
		text_add_unsigned(&text, (uint64_t)values[i]);
		snprintf(expected, sizeof expected, "%lld %llu", (long long)values[i], (unsigned long long)values[i]);
		assert_string_equal(buffer, expected);
	}
}

static void test_microseconds(void **state)
{
	char buffer[64];
	struct text text = text_start(buffer, sizeof buffer);

	(void)state;
	text_add_microseconds(&text, 88123);
	text_add(&text, " ");
	text_add_microseconds(&text, 99);
	text_add(&text, " ");
	text_add_microseconds(&text, 1000000000);
	assert_string_equal(buffer, "88.1 0.0 1000000.0");
}

/* For any size the text is a prefix, the NUL is there, the returned length is that of the whole text, and nothing
 * beyond is written. */
static void test_truncation(void **state)
{
	static const char whole[] = "a strategy was chosen";

	(void)state;
	for (size_t size = 0; size < sizeof whole + 3; size++) {
		char buffer[64];
		struct text text;
		memset(buffer, '#', sizeof buffer);
		text = text_start(buffer, size);
		text_add(&text, "a strategy ");
		text_add(&text, "was chosen");
		assert_int_equal(text.length, sizeof whole - 1);
		assert_int_equal(buffer[size], '#');
		if (size > 0) {
			size_t kept = size - 1 < sizeof whole - 1 ? size - 1 : sizeof whole - 1;
			assert_int_equal(strlen(buffer), kept);
			assert_memory_equal(buffer, whole, kept);
		}
	}
}

static void must_escape(const char *string, const char *expected)
{
	char buffer[256];
	struct text text = text_start(buffer, sizeof buffer);

	text_add_json(&text, string);
	assert_string_equal(buffer, expected);
}

static void test_json(void **state)
{
	(void)state;
	must_escape("/bin/true", "/bin/true");
	must_escape("a\"b\\c", "a\\\"b\\\\c");
	must_escape("tab\tline\nbell\a del\x7f", "tab\\u0009line\\u000abell\\u0007 del\\u007f");
	must_escape("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7",
		    "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7");
	must_escape("latin \xfc", "latin \\ufffd");
	must_escape("cut \xe2\x82", "cut \\ufffd\\ufffd");
	must_escape("overlong \xc0\xaf", "overlong \\ufffd\\ufffd");
	must_escape("surrogate \xed\xa0\x80", "surrogate \\ufffd\\ufffd\\ufffd");
	must_escape("beyond \xf4\x90\x80\x80", "beyond \\ufffd\\ufffd\\ufffd\\ufffd");
}

struct newer {
	size_t size;
	long known;
	long added;
};
struct older {
	size_t size;
	long known;
};

static void test_read_sizes(void **state)
{
	struct older ours = { sizeof ours, 7 };
	struct newer theirs = { sizeof theirs, 9, 0 };
	struct older small = { sizeof(size_t), 1 };

	(void)state;
	assert_errno(0, structure_read(&ours, sizeof ours, &theirs, sizeof ours));
	assert_int_equal(ours.known, 9);
	assert_int_equal(ours.size, sizeof ours);
	theirs.added = 1;
	assert_errno(E2BIG, structure_read(&ours, sizeof ours, &theirs, sizeof ours));
	assert_errno(EINVAL, structure_read(&ours, sizeof ours, &small, sizeof ours));
	small.size = 0;
	assert_errno(EINVAL, structure_read(&ours, sizeof ours, &small, sizeof ours));
}

/* An old program with a new library: members that it did not set keep their defaults. A new program with an old
 * library: members that the library does not know are zero. */
static void test_across_versions(void **state)
{
	struct newer ours = { sizeof ours, 1, 42 };
	struct older theirs = { sizeof theirs, 5 };
	struct older old = { sizeof old, 3 };
	struct newer new = { sizeof new, 8, 8 };

	(void)state;
	assert_errno(0, structure_read(&ours, sizeof ours, &theirs, sizeof theirs));
	assert_int_equal(ours.known, 5);
	assert_int_equal(ours.added, 42);
	structure_write(&new, &old, sizeof old);
	assert_int_equal(new.size, sizeof new);
	assert_int_equal(new.known, 3);
	assert_int_equal(new.added, 0);
	structure_write(&theirs, &ours, sizeof ours);
	assert_int_equal(theirs.size, sizeof theirs);
	assert_int_equal(theirs.known, 5);
}

#if HAVE_STRERRORNAME_NP
#define EPERM_AS_TEXT "EPERM (1)"
#else
#define EPERM_AS_TEXT "1"
#endif

static void test_report_format(void **state)
{
	odf_report report = ODF_REPORT_INIT;
	char whole[1024], part[20];
	int length;

	(void)state;
	report.strategy = ODF_STRATEGY_VFORK;
	report.step = ODF_STEP_RLIMIT;
	report.index = 2;
	report.error = EPERM;
	report.forgiven = ODF_FORGIVE(ODF_STEP_NICE);
	report.elapsed_ns = 123456;
	report.reason[ODF_STRATEGY_POSIX_SPAWN] = ODF_REASON_LIBC_NO_OPTION;
	report.reason[ODF_STRATEGY_VFORK] = ODF_REASON_CHOSEN;
	length = odf_report_format(&report, whole, sizeof whole);
	assert_string_equal(whole, "failed at step rlimit 2, error " EPERM_AS_TEXT ", tried by vfork; held 123.4 us\n"
				   "forgiven: nice\n"
				   "vfork: chosen\n"
				   "posix_spawn: libc's posix_spawn cannot express the request\n");
	assert_int_equal(length, (int)strlen(whole));
	assert_int_equal(odf_report_format(&report, part, sizeof part), length);
	assert_memory_equal(part, whole, sizeof part - 1);
	assert_int_equal(part[sizeof part - 1], '\0');
	assert_int_equal(odf_report_format(&report, NULL, 0), length);

	errno = 0;
	assert_int_equal(odf_report_format(NULL, whole, sizeof whole), -1);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_int_equal(odf_report_format(&report, NULL, 5), -1);
	assert_int_equal(errno, EINVAL);
	report.size = 4;
	errno = 0;
	assert_int_equal(odf_report_format(&report, whole, sizeof whole), -1);
	assert_int_equal(errno, EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),       cmocka_unit_test(test_microseconds),
		cmocka_unit_test(test_truncation),    cmocka_unit_test(test_json),
		cmocka_unit_test(test_read_sizes),    cmocka_unit_test(test_across_versions),
		cmocka_unit_test(test_report_format),
	};
	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
