/* SPDX-License-Identifier: MIT
 * Included first in the tests' files of a build with counters (coverage.sh): a process that ends by _exit leaves its
 * counts as one does that returns from main. */
#ifndef ODF_TESTS_COVERAGE_H
#define ODF_TESTS_COVERAGE_H

#include <unistd.h>

void __gcov_dump(void) __attribute__((weak)); /* not in what is built without */

#define _exit(status) (__gcov_dump != NULL ? __gcov_dump() : (void)0, _exit(status))
#endif
