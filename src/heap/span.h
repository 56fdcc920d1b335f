/* SPDX-License-Identifier: MIT
 * Spans: parts of a range that are of one kind, and what can be done to them. For the files of this folder that make up
 * the mapping door; under the region's lock unless stated otherwise. Async-signal-safe. */
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

/* A part of a range that is of one kind. REGION_FOREIGN: left to the kernel, in a region or not. */
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
	bool young; /* foreign, in a region in place: anonymous memory of the program */
};

/* What the program asked for an island, to be asked again for memory that replaces it. */
#define KEPT_DONTFORK  1u
#define KEPT_DONTDUMP  2u
#define KEPT_MERGEABLE 4u
#define KEPT_LOCKED    8u
#define KEPT_ONFAULT   16u
/* MADV_NOHUGEPAGE, where files have large pages (advice.c). */
#define KEPT_SMALL     32u
/* It has a protection key: it cannot be copied, as the thread may have no right to read it, and the copy would lack the
 * key. */
#define KEPT_KEYED     64u

static inline long raw_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
	return sys_call6(SYS_mmap, (long)address, (long)length, protection, flags, file, offset);
}

static inline bool span_is_aligned(const void *address)
{
	return (uintptr_t)address % HEAP_PAGE == 0;
}

/* On AArch64 the top byte of an address may be a tag, which the kernel ignores in calls about memory. */
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

/* The end of a process's addresses. The kernel refuses a range beyond as a whole. */
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
/* What a walk calls for each span. 0: the walk goes on. An error ends it, except for -ENOMEM with `past_holes`, which
 * is only remembered. */
typedef long span_function(struct span *span, long argument);
/* Takes the lock. */
long span_walk(void *address, size_t length, bool past_holes, span_function *function, long argument);
/* The same for rare calls: it first finds out what the program has changed there by raw system calls. */
long span_walk_looking(void *address, size_t length, bool past_holes, span_function *function, long argument);
/* Under the lock: finds that out, as far as possible. */
void span_look(char *at, char *end);
long span_cut(struct span *span);
void span_keep_advice(char *start, size_t length, unsigned advice);
/* Without a lock that the memory does not have any more. */
unsigned span_true_advice(const struct span *span);
void span_note_advice(const struct span *span, unsigned set, unsigned clear);
/* Notes which locks the memory does not have any more. Without that, parts of one mapping could differ in advice. */
void span_forget_ended_locks(char *at, char *end);
long span_zero(struct span *span);
/* `to` is zero before. False: there was nothing to copy. */
bool span_copy(char *to, const char *from, size_t length);
/* Between the two calls the span can be read, whatever its rights are. False: it cannot, and its rights are what they
 * were. */
bool span_open(const struct span *span);
void span_close(const struct span *span);
/* Not under the lock. */
void span_check_pieces(void);
long span_unmap(char *at, char *end);
bool span_is_all_hole(char *at, char *end);
/* Some of the range is sealed: the kernel refuses to unmap any of it. */
bool span_is_sealed(char *at, char *end);
/* `protection`: the span's own rights, or others that it is to get with this. */
long span_make_anonymous(struct span *span, int protection);
/* The program asks for large pages: memory in which the kernel can have them leaves the region, and the span is then
 * what is at its start. `all`: also memory that is in use, if possible. (huge.c) */
void span_make_large(struct span *span, bool all);
/* The range is unmapped by a call of the program, which returns 0 or minus an errno value. */
long span_lose_by(char *address, size_t length, long (*call)(void *argument), void *argument);

/* A hint for the address of a mapping of the library's own. */
void *span_apart(size_t length);

/* ---- own.c ---- Not under the lock. ---- */
/* The kernel would accept the range, and it meets mappings of the library's own. */
bool own_meets(const void *address, size_t length);
/* The lowest of these mappings that meets [at, end). */
bool own_find(char *at, char *end, char **from, char **to);
/* Returns what a system call does. */
typedef long own_function(void *address, size_t length, const void *argument);
/* Makes the call for each part between the library's own mappings, with `views` also between views of files, up to the
 * first that fails. Returns the last result. */
long own_around(void *address, size_t length, bool views, own_function *call, const void *argument);
/* In a shorter range that meets these mappings, a request for memory is refused, as the program could not use all of
 * it. */
#define OWN_WIDE ((size_t)1 << 30)

/* A call that changes what is in a range. */
struct own_request {
	long number, c, d; /* the system call, and its arguments after address and length */
	bool past_holes;   /* the call goes on after ENOMEM */
	long (*inside)(void *address, size_t length, long c, long d); /* for a part with memory of regions */
};
/* True: own_ask makes the call. */
bool own_is_asked(const void *address, size_t length);
long own_ask(void *address, size_t length, const struct own_request *request);

/* ---- mapping.c ---- */
/* mmap with MAP_FIXED: memory of regions in the range is lost. */
long span_map_over(char *address, size_t length, int protection, int flags, int file, off_t offset);
/* With heuristic overcommit the kernel refuses a single request for more memory than the machine has. No machine has
 * less than this. */
#define LARGE_REQUEST ((size_t)256 << 20)
/* The length is more than the machine has; false if that may not be asked. With or without the lock. */
bool span_exceeds_machine(size_t length);

/* The rights that memory in a region can have. Memory with others (on AArch64 memory tags and checked jumps) stays
 * outside. */
#define SPAN_RIGHTS (PROT_READ | PROT_WRITE | PROT_EXEC | 8 /* PROT_SEM */)

/* ---- window.c ---- */
/* A mapping that a region in place may adopt later, whatever its rights are now. */
static inline bool is_young_kind(int flags)
{
	return (flags & ~(MAP_NORESERVE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_LOW)) == (MAP_PRIVATE | MAP_ANONYMOUS);
}
/* The kernel has just found this place free and mapped something there: what the lists say of it is outdated, because
 * of raw system calls, and is dropped. */
void span_forget_history(char *address, size_t length);
/* The memory is not young any more: it got attributes that only the kernel keeps (locks, advice), or it is gone. */
void span_forget_young(char *address, size_t length);
void span_note_young(char *address, size_t length, int protection);
/* The list gets the present rights of memory that was opened without the lock (heap_open_quietly). */
void span_true_rights(const char *address, size_t length);
/* This many bytes of a window's memory have been unmapped. */
void span_note_unmapped(size_t length);
long span_put_over(char *address, size_t length, long number, const long arguments[6]);
#endif
