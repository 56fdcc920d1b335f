/* SPDX-License-Identifier: MIT
 *
 * The interface of a shared object that contains a libuv built from source (peer_libuv.c, bench/spawn.sh --libuv), and
 * how bench_spawn and bench_spawn_edges load it beside the system's libuv. */
#ifndef ODF_BENCH_PEER_H
#define ODF_BENCH_PEER_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

struct peer {
	const char *(*version)(void);
	/* Starts a program; with a `uid` of 0 or more, as that user. Returns 0 or -1. */
	int (*spawn)(char **arguments, int uid, int gid);
	/* Waits for that program. Its caller must not: libuv reaps its own children. */
	void (*wait)(void);
};

/* The symbol by which each such object exports its struct peer. */
#define PEER_NAME "peer_offer"

/* Returns NULL without a path. Ends the program if there is no peer at the path. */
static inline const struct peer *peer_load(const char *path)
{
	void *object;
	const struct peer *peer;

	if (path == NULL || *path == '\0')
		return NULL;
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	peer = object != NULL ? dlsym(object, PEER_NAME) : NULL;
	if (peer == NULL) {
		fprintf(stderr, "%s: %s\n", path, dlerror());
		exit(1);
	}
	return peer;
}

#endif
