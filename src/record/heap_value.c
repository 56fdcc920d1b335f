/* SPDX-License-Identifier: MIT
 * Part of the library, which reads the variable, and of the command, which sets it. */
#include "heap_value.h"

#include <limits.h>
#include <string.h>

/* Reads digits from *text on, and moves *text past them. False: there are none, or the number is too large. */
static bool read_digits(const char **text, unsigned long long *number)
{
	const char *at = *text;

	*number = 0;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (*number > (ULLONG_MAX - 9) / 10)
			return false;
		*number = *number * 10 + (unsigned)(*at - '0');
	}
	if (at == *text)
		return false;
	*text = at;
	return true;
}

/* How many times a unit doubles the size: K, M, G, T in either case, alone or as KiB; no unit: 0. -1: not a unit. */
static int read_unit(const char *unit)
{
	static const char units[] = "KMGT";
	const char *found;

	if (*unit == '\0')
		return 0;
	found = strchr(units, *unit >= 'a' && *unit <= 'z' ? *unit - 'a' + 'A' : *unit);
	if (found == NULL || (unit[1] != '\0' && strcmp(unit + 1, "iB") != 0 && strcmp(unit + 1, "ib") != 0))
		return -1;
	return 10 * (int)(found - units + 1);
}

bool size_read(const char *value, unsigned long long *size)
{
	unsigned long long whole, part = 0, scale = 1;
	int doubled;

	if (!read_digits(&value, &whole))
		return false;
	if (*value == '.') {
		const char *digits = ++value;
		/* Digits after the ninth are worth less than a byte. */
		if (!read_digits(&value, &part) || value - digits > 9)
			return false;
		while (digits++ < value)
			scale *= 10;
	}
	doubled = read_unit(value);
	if (doubled < 0 || whole > ULLONG_MAX >> (doubled + 1) || (scale > 1 && doubled == 0))
		return false;
	/* In two steps, so that the fraction times its factor does not overflow: both are below 2^30. */
	*size = (whole << doubled) +
		(doubled <= 30 ? (part << doubled) / scale : ((part << 30) / scale) << (doubled - 30));
	return true;
}

bool heap_value_read(const char *value, enum settings_heap *heap, size_t *capacity)
{
	unsigned long long size;

	if (strcmp(value, "auto") == 0 || strcmp(value, "on") == 0 || strcmp(value, "off") == 0) {
		*heap = value[0] == 'a' ? SETTINGS_HEAP_AUTO : value[1] == 'n' ? SETTINGS_HEAP_ON : SETTINGS_HEAP_OFF;
		*capacity = 0;
		return true;
	}
	if (!size_read(value, &size) || size == 0 || size > (unsigned long long)SETTINGS_HEAP_MOST)
		return false;
	*heap = SETTINGS_HEAP_AUTO;
	*capacity = (size_t)size;
	return true;
}
