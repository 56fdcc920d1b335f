/* SPDX-License-Identifier: MIT
 *
 * Cases of region_forks: a process that ends with its last thread. They take longer than the others and are started
 * first.
 */
#include "region_forks.h"

static void *end_last(void *unused)
{
	usleep(100000);
	return unused;
}

/* Shared with the parent. Descriptors cannot report it: the program's own are closed by then. */
static int *handlers_ran;

static void note_that_handlers_run(void)
{
	*handlers_ran = 1;
}

static int end_by_last_thread(bool frozen)
{
	pthread_t thread;

	make_region();
	REQUIRE(atexit(note_that_handlers_run) == 0);
	shared->go = 0;
	if (frozen)
		REQUIRE(by_fork(look) > 0);
	REQUIRE(pthread_create(&thread, NULL, end_last, NULL) == 0 && pthread_detach(thread) == 0);
	pthread_exit(NULL);
}

struct ending endings[2];
static time_t endings_until;

void start_endings(void)
{
	for (int i = 0; i < 2; i++) {
		endings[i].handlers_ran = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		REQUIRE(endings[i].handlers_ran != MAP_FAILED);
		endings[i].pid = fork();
		if (endings[i].pid == 0) {
			setpgid(0, 0);
			handlers_ran = endings[i].handlers_ran;
			shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
			_exit(end_by_last_thread(i == 1));
		}
	}
	endings_until = now() + 120;
}

bool ends_in_time(struct ending *ending)
{
	int status = 0;
	pid_t pid;

	while ((pid = waitpid(ending->pid, &status, WNOHANG)) == 0 && now() <= endings_until)
		usleep(20000);
	kill(-ending->pid, SIGKILL); /* with its child */
	if (pid == 0)
		waitpid(ending->pid, &status, 0);
	if (pid != ending->pid || status != 0)
		printf("# %s, wait status %#x\n", pid == 0 ? "had to be killed" : "ended", (unsigned)status);
	if (!*ending->handlers_ran)
		printf("# its atexit handlers did not run\n");
	return pid == ending->pid && status == 0 && *ending->handlers_ran;
}
