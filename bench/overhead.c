/* SPDX-License-Identifier: MIT
 *
 * overhead ROUNDS: compares fork() and odf_fork() in a small process, in pairs of changing order. Measures the time in
 * the call, and the time until the child is reaped. CSV: what,fork_us,odf_fork_us,ratio, medians; the ratio is the
 * median of the pairs' ratios over blocks of 100.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "odfork.h"

enum { BLOCK = 100 };

struct pair {
	double held, reaped;
};

static struct pair once(pid_t (*make)(void))
{
	double start = now_us();
	struct pair times;
	pid_t pid = make();

	if (pid == 0)
		_exit(0);
	times.held = now_us() - start;
	if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
		perror("overhead");
		exit(1);
	}
	times.reaped = now_us() - start;
	return times;
}

int main(int argc, char **argv)
{
	size_t blocks = (argc > 1 ? strtoul(argv[1], NULL, 10) : 0) / BLOCK;
	double *held[3], *reaped[3], one[2][2][BLOCK];

	if (argc != 2 || blocks == 0) {
		fprintf(stderr, "usage: overhead ROUNDS (at least %d)\n", BLOCK);
		return 2;
	}
	for (int i = 0; i < 3; i++) {
		held[i] = calloc(blocks, sizeof(double));
		reaped[i] = calloc(blocks, sizeof(double));
		if (held[i] == NULL || reaped[i] == NULL)
			return 1;
	}
	for (size_t block = 0; block < blocks; block++) {
		for (int round = 0; round < BLOCK; round++) {
			for (int turn = 0; turn < 2; turn++) {
				int which = (turn + round) % 2;
				struct pair times = once(which == 0 ? fork : odf_fork);
				one[which][0][round] = times.held;
				one[which][1][round] = times.reaped;
			}
		}
		for (int which = 0; which < 2; which++) {
			held[which][block] = quantile(one[which][0], BLOCK, 0.5);
			reaped[which][block] = quantile(one[which][1], BLOCK, 0.5);
		}
		held[2][block] = held[1][block] / held[0][block];
		reaped[2][block] = reaped[1][block] / reaped[0][block];
	}
	printf("what,fork_us,odf_fork_us,ratio\n");
	printf("held,%.1f,%.1f,%.4f\n", quantile(held[0], blocks, 0.5), quantile(held[1], blocks, 0.5),
	       quantile(held[2], blocks, 0.5));
	printf("reaped,%.1f,%.1f,%.4f\n", quantile(reaped[0], blocks, 0.5), quantile(reaped[1], blocks, 0.5),
	       quantile(reaped[2], blocks, 0.5));
	return 0;
}
