/* SPDX-License-Identifier: MIT
 *
 * The keeper does not inherit the limits of the thread that starts it: another thread starts it, and failed attempts
 * make no process.
 */
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../support/cgroup.h"
#include "../support/keeper_program.h"

static long faults_of_children(void)
{
	struct rusage usage;

	must(getrusage(RUSAGE_CHILDREN, &usage) == 0);
	return usage.ru_minflt;
}

/* The calling thread may not start the keeper. */
static void must_be_refused(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;
	long faults = faults_of_children(), one;
	int error = odf_heap_enable(0);

	if (error == ENOTSUP && geteuid() != 0)
		cannot_be_done_here("nothing settles beside a program of threads here");
	one = faults_of_children() - faults;
	/* One attempt was made, which takes some tens of faults. */
	must(error == EBUSY && keeper_of(getpid()) == 0 && one < 1000);
	for (int i = 0; i < 20; i++) {
		void *grown = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(odf_heap_enable(0) == EBUSY && grown != MAP_FAILED && munmap(grown, SIZE) == 0);
	}
	errno = 0;
	must(odf_region_create(MIB, 0) == NULL && errno == EBUSY);
	must(faults_of_children() == faults + one);
	must(odf_heap_info_get(&info) == 0 && info.state == ODF_HEAP_ASLEEP && info.reason == ODF_REASON_HEAP_PROCESS);
}

static void must_have_forked(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	must(pid > 0 && status_of(pid) == 0);
}

static void *start_it(void *unused)
{
	int error = odf_heap_enable(0);

	if (error == ENOTSUP && geteuid() != 0)
		cannot_be_done_here("nothing settles beside a program of threads here");
	must(error == 0);
	return unused;
}

static void in_a_thread(void *(*function)(void *))
{
	pthread_t thread;

	must(pthread_create(&thread, NULL, function, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

/* ---- A priority that the thread cannot change back --------------------------------------------------------------- */

static int nice_of(pid_t id)
{
	return getpriority(PRIO_PROCESS, (id_t)id);
}

static void *be_nice(void *unused)
{
	must(setpriority(PRIO_PROCESS, 0, nice_of(getpid()) + 4) == 0);
	must_be_refused();
	must_have_forked();
	must(!heap_is_awake());
	return unused;
}

static void *be_idle(void *unused)
{
	struct sched_param none = { 0 };

	must(sched_setscheduler(0, SCHED_IDLE, &none) == 0);
	must_be_refused();
	return unused;
}

static void give_up_the_right_to_be_less_nice(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct has[2];
	struct rlimit none = { 0, 0 };

	must(syscall(SYS_capget, &header, has) == 0);
	has[0].effective &= ~(1u << CAP_SYS_NICE);
	has[0].permitted &= ~(1u << CAP_SYS_NICE);
	must(syscall(SYS_capset, &header, has) == 0 && setrlimit(RLIMIT_NICE, &none) == 0);
}

static void refuse_the_nice(void)
{
	if (nice_of(0) > 15)
		cannot_be_done_here("this is too nice to have a thread that is nicer");
	give_up_the_right_to_be_less_nice();
	in_a_thread(be_nice);
}

static void must_be_as_the_program(void)
{
	must(heap_is_awake() && keeper_of(getpid()) != 0 && nice_of(keeper_of(getpid())) == nice_of(0));
}

static void after_a_nice_thread_it_forks(void)
{
	refuse_the_nice();
	must_have_forked();
	must_be_as_the_program();
}

static void after_an_idle_thread_it_forks(void)
{
	give_up_the_right_to_be_less_nice();
	in_a_thread(be_idle);
	must_have_forked();
	must_be_as_the_program();
	must(sched_getscheduler(keeper_of(getpid())) == SCHED_OTHER);
}

static void after_a_nice_thread_it_grows(void)
{
	refuse_the_nice();
	map_memory(SIZE);
	must_be_as_the_program();
}

static void after_a_nice_thread_another(void)
{
	refuse_the_nice();
	in_a_thread(start_it);
	must_be_as_the_program();
}

static void *fork_nicely(void *unused)
{
	pid_t pid;

	be_nice(NULL);
	pid = fork();
	if (pid == 0) {
		/* The only thread: its limits are those of the process. */
		must(odf_heap_enable(0) == 0);
		must_be_as_the_program();
		_exit(0);
	}
	must(pid > 0 && status_of(pid) == 0);
	return unused;
}

static void a_child_of_a_nice_thread(void)
{
	refuse_the_nice();
	in_a_thread(fork_nicely);
}

/* ---- A cgroup ---------------------------------------------------------------------------------------------------- */

static char folder[CGROUP_PATH];

static void *be_elsewhere(void *unused)
{
	char number[16];

	snprintf(number, sizeof number, "%d", (int)syscall(SYS_gettid));
	(void)cgroup_write(folder, "cgroup.type", "threaded"); /* cgroup v2 */
	if (!cgroup_write(folder, "tasks", number) && !cgroup_write(folder, "cgroup.threads", number))
		_exit(77);
	must_be_refused();
	return unused;
}

static void read_cgroups(pid_t id, char *text, size_t size)
{
	char path[64];
	size_t got;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/cgroup", id);
	file = fopen(path, "re");
	must(file != NULL);
	got = fread(text, 1, size - 1, file);
	must(got > 0 && fclose(file) == 0);
	text[got] = '\0';
}

/* In a process of its own, which ends before the cgroup that `folder` names is removed. */
static void beside_a_cgroup(void (*program)(void))
{
	int status;
	pid_t pid;

	if (!cgroup_make(folder, "cpu", "cpu.shares", "cpu.weight", "2"))
		cannot_be_done_here("no cgroup can be made");
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		program();
		_exit(0);
	}
	status = status_of(pid);
	must(cgroup_remove(folder));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cannot_be_done_here("no thread can be moved to a cgroup");
	must(status == 0);
}

static void start_it_from_elsewhere(void)
{
	char own[8192], its[8192];

	in_a_thread(be_elsewhere);
	must_have_forked();
	must(heap_is_awake());
	read_cgroups(getpid(), own, sizeof own);
	read_cgroups(keeper_of(getpid()), its, sizeof its);
	must(strcmp(own, its) == 0);
}

static void a_thread_elsewhere(void)
{
	beside_a_cgroup(start_it_from_elsewhere);
}

static void *be_in_the_main_threads_absence(void *unused)
{
	for (double end = now() + 20; readlink("/proc/self/exe", folder, sizeof folder) > 0; wait_ms(1))
		must(now() < end);
	must(odf_heap_enable(0) == 0 && keeper_of(getpid()) != 0);
	_exit(0);
	return unused;
}

/* v1 shows a process that has ended in the first cgroup, wherever it was. */
static void end_the_main_thread(void)
{
	pthread_t thread;

	must(cgroup_enter(folder, getpid()));
	must(pthread_create(&thread, NULL, be_in_the_main_threads_absence, NULL) == 0);
	pthread_exit(NULL);
}

static void after_the_main_thread(void)
{
	beside_a_cgroup(end_the_main_thread);
}

/* ---- An I/O priority --------------------------------------------------------------------------------------------- */

#define OF_PROCESS 1
#define CLASS(priority) ((priority) >> 13)
#define IDLE       3

static void *be_last_at_files(void *unused)
{
	must(syscall(SYS_ioprio_set, OF_PROCESS, 0, IDLE << 13) == 0);
	return start_it(unused);
}

static void a_thread_last_at_files(void)
{
	if (CLASS(syscall(SYS_ioprio_get, OF_PROCESS, 0)) == IDLE)
		cannot_be_done_here("whoever runs this is last at files");
	in_a_thread(be_last_at_files);
	must(keeper_of(getpid()) != 0);
	must(CLASS(syscall(SYS_ioprio_get, OF_PROCESS, keeper_of(getpid()))) != IDLE);
}

static const struct keeper_case cases[] = {
	CASE(after_a_nice_thread_it_forks, "auto"), CASE(after_a_nice_thread_it_grows, "auto"),
	CASE(after_a_nice_thread_another, "auto"),  CASE(a_child_of_a_nice_thread, "auto"),
	CASE(after_an_idle_thread_it_forks, "auto"),
	CASE(a_thread_elsewhere, "auto"),	    CASE(after_the_main_thread, "auto"),
	CASE(a_thread_last_at_files, "auto"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
