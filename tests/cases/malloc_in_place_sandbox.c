/* SPDX-License-Identifier: MIT
 *
 * Cases of malloc_in_place: a sandbox that kills for any call that malloc and fork do not make by themselves.
 */
#include "malloc_in_place.h"

#ifdef __x86_64__
static void enter_sandbox(void)
{
	static const int permitted[] = {
		SYS_read,
		SYS_write,
		SYS_close,
		SYS_fstat,
		SYS_newfstatat,
		SYS_lseek,
		SYS_openat,
		SYS_mmap,
		SYS_munmap,
		SYS_mremap,
		SYS_mprotect,
		SYS_brk,
		SYS_madvise,
		SYS_clone,
		SYS_fork,
		SYS_wait4,
		SYS_exit,
		SYS_exit_group,
		SYS_rt_sigaction,
		SYS_rt_sigprocmask,
		SYS_rt_sigreturn,
		SYS_getpid,
		SYS_gettid,
		SYS_futex,
		SYS_set_robust_list,
		SYS_nanosleep,
		SYS_clock_nanosleep,
		SYS_clock_gettime,
		SYS_getrandom,
		334 /* rseq */
	};
	const unsigned count = sizeof permitted / sizeof *permitted;
	struct sock_filter filter[64];
	struct sock_fprog program = { 0, filter };

	filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
							     offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < count; i++)
		filter[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)permitted[i],
								     (unsigned char)(count - i), 0);
	filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void work_in_a_sandbox(bool forks_before)
{
	struct blocks small = make(100, forks_before ? 24 * MIB : 20000),
		      large = make(MIB, forks_before ? 24 * MIB : 0), more;
	void *mapped = mmap(NULL, 32 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(mapped != MAP_FAILED);
	memset(mapped, 1, 32 * MIB);
	if (forks_before) {
		fork_once(&small, 1);
		wait_for_inside(40 * MIB, SIZE_MAX);
	}
	enter_sandbox();
	for (int round = 0; round < 3; round++) {
		more = make(3 * MIB, 12 * MIB);
		fork_once(&small, 1);
		fork_once(&large, 1);
		check(&more);
		unmake(&more, 0);
		free(more.list);
		more = make(1000, 12 * MIB);
		check(&more);
		unmake(&more, 2);
		(void)malloc_trim(0);
		more.list[0].memory = realloc(more.list[0].memory, 5 * MIB);
		more.list[0].memory = realloc(more.list[0].memory, 9 * MIB);
		must(is_right(&more.list[0]));
	}
	unmake(&small, 0);
	unmake(&large, 0);
	(void)malloc_trim(0);
}

void in_a_sandbox(void)
{
	work_in_a_sandbox(false);
}

void in_a_sandbox_later(void)
{
	work_in_a_sandbox(true);
}
#endif
