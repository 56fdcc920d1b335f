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
	struct spawn_pool spawn; /* first: odf_spawn knows this part */
	odf_pool_options options;
	odf_pool *_Atomic next; /* of this process (inherit.c) */
	bool once;              /* the template becomes the first process that is asked for, and makes no other */

	/* The template. The channel's number never changes, so that who is about to send needs no lock: a new
	 * template's channel takes the place of the old one's by dup3. */
	pthread_mutex_t lock;    /* of who makes a template */
	int channel;             /* -1: a pool without a template */
	uint64_t channel_inode;  /* of the number, to know it again in a forked child */
	int template_pidfd;      /* -1: none; a number that does not change either */
	pid_t template_pid;
	pid_t guard;             /* stand_in.c; 0: none */
	atomic_uint generation;  /* counts templates */

	struct pool_tasks *_Atomic tasks; /* NULL: there were none yet (crew.h) */
};

/* create.c: one for a single process, which costs no fork beside the template's. Its function gets three descriptors
 * behind those that were given: the channel, and a pidfd of the program or -1: it is to end with either of them, as
 * nobody else sees to that; and one that nobody else may have, whose end tells of its own. There is no wait status:
 * pool_process_wait answers ECHILD. */
odf_pool *pool_create_once(const odf_pool_options *options);

/* 0 or EINVAL, EPERM. */
int pool_check(const odf_pool *pool);

/* crew.c: all tasks are ended. */
void pool_tasks_end(odf_pool *pool);

/* template.c */
/* Makes one, at the pool's channel. With the lock, or before anybody else knows the pool. 0 or an errno value. */
int pool_template_start(odf_pool *pool);
void pool_template_stop(odf_pool *pool);
/* If `generation` is that of a template that is gone, makes another. */
int pool_template_renew(odf_pool *pool, unsigned generation);

/* serve.c: in the template. `channel` is a descriptor, `program` the process it is for. */
struct template_start {
	int channel;
	pid_t program;
	bool once;     /* as the pool's */
	uint64_t mask; /* the program's signal mask */
};
_Noreturn void pool_serve(const struct template_start *start);

/* channel.c */
enum pool_message_kind { POOL_READY, POOL_MAKE, POOL_MADE, POOL_ENDED };
struct pool_message {
	uint32_t kind;
	int32_t value;           /* MADE: the process, or minus an errno value; ENDED: the wait status */
	pool_function *function; /* MAKE, and what follows */
	uint32_t length, count;
	uint32_t standard;       /* bit i: descriptor i of the standard three is among the first of those sent */
	uint32_t reserved;
};
/* One message with its bytes and descriptors: all or nothing. 0 or an errno value; EPIPE: nobody is there. Waits for
 * room for `timeout_ms` (-1: for ever), then EAGAIN. No SIGPIPE. */
int pool_send(int channel, const struct pool_message *message, const void *bytes, size_t length, const int *fds,
	      size_t count, int timeout_ms);
/* The length of the bytes behind the message, or minus an errno value: EPIPE at the end, EMSGSIZE (cut short; what came
 * with it is closed), EAGAIN (`timeout_ms`). *count is room, then what came. */
long pool_receive(int channel, struct pool_message *message, void *bytes, size_t room, int *fds, size_t *count,
		  int timeout_ms);

/* Whether it is readable within so long (-1: for ever), or before a signal. No cancellation point, as poll() would be,
 * which acts on a cancellation also where it would not wait. */
bool pool_readable(int fd, int timeout_ms);

/* inherit.c: the pools of this process, whose channels a forked child closes, so that a template's end of it tells of
 * the program's end. */
void pool_enter(odf_pool *pool);
void pool_leave(odf_pool *pool);

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#endif
