/* SPDX-License-Identifier: MIT
 *
 * A libuv built from source, in a shared object that is linked with -Bsymbolic and loaded with RTLD_LOCAL: it and the
 * system's libuv do not use each other's functions. See peer.h. */
#include <stdbool.h>
#include <stdlib.h>

#include <uv.h>

#include "peer.h"

static __thread uv_loop_t loop;
static __thread bool loop_made;
static __thread uv_process_t process;

static void on_close(uv_handle_t *handle)
{
	(void)handle;
}

static void on_exit_of_child(uv_process_t *ended, int64_t status, int signal)
{
	if (status != 0 || signal != 0)
		abort();
	uv_close((uv_handle_t *)ended, on_close);
}

static int spawn(char **arguments, int uid, int gid)
{
	uv_process_options_t options = { .file = arguments[0], .args = arguments, .exit_cb = on_exit_of_child };

	if (!loop_made && uv_loop_init(&loop) != 0)
		return -1;
	loop_made = true;
	if (uid >= 0) {
		options.flags = UV_PROCESS_SETUID | UV_PROCESS_SETGID;
		options.uid = (uv_uid_t)uid;
		options.gid = (uv_gid_t)gid;
	}
	return uv_spawn(&loop, &process, &options) == 0 ? 0 : -1;
}

static void wait_for_it(void)
{
	uv_run(&loop, UV_RUN_DEFAULT);
}

extern const struct peer peer_offer;
__attribute__((visibility("default"))) const struct peer peer_offer = { uv_version_string, spawn, wait_for_it };
