/* SPDX-License-Identifier: MIT
 * A part of a range that is of one kind, and what can be done to it. For the files of this folder that are the
 * mapping door; under the region's lock where nothing else is said. Async-signal-safe. */
#ifndef ODF_HEAP_SPAN_H
#define ODF_HEAP_SPAN_H

#include "internal.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifdef MAP_32BIT
#define MAP_LOW MAP_32BIT
#else
#define MAP_LOW 0
#endif

/* A part of a range that is of one kind. REGION_FOREIGN: the kernel's, in a region or not. */
struct span {
	char *start;
	size_t length;
	odf_region *region;
	char *base;
	enum region_kind kind;
	int protection;
	unsigned advice; /* KEPT_*, of an island */
	bool inherited;
	bool sealed;
	bool young; /* a foreign place in a region in place that is anonymous memory of the program's */
};

/* What was asked of an island, to be asked of what comes in its place. */
#define KEPT_DONTFORK  1u
#define KEPT_DONTDUMP  2u
#define KEPT_MERGEABLE 4u
#define KEPT_LOCKED    8u
#define KEPT_ONFAULT   16u
/* Where files have large pages (advice.c). */
#define KEPT_SMALL     32u
/* No copy of it can be made, which might not be let read it and would not have its protection key. */
#define KEPT_KEYED     64u

static inline long raw_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	return sys_call6(SYS_mmap, (long)address, (long)length, protection, flags, file, offset);
}

static inline bool span_is_aligned(const void *address)
{
	return (uintptr_t)address % HEAP_PAGE == 0;
}

/* On AArch64 the top byte of an address may be a tag, which the kernel takes off where it is told of memory. */
static inline void *span_untagged(const void *address)
{
	uintptr_t at = (uintptr_t)address;

#ifdef __aarch64__
	at &= (uintptr_t)((intptr_t)(at << 8) >> 8);
#endif
	return (void *)at;
}

static inline size_t span_round_up(size_t length)
{
	return (length + HEAP_PAGE - 1) / HEAP_PAGE * HEAP_PAGE;
}

/* Where the addresses of a process end. A range beyond is refused as a whole. */
#ifdef __x86_64__
#define ADDRESSES_END (((uintptr_t)1 << 47) - HEAP_PAGE)
#else
#define ADDRESSES_END ((uintptr_t)1 << 48)
#endif

/* Not under the lock. */
bool span_touches(const void *address, size_t length);
struct span span_at(char *at, char *end);
struct span span_true_at(char *at, char *end);
size_t span_offset(const struct span *span);
/* What follows one span in the walk. Result 0: go on; else the walk ends with it, but for -ENOMEM when `past_holes`,
 * which is remembered. */
typedef long span_function(struct span *span, long argument);
/* Takes the lock. */
long span_walk(void *address, size_t length, bool past_holes, span_function *function, long argument);
/* The same for calls that are rare enough to find out first what the program has done there past the library. */
long span_walk_looking(void *address, size_t length, bool past_holes, span_function *function, long argument);
/* Under the lock: finds it out, as far as it can be. */
void span_look(char *at, char *end);
long span_cut(struct span *span);
void span_keep_advice(char *start, size_t length, unsigned advice);
void span_note_advice(const struct span *span, unsigned set, unsigned clear);
long span_zero(struct span *span);
/* To memory that is zero. False: there was nothing to copy. */
bool span_copy(char *to, const char *from, size_t length);
/* Whatever its rights are it can be read in between. False: it cannot, and has the rights that it had. */
bool span_open(const struct span *span);
void span_close(const struct span *span);
/* Not under the lock. */
void span_check_pieces(void);
long span_unmap(char *at, char *end);
bool span_is_all_hole(char *at, char *end);
/* The kernel refuses to unmap a range with such memory in it, as a whole. */
bool span_is_sealed(char *at, char *end);
/* The span's own rights, or others that it is to have with it. */
long span_make_anonymous(struct span *span, int protection);
/* Large pages are asked for: memory in which the kernel can have them becomes its own, and the span is what there is
 * at its start then. `all`: with what is in use already, if it can be. (huge.c) */
void span_make_large(struct span *span, bool all);
/* The range goes away by a call of the program's, which returns 0 or minus an errno value. */
long span_lose_by(char *address, size_t length, long (*call)(void *argument), void *argument);

/* A place to propose for what is not the program's. */
void *span_apart(size_t length);

/* ---- own.c ---- Not under the lock. ---- */
/* The range is one that the kernel would look at, and some of it is the library's own. */
bool own_meets(const void *address, size_t length);
/* The lowest of it that meets [at, end). */
bool own_find(char *at, char *end, char **from, char **to);
/* Returns what a system call does. */
typedef long own_function(void *address, size_t length, const void *argument);
/* The call for what is around, and around the views of files as well if `views`, up to the first that fails: the last
 * result. */
long own_around(void *address, size_t length, bool views, own_function *call, const void *argument);
/* A range that is shorter, and meets it, is refused where the program could not use it. */
#define OWN_WIDE ((size_t)1 << 30)

/* A call that changes what is in a range. */
struct own_request {
	long number, c, d; /* the system call, and what follows upon address and length */
	bool past_holes;   /* it goes on after ENOMEM */
	long (*inside)(void *address, size_t length, long c, long d); /* of a part with memory of regions */
};
/* Then it is to be asked so. */
bool own_is_asked(const void *address, size_t length);
long own_ask(void *address, size_t length, const struct own_request *request);

/* ---- mapping.c ---- */
/* mmap, fixed there: what lies in regions is lost by it. */
long span_map_over(char *address, size_t length, int protection, int flags, int file, off_t offset);
/* The kernel refuses a single request for more than the machine has (overcommit by heuristic); no machine is smaller
 * than this. */
#define LARGE_REQUEST ((size_t)256 << 20)
/* It is more than the machine has, as far as that may be asked. Not only under the lock. */
bool span_exceeds_machine(size_t length);

/* Rights that a region knows. With others, which AArch64 has (tags of memory, jumps that are checked), memory is no
 * region's. */
#define SPAN_RIGHTS (PROT_READ | PROT_WRITE | PROT_EXEC | 8 /* PROT_SEM */)

/* ---- window.c ---- */
/* A mapping that a region in place can adopt one day, whatever its rights are now. */
static inline bool is_young_kind(int flags)
{
	return (flags & ~(MAP_NORESERVE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_LOW)) == (MAP_PRIVATE | MAP_ANONYMOUS);
}
/* What lists say of a place that the kernel has just found free, and given, is history, of system calls past the
 * library: lost. */
void span_forget_history(char *address, size_t length);
/* The memory got attributes that only the kernel keeps (locks, advice), and is not adopted; or it has none. */
void span_forget_young(char *address, size_t length);
void span_note_young(char *address, size_t length, int protection);
/* What was opened without the lock is in the list as it is now. */
void span_true_rights(const char *address, size_t length);
/* So much of a window's memory has been given back. */
void span_note_unmapped(size_t length);
long span_put_over(char *address, size_t length, long number, const long arguments[6]);
#endif
