/* SPDX-License-Identifier: MIT */
#include "user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Not the largest number, which means "none" to the kernel. */
static bool read_id(const char *text, unsigned *id)
{
	unsigned long long number;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || number >= (unsigned)-1)
		return false;
	*id = (unsigned)number;
	return true;
}

/* After a look-up in the user tables: errno is 0, or one of several values, if there is merely no such entry. */
static void complain(const char *command, const char *what, const char *name, int error)
{
	if (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM)
		fprintf(stderr, "odfork: %s: no such %s: %s\n", command, what, name);
	else
		fprintf(stderr, "odfork: %s: %s %s cannot be looked up: %s\n", command, what, name, strerror(error));
}

bool group_read(const char *command, const char *text, gid_t *gid)
{
	const struct group *group;
	int error;

	errno = 0;
	group = getgrnam(text);
	error = errno;
	if (group != NULL)
		*gid = group->gr_gid;
	else if (!read_id(text, gid)) {
		complain(command, "group", text, error);
		return false;
	}
	return true;
}

static bool find_groups(const char *name, struct user *user)
{
	int room = 64;

	for (;;) {
		int count = room;
		user->groups = calloc((size_t)room, sizeof *user->groups);
		if (user->groups == NULL)
			return false;
		if (getgrouplist(name, user->gid, user->groups, &count) >= 0) {
			user->group_count = count;
			return true;
		}
		free(user->groups);
		user->groups = NULL; /* the caller of user_read frees them, whatever the result */
		room = count > room ? count : room * 2;
		if (room > 1 << 20) {
			errno = E2BIG;
			return false;
		}
	}
}

static bool read_parts(const char *command, char *name, const char *group, struct user *user)
{
	const struct passwd *entry;
	int error;

	errno = 0;
	entry = getpwnam(name);
	error = errno;
	if (entry == NULL && read_id(name, &user->uid))
		entry = getpwuid(user->uid);
	else if (entry == NULL) {
		complain(command, "user", name, error);
		return false;
	}
	if (entry != NULL)
		user->uid = entry->pw_uid;
	user->gid = entry != NULL ? entry->pw_gid : user->uid;
	if (group != NULL && !group_read(command, group, &user->gid))
		return false;
	if (entry == NULL || find_groups(entry->pw_name, user))
		return true;
	fprintf(stderr, "odfork: %s: the groups of user %s cannot be looked up: %s\n", command, name, strerror(errno));
	return false;
}

bool user_read(const char *command, const char *text, struct user *user)
{
	char *name = strdup(text), *group;
	bool done;

	*user = (struct user){ 0 };
	if (name == NULL) {
		fprintf(stderr, "odfork: %s: %s\n", command, strerror(errno));
		return false;
	}
	group = strchr(name, ':');
	if (group != NULL)
		*group++ = '\0';
	done = read_parts(command, name, group, user);
	free(name);
	return done;
}

bool user_become(const struct user *user)
{
	return setgroups((size_t)user->group_count, user->groups) == 0 &&
	       setresgid(user->gid, user->gid, user->gid) == 0 && setresuid(user->uid, user->uid, user->uid) == 0;
}
