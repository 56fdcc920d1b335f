/* SPDX-License-Identifier: MIT
 * record_many PROCESSES THREADS CALLS: starts PROCESSES processes with THREADS threads each; each thread makes CALLS
 * calls, forks and spawns in turn. Exits with 0 if every call did what it does without records. */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int calls, failed;

static void reap(pid_t pid)
{
	int status = -1;

	if (waitpid(pid, &status, 0) != pid || status != 0)
		__atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
}

static void *work(void *unused)
{
	char *argv[] = { (char[]){ "exits" }, (char[]){ "0" }, NULL };

	for (int i = 0; i < calls; i++) {
		pid_t pid = -1;
		if (i % 2 == 0) {
			pid = fork();
			if (pid == 0)
				_exit(0);
		} else if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) != 0) {
			pid = -1;
		}
		if (pid < 0)
			__atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
		else
			reap(pid);
	}
	return unused;
}

static int run_threads(int count)
{
	pthread_t threads[64];
	int made = 0;

	while (made < count && made < 64 && pthread_create(&threads[made], NULL, work, NULL) == 0)
		made++;
	for (int i = 0; i < made; i++)
		pthread_join(threads[i], NULL);
	return failed || made < count;
}

int main(int argc, char **argv)
{
	pid_t children[64];
	int processes, status, result = 0;
	sigset_t pending;

	if (argc < 4 || (processes = atoi(argv[1])) > 64)
		return 2;
	calls = atoi(argv[3]);
	for (int i = 0; i < processes; i++) {
		children[i] = fork();
		if (children[i] < 0)
			return 3;
		if (children[i] == 0)
			_exit(run_threads(atoi(argv[2])));
	}
	for (int i = 0; i < processes; i++)
		if (waitpid(children[i], &status, 0) != children[i] || status != 0)
			result = 1;
	if (sigpending(&pending) != 0 || sigismember(&pending, SIGPIPE) || sigismember(&pending, SIGXFSZ))
		result = 4;
	return result;
}
