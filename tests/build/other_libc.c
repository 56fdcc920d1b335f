/* SPDX-License-Identifier: MIT
 *
 * Starts a program, which uses another C library, in each way there is, and prints "WAY STATUS" for each.
 *
 *   other_libc PROGRAM [ARGUMENT]
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork.h"

extern char **environ;

static char **arguments;
static const char *name; /* without its folder, which is in PATH */

static void by_execve(void)
{
	execve(arguments[0], arguments, environ);
}

static void by_execv(void)
{
	execv(arguments[0], arguments);
}

static void by_execvp(void)
{
	execvp(name, arguments);
}

static void by_execvpe(void)
{
	execvpe(name, arguments, environ);
}

static void by_execl(void)
{
	execl(arguments[0], arguments[0], arguments[1], (char *)NULL);
}

static void by_execle(void)
{
	if (arguments[1] == NULL)
		execle(arguments[0], arguments[0], (char *)NULL, environ);
	else
		execle(arguments[0], arguments[0], arguments[1], (char *)NULL, environ);
}

static void by_execlp(void)
{
	execlp(name, arguments[0], arguments[1], (char *)NULL);
}

static void by_fexecve(void)
{
	fexecve(open(arguments[0], O_RDONLY | O_CLOEXEC), arguments, environ);
}

static void by_execveat(void)
{
	syscall(SYS_execveat, open(arguments[0], O_PATH | O_CLOEXEC), "", arguments, environ, AT_EMPTY_PATH);
}

static void by_syscall(void)
{
	syscall(SYS_execve, arguments[0], arguments, environ);
}

static const struct {
	const char *name;
	void (*function)(void);
} ways[] = {
	{ "execve", by_execve },     { "execv", by_execv },   { "execvp", by_execvp }, { "execvpe", by_execvpe },
	{ "execl", by_execl },       { "execle", by_execle }, { "execlp", by_execlp }, { "fexecve", by_fexecve },
	{ "execveat", by_execveat }, { "syscall", by_syscall },
};

static void say(const char *way, pid_t pid)
{
	int status = -1;

	if (pid > 0 && waitpid(pid, &status, 0) != pid)
		status = -1;
	printf("%s %d\n", way, WIFEXITED(status) ? WEXITSTATUS(status) : 999);
	fflush(stdout);
}

static void by_shell(void)
{
	char line[4096];
	FILE *pipe;
	int status;

	snprintf(line, sizeof line, "%s %s; exit $?", arguments[0], arguments[1] != NULL ? arguments[1] : "");
	status = system(line);
	printf("system %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 999);
	fflush(stdout);
	pipe = popen(line, "w");
	status = pipe == NULL ? -1 : pclose(pipe);
	printf("popen %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 999);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	__typeof__(odf_spawn) *spawn = NULL;
	pid_t pid = -1;

	(void)argc;
	arguments = argv + 1;
	name = strrchr(arguments[0], '/') + 1;
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		pid = fork();
		if (pid == 0) {
			ways[i].function();
			_exit(99);
		}
		say(ways[i].name, pid);
	}
	pid = vfork();
	if (pid == 0) {
		execve(arguments[0], arguments, environ);
		_exit(99);
	}
	say("vfork", pid);
	pid = -1;
	errno = posix_spawn(&pid, arguments[0], NULL, NULL, arguments, environ);
	say("posix_spawn", pid);
	pid = -1;
	errno = posix_spawnp(&pid, name, NULL, NULL, arguments, environ);
	say("posix_spawnp", pid);
	by_shell();
	*(void **)&spawn = dlsym(RTLD_DEFAULT, "odf_spawn");
	for (odf_strategy by = ODF_STRATEGY_FORK; spawn != NULL && by <= ODF_STRATEGY_POSIX_SPAWN; by++) {
		odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
		options.allow = ODF_ALLOW(by);
		pid = -1;
		errno = spawn(&pid, arguments[0], arguments, NULL, &options, NULL);
		say("odf_spawn", pid);
	}
	return 0;
}
