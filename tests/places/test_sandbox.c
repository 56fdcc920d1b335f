/* SPDX-License-Identifier: MIT
 *
 * Seccomp filters that kill, trap, or return an errno, entered after the heap woke and before the program started. The
 * program must behave as without the library. These filters forbid only calls that no plain program of this kind makes.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../support/preloaded.h"
#include "../support/real_call.h"

#define NOTHING 4000 /* no system call has this number */

static const struct {
	const char *name;
	int number;
} calls[] = {
	{ "mremap", SYS_mremap }, { "madvise", SYS_madvise }, { "msync", SYS_msync }, { "mincore", SYS_mincore },
	{ "mprotect", SYS_mprotect }, { "memfd_create", SYS_memfd_create }, { "ftruncate", SYS_ftruncate },
	{ "fallocate", SYS_fallocate }, { "userfaultfd", 323 }, { "ioctl", SYS_ioctl }, { "fcntl", SYS_fcntl },
	{ "pread64", SYS_pread64 }, { "clone3", 435 }, { "close_range", 436 }, { "unshare", SYS_unshare },
	{ "gettid", SYS_gettid }, { "getpid", SYS_getpid }, { "tgkill", SYS_tgkill }, { "futex", SYS_futex },
	{ "nanosleep", SYS_nanosleep }, { "waitid", SYS_waitid }, { "getrusage", SYS_getrusage },
	{ "sched_yield", SYS_sched_yield }, { "munlock", SYS_munlock }, { "fstatfs", SYS_fstatfs },
};
#define CALLS (sizeof calls / sizeof *calls)

static unsigned action_of(const char *word)
{
	return strcmp(word, "kill") == 0   ? 0x80000000u /* the process */
	       : strcmp(word, "trap") == 0 ? SECCOMP_RET_TRAP
					   : SECCOMP_RET_ERRNO | (strcmp(word, "eperm") == 0 ? EPERM : ENOSYS);
}

static atomic_int trapped;

static void note_trap(int signal)
{
	(void)signal;
	trapped++;
}

/* The ways to install a filter. The last is by a system call instruction of the program's own, which the library does
 * not see. */
enum way { BY_PRCTL, BY_SECCOMP, BY_SECCOMP_FOR_ALL, BY_NUMBER_OF_PRCTL, UNSEEN };
static const char *const ways[] = { "prctl", "seccomp", "for-all", "number-of-prctl", "unseen" };

static long enter_unseen(const struct sock_fprog *program)
{
	return real_call(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)program, 0, 0, 0);
}

static void enter(int number, const char *action, const char *word)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action_of(action)),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, filter };
	size_t way = 0;
	long result = -1;

	while (strcmp(ways[way], word) != 0)
		way++;
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	switch ((enum way)way) {
	case BY_PRCTL:
		result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
		break;
	case BY_SECCOMP:
		result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
		break;
	case BY_SECCOMP_FOR_ALL:
		result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
		break;
	case BY_NUMBER_OF_PRCTL:
		result = syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
		break;
	case UNSEEN:
		result = enter_unseen(&program);
		break;
	}
	must(result == 0);
}

/* ---- The program enters the filter, with the heap awake ---- */

static void fork_before(const char *word)
{
	if (word == NULL)
		return;
	fork_and_check();
	fill_mapped(10);
	if (strcmp(word, "settled") == 0)
		needs_settling();
	for (int tries = 0; strcmp(word, "settled") == 0 && !is_live(mapped); tries++) {
		must(tries < 60000);
		wait_ms(1);
	}
}

/* NUMBER ACTION WAY [frozen|settled] */
static void late(char *words[CASE_WORDS])
{
	signal(SIGSYS, note_trap);
	grow();
	must(is_inside(mapped));
	fork_before(words[3]);
	enter(atoi(words[0]), words[1], words[2]);
	go_on();
	must(munmap(mapped + MAPPED / 2, MAPPED / 2) == 0);
	must(trapped == 0);
}

/* The memory is given up only if it must be. NUMBER ACTION: it stays; no arguments: it leaves. */
static void late_harmless(char *words[CASE_WORDS])
{
	(void)words;
	grow();
	must(is_inside(mapped) && info().state == ODF_HEAP_AWAKE);
	enter(NOTHING, "kill", "prctl");
	enter(SYS_mount, "eperm", "seccomp");
	must(info().state == ODF_HEAP_AWAKE && is_live(mapped));
	go_on();
	needs_settling();
	for (int tries = 0; !is_live(mapped); tries++) {
		must(tries < 60000);
		wait_ms(1);
	}
}

static void late_reason(char *words[CASE_WORDS])
{
	(void)words;
	grow();
	must(info().state == ODF_HEAP_AWAKE);
	enter(SYS_mremap, "kill", "prctl");
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_SANDBOX && !is_live(mapped));
	go_on();
}

/* System calls that the library may make for the first time after the program has run for weeks: it sends SIGCONT to a
 * keeper that is late (signal), and asks a pipe for its capacity before memory is lent to it (pipe). Only these calls
 * have these arguments. */
static void late_and_seldom(char *words[CASE_WORDS])
{
	bool signals = strcmp(words[0], "signal") == 0;
	unsigned argument = signals ? 2 : 1; /* 8 bytes each, the low half first or last by byte order */
	unsigned low = argument * 8 + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0);
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, signals ? SYS_tgkill : SYS_fcntl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, args) + low),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, signals ? SIGCONT : F_GETPIPE_SZ, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action_of("kill")),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof filter / sizeof *filter, filter };

	grow();
	must(info().state == ODF_HEAP_AWAKE);
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_SANDBOX);
	go_on();
}

static atomic_int children_told;

static void note_child(int signal)
{
	(void)signal;
	children_told++;
}

/* What the library's probe in another process finds out must not delay the program. */
static void nobody_is_told(char *words[CASE_WORDS])
{
	int before = errno;

	(void)words;
	signal(SIGCHLD, note_child);
	grow();
	enter(SYS_mremap, "kill", "prctl");
	enter(NOTHING, "kill", "seccomp");
	must(children_told == 0);
	must(waitpid(-1, NULL, __WALL | WNOHANG) == -1 && errno == ECHILD);
	errno = before;
}

/* A query, not a filter. */
static void asked_for(char *words[CASE_WORDS])
{
	(void)words;
	grow();
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) == -1 && errno == EFAULT);
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (void *)8) == -1 && errno == EFAULT);
	must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) == -1 && errno == EFAULT);
	must(info().state == ODF_HEAP_AWAKE && is_live(mapped));
}

static void *forks_in_there(void *unused)
{
	(void)unused;
	enter(SYS_mremap, "kill", "prctl");
	go_on();
	return NULL;
}

/* A filter for one thread only, and that thread forks. */
static void one_thread(char *words[CASE_WORDS])
{
	pthread_t thread;

	(void)words;
	grow();
	fork_and_check();
	must(pthread_create(&thread, NULL, forks_in_there, NULL) == 0);
	must(pthread_join(thread, NULL) == 0);
	go_on();
}

/* A child of a process with the heap awake enters a filter before it grows. */
static void worker(char *words[CASE_WORDS])
{
	pid_t pid;

	(void)words;
	grow();
	must(is_inside(mapped));
	pid = fork();
	if (pid == 0) {
		enter(SYS_memfd_create, "kill", "prctl");
		grow();
		go_on();
		_exit(0);
	}
	must(status_of(pid) == 0);
	go_on();
}

/* Only read, write, exit and sigreturn are left: malloc has only the memory that it holds. */
static void strict(char *words[CASE_WORDS])
{
	void *small[200];

	(void)words;
	grow();
	for (size_t i = 0; i < 200; i++)
		small[i] = malloc(100 + i);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
		cannot_be_done_here("no strict mode");
	for (size_t i = 0; i < 200; i++)
		free(small[i]);
	for (size_t i = 0; i < 200; i++) {
		small[i] = malloc(100 + i);
		if (small[i] == NULL)
			(void)syscall(SYS_exit, 1);
		memset(small[i], 1, 100);
	}
	(void)syscall(SYS_exit, is_right() ? 0 : 1);
}

/* ---- The caller of the program enters the filter ---- */

struct forbidden {
	int number;
	const char *action;
};

static void forbid(const void *argument)
{
	const struct forbidden *forbidden = argument;

	enter(forbidden->number, forbidden->action, "prctl");
}

/* [fork]: also forks before it grows. */
static void under_a_filter(char *words[CASE_WORDS])
{
	if (words[0] != NULL) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		must(status_of(pid) == 0);
	}
	grow();
	go_on();
}

/* It only grows: the library cannot know whether a process can be made here. */
static void under_a_filter_alone(char *words[CASE_WORDS])
{
	(void)words;
	grow();
	must(is_right());
}

/* WHETHER the heap must be awake then. */
static void woken_under_a_filter(char *words[CASE_WORDS])
{
	odf_heap_info found;
	pid_t pid;

	grow();
	found = info();
	must(found.state == ODF_HEAP_ASLEEP && found.reason == ODF_REASON_HEAP_SANDBOX);
	pid = fork();
	if (pid == 0)
		_exit(0);
	must(status_of(pid) == 0);
	grow();
	found = info();
	if (strcmp(words[0], "awake") == 0)
		must(found.state == ODF_HEAP_AWAKE && is_inside(mapped));
	else
		must(found.state == ODF_HEAP_OFF && found.reason == ODF_REASON_HEAP_SANDBOX && !is_inside(mapped));
	go_on();
}

/* All future mappings are locked (mlockall); the library has not seen the call, and the filter denies munlock. Views of
 * a file would be populated at once, so the library makes none. */
static void locked_under_a_filter(char *words[CASE_WORDS])
{
	struct rlimit limit;
	pid_t pid;

	(void)words;
	/* What is mapped after that counts, and fails beyond the limit. */
	must(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	if ((limit.rlim_cur != RLIM_INFINITY && geteuid() != 0) ||
	    real_call(SYS_mlockall, MCL_FUTURE, 0, 0, 0, 0, 0) != 0)
		cannot_be_done_here("no right to lock memory, or not so much");
	pid = fork();
	if (pid == 0)
		_exit(0);
	must(status_of(pid) == 0);
	grow();
	must(info().state != ODF_HEAP_AWAKE && !is_inside(mapped));
	go_on();
}

/* ---- All cases ---- */

static const struct preloaded_case cases[] = {
	{ "late", late },
	{ "late_harmless", late_harmless },
	{ "late_reason", late_reason },
	{ "late_and_seldom", late_and_seldom },
	{ "nobody_is_told", nobody_is_told },
	{ "asked_for", asked_for },
	{ "one_thread", one_thread },
	{ "worker", worker },
	{ "strict", strict },
	{ "under_a_filter", under_a_filter },
	{ "under_a_filter_alone", under_a_filter_alone },
	{ "woken_under_a_filter", woken_under_a_filter },
	{ "locked_under_a_filter", locked_under_a_filter },
};

/* A combination that fails without the library is skipped: the plain run decides. */
/* A failure counts more than a skip. */
static int worse(int result, int one)
{
	return result == 0 || result == 77 ? (one != 0 ? one : result) : result;
}

static void late_filters(void)
{
	static const char *const states[] = { NULL, "frozen", "settled" };
	static const char *const actions[] = { "kill", "trap", "eperm", "enosys" };
	int result = 0, tried = 0;
	char last[64] = "";

	for (size_t call = 0; call < CALLS; call++)
		for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
			char digits[16];
			/* Each call with each way, and the other parameters in turn: all combinations would take a
			 * minute. */
			const char *action = actions[way == BY_PRCTL ? 0 : (call + way) % 4],
				   *state = states[(call + way) % 3];
			const char *words[] = { "test_sandbox", "late", digits, action, ways[way], NULL, NULL };
			int one;
			if (way == UNSEEN && (strcmp(action, "kill") == 0 || strcmp(action, "trap") == 0))
				action = words[3] = "eperm"; /* for the other actions see odfork_heap(7) */
			if (way == UNSEEN && calls[call].number == SYS_mprotect)
				continue; /* calls of the allocator, about which nothing can be known then; see
				             odfork_heap(7) */
			if (way != BY_PRCTL && way != 1 + call % 4 && getenv("ODF_TEST_SCALE") == NULL)
				continue;
			snprintf(digits, sizeof digits, "%d", calls[call].number);
			words[5] = NULL;
			if (execute(NULL,
				    (const char *const[]){ "test_sandbox", "plain", digits, action, ways[way], NULL },
				    NULL, NULL) != 0)
				continue;
			words[5] = state;
			one = execute(call % 4 == 3 ? "on" : "auto", words, NULL, NULL);
			tried++;
			if (one != 0)
				printf("# %s %s %s %s: status %d\n", calls[call].name, action, ways[way],
				       state != NULL ? state : "live", one);
			result = worse(result, one);
			snprintf(last, sizeof last, "(%d)", tried);
		}
	tell_case(tried > 20 ? result : 1, "late filters %s", last);
}

static void inherited_filters(void)
{
	int result = 0, tried = 0;
	char text[32];

	for (size_t call = 0; call < CALLS; call++) {
		struct forbidden forbidden = { calls[call].number, "kill" };
		for (int first = 0; first < 2; first++) {
			const char *words[] = { "test_sandbox", "under_a_filter", first ? "fork" : NULL, NULL };
			int one;
			if ((int)(call % 2) == first && getenv("ODF_TEST_SCALE") == NULL)
				continue;
			if (execute(NULL, words, forbid, &forbidden) != 0)
				continue;
			one = execute((call + (size_t)first) % 2 ? "on" : "auto", words, forbid, &forbidden);
			tried++;
			if (one != 0)
				printf("# inherited %s%s: status %d\n", calls[call].name, first ? ", forked" : "", one);
			result = worse(result, one);
		}
	}
	snprintf(text, sizeof text, "(%d)", tried);
	tell_case(tried > 15 ? result : 1, "inherited filters %s", text);
}

static void one(const char *heap, const char *name, const char *word, const struct forbidden *forbidden)
{
	const char *words[] = { "test_sandbox", name, word, NULL };

	tell_case(execute(heap, words, forbidden != NULL ? forbid : NULL, forbidden), "%s %s", name,
		  word != NULL ? word : heap);
}

/* NUMBER ACTION WAY: whether such a program works at all without the library. */
static void plain(char *words[CASE_WORDS])
{
	signal(SIGSYS, note_trap);
	grow();
	enter(atoi(words[0]), words[1], words[2]);
	go_on();
	must(munmap(mapped + MAPPED / 2, MAPPED / 2) == 0);
	must(trapped == 0);
}

int main(int argc, char **argv)
{
	static const struct preloaded_case plain_case[] = { { "plain", plain } };
	static const struct forbidden nothing = { NOTHING, "kill" }, processes = { SYS_clone, "kill" };
	static const struct forbidden files = { SYS_memfd_create, "kill" }, unlocking = { SYS_munlock, "eperm" };

	if (argc > 1)
		run_case(strcmp(argv[1], "plain") == 0 ? plain_case : cases,
			 strcmp(argv[1], "plain") == 0 ? 1 : sizeof cases / sizeof *cases, argc, argv);
	late_filters();
	inherited_filters();
	for (size_t i = 0; i < 2; i++) {
		const char *heap = i == 0 ? "auto" : "on";
		one(heap, "late_harmless", NULL, NULL);
		one(heap, "late_reason", NULL, NULL);
		one(heap, "late_and_seldom", "signal", NULL);
		one(heap, "late_and_seldom", "pipe", NULL);
		one(heap, "nobody_is_told", NULL, NULL);
		one(heap, "asked_for", NULL, NULL);
		one(heap, "one_thread", NULL, NULL);
		one(heap, "worker", NULL, NULL);
		one(heap, "strict", NULL, NULL);
		one(heap, "under_a_filter_alone", NULL, &processes);
		one(heap, "woken_under_a_filter", "awake", &nothing);
		one(heap, "woken_under_a_filter", "off", &files);
		one(heap, "woken_under_a_filter", "awake", &unlocking); /* like systemd-nspawn's */
		one(heap, "locked_under_a_filter", NULL, &unlocking);
	}
	return end_of_cases();
}
