/* SPDX-License-Identifier: MIT
 * Included first in the tests' source files when they are built with gcov (coverage.sh): a process that calls _exit
 * writes its counters, as one that returns from main does. */
#ifndef ODF_TESTS_COVERAGE_H
#define ODF_TESTS_COVERAGE_H

#include <unistd.h>

void __gcov_dump(void) __attribute__((weak)); /* not in what is built without */

#define _exit(status) (__gcov_dump != NULL ? __gcov_dump() : (void)0, _exit(status))
#endif
