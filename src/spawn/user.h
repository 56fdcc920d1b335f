/* SPDX-License-Identifier: MIT */
#ifndef ODF_SPAWN_USER_H
#define ODF_SPAWN_USER_H

#include <sys/types.h>

/* The supplementary groups of the user as initgroups sets them, with *group among them; `group` NULL: the user's own. 0
 * and an array that the caller frees; or ENOENT (no such user), ENOMEM, ENOSYS (a static program without the look-up
 * functions), or the look-up's error. */
int user_groups(uid_t user, const gid_t *group, gid_t **groups, size_t *count);
#endif
