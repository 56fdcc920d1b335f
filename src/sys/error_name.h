/* SPDX-License-Identifier: MIT */
#ifndef ODF_SYS_ERROR_NAME_H
#define ODF_SYS_ERROR_NAME_H

/* "ENOENT"; NULL if libc has no such function (glibc before 2.32), or there is no such error. Async-signal-safe. */
const char *error_name(int error);
#endif
