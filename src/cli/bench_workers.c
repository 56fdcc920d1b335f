/* SPDX-License-Identifier: MIT
 *
 * The workers of odfork bench, and the signals that end them.
 *
 * Each worker leads a process group, so that the terminal's interrupt reaches only this process, and a kill of the
 * group reaches the worker's children too. This process is a subreaper, so that it can wait until all of them have
 * ended. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_workers.h"
#include "odfork.h"

static const enum memory memory_of[BENCH_FORK_WAYS] = {
	[BENCH_PLAIN] = SMALL_PAGES,
	[BENCH_REGION] = IN_REGION,
	[BENCH_KERNEL] = BY_KERNEL,
	[BENCH_HUGE] = HUGE_PAGES,
};

struct worker bench_workers[BENCH_FORK_WAYS];

/* ---- The end, by a signal -------------------------------------------------------------------------------------- */

static const int ending[] = { SIGINT, SIGTERM, SIGHUP };
enum { ENDING = sizeof ending / sizeof *ending };

volatile sig_atomic_t bench_asked;
static sigset_t mask_found;
static struct sigaction found[ENDING];

static void on_signal(int number)
{
	bench_asked = number;
}

/* They are blocked except while this process waits (wait_for_answer), so none is lost between the check and the wait. A
 * signal that is ignored, as by nohup, stays ignored. */
void bench_take_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t mask;

	sigemptyset(&mask);
	for (int i = 0; i < ENDING; i++)
		sigaddset(&mask, ending[i]);
	sigprocmask(SIG_BLOCK, &mask, &mask_found);
	for (int i = 0; i < ENDING; i++)
		if (sigaction(ending[i], NULL, &found[i]) == 0 && found[i].sa_handler != SIG_IGN)
			sigaction(ending[i], &action, NULL);
}

void bench_give_signals_back(void)
{
	for (int i = 0; i < ENDING; i++)
		sigaction(ending[i], &found[i], NULL);
	sigprocmask(SIG_SETMASK, &mask_found, NULL);
}

void bench_end_all(void)
{
	for (size_t way = 0; way < BENCH_FORK_WAYS; way++) {
		if (bench_workers[way].pid == 0)
			continue;
		kill(-bench_workers[way].pid, SIGKILL);
		close(bench_workers[way].fd);
		bench_workers[way].pid = 0;
	}
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
		;
}

/* ---- Workers --------------------------------------------------------------------------------------------------- */

static enum heard wait_for_answer(int fd)
{
	struct pollfd answer = { .fd = fd, .events = POLLIN };
	sigset_t open = mask_found;

	for (int i = 0; i < ENDING; i++)
		sigdelset(&open, ending[i]);
	while (bench_asked == 0) {
		if (ppoll(&answer, 1, NULL, &open) > 0)
			return HEARD;
		if (errno != EINTR)
			return GONE;
	}
	return ASKED;
}

enum heard bench_hear(struct worker *worker, struct series *series)
{
	enum heard heard = wait_for_answer(worker->fd);
	struct reply reply;

	if (heard != HEARD)
		return heard;
	if (!receive(worker->fd, &reply, sizeof reply))
		return GONE;
	if (reply.count == 0 || series == NULL)
		return reply.count == 0 ? HEARD : GONE;
	series->samples = reallocarray(series->samples, series->count + reply.count, sizeof *series->samples);
	if (series->samples == NULL)
		return GONE;
	if (!receive(worker->fd, series->samples + series->count, reply.count * sizeof *series->samples))
		return GONE;
	series->count += reply.count;
	series->huge_percent = reply.huge_percent;
	series->settling = reply.settling;
	return HEARD;
}

void bench_say_end(enum bench_way way)
{
	int status = 0;

	if (waitpid(bench_workers[way].pid, &status, 0) == bench_workers[way].pid && WIFSIGNALED(status))
		fprintf(stderr, "odfork: bench: the process with the memory (%s) was killed by %s%s\n",
			bench_way_text(way), strsignal(WTERMSIG(status)),
			WTERMSIG(status) == SIGKILL ? ", as the kernel does when memory runs out" : "");
	else
		fprintf(stderr, "odfork: bench: the process with the memory (%s) has ended\n", bench_way_text(way));
	close(bench_workers[way].fd);
	bench_workers[way].pid = 0;
}

enum heard bench_start_worker(enum bench_way way, size_t bytes)
{
	struct worker *worker = &bench_workers[way];
	char kind[16], size[32];
	char *argv[] = { (char[]){ "odfork" }, (char[]){ "bench" }, (char[]){ "--worker" }, kind, size, NULL };
	/* The plain way must be plain, also if this command was started under the library. */
	const char *const environment[] = { "LD_PRELOAD", "ODFORK_FOLLOW", "ODFORK_HEAP",    "ODFORK_LD_PRELOAD",
					    "ODFORK_LOG", "ODFORK_STATS",  "ODFORK_STRATEGY" };
	odf_spawn_options spawn = ODF_SPAWN_OPTIONS_INIT;
	int ends[2], error;
	enum heard heard;

	snprintf(kind, sizeof kind, "%d", (int)memory_of[way]);
	snprintf(size, sizeof size, "%zu", bytes);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		perror("odfork: bench: socketpair");
		return GONE;
	}
	spawn.fds = (odf_fd_action[]){ ODF_FD_DUP(0, ends[1]) };
	spawn.fd_count = 1;
	spawn.parent_death_signal = SIGKILL;
	spawn.flags = ODF_SPAWN_SETPGROUP | ODF_SPAWN_SIGMASK;
	spawn.sigmask = mask_found;
	spawn.env_edits = environment;
	spawn.env_edit_count = sizeof environment / sizeof *environment;
	error = odf_spawn(&worker->pid, "/proc/self/exe", argv, NULL, &spawn, NULL);
	close(ends[1]);
	if (error != 0) {
		fprintf(stderr, "odfork: bench: cannot start a process for the memory: %s\n", strerror(error));
		close(ends[0]);
		worker->pid = 0;
		return GONE;
	}
	worker->fd = ends[0];
	heard = bench_hear(worker, NULL);
	if (heard == GONE)
		bench_say_end(way);
	return heard;
}

void bench_stop_worker(enum bench_way way)
{
	struct worker *worker = &bench_workers[way];

	if (worker->pid == 0)
		return;
	close(worker->fd);
	while (waitpid(worker->pid, NULL, 0) < 0 && errno == EINTR)
		;
	worker->pid = 0;
}
