/* SPDX-License-Identifier: MIT */
#include "model_support.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *given = getenv(name);

	return given == NULL || *given == '\0' ? otherwise : strtoull(given, NULL, 0);
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void become_nobody_if_asked(char **argv)
{
	const gid_t nobody = 65534;

	if (number_from("ODF_TEST_NOBODY", 0) == 0 || geteuid() != 0)
		return;
	if (setgroups(0, NULL) != 0 || setgid(nobody) != 0 || setuid(nobody) != 0) {
		perror("cannot become nobody");
		exit(1);
	}
	execv("/proc/self/exe", argv);
	perror("cannot execute myself as nobody");
	exit(1);
}
