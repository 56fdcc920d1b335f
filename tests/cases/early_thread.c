/* SPDX-License-Identifier: MIT
 *
 * A library whose constructor makes a thread, as OpenBLAS and other threaded libraries do. The constructor runs before
 * that of a preloaded library.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static volatile bool is_there;

bool early_thread_is_there(void);
bool early_thread_is_there(void)
{
	return is_there;
}

static void *wait_for_work(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return NULL;
}

__attribute__((constructor)) static void start(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, wait_for_work, NULL) != 0)
		abort();
	is_there = true;
}
