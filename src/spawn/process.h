/* SPDX-License-Identifier: MIT */
#ifndef ODF_SPAWN_PROCESS_H
#define ODF_SPAWN_PROCESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "odfork.h"

#include "../sys/structure.h"

/* Size of odf_spawn_options in the oldest header that is supported. */
#define SPAWN_OPTIONS_FIRST_SIZE STRUCTURE_UP_TO(odf_spawn_options, reserved[1])

struct odf_process {
	pid_t pid;
	int pidfd; /* -1: none, the pid is used */
	atomic_int streams[3]; /* -1: none, or closed */
	pthread_mutex_t lock; /* excludes a signal from the time between reaping and `ended`: no signal goes to a later
			       * process with the same id */
	bool ended;           /* reaped by us: `status` */
	bool gone;            /* reaped by another thread, or by the kernel */
	int status;
};

/* A point of CLOCK_MONOTONIC in nanoseconds; the highest value: never. */
#define NEVER (~0ull)
uint64_t deadline_in(int timeout_ms);

/* Nanoseconds left until the deadline. */
uint64_t deadline_left(uint64_t deadline);

/* As odf_process_wait, until a deadline. */
int process_wait_until(odf_process *process, uint64_t deadline, int *status);

/* odf_process_communicate without its checks, on a structure of this version. `keep` false: drops the output. */
int process_communicate_until(odf_process *process, odf_io *io, uint64_t deadline, bool keep);

/* Copies the caller's structure into one of this version. 0, EINVAL or E2BIG. */
int io_read(odf_io *ours, const odf_io *theirs);
#endif
