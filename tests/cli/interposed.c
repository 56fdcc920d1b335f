/* SPDX-License-Identifier: MIT
 *
 * interposed: forks and spawns by each interposed function and checks what the function promises. A plain run shows
 * that libc passes the checks; a run with libodfork preloaded or linked, that the library does; a build with
 * ODF_TEST_BY_NAME, that the library's spawns with names of their own do. Exit status: 0, or the number of the failed
 * check.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef ODF_TEST_BY_NAME
#include "odfork.h"
#define posix_spawn  odf_posix_spawn
#define posix_spawnp odf_posix_spawnp
#endif

extern char **environ;

#define REQUIRE(number, condition)                                                                    \
	do {                                                                                          \
		if (!(condition)) {                                                                   \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
			exit(number);                                                                 \
		}                                                                                     \
	} while (0)

static int prepared, in_parent, in_child;
static void prepare(void)
{
	prepared++;
}
static void parent(void)
{
	in_parent++;
}
static void child(void)
{
	in_child++;
}

static int ends_with(pid_t pid, int code)
{
	int status;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == code;
}

static __thread int in_thread;

/* libc's own repairs in the child: thread id, locks, handlers. */
static void check_fork(void)
{
	pid_t pid;

	pthread_atfork(prepare, parent, child);
	errno = 77;
	in_thread = 5;
	pid = fork();
	if (pid == 0) {
		pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
		int fine = errno == 77 && in_child == 1 && in_parent == 0 && in_thread == 5 && getppid() > 0 &&
			   pthread_mutex_lock(&mutex) == 0 && mutex.__data.__owner == (int)syscall(SYS_gettid) &&
			   gettid() == getpid();
		_exit(fine ? 11 : 1);
	}
	REQUIRE(10, pid > 0 && errno == 77);
	REQUIRE(11, ends_with(pid, 11));
	REQUIRE(12, prepared == 1 && in_parent == 1 && in_child == 0);
}

static pid_t (*bare)(void);

static volatile pid_t from_handler;
static void fork_in_handler(int signal)
{
	int saved = errno;
	(void)signal;
	from_handler = bare();
	if (from_handler == 0)
		_exit(12);
	errno = saved;
}

/* Async-signal-safe: from a handler that interrupts malloc and fork, thousands of times; and no atfork handler runs. */
static void check_bare_fork(void)
{
	struct sigaction action = { .sa_handler = fork_in_handler, .sa_flags = SA_RESTART };
	pid_t pid;

	bare = (pid_t(*)(void))dlsym(RTLD_DEFAULT, "_Fork");
	if (bare == NULL)
		return;
	prepared = 0;
	pid = bare();
	if (pid == 0)
		_exit(in_child == 0 ? 13 : 1);
	REQUIRE(20, ends_with(pid, 13) && prepared == 0);
	sigaction(SIGALRM, &action, NULL);
	for (int round = 0; round < 200; round++) {
		struct timespec wait = { 0, (round * 7919) % 200000 };
		timer_t timer;
		struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
		struct itimerspec when = { { 0, 0 }, wait };
		when.it_value.tv_nsec += 1;
		from_handler = -1;
		REQUIRE(21, timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 &&
				    timer_settime(timer, 0, &when, NULL) == 0);
		while (from_handler == -1) {
			free(malloc(100 + (size_t)round));
			if (round % 10 == 0) {
				pid = fork();
				if (pid == 0) {
					signal(SIGALRM, SIG_IGN);
					_exit(from_handler == 0 ? 12 : 14);
				}
				REQUIRE(22, ends_with(pid, 14));
			}
		}
		timer_delete(timer);
		REQUIRE(23, from_handler > 0 && ends_with(from_handler, 12));
	}
	signal(SIGALRM, SIG_DFL);
}

static void check_spawn(void)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 15" }, NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid = -1;

	REQUIRE(30, posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) == 0 && ends_with(pid, 15));
	REQUIRE(31, posix_spawnp(&pid, "sh", NULL, NULL, argv, environ) == 0 && ends_with(pid, 15));
	pid = -1;
	REQUIRE(32, posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, environ) == ENOENT);
	REQUIRE(33, posix_spawnp(NULL, "sh", NULL, NULL, argv, environ) == 0 && wait(NULL) > 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/nonexistent", 0, 0);
	REQUIRE(34, posix_spawnp(&pid, "sh", &actions, NULL, argv, environ) == ENOENT);
	posix_spawn_file_actions_destroy(&actions);
}

/* What attributes, actions and PATH ask for is done, and a file of unknown format is no program. */
static void check_spawn_attributes(void)
{
	/* Who stayed in this process's group would end it, too. */
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "kill -TERM 0; exit 1" }, NULL };
	char *says[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "echo said" }, NULL };
	char file[] = "/tmp/odfork-interposed-XXXXXX", *name = strrchr(file, '/') + 1, text[8] = "";
	char *path = getenv("PATH") != NULL ? strdup(getenv("PATH")) : NULL;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int status, ends[2], fd = mkstemp(file);
	pid_t pid = -1;

	REQUIRE(35, posix_spawnattr_init(&attributes) == 0 &&
		posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP) == 0 &&
		posix_spawnattr_setpgroup(&attributes, 0) == 0);
	REQUIRE(36, posix_spawn(&pid, "/bin/sh", NULL, &attributes, argv, environ) == 0 &&
		waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	posix_spawnattr_destroy(&attributes);
	REQUIRE(37, pipe(ends) == 0 && posix_spawn_file_actions_init(&actions) == 0 &&
		posix_spawn_file_actions_adddup2(&actions, ends[1], 1) == 0);
	REQUIRE(38, posix_spawnp(&pid, "sh", &actions, NULL, says, environ) == 0 && ends_with(pid, 0) &&
		read(ends[0], text, sizeof text) == 5 && memcmp(text, "said\n", 5) == 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[0]);
	close(ends[1]);
	REQUIRE(39, fd >= 0 && write(fd, "exit 3\n", 7) == 7 && fchmod(fd, 0755) == 0 && close(fd) == 0);
	pid = -1;
	REQUIRE(60, posix_spawn(&pid, file, NULL, NULL, says, environ) == ENOEXEC);
	REQUIRE(61, setenv("PATH", "/nonexistent:/tmp", 1) == 0 &&
		posix_spawnp(&pid, name, NULL, NULL, says, environ) == ENOEXEC && pid == -1);
	REQUIRE(62, setenv("PATH", "/nonexistent", 1) == 0 &&
		posix_spawnp(&pid, name, NULL, NULL, says, environ) == ENOENT);
	REQUIRE(63, (path != NULL ? setenv("PATH", path, 1) : unsetenv("PATH")) == 0 && unlink(file) == 0);
	free(path);
}

/* Forks inside libc. */
static void check_libc(void)
{
	FILE *pipe = popen("echo through popen", "r");
	char line[64] = "";

	REQUIRE(40, pipe != NULL && fgets(line, sizeof line, pipe) != NULL && strcmp(line, "through popen\n") == 0);
	REQUIRE(41, pclose(pipe) == 0);
	REQUIRE(42, system("exit 16") == 16 << 8);
	pid_t pid = vfork();
	if (pid == 0)
		_exit(17);
	REQUIRE(43, ends_with(pid, 17));
}

static atomic_bool stop;
static void *fork_and_spawn(void *unused)
{
	char *argv[] = { (char[]){ "true" }, NULL };

	(void)unused;
	while (!stop) {
		pid_t pid = fork();
		if (pid == 0) {
			free(malloc(100));
			_exit(18);
		}
		REQUIRE(50, pid > 0 && ends_with(pid, 18));
		REQUIRE(51, posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0 && ends_with(pid, 0));
	}
	return NULL;
}

static void check_threads(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		REQUIRE(52, pthread_create(&threads[i], NULL, fork_and_spawn, NULL) == 0);
	usleep(500000);
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	check_fork();
	check_bare_fork();
	check_spawn();
	check_spawn_attributes();
	check_libc();
	check_threads();
	printf("interposed: all checks hold\n");
	return 0;
}
