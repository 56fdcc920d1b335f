/* SPDX-License-Identifier: MIT */
#include "statm.h"

#include <unistd.h>

#include "proc.h"

/* The first numbers of /proc/thread-self/statm, in pages. Not /proc/self: a main thread that has ended has no
 * memory. */
enum { ALL, RESIDENT, SHARED, TEXT, LIBRARIES, DATA, NUMBERS };

static void read_numbers(size_t numbers[NUMBERS])
{
	char text[128] = "";
	size_t at = 0;
	int fd = sys_open("/proc/thread-self/statm", PROC_READ, 0);

	for (size_t i = 0; i < NUMBERS; i++)
		numbers[i] = 0;
	if (fd < 0)
		return;
	if (sys_read(fd, text, sizeof text - 1) < 0)
		text[0] = '\0';
	sys_close(fd);
	for (size_t i = 0; i < NUMBERS; i++) {
		for (; text[at] >= '0' && text[at] <= '9'; at++)
			numbers[i] = numbers[i] * 10 + (size_t)(text[at] - '0');
		if (text[at] == ' ')
			at++;
	}
}

size_t statm_resident_bytes(void)
{
	size_t numbers[NUMBERS];

	read_numbers(numbers);
	return numbers[RESIDENT] * (size_t)sysconf(_SC_PAGESIZE);
}

size_t statm_private_bytes(void)
{
	size_t numbers[NUMBERS];

	read_numbers(numbers);
	return numbers[RESIDENT] > numbers[SHARED]
		       ? (numbers[RESIDENT] - numbers[SHARED]) * (size_t)sysconf(_SC_PAGESIZE)
		       : 0;
}

size_t statm_data_bytes(void)
{
	size_t numbers[NUMBERS];

	read_numbers(numbers);
	return numbers[DATA] * (size_t)sysconf(_SC_PAGESIZE);
}
