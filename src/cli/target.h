/* SPDX-License-Identifier: MIT */
#ifndef ODF_CLI_TARGET_H
#define ODF_CLI_TARGET_H

#include <limits.h>
#include <stdbool.h>

/* What a program is, as far as its file shows. */
struct target {
	char file[PATH_MAX];   /* the file that finally runs: for a script, its interpreter; "": not found */
	char loader[PATH_MAX]; /* its loader, which can list its libraries; "": none, or not known */
	/* why the library has no effect in it, in words; NULL if it has, or if that is not known */
	const char *obstacle;
	bool would_break;      /* it does not start if the library is preloaded */
	bool passes_over;      /* but its loader ignores a name that it does not find */
};

/* `command` is looked up as by execvp. `follow`: what the program executes is preloaded too, so for "#!/usr/bin/env
 * python3" python3 counts. The answer depends on this process's user, so call it after user_become. */
void target_examine(const char *command, bool follow, struct target *target);
#endif
