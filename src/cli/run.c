/* SPDX-License-Identifier: MIT
 *
 * odfork run: sets up the environment that the preloaded library reads, and executes the program.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../record/heap_value.h"
#include "../sys/handed.h"
#include "cli.h"
#include "describe.h"
#include "objects.h"
#include "odfork.h"
#include "target.h"
#include "user.h"

struct options {
	const char *strategy, *stats, *user, *heap;
	bool log, no_follow;
};

static bool is_file(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

/* In the directory of this program, as in the build tree; else where the library is installed. */
static bool find_library(char path[PATH_MAX])
{
	static const char name[] = "libodfork.so.0";
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);

	if (length > 0) {
		char *slash;
		path[length] = '\0';
		slash = strrchr(path, '/');
		if (slash != NULL && (size_t)(slash + 1 - path) + sizeof name <= PATH_MAX) {
			memcpy(slash + 1, name, sizeof name);
			if (is_file(path))
				return true;
		}
	}
	if (sizeof ODF_LIBRARY > PATH_MAX)
		return false;
	memcpy(path, ODF_LIBRARY, sizeof ODF_LIBRARY);
	return is_file(path);
}

/* A name for the file that only glibc's loader finds. False: this process's loader does not find even its own libc by
 * such a name. */
static bool name_for_glibc(const char *path, char name[2 * PATH_MAX])
{
	const void *of_libc = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
	Dl_info libc;
	void *found = NULL;

	if (of_libc != NULL && dladdr(of_libc, &libc) != 0 && libc.dli_fname[0] == '/' &&
	    snprintf(name, 2 * PATH_MAX, HANDED_ROOT "%s", libc.dli_fname) < 2 * PATH_MAX)
		found = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
	if (found == NULL)
		return false;
	dlclose(found);
	return path[0] == '/' && snprintf(name, 2 * PATH_MAX, HANDED_ROOT "%s", path) < 2 * PATH_MAX;
}

/* After the entries that are there: a program that preloads something else needs that first (a sanitizer's runtime
 * insists). */
static bool add_preload(const char *library)
{
	const char *before = getenv("LD_PRELOAD");
	char *value;
	bool done;

	if (strpbrk(library, " :") != NULL) {
		fprintf(stderr, "odfork: run: the loader cannot preload a path with spaces or colons: %s\n", library);
		errno = EINVAL;
		return false;
	}
	if (before == NULL || before[0] == '\0')
		return setenv("LD_PRELOAD", library, 1) == 0;
	if (asprintf(&value, "%s:%s", before, library) < 0)
		return false;
	done = setenv("LD_PRELOAD", value, 1) == 0;
	free(value);
	return done;
}

/* As an absolute path: the program may change its directory before the library reads it. */
static bool set_stats(const char *path)
{
	char directory[PATH_MAX], *absolute;
	bool done;

	if (path[0] == '/')
		return setenv("ODFORK_STATS", path, 1) == 0;
	if (getcwd(directory, sizeof directory) == NULL || asprintf(&absolute, "%s/%s", directory, path) < 0)
		return false;
	done = setenv("ODFORK_STATS", absolute, 1) == 0;
	free(absolute);
	return done;
}

/* Where the kernel offers on-demand fork, it is tried here once, and not again in each program that is executed. */
static bool pass_on_verdict(void)
{
	odf_kernel_verdict verdict = ODF_KERNEL_VERDICT_INIT;
	const char *word;

	if (getenv("ODFORK_KERNEL") != NULL || odf_kernel_verify(&verdict) != 0 ||
	    verdict.interface == ODF_KERNEL_INTERFACE_NONE)
		return true;
	switch (verdict.reason) {
	case ODF_REASON_NONE:
		word = "safe";
		break;
	case ODF_REASON_KERNEL_LOSES_WRITES:
	case ODF_REASON_KERNEL_LOSES_NEIGHBORS:
	case ODF_REASON_KERNEL_LOSES_DISCARDS:
	case ODF_REASON_KERNEL_DIES:
	case ODF_REASON_KERNEL_NO_EFFECT:
		word = odf_reason_name(verdict.reason);
		break;
	default: /* each program finds out itself why the kernel could not be tried */
		return true;
	}
	return setenv("ODFORK_KERNEL", word, 1) == 0;
}

static bool set_environment(const struct options *options)
{
	if (options->strategy != NULL && setenv("ODFORK_STRATEGY", options->strategy, 1) != 0)
		return false;
	if (options->stats != NULL && !set_stats(options->stats))
		return false;
	if (options->log && setenv("ODFORK_LOG", "1", 1) != 0)
		return false;
	if (options->no_follow && setenv("ODFORK_FOLLOW", "0", 1) != 0)
		return false;
	if (options->heap != NULL && setenv("ODFORK_HEAP", options->heap, 1) != 0)
		return false;
	return pass_on_verdict();
}

/* Opens the descriptor that lets an unprivileged program with threads settle its regions, while this process may. If
 * there is no device, or this user may not open it, the program runs without. Uses a number that programs do not expect
 * to be free. */
static bool hand_in_userfault(bool *handed_in)
{
	enum { LOWEST = 100 };
	char number[16];
	int opened = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd;

	if (opened < 0)
		return true;
	fd = fcntl(opened, F_DUPFD, LOWEST);
	if (fd < 0)
		fd = fcntl(opened, F_DUPFD, 3);
	close(opened);
	if (fd < 0)
		return false;
	snprintf(number, sizeof number, "%d", fd);
	*handed_in = true;
	return setenv("ODFORK_UFFD_FD", number, 1) == 0;
}

/* Without the library no code in the program would use it, and the program must not get it. */
static void keep_userfault(void)
{
	const char *number = getenv("ODFORK_UFFD_FD");

	if (number != NULL)
		(void)fcntl(atoi(number), F_SETFD, FD_CLOEXEC);
	(void)unsetenv("ODFORK_UFFD_FD");
}

/* Becomes the user, with the user's groups and no privilege. The environment is unchanged. Reports a failure. */
static bool become(const char *name, bool *handed_in)
{
	struct user user;
	bool done;
	int error;

	if (!user_read("run", name, &user))
		return false;
	done = hand_in_userfault(handed_in) && user_become(&user);
	error = errno;
	free(user.groups);
	if (!done)
		fprintf(stderr, "odfork: run: cannot become user %s: %s%s\n", name, strerror(error),
			error == EPERM ? "; root may, and who has CAP_SETUID and CAP_SETGID" : "");
	return done;
}

/* Called as the user whose programs will write there. A named pipe without a reader may get one later. */
static bool can_record(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0666);

	if (fd >= 0)
		close(fd);
	else if (errno == ENXIO)
		fprintf(stderr, "odfork: run: nobody reads %s: records are lost until somebody does\n", path);
	else {
		fprintf(stderr, "odfork: run: cannot write records to %s: %s\n", path, strerror(errno));
		return false;
	}
	return true;
}

/* The library in this program has set close-on-exec on descriptors that were passed in for the command: this clears
 * it. */
static void pass_on_descriptors(void)
{
	const char *userfault = getenv("ODFORK_UFFD_FD"), *count = getenv("LISTEN_FDS"),
		   *process = getenv("LISTEN_PID");
	int last = 2;

	if (userfault != NULL)
		(void)fcntl(atoi(userfault), F_SETFD, 0); /* whatever file it is, the library checks it */
	if (count != NULL && process != NULL && atoi(process) == getpid() && atoi(count) > 0 && atoi(count) < 1024)
		last += atoi(count);
	for (int fd = 3; fd <= last; fd++)
		(void)fcntl(fd, F_SETFD, 0);
}

/* As the authors of Linux 5.6.19's on-demand fork do it: on before the program starts, and for all its children. If it
 * is turned on later, that kernel kills the program. The other kernel's switch is armed by a write and reads 0 until a
 * fork; there it is turned off again, as exec would lose it. */
static void turn_on_demand(void)
{
	static const char path[] = "/proc/self/use_odf";
	int out = open(path, O_WRONLY | O_CLOEXEC), in;
	char bit = '0';

	if (out < 0)
		return;
	if (write(out, "1", 1) == 1 && (in = open(path, O_RDONLY | O_CLOEXEC)) >= 0) {
		if (read(in, &bit, 1) == 1 && bit != '1')
			(void)!write(out, "0", 1);
		close(in);
	}
	close(out);
}

static bool is_answered(odf_probe probe)
{
	return odf_probe_get(probe, NULL) == ODF_ANSWER_YES;
}

/* If so, the library has no heap (heap_kernel), unless one is asked for. */
static bool forks_are_the_kernels(const odf_capabilities *capabilities)
{
	const char *strategy = getenv("ODFORK_STRATEGY");

	if (strategy != NULL && strcmp(strategy, "kernel") == 0)
		return capabilities->kernel_interface != ODF_KERNEL_INTERFACE_NONE;
	return capabilities->strategy[ODF_STRATEGY_KERNEL] == ODF_REASON_NONE &&
	       (strategy == NULL || strcmp(strategy, "auto") == 0);
}

/* Called as the user that runs the program. `handed_in`: a descriptor of /dev/userfaultfd, which the probes do not
 * know. */
static void describe(const char *command, const struct target *target, const odf_capabilities *capabilities,
		     bool handed_in)
{
	struct allocator allocator;
	struct findings findings = { .heap = SETTINGS_HEAP_AUTO, .allocator = &allocator };
	odf_heap_info heap = ODF_HEAP_INFO_INIT;
	const char *asked = getenv("ODFORK_HEAP");
	size_t capacity;

	if (target->obstacle != NULL) {
		fprintf(stderr, "odfork: run: %s: %s; it runs without libodfork\n", command, target->obstacle);
		return;
	}
	if (target->loader[0] == '\0')
		return; /* nothing is known about the program */
	if (asked != NULL)
		(void)heap_value_read(asked, &findings.heap, &capacity); /* the library reports other values */
	findings.by_kernel = forks_are_the_kernels(capabilities);
	findings.region = capabilities->strategy[ODF_STRATEGY_REGION];
	findings.settles = (handed_in || is_answered(ODF_PROBE_UFFD_KERNEL) || is_answered(ODF_PROBE_UFFD_DEVICE)) &&
			   (handed_in || is_answered(ODF_PROBE_UFFD_MINOR));
	if (odf_heap_info_get(&heap) == 0)
		findings.threshold = heap.threshold;
	objects_find_allocator(target, &allocator);
	describe_heap(stderr, command, &findings);
}

static bool known_strategy(const char *name)
{
	return strcmp(name, "auto") == 0 || strcmp(name, "kernel") == 0 || strcmp(name, "region") == 0 ||
	       strcmp(name, "fork") == 0;
}

/* Returns the index of the command; 0: there is nothing to run, and *status is the exit status. */
static int parse(int argc, char **argv, struct options *options, int *status)
{
	*status = EXIT_OWN;
	for (int i = 1; i < argc; i++) {
		const char *value;
		if (strcmp(argv[i], "--") == 0)
			return i + 1 < argc ? i + 1 : (usage_error("run: no command"), 0);
		if (argv[i][0] != '-')
			return i;
		if (is_help(argv[i]))
			return *status = help("run", argv[i]), 0;
		if (strcmp(argv[i], "--log") == 0)
			options->log = true;
		else if (strcmp(argv[i], "--no-follow") == 0)
			options->no_follow = true;
		else if ((value = value_of("--strategy", argc, argv, &i)) != NULL)
			options->strategy = value;
		else if ((value = value_of("--stats", argc, argv, &i)) != NULL)
			options->stats = value;
		else if ((value = value_of("--user", argc, argv, &i)) != NULL)
			options->user = value;
		else if ((value = value_of("--heap", argc, argv, &i)) != NULL)
			options->heap = value;
		else
			return option_error(&command_run, argv[i]), 0;
	}
	return usage_error("run: no command"), 0;
}

static int cannot_prepare(void)
{
	fprintf(stderr, "odfork: run: %s\n", strerror(errno));
	return EXIT_OWN;
}

static long execute(void *argv, char *const envp[])
{
	char *const *arguments = argv;

	return execvpe(arguments[0], arguments, envp);
}

static int run_command(int argc, char **argv)
{
	struct options options = { 0 };
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	struct target target;
	char library[PATH_MAX], name[2 * PATH_MAX];
	const char *handed = library;
	enum settings_heap heap;
	bool handed_in = false, can_open;
	int status, command = parse(argc, argv, &options, &status), error;
	size_t capacity;

	if (command == 0)
		return status;
	if (options.strategy != NULL && !known_strategy(options.strategy))
		return usage_error("run: no such strategy: %s", options.strategy);
	if (options.stats != NULL && options.stats[0] == '\0')
		return usage_error("run: --stats needs a file");
	if (options.heap != NULL && !heap_value_read(options.heap, &heap, &capacity))
		return usage_error("run: --heap is " SETTINGS_HEAP_FORMS ", not %s", options.heap);
	if (!find_library(library)) {
		fprintf(stderr, "odfork: run: libodfork.so.0 is neither beside this program nor at %s\n", ODF_LIBRARY);
		return EXIT_OWN;
	}
	pass_on_descriptors();
	if (!set_environment(&options))
		return cannot_prepare();
	if (options.user != NULL && !become(options.user, &handed_in))
		return EXIT_OWN;
	/* From here on as that user, as what can be preloaded depends on who executes it. */
	if (options.stats != NULL && !can_record(options.stats))
		return EXIT_OWN;
	target_examine(argv[command], !options.no_follow, &target);
	can_open = access(library, R_OK) == 0; /* readable by the user, whichever user has found it */
	if (!can_open && handed_in)
		keep_userfault();
	if (!can_open && target.obstacle == NULL)
		fprintf(stderr, "odfork: run: %s: its user cannot open %s: %s; it runs without libodfork\n",
			argv[command], library, strerror(errno));
	if (options.log && (can_open || target.obstacle != NULL)) {
		errno = odf_capabilities_get(&capabilities);
		if (errno != 0)
			return cannot_prepare();
		describe(argv[command], &target, &capabilities, handed_in);
	}
	/* A program of musl starts with such a name, and what it executes is preloaded. In other programs the library
	 * rewrites the entry itself (preload/follow.c). */
	if (can_open && target.passes_over && !options.no_follow && name_for_glibc(library, name))
		handed = name;
	if (can_open && !add_preload(handed)) /* removed again for programs that cannot have it */
		return cannot_prepare();
	if (!options.no_follow)
		handed_set_own_name(library);
	hand_on_signals();
	if (can_open && !target.would_break && options.strategy != NULL && strcmp(options.strategy, "kernel") == 0)
		turn_on_demand();
	(void)handed_execute_name(argv[command], environ, execute, argv + command);
	error = errno;
	fprintf(stderr, "odfork: run: %s: %s\n", argv[command], strerror(error));
	return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

const struct command command_run = {
	.name = "run",
	.run = run_command,
	.usage =
		"  odfork run [OPTIONS] [--] COMMAND... run a program under libodfork\n"
		"      --strategy=S   auto (default), or the one to use for fork: kernel, region, fork\n"
		"      --heap=H       auto (default): once the program has grown; on: from the start; off; or a size, "
		"as 64G: at most\n"
		"      --stats=FILE   a JSON object per line for each fork and spawn, appended to FILE\n"
		"      --log          what is new of that, for people, on standard error; "
		"and what is found about the program\n"
		"      --no-follow    not for the programs that COMMAND executes\n"
		"      --user=USER[:GROUP]  as this user (names or numbers), "
		"with a descriptor that lets its threads' memory be settled\n",
};
