/* SPDX-License-Identifier: MIT
 *
 * The tests preload this with libodfork: when a process calls exit, it appends a line to the file HEAP_SEEN that says
 * how much of its memory is in regions. It reads a copy of /proc/self/smaps into a buffer that is not from malloc, so
 * that reading does not change the heap.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[4096];
static char text[1 << 16];

/* Of the mappings of regions: their number, and the KiB of them that are resident. */
static void regions(unsigned long *mappings, unsigned long *resident)
{
	size_t kept = 0;
	int inside = 0, fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	ssize_t got;

	while (fd >= 0 && (got = read(fd, text + kept, sizeof text - 1 - kept)) > 0) {
		char *line = text, *end;

		kept += (size_t)got;
		text[kept] = '\0';
		for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
			unsigned long from, to, kib;

			*end = '\0';
			if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
				inside = strstr(line, "odfork-region") != NULL;
				*mappings += (unsigned long)inside;
			} else if (inside && sscanf(line, "Rss: %lu", &kib) == 1) {
				*resident += kib;
			}
		}
		kept = strlen(line);
		memmove(text, line, kept);
	}
	if (fd >= 0)
		close(fd);
}

__attribute__((constructor)) static void at_start(void)
{
	const char *value = getenv("HEAP_SEEN");

	/* A copy: programs write their titles where the environment was. */
	if (value != NULL && strlen(value) < sizeof path)
		strcpy(path, value);
}

__attribute__((destructor)) static void at_end(void)
{
	char program[4096], line[8192];
	unsigned long mappings = 0, resident = 0;
	ssize_t length;
	int fd, written;

	if (path[0] == '\0')
		return;
	regions(&mappings, &resident);
	length = readlink("/proc/self/exe", program, sizeof program - 1);
	program[length > 0 ? length : 0] = '\0';
	written = snprintf(line, sizeof line, "%d %lu %lu %s\n", (int)getpid(), mappings, resident, program);
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	if (write(fd, line, (size_t)written) != written)
		abort();
	close(fd);
}
