/* SPDX-License-Identifier: MIT
 *
 * Preloaded with the library: wakes the heap in each forked child, as these tests run their body in a child. */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

static int (*enable)(size_t);

static void wake(void)
{
	if (enable != NULL)
		(void)enable(0);
}

__attribute__((constructor)) static void start(void)
{
	*(void **)&enable = dlsym(RTLD_DEFAULT, "odf_heap_enable");
	(void)pthread_atfork(NULL, NULL, wake);
}
