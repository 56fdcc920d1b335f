/* SPDX-License-Identifier: MIT
 *
 * launch MIB ROUNDS: from a process that holds MIB of memory, starts /bin/true again and again by plain fork and exec, by libc's posix_spawn, by
 * odf_spawn and by raw vfork and execve, which is the least that the kernel takes, turn by turn; and
 * prints the median and the 99th percentile of the time from the call until the caller goes on (for fork: until exec has succeeded,
 * which is what the spawn promises too), and their ratio. CSV: mib,way,median_us,p99_us,ratio_to_fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "odfork.h"

static char *argv_true[] = { (char[]){ "true" }, NULL };

/* The careful classic: a close-on-exec pipe tells of exec's success. */
static pid_t by_fork(void)
{
	int failure[2], error = 0;
	pid_t pid;

	if (pipe2(failure, O_CLOEXEC) != 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		execv("/bin/true", argv_true);
		error = errno;
		_exit(write(failure[1], &error, sizeof error) == sizeof error ? 127 : 126);
	}
	close(failure[1]);
	if (read(failure[0], &error, sizeof error) > 0)
		pid = -1;
	close(failure[0]);
	return pid;
}

static pid_t by_spawn(void)
{
	pid_t pid;
	return odf_spawn(&pid, "/bin/true", argv_true, NULL, NULL, NULL) == 0 ? pid : -1;
}

static pid_t by_libc(void)
{
	pid_t pid;
	return posix_spawn(&pid, "/bin/true", NULL, NULL, argv_true, environ) == 0 ? pid : -1;
}

static pid_t by_raw_vfork(void)
{
	pid_t pid = vfork();
	if (pid == 0) {
		execve("/bin/true", argv_true, environ);
		_exit(127);
	}
	return pid;
}

static const struct {
	const char *name;
	pid_t (*start)(void);
} ways[] = {
	{ "fork+exec", by_fork },
	{ "posix_spawn (libc)", by_libc },
	{ "odf_spawn", by_spawn },
	{ "vfork+execve (the floor)", by_raw_vfork },
};
enum { WAYS = sizeof ways / sizeof *ways };

int main(int argc, char **argv)
{
	size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 0, rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	double *samples[WAYS], fork_median = 0;

	if (argc != 3 || rounds == 0) {
		fprintf(stderr, "usage: launch MIB ROUNDS\n");
		return 2;
	}
	hold_memory(mib << 20);
	for (size_t w = 0; w < WAYS; w++) {
		samples[w] = calloc(rounds, sizeof **samples);
		if (samples[w] == NULL)
			return 1;
	}
	for (size_t round = 0; round < rounds + 3; round++) { /* three to warm up */
		for (size_t w = 0; w < WAYS; w++) {
			double start = now_us(), held;
			pid_t pid = ways[w].start();
			int status;
			held = now_us() - start;
			if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
				fprintf(stderr, "launch: %s failed: %s\n", ways[w].name, strerror(errno));
				return 1;
			}
			if (round >= 3)
				samples[w][round - 3] = held;
		}
	}
	printf("mib,way,median_us,p99_us,ratio_to_fork\n");
	for (size_t w = 0; w < WAYS; w++) {
		double p99 = quantile(samples[w], rounds, 0.99), median = quantile(samples[w], rounds, 0.5);
		if (w == 0)
			fork_median = median;
		printf("%zu,%s,%.0f,%.0f,%.2f\n", mib, ways[w].name, median, p99, fork_median / median);
	}
	return 0;
}
