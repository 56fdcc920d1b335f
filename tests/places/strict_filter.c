/* SPDX-License-Identifier: MIT
 *
 * Filters that permit exactly the system calls that this program makes without the library, and kill for any other. A
 * case enters one before the memory grows, after it, after forks, beside a child, or in a child. Under the filter the
 * program uses its memory and forks with the same results as without the library. Any call of the library's own would
 * kill it.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../support/preloaded.h"

#define RW    (PROT_READ | PROT_WRITE)
#define PLAIN (MAP_PRIVATE | MAP_ANONYMOUS)

/* The last ones are those of libc's fork. */
static const int permitted[] = {
	SYS_mmap,       SYS_munmap,     SYS_mremap, SYS_mprotect,        SYS_madvise, SYS_brk,
	SYS_exit_group, SYS_wait4, SYS_clone,  SYS_set_robust_list, 334 /* rseq */, SYS_gettid,
#if __GLIBC_PREREQ(2, 41) /* its fork blocks signals */
	SYS_rt_sigprocmask,
#endif
};
#define PERMITTED (sizeof permitted / sizeof *permitted)

static void enter(void)
{
	static struct sock_filter code[2 + 2 * PERMITTED];
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	size_t at = 0;

	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < PERMITTED; i++) {
		code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)permitted[i], 0, 1);
		code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[at] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
}

static char *memory;

static bool has(const char *at, size_t length, char value)
{
	for (size_t i = 0; i < length; i += 4096)
		if (at[i] != value)
			return false;
	return true;
}

/* The exit status tells the line that failed: nothing can be printed any more. */
#define right(condition) ((condition) ? (void)0 : _exit(__LINE__ % 128 + 100))

static void change_memory(void)
{
	char *own = mmap(NULL, 4 * MIB, RW, PLAIN, -1, 0), *block;

	right(own != MAP_FAILED);
	memset(own, 1, 4 * MIB);
	right(munmap(own + MIB, MIB) == 0);
	right(madvise(memory + MIB, MIB, MADV_DONTNEED) == 0);
	right(has(memory + MIB, MIB, 0) && memory[2 * MIB] == 1);
	right(madvise(memory + 3 * MIB, 8192, MADV_DONTNEED) == 0);
	right(has(memory + 3 * MIB, 8192, 0) && memory[3 * MIB + 8192] == 1);
	right(madvise(memory + 4 * MIB, MIB, MADV_FREE) == 0);
	right(mprotect(memory + 6 * MIB, MIB, PROT_READ) == 0 && memory[6 * MIB] == 1);
	right(munmap(memory + 8 * MIB, MIB) == 0);
	right(mmap(memory + 8 * MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == memory + 8 * MIB);
	right(has(memory + 8 * MIB, MIB, 0));
	memset(memory + 8 * MIB, 3, MIB);
	right(madvise(memory + 8 * MIB, MIB, MADV_DONTNEED) == 0 && has(memory + 8 * MIB, MIB, 0));
	for (int i = 0; i < 64; i++)
		free(memset(malloc(100000), 1, 100000));
	block = malloc(8 * MIB);
	right(block != NULL);
	block = realloc(memset(block, 1, 8 * MIB), 16 * MIB);
	right(block != NULL && has(block, 8 * MIB, 1));
	free(block);
	/* No effect on a machine without large pages. */
	right(madvise(memory + 24 * MIB, 4 * MIB, MADV_HUGEPAGE) == 0 || errno == EINVAL);
	right(madvise(memory + 28 * MIB, 2 * MIB, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
	right(has(memory + 20 * MIB, 12 * MIB, 1));
}

static void live_in_there(void)
{
	int status;
	pid_t pid;
	char *moved;

	change_memory();
	moved = mremap(memory + 10 * MIB, 2 * MIB, 3 * MIB, MREMAP_MAYMOVE);
	right(moved != MAP_FAILED && has(moved, 2 * MIB, 1) && has(moved + 2 * MIB, MIB, 0));
	pid = fork();
	right(pid >= 0);
	if (pid == 0) {
		change_memory();
		exit(0);
	}
	right(waitpid(pid, &status, 0) == pid && status == 0);
	exit(0);
}

static pid_t fork_once(bool enters, bool stays)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid > 0)
		return pid;
	if (stays)
		(void)pause();
	if (enters) {
		enter();
		live_in_there();
	}
	_exit(0);
}

static void end_well(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid);
	must(status == 0);
}

/* ---- The cases: when the filter is entered ----------------------------------------------------------------------- */

static void grow_memory(void)
{
	free(malloc(100)); /* makes malloc ask for random numbers */
	memory = mmap(NULL, 32 * MIB, RW, PLAIN, -1, 0);
	must(memory != MAP_FAILED);
	memset(memory, 1, 32 * MIB);
}

static void before_it_grows(void)
{
	free(malloc(100));
	enter();
	grow_memory();
	live_in_there();
}

static void after_it_grew(void)
{
	grow_memory();
	enter();
	live_in_there();
}

/* malloc's memory lies where the library's views do not reach yet. */
static void after_it_grew_by_malloc(void)
{
	char *block;

	free(malloc(100));
	block = malloc(33 * MIB);
	must(block != NULL);
	memory = block + (4096 - (uintptr_t)block % 4096);
	memset(memory, 1, 32 * MIB);
	enter();
	live_in_there();
}

static void after_a_fork(void)
{
	grow_memory();
	end_well(fork_once(false, false));
	memset(memory, 1, 16 * MIB);
	enter();
	live_in_there();
}

static void beside_a_child(void)
{
	pid_t child, pid;

	grow_memory();
	child = fork_once(false, true);
	memset(memory, 1, 16 * MIB);
	pid = fork_once(true, false);
	end_well(pid);
	must(kill(child, SIGKILL) == 0);
}

static void by_a_child(void)
{
	grow_memory();
	end_well(fork_once(false, false));
	memset(memory, 1, 16 * MIB);
	for (int round = 0; round < 3; round++)
		end_well(fork_once(true, false));
	must(has(memory, 32 * MIB, 1));
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "before_it_grows", before_it_grows }, { "after_it_grew", after_it_grew }, { "after_a_fork", after_a_fork },
	{ "beside_a_child", beside_a_child },   { "by_a_child", by_a_child },
	{ "after_it_grew_by_malloc", after_it_grew_by_malloc },
};
#define CASES (sizeof cases / sizeof *cases)

static int run(size_t which, const char *library, const char *heap)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0) {
		(void)setenv("ODF_TEST_RUN", cases[which].name, 1);
		if (library != NULL) {
			(void)setenv("LD_PRELOAD", library, 1);
			(void)setenv("ODFORK_HEAP", heap, 1);
		}
		execl("/proc/self/exe", "strict_filter", (char *)NULL);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) == pid);
	return status;
}

int main(void)
{
	static const char *const ways[] = { "plain", "auto", "on" };
	const char *name = getenv("ODF_TEST_RUN"), *build = getenv("ODF_BUILD");
	char library[4096];
	int failed = 0;

	for (size_t i = 0; name != NULL && i < CASES; i++)
		if (strcmp(name, cases[i].name) == 0) {
			alarm(600);
			cases[i].run();
			_exit(0);
		}
	must(build != NULL);
	snprintf(library, sizeof library, "%s/libodfork.so.0", build);
	printf("1..%zu\n", CASES);
	for (size_t i = 0; i < CASES; i++) {
		int status = 0;
		for (size_t way = 0; way < 3 && status == 0; way++) {
			status = run(i, way == 0 ? NULL : library, ways[way]);
			if (status != 0)
				printf("# %s: status %#x\n", ways[way], (unsigned)status);
		}
		failed += status != 0;
		printf("%sok %zu - %s\n", status == 0 ? "" : "not ", i + 1, cases[i].name);
	}
	return failed > 0;
}
