/* SPDX-License-Identifier: MIT */
#ifndef ODF_CLI_TARGET_H
#define ODF_CLI_TARGET_H

/* Why a program cannot be preloaded, in words; NULL if it can, or if it is not known (not found, not readable). `command` is looked up
 * as execvp does; a script stands for its interpreter. */
const char *target_obstacle(const char *command);
#endif
