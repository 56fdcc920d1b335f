/* SPDX-License-Identifier: MIT */
#ifndef ODF_CLI_JSON_H
#define ODF_CLI_JSON_H

/* Writes to standard output, in quotes; bytes that are not UTF-8 are replaced. NULL is written as null. */
void json_print_string(const char *string);
#endif
