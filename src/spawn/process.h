/* SPDX-License-Identifier: MIT */
#ifndef ODF_SPAWN_PROCESS_H
#define ODF_SPAWN_PROCESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "odfork.h"

#include "../sys/structure.h"

/* The size of odf_spawn_options in the first header that has to be kept. */
#define SPAWN_OPTIONS_FIRST_SIZE STRUCTURE_UP_TO(odf_spawn_options, reserved[1])

struct odf_process {
	pid_t pid;
	int pidfd; /* -1: by its id */
	atomic_int streams[3]; /* -1: none, or closed */
	pthread_mutex_t lock; /* reaping and signalling exclude each other: no signal goes to a later process of the
	                         same id */
	bool ended;           /* reaped by us: `status` */
	bool gone;            /* reaped by somebody else */
	int status;
};

/* A moment of CLOCK_MONOTONIC, in nanoseconds; the highest value: never. */
#define NEVER (~0ull)
uint64_t deadline_in(int timeout_ms);

/* What is left until then, in nanoseconds. */
uint64_t deadline_left(uint64_t deadline);

/* odf_process_wait, until a moment. */
int process_wait_until(odf_process *process, uint64_t deadline, int *status);

/* odf_process_communicate without its checks, into a structure of this version. Without `keep` what is said is read
 * and dropped. */
int process_communicate_until(odf_process *process, odf_io *io, uint64_t deadline, bool keep);

/* 0, EINVAL, E2BIG: the caller's structure as one of this version, and back. */
int io_read(odf_io *ours, const odf_io *theirs);
#endif
