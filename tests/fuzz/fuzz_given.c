/* SPDX-License-Identifier: MIT
 *
 * Fuzzes input that a program passes by pointers: its environment, which the library reads when it is loaded and passes
 * on to programs that the process executes; and the options of a spawn with all their lists. Each answer must be one
 * that is documented, nothing may leak, and no byte outside of the input may be read or written (sanitizers).
 *
 * A static constructor reads the settings once, so this file includes the file that defines it. System calls of code
 * that is built with ODF_INJECT_FAILURES come here: messages on standard error are checked, and the memory for a copied
 * environment is exactly as large as was requested.
 */
#include "../../src/record/settings.c"

#include "fuzz.h"

#include <elf.h>
#include <linux/filter.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../../src/sys/handed.h"
#include "../../src/sys/program.h"
#include "../../src/sys/syscall.h"
#include "odfork.h"

extern char **environ;

#define COMPANION "/given/" HANDED_COMPANION

static struct {
	const uint8_t *data;
	size_t size;
} input;
static bool looked_at; /* what is said is the library's, of this input */
static void *mapped;

static void must_be_a_line(const char *line, size_t length)
{
	REQUIRE(length > 8 && length <= 512 && memcmp(line, "odfork: ", 8) == 0 && line[length - 1] == '\n');
	for (size_t i = 0; i < length - 1; i++)
		REQUIRE((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
}

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;

	if (looked_at && number == SYS_write && a == STDERR_FILENO) {
		must_be_a_line((const char *)b, (size_t)c);
		return c;
	}
	if (looked_at && number == SYS_mmap) {
		REQUIRE(mapped == NULL && b > 0);
		mapped = malloc((size_t)b);
		REQUIRE(mapped != NULL);
		return (long)mapped;
	}
	if (looked_at && number == SYS_munmap) {
		REQUIRE((void *)a == mapped);
		free(mapped);
		mapped = NULL;
		return 0;
	}
	result = syscall(number, a, b, c, d, e, f);
	return result == -1 ? -errno : result;
}

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __wrap_access(const char *path, int mode)
{
	return strcmp(path, COMPANION) == 0 ? 0 : __real_access(path, mode);
}

static uint8_t byte(void)
{
	if (input.size == 0)
		return 0;
	input.size--;
	return *input.data++;
}

static uint64_t number(void)
{
	uint64_t value = 0;
	size_t count = input.size < sizeof value ? input.size : sizeof value;

	memcpy(&value, input.data, count);
	input.data += count;
	input.size -= count;
	return value;
}

/* The rest of the input as strings, each in memory of its own, so that no one is read into the next; with a NULL. */
enum { STRINGS = 64 };
static char *strings[STRINGS + 1];
static size_t string_count;

static void take_strings(void)
{
	while (input.size > 0 && string_count < STRINGS) {
		const uint8_t *end = memchr(input.data, '\0', input.size);
		size_t length = end == NULL ? input.size : (size_t)(end - input.data);
		char *copy = malloc(length + 1);
		REQUIRE(copy != NULL);
		memcpy(copy, input.data, length);
		copy[length] = '\0';
		strings[string_count++] = copy;
		input.data += length + (end != NULL);
		input.size -= length + (end != NULL);
	}
	strings[string_count] = NULL;
}

static void drop_strings(void)
{
	while (string_count > 0)
		free(strings[--string_count]);
}

/* ---- The environment as settings --------------------------------------------------------------------------------- */

/* "LISTEN_PID=self" has the number of this process. */
static void put_pid(void)
{
	for (size_t i = 0; i < string_count; i++) {
		if (strcmp(strings[i], "LISTEN_PID=self") != 0)
			continue;
		free(strings[i]);
		REQUIRE(asprintf(&strings[i], "LISTEN_PID=%d", (int)getpid()) > 0);
	}
}

static const struct settings at_first = {
	.kernel = ODF_REASON_KERNEL_NOT_VERIFIED, .follow = true, .userfault_fd = -1 };

static void try_settings(void)
{
	char **before = environ, *as_given[STRINGS];
	size_t count;

	take_strings();
	put_pid();
	memcpy(as_given, strings, sizeof as_given);
	count = string_count;
	current = at_first;
	memcpy(stats_entry, STATS, sizeof STATS);
	environ = strings;
	read_settings();
	environ = before;
	REQUIRE(current.strategy == ODF_STRATEGY_NONE || current.strategy == ODF_STRATEGY_KERNEL ||
		current.strategy == ODF_STRATEGY_REGION || current.strategy == ODF_STRATEGY_FORK);
	REQUIRE(current.kernel < ODF_REASON_COUNT);
	REQUIRE(current.heap <= SETTINGS_HEAP_OFF && current.heap_capacity <= SETTINGS_HEAP_MOST);
	REQUIRE(!current.stats || (current.stats_path[0] == '/' && strlen(current.stats_path) < PATH_MAX));
	REQUIRE(current.userfault_fd == -1 || settings_is_userfault(current.userfault_fd));
	/* What the program executes is told of the same file by its whole name; nothing else is another. */
	for (size_t i = 0; i < count; i++) {
		REQUIRE(strings[i] == as_given[i] || (strings[i] == stats_entry && current.stats));
		strings[i] = as_given[i];
	}
	REQUIRE(strings[count] == NULL);
	drop_strings();
	current = at_first; /* the spawns of other inputs are not to be written to a file that this one named */
}

/* ---- The environment as it is handed on -------------------------------------------------------------------------- */

enum { PROGRAMS = 5, HEAD = 1 << 16 };
static int programs[PROGRAMS] = { -1 };
static struct program kinds[PROGRAMS];

/* Files of each kind, from one that is there: as it is; for another machine; with musl's loader; static; none. */
static void make_programs(void)
{
	static uint8_t head[HEAD];
	int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, head, sizeof head);
	Elf64_Ehdr *elf = (Elf64_Ehdr *)(void *)head;

	REQUIRE(length > (ssize_t)sizeof *elf && close(fd) == 0);
	for (int i = 0; i < PROGRAMS; i++) {
		char path[32];
		Elf64_Ehdr as_it_was = *elf;
		Elf64_Phdr *part = (Elf64_Phdr *)(void *)(head + elf->e_phoff);
		if (i == 1)
			elf->e_machine = EM_PPC64;
		for (int at = 0; at < elf->e_phnum; at++) {
			if (part[at].p_type == PT_INTERP && i == 2)
				memcpy(head + part[at].p_offset, "/lib/ld-musl-x86_64.so.1", 25);
			else if (part[at].p_type == PT_INTERP && i == 3)
				part[at].p_type = PT_NULL;
		}
		programs[i] = memfd_create("program", MFD_CLOEXEC);
		REQUIRE(programs[i] >= 0 && write(programs[i], head, i == 4 ? 40 : (size_t)length) > 0);
		*elf = as_it_was;
		snprintf(path, sizeof path, "/proc/self/fd/%d", programs[i]);
		program_examine(AT_FDCWD, path, &kinds[i]);
	}
}

struct handing {
	const struct program *program;
	int times;
};

static bool is_preload(const char *entry)
{
	return strncmp(entry, "LD_PRELOAD=", 11) == 0;
}

/* Whether what is left of us in a list is meant to be there. */
static void must_not_name_us(const char *list, const struct program *program)
{
	for (size_t length; *list != '\0'; list += length + (list[length] != '\0')) {
		const char *name = list, *slash;
		length = strcspn(list, ": ");
		slash = memrchr(list, '/', length);
		if (slash != NULL)
			name = slash + 1;
		if (handed_is_ours(name, (size_t)(list + length - name)))
			REQUIRE(program->passes_over && memchr(list, '$', length) != NULL);
	}
}

static long went(void *call, char *const envp[])
{
	struct handing *handing = call;
	bool takes = program_takes_preload(handing->program), ours = handed_readable_matters(strings);
	size_t at = 0;

	handing->times++;
	if (takes || !ours) {
		REQUIRE((char **)(uintptr_t)envp == strings);
		return 7;
	}
	for (size_t i = 0; i < string_count; i++) {
		if (is_preload(strings[i])) {
			if (envp[at] != NULL && is_preload(envp[at]) && envp[at] != strings[i])
				must_not_name_us(envp[at++] + 11, handing->program);
		} else {
			REQUIRE(envp[at] == strings[i]);
			at++;
		}
	}
	if (envp[at] != NULL && strncmp(envp[at], HANDED_BEFORE, sizeof HANDED_BEFORE - 1) == 0)
		at++;
	REQUIRE(envp[at] == NULL);
	return 7;
}

static void try_handed(void)
{
	unsigned which = byte() % PROGRAMS;
	struct handing handing = { .program = &kinds[which] };
	bool sanitized = byte() & 1;

	if (programs[0] == -1) {
		handed_set_own_name("/given/libodfork.so.0");
		make_programs();
	}
	/* One that is built with a sanitizer: of the fuzzers, this one, if it is. */
	if (sanitized) {
		static struct program own;
		program_examine(AT_FDCWD, "/proc/self/exe", &own);
		handing.program = &own;
	}
	take_strings();
	if (sanitized)
		REQUIRE(handed_execute(AT_FDCWD, "/proc/self/exe", strings, went, &handing) == 7);
	else
		REQUIRE(handed_execute_fd(programs[which], strings, went, &handing) == 7);
	REQUIRE(handing.times == 1 && mapped == NULL);
	drop_strings();
}

/* ---- Options of a spawn, with their lists ------------------------------------------------------------------------ */

static int fails(void *error)
{
	return *(int *)error;
}

static int descriptor(void)
{
	static const int some[] = { -1, 0, 1, 2, 3, 7, 63, 64, 1000, 9999, INT_MAX, INT_MIN, AT_FDCWD };

	return some[byte() % (sizeof some / sizeof *some)];
}

static const char *place(void)
{
	static const char *const some[] = { NULL, "/", "/dev/null", "/nonexistent/x", "", "nonexistent/x", "/dev" };

	return some[byte() % (sizeof some / sizeof *some)];
}

static int lowest_free(void)
{
	int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);

	REQUIRE(fd >= 0 && close(fd) == 0);
	return fd;
}

/* Nothing of the name can be executed, so that no request may succeed. */
static void try_options(void)
{
	enum { FDS = 48, LIMITS = 4, GROUPS = 4, NAMESPACES = 3 };
	static const char *const names[] = { "/nonexistent/program", "nonexistent-program", "", NULL, "/",
					      "/dev/null" };
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, 0x7fff0000u);
	struct sock_fprog filter = { 1, &allow };
	odf_fd_action fds[FDS];
	odf_rlimit limits[LIMITS];
	odf_namespace namespaces[NAMESPACES];
	gid_t groups[GROUPS];
	cpu_set_t processors;
	int pipes[3] = { -7, -7, -7 }, pidfd = -7, pre_exec_error, error, free_before = lowest_free();
	odf_launch *launch = (odf_launch *)&pidfd;
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	char *arguments[] = { (char[]){ "x" }, NULL };
	const char *file = names[byte() % (sizeof names / sizeof *names)];
	uint8_t has = byte(), more = byte();
	sigset_t before, after;
	pid_t pid = -7, left;
	size_t most;

	options.flags = number();
	if (has & 1) /* most sets of flags have one that is not */
		options.flags &= 0xffff7fffull;
	options.allow = byte() & 1 ? 0 : byte();
	options.forgive = byte() & 1 ? 0 : number();
	options.cwd_fd = descriptor();
	options.exec_fd = byte() & 1 ? -1 : 9999;
	options.cgroup_fd = byte() & 3 ? -1 : descriptor();
	options.tty_fd = byte() & 3 ? -1 : descriptor();
	options.cwd = place();
	options.root = byte() & 3 ? NULL : place();
	options.pgroup = (pid_t)(byte() % 3) - 1;
	options.nice = (int8_t)byte();
	options.uid = options.gid = (uid_t)((int8_t)byte());
	options.sched_policy = byte() % 8;
	options.parent_death_signal = byte() & 1 ? 0 : (int8_t)byte();
	options.oom_score_adj = (int8_t)byte() * 16;
	options.ioprio = byte();
	memset(&options.sigmask, byte(), sizeof options.sigmask);
	memset(&options.sigdefault, byte(), sizeof options.sigdefault);
	options.fd_count = byte() % (FDS + 1);
	for (size_t i = 0; i < options.fd_count; i++) {
		fds[i] = (odf_fd_action){ .kind = (odf_fd_kind)(byte() % 8), .fd = byte() % 80 - 1 };
		fds[i].source = descriptor();
		fds[i].path = place();
		fds[i].flags = byte() & 1 ? O_RDONLY : O_RDWR | O_CLOEXEC;
	}
	options.fds = has & 2 ? fds : NULL;
	options.rlimit_count = byte() % (LIMITS + 1);
	for (size_t i = 0; i < options.rlimit_count; i++)
		limits[i] = (odf_rlimit){ byte() % 20 - 1, { byte() * 1024ul, byte() * 4096ul } };
	options.rlimits = has & 4 ? limits : NULL;
	options.group_count = byte() % (GROUPS + 1);
	for (size_t i = 0; i < options.group_count; i++)
		groups[i] = (gid_t)(int8_t)byte();
	options.groups = has & 8 ? groups : NULL;
	options.namespace_count = more & 1 ? byte() % (NAMESPACES + 1) : 0;
	for (size_t i = 0; i < options.namespace_count; i++)
		namespaces[i] = (odf_namespace){ descriptor(), byte() & 1 ? 0 : CLONE_NEWUTS };
	options.namespaces = has & 16 ? namespaces : NULL;
	memset(&processors, byte(), sizeof processors);
	options.affinity = more & 2 ? &processors : NULL;
	options.affinity_size = byte() & 1 ? sizeof processors : byte() % (sizeof processors + 1);
	options.seccomp = more & 4 ? &filter : NULL;
	options.pipes = has & 32 ? pipes : NULL;
	options.pidfd = has & 64 ? &pidfd : NULL;
	options.launch = more & 8 ? &launch : NULL;
	pre_exec_error = byte();
	options.pre_exec = more & 16 ? fails : NULL;
	options.pre_exec_arg = &pre_exec_error;
	take_strings();
	options.env_edits = has & 128 ? (const char *const *)strings : NULL;
	options.env_edit_count = string_count > 0 && more & 32 ? string_count - 1 : string_count;
	most = options.fd_count > LIMITS ? options.fd_count : LIMITS;
	most = most > options.env_edit_count ? most : options.env_edit_count;

	REQUIRE(!current.stats);
	sigprocmask(SIG_BLOCK, NULL, &before);
	error = odf_spawn(&pid, file, more & 64 ? arguments + 1 : arguments, more & 128 ? strings : NULL, &options,
			  &report);
	sigprocmask(SIG_BLOCK, NULL, &after);
	REQUIRE(error > 0 && error < 4096 && report.error == error && pid == -7);
	REQUIRE(report.step > ODF_STEP_NONE && report.step < ODF_STEP_COUNT && report.strategy < ODF_STRATEGY_COUNT);
	REQUIRE(report.index >= -1 && (report.index < 0 || (size_t)report.index < most));
	REQUIRE(report.step != ODF_STEP_FD || (report.index >= 0 && (size_t)report.index < options.fd_count));
	REQUIRE(report.step != ODF_STEP_RLIMIT || (report.index >= 0 && (size_t)report.index < options.rlimit_count));
	REQUIRE((report.forgiven & ~options.forgive) == 0);
	REQUIRE(options.pidfd == NULL || pidfd == -1);
	for (int i = 0; i < 3 && options.pipes != NULL; i++)
		REQUIRE(pipes[i] == (options.flags & ODF_SPAWN_PIPES ? -1 : -7));
	for (int i = 1; i < NSIG; i++)
		REQUIRE(sigismember(&before, i) == sigismember(&after, i));
	REQUIRE(lowest_free() == free_before);
	left = waitpid(-1, NULL, WNOHANG);
#ifdef ODF_LIBFUZZER
	REQUIRE(left <= 0); /* the sanitizer has a child that finds the names of functions */
#else
	REQUIRE(left == -1);
#endif
	drop_strings();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > 1 << 16)
		return 0;
	input.data = data + 1;
	input.size = size - 1;
	looked_at = true;
	switch (fuzz_kind(data[0], 3)) {
	case 0:
		try_settings();
		break;
	case 1:
		try_handed();
		break;
	default:
		try_options();
	}
	looked_at = false;
	return 0;
}

#ifndef ODF_LIBFUZZER
int main(void)
{
	static struct corpus corpus;
	static uint8_t bytes[1 << 16];
	long count = 0;

	corpus_read(&corpus, "given");
	for (size_t i = 0; i < corpus.count; i++)
		(void)LLVMFuzzerTestOneInput(corpus.inputs[i].data, corpus.inputs[i].size);
	for (; !is_over(count, 80000); count++) {
		size_t which = chance(corpus.count), size = corpus.inputs[which].size;
		memcpy(bytes, corpus.inputs[which].data, size);
		if (chance(4) == 0)
			size = chance(size) + 1;
		if (size > 1)
			change(bytes + 1, size - 1, 128);
		(void)LLVMFuzzerTestOneInput(bytes, size);
	}
	printf("1..1\n# %ld inputs beside %zu of the corpus\nok 1 - what a program hands in\n", count, corpus.count);
	return 0;
}
#endif
