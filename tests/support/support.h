/* SPDX-License-Identifier: MIT
 * What several test programs need. Failures end the test through cmocka. */
#ifndef ODF_TESTS_SUPPORT_H
#define ODF_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <cmocka.h>

#include "odfork.h"

/* A directory of this test run, removed at exit, and a path in it (static buffers, eight of them in turn). */
const char *scratch(void);
const char *scratch_path(const char *name);

/* Beside this test program. */
const char *helper_path(const char *name);

/* Everything that a spawn or fork must leave as it was: open descriptors with flags, the mask of all 64 signals,
 * dispositions, children, cancellation state. */
struct surroundings {
	char *text;
};
struct surroundings surroundings_take(void);
void surroundings_must_equal(struct surroundings *before); /* frees */

/* Waits and returns the wait status. */
int wait_for(pid_t pid);
/* Waits; it must have exited, and not been killed. */
int exit_status_of(pid_t pid);
void must_exit_with(pid_t pid, int code);
void must_have_no_children(void);

/* The file's contents with a final NUL; free it. NULL if it cannot be read. */
char *read_file(const char *path);
void write_file(const char *path, const char *contents, mode_t mode);

/* Spawns the state helper and returns its JSON; free it. The call must succeed. The helper's own argv[1] is the result
 * file. */
char *spawn_state(const odf_spawn_options *options, odf_report *report);
char *spawn_state_with(const odf_spawn_options *options, odf_report *report, char *const envp[], bool search);

/* JSON "name":VALUE as text, with VALUE as it stands in the file. */
char *member(const char *json, const char *name);
void must_have(const char *json, const char *name, const char *value);

/* The state without what must differ between engines: the pid wherever it stands becomes SELF, and libc's two ignored
 * signals are left out. Frees `json`; free the result. */
char *state_normalised(char *json, odf_strategy engine);

/* Says why the rest of a test is left out (return after it), or ends it as failed where ODF_MUST_WORK=1 says that
 * nothing may be skipped. */
void skip_because(const char *reason);
/* False: the whole program is left out, and has said so, before its first test. */
bool regions_are_here(void);
/* It has ended, and is reaped or waits for that. */
bool is_gone(pid_t pid);
/* A process, or a thread, sleeps. */
bool is_asleep(pid_t id);
/* 0: it is gone, or is a zombie. */
pid_t parent_of(pid_t pid);
/* Within 10 s. Also where init has to reap it. */
void must_be_gone_soon(pid_t pid);

#define assert_errno(expected, call)       \
	do {                               \
		int result_ = (call);      \
		assert_int_equal(result_, expected); \
	} while (0)

/* The engines of odf_spawn, for tests that go through all. */
extern const odf_strategy engines[3];
/* This nice value, or the one that this process has if that is higher: an ordinary user cannot go below it. */
static inline int nicer(int value)
{
	int own = getpriority(PRIO_PROCESS, 0);

	return own > value ? own : value;
}
#endif
