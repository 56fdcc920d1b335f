/* SPDX-License-Identifier: MIT
 *
 * The child's environment, and the PATH to search. Both are read once, as other threads may change the process's
 * environment at any time.
 */
#ifndef ODF_SPAWN_ENVIRONMENT_H
#define ODF_SPAWN_ENVIRONMENT_H

#include "plan.h"

struct environment {
	char *const *base;
	size_t base_count;
	bool in_place; /* use `base` itself: it is the caller's array, or is copied later with its strings */
	char *path;    /* the list to search; NULL: none; environment_drop frees it */
};

/* 0 or ENOMEM. */
int environment_take(struct environment *environment, const struct request *request);
void environment_drop(struct environment *environment);

/* The most pointers that the child's array can have, the final NULL included. */
size_t environment_room(const struct environment *environment, const struct request *request);

/* Writes the array with the edits, and a final NULL. It points to the request's strings. */
void environment_write(const struct environment *environment, const struct request *request, char **array);

/* Whether each edit has a name. False: *index is one that has none. */
bool environment_edits_fit(const odf_spawn_options *options, int *index);
#endif
