/* SPDX-License-Identifier: MIT */
#ifndef ODF_BENCH_AVAILABLE_H
#define ODF_BENCH_AVAILABLE_H

#include <stddef.h>

/* How many bytes the machine and the cgroups of this process leave it, by their own account. */
size_t memory_available(void);

#endif
