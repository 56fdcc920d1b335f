/* SPDX-License-Identifier: MIT
 *
 * The template: a process of one thread, forked by libc, that forks copies of itself on request.
 *
 * It keeps none of the program's descriptors, so that the program's pipes can reach end of file. It is in a process
 * group of its own, so that a terminal's signals do not reach it, and it blocks all signals.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fork/fork.h"
#include "../sys/syscall.h"
#include "internal.h"

/* A process that was made, and has not been reaped. */
struct made {
	struct made *next;
	pid_t pid;
	int tell; /* socket on which its end is reported */
};

static struct {
	const struct template_start *start;
	int channel, signals, program; /* program: a pidfd, or -1 */
	pid_t self;
	struct rlimit files;
	struct sigaction child_action; /* the program's action for SIGCHLD */
	char name[16];
	struct made *made;
} template;

static _Noreturn void end(int status)
{
	sys_call1(SYS_exit_group, status);
	__builtin_trap();
}

/* ---- The beginning ---- */

static bool close_from(int first)
{
	struct rlimit limit;

	if (sys_call3(SYS_close_range, first, ~0u, 0) == 0)
		return true;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return false;
	for (int fd = first; fd < (limit.rlim_max < (1 << 20) ? (int)limit.rlim_max : 1 << 20); fd++)
		sys_close(fd);
	return true;
}

/* Leaves the channel at 3, /dev/null at the standard three (the program may have closed its own), and nothing else. */
static bool leave_descriptors(int channel)
{
	int null;

	if (channel != 3 && sys_call3(SYS_dup3, channel, 3, O_CLOEXEC) < 0)
		return false;
	template.channel = 3;
	if (!close_from(4))
		return false;
	null = sys_open("/dev/null", O_RDWR, 0);
	if (null < 0) /* the numbers must be in use, or the next descriptor would pass for one of the standard three */
		null = (int)sys_call2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (int fd = 0; fd < 3; fd++)
		if (fd != null && (null < 0 || sys_call3(SYS_dup3, null, fd, 0) < 0))
			sys_close(fd);
	if (null > STDERR_FILENO)
		sys_close(null);
	return true;
}

/* The template has a descriptor for each process that it has made, and may need more than the program's soft limit. */
static void raise_limit(void)
{
	struct rlimit most;

	if (getrlimit(RLIMIT_NOFILE, &template.files) != 0)
		return;
	most = template.files;
	most.rlim_cur = most.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &most);
}

static bool take_signals(void)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };
	uint64_t child = 1ull << (SIGCHLD - 1);

	if (sigaction(SIGCHLD, &plain, &template.child_action) != 0)
		return false;
	template.signals = (int)sys_call4(SYS_signalfd4, -1, &child, sizeof child, O_CLOEXEC | O_NONBLOCK);
	return template.signals >= 0;
}

static bool begin(const struct template_start *start)
{
	struct pool_message ready = { .kind = POOL_READY };
	int self;

	template.start = start;
	template.self = getpid();
	if (!leave_descriptors(start->channel))
		return false;
	raise_limit();
	(void)sys_call2(SYS_setpgid, 0, 0);
	(void)prctl(PR_GET_NAME, template.name);
	(void)prctl(PR_SET_NAME, "odfork-template"); /* for ps */
	if (!take_signals())
		return false;
	template.program = (int)sys_call2(SYS_pidfd_open, start->program, 0);
	self = (int)sys_call2(SYS_pidfd_open, template.self, 0);
	ready.value = template.self;
	if (pool_send(template.channel, &ready, NULL, 0, &self, self >= 0 ? 1 : 0, -1) != 0)
		return false;
	if (self >= 0)
		sys_close(self);
	return true;
}

/* ---- Making a process ---- */

struct order {
	struct pool_message message;
	size_t count;
	int fds[POOL_FDS_MOST + 7]; /* socket for the answer; the standard ones; the caller's; if the template becomes
				     * the process, three more */
	_Alignas(16) char argument[POOL_ARGUMENT_MOST];
};

static void close_ours(void)
{
	sys_close(template.channel);
	sys_close(template.signals);
	if (template.program >= 0)
		sys_close(template.program);
	for (struct made *m = template.made; m != NULL; m = m->next)
		sys_close(m->tell);
}

/* Puts the program's standard three in their places. Returns the first of the other descriptors. */
static const int *place_standard(const struct order *order)
{
	const int *fds = order->fds + 1;

	for (int fd = 0; fd < 3; fd++) {
		if (!(order->message.standard >> fd & 1)) {
			sys_close(fd);
			continue;
		}
		(void)sys_call3(SYS_dup3, *fds, fd, 0);
		sys_close(*fds++);
	}
	return fds;
}

/* Runs the function with the program's limit, name, dispositions and mask. */
static _Noreturn void call(const struct order *order, const int *fds)
{
	(void)setrlimit(RLIMIT_NOFILE, &template.files);
	(void)prctl(PR_SET_NAME, template.name);
	(void)sigaction(SIGCHLD, &template.child_action, NULL);
	(void)sys_sigprocmask(SIG_SETMASK, &template.start->mask, NULL);
	end(order->message.function(order->argument, order->message.length, fds,
				    order->count - (size_t)(fds - order->fds)));
}

static _Noreturn void run(const struct order *order)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != template.self)
		end(127);
	close_ours();
	sys_close(order->fds[0]);
	call(order, place_standard(order));
}

static void answer(int tell, enum pool_message_kind kind, int value, int fd)
{
	struct pool_message message = { .kind = kind, .value = value };

	/* The socket buffer holds both messages, so this does not block. It fails if the caller is gone: no error. */
	(void)pool_send(tell, &message, NULL, 0, &fd, fd >= 0 ? 1 : 0, 0);
}

static _Noreturn void become(struct order *order)
{
	int self = (int)sys_call2(SYS_pidfd_open, template.self, 0);

	answer(order->fds[0], POOL_MADE, template.self, self);
	if (self >= 0)
		sys_close(self);
	sys_close(template.signals);
	order->fds[order->count++] = template.channel;
	order->fds[order->count++] = template.program;
	order->fds[order->count++] = order->fds[0];
	call(order, place_standard(order));
}

static void make(struct order *order)
{
	struct made *made = malloc(sizeof *made);
	pid_t pid = -1;
	int error = ENOMEM, pidfd;

	if (made != NULL) {
		pid = fork_plainly();
		error = errno;
		if (pid == 0) {
			free(made);
			run(order);
		}
	}
	if (pid < 0) {
		free(made);
		answer(order->fds[0], POOL_MADE, -error, -1);
		sys_close(order->fds[0]);
	} else {
		*made = (struct made){ .next = template.made, .pid = pid, .tell = order->fds[0] };
		template.made = made;
		pidfd = (int)sys_call2(SYS_pidfd_open, pid, 0);
		answer(made->tell, POOL_MADE, pid, pidfd);
		if (pidfd >= 0)
			sys_close(pidfd);
	}
	for (size_t i = 1; i < order->count; i++)
		sys_close(order->fds[i]);
}

/* False: the program has closed the channel. */
static bool take_order(void)
{
	static struct order order;
	long length;

	order.count = POOL_FDS_MOST + 4;
	length = pool_receive(template.channel, &order.message, order.argument, sizeof order.argument, order.fds,
			      &order.count, 0);
	if (length >= 0 && order.message.kind == POOL_MAKE && order.count > 0 &&
	    (size_t)length == order.message.length && order.count == order.message.count) {
		if (template.start->once)
			become(&order);
		make(&order);
		return true;
	}
	/* The message was cut short for lack of descriptors. If the socket was lost too, the caller sees it closed. */
	if (length == -EMSGSIZE && order.count > 0)
		answer(order.fds[0], POOL_MADE, -EMFILE, -1);
	for (size_t i = 0; i < order.count; i++)
		sys_close(order.fds[i]);
	return length != -EPIPE;
}

static void bury(pid_t pid, int status)
{
	for (struct made **at = &template.made; *at != NULL; at = &(*at)->next) {
		struct made *found = *at;
		if (found->pid != pid)
			continue;
		answer(found->tell, POOL_ENDED, status, -1);
		sys_close(found->tell);
		*at = found->next;
		free(found);
		return;
	}
}

static void reap(void)
{
	char drained[128 * 4];
	int status;
	long pid;

	while (sys_read(template.signals, drained, sizeof drained) > 0)
		;
	while ((pid = sys_call4(SYS_wait4, -1, &status, WNOHANG | __WALL, NULL)) > 0)
		bury((pid_t)pid, status);
}

_Noreturn void pool_serve(const struct template_start *start)
{
	if (!begin(start))
		end(1);
	for (;;) {
		struct pollfd wait[3] = { { template.channel, POLLIN, 0 }, { template.signals, POLLIN, 0 },
					  { template.program, POLLIN, 0 } };
		(void)sys_call5(SYS_ppoll, wait, 3, NULL, NULL, 8);
		reap();
		if ((wait[0].revents & (POLLIN | POLLHUP | POLLERR)) && !take_order())
			break;
		if (wait[2].revents & POLLIN)
			break;
	}
	end(0); /* the kernel sends SIGKILL to all that it has made */
}
