/* SPDX-License-Identifier: MIT
 *
 * The lock that ignores a holder in another process. Code that may hang runs in a child that an alarm ends.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/sys/process_lock.h"
#include "../support/support.h"

enum { ALARM_SECONDS = 400 };

static struct process_lock lock;

static void in_child(int (*body)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(ALARM_SECONDS);
		_exit(body());
	}
	status = wait_for(pid);
	if (WIFSIGNALED(status))
		fail_msg("signal %d%s", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ": it waits for ever" : "");
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- Released while the other thread checks whether the holder is alive ------------------------------------------ */

static atomic_int taken, asked;

static void *take_and_stay(void *unused)
{
	atomic_store(&taken, process_lock_try(&lock) ? 1 : -1);
	for (;;)
		pause();
	return unused;
}

/* In place of the check's system call, which the filter traps: the result register keeps its value, which is no
 * error. */
static void on_question(int signal)
{
	(void)signal;
	if (atomic_fetch_add(&asked, 1) == 0)
		process_lock_release(&lock);
}

static int wait_meanwhile(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, filter };
	pthread_t thread;

	signal(SIGSYS, on_question);
	if (pthread_create(&thread, NULL, take_and_stay, NULL) != 0)
		return 2;
	while (atomic_load(&taken) == 0)
		usleep(1000);
	/* For this thread only. */
	if (atomic_load(&taken) != 1 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		return 3;
	process_lock_wait(&lock);
	if (atomic_load(&asked) != 1)
		return 4;
	return atomic_load(&lock.holder) == (int)syscall(SYS_gettid) ? 0 : 5;
}

static void test_released_meanwhile(void **state)
{
	(void)state;
	in_child(wait_meanwhile);
}

/* ---- One at a time ----------------------------------------------------------------------------------------------- */

enum { THREADS = 4, TIMES = 20000 };
static struct process_lock contended;
static volatile int inside, count, intruders;

static void *count_up(void *unused)
{
	for (int i = 0; i < TIMES; i++) {
		process_lock_wait(&contended);
		if (inside++ != 0)
			intruders++;
		count++;
		inside--;
		process_lock_release(&contended);
	}
	return unused;
}

static int count_in_threads(void)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, count_up, NULL) != 0)
			return 2;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return intruders == 0 && count == THREADS * TIMES && atomic_load(&contended.holder) == 0 ? 0 : 3;
}

static void test_one_at_a_time(void **state)
{
	(void)state;
	in_child(count_in_threads);
}

/* ---- Leftovers --------------------------------------------------------------------------------------------------- */

static int take_the_parents(void)
{
	process_lock_wait(&lock);
	process_lock_release(&lock);
	return process_lock_try(&lock) ? 0 : 2;
}

static void test_holder_of_the_parent(void **state)
{
	(void)state;
	assert_true(process_lock_try(&lock));
	assert_false(process_lock_try(&lock));
	in_child(take_the_parents);
	assert_false(process_lock_try(&lock));
	process_lock_release(&lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_released_meanwhile),
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_holder_of_the_parent),
	};

	return cmocka_run_group_tests_name("process lock", tests, NULL, NULL);
}
