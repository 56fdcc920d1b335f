/* SPDX-License-Identifier: MIT
 *
 * The keeper confines itself as soon as it has opened what it needs: so it has no rights that the program gives up
 * later. It can compute, wait, make files without a name, and change the mappings of the memory that it shares with the
 * program, without making any of it executable. It cannot open a file or a socket, make a process, send a signal, look
 * at another process, or change its rights. The kernel kills it for any other call.
 *
 * If the program has memory with all three rights before the keeper is made, the keeper may map such memory too: it
 * needs that for its views of the file. Other mappings with PROT_EXEC are forbidden even then.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "../sys/userfault.h"
#include "keeper.h"

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#endif
#define NUMBER_FUTEX_WAITV 449

/* ---- Scheduling ---- */

#define TIMER_SLACK_NS 50000 /* the kernel's own default */
#define NICE_OF_KERNEL 20    /* the system call getpriority returns this minus the nice value */
#define SHORT_TURN_NS  500000
#define OF_PROCESS     1  /* ioprio_get(2) */
#define IO_CLASS_SHIFT 13

/* The first version of the kernel's struct sched_attr (Linux 3.14). */
struct scheduling {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};
_Static_assert(sizeof(struct scheduling) == 48, "the kernel goes by it");
static struct scheduling own;

/* The length of the keeper's turns when others want the processor (Linux 6.12). A task with shorter turns runs sooner
 * after a wakeup, and gets no more CPU time in total: on a busy machine the keeper began to free a killed program's
 * memory 3 ms after the kill, and with short turns after 0.02 ms. */
static void take_turns(uint64_t nanoseconds)
{
	own.runtime = nanoseconds;
	(void)sys_call3(SYS_sched_setattr, 0, &own, 0);
}

void confine_long_turns(void)
{
	if (own.size != 0)
		take_turns(0);
}

unsigned confine_processors = 1;

static unsigned count_bits(const unsigned long *words, size_t bytes)
{
	unsigned count = 0;

	for (size_t i = 0; i < bytes / sizeof *words; i++)
		count += (unsigned)__builtin_popcountl(words[i]);
	return count;
}

/* A thread that needs a page from swap waits for the task that reads it in, which during a step is the keeper. So the
 * keeper takes the program's I/O priority. */
static void take_io_priority(int program)
{
	long priority = sys_call2(SYS_ioprio_get, OF_PROCESS, program);

	if (priority >= 0) /* for class 0, none, the kernel reports a level that it does not accept */
		(void)sys_call3(SYS_ioprio_set, OF_PROCESS, 0, priority >> IO_CLASS_SHIFT == 0 ? 0 : priority);
}

int confine_schedule(int program, bool by_main)
{
	/* The main thread's scheduling is what the user has chosen for the whole program; that of the thread that
	 * starts the keeper may be for this thread only. But threads of ordinary priority wait for the keeper's steps:
	 * if the thread that starts it is not SCHED_IDLE, the keeper is not either. */
	struct sched_param normal = { 0 };
	unsigned long processors[128];
	long size = sys_call3(SYS_sched_getaffinity, program, sizeof processors, processors);
	long policy = sys_call1(SYS_sched_getscheduler, program) & ~(long)SCHED_RESET_ON_FORK,
	     nice = sys_call2(SYS_getpriority, PRIO_PROCESS, program);

	if (size > 0) {
		(void)sys_call3(SYS_sched_setaffinity, 0, size, processors);
		confine_processors = count_bits(processors, (size_t)size);
	}
	if ((policy != SCHED_IDLE && policy != SCHED_BATCH) ||
	    (policy == SCHED_IDLE && (sys_call1(SYS_sched_getscheduler, 0) & ~(long)SCHED_RESET_ON_FORK) != SCHED_IDLE))
		policy = SCHED_OTHER; /* no real-time policy: that is for work of a known length */
	(void)sys_call3(SYS_sched_setscheduler, 0, policy, &normal);
	if (nice > 0)
		(void)sys_call3(SYS_setpriority, PRIO_PROCESS, 0, NICE_OF_KERNEL - nice);
	take_io_priority(program);
	if (!by_main) /* the main thread's memory policy stays, for example that of numactl: the program's memory is to
	                 come from those nodes */
		(void)sys_call3(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0);
	(void)sys_call2(SYS_prctl, PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	own = (struct scheduling){ .size = sizeof own, .policy = (uint32_t)sys_call1(SYS_sched_getscheduler, 0) };
	own.nice = (int32_t)(NICE_OF_KERNEL - sys_call2(SYS_getpriority, PRIO_PROCESS, 0));
	take_turns(SHORT_TURN_NS);
	if (by_main || starter_is_as_main(program))
		return 0;
	starter_note_refusal();
	return EBUSY;
}

/* ---- The filter ---- */

#if defined __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifdef ARCHITECTURE
/* PAGEMAP_SCAN of /proc/self/pagemap, and PROCMAP_QUERY of /proc/self/maps. */
#define PAGEMAP_SCAN_COMMAND _IOWR('f', 16, uint64_t[12])
#define MAPPING_COMMAND      _IOWR('f', 17, uint64_t[13])
static const uint32_t commands[] = {
	UFFDIO_REGISTER, UFFDIO_UNREGISTER,   UFFDIO_WAKE,          UFFDIO_COPY,
	UFFDIO_ZEROPAGE, UFFDIO_WRITEPROTECT, PAGEMAP_SCAN_COMMAND, MAPPING_COMMAND,
};
static const uint32_t seal[] = { F_ADD_SEALS };
static const uint32_t zero[] = { 0 };
#define ONLY(argument, list) argument, sizeof list / sizeof list[0], list

static const struct rule {
	uint32_t number;
	unsigned argument;     /* whose low half must be one of: */
	unsigned char count;   /* 0: any */
	const uint32_t *list;
	bool not_executable;   /* the third argument must lack PROT_EXEC */
} rules[] = {
	/* Waiting. */
	{ SYS_futex }, { NUMBER_FUTEX_WAITV }, { SYS_nanosleep }, { SYS_clock_nanosleep }, { SYS_restart_syscall },
	{ SYS_sched_yield }, { SYS_clock_gettime }, { SYS_gettimeofday }, { SYS_ppoll }, { SYS_rt_sigreturn },
	/* Memory. Nothing becomes executable, but see above. */
	{ SYS_munmap }, { SYS_mremap }, { SYS_madvise }, { SYS_mincore }, { SYS_msync }, { SYS_munlock },
	{ SYS_mmap, .not_executable = true }, { SYS_mprotect, .not_executable = true },
	/* Its files. */
	{ SYS_memfd_create }, { SYS_ftruncate }, { SYS_fallocate }, { SYS_fstat }, { SYS_read }, { SYS_pread64 },
	{ SYS_pwrite64 }, { SYS_lseek }, { SYS_close },
	{ SYS_ioctl, ONLY(1, commands) }, { SYS_fcntl, ONLY(1, seal) },
	/* The program, and whether a thread of it exists: signal 0. */
	{ SYS_getppid }, { SYS_pidfd_open }, { SYS_tgkill, ONLY(2, zero) },
	/* Its own turns, and its end. */
	{ SYS_sched_setattr, ONLY(0, zero) }, { SYS_exit_group }, { SYS_exit },
};
#define RULES (sizeof rules / sizeof rules[0])

#define OFFSET_NUMBER      0
#define OFFSET_ARCHITECTURE 4
#define OFFSET_ARGUMENT(n) (16 + 8 * (n)) /* its low half */

#define FILTER_MOST 256
struct program {
	struct sock_filter code[FILTER_MOST];
	unsigned short length;
};

static void add(struct program *program, unsigned short code, uint32_t value, unsigned char yes, unsigned char no)
{
	program->code[program->length++] = (struct sock_filter){ code, yes, no, value };
}

static void load(struct program *program, uint32_t offset)
{
	add(program, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

static void end_with(struct program *program, uint32_t verdict)
{
	add(program, BPF_RET | BPF_K, verdict, 0, 0);
}

static void allow_if_equal(struct program *program, uint32_t value)
{
	add(program, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
	end_with(program, SECCOMP_RET_ALLOW);
}

/* The accumulator has the call's number. */
static void add_rule(struct program *program, const struct rule *rule, bool may_execute)
{
	if (!rule->not_executable && rule->count == 0) {
		allow_if_equal(program, rule->number);
		end_with(program, SECCOMP_RET_KILL_PROCESS);
		return;
	}
	add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->number, 1, 0);
	end_with(program, SECCOMP_RET_KILL_PROCESS);
	load(program, OFFSET_ARGUMENT(rule->not_executable ? 2 : rule->argument));
	if (rule->not_executable && may_execute)
		allow_if_equal(program, PROT_READ | PROT_WRITE | PROT_EXEC);
	if (rule->not_executable) {
		add(program, BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0);
		end_with(program, SECCOMP_RET_ALLOW);
	}
	for (unsigned char i = 0; i < rule->count; i++)
		allow_if_equal(program, rule->list[i]);
	end_with(program, SECCOMP_RET_KILL_PROCESS);
}

/* A binary search: the kernel runs a new filter once for each call number, which took a tenth of a millisecond with a
 * linear one. */
static void add_rules(struct program *program, const struct rule *const *sorted, size_t count, bool may_execute)
{
	size_t half = count / 2;
	unsigned short at = program->length;

	if (count == 1) {
		add_rule(program, sorted[0], may_execute);
		return;
	}
	add(program, BPF_JMP | BPF_JGE | BPF_K, sorted[half]->number, 0, 0);
	add_rules(program, sorted, half, may_execute);
	program->code[at].jt = (unsigned char)(program->length - at - 1);
	add_rules(program, sorted + half, count - half, may_execute);
}

static void filter_calls(bool may_execute)
{
	const struct rule *sorted[RULES];
	struct program program = { .length = 0 };
	struct sock_fprog whole;

	for (size_t i = 0; i < RULES; i++) {
		size_t at = i;
		for (; at > 0 && sorted[at - 1]->number > rules[i].number; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = &rules[i];
	}
	load(&program, OFFSET_ARCHITECTURE);
	add(&program, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
	end_with(&program, SECCOMP_RET_KILL_PROCESS);
	load(&program, OFFSET_NUMBER); /* numbers of x32 calls have a bit that none of these has */
	add_rules(&program, sorted, RULES, may_execute);
	whole = (struct sock_fprog){ program.length, program.code };
	/* By prctl, which is called here in any case: the program's own filter may permit prctl, but not seccomp
	 * (systemd's @system-service). */
	(void)sys_call3(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole);
}
#else
static void filter_calls(bool may_execute)
{
	(void)may_execute;
}
#endif

/* CAP_IPC_LOCK may have to stay. After mlockall(MCL_FUTURE) by the program the kernel locks each new mapping, and
 * without this capability refuses it beyond RLIMIT_MEMLOCK, which could not be raised. The keeper can do nothing else
 * with it, as the filter permits no call that locks memory. */
static uint32_t right_to_map(const struct __user_cap_header_struct *header)
{
	struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	struct rlimit limit;

	if (sys_call4(SYS_prlimit64, 0, RLIMIT_MEMLOCK, NULL, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
	    sys_call2(SYS_capget, header, has) < 0)
		return 0;
	return has[0].effective & 1u << CAP_IPC_LOCK;
}

void confine_rights(bool may_lock, bool may_execute)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct left[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	if (may_lock)
		left[0].effective = left[0].permitted = right_to_map(&header);
	(void)sys_call5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)sys_call2(SYS_capset, &header, left);
	filter_calls(may_execute);
}
