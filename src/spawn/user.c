/* SPDX-License-Identifier: MIT
 *
 * The groups of a user. The caller looks them up, never the child: a look-up opens files and sockets, allocates and
 * locks.
 */
#include "user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

/* Weak, so that a static program that does not look users up need not link these, and the linker does not warn. */
extern __typeof__(getpwuid_r) getpwuid_r __attribute__((weak));
extern __typeof__(getgrouplist) getgrouplist __attribute__((weak));

enum { LARGEST = 1 << 20 };

/* The groups of a name. Tries with more room while they do not fit. */
static int list_groups(const char *name, gid_t group, gid_t **groups, size_t *count)
{
	int room = 64, found;
	gid_t *list;

	for (;;) {
		list = reallocarray(NULL, (size_t)room, sizeof *list);
		if (list == NULL)
			return ENOMEM;
		found = room;
		if (getgrouplist(name, group, list, &found) >= 0)
			break;
		free(list);
		room = found > room ? found : room * 2;
		if (room > LARGEST)
			return ERANGE;
	}
	*groups = list;
	*count = (size_t)found;
	return 0;
}

int user_groups(uid_t user, const gid_t *group, gid_t **groups, size_t *count)
{
	struct passwd entry, *found = NULL;
	size_t room = 1024;
	char *buffer = NULL, *larger;
	int error;

	if (getpwuid_r == NULL || getgrouplist == NULL)
		return ENOSYS;
	do {
		larger = realloc(buffer, room);
		if (larger == NULL) {
			free(buffer);
			return ENOMEM;
		}
		buffer = larger;
		error = getpwuid_r(user, &entry, buffer, room, &found);
		room *= 2;
	} while (error == EINTR || (error == ERANGE && room <= LARGEST));
	if (error == 0 && found == NULL)
		error = ENOENT;
	if (error == 0)
		error = list_groups(entry.pw_name, group != NULL ? *group : entry.pw_gid, groups, count);
	free(buffer);
	return error;
}
