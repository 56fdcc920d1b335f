/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_keeper share.
 */
#ifndef TESTS_KEEPER_TESTS_H
#define TESTS_KEEPER_TESTS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/region/keeper.h"
#include "../support/support.h"

#define MS 1000000ull
#define NOW (1000000 * MS)

/* keeper_schedule.c */
void schedule(void **state);
void pace(void **state);
void what_was_only_read(void **state);
#endif
