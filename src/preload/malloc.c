/* SPDX-License-Identifier: MIT
 *
 * The interposed malloc family. Asleep each is a branch and a jump to the next one. As the loader and libc call it
 * from early on, the next ones are looked up at the first call of any; that look-up allocates nothing unless it
 * fails, and such a request is served from memory of our own.
 *
 * Not under an address sanitizer, which must be the program's allocator.
 */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../heap/heap.h"
#include "../sys/own_memory.h"
#include "preload.h"

#define EXPORTED __attribute__((visibility("default")))

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define WITHOUT_MALLOC 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define WITHOUT_MALLOC 1
#endif
#endif

#ifdef WITHOUT_MALLOC
void preload_find_malloc(void)
{
}
#else

static void *first_malloc(size_t size);
static void first_free(void *pointer);
static void *first_calloc(size_t count, size_t size);
static void *first_realloc(void *pointer, size_t size);
static void *first_memalign(size_t alignment, size_t size);
static int first_posix_memalign(void **pointer, size_t alignment, size_t size);
static void *first_valloc(size_t size);
static size_t first_usable_size(void *pointer);
static int first_trim(size_t pad);
static bool found;
/* Before the look-up each does it and tries again. */
static struct heap_malloc next, entry = {
	.malloc = first_malloc,
	.free = first_free,
	.calloc = first_calloc,
	.realloc = first_realloc,
	.memalign = first_memalign,
	.aligned_alloc = first_memalign,
	.posix_memalign = first_posix_memalign,
	.valloc = first_valloc,
	.pvalloc = first_valloc,
	.malloc_usable_size = first_usable_size,
	.malloc_trim = first_trim,
};

/* Names that mean ours whatever the program has. */
__asm__(".set own_malloc, malloc\n.set own_free, free\n.set own_realloc, realloc\n");
extern const char own_malloc[] __attribute__((visibility("hidden")));
extern const char own_free[] __attribute__((visibility("hidden")));
extern const char own_realloc[] __attribute__((visibility("hidden")));

/* That references of the program reach ours. In an executable of fixed position which takes its address a function
 * has an entry there that leads to us and stands for it everywhere; such a symbol is not defined. */
static bool reaches(const char *name, const char *own)
{
	void *address = dlsym(RTLD_DEFAULT, name);
	void *found_symbol = NULL;
	Dl_info info;

	if ((const char *)address == own)
		return true;
	return address != NULL && dladdr1(address, &info, &found_symbol, RTLD_DL_SYMENT) != 0 && found_symbol != NULL &&
	       ((const ElfW(Sym) *)found_symbol)->st_shndx == SHN_UNDEF;
}

static void *find(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

/* Told by where it lies: tcmalloc and mimalloc have libc's inner names too (__libc_malloc). */
static bool is_in_libc(const void *function)
{
	const void *of_libc_alone = find("gnu_get_libc_version");
	Dl_info its, libc;

	return of_libc_alone != NULL && dladdr(function, &its) != 0 && dladdr(of_libc_alone, &libc) != 0 && its.dli_fbase == libc.dli_fbase;
}

void preload_find_malloc(void)
{
	struct heap_malloc fresh;
	bool was;

	if (found)
		return;
	/* Racing look-ups store the same. What the look-up itself asks for comes from memory of our own. */
	was = own_memory_begin();
	*(void **)&fresh.malloc = find("malloc");
	*(void **)&fresh.free = find("free");
	*(void **)&fresh.calloc = find("calloc");
	*(void **)&fresh.realloc = find("realloc");
	*(void **)&fresh.memalign = find("memalign");
	*(void **)&fresh.aligned_alloc = find("aligned_alloc");
	*(void **)&fresh.posix_memalign = find("posix_memalign");
	*(void **)&fresh.valloc = find("valloc");
	*(void **)&fresh.pvalloc = find("pvalloc");
	*(void **)&fresh.malloc_usable_size = find("malloc_usable_size");
	*(void **)&fresh.malloc_trim = find("malloc_trim");
	fresh.is_libc = fresh.malloc != NULL && is_in_libc(*(void **)&fresh.malloc);
	own_memory_end(was);
	if (fresh.malloc == NULL || fresh.free == NULL || fresh.calloc == NULL || fresh.realloc == NULL)
		abort(); /* there is no libc without them */
	fresh.is_libc = fresh.is_libc && fresh.memalign != NULL && fresh.aligned_alloc != NULL && fresh.posix_memalign != NULL &&
			fresh.valloc != NULL && fresh.pvalloc != NULL && fresh.malloc_usable_size != NULL && fresh.malloc_trim != NULL;
	next = fresh;
	found = true;
	/* The program's references to all of them must be to ours: an executable with a malloc of its own takes them
	 * all or some. */
	heap_set_loader(&(struct heap_loader){ dlopen, dlsym, dlerror, dl_iterate_phdr });
	heap_set_next(&next, &entry, fresh.is_libc && reaches("malloc", own_malloc) && reaches("free", own_free) && reaches("realloc", own_realloc));
}

static void *first_malloc(size_t size)
{
	if (own_memory_wanted())
		return own_memory_get(size);
	preload_find_malloc();
	return next.malloc(size);
}

static void first_free(void *pointer)
{
	preload_find_malloc();
	next.free(pointer);
}

static void *first_calloc(size_t count, size_t size)
{
	size_t whole;

	if (own_memory_wanted())
		return __builtin_mul_overflow(count, size, &whole) ? NULL : own_memory_get(whole);
	preload_find_malloc();
	return next.calloc(count, size);
}

static void *first_realloc(void *pointer, size_t size)
{
	if (own_memory_wanted() && pointer == NULL)
		return own_memory_get(size);
	preload_find_malloc();
	return next.realloc(pointer, size);
}

static void *first_memalign(size_t alignment, size_t size)
{
	preload_find_malloc();
	return next.memalign(alignment, size);
}

static int first_posix_memalign(void **pointer, size_t alignment, size_t size)
{
	preload_find_malloc();
	return next.posix_memalign(pointer, alignment, size);
}

static void *first_valloc(size_t size)
{
	preload_find_malloc();
	return next.valloc(size);
}

static size_t first_usable_size(void *pointer)
{
	preload_find_malloc();
	return next.malloc_usable_size(pointer);
}

static int first_trim(size_t pad)
{
	preload_find_malloc();
	return next.malloc_trim(pad);
}

/* True: this thread has to look first. */
static inline bool is_due(size_t size)
{
	return __builtin_expect(__builtin_sub_overflow(own_memory_allowance, size, &own_memory_allowance), 0);
}

/* True: the request is for heap_malloc, whatever the table says. Out of the way of those that need no stack. */
static __attribute__((noinline)) void *look_and_malloc(size_t size)
{
	return heap_look(size) ? heap_malloc(size) : entry.malloc(size);
}

static __attribute__((noinline)) void *look_and_calloc(size_t count, size_t size, size_t whole)
{
	return heap_look(whole) ? heap_calloc(count, size) : entry.calloc(count, size);
}

static __attribute__((noinline)) void *look_and_realloc(void *pointer, size_t size)
{
	return heap_look(size) ? heap_realloc(pointer, size) : entry.realloc(pointer, size);
}

EXPORTED void *malloc(size_t size)
{
	if (is_due(size))
		return look_and_malloc(size);
	return entry.malloc(size);
}

EXPORTED void free(void *pointer)
{
	entry.free(pointer);
}

EXPORTED void *calloc(size_t count, size_t size)
{
	size_t whole;

	if (__builtin_mul_overflow(count, size, &whole))
		whole = 0; /* the next one says so */
	if (is_due(whole))
		return look_and_calloc(count, size, whole);
	return entry.calloc(count, size);
}

EXPORTED void *realloc(void *pointer, size_t size)
{
	if (is_due(size))
		return look_and_realloc(pointer, size);
	return entry.realloc(pointer, size);
}

/* For the others of the family, which are rare. */
static bool is_heaps(size_t size)
{
	return (is_due(size) && heap_look(size)) || atomic_load_explicit(&heap_malloc_is_open, memory_order_relaxed);
}

EXPORTED void *reallocarray(void *pointer, size_t count, size_t size)
{
	size_t whole;

	if (__builtin_mul_overflow(count, size, &whole)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(pointer, whole);
}

EXPORTED void *memalign(size_t alignment, size_t size)
{
	return is_heaps(size) ? heap_memalign(alignment, size) : entry.memalign(alignment, size);
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
	return is_heaps(size) ? heap_memalign(alignment, size) : entry.aligned_alloc(alignment, size);
}

/* Leaves errno as libc's does: at ENOMEM where that is the result. */
EXPORTED int posix_memalign(void **pointer, size_t alignment, size_t size)
{
	void *fresh;

	if (alignment % sizeof(void *) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0)
		return EINVAL;
	if (!is_heaps(size))
		return entry.posix_memalign(pointer, alignment, size);
	fresh = heap_memalign(alignment, size);
	if (fresh == NULL)
		return ENOMEM;
	*pointer = fresh;
	return 0;
}

#define PAGE ((size_t)4096)

EXPORTED void *valloc(size_t size)
{
	return is_heaps(size) ? heap_memalign(PAGE, size) : entry.valloc(size);
}

EXPORTED void *pvalloc(size_t size)
{
	if (!is_heaps(size) || size > PTRDIFF_MAX - PAGE)
		return entry.pvalloc(size);
	return heap_memalign(PAGE, (size + PAGE - 1) / PAGE * PAGE);
}

EXPORTED size_t malloc_usable_size(void *pointer)
{
	return heap_malloc_is_open ? heap_usable_size(pointer) : entry.malloc_usable_size(pointer);
}

EXPORTED int malloc_trim(size_t pad)
{
	if (heap_malloc_is_open)
		heap_trim();
	return entry.malloc_trim(pad);
}
#endif
