/* SPDX-License-Identifier: MIT
 *
 * The malloc door. libc's malloc asks the kernel directly, past the mapping door; so when the heap is awake requests
 * go to mimalloc, whose memory comes by the mapping door like any other's. It is loaded by a thread of its own: the
 * loader's lock may be held by a thread that waits for a lock which the caller of malloc holds. Until it is there,
 * and where it is not installed, large requests at least are mapped in the region one by one.
 *
 * Whose a pointer is, is told by its address. What lies in this process's region is mimalloc's, or one of the large
 * ones, which are in a table. Elsewhere mimalloc has a map of its memory, which ends at 20 TiB in version 2; what it
 * gets beyond that is in a list of ours (beyond.c). All else is the next malloc's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "../sys/own_memory.h"
#include "internal.h"

static const char *const allocators[] = { HEAP_ALLOCATORS };
/* Its options, in all of versions 2 and 3: mi_option_eager_commit_delay; since 2.1.2 mi_option_arena_eager_commit and
 * mi_option_arena_reserve (KiB). */
#define EAGER_COMMIT_DELAY 14
#define PURGE_DELAY 15
#define ARENA_EAGER_COMMIT 4
#define ARENA_RESERVE 23
#define HAS_ARENAS_SINCE 212 /* as mi_version says it */
/* Of its first mapping, which would be of 1 GiB: all of the smallest region, and in a child of 1 GiB that is outside
 * of the child's. */
#define ARENA_KIB (64 << 10)

/* What is large enough for mappings of its own: libc's threshold for the same. */
#define LARGE ((size_t)128 << 10)
/* What libc's malloc maps one by one in any case, however large the blocks were that were freed before; so is it
 * here, and grows by moving its pages. */
#define LARGE_ALWAYS HEAP_LARGE_IN_PLACE
/* Fresh mappings are zero without a write to each page. */
#define LARGE_ZEROS ((size_t)1 << 20)
#define LARGE_SLOTS 65536u
#define LARGE_ALIGNMENT_MOST ((size_t)1 << 20)

atomic_int heap_malloc_is_open;

static struct heap_malloc next, *entry;
static bool door_can_open;
static atomic_int door = ODF_HEAP_MALLOC_OTHER;
/* LEFT: this is a child of a process with several threads, or of one of which that is not known. mimalloc has locks
 * since 2.1.8, before that loops that wait for other threads, and does nothing about either at a fork: what a thread
 * was at that is not in the child never ends, where libc's malloc works in every child. What mimalloc gave before the
 * fork stays as it is and where it is, and it is not called any more. */
enum { NOT_LOADED, LOADING, LOADED, FAILED, LEFT };
static atomic_int loading;
static atomic_bool closed;
static pthread_t loading_thread;
static struct heap_loader loader;

static struct {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void *(*malloc_aligned)(size_t, size_t);
	void (*free)(void *);
	size_t (*usable_size)(const void *);
	bool (*is_in_heap_region)(const void *);
	void (*collect)(bool);
	void (*option_set)(int option, long value);
	int (*version)(void);
} mimalloc;
/* By which it is told that a thread ends. */
static pthread_key_t its_key;
static bool its_key_is_known;

odf_heap_malloc heap_malloc_door(void)
{
	return (odf_heap_malloc)atomic_load(&door);
}

/* Until mimalloc is there; the thread that loads it may have said so since the caller looked. */
static void note_large_ones(void)
{
	int libc = ODF_HEAP_MALLOC_LIBC;

	(void)atomic_compare_exchange_strong(&door, &libc, ODF_HEAP_MALLOC_LARGE);
}

/* ---- Large ones ---- */

struct large {
	size_t size; /* that can be used */
	char *mapping;
	size_t length;
};

static _Atomic(uintptr_t) large_table[LARGE_SLOTS]; /* untouched pages cost nothing */
static atomic_uint large_count;
#define LARGE_GONE 1u

static unsigned slot_of(uintptr_t pointer)
{
	return (unsigned)((pointer >> 12) * 2654435761u) % LARGE_SLOTS;
}

/* NULL if it is none. */
static struct large *find_large(const void *pointer)
{
	uintptr_t wanted = (uintptr_t)pointer, found;

	if (atomic_load_explicit(&large_count, memory_order_relaxed) == 0 || wanted % 64 != 0)
		return NULL;
	for (unsigned i = 0, slot = slot_of(wanted); i < LARGE_SLOTS; i++, slot = (slot + 1) % LARGE_SLOTS) {
		found = atomic_load_explicit(&large_table[slot], memory_order_acquire);
		if (found == wanted)
			return (struct large *)(wanted - 64);
		if (found == 0)
			return NULL;
	}
	return NULL;
}

static bool remember_large(const void *pointer)
{
	uintptr_t was;

	for (unsigned i = 0, slot = slot_of((uintptr_t)pointer); i < LARGE_SLOTS / 2; i++, slot = (slot + 1) % LARGE_SLOTS) {
		was = atomic_load_explicit(&large_table[slot], memory_order_relaxed);
		if ((was == 0 || was == LARGE_GONE) && atomic_compare_exchange_strong(&large_table[slot], &was, (uintptr_t)pointer)) {
			atomic_fetch_add(&large_count, 1);
			return true;
		}
	}
	return false;
}

static void forget_large(const void *pointer)
{
	uintptr_t wanted = (uintptr_t)pointer;

	for (unsigned i = 0, slot = slot_of(wanted); i < LARGE_SLOTS; i++, slot = (slot + 1) % LARGE_SLOTS) {
		if (atomic_load_explicit(&large_table[slot], memory_order_relaxed) != wanted)
			continue;
		atomic_store_explicit(&large_table[slot], LARGE_GONE, memory_order_release);
		atomic_fetch_sub(&large_count, 1);
		return;
	}
}

/* NULL: not here. */
static void *large_malloc(size_t size, size_t alignment)
{
	size_t front = alignment < 64 ? 64 : alignment, length;
	char *mapping, *pointer;
	long result;

	if (!door_can_open || size > SIZE_MAX / 4 || alignment > LARGE_ALIGNMENT_MOST || heap_region() == NULL)
		return NULL;
	length = (size + 2 * front + HEAP_PAGE - 1) / HEAP_PAGE * HEAP_PAGE;
	result = heap_map_large(length);
	if (result < 0 && result > -4096)
		return NULL;
	mapping = (char *)result;
	pointer = (char *)((uintptr_t)(mapping + 64 + front - 1) / front * front);
	*(struct large *)(pointer - 64) = (struct large){ (size_t)(mapping + length - pointer), mapping, length };
	if (remember_large(pointer))
		return pointer;
	(void)heap_munmap(mapping, length);
	return NULL;
}

/* NULL: not in this way; the block is what it was. */
static void *large_realloc(char *pointer, const struct large *large, size_t size)
{
	struct large was = *large, *is;
	size_t front = (size_t)(pointer - was.mapping), length;
	long result;

	if (size > SIZE_MAX / 4 || size < LARGE || atomic_load_explicit(&large_count, memory_order_relaxed) > LARGE_SLOTS / 4)
		return NULL;
	length = (front + size + HEAP_PAGE - 1) / HEAP_PAGE * HEAP_PAGE;
	if (length == was.length)
		return pointer;
	forget_large(pointer);
	result = heap_mremap(was.mapping, was.length, length, MREMAP_MAYMOVE, NULL);
	if (result < 0 && result > -4096) {
		(void)remember_large(pointer); /* in the slot that it had, or another */
		return NULL;
	}
	pointer = (char *)result + front;
	is = (struct large *)(pointer - 64);
	*is = (struct large){ length - front, (char *)result, length };
	(void)remember_large(pointer); /* a quarter of the slots is taken at most */
	return pointer;
}

static void large_free(void *pointer, const struct large *large)
{
	struct large copy = *large;

	forget_large(pointer);
	(void)heap_munmap(copy.mapping, copy.length);
}

/* ---- The loading of mimalloc ---- */

static _Atomic(uintptr_t) code_start, code_end;

bool heap_is_our_allocator(const void *code)
{
	uintptr_t at = (uintptr_t)code;

	return at >= atomic_load_explicit(&code_start, memory_order_relaxed) && at < atomic_load_explicit(&code_end, memory_order_relaxed);
}

static int find_code(struct dl_phdr_info *info, size_t size, void *address)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
		if (info->dlpi_phdr[i].p_type != PT_LOAD || (uintptr_t)address < start || (uintptr_t)address >= start + info->dlpi_phdr[i].p_memsz)
			continue;
		atomic_store(&code_end, start + info->dlpi_phdr[i].p_memsz);
		atomic_store(&code_start, start);
		return 1;
	}
	return 0;
}

static void open_door(void);

#define KEYS 1024 /* PTHREAD_KEYS_MAX, which is 1024 in glibc, is not to be had under strict standards */

static void find_its_key(void *const before[KEYS])
{
	unsigned found = 0;

	for (unsigned key = 0; key < KEYS; key++)
		if (before[key] == NULL && pthread_getspecific((pthread_key_t)key) != NULL) {
			its_key = (pthread_key_t)key;
			found++;
		}
	its_key_is_known = found == 1;
}

static void *load(void *unused)
{
	void *library = NULL, *before[KEYS];

	(void)unused;
	for (unsigned key = 0; key < KEYS; key++)
		before[key] = pthread_getspecific((pthread_key_t)key);
	for (size_t i = 0; library == NULL && i < sizeof allocators / sizeof *allocators; i++)
		library = loader.open(allocators[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
#define FIND(member, name) (*(void **)&mimalloc.member = loader.find(library, name)) != NULL
	if (library != NULL && FIND(malloc, "mi_malloc") && FIND(calloc, "mi_calloc") && FIND(realloc, "mi_realloc") &&
	    FIND(malloc_aligned, "mi_malloc_aligned") && FIND(free, "mi_free") && FIND(usable_size, "mi_usable_size") &&
	    FIND(is_in_heap_region, "mi_is_in_heap_region") && FIND(collect, "mi_collect") &&
	    FIND(version, "mi_version") &&
	    loader.iterate(find_code, *(void **)&mimalloc.malloc) == 1) {
		/* It would map the first 32 MiB of each thread but the one that loads it without rights, and make
		 * that accessible piece by piece: outside. */
		if (FIND(option_set, "mi_option_set"))
			mimalloc.option_set(EAGER_COMMIT_DELAY, 0);
		if (mimalloc.option_set != NULL && mimalloc.version() >= HAS_ARENAS_SINCE) {
			mimalloc.option_set(ARENA_EAGER_COMMIT, 1);
			mimalloc.option_set(ARENA_RESERVE, ARENA_KIB);
		}
		mimalloc.free(mimalloc.malloc(16));
		find_its_key(before);
		atomic_store(&door, ODF_HEAP_MALLOC_MIMALLOC);
		atomic_store_explicit(&loading, LOADED, memory_order_release);
	} else {
		(void)loader.error();
		atomic_store_explicit(&loading, FAILED, memory_order_release);
	}
	return NULL;
}

static void start_loading(void)
{
	int expected = NOT_LOADED, error;
	sigset_t all, mask;
	bool was;

	if (!atomic_compare_exchange_strong(&loading, &expected, LOADING))
		return;
	was = own_memory_begin();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	error = pthread_create(&loading_thread, NULL, load, NULL);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	own_memory_end(was);
	if (error == 0)
		pthread_detach(loading_thread);
	else
		atomic_store(&loading, FAILED);
}

void heap_malloc_load(void)
{
	int expected = NOT_LOADED;

	if (!door_can_open || !atomic_compare_exchange_strong(&loading, &expected, LOADING))
		return;
	loading_thread = pthread_self();
	(void)load(NULL);
	note_large_ones();
	open_door();
}

/* A child in which the loader stands still in the middle of its work is of no use for a program that loads more. */
#define WAIT_MS 500

/* So long that it gives nothing back by itself any more, in milliseconds. */
#define PURGE_NEVER ((long)1 << 40)

void heap_close_malloc_now(void)
{
	atomic_store(&closed, true);
}

void heap_close_malloc(void)
{
	heap_before_fork(); /* a thread that loads is not to be caught half-way */
	heap_close_malloc_now();
	if (atomic_load_explicit(&loading, memory_order_acquire) == LOADED && mimalloc.option_set != NULL)
		mimalloc.option_set(PURGE_DELAY, PURGE_NEVER);
	if (heap_malloc_door() != ODF_HEAP_MALLOC_OTHER)
		atomic_store(&door, ODF_HEAP_MALLOC_LIBC);
}

void heap_before_fork(void)
{
	struct timespec millisecond = { 0, 1000000 };

	for (unsigned tries = 0; atomic_load(&loading) == LOADING && tries < WAIT_MS && !pthread_equal(pthread_self(), loading_thread); tries++)
		(void)sys_call2(SYS_nanosleep, &millisecond, NULL);
}

void heap_malloc_in_child(void)
{
	if (atomic_load(&loading) == LOADING) /* the thread is not in this process */
		atomic_store(&loading, FAILED);
	if (door_can_open)
		open_door();
}

bool heap_allocator_is_wanted(void)
{
	int now = atomic_load(&loading);

	return now == LOADING || now == LOADED;
}

void heap_leave_allocator(void)
{
	int expected = LOADED;

	if (!atomic_compare_exchange_strong(&loading, &expected, LEFT))
		return;
	atomic_store(&door, ODF_HEAP_MALLOC_LIBC);
	if (its_key_is_known)
		(void)pthread_setspecific(its_key, NULL);
}

/* ---- The door ---- */

void heap_set_loader(const struct heap_loader *functions)
{
	loader = *functions;
}

/* Pointers that are not the next one's are about: who frees has to look. */
static void look_at_pointers(void)
{
	if (entry == NULL)
		return;
	__atomic_store_n(&entry->free, heap_free, __ATOMIC_SEQ_CST);
	__atomic_store_n(&entry->realloc, heap_realloc, __ATOMIC_SEQ_CST);
	atomic_store(&heap_malloc_is_open, 1);
}

static void open_door(void)
{
	look_at_pointers();
	if (entry == NULL || !door_can_open)
		return;
	__atomic_store_n(&entry->malloc, heap_malloc, __ATOMIC_SEQ_CST);
	__atomic_store_n(&entry->calloc, heap_calloc, __ATOMIC_SEQ_CST);
}

void heap_set_next(const struct heap_malloc *libc, struct heap_malloc *table, bool whole)
{
	static atomic_flag is_set = ATOMIC_FLAG_INIT;

	/* Of look-ups that race the first counts: a later one would shut a door that is open. */
	if (atomic_flag_test_and_set(&is_set))
		return;
	next = *libc;
	*table = next;
	entry = table;
	own_memory_on_use = look_at_pointers;
	door_can_open = whole && libc->is_libc;
	atomic_store(&door, door_can_open ? ODF_HEAP_MALLOC_LIBC : ODF_HEAP_MALLOC_OTHER);
}

/* A thread takes so much of what the process may still ask for at a time. */
#define SLICE (1ul << 20)

bool heap_look(size_t size)
{
	int saved;

	own_memory_allowance = 0; /* of what is asked for from our own memory, each request is to come here */
	if (own_memory_wanted())
		return true;
	heap_meet_child();
	heap_look_at_inherited();
	own_memory_allowance = SLICE;
	if (!door_can_open)
		own_memory_allowance = ULONG_MAX / 2; /* the mapping door sees it */
	else if (heap_state() == ODF_HEAP_OFF)
		own_memory_allowance = 64 * SLICE;
	else if (heap_state() == ODF_HEAP_ASLEEP)
		heap_grows((size > SLICE ? size : 0) + SLICE);
	if (heap_state() != ODF_HEAP_AWAKE || !door_can_open)
		return false;
	note_large_ones();
	saved = errno;
	start_loading();
	errno = saved;
	open_door();
	return true;
}

static bool has_mimalloc(void)
{
	if (__builtin_expect(heap_is_new_process(), 0))
		heap_meet_process();
	return atomic_load_explicit(&loading, memory_order_acquire) == LOADED;
}

/* New memory comes from mimalloc. */
static bool serves(void)
{
	return has_mimalloc() && !atomic_load_explicit(&closed, memory_order_relaxed);
}

static bool is_of_mimalloc(const void *pointer)
{
	odf_region *region;
	const char *base;

	if (!has_mimalloc() && atomic_load_explicit(&loading, memory_order_relaxed) != LEFT)
		return false;
	/* Of a region that is this process's own; in one that was inherited the kernel may have put anything. */
	region = heap_region();
	base = region != NULL ? odf_region_base(region) : NULL;
	if (region != NULL && (const char *)pointer >= base && (const char *)pointer < base + odf_region_capacity(region))
		return true;
	return mimalloc.is_in_heap_region(pointer) || heap_is_beyond(pointer);
}

/* libc's pointers are for any type, and so is what is smaller than that; mimalloc's small ones only for what fits. */
static size_t enough(size_t size)
{
	return size <= 8 ? 16 : size;
}

/* mimalloc asks the machine for this and that as it goes along (its nodes at the first request), and leaves errno at
 * what that came to. libc's malloc does not touch it where it succeeds. */
static void *told(void *pointer, int saved)
{
	errno = pointer == NULL ? ENOMEM : saved;
	return pointer;
}

void *heap_malloc(size_t size)
{
	void *pointer;

	if (own_memory_wanted()) {
		pointer = own_memory_get(size);
		if (pointer != NULL)
			return pointer;
	}
	if (size >= LARGE_ALWAYS) {
		int saved = errno;
		pointer = large_malloc(size, 16);
		if (pointer != NULL)
			return told(pointer, saved);
	}
	if (serves()) {
		int saved = errno;
		return told(mimalloc.malloc(enough(size)), saved);
	}
	pointer = size >= LARGE ? large_malloc(size, 16) : NULL;
	return pointer != NULL ? pointer : next.malloc(size);
}

void *heap_calloc(size_t count, size_t size)
{
	void *pointer = NULL;
	size_t whole;

	if (own_memory_wanted() && !__builtin_mul_overflow(count, size, &whole)) {
		pointer = own_memory_get(whole);
		if (pointer != NULL)
			return pointer;
	}
	if (!__builtin_mul_overflow(count, size, &whole) && whole >= LARGE_ZEROS) {
		int saved = errno;
		pointer = large_malloc(whole, 16);
		if (pointer != NULL)
			return told(pointer, saved);
	}
	if (serves()) {
		int saved = errno;
		pointer = !__builtin_mul_overflow(count, size, &whole) && whole <= 8 ? mimalloc.calloc(1, 16) : mimalloc.calloc(count, size);
		return told(pointer, saved);
	}
	if (!__builtin_mul_overflow(count, size, &whole) && whole >= LARGE)
		pointer = large_malloc(whole, 16); /* fresh memory is zero */
	return pointer != NULL ? pointer : next.calloc(count, size);
}

size_t heap_usable_size(void *pointer)
{
	const struct large *large;

	if (pointer == NULL)
		return 0;
	if (own_memory_has(pointer))
		return own_memory_size(pointer);
	large = find_large(pointer);
	if (large != NULL)
		return large->size;
	return is_of_mimalloc(pointer) ? mimalloc.usable_size(pointer) : next.malloc_usable_size(pointer);
}

void heap_free(void *pointer)
{
	const struct large *large;
	int saved = errno;

	if (pointer == NULL || own_memory_has(pointer))
		return;
	large = find_large(pointer);
	if (large != NULL)
		large_free(pointer, large);
	else if (!is_of_mimalloc(pointer))
		next.free(pointer);
	else if (has_mimalloc())
		mimalloc.free(pointer);
	errno = saved;
}

void *heap_realloc(void *pointer, size_t size)
{
	const struct large *large;
	bool special, theirs;
	void *fresh;
	size_t old;

	if (pointer == NULL)
		return heap_malloc(size);
	large = own_memory_has(pointer) ? NULL : find_large(pointer);
	special = own_memory_has(pointer) || large != NULL;
	theirs = !special && is_of_mimalloc(pointer);
	/* As libc's: of no size means free. */
	if (size == 0) {
		heap_free(pointer);
		return NULL;
	}
	if (large != NULL) {
		int saved = errno;
		fresh = large_realloc(pointer, large, size);
		if (fresh != NULL)
			return told(fresh, saved);
		errno = saved;
	}
	if (theirs && serves() && size < LARGE_ALWAYS) {
		int saved = errno;
		return told(mimalloc.realloc(pointer, enough(size)), saved);
	}
	if (!special && !theirs && !serves() && size < LARGE)
		return next.realloc(pointer, size);
	old = heap_usable_size(pointer);
	if (theirs && size <= old)
		return pointer;
	if (!special && !theirs && size <= old && size >= old / 2)
		return next.realloc(pointer, size); /* nothing to move for */
	fresh = heap_malloc(size);
	if (fresh == NULL)
		return NULL;
	memcpy(fresh, pointer, old < size ? old : size);
	heap_free(pointer);
	return fresh;
}

/* What the two allocators do not do alike is left to the next one. */
void *heap_memalign(size_t alignment, size_t size)
{
	void *pointer = NULL;
	bool sound = alignment != 0 && (alignment & (alignment - 1)) == 0 && alignment <= LARGE_ALIGNMENT_MOST;

	if (sound && !own_memory_wanted() && serves() && size < LARGE_ALWAYS) {
		int saved = errno;
		pointer = told(mimalloc.malloc_aligned(size, alignment), saved);
		if (((uintptr_t)pointer & (alignment - 1)) == 0)
			return pointer;
		mimalloc.free(pointer); /* seen once; who asked relies on it */
		errno = saved;
		pointer = NULL;
	}
	if (sound && size >= LARGE)
		pointer = large_malloc(size, alignment);
	return pointer != NULL ? pointer : next.memalign(alignment, size);
}

void heap_trim(void)
{
	int saved = errno;

	if (has_mimalloc())
		mimalloc.collect(true);
	errno = saved;
}
