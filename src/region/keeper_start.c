/* SPDX-License-Identifier: MIT
 *
 * The keeper's start. It is async-signal-safe and allocates nothing: the heap may wake within malloc, or in a signal
 * handler. Its end: keeper_stop.c.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../record/settings.h"
#include "../sys/action.h"
#include "../sys/clone.h"
#include "../sys/next_process.h"
#include "../sys/proc.h"
#include "../sys/readable.h"
#include "../sys/tasks.h"
#include "../sys/text.h"
#include "../sys/userfault.h"
#include "keeper.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2u
#endif

#ifndef CLONE_UNTRACED
#define CLONE_UNTRACED 0x00800000
#endif
#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

/* One mapping: a guard page, the stack, and zeros on both sides of the thread pointer. The thread-local variables of
 * the program and its libraries lie below it on x86-64, above it elsewhere. */
#define GUARD_SIZE REGION_PAGE
#define STACK_SIZE ((size_t)65536)
#define LOCAL_SIZE ((size_t)65536)
#define BLOCK_SIZE (GUARD_SIZE + STACK_SIZE + 2 * LOCAL_SIZE)

struct keeper_process keeper_process;
static struct odf_region *first_region; /* the keeper makes it before it confines itself */
static bool may_execute;

void region_let_keeper_execute(bool may)
{
	may_execute = may;
}

/* ---- In the keeper ---- */

/* Handler of the parent-death signal. The parent was a thread of the program; another one replaces it, unless it was
 * the last. It may interrupt a step, whose memory nobody needs after the last thread. */
static void parent_ended(int signal)
{
	(void)signal;
	if (sys_call0(SYS_getppid) != keeper_process.program)
		keeper_end();
}

/* Returns from a signal handler; libc's sigaction would supply it. */
#if defined __x86_64__
#define WITH_RESTORER 0x04000000u
__attribute__((used)) void keeper_return_from_handler(void);
__asm__(".text\n"
	".hidden keeper_return_from_handler\n"
	".type keeper_return_from_handler, @function\n"
	"keeper_return_from_handler:\n"
	"	movl $15, %eax\n" /* rt_sigreturn */
	"	syscall\n"
	".size keeper_return_from_handler, .-keeper_return_from_handler\n");
#endif

/* The keeper's handlers are a copy of the program's and must not run in it. All signals were blocked before it was made
 * and stay so, except the parent-death signal and those for its own faults (guard.c). */
static void take_signals(void)
{
	struct kernel_action watch = { .handler = (uintptr_t)parent_ended, .mask = ~0ull };
	uint64_t watched = 1ull << (SIGUSR1 - 1) | 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1);

#if defined __x86_64__
	watch.flags = WITH_RESTORER;
	watch.restorer = (uintptr_t)keeper_return_from_handler;
#endif
	(void)sys_call4(SYS_rt_sigaction, SIGUSR1, &watch, NULL, sizeof watch.mask);
	(void)sys_call2(SYS_prctl, PR_SET_PDEATHSIG, SIGUSR1);
	/* The handler runs with these blocked: a fault in it kills the keeper. */
	watch.handler = (uintptr_t)keeper_fault;
	watch.flags |= SA_SIGINFO;
	(void)sys_call4(SYS_rt_sigaction, SIGSEGV, &watch, NULL, sizeof watch.mask);
	(void)sys_call4(SYS_rt_sigaction, SIGBUS, &watch, NULL, sizeof watch.mask);
	(void)sys_sigprocmask(SIG_UNBLOCK, &watched, NULL);
}

/* Gives the keeper a descriptor table with nothing but `kept` in it. Without `kept` close_range copies none of the
 * program's descriptors: no file has another user even for a moment. */
static int leave_descriptors(int kept)
{
	struct rlimit limit;
	bool done = kept <= 0 || sys_call3(SYS_close_range, 0, kept - 1, CLOSE_RANGE_UNSHARE) == 0;

	if (done && sys_call3(SYS_close_range, kept < 0 ? 0 : kept + 1, ~0u, CLOSE_RANGE_UNSHARE) == 0)
		return 0;
	if (sys_call1(SYS_unshare, CLONE_FILES) < 0 || sys_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0)
		return EPERM;
	for (int fd = 0; fd < (limit.rlim_max < (1 << 20) ? (int)limit.rlim_max : 1 << 20); fd++)
		if (fd != kept)
			sys_close(fd);
	return 0;
}

/* Where the keeper's own mappings are to lie: behind the structure of the heap's first region; NULL, anywhere, for a
 * region that the program has created. */
static void *apart(unsigned number)
{
	return first_region != NULL && first_region->beside != NULL ? (char *)first_region + (number + 1) * REGION_TABLE
								    : NULL;
}

static int open_files(int device)
{
	int fd, error;

	/* Descriptors 0 to 2 are taken, so that output to them, such as a sanitizer's report, never goes into a
	 * region's file. */
	while ((fd = sys_open("/dev/null", O_RDWR, 0)) >= 0 && fd < 2)
		;
	if (fd > 2)
		sys_close(fd);
	error = (int)sys_call1(SYS_chdir, "/"); /* otherwise the program's file system could not be unmounted */
	if (error < 0)
		return -error;
	keeper_settler.desk = region_map_own(apart(1), KEEPER_DESK_SIZE);
	if (keeper_settler.desk == NULL)
		return ENOMEM;
	(void)sys_call3(SYS_madvise, keeper_settler.desk, KEEPER_DESK_SIZE,
			MADV_DONTFORK); /* only so that children do not copy it */
	region_learn_refusal();
	region_files_make();
	error = region_maps_keep();
	program_meet(keeper_process.program);
	keeper_settler.pagemap = region_pagemap_open();
	/* With pagemap, but without the list of mappings, it could never settle, and would not say so. A later keeper
	 * may get both. */
	if (error != 0 && keeper_settler.pagemap >= 0)
		return error;
	keeper_settler.userfault = keeper_settler.pagemap < 0 ? -1 : userfault_open(device);
	if (device >= 0)
		sys_close(device);
	atomic_store(&keeper.settling, keeper_settler.pagemap < 0     ? ODF_REGION_SETTLES_NEVER
				       : keeper_settler.userfault < 0 ? ODF_REGION_SETTLES_AT_FORK
								      : ODF_REGION_SETTLES_ALWAYS);
	return 0;
}

/* Its process group is its own: signals to the program's group do not reach it. */
static int prepare(void)
{
	int device = settings_userfault(), error = leave_descriptors(device);

	if (error != 0)
		return error;
	take_signals();
	if (sys_call0(SYS_getppid) != keeper_process.program)
		return ESRCH;
	(void)sys_call2(SYS_setpgid, 0, 0);
	(void)sys_call2(SYS_prctl, PR_SET_NAME, KEEPER_NAME); /* for ps */
	error = confine_schedule(keeper_process.program, keeper_process.by_main);
	limits_take();
	if (error == 0)
		error = open_files(device);
	if (error == 0 && first_region != NULL)
		error = keeper_adopt(first_region);
	(void)region_is_unfiltered(); /* asked now, as it may open no files later */
	confine_rights(first_region != NULL && first_region->extents == NULL, may_execute);
	return error;
}

static int keep(void *unused)
{
	int error = prepare();

	(void)unused;
	keeper_note_whether_it_settles();
	keeper_answer(error);
	if (error == 0)
		(void)keeper_run();
	keeper_end();
	return 0;
}

/* ---- In the program ---- */

/* After unshare(CLONE_NEWPID): the next child is in another PID namespace, or the first process of a new one, which
 * ends with it. */
static bool children_live_elsewhere(void)
{
	enum next_process next = next_process();

	return next == NEXT_PROCESS_FIRST || next == NEXT_PROCESS_ELSEWHERE;
}

static bool has_room(void)
{
	struct rlimit limit;

	return sys_call4(SYS_prlimit64, 0, RLIMIT_NPROC, NULL, &limit) < 0 || limit.rlim_cur >= REGION_PROCESSES_LEAST;
}

/* The main thread's. To note it takes no system call. */
static pthread_t main_thread;

__attribute__((constructor(101))) static void note_main_thread(void)
{
	main_thread = pthread_self();
}

/* Finds the word that the kernel clears when the main thread ends. A thread can ask for its own word only; that of the
 * main thread is as far from its pthread_t. If it is not the main thread's, as in a child that another thread has
 * forked, it does not hold its id. */
static void watch_main_thread(void)
{
	uintptr_t word = 0;

	if (sys_call2(SYS_prctl, PR_GET_TID_ADDRESS, &word) != 0 || word == 0)
		return;
	if (sys_call0(SYS_gettid) != keeper_process.program)
		word += (uintptr_t)main_thread - (uintptr_t)pthread_self();
	if (word % sizeof(atomic_int) == 0 && sys_is_readable((const void *)word, sizeof(atomic_int)) &&
	    atomic_load((atomic_int *)word) == keeper_process.program)
		keeper_watch((atomic_int *)word, keeper_process.program);
}

/* A seccomp filter may kill for a call that it does not permit. For the heap, trial.c has rehearsed all calls, this one
 * included. */
static bool is_harmless(void)
{
	return first_region == NULL || first_region->extents != NULL ||
	       sys_call5(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0) <= 0;
}

/* First with CLONE_AUTOREAP, which kernels before Linux 7.1 refuse, and filters may: a keeper that is killed with the
 * program is then no zombie that the process that adopts orphans has to wait for. Once refused it is not tried
 * again. */
static long clone_keeper(struct clone_request *request)
{
	static bool refused;
	uint64_t plain = request->flags;
	long id;

	keeper_process.goes_by_itself = false;
	if (refused || !is_harmless())
		return clone_child(request);
	request->flags = plain | CLONE_AUTOREAP;
	id = clone3_child(request);
	keeper_process.goes_by_itself = id >= 0;
	if (id >= 0 || id == -EAGAIN || id == -ENOMEM)
		return id; /* a limit, which refuses the other call too */
	refused = true;
	request->flags = plain;
	return clone_child(request);
}

static int make_process(void)
{
	struct clone_request request = {
		.flags = CLONE_VM | CLONE_FILES | CLONE_UNTRACED | CLONE_SETTLS,
		.stack_size = STACK_SIZE,
		.function = keep,
		.alive = (int *)(uintptr_t)&keeper.id,
	};
	char *block = region_map_own(apart(0), BLOCK_SIZE);
	void **local;
	long id;

	if (block == NULL)
		return ENOMEM;
	local = (void **)(void *)(block + GUARD_SIZE + STACK_SIZE + LOCAL_SIZE);
	if (sys_call3(SYS_madvise, block, BLOCK_SIZE, MADV_DONTFORK) < 0 ||
	    sys_call3(SYS_mprotect, block, GUARD_SIZE, PROT_NONE) < 0) {
		(void)region_unmap(block, BLOCK_SIZE);
		return ENOMEM;
	}
	local[0] = local[2] = local; /* on x86-64 this block begins with its own address */
	request.stack = block + GUARD_SIZE;
	request.local = local;
	id = clone_keeper(&request);
	if (id < 0)
		(void)region_unmap(block, BLOCK_SIZE);
	keeper_process.id = (int)id;
	keeper_process.block = block;
	keeper_process.block_size = BLOCK_SIZE;
	return id < 0 ? (int)-id : 0;
}

/* If this process has executed another program, the keeper of the former one may be a zombie child, for which nobody
 * waits. Its name distinguishes it from __WCLONE children of the program's own. */
static void reap_former(void)
{
	if (!program_proc_is_ours())
		return;
	for (;;) {
		siginfo_t ended = { .si_pid = 0 };
		char path[64], name[sizeof KEEPER_NAME] = "";
		struct text text = text_start(path, sizeof path);
		int file;
		long got;
		if (sys_call5(SYS_waitid, P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT | __WCLONE, NULL) < 0 ||
		    ended.si_pid == 0)
			return;
		text_add(&text, "/proc/");
		text_add_unsigned(&text, (uint64_t)ended.si_pid);
		text_add(&text, "/comm");
		file = proc_open(path, O_RDONLY);
		if (file < 0)
			return;
		got = sys_call4(SYS_pread64, file, name, sizeof name - 1, 0);
		sys_close(file);
		if (got != sizeof name - 1 || memcmp(name, KEEPER_NAME, sizeof name - 1) != 0 ||
		    sys_call4(SYS_wait4, ended.si_pid, NULL, WNOHANG | __WCLONE, NULL) < 0)
			return;
	}
}

/* With all signals blocked: the child must not run a handler on this memory, and no handler of the program may run
 * while the keeper exists and its id is not noted. */
static int start(struct odf_region *region)
{
	int error;

	keeper_process.program = (int)sys_call0(SYS_getpid);
	keeper_process.by_main = sys_call0(SYS_gettid) == keeper_process.program;
	region_keeper_forget();
	region_resume_freezes();
	region_doubt_all(); /* a former keeper is gone, and with it the files of its regions */
	reap_former();
	watch_main_thread();
	first_region = region;
	keeper_expect_answer(REGION_ADOPT, region);
	error = make_process();
	if (error != 0) {
		keeper_forget_orders();
		return error;
	}
	error = keeper_wait_for_answer();
	if (error != 0) {
		keeper_reap();
		return error;
	}
	atomic_store(&keeper.running, true);
	return 0;
}

int region_keeper_start(struct odf_region *region)
{
	uint64_t all = ~0ull, mask;
	int error;

	if (region_keeper_runs() && !region_keeper_died())
		return region_order(REGION_ADOPT, region, NULL);
	(void)tasks_ask();
	if (!has_room())
		return EAGAIN;
	if (children_live_elsewhere())
		return ECHILD;
	if (!region_keeper_may_start())
		return EBUSY;
	keeper_lock_orders();
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	error = start(region);
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	keeper_unlock_orders();
	return error;
}
