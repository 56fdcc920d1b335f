/* SPDX-License-Identifier: MIT
 *
 * Random combinations of the options since 0.2.0, with some older ones. By every engine that supports them the child
 * must report the same state (tests/support/state.c), and a request that cannot be carried out must fail with the same
 * error at the same step. ODF_TEST_REQUESTS: how many.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

/* The kernel's struct sched_attr in its first version. */
struct first_sched_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

enum { RESET_ON_FORK = 1 };

/* Features that must have been part of requests that succeeded. */
enum {
	SIGDEFAULT, CHILD_PATH, KEEP, NONE, OF_USER, CWD_FD, CWD_RELATIVE, OPEN_AT, OPEN_AT_CWD, EDITS, IOPRIO, OOM,
	ATTR, AMBIENT, ROOT, KINDS
};
static const char *const kinds[KINDS] = {
	"signals to put back", "the child's PATH", "groups kept", "no groups", "the user's groups",
	"a working directory by descriptor", "one relative to it", "files relative to a descriptor",
	"files relative to the working directory",
	"changes of the environment", "an I/O priority", "an OOM score",
	"sched_attr", "ambient capabilities", "a root directory"
};
static unsigned succeeded[KINDS];

struct request {
	odf_spawn_options options;
	const char *file;
	odf_fd_action fds[6];
	const char *edits[4];
	struct first_sched_attr attr;
	unsigned drawn; /* set of kinds */
};

static int output, etc, usr;
static char *first_path, *second_path, *root, *state_program;

/* ---- Requests ---------------------------------------------------------------------------------------------------- */

static bool one_of(unsigned *seed, int n)
{
	return rand_r(seed) % n == 0;
}

static void draw(struct request *r, int kind)
{
	r->drawn |= 1u << kind;
}

static void draw_fds(struct request *r, unsigned *seed)
{
	size_t n = 0;

	r->fds[n++] = (odf_fd_action)ODF_FD_DUP(1, output);
	if (one_of(seed, 3)) {
		r->fds[n++] = (odf_fd_action)ODF_FD_OPEN_AT(30, etc, "passwd", O_RDONLY, 0);
		draw(r, OPEN_AT);
	}
	if (one_of(seed, 3)) {
		r->fds[n++] = (odf_fd_action)ODF_FD_OPEN_AT(31, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY, 0);
		draw(r, OPEN_AT_CWD);
	}
	if (one_of(seed, 6)) /* its base descriptor is another file afterwards */
		r->fds[n++] = (odf_fd_action)ODF_FD_DUP(etc, 20);
	if (one_of(seed, 10)) { /* the file does not exist under another root */
		r->fds[n++] = (odf_fd_action)ODF_FD_OPEN_AT(32, usr, "/etc/group", O_RDONLY, 0);
		draw(r, OPEN_AT);
	}
	r->options.fds = r->fds;
	r->options.fd_count = n;
}

static void draw_environment(struct request *r, unsigned *seed)
{
	size_t n = 0;

	if (one_of(seed, 2)) {
		r->file = "program";
		r->options.flags |= one_of(seed, 3) ? ODF_SPAWN_SEARCH_PATH : ODF_SPAWN_SEARCH_CHILD_PATH;
		if (r->options.flags & ODF_SPAWN_SEARCH_CHILD_PATH)
			draw(r, CHILD_PATH);
	}
	if (one_of(seed, 2))
		r->edits[n++] = second_path;
	if (one_of(seed, 3))
		r->edits[n++] = "ODF_A=changed";
	if (one_of(seed, 3))
		r->edits[n++] = "ODF_B";
	if (one_of(seed, 3))
		r->edits[n++] = "ODF_C=new";
	if (n > 0)
		draw(r, EDITS);
	r->options.env_edits = r->edits;
	r->options.env_edit_count = n;
}

static void draw_directories(struct request *r, unsigned *seed)
{
	if (one_of(seed, 3)) {
		r->options.flags |= ODF_SPAWN_CWD_FD;
		r->options.cwd_fd = usr;
		draw(r, CWD_FD);
	}
	if (one_of(seed, 3)) {
		bool relative = (r->options.flags & ODF_SPAWN_CWD_FD) && one_of(seed, 2);
		r->options.cwd = relative ? "lib" : "/";
		if (relative)
			draw(r, CWD_RELATIVE);
	}
	if (geteuid() == 0 && one_of(seed, 5)) {
		r->options.root = root;
		draw(r, ROOT);
	}
}

static void draw_priorities(struct request *r, unsigned *seed)
{
	if (one_of(seed, 4)) {
		r->options.flags |= ODF_SPAWN_IOPRIO;
		r->options.ioprio = one_of(seed, 8) ? ODF_IOPRIO(7, 7)
						    : ODF_IOPRIO(2 + rand_r(seed) % 2, rand_r(seed) % 8);
		draw(r, IOPRIO);
	}
	if (one_of(seed, 4)) {
		r->options.flags |= ODF_SPAWN_OOM_SCORE_ADJ;
		r->options.oom_score_adj = 900 + rand_r(seed) % 100;
		draw(r, OOM);
	}
	if (one_of(seed, 4)) {
		r->attr = (struct first_sched_attr){ .size = sizeof r->attr,
						     .policy = one_of(seed, 2) ? SCHED_BATCH : SCHED_OTHER,
						     .flags = one_of(seed, 2) ? RESET_ON_FORK : 0,
						     .nice = 11 + rand_r(seed) % 8 };
		r->options.sched_attr = (const struct sched_attr *)&r->attr;
		draw(r, ATTR);
	}
}

static void draw_ids(struct request *r, unsigned *seed)
{
	static const uint64_t bits[] = { 1ull << CAP_NET_BIND_SERVICE, 1ull << CAP_SYS_NICE, 1ull << CAP_NET_RAW };
	int which;

	if (geteuid() != 0)
		return;
	if (one_of(seed, 5)) {
		r->options.flags |= ODF_SPAWN_AMBIENT;
		r->options.ambient = bits[rand_r(seed) % 3] | bits[rand_r(seed) % 3];
		draw(r, AMBIENT);
	}
	if (!one_of(seed, 2))
		return;
	r->options.flags |= ODF_SPAWN_UID;
	r->options.uid = 1;
	if (one_of(seed, 3)) {
		r->options.flags |= ODF_SPAWN_GID;
		r->options.gid = 4321;
	}
	which = rand_r(seed) % 3;
	r->options.flags |= (const uint64_t[]){ ODF_SPAWN_KEEP_GROUPS, ODF_SPAWN_GROUPS, ODF_SPAWN_USER_GROUPS }[which];
	draw(r, KEEP + which);
}

static void draw_request(struct request *r, unsigned *seed)
{
	static const uint64_t older[] = { ODF_SPAWN_UMASK, ODF_SPAWN_NICE, ODF_SPAWN_SETSID, ODF_SPAWN_NO_NEW_PRIVS,
					  ODF_SPAWN_CLOSE_OTHER_FDS, ODF_SPAWN_RESET_SIGNALS };
	static const int ignored[] = { SIGUSR1, SIGUSR2, SIGPIPE, SIGHUP };

	*r = (struct request){ .options = ODF_SPAWN_OPTIONS_INIT, .file = state_program };
	for (size_t i = 0; i < sizeof older / sizeof *older; i++)
		if (one_of(seed, 6))
			r->options.flags |= older[i];
	r->options.umask = 027;
	r->options.nice = nicer(5);
	if (one_of(seed, 3)) {
		r->options.flags |= ODF_SPAWN_SIGDEFAULT;
		sigemptyset(&r->options.sigdefault);
		for (size_t i = 0; i < 4; i++)
			if (one_of(seed, 2))
				sigaddset(&r->options.sigdefault, ignored[i]);
		draw(r, SIGDEFAULT);
	}
	draw_environment(r, seed);
	draw_fds(r, seed);
	/* Half of them with options that libc's posix_spawn has as well. */
	if (one_of(seed, 2))
		return;
	draw_directories(r, seed);
	draw_priorities(r, seed);
	draw_ids(r, seed);
	if (r->options.root != NULL && r->file == state_program)
		r->file = "/program";
}

/* ---- The results ------------------------------------------------------------------------------------------------- */

/* The child's state, or the failure; NULL if the engine does not support the request. */
static char *result_of(struct request *r, odf_strategy engine, bool *ran)
{
	char *argv[] = { (char[]){ "state" }, (char[]){ "-" }, NULL }, *text = NULL;
	odf_report report = ODF_REPORT_INIT;
	struct stat status;
	pid_t pid;
	int error;

	assert_int_equal(ftruncate(output, 0), 0);
	assert_int_equal(lseek(output, 0, SEEK_SET), 0);
	r->options.allow = ODF_ALLOW(engine);
	error = odf_spawn(&pid, r->file, argv, NULL, &r->options, &report);
	*ran = error == 0;
	if (error == ENOTSUP) {
		assert_int_equal(engine, ODF_STRATEGY_POSIX_SPAWN);
		return NULL;
	}
	assert_int_equal(report.strategy, engine);
	if (error != 0) {
		assert_true(asprintf(&text, "error %d, step %s, index %d", error, odf_step_name(report.step),
				     report.index) > 0);
		return text;
	}
	must_exit_with(pid, 0);
	assert_int_equal(fstat(output, &status), 0);
	assert_true(status.st_size > 0);
	text = calloc(1, (size_t)status.st_size + 1);
	assert_non_null(text);
	assert_int_equal(pread(output, text, (size_t)status.st_size, 0), status.st_size);
	return state_normalised(text, engine);
}

/* libc's posix_spawn does not report the step. */
static bool same(const char *forked, const char *other, odf_strategy engine)
{
	if (engine == ODF_STRATEGY_POSIX_SPAWN && strncmp(forked, "error ", 6) == 0)
		return strncmp(forked, other, strcspn(forked, ",") + 1) == 0;
	return strcmp(forked, other) == 0;
}

static void compare_engines(unsigned seed, unsigned *by_libc)
{
	struct request request;
	unsigned drawing = seed;
	bool ran;
	char *forked;

	draw_request(&request, &drawing);
	forked = result_of(&request, ODF_STRATEGY_FORK, &ran);
	for (int i = 0; i < KINDS; i++)
		succeeded[i] += ran && (request.drawn >> i & 1);
	for (int i = 0; i < 2; i++) {
		char *other = result_of(&request, engines[i], &ran);
		if (other != NULL && !same(forked, other, engines[i]))
			fail_msg("seed %u: %s differs from fork:\n%s\n%s", seed, odf_strategy_name(engines[i]), forked,
				 other);
		*by_libc += engines[i] == ODF_STRATEGY_POSIX_SPAWN && ran;
		free(other);
	}
	free(forked);
}

static void copy_to(const char *directory)
{
	char command[16384];

	snprintf(command, sizeof command, "mkdir -m 755 '%s' && cp '%s' '%s/program' && chmod 755 '%s/program'",
		 directory, helper_path("state_static"), directory, directory);
	assert_int_equal(system(command), 0);
}

static void test_engines_agree(void **state)
{
	static const int ignored[] = { SIGUSR1, SIGUSR2, SIGPIPE, SIGHUP };
	const char *given = getenv("ODF_TEST_REQUESTS");
	unsigned requests = given == NULL ? 200 : (unsigned)strtoul(given, NULL, 10), by_libc = 0;

	(void)state;
	state_program = strdup(helper_path("state"));
	first_path = strdup(scratch_path("first"));
	assert_true(asprintf(&second_path, "PATH=%s", scratch_path("second")) > 0);
	root = strdup(scratch_path("root"));
	copy_to(first_path);
	copy_to(second_path + 5);
	copy_to(root);
	setenv("PATH", first_path, 1);
	setenv("ODF_A", "a", 1);
	setenv("ODF_B", "b", 1);
	output = memfd_create("state", MFD_CLOEXEC);
	etc = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	usr = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(output >= 0 && etc >= 0 && usr >= 0);
	assert_int_equal(dup3(usr, 20, O_CLOEXEC), 20);
	if (geteuid() == 0)
		assert_int_equal(setgroups(2, (const gid_t[]){ 5, 6 }), 0);
	for (size_t i = 0; i < 4; i++)
		signal(ignored[i], SIG_IGN);
	for (unsigned seed = 1; seed <= requests; seed++)
		compare_engines(seed, &by_libc);
	must_have_no_children();
	setenv("PATH", "/usr/bin:/bin", 1); /* for the program that removes the files */
	if (requests < 200)
		return;
	assert_true(by_libc > 0);
	for (int i = 0; i < KINDS; i++) {
		bool for_root = i == KEEP || i == NONE || i == OF_USER || i == AMBIENT || i == ROOT;
		if (succeeded[i] == 0 && !(for_root && geteuid() != 0))
			fail_msg("no request with %s succeeded", kinds[i]);
	}
}

/* ---- Flags that only clone3 supports ----------------------------------------------------------------------------- */

static const uint64_t of_clone[] = { ODF_SPAWN_AUTOREAP, ODF_SPAWN_KILL_WITH_PIDFD, ODF_SPAWN_BORN_NO_NEW_PRIVS };

/* With a flag of clone3 the result must be the same as without (with no_new_privs where that is requested), or the
 * request must be refused before anything is done, whatever else it contains. */
static void add_flags(unsigned seed, bool has)
{
	char *argv[] = { (char[]){ "true" }, NULL };
	odf_report report = ODF_REPORT_INIT, plain = ODF_REPORT_INIT;
	struct request request;
	unsigned drawing = seed;
	int pidfd = -5, error;
	uint64_t flags = 0;
	pid_t pid = -7;

	draw_request(&request, &drawing);
	for (int i = 0; i < 3; i++)
		flags |= (seed % 7 + 1) >> i & 1 ? of_clone[i] : 0;
	if (flags & ODF_SPAWN_KILL_WITH_PIDFD)
		flags |= ODF_SPAWN_BORN_NO_NEW_PRIVS;
	if (one_of(&drawing, 4))
		flags |= flags & ODF_SPAWN_KILL_WITH_PIDFD ? 0 : ODF_SPAWN_DETACH;
	request.options.allow = has ? ODF_ALLOW(ODF_STRATEGY_VFORK) : 0;
	request.options.flags |= flags & ODF_SPAWN_BORN_NO_NEW_PRIVS ? ODF_SPAWN_NO_NEW_PRIVS : 0;
	error = has ? odf_spawn(&pid, request.file, argv, NULL, &request.options, &plain) : ENOTSUP;
	if (has && error == 0)
		(void)waitpid(pid, NULL, 0);
	request.options.flags |= flags;
	request.options.pidfd = &pidfd;
	pid = -7;
	assert_errno(error, odf_spawn(&pid, request.file, argv, NULL, &request.options, &report));
	if (has) {
		assert_int_equal(report.step, plain.step);
		if (error == 0) { /* the caller cannot wait for this program */
			struct pollfd ended = { pidfd, POLLIN, 0 };
			assert_int_equal(poll(&ended, 1, 30000), 1);
			(void)waitpid(pid, NULL, 0);
			close(pidfd);
		}
		return;
	}
	assert_int_equal(report.step, ODF_STEP_REQUEST);
	assert_int_equal(report.strategy, ODF_STRATEGY_NONE);
	assert_true(pid == -7 && pidfd == -1);
	for (odf_strategy strategy = ODF_STRATEGY_FORK; strategy <= ODF_STRATEGY_POOL; strategy++)
		assert_int_equal(report.reason[strategy], ODF_REASON_CLONE_FLAG);
}

static void test_flags_of_clone(void **state)
{
	bool has = odf_probe_get(ODF_PROBE_AUTOKILL, NULL) == ODF_ANSWER_YES;
	struct surroundings before = surroundings_take();

	(void)state;
	setenv("PATH", first_path, 1);
	for (unsigned seed = 1; seed <= 70; seed++)
		add_flags(seed, has);
	setenv("PATH", "/usr/bin:/bin", 1);
	must_have_no_children();
	surroundings_must_equal(&before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_engines_agree),
		cmocka_unit_test(test_flags_of_clone),
	};

	return cmocka_run_group_tests_name("matrix of spawn options", tests, NULL, NULL);
}
