/* SPDX-License-Identifier: MIT
 *
 * spawn MIB ROUNDS THREADS [PEER]: in a process that holds MIB of memory on 4 KiB pages, THREADS threads start
 * /bin/true ROUNDS times in each way (at least 2000 times in ways that do not fork), and wait for it. Measures how long
 * the call holds the caller. posix_spawn, libuv, GLib, odf_spawn and raw vfork return once exec has succeeded; fork and
 * exec waits for that with a close-on-exec pipe. "No wait" does not wait for exec.
 *
 * PEER is a newer libuv, loaded beside the system's (peer.h).
 *
 * CSV: mib,threads,way,median_us,p99_us,to_floor,to_fork,version. to_floor: median over that of raw vfork and execve;
 * to_fork: median of fork and exec over this. version: of the peer.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#else
#define gnu_get_libc_version NULL
#endif
#if HAVE_LIBUV
#include <uv.h>
#endif
#if HAVE_GLIB
#include <glib.h>
#endif

#include "clock.h"
#include "odfork.h"
#include "peer.h"
#include "spawn_ways.h"

static const struct peer *peer; /* NULL: none */

static pid_t by_odf(unsigned allow, bool with_report)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	pid_t pid;

	options.allow = allow;
	return odf_spawn(&pid, spawned_program, spawned_arguments, NULL, allow == 0 ? NULL : &options,
			 with_report ? &report : NULL) == 0
		       ? pid
		       : -1;
}

static pid_t by_default(void)
{
	return by_odf(0, false);
}

static pid_t by_default_reported(void)
{
	return by_odf(0, true);
}

static pid_t by_posix_spawn_engine(void)
{
	return by_odf(ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN), false);
}

static pid_t by_fork_engine(void)
{
	return by_odf(ODF_ALLOW(ODF_STRATEGY_FORK), false);
}

static pid_t by_peer(void)
{
	return peer->spawn((char *[]){ (char[]){ "/bin/true" }, NULL }, -1, -1);
}

static const char *version_of_peer(void)
{
	return peer->version();
}

#if HAVE_GLIB
static const char *version_of_glib(void)
{
	static char text[32];
	snprintf(text, sizeof text, "%u.%u.%u", glib_major_version, glib_minor_version, glib_micro_version);
	return text;
}

static pid_t by_glib(void)
{
	char *arguments[] = { (char[]){ "/bin/true" }, NULL };
	GPid pid;
	return g_spawn_async(NULL, arguments, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, NULL) ? pid : -1;
}
#endif

#if HAVE_LIBUV
/* libuv reaps its children itself, in the loop that started them. */
static __thread uv_loop_t loop;
static __thread bool loop_made;
static __thread uv_process_t process;

static void on_close(uv_handle_t *handle)
{
	(void)handle;
}

static void on_exit_of_child(uv_process_t *ended, int64_t status, int signal)
{
	if (status != 0 || signal != 0)
		abort();
	uv_close((uv_handle_t *)ended, on_close);
}

static pid_t by_libuv(void)
{
	uv_process_options_t options = { .file = spawned_program,
					 .args = (char **)(uintptr_t)spawned_arguments,
					 .exit_cb = on_exit_of_child };

	if (!loop_made && uv_loop_init(&loop) != 0)
		return -1;
	loop_made = true;
	return uv_spawn(&loop, &process, &options) == 0 ? 0 : -1;
}
#endif

static const struct {
	const char *name;
	pid_t (*start)(void);
	bool forks;		      /* its cost grows with the memory */
	const char *(*version)(void); /* NULL: the library's own, or the kernel's */
} ways[] = {
	{ "vfork+execve (floor)", spawn_by_raw_vfork, false, NULL },
	{ "odf_spawn", by_default, false, odf_version },
	{ "odf_spawn with report", by_default_reported, false, odf_version },
	{ "odf_pool_spawn", spawn_by_pool, false, odf_version },
	{ "odf_pool_spawn (no wait)", spawn_by_pool_no_wait, false, odf_version },
	{ "odf_spawn by posix_spawn", by_posix_spawn_engine, false, odf_version },
	{ "glibc posix_spawn", spawn_by_libc, false, gnu_get_libc_version },
#if HAVE_GLIB
	{ "GLib g_spawn_async", by_glib, true, version_of_glib },
#endif
#if HAVE_LIBUV
	{ "libuv uv_spawn", by_libuv, true, uv_version_string },
#endif
	{ "newer libuv uv_spawn", by_peer, true, version_of_peer },
	{ "odf_spawn by fork", by_fork_engine, true, odf_version },
	{ "fork+exec", spawn_by_fork, true, NULL },
};
enum { WAYS = sizeof ways / sizeof *ways, TURN = 10, FLOOR = 0, FORK = WAYS - 1 };

static size_t rounds;

static bool left_out(size_t way)
{
	return ways[way].start == by_peer && peer == NULL;
}

/* Ways whose cost does not depend on memory are fast and differ by little: they get enough rounds for a steady
 * median. */
static size_t rounds_of(size_t way)
{
	return ways[way].forks || rounds > 2000 ? rounds : 2000;
}

static pthread_barrier_t together;

struct caller {
	pthread_t thread;
	double *samples[WAYS];
};

static void once(size_t way, double *sample)
{
	double start = now_us();
	pid_t pid = ways[way].start();
	int status;

	*sample = now_us() - start;
	if (ways[way].start == by_peer && pid == 0) {
		peer->wait();
		return;
	}
#if HAVE_LIBUV
	if (pid == 0) {
		uv_run(&loop, UV_RUN_DEFAULT);
		return;
	}
#endif
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "spawn: %s failed: %s\n", ways[way].name, strerror(errno));
		exit(1);
	}
}

/* The ways in random order, the same for every thread. */
static void shuffle(size_t order[WAYS], unsigned *seed)
{
	for (size_t w = 0; w < WAYS; w++)
		order[w] = w;
	for (size_t w = WAYS - 1; w > 0; w--) {
		size_t other = (size_t)rand_r(seed) % (w + 1), kept = order[w];
		order[w] = order[other];
		order[other] = kept;
	}
}

/* The ways take turns in random order, so that a drift of the machine's speed affects all of them alike. The first 3
 * starts of a turn only warm the caches after the way before and are not counted. All threads use the same way at the
 * same time, as a fork in another thread would slow down a spawn. */
static void *call(void *argument)
{
	struct caller *caller = argument;
	size_t turns = (rounds + TURN - 1) / TURN;
	unsigned seed = 1;
	double ignored;

	for (size_t t = 0; t < turns; t++) {
		size_t order[WAYS];
		shuffle(order, &seed);
		for (size_t turn = 0; turn < WAYS; turn++) {
			size_t w = order[turn];
			if (left_out(w))
				continue;
			pthread_barrier_wait(&together);
			for (int warm_up = 0; warm_up < 3; warm_up++)
				once(w, &ignored);
			for (size_t i = rounds_of(w) * t / turns; i < rounds_of(w) * (t + 1) / turns; i++)
				once(w, &caller->samples[w][i]);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	bool given = argc == 4 || argc == 5;
	size_t mib = given ? strtoul(argv[1], NULL, 10) : 0, threads = given ? strtoul(argv[3], NULL, 10) : 0;
	double *all[WAYS], medians[WAYS];
	struct caller *callers;

	rounds = given ? strtoul(argv[2], NULL, 10) : 0;
	if (rounds == 0 || threads == 0 || threads > 64) {
		fprintf(stderr, "usage: spawn MIB ROUNDS THREADS [PEER]\n");
		return 2;
	}
	peer = peer_load(argv[4]);
	pthread_barrier_init(&together, NULL, (unsigned)threads);
	hold_memory(mib << 20);
	callers = calloc(threads, sizeof *callers);
	for (size_t w = 0; w < WAYS; w++) {
		all[w] = calloc(rounds_of(w) * threads, sizeof(double));
		if (callers == NULL || all[w] == NULL)
			return 1;
		for (size_t t = 0; t < threads; t++)
			callers[t].samples[w] = all[w] + t * rounds_of(w);
	}
	for (size_t t = 1; t < threads; t++)
		if (pthread_create(&callers[t].thread, NULL, call, &callers[t]) != 0)
			return 1;
	call(&callers[0]);
	for (size_t t = 1; t < threads; t++)
		pthread_join(callers[t].thread, NULL);
	for (size_t w = 0; w < WAYS; w++)
		medians[w] = quantile(all[w], rounds_of(w) * threads, 0.5);
	printf("mib,threads,way,median_us,p99_us,to_floor,to_fork,version\n");
	for (size_t w = 0; w < WAYS; w++) {
		if (left_out(w))
			continue;
		printf("%zu,%zu,%s,%.1f,%.1f,%.3f,%.2f,%s\n", mib, threads, ways[w].name, medians[w],
		       quantile(all[w], rounds_of(w) * threads, 0.99), medians[w] / medians[FLOOR],
		       medians[FORK] / medians[w], ways[w].version != NULL ? ways[w].version() : "");
	}
	return 0;
}
