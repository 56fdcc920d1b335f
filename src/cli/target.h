/* SPDX-License-Identifier: MIT */
#ifndef ODF_CLI_TARGET_H
#define ODF_CLI_TARGET_H

#include <limits.h>
#include <stdbool.h>

/* What a program is, as far as its file tells. */
struct target {
	char file[PATH_MAX];   /* what runs in the end: of a script, its interpreter; "": it was not found */
	char loader[PATH_MAX]; /* which will load it, and can be asked what with; "": none, or not known */
	/* why the library has no effect in it, in words; NULL if it has, or if that is not known */
	const char *obstacle;
	bool would_break;      /* it does not start if the library is preloaded */
	bool passes_over;      /* but its loader does not mind a name that it does not find */
};

/* `command` is looked up as execvp does. `follow`: what the program executes is preloaded as well, so of
 * "#!/usr/bin/env python3" python3 counts. Says what holds for this process, so after it has become the user. */
void target_examine(const char *command, bool follow, struct target *target);
#endif
