/* SPDX-License-Identifier: MIT
 *
 * libc's functions that open files within libc, where no open is interposed: the descriptor is looked at afterwards
 * (descriptors.c). opendir is not among them: the kernel copies directory entries, and pins no pages.
 */
#undef _FILE_OFFSET_BITS /* fopen and fopen64 are to be two names */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../heap/heap.h"
#include "../libc/libc.h"

#define EXPORTED __attribute__((visibility("default")))
#define CALL(which, ...) ((__typeof__(__VA_ARGS__) *)libc_find(which))

static int flags_of(const char *mode)
{
	return strchr(mode, '+') != NULL ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
}

/* No mode of fopen sets O_DIRECT. */
static FILE *opened(FILE *file, const char *mode)
{
	int saved = errno, descriptor;

	if (file != NULL && heap_is_watched()) {
		descriptor = fileno(file);
		if (descriptor >= 0)
			heap_meet_opened(descriptor, flags_of(mode));
		errno = saved;
	}
	return file;
}

/* `path`: NULL for freopen, where only the mode changes. */
static FILE *opened_by_name(FILE *file, const char *path, const char *mode)
{
	if (file != NULL && path != NULL && fileno(file) >= 0)
		heap_meet_name(fileno(file), path, flags_of(mode));
	return opened(file, mode);
}

EXPORTED FILE *fopen(const char *restrict path, const char *restrict mode)
{
	return opened_by_name(CALL(LIBC_FOPEN, FILE * (const char *, const char *))(path, mode), path, mode);
}

EXPORTED FILE *fopen64(const char *restrict path, const char *restrict mode)
{
	return opened_by_name(CALL(LIBC_FOPEN64, FILE * (const char *, const char *))(path, mode), path, mode);
}

EXPORTED FILE *freopen(const char *restrict path, const char *restrict mode, FILE *restrict file)
{
	return opened_by_name(CALL(LIBC_FREOPEN, FILE * (const char *, const char *, FILE *))(path, mode, file),
			      path, mode);
}

EXPORTED FILE *freopen64(const char *restrict path, const char *restrict mode, FILE *restrict file)
{
	return opened_by_name(CALL(LIBC_FREOPEN64, FILE * (const char *, const char *, FILE *))(path, mode, file),
			      path, mode);
}

EXPORTED FILE *tmpfile(void)
{
	return opened(CALL(LIBC_TMPFILE, FILE * (void))(), "w+");
}

EXPORTED FILE *tmpfile64(void)
{
	return opened(CALL(LIBC_TMPFILE64, FILE * (void))(), "w+");
}

static int made(int descriptor)
{
	if (descriptor >= 0 && heap_is_watched())
		heap_meet_received(descriptor);
	return descriptor;
}

EXPORTED int mkstemp(char *name)
{
	return made(CALL(LIBC_MKSTEMP, int(char *))(name));
}

EXPORTED int mkstemp64(char *name)
{
	return made(CALL(LIBC_MKSTEMP64, int(char *))(name));
}

EXPORTED int mkstemps(char *name, int suffix)
{
	return made(CALL(LIBC_MKSTEMPS, int(char *, int))(name, suffix));
}

EXPORTED int mkstemps64(char *name, int suffix)
{
	return made(CALL(LIBC_MKSTEMPS64, int(char *, int))(name, suffix));
}

EXPORTED int mkostemp(char *name, int flags)
{
	return made(CALL(LIBC_MKOSTEMP, int(char *, int))(name, flags));
}

EXPORTED int mkostemp64(char *name, int flags)
{
	return made(CALL(LIBC_MKOSTEMP64, int(char *, int))(name, flags));
}

EXPORTED int mkostemps(char *name, int suffix, int flags)
{
	return made(CALL(LIBC_MKOSTEMPS, int(char *, int, int))(name, suffix, flags));
}

EXPORTED int mkostemps64(char *name, int suffix, int flags)
{
	return made(CALL(LIBC_MKOSTEMPS64, int(char *, int, int))(name, suffix, flags));
}
