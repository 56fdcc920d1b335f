/* SPDX-License-Identifier: MIT
 * Shared by the files that implement the options of `odfork spawn`. */
#ifndef ODF_CLI_SPAWN_SET_H
#define ODF_CLI_SPAWN_SET_H

#include "spawn_options.h"

/* A setter stores the meaning of a value. `text` is the whole argument, for later messages. Results: */
enum outcome { GOOD, BAD /* not understood */, TOLD /* another error, which was reported */ };
typedef enum outcome spawn_setter(struct spawn_options *spawn, const char *value, const char *text);

spawn_setter spawn_set_ambient, spawn_set_env, spawn_set_gid, spawn_set_groups, spawn_set_ioprio, spawn_set_keep_groups,
	spawn_set_namespace, spawn_set_oom_score, spawn_set_root, spawn_set_sigdefault, spawn_set_tty_fd, spawn_set_uid,
	spawn_set_user, spawn_set_user_groups;
/* Frees and closes what the setters have allocated and opened. */
void spawn_set_free(struct spawn_options *spawn);

enum outcome spawn_no_memory(void);
bool spawn_read_fd(const char *value, int *fd);
#endif
