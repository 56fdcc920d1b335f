/* SPDX-License-Identifier: MIT
 *
 * The end of the keeper when the program ends, in whatever way.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../support/cgroup.h"
#include "../support/keeper_program.h"
#include "../support/real_call.h"

/* ---- Ends -------------------------------------------------------------------------------------------------------- */

enum end { KILLED, KILLED_AS_ANOTHER, RETURNS, EXITS, EXECUTES, EXECUTES_RAW, LAST_THREAD, CREATOR_ENDED };

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

/* Writes a byte to standard output when it has started, and ends when it reads one from standard input. */
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
		(void)real_call(SYS_execve, (long)"/bin/sleep", (long)sleeper, (long)environ, 0, 0, 0);
	if (end == LAST_THREAD) {
		must(pthread_create(&thread, NULL, end_last, NULL) == 0 && pthread_detach(thread) == 0);
		pthread_exit(NULL);
	}
	_exit(0);
}

/* A sleeping keeper also waits for the word that the kernel clears at the end of the main thread, whichever thread has
 * made the keeper. */
static void must_wait_for_the_main_thread(pid_t keeper)
{
	enum { FUTEX_WAITV = 449 };
	char path[64], text[64] = "449 ";
	double end = now() + 20;

	snprintf(path, sizeof path, "/proc/%d/syscall", keeper);
	while (syscall(FUTEX_WAITV, NULL, 0, 0, NULL, 0) == -1 && errno != ENOSYS) { /* Linux 5.16 */
		int file = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t got = file >= 0 ? read(file, text, sizeof text - 1) : -1;
		if (file >= 0)
			close(file);
		if (got <= 0 || strncmp(text, "449 ", 4) == 0) /* the kernel may not show it */
			return;
		must(now() < end);
		wait_ms(1);
	}
}

static void ends_with(enum end how)
{
	int to[2], from[2], status, adopted = 0;
	pid_t pid, keeper;
	char number[8], byte;

	if (how == KILLED_AS_ANOTHER && geteuid() != 0)
		cannot_be_done_here("takes root to become another");
	if (how == CREATOR_ENDED && geteuid() != 0) /* without userfaultfd a multi-threaded program has no heap */
		cannot_be_done_here("takes userfaultfd, which root has");
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
	snprintf(number, sizeof number, "%d", (int)how);
	pid = fork();
	if (pid == 0) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		if (how == CREATOR_ENDED)
			setenv("ODFORK_HEAP", "auto", 1);
		execl("/proc/self/exe", "keeper_ends", "program", number, (char *)NULL);
		_exit(127);
	}
	close(from[1]);
	must(read(from[0], &byte, 1) == 1);
	keeper = keeper_of(pid);
	must(keeper > 0 && has_memory(keeper));
	must_wait_for_the_main_thread(keeper);
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
		must(how == KILLED || how == KILLED_AS_ANOTHER || how == CREATOR_ENDED ? WIFSIGNALED(status)
										       : status == 0);
		must_lose_its_memory(keeper);
	}
	/* A process that adopts orphans would wait for the keeper. After an end that the library sees there is none. */
	if (how == RETURNS || how == EXITS)
		must(waitpid(-1, &status, __WALL) == -1 && errno == ECHILD);
	else
		while ((pid = waitpid(-1, &status, how == KILLED ? 0 : __WALL)) > 0) {
			must(pid == keeper && status == 0);
			adopted++;
		}
	must(how != KILLED || adopted == 1); /* one more child, which any wait finds */
	must(kill(keeper, 0) == -1 && errno == ESRCH);
}

static unsigned count_keepers(void)
{
	char path[64];
	unsigned count = 0;
	pid_t child;
	FILE *children, *comm;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	children = fopen(path, "re");
	must(children != NULL);
	while (fscanf(children, "%d", &child) == 1) {
		char name[32] = "";
		snprintf(path, sizeof path, "/proc/%d/comm", child);
		comm = fopen(path, "re");
		count += comm != NULL && fgets(name, sizeof name, comm) != NULL && strcmp(name, "odfork-keeper\n") == 0;
		if (comm != NULL)
			fclose(comm);
	}
	fclose(children);
	return count;
}

static bool is_zombie(pid_t pid)
{
	char path[64], text[256] = "";
	const char *end;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	file = fopen(path, "re");
	must(file != NULL && fgets(text, sizeof text, file) != NULL);
	fclose(file);
	end = strrchr(text, ')');
	return end != NULL && end[1] == ' ' && end[2] == 'Z';
}

static void must_be_stopped(pid_t keeper)
{
	char path[64], text[256] = "";
	const char *end = NULL;

	must(kill(keeper, SIGSTOP) == 0);
	snprintf(path, sizeof path, "/proc/%d/stat", keeper);
	for (double until = now() + 20; end == NULL || end[2] != 'T'; wait_ms(1)) {
		FILE *file = fopen(path, "re");
		must(now() < until && file != NULL && fgets(text, sizeof text, file) != NULL);
		fclose(file);
		end = strrchr(text, ')');
		must(end != NULL);
	}
}

static void end_in_handler(int signal)
{
	_exit(signal == SIGTERM ? 0 : 1);
}

/* A user stops all processes with the program's name, but continues only those whose pid is known: the keeper stays
 * stopped. */
static void ends_with_a_stopped_keeper(void)
{
	for (int how = 0; how < 3; how++) {
		int from[2], status = -1;
		pid_t pid, keeper;
		must(pipe2(from, O_CLOEXEC) == 0);
		pid = fork();
		must(pid >= 0);
		if (pid == 0) {
			must(signal(SIGTERM, end_in_handler) != SIG_ERR && odf_heap_enable(0) == 0);
			grow();
			fork_and_write(2);
			keeper = keeper_of(getpid());
			must(keeper > 0 && write(from[1], &keeper, sizeof keeper) == sizeof keeper);
			must_be_stopped(keeper);
			if (how == 0)
				exit(0);
			if (how == 1)
				_exit(0);
			must(raise(SIGTERM) == 0);
		}
		must(read(from[0], &keeper, sizeof keeper) == sizeof keeper);
		for (double end = now() + 20; waitpid(pid, &status, WNOHANG) != pid; wait_ms(1))
			if (now() > end) { /* it would wait forever */
				kill(keeper, SIGKILL);
				must(false);
			}
		must(status == 0);
		must_lose_its_memory(keeper);
		close(from[0]);
		close(from[1]);
	}
}

static void hold_by_trace(pid_t pid)
{
	int status;

	must(ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) == 0);
	must(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0);
	must(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
}

/* How often the program sends SIGCONT to the keeper until that ends: each time after it has waited in vain. */
static unsigned rouses_until_its_end(pid_t pid, pid_t keeper)
{
	unsigned count = 0;
	int status;

	for (;;) {
		struct __ptrace_syscall_info info = { .op = PTRACE_SYSCALL_INFO_NONE };
		must(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0 && waitpid(pid, &status, __WALL) == pid);
		if (!WIFSTOPPED(status))
			break;
		must(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0);
		count += info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_tgkill &&
			 (pid_t)info.entry.args[0] == keeper && info.entry.args[2] == SIGCONT;
	}
	must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return count;
}

/* Held by a debugger, which does not let it continue. The program waits for it once. */
static void ends_with_a_held_keeper(void)
{
	int to[2], from[2];
	pid_t pid, keeper;
	char byte;

	must(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		must(odf_heap_enable(0) == 0);
		grow();
		fork_and_write(2);
		keeper = keeper_of(getpid());
		must(keeper > 0 && write(from[1], &keeper, sizeof keeper) == sizeof keeper);
		must(read(to[0], &byte, 1) == 1);
		exit(0);
	}
	must(read(from[0], &keeper, sizeof keeper) == sizeof keeper);
	hold_by_trace(keeper);
	hold_by_trace(pid);
	must(write(to[1], "x", 1) == 1);
	must(rouses_until_its_end(pid, keeper) == 10);
	must(ptrace(PTRACE_DETACH, keeper, NULL, NULL) == 0);
	must_lose_its_memory(keeper);
}

/* The keeper may be stopped in a step, with the lock: in some rounds it is. No thread touches that step's pages. */
static void forks_beside_a_stopped_keeper(void)
{
	pid_t keeper, pid;

	grow();
	keeper = keeper_of(getpid());
	for (int round = 0; round < 60; round++) {
		fork_and_write((char)(round + 2));
		wait_ms((unsigned)round % 4);
		must_be_stopped(keeper);
		pid = fork();
		must(pid >= 0);
		if (pid == 0)
			_exit(0);
		must(status_of(pid) == 0);
		kill(keeper, SIGCONT);
		for (size_t at = 0; at < SIZE; at += 512)
			must(memory[at] == (char)(round + 2));
	}
}

/* A program that executes itself again and again: each one's keeper is reaped when the next one starts its own. */
static void executes_itself(void)
{
	int round = number_of("ODF_TEST_ROUND");
	char next[8];

	if (round > 0) {
		pid_t last = keeper_of(getpid());
		must(last > 0 && count_keepers() == 1);
		for (double end = now() + 20; !is_zombie(last); wait_ms(1))
			must(now() < end);
	}
	must(odf_heap_enable(0) == 0);
	grow();
	fork_and_write(2);
	must(count_keepers() == 1 && has_memory(keeper_of(getpid())));
	if (round == 3)
		return;
	snprintf(next, sizeof next, "%d", round + 1);
	setenv("ODF_TEST_ROUND", next, 1);
	execl("/proc/self/exe", "keeper", __func__, (char *)NULL);
	must(false);
}

static bool is_live(void)
{
	char line[512];
	bool found = false;
	FILE *maps = fopen("/proc/thread-self/maps", "re");

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long start, end;
		char rights[8];
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && (unsigned long)memory >= start &&
		    (unsigned long)memory < end)
			found = rights[3] == 's';
	}
	fclose(maps);
	return found;
}

static void must_become_live(void)
{
	for (double end = now() + 20; !is_live(); wait_ms(1))
		must(now() < end);
}

static void counts_own_pages(void)
{
	odf_region *region = odf_region_create(1 << 20, 0);
	odf_region_info info = ODF_REGION_INFO_INIT;
	char *base = region != NULL ? odf_region_base(region) : NULL;
	pid_t pid;

	must(base != NULL && memset(base, 1, 1 << 20) != NULL && (pid = fork()) >= 0);
	if (pid == 0)
		for (alarm(20);;) /* if the case fails, no process ends this one */
			pause();
	memset(base, 2, 1 << 20);
	must(odf_region_info_get(region, &info) == 0 && info.private_bytes == 1 << 20);
	must(kill(pid, SIGKILL) == 0 && status_of(pid) != 0 && odf_region_destroy(region) == 0);
}

/* Longer than the time in which the keeper looks often for an exec. */
#define PAST_ITS_LOOKS_MS 300

static void *goes_on(void *unused)
{
	pid_t keeper = keeper_of(getpid());
	char *more;

	for (double end = now() + 20; !is_zombie(getpid()); wait_ms(1)) /* the main thread */
		must(now() < end);
	wait_ms(PAST_ITS_LOOKS_MS);
	must(keeper > 0 && keeper_of(getpid()) == keeper && has_memory(keeper));
	fork_and_write(3);
	must_become_live();
	fork_and_write(4);
	must_become_live();
	for (size_t at = 0; at < SIZE; at += 512)
		must(memory[at] == 4);
	/* The library examines descriptors and mappings for a heap that wakes: this thread has them. */
	more = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(more != MAP_FAILED && heap_is_awake());
	counts_own_pages();
	_exit(0);
	return unused;
}

/* Daemons whose main thread starts others and ends: the keeper continues with them. */
static void goes_on_without_the_main_thread(void)
{
	pthread_t thread;

	if (geteuid() != 0) /* without userfaultfd a multi-threaded program has no heap */
		cannot_be_done_here("takes userfaultfd, which root has");
	grow();
	fork_and_write(2);
	must(pthread_create(&thread, NULL, goes_on, NULL) == 0 && pthread_detach(thread) == 0);
	pthread_exit(NULL);
}

/* The first process of a container. Its vfork child, the first one of a further namespace, ends without an exec. */
static void first_process(void)
{
	int own;
	pid_t keeper, pid;

	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("proc", "/proc", "proc", 0, NULL) == 0);
	own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	must(own >= 0 && odf_heap_enable(0) == 0);
	grow();
	fork_and_write(2);
	keeper = keeper_of(getpid());
	must(keeper > 0 && unshare(CLONE_NEWPID) == 0);
	pid = vfork();
	if (pid == 0)
		_exit(getpid() == 1 ? 7 : 8);
	must(pid > 0 && WEXITSTATUS(status_of(pid)) == 7);
	must(setns(own, CLONE_NEWPID) == 0); /* if that was the namespace's first process, no further one can be made */
	must(keeper_of(getpid()) == keeper && has_memory(keeper));
	fork_and_write(3);
	must_become_live();
	must(keeper_of(getpid()) == keeper);
	_exit(0);
}

static void is_its_parents_to_end(void)
{
	pid_t pid;

	if (geteuid() != 0 || unshare(CLONE_NEWPID | CLONE_NEWNS) != 0)
		cannot_be_done_here("takes the right to make namespaces");
	pid = fork();
	must(pid >= 0);
	if (pid == 0)
		first_process();
	must(status_of(pid) == 0);
}

/* Whichever process the kernel kills when the cgroup has no memory left: both end, and the cgroup is empty. */
static void out_of_memory(void)
{
	char folder[CGROUP_PATH], byte;
	int from[2], to[2], status;
	pid_t pid, keeper;

	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && pipe2(from, O_CLOEXEC) == 0 && pipe2(to, O_CLOEXEC) == 0);
	if (!cgroup_make_memory(folder, "100663296"))
		cannot_be_done_here("no memory cgroup can be made");
	pid = fork();
	if (pid == 0) {
		char *more;
		must(cgroup_enter(folder, getpid()) && odf_heap_enable(0) == 0);
		grow();
		fork_and_write(2);
		must(write(from[1], "x", 1) == 1 && read(to[0], &byte, 1) == 1);
		more = mmap(NULL, 8 * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(more != MAP_FAILED);
		memset(more, 1, 8 * SIZE);
		_exit(0);
	}
	close(from[1]);
	status = read(from[0], &byte, 1) == 1;
	keeper = status ? keeper_of(pid) : 0;
	(void)!write(to[1], "x", 1);
	byte = (char)(status && keeper > 0);
	status = status_of(pid);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	must(cgroup_remove(folder)); /* only an empty cgroup can be removed */
	must(byte && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
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

/* ---- All cases --------------------------------------------------------------------------------------------------- */

static const struct keeper_case cases[] = {
	CASE(ends_when_killed, "on"),
	CASE(ends_when_killed_as_another_user, "on"),
	CASE(ends_at_exit, "on"),
	CASE(ends_at_bare_exit, "on"),
	CASE(ends_at_exec, "on"),
	CASE(ends_at_raw_exec, "on"),
	CASE(ends_with_the_last_thread, "on"),
	CASE(outlives_the_thread_that_made_it, "on"),
	CASE(goes_on_without_the_main_thread, "on"),
	CASE(ends_with_a_stopped_keeper, "auto"),
	CASE(ends_with_a_held_keeper, "auto"),
	CASE(forks_beside_a_stopped_keeper, "on"),
	CASE(is_its_parents_to_end, "auto"),
	CASE(executes_itself, "auto"),
	CASE(out_of_memory, "auto"),
};

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "program") == 0)
		program((enum end)atoi(argv[2]));
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
