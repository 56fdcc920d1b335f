/* SPDX-License-Identifier: MIT
 *
 * A changed root directory in which the files that the library reads from /proc, /sys and /dev are replaced: by empty
 * files, or by FIFOs without a writer. No byte may be lost, no fork may share what it must not, and no call may block.
 */
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "../support/preloaded.h"

static const char *const made_up[] = {
	"dev/userfaultfd", "proc/loadavg", "proc/self/maps", "proc/self/mem", "proc/self/pagemap", "proc/self/stat",
	"proc/self/statm", "proc/self/status", "proc/sys/kernel/core_pattern", "proc/sys/vm/overcommit_memory",
	"proc/thread-self/maps", "proc/thread-self/status", "sys/kernel/mm/transparent_hugepage/enabled",
};
/* Looks like one task. */
static const char *const directories[] = {
	"dev", "proc", "proc/self", "proc/self/fd", "proc/self/fdinfo", "proc/self/task", "proc/self/task/1",
	"proc/sys",
	"proc/sys/kernel", "proc/sys/vm", "proc/thread-self", "sys", "sys/kernel", "sys/kernel/mm",
	"sys/kernel/mm/transparent_hugepage",
};
#define COUNT_OF(list) (sizeof list / sizeof *list)

static void take_down(int root)
{
	for (size_t i = 0; i < COUNT_OF(made_up); i++)
		(void)unlinkat(root, made_up[i], 0);
	for (size_t i = COUNT_OF(directories); i-- > 0;)
		(void)unlinkat(root, directories[i], AT_REMOVEDIR);
}

static int enter_made_up_root(const char *kind, char *path, int *around)
{
	mode_t type = strcmp(kind, "pipes") == 0 ? S_IFIFO : S_IFREG;
	int root;

	if (geteuid() != 0)
		cannot_be_done_here("not root");
	*around = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(*around >= 0 && mkdtemp(path) != NULL);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(root >= 0);
	for (size_t i = 0; i < COUNT_OF(directories); i++)
		must(mkdirat(root, directories[i], 0755) == 0);
	for (size_t i = 0; i < COUNT_OF(made_up); i++)
		must(mknodat(root, made_up[i], type | 0644, 0) == 0);
	must(chroot(path) == 0 && chdir("/") == 0);
	return root;
}

/* Only the writer sees what is written after a fork. */
static void must_be_apart(char value)
{
	char byte = 0, was = mapped_value;
	int go[2];
	pid_t pid;

	must(pipe(go) == 0);
	pid = fork();
	if (pid == 0) {
		must(read(go[0], &byte, 1) == 1);
		mapped_value = was;
		_exit(is_right() ? 0 : 1);
	}
	must(pid > 0);
	fill_mapped(value);
	must(write(go[1], &byte, 1) == 1 && status_of(pid) == 0 && is_right());
	must(close(go[0]) == 0 && close(go[1]) == 0);
}

static void *wait_here(void *unused)
{
	(void)unused;
	for (;;)
		(void)pause();
	return NULL;
}

/* files|pipes [before|first] [thread] */
static void believes_nobody(char *words[CASE_WORDS])
{
	const char *when = words[1] != NULL ? words[1] : "";
	char path[] = "/tmp/odfork-root.XXXXXX";
	int root = -1, around;
	pthread_t thread;

	/* A fork that hangs has its signals blocked. */
	must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	if (words[2] != NULL)
		must(pthread_create(&thread, NULL, wait_here, NULL) == 0);
	if (strcmp(when, "before") == 0)
		root = enter_made_up_root(words[0], path, &around);
	grow();
	if (strcmp(when, "first") == 0) {
		fork_and_check();
		fill_mapped(70);
	}
	if (strcmp(when, "before") != 0)
		root = enter_made_up_root(words[0], path, &around);
	for (int round = 0; round < 3; round++) {
		go_on();
		must_be_apart((char)(80 + round));
	}
	take_down(root);
	(void)unlinkat(around, path + strlen("/tmp/"), AT_REMOVEDIR);
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = { { "believes_nobody", believes_nobody } };
	static const char *const runs[][4] = {
		{ "believes_nobody", "files" },
		{ "believes_nobody", "files", "first" },
		{ "believes_nobody", "files", "first", "thread" },
		{ "believes_nobody", "files", "before" },
		{ "believes_nobody", "pipes" },
		{ "believes_nobody", "pipes", "first" },
		{ "believes_nobody", "pipes", "before" },
	};

	if (argc > 1)
		run_case(cases, sizeof cases / sizeof *cases, argc, argv);
	for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
		tell_with_each_heap("made_up_root", runs[i]);
	return end_of_cases();
}
