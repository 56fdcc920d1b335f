/* SPDX-License-Identifier: MIT */
#ifndef ODF_PRELOAD_FOLLOW_H
#define ODF_PRELOAD_FOLLOW_H

/* Takes this library out of LD_PRELOAD in `environment`, in place. For the constructor only. */
void follow_stop(char **environment);
#endif
