/* SPDX-License-Identifier: MIT
 *
 * spawn_edges MIB ROUNDS [PEER]: how long less common starts hold a process that has MIB of memory on 4 KiB pages, with
 * odf_spawn and with its alternatives: as another user, in a cgroup, with a step that fails. Each way runs ROUNDS
 * rounds, in turns. A case that is not possible here is left out, with a line on standard error.
 *
 *   user      the program runs as user and group 65534 without supplementary groups (only root can that)
 *   cgroup    in a new cgroup (version 2): at birth, or by writing to cgroup.procs, which is done before it runs
 *   missing   there is no such program: until the caller knows
 *   step      the working directory does not exist: until the caller knows
 *
 * CSV: mib,edge,way,rounds,held_median_us,held_p99_us,reaped_median_us,to_odf,version. Held: until the call has
 * returned; reaped: until the program has ended. to_odf: held, median, over odf_spawn's. PEER: see peer.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#if HAVE_LIBUV
#include <uv.h>
#endif

#include "clock.h"
#include "odfork.h"
#include "peer.h"
#include "spawn_ways.h"

enum { USER = 65534, TURN = 10 };
static const char missing[] = "/nowhere/program", no_directory[] = "/nowhere";

static const struct peer *peer; /* NULL: none */
static char group[4096];	/* the cgroup's directory; empty: none */
static int group_fd = -1;

/* The error that a failing way has reported; 0: none. */
static int error;

static void die(const char *what)
{
	fprintf(stderr, "spawn_edges: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- odf_spawn ------------------------------------------------------------------------------------------------- */

static pid_t odf(const char *file, odf_spawn_options *options)
{
	odf_report report = ODF_REPORT_INIT;
	pid_t pid = -1;

	error = odf_spawn(&pid, file, spawned_arguments, NULL, options, &report);
	return error == 0 ? pid : -1;
}

static pid_t odf_user(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	options.flags = ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_GROUPS;
	options.uid = options.gid = USER;
	return odf(spawned_program, &options);
}

static pid_t odf_cgroup(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	options.flags = ODF_SPAWN_CGROUP_FD;
	options.cgroup_fd = group_fd;
	return odf(spawned_program, &options);
}

static pid_t odf_missing(void)
{
	return odf(missing, NULL);
}

static pid_t odf_cwd(void)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	options.cwd = no_directory;
	return odf(spawned_program, &options);
}

/* ---- fork and exec, with a close-on-exec pipe that says what failed -------------------------------------------- */

static bool enter_group(pid_t pid)
{
	char path[sizeof group + 16], text[32];
	int fd, length = snprintf(text, sizeof text, "%d", (int)pid);
	bool entered;

	snprintf(path, sizeof path, "%s/cgroup.procs", group);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	entered = fd >= 0 && write(fd, text, (size_t)length) == length;
	if (fd >= 0)
		close(fd);
	return entered;
}

/* Raw system calls: libc's functions change the ids of all threads, and the child has one thread. */
static bool become_user(void)
{
	return syscall(SYS_setgroups, 0, NULL) == 0 && syscall(SYS_setresgid, USER, USER, USER) == 0 &&
	       syscall(SYS_setresuid, USER, USER, USER) == 0;
}

enum preparation { NOTHING, BECOME_USER, ENTER_GROUP, CHANGE_DIRECTORY };

static bool prepare(enum preparation what)
{
	switch (what) {
	case BECOME_USER:
		return become_user();
	case ENTER_GROUP:
		return enter_group(0);
	case CHANGE_DIRECTORY:
		return chdir(no_directory) == 0;
	default:
		return true;
	}
}

static pid_t fork_and(enum preparation what, const char *file)
{
	int ends[2];
	ssize_t got;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0)
		die("pipe2");
	error = 0;
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		if (prepare(what))
			execv(file, spawned_arguments);
		error = errno;
		_exit(write(ends[1], &error, sizeof error) == sizeof error ? 127 : 126);
	}
	close(ends[1]);
	got = read(ends[0], &error, sizeof error);
	close(ends[0]);
	if (got <= 0)
		return pid;
	waitpid(pid, NULL, 0);
	return -1;
}

static pid_t fork_user(void)
{
	return fork_and(BECOME_USER, spawned_program);
}

static pid_t fork_cgroup(void)
{
	return fork_and(ENTER_GROUP, spawned_program);
}

static pid_t fork_missing(void)
{
	return fork_and(NOTHING, missing);
}

static pid_t fork_step(void)
{
	return fork_and(CHANGE_DIRECTORY, spawned_program);
}

/* ---- libc's posix_spawn ---------------------------------------------------------------------------------------- */

static pid_t libc_missing(void)
{
	pid_t pid = -1;

	error = posix_spawn(&pid, missing, NULL, NULL, spawned_arguments, environ);
	return error == 0 ? pid : -1;
}

#if HAVE_SPAWN_CHDIR
static pid_t libc_step(void)
{
	posix_spawn_file_actions_t actions;
	pid_t pid = -1;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addchdir_np(&actions, no_directory);
	error = posix_spawn(&pid, spawned_program, &actions, NULL, spawned_arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	return error == 0 ? pid : -1;
}
#endif

/* The program starts in the caller's cgroup and runs there until the caller moves it, which it does as soon as it
 * can. */
static pid_t libc_cgroup(void)
{
	pid_t pid = -1;

	error = posix_spawn(&pid, spawned_program, NULL, NULL, spawned_arguments, environ);
	if (error == 0 && !enter_group(pid) && errno != ESRCH)
		die("cgroup.procs");
	return error == 0 ? pid : -1;
}

/* ---- libuv ----------------------------------------------------------------------------------------------------- */

#if HAVE_LIBUV
static uv_loop_t loop;
static uv_process_t process;

static void on_exit_of_child(uv_process_t *ended, int64_t status, int signal)
{
	if (status != 0 || signal != 0)
		abort();
	uv_close((uv_handle_t *)ended, NULL);
}

static pid_t libuv_user(void)
{
	uv_process_options_t options = { .file = spawned_program,
					 .args = (char **)(uintptr_t)spawned_arguments,
					 .exit_cb = on_exit_of_child,
					 .flags = UV_PROCESS_SETUID | UV_PROCESS_SETGID,
					 .uid = USER,
					 .gid = USER };

	error = -uv_spawn(&loop, &process, &options);
	return error == 0 ? 0 : -1;
}

static void libuv_wait(void)
{
	uv_run(&loop, UV_RUN_DEFAULT);
}
#endif

static pid_t peer_user(void)
{
	return peer->spawn((char *[]){ (char[]){ "/bin/true" }, NULL }, USER, USER);
}

static void peer_wait(void)
{
	peer->wait();
}

static const char *peer_version(void)
{
	return peer->version();
}

/* ---- Ways ------------------------------------------------------------------------------------------------------ */

static bool is_root(void)
{
	return geteuid() == 0;
}

static bool has_group(void)
{
	return group[0] != '\0';
}

static bool has_peer(void)
{
	return is_root() && peer != NULL;
}

static const struct way {
	const char *edge, *name;
	pid_t (*start)(void);
	int wanted;		      /* the error; 0: none */
	bool (*possible)(void);	      /* NULL: always */
	void (*wait)(void);	      /* NULL: waitpid */
	const char *(*version)(void); /* NULL: the kernel's or libc's */
} ways[] = {
	{ "user", "odf_spawn", odf_user, 0, is_root, NULL, odf_version },
#if HAVE_LIBUV
	{ "user", "libuv uv_spawn", libuv_user, 0, is_root, libuv_wait, uv_version_string },
#endif
	{ "user", "newer libuv uv_spawn", peer_user, 0, has_peer, peer_wait, peer_version },
	{ "user", "fork, set ids, exec", fork_user, 0, is_root, NULL, NULL },
	{ "cgroup", "odf_spawn, at birth", odf_cgroup, 0, has_group, NULL, odf_version },
	{ "cgroup", "posix_spawn, then written by the caller", libc_cgroup, 0, has_group, NULL, NULL },
	{ "cgroup", "fork, written by the child, exec", fork_cgroup, 0, has_group, NULL, NULL },
	{ "missing", "odf_spawn", odf_missing, ENOENT, NULL, NULL, odf_version },
	{ "missing", "posix_spawn", libc_missing, ENOENT, NULL, NULL, NULL },
	{ "missing", "fork and exec", fork_missing, ENOENT, NULL, NULL, NULL },
	{ "step", "odf_spawn", odf_cwd, ENOENT, NULL, NULL, odf_version },
#if HAVE_SPAWN_CHDIR
	{ "step", "posix_spawn", libc_step, ENOENT, NULL, NULL, NULL },
#endif
	{ "step", "fork, chdir, exec", fork_step, ENOENT, NULL, NULL, NULL },
};
enum { WAYS = sizeof ways / sizeof *ways };

/* Creates a cgroup (version 2) below this process's own; leaves `group` empty if that is not permitted. */
static void make_group(void)
{
	static const char *const mounts[] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
	char path[2048] = "", line[2048];
	FILE *file = fopen("/proc/self/cgroup", "re");

	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, "0::", 3) == 0)
			snprintf(path, sizeof path, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
	if (file != NULL)
		fclose(file);
	for (int i = 0; i < 2 && path[0] != '\0'; i++) {
		snprintf(group, sizeof group, "%s%s/cgroup.procs", mounts[i], path);
		if (access(group, F_OK) != 0)
			continue;
		snprintf(group, sizeof group, "%s%s/odfork-bench-%d", mounts[i], path, (int)getpid());
		if (mkdir(group, 0755) == 0 && (group_fd = open(group, O_DIRECTORY | O_RDONLY | O_CLOEXEC)) >= 0)
			return;
	}
	group[0] = '\0';
}

static void remove_group(void)
{
	for (int tries = 0; group[0] != '\0' && tries < 100 && rmdir(group) != 0 && errno == EBUSY; tries++)
		usleep(10000); /* an exited process leaves its cgroup a little later */
}

static void on_signal(int number)
{
	rmdir(group);
	signal(number, SIG_DFL);
	raise(number);
}

static void once(const struct way *way, double *held, double *reaped)
{
	double start = now_us();
	pid_t pid = way->start();
	int status = 0;

	*held = now_us() - start;
	if (way->wait != NULL && pid == 0)
		way->wait();
	else if (pid > 0 && (waitpid(pid, &status, 0) != pid || status != 0))
		die(way->name);
	*reaped = now_us() - start;
	if ((pid < 0) != (way->wanted != 0) || (pid < 0 && error != way->wanted)) {
		fprintf(stderr, "spawn_edges: %s: %s: %s\n", way->edge, way->name, strerror(error));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	size_t mib = argc >= 3 ? strtoul(argv[1], NULL, 10) : 0, rounds = argc >= 3 ? strtoul(argv[2], NULL, 10) : 0;
	double *held[WAYS], *reaped[WAYS], first = 0;

	if (rounds == 0 || argc > 4) {
		fprintf(stderr, "usage: spawn_edges MIB ROUNDS [PEER]\n");
		return 2;
	}
	peer = peer_load(argv[3]);
#if HAVE_LIBUV
	if (uv_loop_init(&loop) != 0)
		die("uv_loop_init");
#endif
	make_group();
	atexit(remove_group);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	if (!has_group())
		fprintf(stderr, "spawn_edges: left out: cgroup: no cgroup of version 2 can be made here\n");
	if (!is_root())
		fprintf(stderr, "spawn_edges: left out: user: only root can become another user\n");
	hold_memory(mib << 20);
	for (size_t w = 0; w < WAYS; w++) {
		held[w] = calloc(rounds, sizeof(double));
		reaped[w] = calloc(rounds, sizeof(double));
		if (held[w] == NULL || reaped[w] == NULL)
			die("memory");
	}
	for (size_t done = 0; done < rounds; done += TURN) {
		for (size_t w = 0; w < WAYS; w++) {
			if (ways[w].possible != NULL && !ways[w].possible())
				continue;
			for (size_t i = done; i < rounds && i < done + TURN; i++)
				once(&ways[w], &held[w][i], &reaped[w][i]);
		}
	}
	printf("mib,edge,way,rounds,held_median_us,held_p99_us,reaped_median_us,to_odf,version\n");
	for (size_t w = 0; w < WAYS; w++) {
		double median = quantile(held[w], rounds, 0.5);
		if (ways[w].possible != NULL && !ways[w].possible())
			continue;
		if (w == 0 || strcmp(ways[w].edge, ways[w - 1].edge) != 0)
			first = median;
		printf("%zu,%s,\"%s\",%zu,%.1f,%.1f,%.1f,%.2f,%s\n", mib, ways[w].edge, ways[w].name, rounds, median,
		       quantile(held[w], rounds, 0.99), quantile(reaped[w], rounds, 0.5), median / first,
		       ways[w].version != NULL ? ways[w].version() : "");
	}
	return 0;
}
