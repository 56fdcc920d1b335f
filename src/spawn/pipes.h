/* SPDX-License-Identifier: MIT
 *
 * ODF_SPAWN_PIPE_*: makes pipes for the standard streams, as additional actions of the descriptor map.
 */
#ifndef ODF_SPAWN_PIPES_H
#define ODF_SPAWN_PIPES_H

#include "plan.h"

struct pipes {
	int ours[3], theirs[3]; /* -1: none */
	odf_fd_action *actions; /* the caller's actions and ours; NULL: only the caller's */
	size_t first;           /* index of the first of ours */
};

#define PIPES_INIT { { -1, -1, -1 }, { -1, -1, -1 }, NULL, 0 }

/* Makes the pipes and puts the whole map into the request. 0, or an errno value and *stream, the one that failed or
 * -1. */
int pipes_make(struct pipes *pipes, struct request *request, int *stream);

/* The stream of one of our actions. */
int pipes_stream(const struct pipes *pipes, int index);

/* Frees the actions and closes the child's ends; if the spawn has failed, ours too. */
void pipes_drop(struct pipes *pipes, bool failed);
#endif
