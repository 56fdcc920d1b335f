/* SPDX-License-Identifier: MIT
 *
 * The child's environment, and the PATH to search: taken once, since other threads may change the process's at any
 * time. */
#ifndef ODF_SPAWN_ENVIRONMENT_H
#define ODF_SPAWN_ENVIRONMENT_H

#include "plan.h"

struct environment {
	char *const *base;
	size_t base_count;
	bool in_place; /* `base` itself: the caller's own, or one that is copied later with all its strings */
	char *path;    /* to search; NULL for none; freed by environment_drop */
};

/* 0 or ENOMEM. */
int environment_take(struct environment *environment, const struct request *request);
void environment_drop(struct environment *environment);

/* How many pointers the child's array has at most, with the final NULL. */
size_t environment_room(const struct environment *environment, const struct request *request);

/* Writes the array, ended by NULL, with the edits. The strings are borrowed. */
void environment_write(const struct environment *environment, const struct request *request, char **array);

/* Whether every edit has a name; else false with *index. */
bool environment_edits_fit(const odf_spawn_options *options, int *index);
#endif
