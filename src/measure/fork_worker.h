/* SPDX-License-Identifier: MIT
 *
 * What those who measure forks (bench/fork, odfork bench) and their workers say to each other. A worker is a process
 * of its own that holds one kind of memory and is told by jobs, over the socket that is its standard input, what to
 * measure on it. So each kind lives in a process that has nothing else, and turns can go round as finely as one likes.
 */
#ifndef ODF_MEASURE_FORK_WORKER_H
#define ODF_MEASURE_FORK_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* BY_KERNEL is memory on small pages as well, of a process whose forks are the kernel's on-demand forks. */
enum memory { SMALL_PAGES, HUGE_PAGES, IN_REGION, NO_MEMORY, BY_KERNEL, MEMORIES };

/* SPAWN is none of bench/fork's. */
enum experiment { HELD, MIX, STEADY, CLOSE, AFTER, ALIVE, FAULT, SPARSE, EXPERIMENTS, SPAWN = EXPERIMENTS };

/* What one round does. What does not belong to the experiment is zero. */
struct cell {
	enum experiment experiment;
	double parent_percent; /* of the pages, written at random by the parent before each fork */
	double child_percent;  /* of the pages, touched by the child once each */
	/* touch is write, else read; in FAULT, and in AFTER, where the parent touches all, too */
	bool writes;
	bool in_order;         /* from the first page on, else at random */
	bool in_parent;        /* FAULT: the parent's faults, else the child's */
	unsigned lives_us;     /* the child sleeps before it ends */
	size_t pages;          /* FAULT: touched; SPARSE: written */
	size_t width;          /* SPARSE: bytes of the area that they are spread over */
	bool reads_all;        /* SPARSE: before, the parent reads every page */
	size_t alive;          /* ALIVE: children that live meanwhile, each as long as so many rounds take */
	unsigned spawn_way;    /* SPAWN: which of spawn_ways */
};

struct job {
	struct cell cell;
	bool from_rest;  /* each round begins with a rest, which is not counted, at whose end the region is LIVE */
	double rest_us;  /* of what has no region; a region's takes as long as it takes */
	double slice_us; /* rounds are made for this long, at least one */
	size_t limit;    /* and at most that many */
};

/* One round; in FAULT, one fault. */
struct sample {
	double held_us;   /* the fork, as the caller sees it; FAULT: the fault */
	double total_us;  /* fork until the child is reaped */
	double parent_us; /* the parent's writes before the fork */
	double rest_us;   /* the rest before it */
	double keeper_us; /* CPU time of the region's keeper */
	double cpu_us;    /* AFTER: of it, of the process and of its child */
	double memory_kib; /* ALIVE, in some rounds: of all processes, with page tables, and the file; else 0 */
	double not_live;  /* 1: the region was not LIVE after its rest */
};

struct reply {
	size_t count;     /* samples that follow */
	int huge_percent; /* of the memory, in huge pages as the jobs began; -1: not asked */
	int settling;     /* odf_region_settling; -1: no region */
};

enum { PAGE = 4096, MOST_SAMPLES = 1 << 17 };

/* Reads or writes all of it; false at the end of the other side. */
bool receive(int fd, void *data, size_t size);
bool send_all(int fd, const void *data, size_t size);

/* The life of a worker: fills its memory, answers with a reply without samples, then job by job until standard input
 * ends. Returns the exit status. Ends the program with 1, and says why, if the memory cannot be had or a measurement
 * fails. */
int work(enum memory memory, size_t bytes);

#endif
