/* SPDX-License-Identifier: MIT
 * In the library, which reads the variable, and in the command, which sets it. */
#include "heap_value.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

bool heap_value_read(const char *value, enum settings_heap *heap, size_t *capacity)
{
	static const char units[] = "KMGT";
	unsigned long long size;
	const char *unit;
	char *end;

	if (strcmp(value, "auto") == 0 || strcmp(value, "on") == 0 || strcmp(value, "off") == 0) {
		*heap = value[0] == 'a' ? SETTINGS_HEAP_AUTO : value[1] == 'n' ? SETTINGS_HEAP_ON : SETTINGS_HEAP_OFF;
		*capacity = 0;
		return true;
	}
	if (value[0] < '1' || value[0] > '9')
		return false;
	errno = 0;
	size = strtoull(value, &end, 10);
	unit = *end == '\0' ? NULL : strchr(units, *end);
	if (errno != 0 || (*end != '\0' && (unit == NULL || end[1] != '\0')))
		return false;
	for (const char *power = units; unit != NULL && power <= unit; power++) {
		if (size > ULLONG_MAX >> 10)
			return false;
		size <<= 10;
	}
	if (size > (unsigned long long)SETTINGS_HEAP_MOST)
		return false;
	*heap = SETTINGS_HEAP_AUTO;
	*capacity = (size_t)size;
	return true;
}
