/* SPDX-License-Identifier: MIT
 *
 * Helpers for several test programs. Failures end the test through cmocka.
 */
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

/* The path of a program in this test program's directory. */
const char *helper_path(const char *name);

/* What a spawn or fork must not change in the caller: open descriptors with flags, the mask of all 64 signals,
 * dispositions, children, cancellation state. */
struct surroundings {
	char *text;
};
struct surroundings surroundings_take(void);
void surroundings_must_equal(struct surroundings *before); /* also frees it */

/* Waits for the process and returns its wait status. */
int wait_for(pid_t pid);
/* Waits for the process, which must exit and not be killed, and returns its exit status. */
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

/* The value of a JSON member as text, exactly as in the file. */
char *member(const char *json, const char *name);
void must_have(const char *json, const char *name, const char *value);

/* The state without what may differ between engines: the pid becomes SELF everywhere, and libc's two ignored signals
 * are left out. Frees `json`; free the result. */
char *state_normalised(char *json, odf_strategy engine);

/* Says why the rest of a test is skipped; the caller then returns. With ODF_MUST_WORK=1 nothing may be skipped, and the
 * test fails. */
void skip_because(const char *reason);
/* False: there are no regions here. The whole program is skipped; the call has printed that in place of the tests. */
bool regions_are_here(void);
/* The process has ended: it is reaped, or a zombie. */
bool is_gone(pid_t pid);
/* Whether a process or a thread sleeps (state S). */
bool is_asleep(pid_t id);
/* 0: the process is gone, or a zombie. */
pid_t parent_of(pid_t pid);
/* Waits up to 2 minutes. Also for an orphan, which init has to reap. */
void must_be_gone_soon(pid_t pid);

#define assert_errno(expected, call)       \
	do {                               \
		int result_ = (call);      \
		assert_int_equal(result_, expected); \
	} while (0)

/* The engines of odf_spawn, for tests that go through all of them. */
extern const odf_strategy engines[3];
/* `value`, or this process's own nice value if that is higher: an ordinary user cannot lower it. */
static inline int nicer(int value)
{
	int own = getpriority(PRIO_PROCESS, 0);

	return own > value ? own : value;
}
#endif
