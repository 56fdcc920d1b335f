/* SPDX-License-Identifier: MIT
 *
 * small_stack: forks in a signal handler, on an alternate stack of the minimum and 6 KiB, and spawns in a thread with
 * the minimum stack, with paths that exist and paths that are too long.
 */
#include <errno.h>
#include <pthread.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static volatile int failed;

static void reap(pid_t pid)
{
	int status;
	if (pid <= 0 || waitpid(pid, &status, 0) != pid || status != 0)
		failed = 1;
}

static void handler(int signal)
{
	pid_t pid = signal == SIGUSR1 ? fork() : _Fork();
	if (pid == 0)
		_exit(0);
	reap(pid);
}

static void *spawn_all(void *unused)
{
	static char wide[3000], bytes[3000];
	char *argv[] = { (char[]){ "true" }, NULL };
	pid_t pid;

	memset(wide, 'w', sizeof wide - 1);
	memset(bytes, '\377', sizeof bytes - 1);
	if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) != 0)
		failed = 2;
	else
		reap(pid);
	if (posix_spawn(&pid, wide, NULL, NULL, argv, environ) != ENAMETOOLONG ||
	    posix_spawn(&pid, bytes, NULL, NULL, argv, environ) != ENAMETOOLONG)
		failed = 3;
	return unused;
}

int main(void)
{
	/* The size of a signal frame depends on the processor. */
	long least = sysconf(_SC_MINSIGSTKSZ);
	size_t size = (least > 2048 ? (size_t)least : 2048) + 6144;
	stack_t stack = { .ss_sp = malloc(size), .ss_size = size };
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
	pthread_attr_t attributes;
	pthread_t thread;

	if (sigaltstack(&stack, NULL) != 0 || sigaction(SIGUSR1, &action, NULL) != 0 ||
	    sigaction(SIGUSR2, &action, NULL) != 0)
		return 10;
	raise(SIGUSR1);
	raise(SIGUSR2);
	pthread_attr_init(&attributes);
	if (pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN) != 0 ||
	    pthread_create(&thread, &attributes, spawn_all, NULL) != 0)
		return 11;
	pthread_join(thread, NULL);
	return failed;
}
