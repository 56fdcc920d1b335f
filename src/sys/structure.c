/* SPDX-License-Identifier: MIT
 * Async-signal-safe, as odf_fork_with reads its options by this. memcpy is async-signal-safe in every libc that the
 * library runs on. */
#include "structure.h"

#include <errno.h>
#include <string.h>

static size_t stated_size(const void *structure)
{
	size_t size;
	memcpy(&size, structure, sizeof size);
	return size;
}

int structure_read(void *ours, size_t our_size, const void *theirs, size_t first)
{
	size_t size = stated_size(theirs);

	if (size < first)
		return EINVAL;
	if (size > STRUCTURE_SIZE_MAX)
		return E2BIG;
	for (size_t i = our_size; i < size; i++)
		if (((const unsigned char *)theirs)[i] != 0)
			return E2BIG;
	memcpy(ours, theirs, size < our_size ? size : our_size);
	memcpy(ours, &our_size, sizeof our_size);
	return 0;
}

int structure_has(const void *theirs, size_t end)
{
	return stated_size(theirs) >= end;
}

int structure_is_within(const void *theirs, size_t end)
{
	return structure_has(theirs, end) && stated_size(theirs) <= STRUCTURE_SIZE_MAX;
}

int structure_check_output(const void *theirs, size_t first)
{
	size_t size = stated_size(theirs);

	return size < first ? EINVAL : size > STRUCTURE_SIZE_MAX ? E2BIG : 0;
}

void structure_write(void *theirs, const void *ours, size_t our_size)
{
	size_t size = stated_size(theirs);
	size_t common = size < our_size ? size : our_size;

	memcpy((char *)theirs + sizeof size, (const char *)ours + sizeof size, common - sizeof size);
	if (size > our_size)
		memset((char *)theirs + our_size, 0, size - our_size);
}
