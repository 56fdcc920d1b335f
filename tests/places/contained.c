/* SPDX-License-Identifier: MIT
 *
 * contained FILTER COMMAND [ARGUMENT...]: executes a command under a filter of system calls that a file describes
 * (containers/): a default, names that are permitted or answer an errno, conditions on one argument. contained job:
 * what a program in a container does: it grows, forks, starts programs, and prints the results.
 */
#include <errno.h>
#include <seccomp.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what, const char *word)
{
	fprintf(stderr, "contained: %s: %s\n", what, word);
	exit(100);
}

static unsigned action_of(const char *word)
{
	if (strcmp(word, "kill") == 0)
		return SCMP_ACT_KILL_PROCESS;
	if (strcmp(word, "allow") == 0)
		return SCMP_ACT_ALLOW;
	if (strcmp(word, "0") == 0) /* returns success and does nothing */
		return SCMP_ACT_ERRNO(0);
	if (strcmp(word, "EPERM") == 0)
		return SCMP_ACT_ERRNO(EPERM);
	if (strcmp(word, "EINVAL") == 0)
		return SCMP_ACT_ERRNO(EINVAL);
	if (strcmp(word, "ENOSYS") == 0)
		return SCMP_ACT_ERRNO(ENOSYS);
	fail("no action", word);
	return 0;
}

/* Calls that libseccomp or the processor's architecture does not know get the default action. */
static void add(scmp_filter_ctx filter, unsigned action, const char *name, const struct scmp_arg_cmp *condition)
{
	int number = seccomp_syscall_resolve_name(name);

	if (number >= 0 && seccomp_rule_add_array(filter, action, number, condition != NULL, condition) != 0)
		fail("rule", name);
}

static struct scmp_arg_cmp condition_of(const char *argument, const char *how, const char *value)
{
	unsigned index = (unsigned)atoi(argument);
	unsigned long long number = strtoull(value, NULL, 0);

	return strcmp(how, "is") == 0       ? SCMP_CMP64(index, SCMP_CMP_EQ, number)
	       : strcmp(how, "is-not") == 0 ? SCMP_CMP64(index, SCMP_CMP_NE, number)
	       : strcmp(how, "below") == 0  ? SCMP_CMP64(index, SCMP_CMP_LT, number)
	       : strcmp(how, "above") == 0  ? SCMP_CMP64(index, SCMP_CMP_GT, number)
	       : strcmp(how, "with") == 0   ? SCMP_CMP64(index, SCMP_CMP_MASKED_EQ, number, number)
					    : SCMP_CMP64(index, SCMP_CMP_MASKED_EQ, number, 0);
}

static void enter(const char *path)
{
	scmp_filter_ctx filter = NULL;
	FILE *file = fopen(path, "re");
	char line[256], *rest;
	int rules = 0, least = 300; /* a list of permitted calls is long */

	if (file == NULL)
		fail("cannot open", path);
	while (fgets(line, sizeof line, file) != NULL) {
		const char *word = strtok_r(line, " \n", &rest), *name;
		unsigned action = SCMP_ACT_ALLOW;
		if (word == NULL || *word == '#')
			continue;
		if (strcmp(word, "default") == 0) {
			action = action_of(strtok_r(NULL, " \n", &rest));
			filter = seccomp_init(action);
			least = action == SCMP_ACT_ALLOW ? 20 : least;
			continue;
		}
		if (filter == NULL)
			fail("no default before", word);
		if (strcmp(word, "errno") == 0 || strcmp(word, "errno-if") == 0)
			action = action_of(strtok_r(NULL, " \n", &rest));
		if (strcmp(word, "allow-if") == 0 || strcmp(word, "errno-if") == 0) {
			const char *argument, *how;
			struct scmp_arg_cmp condition;
			name = strtok_r(NULL, " \n", &rest);
			argument = strtok_r(NULL, " \n", &rest);
			how = strtok_r(NULL, " \n", &rest);
			condition = condition_of(argument, how, strtok_r(NULL, " \n", &rest));
			add(filter, action, name, &condition);
			continue;
		}
		while ((name = strtok_r(NULL, " \n", &rest)) != NULL) {
			add(filter, action, name, NULL);
			rules++;
		}
	}
	fclose(file);
	if (rules < least || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || seccomp_load(filter) != 0)
		fail("filter", path);
	seccomp_release(filter);
}

static int status_of(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Everything that it prints is the same without the library. */
static int job(void)
{
	size_t size = (size_t)40 << 20;
	char *blocks[40], *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 6" }, NULL };
	pid_t pid;
	FILE *from;
	char said[16] = "";

	for (int i = 0; i < 40; i++) {
		blocks[i] = malloc(size / 40);
		if (blocks[i] == NULL)
			return 1;
		memset(blocks[i], i + 1, size / 40);
	}
	for (int round = 0; round < 4; round++) {
		pid = fork();
		if (pid == 0) {
			int sum = 0;
			for (int i = 0; i < 40; i++)
				sum += blocks[i][size / 80] == (i < round ? 99 : i + 1);
			memset(blocks[round], 1, size / 40);
			_exit(sum);
		}
		printf("fork %d\n", status_of(pid));
		memset(blocks[round], 99, size / 40);
	}
	printf("posix_spawn %d", posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ));
	printf(" %d\n", status_of(pid));
	printf("posix_spawnp %d\n", posix_spawnp(&pid, "no-such-program", NULL, NULL, argv, environ));
	printf("system %d\n", system("exit 3") >> 8);
	from = popen("echo heard", "r");
	printf("popen %s", from != NULL && fgets(said, sizeof said, from) != NULL ? said : "nothing\n");
	printf("pclose %d\n", from == NULL ? -1 : pclose(from));
	for (int i = 0; i < 40; i++)
		if (blocks[i][size / 80] != (i < 4 ? 99 : i + 1))
			printf("block %d is another\n", i);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "job") == 0)
		return job();
	if (argc < 3)
		return 2;
	enter(argv[1]);
	execvp(argv[2], argv + 2);
	fail("cannot execute", argv[2]);
}
