/* SPDX-License-Identifier: MIT
 *
 * Tests of test_spawn: a child's descriptors: inherited, moved, opened, closed.
 */
#include "spawn_tests.h"

void check_nothing(const char *json, odf_strategy engine)
{
	(void)engine;
	assert_non_null(json);
}

/* The program by descriptor, also if the map uses that number. */
void test_exec_fd(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	int fd = open(helper_path("state"), O_RDONLY | O_CLOEXEC);
	odf_fd_action map[] = { ODF_FD_NULL(fd) };

	(void)state;
	assert_true(fd >= 0);
	options.exec_fd = fd;
	on_each_engine(&options, false, check_nothing);
	options.fds = map;
	options.fd_count = 1;
	options.flags = ODF_SPAWN_CLOSE_OTHER_FDS;
	on_each_engine(&options, false, check_nothing);
	/* The internal copy that keeps it open must not pass for a descriptor that the caller does not have open. */
	for (size_t i = 1; i < 3; i++) {
		odf_fd_action closed[] = { ODF_FD_NULL(fd), ODF_FD_DUP(fd + 1, fd + 2) };
		odf_report report = ODF_REPORT_INIT;
		char *argv[] = { (char[]){ "state" }, NULL };
		options.allow = ODF_ALLOW(engines[i]);
		options.fds = closed;
		options.fd_count = 2;
		assert_int_equal(fcntl(fd + 2, F_GETFD), -1);
		assert_errno(EBADF, odf_spawn(NULL, NULL, argv, NULL, &options, &report));
		assert_int_equal(report.step, ODF_STEP_FD);
		assert_int_equal(report.index, 1);
	}
	close(fd);
}

/* ---- Descriptors ------------------------------------------------------------------------------------------------- */

int file_a, file_b;
static char *identity(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	return quoted("%llu:%llu flags %o offset %lld", (unsigned long long)status.st_dev,
		      (unsigned long long)status.st_ino, (unsigned)fcntl(fd, F_GETFL),
		      (long long)lseek(fd, 0, SEEK_CUR));
}

void open_files(void)
{
	write_file(scratch_path("a"), "aaaaaaaaaa", 0644);
	write_file(scratch_path("b"), "bbbbbbbbbb", 0644);
	file_a = open(scratch_path("a"), O_RDONLY | O_CLOEXEC);
	file_b = open(scratch_path("b"), O_RDWR | O_APPEND | O_CLOEXEC);
	assert_true(file_a >= 0 && file_b >= 0);
	assert_int_equal(lseek(file_a, 3, SEEK_SET), 3);
	assert_int_equal(lseek(file_b, 7, SEEK_SET), 7);
}

static void check_moved(const char *json, odf_strategy engine)
{
	char name[16];

	(void)engine;
	snprintf(name, sizeof name, "fd%d", file_b);
	must_have(json, "fd0", identity(file_a));
	must_have(json, name, identity(file_b)); /* a map to itself clears close-on-exec */
	must_have(json, "fd60", identity(file_b));
	assert_null(member(json, "fd61"));
}

void test_map(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	open_files();
	{
		odf_fd_action map[] = {
			ODF_FD_DUP(0, file_a), ODF_FD_DUP(file_b, file_b), ODF_FD_DUP(60, file_b), ODF_FD_CLOSE(61),
		};
		options.fds = map;
		options.fd_count = 4;
		on_each_engine(&options, true, check_moved);
	}
	close(file_a);
	close(file_b);
}

static void check_swapped(const char *json, odf_strategy engine)
{
	char name[16];

	(void)engine;
	snprintf(name, sizeof name, "fd%d", file_a);
	must_have(json, name, identity(file_b));
	snprintf(name, sizeof name, "fd%d", file_b);
	must_have(json, name, identity(file_a));
}

void test_swap(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	open_files();
	{
		odf_fd_action map[] = { ODF_FD_DUP(file_a, file_b), ODF_FD_DUP(file_b, file_a) };
		options.fds = map;
		options.fd_count = 2;
		on_each_engine(&options, false, check_swapped); /* libc's actions run only one after the other */
	}
	/* With the descriptor limit right above the targets: the spare number is found below them. */
	{
		odf_fd_action map[] = { ODF_FD_DUP(200, 210), ODF_FD_DUP(210, 200) };
		struct rlimit old, low;
		getrlimit(RLIMIT_NOFILE, &old);
		low = (struct rlimit){ 211, old.rlim_max };
		file_a = dup3(file_a, 200, O_CLOEXEC);
		file_b = dup3(file_b, 210, O_CLOEXEC);
		options.fds = map;
		setrlimit(RLIMIT_NOFILE, &low);
		on_each_engine(&options, false, check_swapped);
		setrlimit(RLIMIT_NOFILE, &old);
	}
	closefrom(3);
}

/* The flags that the kernel shows for a file opened with these flags: it may add O_LARGEFILE. */
static unsigned shown_flags(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC), shown = fcntl(fd, F_GETFL);

	assert_true(shown >= 0);
	close(fd);
	return (unsigned)shown;
}

static void check_opened(const char *json, odf_strategy engine)
{
	struct stat status;

	(void)engine;
	must_have(json, "cwd", quoted("%s", scratch()));
	assert_int_equal(stat("/dev/null", &status), 0);
	must_have(json, "fd0", quoted("%llu:%llu flags %o offset -1", (unsigned long long)status.st_dev,
				      (unsigned long long)status.st_ino, shown_flags("/dev/null", O_RDWR)));
	assert_int_equal(stat(scratch_path("created"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	must_have(json, "fd9",
		  quoted("%llu:%llu flags %o offset 0", (unsigned long long)status.st_dev,
			 (unsigned long long)status.st_ino, shown_flags(scratch_path("created"), O_WRONLY | O_APPEND)));
	unlink(scratch_path("created"));
}

/* Paths are relative to the child's directory. */
void test_open(void **state)
{
	odf_fd_action map[] = {
		ODF_FD_NULL(0), ODF_FD_OPEN(9, "created", O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0640),
	};
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	int directory;

	(void)state;
	options.fds = map;
	options.fd_count = 2;
	options.cwd = scratch();
	on_each_engine(&options, false, check_opened); /* libc closes the number first, which the path may depend on */
	directory = open(scratch(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	options.cwd = NULL;
	options.cwd_fd = directory;
	on_each_engine(&options, false, check_opened);
	close(directory);
}

static void check_null(const char *json, odf_strategy engine)
{
	struct stat status;

	(void)engine;
	assert_int_equal(stat("/dev/null", &status), 0);
	must_have(json, "cwd", quoted("%s", scratch()));
	must_have(json, "fd0", quoted("%llu:%llu flags %o offset -1", (unsigned long long)status.st_dev,
				      (unsigned long long)status.st_ino, shown_flags("/dev/null", O_RDWR)));
}

void test_null(void **state)
{
	odf_fd_action map[] = { ODF_FD_NULL(0), ODF_FD_CLOSE(1 << 20) };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;

	(void)state;
	options.fds = map;
	options.fd_count = 1;
	options.cwd = scratch();
	on_each_engine(&options, true, check_null);
	options.cwd = NULL;
	options.cwd_fd = open(scratch(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	on_each_engine(&options, true, check_null);
	/* To close a number that cannot be open is no error; libc would make it one. */
	options.fd_count = 2;
	on_each_engine(&options, false, check_null);
	close(options.cwd_fd);
}

/* A path that names open descriptors means those of the caller, and close-on-exec in the flags does not close them. */
static void check_reopened(const char *json, odf_strategy engine)
{
	(void)engine;
	assert_non_null(strstr(json, "\n\"fd0\":"));
	assert_non_null(strstr(json, "\n\"fd30\":"));
}

void test_open_by_descriptor(void **state)
{
	odf_fd_action map[] = {
		ODF_FD_OPEN(0, "/dev/fd/0", O_RDONLY, 0), ODF_FD_OPEN(30, "/etc/passwd", O_RDONLY | O_CLOEXEC, 0),
	};
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), input = fcntl(0, F_DUPFD_CLOEXEC, 3);

	(void)state;
	dup2(null, 0);
	options.fds = map;
	options.fd_count = 2;
	on_each_engine(&options, false, check_reopened);
	dup2(input, 0);
	close(input);
	close(null);
}

static void check_others_closed(const char *json, odf_strategy engine)
{
	char expected[64];

	(void)engine;
	snprintf(expected, sizeof expected, "[0,1,2,%d,50]", file_b);
	must_have(json, "fds", expected);
}

static void check_three(const char *json, odf_strategy engine)
{
	(void)engine;
	must_have(json, "fds", "[0,1,2]");
}

void test_close_others(void **state)
{
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	int loose;

	(void)state;
	open_files();
	loose = fcntl(0, F_DUPFD, 300); /* without close-on-exec */
	options.flags = ODF_SPAWN_CLOSE_OTHER_FDS;
	on_each_engine(&options, true, check_three);
	{
		odf_fd_action map[] = { ODF_FD_KEEP(file_b), ODF_FD_DUP(50, file_a) };
		options.fds = map;
		options.fd_count = 2;
		on_each_engine(&options, false, check_others_closed);
	}
	close(loose);
	close(file_a);
	close(file_b);
}
