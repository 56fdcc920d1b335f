/* SPDX-License-Identifier: MIT
 *
 * A child that calls _exit or exit releases its parent's snapshot at once, however long the kernel takes to free its
 * memory: the parent's memory settles meanwhile. Not if another process still runs on the child's memory: that process
 * must read what was there at the fork.
 */
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "../support/preloaded.h"

#define ALL  (32 * MIB)
#define PAGE ((size_t)4096)

static char *memory;

static void load(void)
{
	pid_t pid;

	memory = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	memset(memory, 5, ALL);
	pid = fork();
	if (pid == 0)
		_exit(0);
	must(status_of(pid) == 0);
}

static void must_settle(void)
{
	needs_settling();
	for (int tries = 0; tries < 12000 && getenv("ODFORK_HEAP") != NULL && !is_live(memory + ALL / 2); tries++)
		wait_ms(5);
	must(getenv("ODFORK_HEAP") == NULL || is_live(memory + ALL / 2));
}

static void stopped_by(pid_t child, int status)
{
	int found;

	must(waitpid(child, &found, 0) == child);
	must(WIFSTOPPED(found) && found >> 8 == status);
}

/* How the child ends. It is stopped in the middle of its end, with all of its memory. */
enum way { BY_EXIT, BY_CALL, BY_LIBC };
static void while_it_is_taken_down(enum way way, bool direct)
{
	unsigned long status;
	pid_t child;

	load();
	must_settle();
	child = fork();
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
			_exit(77);
		raise(SIGSTOP);
		must(memory[ALL / 2] == 5);
		memset(memory + ALL / 2, 7, ALL / 2); /* otherwise its memory would be freed soon enough */
		if (direct && open("/proc/self/exe", O_RDONLY | O_DIRECT) < 0)
			_exit(77);
		if (way == BY_CALL)
			syscall(SYS_exit_group, 3);
		if (way == BY_LIBC)
			exit(3);
		_exit(3);
	}
	must(child > 0);
	stopped_by(child, SIGSTOP);
	memset(memory, 6, ALL);
	must(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL) == 0);
	must(ptrace(PTRACE_CONT, child, NULL, NULL) == 0);
	stopped_by(child, SIGTRAP | PTRACE_EVENT_EXIT << 8);
	must(ptrace(PTRACE_GETEVENTMSG, child, NULL, &status) == 0);
	if (status == 77 << 8)
		cannot_be_done_here("no direct I/O with the file system of this program, or no ptrace");
	if (direct && getenv("ODFORK_HEAP") != NULL) {
		wait_ms(300); /* long enough for a settle */
		must(!is_live(memory + ALL / 2));
	} else {
		must_settle();
	}
	must(memory[ALL / 2] == 6);
	must(ptrace(PTRACE_DETACH, child, NULL, NULL) == 0);
	must(status_of(child) == 3 << 8);
	must_settle();
}

static int go[2], answers[2];
static char *memory_end;

/* Runs on the memory of a process that has ended: system calls only. */
static int reader(void *unused)
{
	char byte;
	bool same = true;

	(void)unused;
	syscall(SYS_close, go[1]); /* so that this process ends with the test in any case */
	if (syscall(SYS_read, go[0], &byte, 1) != 1)
		syscall(SYS_exit, 1);
	for (const char *at = memory; at < memory_end; at += PAGE)
		same = same && *(const volatile char *)at == 5;
	byte = same ? 'y' : 'n';
	syscall(SYS_write, answers[1], &byte, 1);
	syscall(SYS_exit, 0);
	return 0;
}

/* Another process continues on the memory of the child that has ended. It has all descriptors, the parent all
 * others. */
static void not_while_it_is_shared(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t child;
	char byte = 0;

	load();
	must_settle();
	memory_end = memory + ALL;
	must(pipe(go) == 0 && pipe(answers) == 0);
	child = fork();
	if (child == 0) {
		memset(memory + ALL / 2, 5, ALL / 2); /* pages of its own */
		must(clone(reader, stack + sizeof stack, CLONE_VM, NULL) > 0);
		_exit(3);
	}
	must(status_of(child) == 3 << 8);
	memset(memory, 6, ALL);
	wait_ms(300); /* long enough for a settle */
	must(write(go[1], &byte, 1) == 1);
	must(read(answers[0], &byte, 1) == 1 && byte == 'y');
	must_settle(); /* once that process has ended, too */
}

static void by_exit(char *words[CASE_WORDS])
{
	(void)words;
	while_it_is_taken_down(BY_EXIT, false);
}

static void by_call(char *words[CASE_WORDS])
{
	(void)words;
	while_it_is_taken_down(BY_CALL, false);
}

/* By libc's own calls to its end, if the library interposes them. */
static void by_libc(char *words[CASE_WORDS])
{
	(void)words;
#if defined __x86_64__ && !defined __ILP32__
	while_it_is_taken_down(BY_LIBC, false);
#else
	_exit(77);
#endif
}

/* Direct input through these files: the kernel may still read the child's memory. */
static void beside_direct_files(char *words[CASE_WORDS])
{
	(void)words;
	while_it_is_taken_down(BY_EXIT, true);
}

static void shared(char *words[CASE_WORDS])
{
	(void)words;
	not_while_it_is_shared();
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = {
		{ "by_exit", by_exit }, { "by_call", by_call }, { "by_libc", by_libc },
		{ "beside_direct_files", beside_direct_files },
		{ "shared", shared },
	};
	static const char *const heaps[] = { "auto", "on", NULL };

	if (argc > 1)
		run_case(cases, 5, argc, argv);
	for (size_t i = 0; i < 5; i++)
		for (size_t heap = 0; heap < 3; heap++) {
			const char *words[] = { "ends_early", cases[i].name, NULL };
			int result = execute(heaps[heap], words, NULL, NULL);
			tell_case(result, "%s %s", heap_name(heaps[heap]), cases[i].name);
		}
	return end_of_cases();
}
