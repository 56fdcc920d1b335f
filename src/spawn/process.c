/* SPDX-License-Identifier: MIT
 *
 * Process handles. Raw system calls: no function here is a cancellation point or changes errno.
 */
#include "process.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "../capability/capability.h"
#include "../sys/structure.h"
#include "../sys/syscall.h"

/* For headers older than Linux 5.1. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t deadline_in(int timeout_ms)
{
	return timeout_ms < 0 ? NEVER : now_ns() + (uint64_t)timeout_ms * 1000000u;
}

uint64_t deadline_left(uint64_t deadline)
{
	uint64_t now = now_ns();

	return deadline == NEVER ? NEVER : deadline > now ? deadline - now : 0;
}

/* Lets odf_spawn refuse, and fill the report, where it would not refuse itself: it does not know the flag. */
static int refuse(const char *file, char *const argv[], char *const envp[], odf_report *report)
{
	odf_spawn_options impossible = { .size = sizeof impossible, .flags = 1ull << 63 };

	return odf_spawn(NULL, file, argv, envp, &impossible, report);
}

int odf_process_spawn(odf_process **process, const char *file, char *const argv[], char *const envp[],
		      const odf_spawn_options *options,
		      odf_report *report)
{
	odf_spawn_options own = ODF_SPAWN_OPTIONS_INIT;
	int pipes[3] = { -1, -1, -1 }, saved = errno, error;
	odf_process *made;

	if (process == NULL)
		return refuse(file, argv, envp, report);
	*process = NULL;
	if (options != NULL && structure_read(&own, sizeof own, options, SPAWN_OPTIONS_FIRST_SIZE) != 0)
		return odf_spawn(NULL, file, argv, envp, options, report); /* refuses these options */
	/* The end of such a child could not be reported. */
	if (own.pidfd != NULL || own.pipes != NULL ||
	    (own.flags & (ODF_SPAWN_DETACH | ODF_SPAWN_AUTOREAP | ODF_SPAWN_KILL_WITH_PIDFD)))
		return refuse(file, argv, envp, report);
	made = calloc(1, sizeof *made);
	if (made == NULL) {
		errno = saved;
		return ENOMEM;
	}
	made->pidfd = -1;
	own.pipes = pipes;
	if (capability(ODF_PROBE_PIDFD_OPEN))
		own.pidfd = &made->pidfd;
	error = odf_spawn(&made->pid, file, argv, envp, &own, report);
	for (int i = 0; i < 3; i++)
		atomic_init(&made->streams[i], own.flags & ODF_SPAWN_PIPES ? pipes[i] : -1);
	if (error == 0) {
		pthread_mutex_init(&made->lock, NULL); /* cannot fail without attributes */
		*process = made;
	} else {
		free(made);
	}
	errno = saved;
	return error;
}

pid_t odf_process_id(const odf_process *process)
{
	return process->pid;
}

int odf_process_stream(const odf_process *process, int stream)
{
	return stream < 0 || stream > 2 ? -1 : atomic_load(&process->streams[stream]);
}

int odf_process_close_stream(odf_process *process, int stream)
{
	int fd = process == NULL || stream < 0 || stream > 2 ? -1 : atomic_exchange(&process->streams[stream], -1);

	if (fd < 0)
		return EINVAL;
	sys_close(fd);
	return 0;
}

/* 0: ended, with *status; ECHILD: ended, the status is not known; EAGAIN: it runs. */
static int look(odf_process *process, int *status)
{
	int result = EAGAIN;

	pthread_mutex_lock(&process->lock);
	if (!process->ended && !process->gone) {
		long pid = sys_call4(SYS_wait4, process->pid, &process->status, WNOHANG, NULL);
		process->ended = pid == process->pid;
		process->gone = pid == -ECHILD;
	}
	if (process->ended) {
		result = 0;
		if (status != NULL)
			*status = process->status;
	} else if (process->gone) {
		result = ECHILD;
	}
	pthread_mutex_unlock(&process->lock);
	return result;
}

/* Waits until the process has ended or the time is over. May return early. */
static void pass_time(const odf_process *process, uint64_t left, uint64_t *tick)
{
	struct timespec time;

	if (process->pidfd < 0) { /* no pidfd: polls, at growing intervals */
		left = left < *tick ? left : *tick;
		if (*tick < 20000000)
			*tick *= 2;
	}
	time = (struct timespec){ .tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u) };
	if (process->pidfd < 0) {
		(void)sys_call2(SYS_nanosleep, &time, NULL);
	} else {
		struct pollfd poll = { .fd = process->pidfd, .events = POLLIN };
		(void)sys_call5(SYS_ppoll, &poll, 1, left == NEVER ? NULL : &time, NULL, 0);
	}
}

int process_wait_until(odf_process *process, uint64_t deadline, int *status)
{
	uint64_t tick = 1000000;
	int result;

	while ((result = look(process, status)) == EAGAIN) {
		uint64_t left = deadline_left(deadline);
		if (left == 0)
			return ETIMEDOUT;
		pass_time(process, left, &tick);
	}
	return result;
}

int odf_process_wait(odf_process *process, int timeout_ms, int *status)
{
	return process == NULL || timeout_ms < -1 ? EINVAL : process_wait_until(process, deadline_in(timeout_ms),
										status);
}

int odf_process_kill(odf_process *process, int signal)
{
	long result = -ESRCH;

	if (process == NULL)
		return EINVAL;
	pthread_mutex_lock(&process->lock);
	if (!process->ended && !process->gone) {
		result = -ENOSYS;
		if (process->pidfd >= 0)
			result = sys_call4(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0);
		if (result == -ENOSYS)
			result = sys_call2(SYS_kill, process->pid, signal);
	}
	pthread_mutex_unlock(&process->lock);
	return (int)-result;
}

int odf_process_close(odf_process *process)
{
	if (process == NULL)
		return EINVAL;
	for (int i = 0; i < 3; i++)
		if (process->streams[i] >= 0)
			sys_close(process->streams[i]);
	if (process->pidfd >= 0)
		sys_close(process->pidfd);
	pthread_mutex_destroy(&process->lock);
	free(process);
	return 0;
}
