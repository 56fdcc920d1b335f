/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef ODF_TEST_NO_VFORK /* children do not share memory here, and the other two engines are refused */
const odf_strategy engines[3] = { ODF_STRATEGY_FORK, ODF_STRATEGY_FORK, ODF_STRATEGY_FORK };
#else
const odf_strategy engines[3] = { ODF_STRATEGY_POSIX_SPAWN, ODF_STRATEGY_VFORK, ODF_STRATEGY_FORK };
#endif

static char directory[PATH_MAX];
static pid_t owner;

static void remove_scratch(void)
{
	char command[PATH_MAX + 16];

	if (getpid() != owner)
		return;
	snprintf(command, sizeof command, "rm -rf '%s'", directory);
	if (system(command) != 0)
		fprintf(stderr, "cannot remove %s\n", directory);
}

const char *scratch(void)
{
	if (directory[0] == '\0') {
		const char *base = getenv("TMPDIR");
		snprintf(directory, sizeof directory, "%s/odfork-test-XXXXXX", base == NULL ? "/tmp" : base);
		if (mkdtemp(directory) == NULL) {
			perror(directory);
			abort();
		}
		chmod(directory, 0755);
		owner = getpid();
		atexit(remove_scratch);
	}
	return directory;
}

const char *scratch_path(const char *name)
{
	static char paths[8][PATH_MAX];
	static unsigned turn;
	char *path = paths[turn++ % 8];

	snprintf(path, PATH_MAX, "%.3000s/%.900s", scratch(), name);
	return path;
}

/* Whether all directories above it are searchable by others. Root's home is not. */
static bool is_for_everybody(const char *path)
{
	char folder[PATH_MAX];
	struct stat status;

	snprintf(folder, sizeof folder, "%s", path);
	for (char *slash = strrchr(folder, '/'); slash != NULL && slash > folder; slash = strrchr(folder, '/')) {
		*slash = '\0';
		if (stat(folder, &status) != 0 || (status.st_mode & S_IXOTH) == 0)
			return false;
	}
	return true;
}

const char *helper_path(const char *name)
{
	static char path[PATH_MAX], copy[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);

	assert_true(length > 0);
	path[length] = '\0';
	snprintf(strrchr(path, '/') + 1, 256, "%s", name);
	if (geteuid() != 0 || is_for_everybody(path))
		return path;
	snprintf(copy, sizeof copy, "%s", scratch_path(name));
	if (access(copy, X_OK) != 0) {
		pid_t pid = fork();
		if (pid == 0) {
			execlp("cp", "cp", "-p", path, copy, (char *)NULL);
			_exit(127);
		}
		must_exit_with(pid, 0);
		assert_int_equal(chmod(copy, 0755), 0);
	}
	return copy;
}

char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0, size = 65536;
	char *text = malloc(size);
	ssize_t count;

	if (fd < 0 || text == NULL) {
		free(text);
		return NULL;
	}
	while ((count = read(fd, text + used, size - used - 1)) > 0) {
		used += (size_t)count;
		if (size - used < 4096) {
			size *= 2;
			text = realloc(text, size);
			assert_non_null(text);
		}
	}
	close(fd);
	text[used] = '\0';
	return text;
}

void write_file(const char *path, const char *contents, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, contents, strlen(contents)), (ssize_t)strlen(contents));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

struct surroundings surroundings_take(void)
{
	struct surroundings s = { NULL };
	size_t size;
	FILE *out = open_memstream(&s.text, &size);
	unsigned long mask = 0;
	int cancel = -1;
	char *status;

	assert_non_null(out);
	for (int fd = 0; fd < 1024; fd++) {
		struct stat st;
		if (fstat(fd, &st) == 0)
			fprintf(out, "fd %d is %llu:%llu flags %d\n", fd, (unsigned long long)st.st_dev,
				(unsigned long long)st.st_ino, fcntl(fd, F_GETFD));
	}
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8ul);
	fprintf(out, "mask %016lx\n", mask);
	pthread_setcancelstate(0, &cancel);
	pthread_setcancelstate(cancel, NULL);
	fprintf(out, "cancel state %d\n", cancel);
	status = read_file("/proc/self/status");
	if (status != NULL) {
		const char *signals = strstr(status, "SigIgn");
		fprintf(out, "%.48s\n", signals == NULL ? "" : signals);
		free(status);
	}
	fclose(out);
	return s;
}

void surroundings_must_equal(struct surroundings *before)
{
	struct surroundings now = surroundings_take();

	assert_string_equal(now.text, before->text);
	free(now.text);
	free(before->text);
}

int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		assert_int_equal(errno, EINTR);
	return status;
}

int exit_status_of(pid_t pid)
{
	int status = wait_for(pid);

	if (!WIFEXITED(status))
		fail_msg("process %d ended with wait status %#x", (int)pid, (unsigned)status);
	return WEXITSTATUS(status);
}

void must_exit_with(pid_t pid, int code)
{
	assert_int_equal(exit_status_of(pid), code);
}

void must_have_no_children(void)
{
	errno = 0;
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

char *spawn_state_with(const odf_spawn_options *options, odf_report *report, char *const envp[], bool search)
{
	const char *result = scratch_path("state.json");
	char *file = strdup(search ? "state" : helper_path("state"));
	char *argv[] = { strdup("state"), strdup(result), strdup("two words"), strdup(""), NULL };
	pid_t pid = -1;
	char *json;

	unlink(result);
	assert_errno(0, odf_spawn(&pid, file, argv, envp, options, report));
	assert_true(pid > 0);
	must_exit_with(pid, 0);
	json = read_file(result);
	assert_non_null(json);
	free(file);
	for (char **argument = argv; *argument != NULL; argument++)
		free(*argument);
	return json;
}

char *spawn_state(const odf_spawn_options *options, odf_report *report)
{
	return spawn_state_with(options, report, NULL, false);
}

char *member(const char *json, const char *name)
{
	char key[128];
	const char *start, *end;

	snprintf(key, sizeof key, "\n\"%s\":", name);
	start = strstr(json, key);
	if (start == NULL)
		return NULL;
	start += strlen(key);
	end = strchr(start, '\n');
	assert_non_null(end);
	if (end[-1] == ',')
		end--;
	return strndup(start, (size_t)(end - start));
}

char *state_normalised(char *json, odf_strategy engine)
{
	char *pid = member(json, "pid"), *out = NULL, *line, *rest = json;
	size_t size;
	FILE *stream = open_memstream(&out, &size);

	while ((line = strsep(&rest, "\n")) != NULL) {
		char *colon = strchr(line, ':');
		if (strncmp(line, "\"SigIgn\"", 8) == 0) {
			unsigned long ignored = strtoul(colon + 2, NULL, 16);
			fprintf(stream, "ignored %lx\n",
				engine == ODF_STRATEGY_POSIX_SPAWN ? ignored & ~(3ul << 31) : ignored);
		} else if (colon != NULL && strncmp(colon + 1, pid, strlen(pid)) == 0 &&
			   strspn(colon + 1 + strlen(pid), ",") == strlen(colon + 1 + strlen(pid))) {
			fprintf(stream, "%.*s:SELF\n", (int)(colon - line), line);
		} else {
			fprintf(stream, "%s\n", line);
		}
	}
	fclose(stream);
	free(pid);
	free(json);
	return out;
}

void must_have(const char *json, const char *name, const char *value)
{
	char *found = member(json, name);

	if (found == NULL)
		fail_msg("no member %s in %s", name, json);
	if (strcmp(found, value) != 0)
		fail_msg("%s is %s, not %s", name, found, value);
	free(found);
}

bool regions_are_here(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	if (odf_capabilities_get(&capabilities) == 0 && capabilities.strategy[ODF_STRATEGY_REGION] == ODF_REASON_NONE)
		return true;
	/* tests/count.py fails on this line where nothing may be skipped. */
	printf("1..0 # SKIP no regions here: %s\n", odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
	return false;
}

void skip_because(const char *reason)
{
	const char *must = getenv("ODF_MUST_WORK");

	if (must != NULL && strcmp(must, "1") == 0)
		fail_msg("must not be skipped: %s", reason);
	/* cmocka's TAP output reports its own skip() as a failure. */
	print_message("# skipped: %s\n", reason);
}

/* The letter of the process's state; 0: it is gone, or a zombie. */
static char state_of(pid_t pid, pid_t *parent)
{
	char path[64], *text, *state, letter;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	text = read_file(path);
	state = text == NULL ? NULL : strrchr(text, ')');
	letter = state == NULL || state[2] == 'Z' || state[2] == 'X' ? '\0' : state[2];
	*parent = letter == '\0' ? 0 : (pid_t)strtol(state + 4, NULL, 10);
	free(text);
	return letter;
}

pid_t parent_of(pid_t pid)
{
	pid_t parent;

	(void)state_of(pid, &parent);
	return parent;
}

bool is_gone(pid_t pid)
{
	pid_t parent;

	return state_of(pid, &parent) == '\0';
}

bool is_asleep(pid_t id)
{
	pid_t parent;

	return state_of(id, &parent) == 'S';
}

/* The time is long enough for an orphan, which init has to reap. */
void must_be_gone_soon(pid_t pid)
{
	for (int i = 0; i < 120000; i++) {
		if (is_gone(pid))
			return;
		usleep(1000);
	}
	fail_msg("process %d is there still", pid);
}
