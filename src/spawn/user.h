/* SPDX-License-Identifier: MIT */
#ifndef ODF_SPAWN_USER_H
#define ODF_SPAWN_USER_H

#include <sys/types.h>

/* The supplementary groups of the user as initgroups gives them, with *group among them, or the user's own where
 * it is NULL. 0 and an array that the caller frees; or ENOENT (no such user), ENOMEM, ENOSYS (a static program without
 * the look-up functions), or what the look-up fails with. */
int user_groups(uid_t user, const gid_t *group, gid_t **groups, size_t *count);
#endif
