/* SPDX-License-Identifier: MIT
 *
 * odfork inspect: describes a process that has not been prepared for it, by reading only. That process, or any other,
 * controls everything that is read: names are escaped before they are printed on a terminal, numbers are bounded, and
 * every address or offset is checked before use.
 *
 * The process may end, or execute another program, between any two reads. What can no longer be read is reported as not
 * known.
 */
#ifndef ODF_CLI_INSPECT_H
#define ODF_CLI_INSPECT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "odfork.h"

/* ---- inspect_process.c ---- */

struct inspect_process {
	pid_t pid;
	uint64_t start; /* start time, as another process may get the same pid */
	char name[64]; /* its comm name */
	char program[PATH_MAX]; /* path of its executable; "": not known */
	unsigned uid;
	long threads;
	int seccomp; /* 0 none, 1 strict, 2 filters; -1: not known */
	bool is_secure; /* AT_SECURE: exec gave it privileges */
	uint64_t locked_bytes;
	uint64_t table_bytes; /* bytes of page tables */
	uint64_t limit_as, limit_data, limit_fsize, limit_processes; /* UINT64_MAX: none */
};

/* False: there is no such process, or it may not be read at all; reports that. */
bool inspect_process_read(pid_t pid, struct inspect_process *process);
/* The same process still exists. */
bool inspect_process_is_there(const struct inspect_process *process);
/* The permission that is missing to read what the kernel shows to tracers only, in words; static. */
const char *inspect_permission(const struct inspect_process *process);
/* The same for reading its memory, which needs more. */
const char *inspect_tracing_permission(const struct inspect_process *process);
/* Opens /proc/PID/NAME for reading. NULL with errno on failure. */
FILE *inspect_open(pid_t pid, const char *name);

/* ---- inspect_memory.c ---- */

#define INSPECT_PATHS 512
struct inspect_memory {
	size_t mappings;
	size_t copied_mappings; /* those whose page tables a fork copies */
	uint64_t resident, swapped;
	uint64_t private_small, private_huge; /* private bytes in pages of 4 KiB, and of 2 MiB */
	uint64_t shared, file; /* resident, in shared mappings; in private mappings of files */
	uint64_t region; /* resident, in snapshot regions */
	uint64_t copied_own; /* the part of private memory in mappings that a fork copies */
	uint64_t copied_small, copied_huge; /* pages whose entries a fork copies */
	uint64_t copied_tables; /* pages of page tables for these, at most */
	double scattered; /* the part of the copied pages that are not in runs of physically adjacent pages; negative:
	                     not known */
	uint64_t kept_from_children; /* bytes that children do not get, by MADV_DONTFORK */
	uint64_t brk, stacks; /* parts of private memory */
	uint64_t asked_huge; /* private, with MADV_HUGEPAGE */
	uint64_t inside; /* private memory that would be in regions with the library */
	odf_reason pinning; /* by a device or ring that is mapped */
	uint64_t locked; /* bytes of mappings that are locked */
	/* Files that are mapped executable. */
	size_t path_count;
	char *paths[INSPECT_PATHS];
};

/* The part of the resident pages of a range, by a sample, that are physically scattered: adds to the counts. Adds
 * nothing if the kernel does not show it. */
struct inspect_order {
	int pagemap; /* -1: it cannot be read */
	uint64_t scattered, in_order, looked_at;
};
void inspect_order_add(struct inspect_order *order, uint64_t start, uint64_t end);
double inspect_order_scattered(const struct inspect_order *order);

/* 0 or an errno value. */
int inspect_memory_read(pid_t pid, struct inspect_memory *memory);
void inspect_memory_free(struct inspect_memory *memory);

/* ---- inspect_allocator.c ---- */

enum inspect_malloc {
	INSPECT_MALLOC_UNKNOWN,
	INSPECT_MALLOC_GLIBC,
	INSPECT_MALLOC_MUSL,
	INSPECT_MALLOC_JEMALLOC,
	INSPECT_MALLOC_TCMALLOC,
	INSPECT_MALLOC_MIMALLOC,
	INSPECT_MALLOC_OTHER,
	INSPECT_MALLOCS
};
struct inspect_allocator {
	enum inspect_malloc kind;
	bool in_program; /* statically linked */
	char where[PATH_MAX]; /* the file that defines it */
	bool library; /* libodfork.so is loaded */
	bool jvm, v8;
};
void inspect_allocator_find(const struct inspect_process *process, const struct inspect_memory *memory,
			    struct inspect_allocator *allocator);
const char *inspect_malloc_name(enum inspect_malloc kind);

/* ---- inspect_obstacles.c ---- */

#define INSPECT_OBSTACLES 24
struct inspect_obstacle {
	const char *name; /* of a reason, or of an obstacle that is no reason of the library */
	bool prevents; /* true: nothing is gained; false: less is gained, or perhaps nothing */
	char text[256];
};
struct inspect_obstacles {
	size_t count;
	struct inspect_obstacle list[INSPECT_OBSTACLES];
	bool descriptors_read; /* the descriptors could be read */
	size_t descriptors;
};
void inspect_obstacles_find(const struct inspect_process *process, const struct inspect_memory *memory,
			    struct inspect_obstacles *obstacles);
void inspect_add_obstacle(struct inspect_obstacles *obstacles, const char *name, bool prevents, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* ---- inspect_descriptors.c ---- */
void inspect_descriptors_look(const struct inspect_process *process, struct inspect_obstacles *obstacles);

/* ---- inspect_cost.c: what forks cost on this machine, now ---- */

struct inspect_costs {
	bool measured;
	double base_us; /* of a small process */
	/* A page of 4 KiB. First index: 0 physically adjacent to the page before it, 1 anywhere. Second index: 0 not
	 * written since the last fork, 1 written since, or never forked. */
	double small_ns[2][2];
	double spread; /* of repeated measurements, as a part of 1 */
	double table_ns; /* a page of page tables, in addition to its entries */
	double huge_ns; /* a page of 2 MiB; negative: could not be measured */
	double mapping_ns, copied_mapping_ns;
	double region_us; /* a fork with memory in a region; negative: no regions on this machine */
	size_t bytes; /* measured memory */
	double seconds;
};
struct inspect_prediction {
	double low_us, us, high_us; /* low and high: if nothing, and if everything, was written since the last fork */
	double error; /* how far a fork of either kind may be from `us`, as a part of 1 */
};
/* False: too little memory. */
bool inspect_costs_measure(struct inspect_costs *costs);
struct inspect_prediction inspect_predict(const struct inspect_costs *costs, const struct inspect_memory *memory);
/* The same if the part of the copied bytes that `inside` counts were in regions. */
struct inspect_prediction inspect_predict_under(const struct inspect_costs *costs, const struct inspect_memory *memory,
						uint64_t inside);

/* ---- inspect_rate.c ---- */

enum inspect_way { INSPECT_BY_TRACEPOINT, INSPECT_BY_SAMPLING };
struct inspect_rate {
	enum inspect_way way;
	const char *why; /* why the tracepoint is not used */
	double seconds;
	uint64_t forks, spawns, threads; /* threads: -1ull if they cannot be told apart */
	bool lost; /* some events were lost */
};
struct inspect_watch;
/* NULL: no memory. `why`: as above. */
struct inspect_watch *inspect_watch_begin(const struct inspect_process *process);
/* Watches for this time. May be called several times; each call counts from the end of the last. */
void inspect_watch_for(struct inspect_watch *watch, double seconds, struct inspect_rate *rate);
void inspect_watch_end(struct inspect_watch *watch);

/* ---- inspect_library.c ---- */

#define INSPECT_HOLDERS 16
struct inspect_library {
	bool loaded; /* the library is in this process */
	int error; /* why its state could not be read; 0: it was read */
	char version[32];
	bool has_heap, has_region;
	bool is_child; /* the process is a copy of one whose heap is awake, and has no heap of its own yet */
	unsigned heap_state, heap_reason;
	uint64_t placed, spills, forks, spawns;
	size_t regions, frozen, given_up;
	uint64_t region_bytes; /* address space */
	uint64_t freezes, settles, last_freeze_ns, longest_pause_ns;
	double since_freeze, since_settle; /* seconds; negative: never, or not known */
	size_t holder_count; /* processes that map a region's file, except the keeper and this process */
	bool holders_complete; /* all processes could be examined */
	struct {
		pid_t pid;
		char name[32];
	} holders[INSPECT_HOLDERS];
	pid_t keeper;
};
void inspect_library_read(const struct inspect_process *process, const struct inspect_memory *memory,
			  struct inspect_library *library);

/* ---- All together ---- */

struct inspection {
	struct inspect_process process;
	bool has_memory, has_rate; /* these were examined successfully */
	int memory_error;
	struct inspect_memory memory;
	struct inspect_allocator allocator;
	struct inspect_obstacles obstacles;
	struct inspect_costs costs;
	struct inspect_rate rate;
	struct inspect_library library;
	struct inspect_prediction cost, under;
	char advice[512];
};
/* ---- inspect_advice.c ---- */
void inspect_judge(struct inspection *inspection);
/* ---- inspect_print.c ---- */
void inspect_print(const struct inspection *inspection);
void inspect_print_json(const struct inspection *inspection);
#endif
