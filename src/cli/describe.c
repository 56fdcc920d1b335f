/* SPDX-License-Identifier: MIT */
#include "describe.h"

#include <stdarg.h>
#include <string.h>

static const struct {
	const char *file, *name;
} allocators[] = {
	{ "libjemalloc", "jemalloc" },
	{ "libtcmalloc", "tcmalloc" },
	{ "libmimalloc", "mimalloc" },
};

static const char *name_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	file = slash == NULL ? file : slash + 1;
	for (size_t i = 0; i < sizeof allocators / sizeof *allocators; i++)
		if (strncmp(file, allocators[i].file, strlen(allocators[i].file)) == 0)
			return allocators[i].name;
	return NULL;
}

/* nonnull: gcc 14 and later must be told that the format exists if a sanitizer checks it. */
__attribute__((format(printf, 3, 4), nonnull(3)))
static void say(FILE *to, const char *command, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(to, "odfork: run: %s: ", command);
	vfprintf(to, format, arguments);
	fputc('\n', to);
	va_end(arguments);
}

static void describe_allocator(FILE *to, const char *command, const struct findings *findings, const char *when)
{
	const struct allocator *allocator = findings->allocator;
	const char *name = name_of(allocator->where);

	switch (allocator->kind) {
	case ALLOCATOR_LIBC:
		say(to, command,
		    "its malloc is libc's: %s, what that has is in regions where it lies, as other memory is", when);
		break;
	case ALLOCATOR_OTHER:
		say(to, command, "its malloc is %s%s(%s): %s, what that maps is in regions where it lies",
		    name == NULL ? "one of its own " : name, name == NULL ? "" : "'s ", allocator->where, when);
		break;
	default:
		say(to, command, "its malloc is not known: %s, what it maps is in regions where it lies", when);
		break;
	}
}

void describe_heap(FILE *to, const char *command, const struct findings *findings)
{
	char when[64] = "from the start";

	if (findings->heap == SETTINGS_HEAP_OFF) {
		say(to, command, "no heap: ODFORK_HEAP=off");
		return;
	}
	if (findings->by_kernel && findings->heap == SETTINGS_HEAP_AUTO) {
		say(to, command, "no heap: the kernel's on-demand fork needs none");
		return;
	}
	if (findings->region != ODF_REASON_NONE) {
		say(to, command, "no heap: %s", odf_reason_text(findings->region));
		return;
	}
	if (findings->heap == SETTINGS_HEAP_AUTO)
		snprintf(when, sizeof when, "once it has grown past %zu MiB", findings->threshold >> 20);
	describe_allocator(to, command, findings, when);
	if (!findings->settles)
		say(to, command,
		    findings->heap == SETTINGS_HEAP_AUTO
			    ? "userfaultfd may not be used here: no heap if the program has several threads by then"
			    : "userfaultfd may not be used here: "
			       "if the program has several threads, only its first fork is fast");
}
