/* SPDX-License-Identifier: MIT
 *
 * start LIBRARY EMPTY-LIBRARY ROUNDS: how long /bin/true takes from start to end: plain, with LIBRARY preloaded, and
 * with an empty library preloaded, in turns. CSV: how,median_us,ratio_to_plain.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "odfork.h"

int main(int argc, char **argv)
{
	static const char *const names[] = { "plain", "empty library preloaded", "libodfork preloaded" };
	char *arguments[] = { (char[]){ "true" }, NULL };
	char *environments[3][2] = { { NULL, NULL }, { NULL, NULL }, { NULL, NULL } };
	size_t rounds = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	double *samples[3], plain = 0;

	if (rounds == 0) {
		fprintf(stderr, "usage: start LIBRARY EMPTY-LIBRARY ROUNDS\n");
		return 2;
	}
	if (asprintf(&environments[1][0], "LD_PRELOAD=%s", argv[2]) < 0 ||
	    asprintf(&environments[2][0], "LD_PRELOAD=%s", argv[1]) < 0)
		return 1;
	for (int how = 0; how < 3; how++) {
		samples[how] = calloc(rounds, sizeof(double));
		if (samples[how] == NULL)
			return 1;
	}
	for (size_t round = 0; round < rounds; round++) {
		for (int how = 0; how < 3; how++) {
			double start = now_us();
			int status;
			pid_t pid;
			if (odf_spawn(&pid, "/bin/true", arguments, environments[how], NULL, NULL) != 0 ||
			    waitpid(pid, &status, 0) != pid || status != 0) {
				fprintf(stderr, "start: cannot run /bin/true\n");
				return 1;
			}
			samples[how][round] = now_us() - start;
		}
	}
	printf("how,median_us,ratio_to_plain\n");
	for (int how = 0; how < 3; how++) {
		double median = quantile(samples[how], rounds, 0.5);
		if (how == 0)
			plain = median;
		printf("%s,%.0f,%.3f\n", names[how], median, median / plain);
	}
	return 0;
}
