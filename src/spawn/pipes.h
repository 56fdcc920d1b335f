/* SPDX-License-Identifier: MIT
 *
 * ODF_SPAWN_PIPE_*: standard streams as pipes, as further actions of the descriptor map.
 */
#ifndef ODF_SPAWN_PIPES_H
#define ODF_SPAWN_PIPES_H

#include "plan.h"

struct pipes {
	int ours[3], theirs[3]; /* -1: none */
	odf_fd_action *actions; /* the caller's and ours; NULL: only the caller's */
	size_t first;           /* the index of the first of ours */
};

#define PIPES_INIT { { -1, -1, -1 }, { -1, -1, -1 }, NULL, 0 }

/* Makes them and puts the whole map into the request. 0, or an errno value with *stream the one that could not be
 * had. */
int pipes_make(struct pipes *pipes, struct request *request, int *stream);

/* The stream that an action of ours is for. */
int pipes_stream(const struct pipes *pipes, int index);

/* Frees, and closes the child's ends; ours too, if the spawn has failed. */
void pipes_drop(struct pipes *pipes, bool failed);
#endif
