/* SPDX-License-Identifier: MIT
 *
 * The table of probes. Rules: by effect, never by version; nothing left behind; "yes" only when the thing itself answered in a way that
 * nothing else answers; calls that a sandbox may punish with a signal are made only when the program asks for them.
 *
 * Two numbers that on-demand-fork kernels use are never issued anywhere in this library: mainline gave them other meanings, and one
 * of these cannot be undone. The file /proc/self/use_odf is the whole test.
 */
#include "capability.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "../sys/clone.h"
#include "../sys/syscall.h"

/* A probe returns 0 for yes, else minus an errno value, or -EPROTO where no call failed but the effect was missing. */
static int probe_use_odf(void)
{
	int fd = sys_open(USE_ODF_PATH, O_WRONLY, 0);
	return fd < 0 ? fd : sys_close(fd);
}

/* The kernel reads the size first and refuses a short structure with EINVAL; a missing call gives ENOSYS, a filter what it likes. */
static int probe_clone3(void)
{
	int result = (int)sys_call2(SYS_clone3, NULL, 0);
	return result == -EINVAL ? 0 : result;
}

/* No process has the highest int as its pid (the kernel's limit is 2^22), so a call that exists finds none. */
static int probe_pidfd_open(void)
{
	int result = (int)sys_call2(SYS_pidfd_open, INT_MAX, 0);
	return result == -ESRCH ? 0 : result;
}

/* A range of one descriptor number that cannot exist: succeeds and closes nothing. */
static int probe_close_range(void)
{
	return (int)sys_call3(SYS_close_range, ~0u, ~0u, 0);
}

/* An empty path without AT_EMPTY_PATH names nothing: ENOENT, before anything of the process is touched. */
static int probe_execveat(void)
{
	int result = (int)sys_call5(SYS_execveat, -1, "", NULL, NULL, 0);
	return result == -ENOENT ? 0 : result;
}

static int probe_proc(void)
{
	int fd = sys_open("/proc/self/stat", O_RDONLY, 0);
	return fd < 0 ? fd : sys_close(fd);
}

/* The right is checked before the flags are: a flag that does not exist separates EPERM from EINVAL without making a descriptor. */
static int probe_uffd_kernel(void)
{
	int result = (int)sys_call1(SYS_userfaultfd, 0x40000000);
	return result == -EINVAL ? 0 : result;
}

static int probe_uffd_device(void)
{
	int fd = sys_open("/dev/userfaultfd", O_RDWR, 0);
	return fd < 0 ? fd : sys_close(fd);
}

/* A child on this memory writes a word and ends. WSL1 and user-mode emulators accept the flag and copy the memory instead. Exit
 * signal 0: no SIGCHLD, and invisible to every wait without __WALL or __WCLONE. */
static ODF_UNINSTRUMENTED int clone_vm_child(void *word) /* the first member of a structure */
{
	*(volatile int *)word = 1;
	return 0;
}

static int probe_clone_vm(void)
{
	static const size_t stack_size = 16384;
	struct {
		volatile int written;
	} word = { 0 };
	struct clone_request request = {
		.flags = CLONE_VM | CLONE_VFORK,
		.stack_size = stack_size,
		.function = clone_vm_child,
		.argument = &word,
	};
	uint64_t all = ~0ull, mask;
	int held, status;
	long pid;

	void *stack = mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -ENOMEM;
	sys_sigprocmask(SIG_BLOCK, &all, &mask); /* the child must not run a handler on our memory */
	request.stack = stack;
	pid = clone3_child(&request);
	if (pid < 0) /* a filter may allow one and not the other */
		pid = clone_child(&request);
	held = word.written;
	if (pid > 0) {
		while (sys_call4(SYS_wait4, pid, &status, __WCLONE, NULL) == -EINTR)
			;
	}
	sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	munmap(stack, stack_size);
	if (pid < 0)
		return (int)pid;
	return held == 1 ? 0 : -EPROTO;
}

static const struct {
	const char *name;
	const char *text;
	int (*ask)(void);
} table[ODF_PROBE_COUNT] = {
	[ODF_PROBE_USE_ODF] = { "use_odf", "on-demand fork offered by the kernel (" USE_ODF_PATH ")", probe_use_odf },
	[ODF_PROBE_CLONE3] = { "clone3", "system call clone3", probe_clone3 },
	[ODF_PROBE_CLONE_VM] = { "clone_vm", "clone(CLONE_VM | CLONE_VFORK) shares memory", probe_clone_vm },
	[ODF_PROBE_PIDFD_OPEN] = { "pidfd_open", "system call pidfd_open", probe_pidfd_open },
	[ODF_PROBE_CLOSE_RANGE] = { "close_range", "system call close_range", probe_close_range },
	[ODF_PROBE_EXECVEAT] = { "execveat", "system call execveat", probe_execveat },
	[ODF_PROBE_PROC] = { "proc", "/proc is mounted and readable", probe_proc },
	[ODF_PROBE_UFFD_KERNEL] = { "uffd_kernel", "userfaultfd for kernel-mode faults", probe_uffd_kernel },
	[ODF_PROBE_UFFD_DEVICE] = { "uffd_device", "/dev/userfaultfd opens", probe_uffd_device },
};

/* 0: not asked; 1: yes; 2 + errno value: no. One word, so that an answer and its error are stored together. */
static atomic_int answers[ODF_PROBE_COUNT];

static bool known_probe(odf_probe probe)
{
	return (unsigned)probe < ODF_PROBE_COUNT;
}

/* Descriptors and memory can be short for a moment; that says nothing about the kernel, so it is not kept. */
static bool passing(int error)
{
	return error == ENOMEM || error == EAGAIN || error == EMFILE || error == ENFILE || error == EINTR;
}

bool capability(odf_probe probe)
{
	int answer = atomic_load_explicit(&answers[probe], memory_order_relaxed);

	if (answer == 0) {
		int result = table[probe].ask();
		if (passing(-result))
			return false;
		answer = result == 0 ? 1 : 2 - result;
		atomic_store_explicit(&answers[probe], answer, memory_order_relaxed);
	}
	return answer == 1;
}

odf_answer capability_known(odf_probe probe)
{
	int answer = atomic_load_explicit(&answers[probe], memory_order_relaxed);
	return answer == 0 ? ODF_ANSWER_NOT_ASKED : answer == 1 ? ODF_ANSWER_YES : ODF_ANSWER_NO;
}

int capability_error(odf_probe probe)
{
	int answer = atomic_load_explicit(&answers[probe], memory_order_relaxed);
	return answer <= 1 ? 0 : answer - 2;
}

void capability_ask_early(void)
{
	capability(ODF_PROBE_USE_ODF);
}

odf_reason capability_kernel_reason(void)
{
	if (capability_known(ODF_PROBE_USE_ODF) == ODF_ANSWER_YES)
		return ODF_REASON_NONE;
	switch (capability_error(ODF_PROBE_USE_ODF)) {
	case EACCES:
	case EPERM:
	case EROFS:
		return ODF_REASON_KERNEL_NOT_WRITABLE;
	default:
		return capability_known(ODF_PROBE_PROC) == ODF_ANSWER_NO ? ODF_REASON_NO_PROC : ODF_REASON_KERNEL_NOT_OFFERED;
	}
}

odf_reason capability_clone_vm_reason(void)
{
	if (capability_known(ODF_PROBE_CLONE_VM) != ODF_ANSWER_NO)
		return ODF_REASON_NONE;
	return capability_error(ODF_PROBE_CLONE_VM) == EPROTO ? ODF_REASON_CLONE_VM_FAKE : ODF_REASON_CLONE_REFUSED;
}

odf_answer odf_probe_get(odf_probe probe, int *error)
{
	int saved = errno;
	odf_answer answer;

	if (!known_probe(probe)) {
		if (error != NULL)
			*error = EINVAL;
		return ODF_ANSWER_NO;
	}
	answer = capability(probe) ? ODF_ANSWER_YES : capability_known(probe);
	if (error != NULL)
		*error = answer == ODF_ANSWER_NO ? capability_error(probe) : 0;
	errno = saved;
	return answer;
}

const char *odf_probe_name(odf_probe probe)
{
	return known_probe(probe) ? table[probe].name : "unknown";
}

const char *odf_probe_text(odf_probe probe)
{
	return known_probe(probe) ? table[probe].text : "unknown";
}
