/* SPDX-License-Identifier: MIT
 *
 * The messages between a program that measures forks (bench/fork, odfork bench) and its workers. A worker is a process
 * that holds one kind of memory. Jobs, which it reads from the socket at its standard input, say what to measure on it.
 * So each kind of memory has a process without anything else in it, and turns can be as short as wanted.
 */
#ifndef ODF_MEASURE_FORK_WORKER_H
#define ODF_MEASURE_FORK_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* BY_KERNEL is also memory on small pages, in a process whose forks are on demand by the kernel. */
enum memory { SMALL_PAGES, HUGE_PAGES, IN_REGION, NO_MEMORY, BY_KERNEL, MEMORIES };

/* bench/fork does not use SPAWN. */
enum experiment { HELD, MIX, STEADY, CLOSE, AFTER, ALIVE, FAULT, SPARSE, EXPERIMENTS, SPAWN = EXPERIMENTS };

/* Parameters of one round. Those that the experiment does not use are zero. */
struct cell {
	enum experiment experiment;
	double parent_percent; /* of the pages, which the parent writes in random order before each fork */
	double child_percent;  /* of the pages, each of which the child touches once */
	/* a touch is a write, else a read; also in FAULT, and in AFTER, where the parent touches all */
	bool writes;
	bool in_order;         /* from the first page on, else in random order */
	bool in_parent;        /* FAULT: the parent's faults, else the child's */
	unsigned lives_us;     /* the child sleeps before it ends */
	size_t pages;          /* FAULT: pages touched; SPARSE: pages written */
	size_t width;          /* SPARSE: bytes of the area over which they are spread */
	bool reads_all;        /* SPARSE: the parent first reads every page */
	size_t alive;          /* ALIVE: children that are alive meanwhile, each for this many rounds */
	unsigned spawn_way;    /* SPAWN: index into spawn_ways */
};

struct job {
	struct cell cell;
	bool from_rest;  /* each round starts with a rest, which is not counted and at whose end the region is LIVE */
	double rest_us;  /* length of the rest without a region; with one it lasts until the region is LIVE */
	double slice_us; /* rounds are made for this long, but at least one */
	size_t limit;    /* and at most this many */
};

/* One round; in FAULT, one fault. */
struct sample {
	double held_us;   /* the fork, for the caller; FAULT: the fault */
	double total_us;  /* from the fork until the child is reaped */
	double parent_us; /* the parent's writes before the fork */
	double rest_us;   /* the rest before the round */
	double keeper_us; /* CPU time of the region's keeper */
	double cpu_us;    /* AFTER: CPU time of the round, of the process and its child */
	double memory_kib; /* ALIVE, in some rounds: of all processes, with page tables, and of the file; else 0 */
	double not_live;  /* 1: the region was not LIVE after its rest */
};

struct reply {
	size_t count;     /* number of samples that follow */
	int huge_percent; /* part of the memory in huge pages when the jobs began; -1: not asked */
	int settling;     /* odf_region_settling; -1: no region */
};

enum { PAGE = 4096, MOST_SAMPLES = 1 << 17 };

/* These read or write all of it; false: the other side has ended. */
bool receive(int fd, void *data, size_t size);
bool send_all(int fd, const void *data, size_t size);

/* Runs a worker: fills its memory, sends a reply without samples, then does job after job until end of file on standard
 * input. Returns the exit status. If the memory cannot be allocated or a measurement fails, it says why and exits with
 * 1. */
int work(enum memory memory, size_t bytes);

#endif
