/* SPDX-License-Identifier: MIT
 *
 * The contents of the files that test_pinned.c reads.
 */
#ifndef ODF_TESTS_DIRECT_FS_H
#define ODF_TESTS_DIRECT_FS_H

#include <stddef.h>

#define DIRECT_BLOCK  ((size_t)256 << 10)
#define DIRECT_BLOCKS ((size_t)16)

static inline unsigned char direct_byte(size_t at)
{
	return (unsigned char)('a' + at / DIRECT_BLOCK);
}
#endif
