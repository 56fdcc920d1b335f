/* SPDX-License-Identifier: MIT
 *
 * What another process (odfork inspect) may read from the library in this process, without a call and without
 * cooperation: each entry is a constant that says where a value is. The reader finds the entries by their magic number
 * in the pages of the library's file, checks all it reads, and skips names that it does not know, so its version may
 * differ. Costs nothing but the constants.
 */
#ifndef ODF_SYS_SEEN_H
#define ODF_SYS_SEEN_H

#include <stddef.h>
#include <stdint.h>

/* The last byte is incremented when the layout of an entry changes. */
#define SEEN_MAGIC_FIRST UINT64_C(0x6465657366646f7f)
#define SEEN_MAGIC_SECOND UINT64_C(0x01b2c4d19e5a73e8)

enum seen_kind {
	SEEN_VALUE = 1, /* at `place`, an address */
	SEEN_REGION = 2 /* at `place`, an offset in each region; the value "regions" is the first of the list, and the
	                   member "next" the link */
};

struct seen {
	uint64_t magic[2];
	char name[24];
	uint32_t kind, size; /* of an unsigned number of 1, 4 or 8 bytes, or of a text */
	const void *place;
};

#if defined __has_attribute
#if __has_attribute(retain)
#define SEEN_KEPT __attribute__((used, retain))
#endif
#endif
#ifndef SEEN_KEPT
#define SEEN_KEPT __attribute__((used))
#endif

/* `id` is an identifier for the compiler, unique in the file. */
#define SEEN_THE_VALUE(id, title, variable)                                                                            \
	SEEN_KEPT static const struct seen seen_##id = {                                                               \
		{ SEEN_MAGIC_FIRST, SEEN_MAGIC_SECOND }, title, SEEN_VALUE, sizeof(variable), &(variable)              \
	}
#define SEEN_THE_MEMBER(id, title, type, member)                                                                       \
	SEEN_KEPT static const struct seen seen_##id = { { SEEN_MAGIC_FIRST, SEEN_MAGIC_SECOND },                      \
							 title,                                                        \
							 SEEN_REGION,                                                  \
							 sizeof(((type *)0)->member),                                  \
							 (const void *)offsetof(type, member) }
#endif
