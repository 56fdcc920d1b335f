/* SPDX-License-Identifier: MIT
 * The commands of odfork. Each gets its arguments from its own name on and returns the exit status. */
#ifndef ODF_CLI_CLI_H
#define ODF_CLI_CLI_H

enum { EXIT_USAGE = 2, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

int command_probe(int argc, char **argv);
int command_run(int argc, char **argv);

/* Prints "odfork: " and the message and a hint at --help on standard error; returns EXIT_USAGE. */
int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
#endif
