/* SPDX-License-Identifier: MIT
 *
 * What the parts of emulate_kernel share: which kernel it emulates, and what it knows of each process.
 */
#ifndef TESTS_EMULATE_KERNEL_H
#define TESTS_EMULATE_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST        4096

enum kernel { NONE, HELD, ARMED };

struct options {
	enum kernel kernel;
	bool on, no_effect, refuse, filtered, linux_5_6;
	bool discard, discard_neighbors, unmap_neighbors, end;
	int deny;
	FILE *log;
	const char *async, *velinux;
	struct {
		const char *path, *file;
	} files[12];
	unsigned file_count;
};

/* ---- Processes --------------------------------------------------------------------------------------------------- */

struct process {
	pid_t pid;
	bool bit;    /* the value that a read returns */
	bool armed;  /* for the next clone */
	bool shares; /* has forked on demand, or was made so */
	bool few;    /* was made so */
	bool asked;  /* for it, by prctl */
	long copied; /* if `few`: kB of page tables that it would have otherwise, by its parent's */
	/* For its next child. */
	bool child_bit, child_few;
	long child_copied;
};

/* ---- Writes to the switch ---------------------------------------------------------------------------------------- */

/* A descriptor that was given out for writing. What was written to it is read at the next event. */
struct written {
	int fd;
	pid_t pid;
};

/* emulate_kernel.c */
void die(const char *what);

/* emulate_kernel_processes.c */
extern struct options options;
long status_number(pid_t pid, const char *name);
void meet_child(pid_t pid, pid_t thread, struct process *parent);
struct process *process_of(pid_t thread);
extern struct written written[MOST];
extern unsigned written_count;
void take_writes(void);

/* emulate_kernel_answers.c */
extern int listener;
void on_call(const struct seccomp_notif *call);
#endif
