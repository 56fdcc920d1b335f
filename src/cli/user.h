/* SPDX-License-Identifier: MIT
 * The user that --user names. */
#ifndef ODF_CLI_USER_H
#define ODF_CLI_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct user {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary; the owner frees them */
	int group_count;
};

/* "USER" or "USER:GROUP", each a name or a number. A user's group and supplementary groups are those of the system's
 * tables. A number that is in none of them gets the group of the same number, unless one is named, and no supplementary
 * groups. False: there is no such user or group; reported on standard error in the name of `command`. */
bool user_read(const char *command, const char *text, struct user *user);

/* A group alone. */
bool group_read(const char *command, const char *text, gid_t *gid);

/* Becomes that user permanently; false with errno. */
bool user_become(const struct user *user);
#endif
