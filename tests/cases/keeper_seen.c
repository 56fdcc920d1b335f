/* SPDX-License-Identifier: MIT
 *
 * A program must not see the keeper: not in any wait, table or namespace. Forks, threads and rights are as without it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>

#include "../support/keeper_program.h"
#include "../support/real_call.h"

/* ---- Out of sight ------------------------------------------------------------------------------------------------ */

static int count_tasks(void)
{
	struct stat tasks;

	must(stat("/proc/self/task", &tasks) == 0);
	return (int)tasks.st_nlink - 2;
}

/* The count that Python reads before it warns of a fork in a multi-threaded process: field 20. */
static int told_threads(void)
{
	char text[1024] = "";
	const char *at;
	FILE *file = fopen("/proc/self/stat", "re");

	must(file != NULL && fgets(text, sizeof text, file) != NULL && fclose(file) == 0);
	at = strrchr(text, ')');
	for (int word = 2; at != NULL && word < 20; word++)
		at = strchr(at + 1, ' ');
	must(at != NULL);
	return atoi(at + 1);
}

static void one_thread(void)
{
	grow();
	fork_and_write(2);
	must(keeper_of(getpid()) != 0 && count_tasks() == 1 && told_threads() == 1);
}

static volatile sig_atomic_t child_signals;

static void count_signal(int number)
{
	(void)number;
	child_signals++;
}

static void no_child(void)
{
	/* from the second round on there is a keeper */
	static const unsigned kinds[] = { 0, __WALL, __WALL | __WNOTHREAD, __WNOTHREAD, __WALL | __WCLONE, __WCLONE };
	siginfo_t info;
	int status;

	grow();
	fork_and_write(2);
	must(signal(SIGCHLD, count_signal) != SIG_ERR);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (!heap_is_awake())
			must(false);
		for (int flags = 0; flags < 2; flags++) {
			int options = (int)kinds[i] | (flags ? WNOHANG : 0);
			errno = 0;
			must(waitpid(-1, &status, options) == -1 && errno == ECHILD);
			errno = 0;
			must(wait4(-1, &status, options, NULL) == -1 && errno == ECHILD);
			errno = 0;
			must(wait3(&status, options, NULL) == -1 && errno == ECHILD);
			errno = 0;
			must(waitpid(0, &status, options) == -1 && errno == ECHILD);
			errno = 0;
			must(waitid(P_ALL, 0, &info, options | WEXITED | WSTOPPED) == -1 && errno == ECHILD);
			errno = 0;
			must(waitid(P_PGID, (id_t)getpgrp(), &info, options | WEXITED) == -1 && errno == ECHILD);
			errno = 0;
			must(syscall(SYS_wait4, -1, &status, options, NULL) == -1 && errno == ECHILD);
			errno = 0;
			must(syscall(SYS_waitid, P_ALL, 0, &info, options | WEXITED, NULL) == -1 && errno == ECHILD);
		}
	}
	errno = 0;
	must(wait(NULL) == -1 && errno == ECHILD);
	must(child_signals == 0);
}

/* A program that has a child of its own finds it by the same calls. */
static void own_child(void)
{
	int status;
	pid_t pid;

	grow();
	pid = fork();
	if (pid == 0)
		_exit(7);
	must(pid > 0 && waitpid(-1, &status, __WALL) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
	must(keeper_of(getpid()) != 0);
	pid = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL); /* a child with exit signal 0 */
	if (pid == 0)
		_exit(8);
	must(pid > 0 && waitpid(-1, &status, __WALL) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 8);
	errno = 0;
	must(waitpid(-1, &status, __WCLONE) == -1 && errno == ECHILD);
}

static int count_files(void)
{
	DIR *files = opendir("/proc/self/fd");
	int count = 0;

	must(files != NULL);
	while (readdir(files) != NULL)
		count++;
	closedir(files);
	return count;
}

static void no_descriptor(void)
{
	int before = count_files(), next = dup(0);

	must(next >= 0);
	close(next);
	grow();
	must(count_files() == before);
	fork_and_write(2);
	must(count_files() == before && dup(0) == next);
}

/* ---- Forks where none was possible ------------------------------------------------------------------------------- */

static volatile sig_atomic_t forks;

static void fork_in_handler(int number)
{
	int saved = errno, status;
	pid_t pid = fork();

	(void)number;
	if (pid == 0)
		_exit(0);
	if (pid > 0) {
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		forks++;
	}
	errno = saved;
}

static void forks_amid_malloc(void)
{
	struct sigaction action = { .sa_handler = fork_in_handler, .sa_flags = SA_RESTART };
	/* CPU time: however long a fork takes, the program makes progress between two signals. */
	struct itimerval often = { { 0, 1500 }, { 0, 1500 } }, never = { 0 };
	void *volatile pieces[64] = { NULL };

	grow();
	fork_and_write(2);
	must(sigaction(SIGVTALRM, &action, NULL) == 0 && setitimer(ITIMER_VIRTUAL, &often, NULL) == 0);
	for (unsigned i = 0; forks < 100; i++) {
		free(pieces[i % 64]);
		pieces[i % 64] = malloc(2000 + i * 7919u % 60000);
	}
	must(setitimer(ITIMER_VIRTUAL, &never, NULL) == 0);
}

/* A filter that ends the process at an mremap by this thread. Installed by a call that the library does not see, which
 * would otherwise leave the region. */
static bool forbid_moves(void)
{
	struct sock_filter moves[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { 4, moves };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       real_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&filter, 0, 0, 0) == 0;
}

static int idle_policy = SCHED_IDLE;

static void *fork_idly(void *region)
{
	struct sched_param none = { 0 };
	char *base = odf_region_base(region);

	if (sched_setscheduler(0, idle_policy, &none) != 0 || !forbid_moves())
		cannot_be_done_here("no idle thread, or no filter");
	for (char i = 1; i < 10; i++) {
		pid_t pid;
		memset(base, i, MIB);
		pid = fork();
		must(pid >= 0);
		if (pid == 0)
			_exit(base[0] == i && base[MIB - 1] == i && memory[SIZE - 1] == 1 ? 0 : 1);
		memset(base, -i, MIB);
		must(status_of(pid) == 0);
		wait_ms(30);
	}
	return NULL;
}

/* A SCHED_IDLE thread may wait for a processor in the middle of a call that changes mappings, and then all threads wait
 * for it: so the keeper makes those calls for it. */
static void idle_forker(void)
{
	odf_region *region;
	odf_region_info info = ODF_REGION_INFO_INIT;
	pthread_t thread;

	grow();
	region = odf_region_create(MIB, 0);
	must(region != NULL && pthread_create(&thread, NULL, fork_idly, region) == 0 &&
	     pthread_join(thread, NULL) == 0);
	must(odf_region_info_get(region, &info) == 0 && info.freezes > 0);
}

/* As under systemd with CPUSchedulingResetOnFork=yes: the kernel returns the policy with that flag. */
static void idle_forker_that_resets(void)
{
	idle_policy = SCHED_IDLE | SCHED_RESET_ON_FORK;
	idle_forker();
}

static atomic_bool main_is_idle;

static void *grow_in_thread(void *unused)
{
	(void)unused;
	while (!atomic_load(&main_is_idle))
		wait_ms(1);
	if (odf_heap_enable(0) != 0 && geteuid() != 0)
		cannot_be_done_here("nothing settles beside a program of threads here");
	grow();
	return NULL;
}

/* A working thread waits for the keeper's steps, whatever the policy of the main thread, which only waits. */
static void beside_an_idle_main(void)
{
	struct sched_param none = { 0 };
	pthread_t thread;

	must(pthread_create(&thread, NULL, grow_in_thread, NULL) == 0);
	if (sched_setscheduler(0, SCHED_IDLE, &none) != 0)
		cannot_be_done_here("no idle thread");
	atomic_store(&main_is_idle, true);
	must(pthread_join(thread, NULL) == 0);
	must(keeper_of(getpid()) != 0 && sched_getscheduler(keeper_of(getpid())) == SCHED_OTHER);
}

/* A user without another process; a user namespace may have only a few ids. */
static void become_a_user(void)
{
	uid_t user = 1000000 + (uid_t)getpid();

	if (geteuid() != 0)
		cannot_be_done_here("takes a user of its own");
	if (setgid(user) != 0 || setuid(user) != 0) {
		user = 20000 + (uid_t)getpid() % 40000;
		must(setgid(user) == 0 && setuid(user) == 0);
	}
	must(prctl(PR_SET_DUMPABLE, 1) == 0); /* as in a program that this user has executed */
}

static void limit_from_outside(const struct rlimit *limit)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(prlimit(getppid(), RLIMIT_NPROC, limit, NULL) == 0 ? 0 : 1);
	must(status_of(pid) == 0);
}

/* A limit that is set while the keeper runs. */
static void room_for_one(bool past_us)
{
	struct rlimit two = { 2, 2 };

	become_a_user();
	must(odf_heap_enable(0) == 0);
	grow();
	must(keeper_of(getpid()) != 0);
	if (past_us)
		limit_from_outside(&two);
	else
		must(setrlimit(RLIMIT_NPROC, &two) == 0);
	must(past_us == heap_is_awake());
	for (char i = 0; i < 4; i++) {
		pid_t pid = fork();
		must(pid >= 0);
		if (pid == 0)
			_exit(memory[5 * MIB] == i + 1 && memory[SIZE - 1] == i + 1 ? 0 : 1);
		must(status_of(pid) == 0);
		fill((char)(i + 2));
	}
	must(!heap_is_awake() && keeper_of(getpid()) == 0);
}

static void room_for_one_by_call(void)
{
	room_for_one(false);
}

static void room_for_one_unseen(void)
{
	room_for_one(true);
}

static void *count_up(void *number)
{
	++*(int *)number;
	return NULL;
}

static int count_up_too(void *number)
{
	++*(int *)number;
	return 0;
}

static int count_up_shared(void *number)
{
	++*(volatile int *)number;
	return 0;
}

/* Processes and threads that libc makes by itself. */
static void room_for(const char *what)
{
	struct rlimit two = { 2, 2 };
	static char stack[65536] __attribute__((aligned(16)));
	pthread_attr_t huge;
	pthread_t thread;
	thrd_t other;
	char text[8] = "";
	int number = 1;

	become_a_user();
	must(odf_heap_enable(0) == 0);
	grow();
	/* A call that fails for another reason must not end the keeper. */
	must(pthread_attr_init(&huge) == 0 && pthread_attr_setstacksize(&huge, (size_t)1 << 46) == 0);
	must(pthread_create(&thread, &huge, count_up, &number) == EAGAIN && heap_is_awake());
	errno = 5;
	must(WEXITSTATUS(system("exit 127")) == 127 && errno == 5 && heap_is_awake());
	limit_from_outside(&two);
	must(heap_is_awake());
	if (strcmp(what, "system") == 0) {
		must(WEXITSTATUS(system("exit 7")) == 7 && errno == 5);
	} else if (strcmp(what, "popen") == 0) {
		FILE *stream = popen("echo hello", "r");
		must(stream != NULL && fgets(text, sizeof text, stream) != NULL && strcmp(text, "hello\n") == 0 &&
		     pclose(stream) == 0);
	} else if (strcmp(what, "thread") == 0) {
		must(pthread_create(&thread, NULL, count_up, &number) == 0 && pthread_join(thread, NULL) == 0 &&
		     number == 2);
	} else if (strcmp(what, "thrd") == 0) {
		must(thrd_create(&other, count_up_too, &number) == thrd_success &&
		     thrd_join(other, NULL) == thrd_success && number == 2);
	} else if (strcmp(what, "clone") == 0) {
		pid_t pid = clone(count_up_shared, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &number);
		must(pid > 0 && status_of(pid) == 0 && number == 2);
	} else if (strcmp(what, "clone_apart") == 0) {
		pid_t pid = clone(count_up_shared, stack + sizeof stack, SIGCHLD, &number);
		must(pid > 0 && status_of(pid) == 0 && number == 1);
	} else {
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		if (pid == 0)
			_exit(memory[SIZE - 1] == 1 ? 0 : 1);
		must(pid > 0 && status_of(pid) == 0);
	}
	must(!heap_is_awake() && keeper_of(getpid()) == 0 && memory[SIZE - 1] == 1);
}

#define ROOM(what) \
	static void room_for_##what(void) { room_for(#what); }
ROOM(system)
ROOM(popen)
ROOM(thread)
ROOM(thrd)
ROOM(clone)
ROOM(clone_apart)
#ifdef __x86_64__ /* on other architectures the library does not see it */
ROOM(clone_by_number)
#endif

/* ---- Rights ------------------------------------------------------------------------------------------------------ */

/* It still settles: each fork finds the region LIVE again, which shows in memory that is not held twice. */
static void settles_still(void)
{
	odf_region_info info = ODF_REGION_INFO_INIT;
	odf_region *region = odf_region_create(4 * MIB, 0);
	bool itself;

	must(region != NULL && odf_region_info_get(region, &info) == 0);
	itself = info.settling == ODF_REGION_SETTLES_ALWAYS;
	if (itself) {
		struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
		struct __user_cap_data_struct none[2] = { { 0 } };
		struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
		struct sock_fprog filter = { 1, allow };
		must_settle(region, 1);
		if (geteuid() == 0)
			must(setgid(65534) == 0 && setuid(65534) == 0);
		must_settle(region, 3);
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_capset, &header, none) == 0);
		must_settle(region, 5);
		must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
		must_settle(region, 7);
	}
	must(odf_region_destroy(region) == 0);
	if (!itself)
		cannot_be_done_here("nothing settles beside a program here");
}

static void rights_given_up(void)
{
	grow();
	settles_still();
}

/* ---- All cases --------------------------------------------------------------------------------------------------- */

static const struct keeper_case cases[] = {
	CASE(one_thread, "on"),
	CASE(no_child, "on"),
	CASE(own_child, "on"),
	CASE(no_descriptor, "on"),
	CASE(forks_amid_malloc, "on"),
	CASE(idle_forker, "on"),
	CASE(idle_forker_that_resets, "on"),
	CASE(beside_an_idle_main, "auto"),
	CASE(room_for_one_by_call, "auto"),
	CASE(room_for_one_unseen, "auto"),
	CASE(room_for_system, "auto"),
	CASE(room_for_popen, "auto"),
	CASE(room_for_thread, "auto"),
	CASE(room_for_thrd, "auto"),
	CASE(room_for_clone, "auto"),
	CASE(room_for_clone_apart, "auto"),
#ifdef __x86_64__
	CASE(room_for_clone_by_number, "auto"),
#endif
	CASE(rights_given_up, "on"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
