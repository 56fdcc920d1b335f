/* SPDX-License-Identifier: MIT
 * For the files of this folder only. */
#ifndef ODF_POOL_INTERNAL_H
#define ODF_POOL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "../spawn/pooled.h"
#include "pool.h"

struct odf_pool {
	struct spawn_pool spawn; /* first: odf_spawn reads this part */
	odf_pool_options options;
	odf_pool *_Atomic next; /* list of this process's pools (inherit.c) */
	bool once;              /* the template itself becomes the first process asked for, and makes no other */

	/* The template. The channel's number never changes, so a sender needs no lock: dup3 puts a new template's
	 * channel at the old number. */
	pthread_mutex_t lock;    /* held while a template is made */
	int channel;             /* -1: the pool has no template */
	uint64_t channel_inode;  /* by which a forked child knows that the number is still the channel */
	int template_pidfd;      /* -1: none; its number does not change either */
	pid_t template_pid;
	pid_t guard;             /* stand_in.c; 0: none */
	atomic_uint generation;  /* number of templates so far */

	struct pool_tasks *_Atomic tasks; /* NULL: no task was submitted yet (crew.h) */
};

/* create.c: a pool for a single process, which costs one fork: the template becomes that process. Its function gets
 * three descriptors after the caller's: the channel; a pidfd of the program, or -1; and a socket that no other process
 * may have, whose close reports the process's end. The function must return when the channel or the pidfd shows that
 * the program has ended: nothing else ends the process. There is no wait status: pool_process_wait returns ECHILD. */
odf_pool *pool_create_once(const odf_pool_options *options);

/* Returns 0, EINVAL or EPERM. */
int pool_check(const odf_pool *pool);

/* crew.c: ends all tasks. */
void pool_tasks_end(odf_pool *pool);

/* template.c */
/* Makes a template and installs its channel. With the lock, or before other threads know the pool. 0 or errno value. */
int pool_template_start(odf_pool *pool);
void pool_template_stop(odf_pool *pool);
/* Makes a new template if the one of `generation` is still the current one, which the caller has found dead. */
int pool_template_renew(odf_pool *pool, unsigned generation);

/* serve.c, in the template. `channel` is a descriptor, `program` the process that the template is for. */
struct template_start {
	int channel;
	pid_t program;
	bool once;     /* as in the pool */
	uint64_t mask; /* the program's signal mask */
};
_Noreturn void pool_serve(const struct template_start *start);

/* channel.c */
enum pool_message_kind { POOL_READY, POOL_MAKE, POOL_MADE, POOL_ENDED };
struct pool_message {
	uint32_t kind;
	int32_t value;           /* MADE: the process, or minus an errno value; ENDED: the wait status */
	pool_function *function; /* MAKE; so are the members after it */
	uint32_t length, count;
	uint32_t standard;       /* bit i: the program's descriptor i of the standard three is sent, before `fds` */
	uint32_t reserved;
};
/* Sends one message with its bytes and descriptors, all or nothing. 0 or an errno value; EPIPE: no process has the
 * other end. Waits for room for at most `timeout_ms` (-1: no limit), then EAGAIN. Raises no SIGPIPE. */
int pool_send(int channel, const struct pool_message *message, const void *bytes, size_t length, const int *fds,
	      size_t count, int timeout_ms);
/* Receives one message. Returns the length of the bytes after it, or minus an errno value: EPIPE (end of file),
 * EMSGSIZE (the message or its descriptors were cut short; the *count descriptors that arrived are in `fds`), EAGAIN
 * (`timeout_ms`). *count is the room in `fds`, then the number of descriptors in it. */
long pool_receive(int channel, struct pool_message *message, void *bytes, size_t room, int *fds, size_t *count,
		  int timeout_ms);

/* Whether the descriptor becomes readable before `timeout_ms` (-1: no limit) or a signal. Not a cancellation point:
 * poll() is one even if it need not wait. */
bool pool_readable(int fd, int timeout_ms);

/* inherit.c: the list of this process's pools. A forked child closes their channels, so that a template sees the end of
 * the program as the end of its channel. */
void pool_enter(odf_pool *pool);
void pool_leave(odf_pool *pool);

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#endif
