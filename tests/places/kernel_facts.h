/* SPDX-License-Identifier: MIT
 *
 * What the commands of kernel_facts share.
 */
#ifndef TESTS_KERNEL_FACTS_H
#define TESTS_KERNEL_FACTS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork.h"

#define REQUIRE(condition)                                                                                  \
	do {                                                                                                \
		if (!(condition)) {                                                                         \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);   \
			_exit(1);                                                                           \
		}                                                                                           \
	} while (0)

/* kernel_facts.c */
int command_fork(const char *how);

/* kernel_facts_common.c */
extern char **own_arguments;
char bit(void);
long tables(void);
extern size_t memory_size;
void take(const char *mebibytes);
bool keeps(size_t except);
void tell(int fd);
void print_reasons(const odf_report *report);
void print_seen(int fd, long own_tables);
void must_exit(pid_t pid);

/* kernel_facts_beside.c */
int command_handler(void);
int command_undisturbed(void);
int command_threads(char child_bit);
int command_regions(const char *mebibytes);
int command_region_after(void);
int command_layout(void);
#endif
