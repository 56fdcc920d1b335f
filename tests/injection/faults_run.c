/* SPDX-License-Identifier: MIT
 *
 * The listener of a seccomp filter: for each call of a program it returns an error or lets the kernel continue, until
 * all processes under the filter have ended.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "faults_run.h"

#define PATIENCE_MS 30000
#define SLOW_MS     3000
#define AFTER_MS    10000 /* for the end of all processes that the program has made */

/* The child shares the descriptor table with its parent until it executes, so the parent has the listener, too. It must
 * not make a call that the filter reports before the parent listens. */
static int start(void *scenario)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	char **argv = program, place[16];
	int fd;

	argv[program_words] = scenario;
	if (filter == NULL)
		_exit(90);
	for (int number = 0; number < FAULTS_NUMBERS; number++)
		if ((control->number == -1 || control->number == number) && number != SYS_exit_group &&
		    number != SYS_rt_sigreturn)
			(void)seccomp_rule_add(filter, SCMP_ACT_NOTIFY, number, 0);
	snprintf(place, sizeof place, "%d", FAULTS_FD);
	if (dup2(control_fd, FAULTS_FD) != FAULTS_FD || seccomp_load(filter) != 0)
		_exit(91);
	fd = seccomp_notify_fd(filter);
	atomic_store(&control->listener, fd + 1);
	while (!atomic_load(&control->go))
		;
	execv(argv[0], argv);
	_exit(92);
}

/* A write to an eventfd cannot fail: it has room for 2^64 - 2. It may be interrupted, as far as a program can know. */
static bool is_event(const struct seccomp_notif *asked)
{
	char path[64], to[32] = "";

	if (control->error == EINTR || control->error == EAGAIN)
		return false;
	snprintf(path, sizeof path, "/proc/%u/fd/%d", asked->pid, (int)asked->data.args[0]);
	return readlink(path, to, sizeof to - 1) > 0 && strstr(to, "[eventfd]") != NULL;
}

/* Answers a call that the filter reports. */
static void answer(int listener, struct seccomp_notif *asked, struct seccomp_notif_resp *given)
{
	uintptr_t at;
	int armed, function, number;
	bool in_libc, counts, may_fail, fails = false;

	memset(asked, 0, sizeof *asked);
	if (seccomp_notify_receive(listener, asked) != 0)
		return;
	armed = atomic_load(&control->armed);
	function = atomic_load(&control->function);
	at = (uintptr_t)asked->data.instruction_pointer;
	number = asked->data.nr;
	in_libc = at >= control->libc && at < control->libc_end;
	counts = armed != FAULTS_NONE && number >= 0 && number < FAULTS_NUMBERS &&
		 ((at >= control->library && at < control->library_end) || (armed == FAULTS_CALL && in_libc));
	may_fail = counts && number == control->number && !(calls[number].own && in_libc) &&
		   !(number == SYS_write && is_event(asked));
	if (may_fail && control->only[0] != '\0')
		may_fail = strcmp(control->only, control->functions[function]) == 0;
	if (may_fail && ++control->hits >= control->nth && control->times > 0) {
		fails = true;
		control->times--;
	}
	*given = (struct seccomp_notif_resp){ .id = asked->id,
					      .error = fails ? -control->error : 0,
					      .flags = fails ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE };
	if (fails)
		atomic_fetch_add(&control->failures, 1);
	if (seccomp_notify_respond(listener, given) != 0) {
		/* A signal came first: the call is made again, or its process has ended. */
		if (fails) {
			atomic_fetch_sub(&control->failures, 1);
			control->times++;
		}
		if (may_fail)
			control->hits--;
		return;
	}
	if (counts)
		atomic_fetch_add(&control->seen[function][number], 1);
	if (fails)
		atomic_fetch_add(&control->failed[function][number], 1);
}

static int ms_since(const struct timespec *begin)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int)((now.tv_sec - begin->tv_sec) * 1000 + (now.tv_nsec - begin->tv_nsec) / 1000000);
}

/* Serves until all processes under the filter have ended. Returns the wait status; -1: some process did not end. */
static int serve(int listener, pid_t pid)
{
	struct seccomp_notif *asked;
	struct seccomp_notif_resp *given;
	struct timespec begin;
	int status = -1;
	bool ended = false, late = false;

	if (seccomp_notify_alloc(&asked, &given) != 0)
		die("seccomp_notify_alloc");
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (;;) {
		struct pollfd wait = { .fd = listener, .events = POLLIN };
		int found = poll(&wait, 1, ended ? 100 : 20);
		if (found == 1 && (wait.revents & POLLIN))
			answer(listener, asked, given);
		if (!ended && (found == 0 || (wait.revents & POLLHUP) || ms_since(&begin) > PATIENCE_MS) &&
		    waitpid(pid, &status, WNOHANG) == pid) {
			ended = true;
			clock_gettime(CLOCK_MONOTONIC, &begin);
		}
		/* This process adopts orphans and must reap them: until then they count as users of the filter. */
		while (ended && waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
		if (ended && found == 1 && (wait.revents & POLLHUP) && !(wait.revents & POLLIN))
			break;
		if (!ended && ms_since(&begin) > PATIENCE_MS && !late) {
			kill(pid, SIGKILL);
			late = true;
		}
		if (ended && ms_since(&begin) > AFTER_MS) {
			if (!late && !atomic_exchange(&control->told, true))
				snprintf(control->text, sizeof control->text, "a process is left behind");
			late = true;
			break;
		}
	}
	if (late && !atomic_exchange(&control->told, true))
		snprintf(control->text, sizeof control->text, "does not end");
	seccomp_notify_free(asked, given);
	return late ? -1 : status;
}

static void add_totals(int scenario)
{
	for (int f = 0; f < atomic_load(&control->functions_count); f++) {
		int to = 0;
		while (atomic_flag_test_and_set(&totals->lock))
			sched_yield();
		while (to < totals->functions_count && strcmp(totals->functions[to], control->functions[f]) != 0)
			to++;
		if (to == totals->functions_count && to < FAULTS_FUNCTIONS)
			memcpy(totals->functions[totals->functions_count++], control->functions[f],
			       sizeof control->functions[f]);
		if (control->number == -1)
			totals->scenario[to] = scenario;
		atomic_flag_clear(&totals->lock);
		for (int number = 0; number < FAULTS_NUMBERS; number++) {
			int seen = control->seen[f][number];
			atomic_fetch_add(&totals->seen[to][number], seen);
			atomic_fetch_add(&totals->failed[to][number], control->failed[f][number]);
			if (control->number == -1)
				atomic_fetch_add(&totals->counts[scenario][number], seen);
		}
	}
}

int run(int scenario, int number, int error, int nth, int times, const char *only)
{
	struct timespec begin;
	pid_t pid;
	int listener, status;
	static char stack[1 << 16] __attribute__((aligned(16)));

	clock_gettime(CLOCK_MONOTONIC, &begin);
	memset(control, 0, sizeof *control);
	control->number = number;
	control->error = error;
	control->nth = nth;
	control->times = times;
	snprintf(control->only, sizeof control->only, "%s", only);
	pid = clone(start, stack + sizeof stack, CLONE_FILES | SIGCHLD, scenarios[scenario]);
	if (pid < 0)
		die("clone");
	status = 0;
	while (atomic_load(&control->listener) == 0) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			fprintf(stderr, "no filter with a listener can be had here (%d)\n", WEXITSTATUS(status));
			exit(77);
		}
		sched_yield();
	}
	listener = atomic_load(&control->listener) - 1;
	atomic_store(&control->go, 1);
	status = serve(listener, pid);
	close(listener);
	close(FAULTS_FD);
	atomic_fetch_add(&totals->runs, 1);
	atomic_fetch_add(&totals->failures, control->failures);
	add_totals(scenario);
	if (ms_since(&begin) > SLOW_MS)
		printf("# %s: %s %s %d %d took %d ms, %d failed\n", scenarios[scenario],
		       number == -1 ? "no call" : call_name(number), number == -1 ? "-" : strerrorname_np(error), nth,
		       times, ms_since(&begin), (int)control->failures);
	if (status != 0) {
		char line[1024];
		int length;
		atomic_fetch_add(&totals->wrong, 1);
		length =
		    snprintf(line, sizeof line, "# %s: %s %s %d %d: %s (status %d, %d failed)\n", scenarios[scenario],
			     number == -1 ? "no call" : call_name(number), number == -1 ? "-" : strerrorname_np(error),
			     nth, times, control->told ? control->text : "ended", status, (int)control->failures);
		(void)!write(1, line, (size_t)length);
	}
	return control->failures;
}
