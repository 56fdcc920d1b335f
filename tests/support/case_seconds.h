/* SPDX-License-Identifier: MIT
 *
 * How long a case may take before it counts as hanging. ODF_CASE_SECONDS raises the limit on a slow machine.
 */
#ifndef TESTS_CASE_SECONDS_H
#define TESTS_CASE_SECONDS_H

#include <stdlib.h>

static inline unsigned case_seconds(unsigned otherwise)
{
	const char *seconds = getenv("ODF_CASE_SECONDS");

	return seconds != NULL ? (unsigned)atoi(seconds) : otherwise;
}
#endif
