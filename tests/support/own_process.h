/* SPDX-License-Identifier: MIT
 *
 * Runs part of a cmocka test in a process of its own, since the library probes the kernel once per process.
 */
#ifndef TESTS_OWN_PROCESS_H
#define TESTS_OWN_PROCESS_H

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define must(condition) ((condition) ? (void)0 : _exit(__LINE__ % 255 + 1))

/* Polls and kills: the code under test may wait for a child that does not end with all signals blocked, and an alarm
 * would not reach it. */
static inline void in_a_process(void (*run)(int number), int number)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		run(number);
		_exit(0);
	}
	assert_true(pid > 0);
	for (unsigned looks = 0; looks < 40000 && !is_gone(pid); looks++)
		usleep(1000);
	(void)kill(pid, SIGKILL);
	assert_true(waitpid(pid, &status, 0) == pid);
	if (status != 0)
		fail_msg("number %d: wait status %#x, line %d", number, (unsigned)status, WEXITSTATUS(status) - 1);
}
#endif
