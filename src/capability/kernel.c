/* SPDX-License-Identifier: MIT
 *
 * What is known about the kernel's on-demand fork, and the one place that starts a trial. A trial runs in a process of
 * its own, made by a plain clone with all signals blocked and without an exit signal: no signal handler of the program
 * and no atfork handler runs in it, and only a wait with __WALL or __WCLONE sees it.
 */
#include "kernel.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "../record/record.h"
#include "../sys/next_process.h"
#include "../sys/proc.h"
#include "../sys/process_lock.h"
#include "../sys/structure.h"
#include "async_fork.h"
#include "capability.h"
#include "kernel_trial.h"

/* A trial takes about a millisecond, plus a few times the duration of the fork that starts it, as its processes have
 * the caller's page tables. A trial that takes longer than this hangs. A killed one is gone within a second, unless it
 * is stuck in the kernel. */
#define TRIAL_MOST_NS    2000000000u
#define TRIAL_MOST_FORKS 8
#define END_MOST_NS      1000000000u

/* Held by the thread that asks. */
static struct process_lock asking;

/* ---- Offered ---- */

static const struct kernel_place use_odf = { ODF_KERNEL_INTERFACE_USE_ODF, USE_ODF_PATH, 0 };
static const struct kernel_place by_prctl = { ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL, ASYNC_FORK_SYSCTL_PATH, 0 };
static char async_fork_path[PATH_MAX];
static struct kernel_place async_fork = { ODF_KERNEL_INTERFACE_ASYNC_FORK, async_fork_path, 0 };
static _Atomic(const struct kernel_place *) offered;

const struct kernel_place *kernel_place(void)
{
	return atomic_load_explicit(&offered, memory_order_acquire);
}

static bool is_there(const char *path)
{
	int fd = sys_open(path, O_RDONLY, 0);

	return fd >= 0 && sys_close(fd) == 0;
}

/* The file must hold one digit, 0, 1 or 2, and nothing else: if it does, a system call follows that may mean something
 * else on other kernels. */
int kernel_probe_async_fork_prctl(void)
{
	char text[3] = "";
	int fd = sys_open(ASYNC_FORK_SYSCTL_PATH, PROC_READ, 0);
	long count;

	if (fd < 0)
		return fd;
	count = sys_read(fd, text, sizeof text);
	sys_close(fd);
	if (count < 0)
		return (int)count;
	return count == 2 && text[0] >= '0' && text[0] <= '2' && text[1] == '\n' ? 0 : -EPROTO;
}

/* What was found first does not change. /proc/tkernel exists on Tencent's kernels, which have the flag without the code
 * that it switches. */
int kernel_probe_async_fork(void)
{
	static struct process_lock finding;
	char path[PATH_MAX];
	uint64_t cgroup;
	int result = async_fork_find(true, path, &cgroup);

	process_lock_wait(&finding);
	if (result == 0 && async_fork.cgroup == 0) {
		memcpy(async_fork_path, path, strlen(path) + 1);
		if (is_there("/proc/tkernel"))
			async_fork.interface = ODF_KERNEL_INTERFACE_ASYNC_FORK_MODULE;
		async_fork.cgroup = cgroup;
	}
	process_lock_release(&finding);
	return result;
}

static void offer(void)
{
	if (capability_known(ODF_PROBE_USE_ODF) == ODF_ANSWER_YES)
		atomic_store_explicit(&offered, &use_odf, memory_order_release);
	else if (capability_known(ODF_PROBE_ASYNC_FORK_PRCTL) == ODF_ANSWER_YES)
		/* applies to this process alone, unlike the cgroup's switch */
		atomic_store_explicit(&offered, &by_prctl, memory_order_release);
	else if (capability_known(ODF_PROBE_ASYNC_FORK) == ODF_ANSWER_YES)
		atomic_store_explicit(&offered, &async_fork, memory_order_release);
}

odf_reason kernel_offer_reason(void)
{
	if (kernel_place() != NULL)
		return ODF_REASON_NONE;
	switch (capability_error(ODF_PROBE_USE_ODF)) {
	case EACCES:
	case EPERM:
	case EROFS:
		return ODF_REASON_KERNEL_NOT_WRITABLE;
	default:
		return capability_known(ODF_PROBE_PROC) == ODF_ANSWER_NO ? ODF_REASON_NO_PROC
									 : ODF_REASON_KERNEL_NOT_OFFERED;
	}
}

/* The switch has no effect for now: loading a module or writing a sysctl changes that. */
static bool is_idle(const struct kernel_place *place)
{
	return (place->interface == ODF_KERNEL_INTERFACE_ASYNC_FORK_MODULE && !is_there("/sys/module/async_fork")) ||
	       (place->interface == ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL && kernel_read_bit(place->path) == '0');
}

bool kernel_is_on(void)
{
	const struct kernel_place *place = kernel_place();

	return place != NULL && kernel_bit_is_on(place->interface, kernel_read_bit(place->path)) && !is_idle(place);
}

/* ---- Tried out ---- */

static struct kernel_trial_result tried;
static uint64_t tried_ns;
static atomic_bool is_tried; /* the two above are constant from then on */

static void nap(void)
{
	const struct timespec moment = { 0, 100000 };

	(void)sys_call2(SYS_nanosleep, &moment, NULL);
}

/* The process has ended within the time. Its report says that it is about to. */
static bool reap(long pid, uint64_t most_ns)
{
	uint64_t start = record_now();
	int status;

	for (;;) {
		long result = sys_call4(SYS_wait4, pid, &status, __WCLONE | WNOHANG, NULL);
		if (result != 0 && result != -EINTR) /* -ECHILD: another thread has reaped it */
			return true;
		if (record_now() - start > most_ns)
			return false;
		nap();
	}
}

/* A whole report came in time. A process that ends without one is noticed at once, unless another thread has forked
 * meanwhile and its child has a copy of the pipe. */
static bool hear(int fd, struct kernel_trial_result *result, uint64_t most_ns)
{
	uint64_t start = record_now(), now;

	while ((now = record_now()) - start < most_ns) {
		uint64_t left = most_ns - (now - start);
		struct timespec limit = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };
		struct pollfd ready = { .fd = fd, .events = POLLIN };
		long count = sys_call5(SYS_ppoll, &ready, 1, &limit, NULL, sizeof(uint64_t));
		if (count > 0)
			return sys_read(fd, result, sizeof *result) == sizeof *result;
		if (count != -EINTR)
			nap();
	}
	return false;
}

/* 0 or an errno value. */
static int try_out(const struct kernel_place *place, struct kernel_trial_result *result)
{
	uint64_t all = ~0ull, mask, start, forking;
	int ends[2], self = (int)sys_call0(SYS_getpid), error;
	long pid;

	if (sysconf(_SC_PAGESIZE) != 4096)
		return ENOTSUP;
	error = (int)sys_call2(SYS_pipe2, ends, O_CLOEXEC);
	if (error < 0)
		return -error;
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	start = record_now();
	pid = sys_call6(SYS_clone, 0, 0, 0, 0, 0, 0);
	if (pid == 0) {
		sys_close(ends[0]);
		kernel_trial(place->interface, place->path, ends[1], self);
	}
	forking = (record_now() - start) * TRIAL_MOST_FORKS;
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	sys_close(ends[1]);
	if (pid < 0) {
		sys_close(ends[0]);
		return (int)-pid;
	}
	if (!hear(ends[0], result, TRIAL_MOST_NS + forking))
		*result = (struct kernel_trial_result){ .interface = place->interface,
							.failed = 1u << ODF_KERNEL_CHECK_END };
	sys_close(ends[0]);
	if (!reap(pid, result->failed & 1u << ODF_KERNEL_CHECK_END ? 0 : END_MOST_NS + forking)) {
		result->failed |= 1u << ODF_KERNEL_CHECK_END;
		(void)sys_call2(SYS_kill, pid, SIGKILL);
		(void)reap(pid, END_MOST_NS + forking); /* it is stuck in the kernel */
	}
	return result->error;
}

/* Under the lock. */
static int try_once(const struct kernel_place *place)
{
	struct kernel_trial_result result = { .error = 0 };
	uint64_t start = record_now();
	int error;

	if (atomic_load_explicit(&is_tried, memory_order_relaxed) || is_idle(place))
		return 0;
	/* A process that tries it would share page tables with this one, and could not clear the switch without
	 * harm. */
	if (place->interface == ODF_KERNEL_INTERFACE_USE_ODF && kernel_is_on())
		return EBUSY;
	if (next_process() == NEXT_PROCESS_FIRST || next_process() == NEXT_PROCESS_UNKNOWN)
		return EAGAIN; /* a PID namespace would end with the processes of the trial */
	error = try_out(place, &result);
	if (error == 0) {
		tried = result;
		tried_ns = record_now() - start;
		atomic_store_explicit(&is_tried, true, memory_order_release);
	}
	return error;
}

static bool failed(odf_kernel_check check)
{
	return tried.failed & 1u << check;
}

/* Data first: for a kernel that loses data the counters do not matter. */
static odf_reason tried_reason(void)
{
	if (tried.refused != 0)
		return ODF_REASON_KERNEL_REFUSED;
	/* It is not tried further, as forks have crashed that kernel. That it loses this data was seen once
	 * (odfork_kernel(7)). */
	if (tried.interface == ODF_KERNEL_INTERFACE_USE_ODF_ARMED)
		return ODF_REASON_KERNEL_LOSES_NEIGHBORS;
	if (failed(ODF_KERNEL_CHECK_WRITES))
		return ODF_REASON_KERNEL_LOSES_WRITES;
	if (failed(ODF_KERNEL_CHECK_DISCARD_NEIGHBORS) || failed(ODF_KERNEL_CHECK_UNMAP_NEIGHBORS))
		return ODF_REASON_KERNEL_LOSES_NEIGHBORS;
	if (failed(ODF_KERNEL_CHECK_DISCARD))
		return ODF_REASON_KERNEL_LOSES_DISCARDS;
	if (failed(ODF_KERNEL_CHECK_END))
		return ODF_REASON_KERNEL_DIES;
	if (failed(ODF_KERNEL_CHECK_EFFECT))
		return ODF_REASON_KERNEL_NO_EFFECT;
	/* Without a sign that the fork was on demand, the other checks prove nothing. Async-fork gives no such sign. */
	if (!(tried.passed & 1u << ODF_KERNEL_CHECK_EFFECT) && !kernel_is_async(tried.interface))
		return ODF_REASON_KERNEL_NOT_VERIFIED;
	return ODF_REASON_NONE;
}

odf_reason kernel_doubt(void)
{
	const struct kernel_place *place = kernel_place();

	if (place != NULL && is_idle(place))
		return ODF_REASON_KERNEL_NO_EFFECT;
	return atomic_load_explicit(&is_tried, memory_order_acquire) ? tried_reason() : settings->kernel;
}

odf_kernel_interface kernel_interface(void)
{
	const struct kernel_place *place = kernel_place();

	if (place == NULL)
		return ODF_KERNEL_INTERFACE_NONE;
	return atomic_load_explicit(&is_tried, memory_order_acquire) ? tried.interface : place->interface;
}

/* ---- When it is asked ---- */

/* A filter applies to this process, which might punish it for processes that the program has not asked for. */
static bool is_filtered(void)
{
	static const char name[] = "\nSeccomp:\t0";
	char chunk[512];
	size_t matched = 0;
	bool filtered = true;
	int fd = sys_open("/proc/self/status", PROC_READ, 0);
	long count;

	if (fd < 0)
		return true;
	while (filtered && (count = sys_read(fd, chunk, sizeof chunk)) > 0) {
		for (long i = 0; i < count && filtered; i++) {
			matched = chunk[i] == name[matched] ? matched + 1 : chunk[i] == name[0];
			filtered = matched < sizeof name - 1;
		}
	}
	sys_close(fd);
	return filtered;
}

/* The switch of a cgroup applies to every process in it. */
static bool disturbs_nobody(const struct kernel_place *place)
{
	return place->cgroup == 0 || async_fork_alone(place->path);
}

/* Defined by the command, which asks by itself after a warning. */
extern const char odfork_command_asks __attribute__((weak, visibility("default")));

void kernel_ask_early(void)
{
	char path[PATH_MAX];
	uint64_t cgroup;

	/* No lock, as no other thread runs yet: a filter that was installed before the program started could kill for
	 * the lock's system call. */
	if (!capability(ODF_PROBE_USE_ODF) && !capability(ODF_PROBE_ASYNC_FORK_PRCTL)) {
		int found = async_fork_find(false, path, &cgroup);
		if (found == 0)
			capability(ODF_PROBE_ASYNC_FORK);
		else if (found == -ESRCH) /* no file in /proc can be read, perhaps */
			capability(ODF_PROBE_PROC);
	}
	offer();
	if (kernel_place() == NULL)
		return;
	process_lock_wait(&asking);
	if (&odfork_command_asks == NULL && settings->kernel == ODF_REASON_KERNEL_NOT_VERIFIED &&
	    (settings->strategy == ODF_STRATEGY_NONE || settings->strategy == ODF_STRATEGY_KERNEL) &&
	    disturbs_nobody(kernel_place()) && !is_filtered())
		(void)try_once(kernel_place()); /* a kernel that cannot be tried now is not verified */
	process_lock_release(&asking);
}

int kernel_ask(bool anyway)
{
	const struct kernel_place *place;
	int error = 0;

	process_lock_wait(&asking);
	capability(ODF_PROBE_USE_ODF);
	capability(ODF_PROBE_PROC);
	capability(ODF_PROBE_ASYNC_FORK_PRCTL);
	capability(ODF_PROBE_ASYNC_FORK);
	offer();
	place = kernel_place();
	if (place != NULL && (anyway || settings->kernel == ODF_REASON_KERNEL_NOT_VERIFIED))
		error = try_once(place);
	process_lock_release(&asking);
	return error;
}

int odf_kernel_verify(odf_kernel_verdict *verdict)
{
	odf_kernel_verdict found = ODF_KERNEL_VERDICT_INIT;
	int saved = errno, error;

	if (verdict == NULL)
		return EINVAL;
	error = structure_check_output(verdict, STRUCTURE_UP_TO(odf_kernel_verdict, elapsed_ns));
	if (error != 0)
		return error;
	error = kernel_ask(true);
	found.interface = kernel_interface();
	found.reason = kernel_offer_reason();
	if (found.reason == ODF_REASON_NONE)
		found.reason = kernel_doubt();
	if (atomic_load_explicit(&is_tried, memory_order_acquire)) {
		for (odf_kernel_check check = 0; check < ODF_KERNEL_CHECK_COUNT; check++)
			found.check[check] = tried.failed & 1u << check	  ? ODF_ANSWER_NO
					     : tried.passed & 1u << check ? ODF_ANSWER_YES
									  : ODF_ANSWER_NOT_ASKED;
		found.tables = tried.tables;
		found.child_tables = tried.child_tables;
		found.elapsed_ns = tried_ns;
	}
	structure_write(verdict, &found, sizeof found);
	errno = saved;
	return error;
}
