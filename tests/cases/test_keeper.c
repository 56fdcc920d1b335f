/* SPDX-License-Identifier: MIT
 *
 * The keeper from inside: its schedule, which is a pure function, what it can still do after it has confined itself,
 * and what it holds. keeper_seen.c tests what a program sees of it, keeper_ends.c how it ends.
 */
#include <linux/capability.h>

#include "keeper_tests.h"

/* ---- What the keeper can still do -------------------------------------------------------------------------------- */

/* With any arguments. The keeper makes each of these calls. */
static const short can_do[] = {
	SYS_futex, 449 /* futex_waitv */, SYS_nanosleep, SYS_clock_nanosleep, SYS_restart_syscall, SYS_sched_yield,
	SYS_clock_gettime, SYS_gettimeofday, SYS_ppoll, SYS_rt_sigreturn, SYS_munmap, SYS_mremap, SYS_madvise,
	SYS_mincore, SYS_msync, SYS_munlock, SYS_memfd_create, SYS_ftruncate, SYS_fallocate, SYS_fstat, SYS_read,
	SYS_pread64, SYS_pwrite64, SYS_lseek, SYS_close, SYS_getppid, SYS_pidfd_open, SYS_exit_group, SYS_exit,
	/* With certain arguments. */
	SYS_mmap, SYS_mprotect, SYS_ioctl, SYS_fcntl, SYS_tgkill, SYS_sched_setattr,
};

static bool is_in(const short *list, size_t count, long number)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == number)
			return true;
	return false;
}

static bool filters_work(void)
{
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
}

static bool may_execute;

/* Makes the call in a process that has confined itself. Returns the wait status; exit status 0: the process has
 * survived. */
static int try_confined(long number, long a, long b, long c, long d)
{
	pid_t pid = fork();

	if (pid == 0) {
		confine_rights(false, may_execute);
		(void)sys_call6(number, a, b, c, d, 0, 0);
		(void)sys_call1(SYS_exit_group, 0);
	}
	assert_true(pid > 0);
	return wait_for(pid);
}

static bool is_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

/* More than any kernel has. */
#define NUMBERS 600

static void any_other_call_ends_it(void **state)
{
	(void)state;
	if (!filters_work()) {
		skip_because("no seccomp");
		return;
	}
	for (long number = 0; number < NUMBERS; number++) {
		bool allowed = is_in(can_do, sizeof can_do / sizeof can_do[0], number);
		if (number == 335 || number == 336) /* used by the kernel for its own probes, without a check by the
		                                       filter */
			continue;
		if (!allowed && !is_killed(try_confined(number, 0, 0, 0, 0)))
			fail_msg("system call %ld does not end it", number);
	}
	assert_true(is_killed(try_confined(0x40000000 | SYS_getppid, 0, 0, 0, 0))); /* the x32 system calls */
	/* No permitted call ends the process. This one would, as it has nothing to return to. */
	for (size_t i = 0; i < sizeof can_do / sizeof can_do[0]; i++)
		if (can_do[i] != SYS_rt_sigreturn &&
		    is_killed(try_confined(can_do[i], can_do[i] == SYS_ppoll ? -1 : 0, can_do[i] == SYS_ppoll, 0, 0)) &&
		    can_do[i] != SYS_ioctl && can_do[i] != SYS_fcntl)
			fail_msg("system call %d ends it", can_do[i]);
}

static void arguments_count(void **state)
{
	static const struct {
		short number;
		long a, b, c, d;
		bool dies;
	} table[] = {
		{ SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, false },
		{ SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, true },
		{ SYS_mprotect, 0, 4096, PROT_NONE, 0, false },
		{ SYS_mprotect, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, 0, true },
		{ SYS_ioctl, -1, (long)UFFDIO_WAKE, 0, 0, false },
		{ SYS_ioctl, -1, TIOCSTI, 0, 0, true },
		{ SYS_fcntl, -1, F_ADD_SEALS, 0, 0, false },
		{ SYS_fcntl, 0, F_DUPFD, 0, 0, true },
		{ SYS_fcntl, 0, F_SETOWN, 0, 0, true },
		{ SYS_tgkill, 1, 1, 0, 0, false },
		{ SYS_tgkill, 1, 1, SIGKILL, 0, true },
		{ SYS_sched_setattr, 0, 0, 0, 0, false },
		{ SYS_sched_setattr, 1, 0, 0, 0, true },
	};

	(void)state;
	if (!filters_work()) {
		skip_because("no seccomp");
		return;
	}
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		int status = try_confined(table[i].number, table[i].a, table[i].b, table[i].c, table[i].d);
		if (table[i].dies ? !is_killed(status) : status != 0)
			fail_msg("row %zu: wait status %#x", i, (unsigned)status);
	}
}

/* If the program itself has memory with all rights. */
static void all_rights_or_none_executable(void **state)
{
	static const struct {
		long protection;
		bool dies;
	} table[] = {
		{ PROT_READ | PROT_WRITE | PROT_EXEC, false },
		{ PROT_READ | PROT_WRITE, false },
		{ PROT_READ | PROT_EXEC, true },
		{ PROT_WRITE | PROT_EXEC, true },
		{ PROT_EXEC, true },
	};

	(void)state;
	if (!filters_work()) {
		skip_because("no seccomp");
		return;
	}
	may_execute = true;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		int mapped = try_confined(SYS_mmap, 0, 4096, table[i].protection, MAP_PRIVATE | MAP_ANONYMOUS);
		int protected = try_confined(SYS_mprotect, 0, 4096, table[i].protection, 0);
		if (is_killed(mapped) != table[i].dies || is_killed(protected) != table[i].dies)
			fail_msg("row %zu: wait statuses %#x, %#x", i, (unsigned)mapped, (unsigned)protected);
	}
	may_execute = false;
}

/* It may lock memory beyond the limit if it may need to and the program may; it keeps no other right. */
static void keeps_the_right_to_lock_only(void **state)
{
	(void)state;
	if (geteuid() != 0 || !filters_work()) {
		skip_because(geteuid() != 0 ? "needs root, to have rights" : "no seccomp");
		return;
	}
	for (int may_lock = 0; may_lock < 2; may_lock++) {
		struct rlimit limit = { 65536, 65536 };
		char path[64], *text = NULL;
		unsigned long long permitted = 1, wanted = may_lock ? 1ull << CAP_IPC_LOCK : 0;
		pid_t pid = fork();
		if (pid == 0) {
			if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0)
				confine_rights(may_lock, false);
			for (;;)
				(void)sys_call5(SYS_ppoll, 0, 0, 0, 0, 0);
		}
		assert_true(pid > 0);
		snprintf(path, sizeof path, "/proc/%d/status", pid);
		for (int tries = 0; tries < 6000 && (text == NULL || strstr(text, "Seccomp:\t2") == NULL); tries++) {
			free(text);
			usleep(10000);
			text = read_file(path);
		}
		assert_true(kill(pid, SIGKILL) == 0 && wait_for(pid) == SIGKILL);
		for (char *line = text; (line = strstr(line, "\nCap")) != NULL; line++) {
			if (strncmp(line + 4, "Prm:", 4) == 0 || strncmp(line + 4, "Eff:", 4) == 0)
				assert_true((permitted = strtoull(line + 8, NULL, 16)) == wanted);
			else if (strncmp(line + 4, "Bnd:", 4) != 0)
				assert_true(strtoull(line + 8, NULL, 16) == 0);
		}
		assert_true(permitted == wanted);
		free(text);
	}
}

/* ---- What the keeper holds --------------------------------------------------------------------------------------- */

static void keeper_path(char *path, size_t size, const char *name)
{
	snprintf(path, size, "/proc/%d/%s", region_keeper_process(), name);
}

/* The value of a line of its /proc status. */
static unsigned long long status_of_keeper(const char *name, int base)
{
	char path[64], *text, *line;
	unsigned long long value;

	keeper_path(path, sizeof path, "status");
	text = read_file(path);
	assert_non_null(text);
	line = strstr(text, name);
	assert_non_null(line);
	value = strtoull(line + strlen(name), NULL, base);
	free(text);
	return value;
}

static char *read_file_of_keeper(const char *name)
{
	char path[64];

	keeper_path(path, sizeof path, name);
	return read_file(path);
}

static unsigned long long bit_of(int signal)
{
	return 1ull << (signal - 1);
}

static void link_of_keeper(const char *name, char *target, size_t size)
{
	char path[400];
	ssize_t length;

	keeper_path(path, sizeof path, name);
	length = readlink(path, target, size - 1);
	target[length > 0 ? length : 0] = '\0';
}

static void has_nothing_but_its_files(void)
{
	static const char *const known[] = {
		"/dev/null", "anon_inode:[userfaultfd]", "/memfd:odfork-", "/odfork-region", "/maps", "/pagemap",
		"/stat", "/statm", "/loadavg",
	};
	char path[64], target[200];
	struct dirent *entry;
	DIR *files;

	keeper_path(path, sizeof path, "fd");
	files = opendir(path);
	assert_non_null(files);
	while ((entry = readdir(files)) != NULL) {
		char name[300];
		bool found = false;
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "fd/%s", entry->d_name);
		link_of_keeper(name, target, sizeof target);
		for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
			found = found || strstr(target, known[i]) != NULL;
		if (!found)
			fail_msg("the keeper has %s", target);
	}
	closedir(files);
}

static void is_confined(void **state)
{
	odf_region *region;
	char target[100];
	int file = open(".", O_RDONLY);

	(void)state;
	region = region_make_bare(1, 0, NULL, &(int){ 0 }); /* of the heap's kind, whose memory is never locked */
	assert_non_null(region);
	assert_true(file >= 0 && region_keeper_process() > 0);
	assert_int_equal(status_of_keeper("\nCapEff:", 16), 0);
	assert_int_equal(status_of_keeper("\nCapPrm:", 16), 0);
	assert_int_equal(status_of_keeper("\nCapInh:", 16), 0);
	assert_int_equal(status_of_keeper("\nCapAmb:", 16), 0);
	assert_int_equal(status_of_keeper("\nNoNewPrivs:", 10), 1);
	assert_int_equal(status_of_keeper("\nSeccomp:", 10), filters_work() ? 2 : 0);
	assert_int_equal(status_of_keeper("\nThreads:", 10), 1);
	assert_int_equal(status_of_keeper("\nSigBlk:", 16),
			 ~(bit_of(SIGUSR1) | bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGKILL) | bit_of(SIGSTOP)));
	has_nothing_but_its_files();
	link_of_keeper("cwd", target, sizeof target);
	assert_string_equal(target, "/");
	assert_int_equal(getpgid(region_keeper_process()), region_keeper_process());
	close(file);
}

static bool is_memfd(int file)
{
	char name[32], target[100];

	snprintf(name, sizeof name, "fd/%d", file);
	link_of_keeper(name, target, sizeof target);
	assert_true(target[0] != '\0');
	return strncmp(target, "/memfd:", 7) == 0;
}

/* Made when the keeper can no longer open anything. */
static void later_regions_are_like_the_first(void **state)
{
	odf_region *regions[REGION_FILES_IN_STOCK + 2];
	size_t count = sizeof regions / sizeof regions[0];

	(void)state;
	for (size_t i = 0; i < count; i++) {
		regions[i] = odf_region_create(4096, 0);
		assert_non_null(regions[i]);
		memset(odf_region_base(regions[i]), 1, 4096);
	}
	for (size_t i = 0; i < REGION_FILES_IN_STOCK - 1; i++) { /* is_confined has one */
		assert_true(regions[i]->second_file >= 0);
		assert_int_equal(is_memfd(regions[i]->file), is_memfd(regions[0]->file));
		assert_int_equal(is_memfd(regions[i]->file), !region_large_pages_wanted() || !region_has_large_pages());
	}
	assert_true(regions[count - 1]->second_file == -1 && is_memfd(regions[count - 1]->file));
	for (size_t i = 0; i < count; i++)
		assert_int_equal(odf_region_destroy(regions[i]), 0);
}

/* In a process of its own: by a thread whose scheduling differs from the program's. */
static void *make_region_idly(void *unused)
{
	struct sched_param none = { 0 };
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setscheduler(0, SCHED_IDLE, &none) != 0 || sched_setaffinity(0, sizeof one, &one) != 0 ||
	    setpriority(PRIO_PROCESS, 0, 15) != 0)
		_exit(77);
	if (odf_region_create(4096, 0) == NULL)
		_exit(errno == EBUSY ? 78 : 79);
	return unused;
}

/* The kernel's structure in its first version. */
struct scheduling {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* It runs soon after it is woken: if the kernel shows a task's time slice (Linux 6.12), the keeper has asked for a
 * shorter one than other tasks have. */
static void turns_are_short(void **state)
{
	struct scheduling own = { 0 }, its = { 0 };
	odf_region *region = odf_region_create(4096, 0);

	(void)state;
	assert_non_null(region);
	assert_int_equal(syscall(SYS_sched_getattr, 0, &own, sizeof own, 0), 0);
	assert_int_equal(syscall(SYS_sched_getattr, region_keeper_process(), &its, sizeof its, 0), 0);
	if (own.runtime != 0)
		assert_true(its.runtime != 0 && its.runtime < own.runtime);
	assert_int_equal(odf_region_destroy(region), 0);
}

static void priorities_are_the_programs(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		cpu_set_t whole, its;
		pthread_t thread;
		if (pthread_create(&thread, NULL, make_region_idly, NULL) != 0 || pthread_join(thread, NULL) != 0)
			_exit(1);
		/* The caller of this program may be nice. */
		if (sched_getscheduler(region_keeper_process()) != SCHED_OTHER ||
		    getpriority(PRIO_PROCESS, (id_t)region_keeper_process()) !=
			    getpriority(PRIO_PROCESS, (id_t)getpid()))
			_exit(2);
		if (sched_getaffinity(0, sizeof whole, &whole) != 0 ||
		    sched_getaffinity(region_keeper_process(), sizeof its, &its) != 0)
			_exit(3);
		_exit(CPU_EQUAL(&whole, &its) ? 0 : 4);
	}
	status = wait_for(pid);
	if (geteuid() != 0 && WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 78)) {
		skip_because("who is SCHED_IDLE may not leave that");
		return;
	}
	assert_int_equal(status, 0);
}

/* The program's policy has the flag that resets it for children. The keeper is a child, but not one that the program
 * has made. */
static void policy_is_the_programs(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct sched_param none = { 0 };
		if (sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none) != 0)
			_exit(77);
		if (odf_region_create(4096, 0) == NULL)
			_exit(1);
		_exit(sched_getscheduler(region_keeper_process()) == SCHED_BATCH ? 0 : 2);
	}
	status = wait_for(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		skip_because("the policy cannot be had");
		return;
	}
	assert_int_equal(status, 0);
}

static void *make_region(void *unused)
{
	if (odf_region_create(4096, 0) == NULL)
		_exit(1);
	return unused;
}

/* Memory must be where numactl says, and not where one of many threads has its own policy. */
static void memory_policy_is_the_main_threads(void **state)
{
	(void)state;
	for (int by_main = 0; by_main < 2; by_main++) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			unsigned long first = 1;
			pthread_t thread;
			char *text;
			bool interleaves;
			if (syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &first, 8 * sizeof first) != 0)
				_exit(77);
			if (by_main)
				(void)make_region(NULL);
			else if (pthread_create(&thread, NULL, make_region, NULL) != 0 ||
				 pthread_join(thread, NULL) != 0)
				_exit(2);
			text = read_file_of_keeper("numa_maps");
			if (text == NULL)
				_exit(77);
			interleaves = strstr(text, " interleave") != NULL;
			free(text);
			_exit(interleaves == (by_main != 0) ? 0 : 3);
		}
		status = wait_for(pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
			skip_because("no memory policies, or none that are shown");
			return;
		}
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schedule),
		cmocka_unit_test(what_was_only_read),
		cmocka_unit_test(pace),
		cmocka_unit_test(any_other_call_ends_it),
		cmocka_unit_test(arguments_count),
		cmocka_unit_test(all_rights_or_none_executable),
		cmocka_unit_test(keeps_the_right_to_lock_only),
		cmocka_unit_test(is_confined),
		cmocka_unit_test(later_regions_are_like_the_first),
		cmocka_unit_test(turns_are_short),
		cmocka_unit_test(priorities_are_the_programs),
		cmocka_unit_test(policy_is_the_programs),
		cmocka_unit_test(memory_policy_is_the_main_threads),
	};

	if (!regions_are_here())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
