/* SPDX-License-Identifier: MIT
 *
 * Fuzzes input that the library gets from others: program files, values of variables, strings for JSON, a caller's
 * structures that are wrong or newer, requests for a strategy. Each answer must be one that is documented, and no byte
 * outside of the input may be read (address sanitizer).
 *
 * A test run takes the inputs of corpus/handed and then some ten thousand made from the seeds below, the same each
 * time. ODF_TEST_SECONDS=N: for N seconds, with other inputs each time. With libFuzzer, for hours: tests/fuzz.sh.
 */
#include "fuzz.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../../src/cli/elf_file.h"
#include "../../src/record/heap_value.h"
#include "../../src/strategy/strategy.h"
#include "../../src/sys/program.h"
#include "../../src/sys/text.h"
#include "odfork.h"

/* ---- Targets ----------------------------------------------------------------------------------------------------- */

static void try_program(const uint8_t *data, size_t size)
{
	struct elf_file file;
	struct program program;
	char path[32];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	memset(&program, 0xee, sizeof program);
	program_examine(AT_FDCWD, path, &program);
	REQUIRE(program.kind <= PROGRAM_SANITIZED);
	REQUIRE(memchr(program.runtime, '\0', sizeof program.runtime) != NULL);
	if (elf_open(fd, &file)) {
		bool is_elf = elf_is_elf(&file);
		const char *interpreter = is_elf ? elf_interpreter(&file) : NULL;
		REQUIRE(interpreter == NULL || strlen(interpreter) < size);
		if (is_elf)
			(void)(elf_has_our_words(&file) + elf_has_soname(&file) + elf_has_section(&file, ".text") +
			       elf_exports(&file, "malloc") + elf_defines(&file, "malloc") +
			       elf_contains(&file, "jemalloc"));
		elf_close(&file);
	}
	close(fd);
}

static void try_value(const char *text)
{
	enum settings_heap heap = SETTINGS_HEAP_AUTO;
	size_t capacity = 0;
	unsigned long long number = 0;

	(void)size_read(text, &number);
	if (heap_value_read(text, &heap, &capacity))
		REQUIRE(heap <= SETTINGS_HEAP_OFF && capacity <= SETTINGS_HEAP_MOST);
}

static void try_json(const char *string)
{
	static char buffer[8192];
	struct text text = text_start(buffer, sizeof buffer);

	text_add_json(&text, string);
	for (size_t i = 0; i < text.length && i < sizeof buffer - 1; i++)
		REQUIRE((unsigned char)buffer[i] >= 0x20 && (buffer[i] != '"' || (i > 0 && buffer[i - 1] == '\\')));
}

static void try_report(const uint8_t *data, size_t size)
{
	odf_report report = ODF_REPORT_INIT;
	char whole[4096], part[64];
	int length, again;

	memcpy((char *)&report + sizeof report.size, data,
	       size < sizeof report - sizeof report.size ? size : sizeof report - sizeof report.size);
	length = odf_report_format(&report, whole, sizeof whole);
	again = odf_report_format(&report, part, sizeof part);
	REQUIRE(length == again && length >= 0 && length < (int)sizeof whole && strlen(whole) == (size_t)length);
	REQUIRE(strncmp(whole, part, strlen(part)) == 0);
	REQUIRE(odf_reason_text(report.reason[0]) != NULL && odf_step_name(report.step) != NULL &&
		odf_strategy_name(report.strategy) != NULL);
}

static uint32_t word(const uint8_t **data, size_t *size)
{
	uint32_t value = 0;
	size_t count = *size < sizeof value ? *size : sizeof value;

	memcpy(&value, *data, count);
	*data += count;
	*size -= count;
	return value;
}

static odf_reason some_reason(uint32_t value)
{
	odf_reason reason = value & 1 ? ODF_REASON_NONE : (odf_reason)((value >> 1) % ODF_REASON_COUNT);

	/* These two are answers. */
	return reason == ODF_REASON_CHOSEN || reason == ODF_REASON_BETTER_CHOSEN ? ODF_REASON_CLONE_REFUSED : reason;
}

static void try_choice(const uint8_t *data, size_t size)
{
	uint32_t bits = word(&data, &size);
	struct strategy_request request = {
		.spawn = bits & 1, .pool = bits >> 1 & 1, .pre_exec = bits >> 2 & 1, .allow = word(&data, &size),
	};
	struct strategy_capabilities capabilities;
	struct strategy_facts facts = { 0 };
	struct strategy_choice choice;

	request.impossible = request.spawn ? some_reason(word(&data, &size) | (bits & 8 ? 1 : 0)) : ODF_REASON_NONE;
	request.libc_lacks = request.spawn ? some_reason(word(&data, &size)) : ODF_REASON_NONE;
	request.allow &= request.spawn ? STRATEGY_SPAWN_KINDS : STRATEGY_FORK_KINDS;
	capabilities.kernel = some_reason(word(&data, &size));
	capabilities.kernel_verified = bits >> 4 & 1;
	capabilities.kernel_doubt = capabilities.kernel_verified ? ODF_REASON_NONE
								 : some_reason(word(&data, &size) & ~1u);
	capabilities.clone_vm = some_reason(word(&data, &size));
	facts.resident_bytes = (size_t)word(&data, &size) << (bits >> 5 & 7);
	facts.region_bytes = bits >> 9 & 1 ? word(&data, &size) : 0;
	facts.kernel_is_on = bits >> 8 & 1;
	facts.region_absence = some_reason(word(&data, &size));
	choice = strategy_choose(&request, &capabilities, &facts);
	REQUIRE(choice.strategy < ODF_STRATEGY_COUNT);
	if (choice.strategy == ODF_STRATEGY_NONE)
		return;
	REQUIRE(((request.spawn ? STRATEGY_SPAWN_KINDS : STRATEGY_FORK_KINDS) & ODF_ALLOW(choice.strategy)) != 0);
	/* Where forks are on demand whatever is chosen, that is what the report says. */
	REQUIRE(request.allow == 0 || (!request.spawn && facts.kernel_is_on) ||
		(request.allow & ODF_ALLOW(choice.strategy)) != 0);
	REQUIRE(choice.reason[choice.strategy] == ODF_REASON_CHOSEN);
	REQUIRE(!request.pre_exec || !request.spawn || choice.strategy == ODF_STRATEGY_FORK);
	REQUIRE(request.pool || choice.strategy != ODF_STRATEGY_POOL);
}

/* Numbers only; where a pointer would be there is none. The program is not there, so no request may succeed. */
static void try_spawn(const uint8_t *data, size_t size)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	char *argv[] = { (char[]){ "x" }, NULL };
	pid_t pid = -1;
	int error;

	options.flags = word(&data, &size);
	options.allow = word(&data, &size);
	if (size > 0 && *data & 1)
		options.size = word(&data, &size) % 8192;
	if (size > 1 && data[1] & 1)
		report.size = word(&data, &size) % 8192;
	if (options.size > sizeof options || report.size > sizeof report) /* what lies behind would be read */
		return;
	error = odf_spawn(&pid, "/nonexistent/program", argv, NULL, &options, &report);
	REQUIRE(error > 0 && error < 4096);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[4096];

	if (size < 2 || size > 1 << 20)
		return 0;
	size--;
	memcpy(text, data + 1, size < sizeof text ? size : sizeof text - 1);
	text[size < sizeof text ? size : sizeof text - 1] = '\0';
	switch (fuzz_kind(*data++, 8)) {
	case 0:
	case 1:
		try_program(data, size);
		break;
	case 2:
		try_value(text);
		break;
	case 3:
		try_json(text);
		break;
	case 4:
		try_report(data, size);
		break;
	case 5:
	case 6:
		try_choice(data, size);
		break;
	default:
		try_spawn(data, size);
	}
	return 0;
}

/* ---- Without libFuzzer ------------------------------------------------------------------------------------------- */

#ifndef ODF_LIBFUZZER
int main(void)
{
	enum { ROOM = 1 << 16, PROGRAMS = 3 };
	static const char *const paths[PROGRAMS] = { "/proc/self/exe", "/bin/sh", "/bin/true" };
	static const char *const values[] = {
		"auto", "on", "64G", "64GiB", "1.5g", "99999999999999999999T", "0.0000001k", "-1", "\xc3\xa4\"\\\n\x01",
	};
	static uint8_t programs[PROGRAMS][ROOM], input[ROOM + 1];
	size_t sizes[PROGRAMS];
	static struct corpus corpus;
	long count = 0;

	corpus_read(&corpus, "handed");
	for (size_t i = 0; i < corpus.count; i++)
		(void)LLVMFuzzerTestOneInput(corpus.inputs[i].data, corpus.inputs[i].size);

	for (int i = 0; i < PROGRAMS; i++)
		sizes[i] = read_file(paths[i], programs[i], ROOM);
	REQUIRE(sizes[0] > 4096);
	for (; !is_over(count, 80000); count++) {
		size_t size = 0;
		input[0] = (uint8_t)chance(8);
		if (input[0] == 7 && count % 8 != 0) /* a spawn takes longer than all the others */
			input[0] = 5;
		if (input[0] < 2) {
			size_t which = chance(PROGRAMS);
			size = chance(4) == 0 ? chance(sizes[which]) + 1 : sizes[which];
			memcpy(input + 1, programs[which], size);
		} else if (input[0] < 4) {
			const char *value = values[chance(sizeof values / sizeof *values)];
			size = strlen(value);
			memcpy(input + 1, value, size);
		} else {
			size = chance(400) + 1;
			for (size_t i = 0; i < size; i++)
				input[1 + i] = (uint8_t)chance(chance(2) == 0 ? 4 : 256);
		}
		if (chance(16) != 0)
			change(input + 1, size, 1024);
		(void)LLVMFuzzerTestOneInput(input, size + 1);
	}
	printf("1..1\n# %ld inputs\nok 1 - inputs at random\n", count);
	return 0;
}
#endif
