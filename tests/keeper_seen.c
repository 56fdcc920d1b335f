/* SPDX-License-Identifier: MIT
 *
 * What a program sees of the keeper, and what becomes of it when the program ends. Linked with the shared library, ODFORK_HEAP=on; each case in a process of its
 * own. ODF_TEST_SECONDS: how long the last case goes on; ODF_TEST_SAMPLES: how many samples it takes at least.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"

#define MIB ((size_t)1 << 20)
#define SIZE (32 * MIB)

#define must(condition) ((condition) ? (void)0 : wrong(__LINE__, #condition))

static __attribute__((noreturn)) void wrong(int line, const char *condition)
{
	fprintf(stderr, "line %d: %s (errno %d)\n", line, condition, errno);
	_exit(1);
}

static __attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	fprintf(stderr, "skipped: %s\n", reason);
	_exit(77);
}

static void wait_ms(unsigned milliseconds)
{
	struct timespec time = { milliseconds / 1000, (long)(milliseconds % 1000) * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int status_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		must(errno == EINTR);
	return status;
}

/* ---- The program ----------------------------------------------------------------------------------------------------------------------- */

static bool heap_is_awake(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	return odf_heap_info_get(&info) == 0 && info.state == ODF_HEAP_AWAKE;
}

static char *memory;

static void fill(char byte)
{
	memset(memory, byte, SIZE);
}

/* Memory in the heap's region. */
static void grow(void)
{
	must(heap_is_awake());
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	fill(1);
}

static void fork_and_write(char byte)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(0);
	fill(byte);
	must(status_of(pid) == 0);
}

/* From outside as well: the child of that name; 0: there is none. */
static pid_t keeper_of(pid_t program)
{
	char path[100], name[100];
	struct dirent *entry;
	DIR *tasks;
	pid_t found = 0, child;

	snprintf(path, sizeof path, "/proc/%d/task", program);
	tasks = opendir(path);
	while (tasks != NULL && found == 0 && (entry = readdir(tasks)) != NULL) {
		FILE *children;
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", program, entry->d_name);
		children = fopen(path, "re");
		while (children != NULL && found == 0 && fscanf(children, "%d", &child) == 1) {
			FILE *comm;
			snprintf(path, sizeof path, "/proc/%d/comm", child);
			comm = fopen(path, "re");
			if (comm != NULL && fgets(name, sizeof name, comm) != NULL && strcmp(name, "odfork-keeper\n") == 0)
				found = child;
			if (comm != NULL)
				fclose(comm);
		}
		if (children != NULL)
			fclose(children);
	}
	if (tasks != NULL)
		closedir(tasks);
	return found;
}

/* Its memory: a process that has ended has none, and none that is on its way to an end. */
static bool has_memory(pid_t pid)
{
	char path[64];
	unsigned long size = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/statm", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fscanf(file, "%lu", &size) != 1)
		size = 0;
	fclose(file);
	return size > 0;
}

static void must_lose_its_memory(pid_t keeper)
{
	for (double end = now() + 20; has_memory(keeper); wait_ms(1))
		must(now() < end);
}

/* ---- Not to be seen --------------------------------------------------------------------------------------------------------------------- */

static int count_tasks(void)
{
	struct stat tasks;

	must(stat("/proc/self/task", &tasks) == 0);
	return (int)tasks.st_nlink - 2;
}

static void one_thread(void)
{
	grow();
	fork_and_write(2);
	must(keeper_of(getpid()) != 0 && count_tasks() == 1);
}

static volatile sig_atomic_t child_signals;

static void count_signal(int number)
{
	(void)number;
	child_signals++;
}

static void no_child(void)
{
	static const unsigned kinds[] = { 0, __WALL, __WALL | __WNOTHREAD, __WNOTHREAD, __WALL | __WCLONE, __WCLONE }; /* before the last the keeper is there */
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

/* One that has a child is found by the same calls. */
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
	pid = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL); /* one whose end sends nothing */
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

static void namespaces(void)
{
	int network, mounts;

	grow();
	fork_and_write(2);
	network = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (setns(network, CLONE_NEWNET) != 0 && errno == EPERM)
		cannot_be_done_here("no right to enter a namespace");
	must(setns(mounts, CLONE_NEWNS) == 0 && unshare(CLONE_NEWNS) == 0 && unshare(CLONE_FS | CLONE_FILES) == 0);
	must(unshare(CLONE_NEWUSER) == 0);
	fork_and_write(3);
	must(heap_is_awake() && keeper_of(getpid()) != 0);
}

/* The first child after unshare(CLONE_NEWPID) is the first process of the namespace. */
static void next_child_is_init(void)
{
	pid_t pid;

	must(!heap_is_awake());
	if (unshare(CLONE_NEWPID) != 0)
		cannot_be_done_here("no right to make a PID namespace");
	must(odf_heap_enable(0) == ENOTSUP);
	pid = fork();
	if (pid == 0)
		_exit(getpid() == 1 ? 0 : 1);
	must(status_of(pid) == 0);
}

/* ---- Forks where they could not be ------------------------------------------------------------------------------------------------------ */

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
	struct itimerval often = { { 0, 1500 }, { 0, 1500 } }, never = { 0 };
	double end = now() + 1;
	void *volatile pieces[64] = { NULL };

	grow();
	fork_and_write(2);
	must(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (unsigned i = 0; i % 1024 != 0 || now() < end; i++) {
		free(pieces[i % 64]);
		pieces[i % 64] = malloc(2000 + i * 7919u % 60000);
	}
	must(setitimer(ITIMER_REAL, &never, NULL) == 0 && forks > 0);
}

/* By a limit that is set when the keeper runs already. */
static void room_for_one(bool past_us)
{
	struct rlimit two = { 2, 2 };

	if (geteuid() != 0)
		cannot_be_done_here("takes a user of its own");
	must(setgid(54322) == 0 && setuid(54322) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0); /* as in a program that was executed by that user */
	must(odf_heap_enable(0) == 0);
	grow();
	must(keeper_of(getpid()) != 0);
	if (past_us) { /* from outside */
		pid_t pid = fork();
		if (pid == 0)
			_exit(prlimit(getppid(), RLIMIT_NPROC, &two, NULL) == 0 ? 0 : 1);
		must(status_of(pid) == 0);
	} else {
		must(setrlimit(RLIMIT_NPROC, &two) == 0);
	}
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

/* ---- Rights --------------------------------------------------------------------------------------------------------------------------------- */

/* It settles on: each fork finds it LIVE again, which is what memory that is not held twice shows. */
static void settles_still(void)
{
	odf_region_info info = ODF_REGION_INFO_INIT;
	odf_region *region = odf_region_create(4 * MIB, 0);
	bool itself;

	must(region != NULL && odf_region_info_get(region, &info) == 0);
	itself = info.settling == ODF_REGION_SETTLES_ALWAYS;
	fork_and_write(2);
	if (itself) {
		struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
		struct __user_cap_data_struct none[2] = { { 0 } };
		struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
		struct sock_fprog filter = { 1, allow };
		uint64_t settled = info.settles;
		if (geteuid() == 0)
			must(setgid(65534) == 0 && setuid(65534) == 0);
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_capset, &header, none) == 0);
		must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
		memset(odf_region_base(region), 1, 4 * MIB);
		fork_and_write(3);
		memset(odf_region_base(region), 2, 4 * MIB);
		for (double end = now() + 20; info.settles == settled; wait_ms(1)) {
			must(now() < end);
			must(odf_region_info_get(region, &info) == 0);
		}
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

/* ---- Ends ------------------------------------------------------------------------------------------------------------------------------------ */

enum end { KILLED, KILLED_AS_ANOTHER, RETURNS, EXITS, EXECUTES, EXECUTES_RAW, LAST_THREAD, CREATOR_ENDED, ENDS };

static void *grow_in_thread(void *unused)
{
	must(odf_heap_enable(0) == 0);
	return unused;
}

static void *end_last(void *unused)
{
	wait_ms(50);
	return unused;
}

static void execute_raw(char *path, char **argv, char **envp)
{
#if defined __x86_64__
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "0"(SYS_execve), "D"(path), "S"(argv), "d"(envp) : "rcx", "r11", "memory");
#else
	execve(path, argv, envp);
#endif
}

/* Says that it is there by a byte to standard output, and ends at one from standard input. */
static __attribute__((noreturn)) void program(enum end end)
{
	char *sleeper[] = { (char[]){ "sleep" }, (char[]){ "100" }, NULL };
	pthread_t thread;
	char byte;

	if (end == CREATOR_ENDED) /* started with the heap off */
		must(pthread_create(&thread, NULL, grow_in_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
	grow();
	fork_and_write(2);
	if (end == KILLED_AS_ANOTHER)
		must(setgid(65534) == 0 && setuid(65534) == 0);
	must(write(1, "x", 1) == 1 && read(0, &byte, 1) == 1);
	if (end == RETURNS)
		exit(0);
	if (end == EXECUTES)
		execv("/bin/sleep", sleeper);
	if (end == EXECUTES_RAW)
		execute_raw((char[]){ "/bin/sleep" }, sleeper, environ);
	if (end == LAST_THREAD) {
		must(pthread_create(&thread, NULL, end_last, NULL) == 0 && pthread_detach(thread) == 0);
		pthread_exit(NULL);
	}
	_exit(0);
}

static void ends_with(enum end how)
{
	int to[2], from[2], status;
	pid_t pid, keeper;
	char number[8], byte;

	if (how == KILLED_AS_ANOTHER && geteuid() != 0)
		cannot_be_done_here("takes root to become another");
	if (how == CREATOR_ENDED && geteuid() != 0) /* a program of several threads has no heap then */
		cannot_be_done_here("takes userfaultfd, which root has");
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
	snprintf(number, sizeof number, "%d", (int)how);
	pid = fork();
	if (pid == 0) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		if (how == CREATOR_ENDED)
			setenv("ODFORK_HEAP", "auto", 1);
		execl("/proc/self/exe", "keeper_seen", "program", number, (char *)NULL);
		_exit(127);
	}
	close(from[1]);
	must(read(from[0], &byte, 1) == 1);
	keeper = keeper_of(pid);
	must(keeper > 0 && has_memory(keeper));
	if (how == KILLED || how == KILLED_AS_ANOTHER || how == CREATOR_ENDED)
		kill(pid, SIGKILL);
	else
		must(write(to[1], "x", 1) == 1);
	if (how == EXECUTES || how == EXECUTES_RAW) {
		must_lose_its_memory(keeper);
		kill(pid, SIGKILL);
		must(WIFSIGNALED(status_of(pid)));
	} else {
		status = status_of(pid);
		must(how == KILLED || how == KILLED_AS_ANOTHER || how == CREATOR_ENDED ? WIFSIGNALED(status) : status == 0);
		must_lose_its_memory(keeper);
	}
	/* Who adopts orphans waits for them; after an end that the library sees there is none. */
	if (how == RETURNS || how == EXITS)
		must(waitpid(-1, &status, __WALL) == -1 && errno == ECHILD);
	else
		while (waitpid(-1, &status, __WALL) > 0)
			;
	must(kill(keeper, 0) == -1 && errno == ESRCH);
}

#define ENDING(name, how) \
	static void name(void) { ends_with(how); }
ENDING(ends_when_killed, KILLED)
ENDING(ends_when_killed_as_another_user, KILLED_AS_ANOTHER)
ENDING(ends_at_exit, RETURNS)
ENDING(ends_at_bare_exit, EXITS)
ENDING(ends_at_exec, EXECUTES)
ENDING(ends_at_raw_exec, EXECUTES_RAW)
ENDING(ends_with_the_last_thread, LAST_THREAD)
ENDING(outlives_the_thread_that_made_it, CREATOR_ENDED)

/* ---- Samplers ---------------------------------------------------------------------------------------------------------------------------------- */

/* Stops all threads, reads all memory, and lets them go on. */
static void sample(pid_t pid, const char *address, int mem, char *buffer)
{
	int status;

	must(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0);
	must(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
	for (size_t at = 0; at < SIZE; at += MIB) {
		struct iovec local = { buffer, MIB }, remote = { (void *)(uintptr_t)(address + at), MIB };
		ssize_t got = mem >= 0 ? pread(mem, buffer, MIB, (off_t)(uintptr_t)(address + at)) : process_vm_readv(pid, &local, 1, &remote, 1, 0);
		/* By /proc/pid/mem the kernel does not wait for the one step that may have been under way when the program was stopped. */
		for (int tries = 0; mem >= 0 && got != (ssize_t)MIB && tries < 1000; tries++) {
			wait_ms(1);
			got = pread(mem, buffer, MIB, (off_t)(uintptr_t)(address + at));
		}
		must(got == (ssize_t)MIB);
		for (size_t page = 4096; page < MIB; page += 4096) /* written in order: a page is of this pass or of the last one */
			must(buffer[page] == buffer[0] || buffer[page] == (char)(buffer[0] - 1));
	}
	must(ptrace(PTRACE_DETACH, pid, 0, 0) == 0);
}

static __attribute__((noreturn)) void be_sampled(int out)
{
	grow();
	must(write(out, &memory, sizeof memory) == sizeof memory);
	for (unsigned char i = 2;; i++) {
		fork_and_write((char)i);
		wait_ms(3);
	}
}

/* A hundred times a second; and each program is killed at some moment. */
static void sampled_and_killed(void)
{
	const char *text = getenv("ODF_TEST_SECONDS"), *count = getenv("ODF_TEST_SAMPLES");
	double end = now() + (text != NULL ? atof(text) : count != NULL ? 0 : 4);
	unsigned least = count != NULL ? (unsigned)atoi(count) : 0;
	char *buffer = malloc(MIB), path[64];
	unsigned samples = 0, kills = 0;

	must(buffer != NULL && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	while (now() < end || samples < least) {
		int from[2], mem, status;
		char *address;
		pid_t pid, keeper;
		double until = now() + 0.2 + (double)(rand() % 1000) / 1000;
		must(pipe2(from, O_CLOEXEC) == 0);
		pid = fork();
		if (pid == 0) {
			must(odf_heap_enable(0) == 0);
			be_sampled(from[1]);
		}
		close(from[1]);
		must(read(from[0], &address, sizeof address) == sizeof address);
		close(from[0]);
		snprintf(path, sizeof path, "/proc/%d/mem", pid);
		mem = open(path, O_RDONLY | O_CLOEXEC);
		must(mem >= 0);
		while (now() < until) {
			sample(pid, address, samples % 2 ? mem : -1, buffer);
			samples++;
			wait_ms(10);
		}
		keeper = keeper_of(pid);
		must(keeper > 0);
		close(mem);
		kill(pid, SIGKILL);
		must(WIFSIGNALED(status_of(pid)));
		must_lose_its_memory(keeper);
		while (waitpid(-1, &status, 0) > 0)
			;
		kills++;
	}
	fprintf(stderr, "%u samples, %u kills\n", samples, kills);
}

/* ---- All of them ----------------------------------------------------------------------------------------------------------------------------- */

#define CASE(name, heap) { #name, name, heap }
static const struct {
	const char *name;
	void (*run)(void);
	const char *heap;
} cases[] = {
	CASE(one_thread, "on"),
	CASE(no_child, "on"),
	CASE(own_child, "on"),
	CASE(no_descriptor, "on"),
	CASE(namespaces, "on"),
	CASE(next_child_is_init, "auto"),
	CASE(forks_amid_malloc, "on"),
	CASE(room_for_one_by_call, "auto"),
	CASE(room_for_one_unseen, "auto"),
	CASE(rights_given_up, "on"),
	CASE(ends_when_killed, "on"),
	CASE(ends_when_killed_as_another_user, "on"),
	CASE(ends_at_exit, "on"),
	CASE(ends_at_bare_exit, "on"),
	CASE(ends_at_exec, "on"),
	CASE(ends_at_raw_exec, "on"),
	CASE(ends_with_the_last_thread, "on"),
	CASE(outlives_the_thread_that_made_it, "on"),
	CASE(sampled_and_killed, "on"),
};
#define CASES (sizeof cases / sizeof cases[0])

static int run(size_t i)
{
	pid_t pid = fork();

	if (pid == 0) {
		setenv("ODFORK_HEAP", cases[i].heap, 1);
		execl("/proc/self/exe", "keeper_seen", cases[i].name, (char *)NULL);
		_exit(127);
	}
	return status_of(pid);
}

int main(int argc, char **argv)
{
	const char *needed = getenv("ODF_MUST_WORK");
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	int failed = 0;

	if (argc > 2 && strcmp(argv[1], "program") == 0)
		program((enum end)atoi(argv[2]));
	if (argc > 1) {
		alarm(60 + (getenv("ODF_TEST_SECONDS") != NULL ? (unsigned)atoi(getenv("ODF_TEST_SECONDS")) : 0) +
		      (getenv("ODF_TEST_SAMPLES") != NULL ? (unsigned)atoi(getenv("ODF_TEST_SAMPLES")) / 10 : 0));
		for (size_t i = 0; i < CASES; i++)
			if (strcmp(argv[1], cases[i].name) == 0)
				cases[i].run();
		return 0;
	}
	if (odf_capabilities_get(&capabilities) != 0 || capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE) {
		printf("1..0 # SKIP no regions here: %s\n", odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
		return 0;
	}
	printf("1..%zu\n", CASES);
	for (size_t i = 0; i < CASES; i++) {
		int status = run(i);
		bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == 77 && !(needed != NULL && strcmp(needed, "1") == 0);
		if (status != 0 && !skipped)
			failed++;
		printf("%s %zu - %s%s\n", status == 0 || skipped ? "ok" : "not ok", i + 1, cases[i].name, skipped ? " # SKIP" : "");
		fflush(stdout);
	}
	return failed > 0;
}
