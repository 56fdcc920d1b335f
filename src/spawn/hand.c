/* SPDX-License-Identifier: MIT */
#include "hand.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../sys/syscall.h"

/* The directory from which relative paths of the child start. *ours: to be closed, unless -1. Returns -1 if it cannot
 * be opened; the child will report that. */
static int open_directory(const odf_spawn_options *options, int *ours)
{
	int start = options->cwd_fd >= 0 ? options->cwd_fd : AT_FDCWD;

	*ours = -1;
	if (options->cwd == NULL)
		return start;
	*ours = (int)sys_call4(SYS_openat, start, options->cwd, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	return *ours < 0 ? -1 : *ours;
}

static bool is_executable(int directory, const char *path)
{
	struct stat status;

	return fstatat(directory, path, &status, 0) == 0 && S_ISREG(status.st_mode) &&
	       faccessat(directory, path, X_OK, 0) == 0;
}

/* The first candidate that can be executed. NULL: none. */
static const char *find_program(const struct child_plan *child, int directory)
{
	for (size_t i = 0; i < child->candidate_count; i++)
		if (is_executable(directory, child->candidates[i]))
			return child->candidates[i];
	return NULL;
}

void hand_environment(const struct plan *plan, const struct request *request, handed_go *go, void *call)
{
	const odf_spawn_options *options = &request->options;
	const struct child_plan *child = &plan->child;
	int directory, ours, saved = errno;
	const char *program;
	bool matters = request_is_packed(request) ? handed_readable_matters(child->envp) : handed_matters(child->envp);

	if (!matters || options->root != NULL || options->namespace_count > 0) {
		(void)go(call, child->envp);
		return;
	}
	if (options->exec_fd >= 0) {
		(void)handed_execute_fd(options->exec_fd, child->envp, go, call);
		return;
	}
	directory = open_directory(options, &ours);
	program = directory == -1 ? NULL : find_program(child, directory);
	errno = saved;
	if (program == NULL)
		(void)go(call, child->envp);
	else
		(void)handed_execute(directory, program, child->envp, go, call);
	if (ours >= 0)
		sys_close(ours);
}
