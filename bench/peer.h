/* SPDX-License-Identifier: MIT
 *
 * A libuv from its sources, in a shared object of its own beside the system's one (peer_libuv.c, bench/spawn.sh
 * --libuv): what such an object offers, and how bench_spawn and bench_spawn_edges come to it. */
#ifndef ODF_BENCH_PEER_H
#define ODF_BENCH_PEER_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

struct peer {
	const char *(*version)(void);
	/* Starts a program, as a user unless `uid` is below 0. 0 or -1. */
	int (*spawn)(char **arguments, int uid, int gid);
	/* Waits for it, as libuv waits for its children itself. */
	void (*wait)(void);
};

/* Each such object has one, by this name. */
#define PEER_NAME "peer_offer"

/* NULL: no path. Ends the program if there is no peer at the path. */
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
