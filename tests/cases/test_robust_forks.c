/* SPDX-License-Identifier: MIT
 *
 * Forks that do not return where they began, and processes that lose rights after they grew. No fork may fail or stay
 * more expensive, every child must have its memory, and no memory may be held twice. And if there is no heap because of
 * what a process may not do, or has done, the library must say so.
 */
#include <pthread.h>
#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../support/preloaded.h"

#define NOBODY 65534

/* The memory becomes LIVE again soon, or it has become the process's own, once. */
static void must_come_to_rest(void)
{
	long plain = (long)((MAPPED + PIECES * PIECE) / 1024);
	long own = 0;

	/* If nothing settles beside the program, that is so by now, or never. */
	for (int tries = 0; tries < (started_as == 0 ? 12000 : 1000); tries++) {
		bool left = info().state == ODF_HEAP_OFF;
		own = kib("RssAnon:") + kib("RssShmem:");
		if ((left || is_live(mapped)) && own < plain + 12 * 1024)
			return;
		wait_ms(5);
	}
	needs_settling();
	dprintf(2, "%ld KiB, live %d, heap %d\n", own, is_live(mapped), (int)info().state);
	wrong(__LINE__, "neither settled nor given up, or held twice");
}

static void must_settle(void)
{
	needs_settling();
	for (int tries = 0; !is_live(mapped); tries++) {
		must(tries < 12000);
		wait_ms(5);
	}
}

/* ---- Forks left half-way ---- */

static sigjmp_buf out;
static volatile bool jumps;

static void jump_out(void)
{
	if (jumps) {
		jumps = false;
		siglongjmp(out, 1);
	}
}

static void jump_on_signal(int signal)
{
	(void)signal;
	siglongjmp(out, 1);
}

static void raise_one(void)
{
	if (jumps) {
		jumps = false;
		(void)raise(SIGUSR1);
	}
}

/* A handler with a frame below that of the next fork, and one above it. */
static __attribute__((noinline)) void fork_deep(int depth)
{
	volatile char room[512];

	room[0] = 1;
	if (depth > 0)
		fork_deep(depth - 1);
	else if (sigsetjmp(out, 1) == 0)
		(void)fork();
	room[511] = room[0];
}

static void leaves_by_jump(void (*handler)(void))
{
	signal(SIGUSR1, jump_on_signal);
	must(pthread_atfork(handler, NULL, NULL) == 0);
	grow();
	must(is_live(mapped));
	for (int round = 0; round < 3; round++) {
		jumps = true;
		if (sigsetjmp(out, 1) == 0)
			must(fork() == -2); /* does not return */
		fork_and_check();
		fill_mapped((char)(30 + round));
		must_settle();
		jumps = true;
		fork_deep(round * 20);
		go_on();
		must_settle();
	}
}

static void by_jump_out_of_handler(char *words[CASE_WORDS])
{
	(void)words;
	leaves_by_jump(jump_out);
}

static void by_jump_out_of_signal(char *words[CASE_WORDS])
{
	(void)words;
	leaves_by_jump(raise_one);
}

static __thread bool is_to_be_cancelled;

static void wait_for_cancellation(void)
{
	if (!is_to_be_cancelled)
		return;
	is_to_be_cancelled = false;
	for (;;)
		(void)pause();
}

static void *fork_for_ever(void *unused)
{
	(void)unused;
	is_to_be_cancelled = true;
	(void)fork();
	return NULL;
}

static void by_cancellation(char *words[CASE_WORDS])
{
	(void)words;
	must(pthread_atfork(wait_for_cancellation, NULL, NULL) == 0);
	grow();
	for (int round = 0; round < 2; round++) {
		pthread_t thread;
		must(pthread_create(&thread, NULL, fork_for_ever, NULL) == 0);
		wait_ms(20);
		must(pthread_cancel(thread) == 0 && pthread_join(thread, NULL) == 0);
		fork_and_check();
		fill_mapped((char)(40 + round));
		must_settle();
	}
	go_on();
}

/* Nested forks are not leftovers. */
static volatile int nested;

static void fork_within(void)
{
	if (nested > 0) {
		nested--;
		fork_and_check();
	}
}

static void nested_forks(char *words[CASE_WORDS])
{
	(void)words;
	must(pthread_atfork(fork_within, NULL, NULL) == 0);
	grow();
	for (int round = 0; round < 3; round++) {
		nested = 1 + round;
		fork_and_check();
		fill_mapped((char)(50 + round));
		must_settle();
	}
}

/* ---- Fewer rights than before ---- */

static void close_all(void)
{
	if (syscall(SYS_close_range, 3, ~0u, 0) != 0)
		for (int file = 3; file < 1024; file++)
			(void)close(file);
}

static void descriptors_closed(char *words[CASE_WORDS])
{
	(void)words;
	grow();
	close_all();
	go_on();
	must_come_to_rest();
	fill_mapped(60);
	go_on();
	must_come_to_rest();
}

static void become_nobody(void)
{
	if (geteuid() != 0)
		cannot_be_done_here("not root");
	must(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
}

static void lose(const char *what)
{
	if (strcmp(what, "ids") == 0) {
		become_nobody();
	} else if (strcmp(what, "dumpable") == 0) {
		must(prctl(PR_SET_DUMPABLE, 0) == 0);
	} else if (strcmp(what, "root") == 0) {
		if (geteuid() != 0)
			cannot_be_done_here("not root");
		must(chdir("/dev/shm") == 0 || chdir("/tmp") == 0);
		(void)mkdir("odfork-empty", 0700);
		must(chroot("odfork-empty") == 0 && chdir("/") == 0);
	}
}

static void *wait_here(void *unused)
{
	(void)unused;
	for (;;)
		(void)pause();
	return NULL;
}

/* WHAT [before|first] [thread] */
static void loses(char *words[CASE_WORDS])
{
	const char *when = words[1] != NULL ? words[1] : "";
	bool inside = strcmp(words[0], "root") != 0; /* otherwise the mappings cannot be read */
	pthread_t thread;

	if (strcmp(when, "before") == 0)
		lose(words[0]);
	grow();
	if (strcmp(when, "first") == 0) {
		fork_and_check();
		fill_mapped(70);
	}
	if (words[2] != NULL)
		must(pthread_create(&thread, NULL, wait_here, NULL) == 0);
	if (strcmp(when, "before") != 0)
		lose(words[0]);
	for (int round = 0; round < 3; round++) {
		go_on();
		fill_mapped((char)(80 + round));
	}
	if (inside)
		must_come_to_rest();
	go_on();
	if (inside)
		must_come_to_rest();
}

/* The process can no longer open what the library needs. WHAT [first] */
static void leaves_after(char *words[CASE_WORDS])
{
	char path[] = "/var/tmp/odfork-direct.XXXXXX";
	int directory = open("/var/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC), file = mkstemp(path), direct;
	const char *name = path + strlen("/var/tmp/");

	must(directory >= 0 && file >= 0 && (geteuid() != 0 || fchown(file, NOBODY, NOBODY) == 0));
	grow();
	if (words[1] != NULL) {
		fork_and_check();
		fill_mapped(75);
	}
	lose(words[0]);
	direct = openat(directory, name, O_RDWR | O_DIRECT | O_CLOEXEC);
	must(unlinkat(directory, name, 0) == 0);
	if (direct < 0 && errno == EINVAL)
		cannot_be_done_here("no O_DIRECT there");
	must(direct >= 0);
	must(info().state == ODF_HEAP_OFF && is_right());
	for (int round = 0; round < 3; round++) {
		go_on();
		fill_mapped((char)(80 + round));
	}
	/* Read without the page tables, while a child has the memory. */
	fill_mapped(76);
	must(pwrite(direct, mapped, MIB, 0) == (ssize_t)MIB);
	fill_mapped(77);
	for (int round = 0; round < 3; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			wait_ms(5);
			_exit(is_right() ? 0 : 1);
		}
		must(pid > 0 && pread(direct, mapped, MIB, 0) == (ssize_t)MIB && mapped[0] == 76 &&
		     mapped[MIB - 1] == 76 && mapped[MIB] == 77);
		must(status_of(pid) == 0);
		memset(mapped, 77, MIB);
	}
	must(info().state == ODF_HEAP_OFF);
}

/* A limit with no room for a freeze, but enough for the program. */
static void limited(char *words[CASE_WORDS])
{
	int resource = strcmp(words[0], "as") == 0 ? RLIMIT_AS : RLIMIT_DATA;
	struct rlimit limit = { 0, 0 };

	grow();
	if (words[1] != NULL) {
		fork_and_check();
		fill_mapped(90);
	}
	limit.rlim_cur = limit.rlim_max = 400 * MIB;
	/* By syscall(); heap_limits.c sets the limits by libc's functions. */
	if (words[1] != NULL)
		must(syscall(SYS_prlimit64, 0, resource, &limit, NULL) == 0);
	else
		must(syscall(SYS_setrlimit, resource, &limit) == 0);
	go_on();
	go_on();
	must_come_to_rest();
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_LIMIT);
}

/* ---- What the library reports if there is no heap ---- */

/* There is no room for the keeper. The limit does not bind root. */
static void few_processes(char *words[CASE_WORDS])
{
	(void)words;
	grow();
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_PROCESS && is_right());
}

static bool has_probe(odf_probe probe)
{
	odf_answer (*get)(odf_probe, int *);

	*(void **)&get = dlsym(RTLD_DEFAULT, "odf_probe_get");
	must(get != NULL);
	return get(probe, NULL) == ODF_ANSWER_YES;
}

/* Memory that nothing can settle beside threads. */
static void beside_a_thread(char *words[CASE_WORDS])
{
	bool settles = has_probe(ODF_PROBE_UFFD_KERNEL) || has_probe(ODF_PROBE_UFFD_DEVICE);
	pthread_t thread;

	(void)words;
	must(pthread_create(&thread, NULL, wait_here, NULL) == 0);
	grow();
	go_on();
	go_on();
	if (settles || strcmp(getenv("ODFORK_HEAP"), "on") == 0) /* which wakes before there is a thread */
		must(info().state == ODF_HEAP_AWAKE);
	else
		must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_NO_SETTLING);
	must(is_right());
}

/* So many mappings that a fork would pay more for them than for page tables. */
static void in_pieces(char *words[CASE_WORDS])
{
	const size_t page = 4096, all = 16 * MIB;
	char *many;

	(void)words;
	grow();
	fork_and_check();
	must(info().state == ODF_HEAP_AWAKE);
	many = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(many != MAP_FAILED);
	memset(many, 3, all);
	for (size_t at = 0; at < all; at += 2 * page)
		must(munmap(many + at, page) == 0);
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_PIECES);
	for (size_t at = page; at < all; at += 2 * page)
		must(many[at] == 3 && many[at + page - 1] == 3);
	go_on();
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_PIECES);
}

/* Before the library is loaded. */
static void prepare(const void *name)
{
	struct rlimit few = { 32, 32 };

	if (strcmp(name, "few_processes") == 0 && setrlimit(RLIMIT_NPROC, &few) != 0)
		_exit(1);
	if (strcmp(name, "beside_a_thread") == 0 && geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
		_exit(1);
}

static const struct preloaded_case cases[] = {
	{ "by_jump_out_of_handler", by_jump_out_of_handler },
	{ "by_jump_out_of_signal", by_jump_out_of_signal },
	{ "by_cancellation", by_cancellation },
	{ "nested_forks", nested_forks },
	{ "descriptors_closed", descriptors_closed },
	{ "loses", loses },
	{ "leaves_after", leaves_after },
	{ "limited", limited },
	{ "few_processes", few_processes },
	{ "beside_a_thread", beside_a_thread },
	{ "in_pieces", in_pieces },
};

int main(int argc, char **argv)
{
	static const char *const runs[][4] = {
		{ "by_jump_out_of_handler" },
		{ "by_jump_out_of_signal" },
		{ "by_cancellation" },
		{ "nested_forks" },
		{ "descriptors_closed" },
		{ "loses", "ids" },
		{ "loses", "ids", "first" },
		{ "loses", "ids", "first", "thread" },
		{ "loses", "ids", "before" },
		{ "loses", "dumpable" },
		{ "loses", "dumpable", "before" },
		{ "loses", "root" },
		{ "leaves_after", "ids" },
		{ "leaves_after", "ids", "first" },
		{ "leaves_after", "root" },
		{ "leaves_after", "root", "first" },
		{ "limited", "as" },
		{ "limited", "as", "first" },
		{ "limited", "data" },
		{ "limited", "data", "first" },
		{ "few_processes" },
		{ "beside_a_thread" },
		{ "in_pieces" },
	};

	if (argc > 1)
		run_case(cases, sizeof cases / sizeof *cases, argc, argv);
	for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
		for (int on = 0; on < 2; on++) {
			const char *words[] = {
				"test_robust_forks", runs[i][0], runs[i][1], runs[i][2], runs[i][3], NULL,
			};
			int result = execute(on ? "on" : "auto", words, prepare, runs[i][0]);
			tell_case(result, "%s %s %s %s %s", on ? "on" : "auto", runs[i][0],
				  runs[i][1] != NULL ? runs[i][1] : "", runs[i][2] != NULL ? runs[i][2] : "",
				  runs[i][3] != NULL ? runs[i][3] : "");
		}
	return end_of_cases();
}
