/* SPDX-License-Identifier: MIT
 *
 * The table of probes. Rules: a probe tries the thing itself and never looks at versions; it leaves nothing behind; it
 * says "yes" only for an answer that nothing else gives; a call that a sandbox may punish with a signal is made only if
 * the program asks for it.
 *
 * The library never issues two numbers that on-demand-fork kernels use: mainline has given them other meanings, and one
 * of these cannot be undone. The file /proc/self/use_odf is the whole test. prctl 0x4000 is issued only if a sysctl of
 * its kernel exists (kernel_bit.c).
 */
#include "capability.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "../record/settings.h"
#include "../sys/clone.h"
#include "../sys/next_process.h"
#include "../sys/proc.h"
#include "../sys/userfault.h"
#include "clone_flags.h"
#include "kernel.h"

/* From newer headers. */
#define REMAP_DONTUNMAP     4
#define MEMFD_CLOEXEC       0x0001u
#define MEMFD_ALLOW_SEALING 0x0002u
#define MEMFD_NOEXEC_SEAL   0x0008u
#define ADD_SEALS           1033
#define SEAL_WRITE          0x0008
#define PAGEMAP_SCAN_NUMBER _IOWR('f', 16, uint64_t[12])

/* A probe returns 0 for yes, else minus an errno value, or -EPROTO if no call failed but the effect was missing. */
static int probe_use_odf(void)
{
	int fd = sys_open(USE_ODF_PATH, PROC_WRITE, 0);
	return fd < 0 ? fd : sys_close(fd);
}

/* The kernel reads the size first and refuses a short structure with EINVAL. A kernel without the call answers ENOSYS,
 * a filter any error. */
static int probe_clone3(void)
{
	int result = (int)sys_call2(SYS_clone3, NULL, 0);
	return result == -EINVAL ? 0 : result;
}

/* No process has INT_MAX as its pid (the kernel's limit is 2^22), so a kernel that has the call answers ESRCH. */
static int probe_pidfd_open(void)
{
	int result = (int)sys_call2(SYS_pidfd_open, INT_MAX, 0);
	return result == -ESRCH ? 0 : result;
}

/* The range is one descriptor number that cannot exist: the call succeeds and closes nothing. */
static int probe_close_range(void)
{
	return (int)sys_call3(SYS_close_range, ~0u, ~0u, 0);
}

/* An empty path without AT_EMPTY_PATH gives ENOENT before the kernel changes anything of the process. */
static int probe_execveat(void)
{
	int result = (int)sys_call5(SYS_execveat, -1, "", NULL, NULL, 0);
	return result == -ENOENT ? 0 : result;
}

static int probe_proc(void)
{
	int fd = sys_open("/proc/self/stat", PROC_READ, 0);
	return fd < 0 ? fd : sys_close(fd);
}

/* The kernel checks the privilege before the flags: an unknown flag gives EPERM or EINVAL, and no descriptor is
 * made. */
static int probe_uffd_kernel(void)
{
	int result = (int)sys_call1(SYS_userfaultfd, 0x40000000);
	return result == -EINVAL ? 0 : result;
}

static int probe_uffd_device(void)
{
	int handed = settings_userfault();

	/* By trying it: another file may have that name, or this process may not use it. */
	return handed >= 0 && userfault_try_device(handed) == 0 ? 0 : userfault_try_device(-1);
}

/* The child shares this memory, writes a word and ends. WSL1 and user-mode emulators accept the flag and copy the
 * memory. Exit signal 0: no SIGCHLD, and only a wait with __WALL or __WCLONE sees it. */
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

	if (next_process() == NEXT_PROCESS_FIRST || next_process() == NEXT_PROCESS_UNKNOWN)
		return -EAGAIN; /* the PID namespace would end with the child */
	void *stack = mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -ENOMEM;
	sys_sigprocmask(SIG_BLOCK, &all, &mask); /* the child must not run a handler on this memory */
	request.stack = stack;
	pid = clone3_child(&request);
	if (pid < 0) /* a filter may allow only one of the two */
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

/* To the kernel shared anonymous memory is the same as a memfd. After the move the old place must still map it. */
static int probe_remap(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	volatile int *old = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int result;
	long moved;

	if (old == MAP_FAILED)
		return -errno;
	*old = 1;
	/* By a raw system call: libc passes no address with this flag, and the kernel reads the argument. */
	moved = sys_call5(SYS_mremap, (uintptr_t)old, size, size, MREMAP_MAYMOVE | REMAP_DONTUNMAP, 0);
	if (moved < 0 && moved > -4096) {
		result = (int)moved;
	} else {
		*(volatile int *)moved = 2;
		result = *old == 2 ? 0 : -EPROTO;
		munmap((void *)moved, size);
	}
	munmap((void *)(uintptr_t)old, size);
	return result;
}

/* As the token does it: the file can be sealed against writing only while it is not mapped. */
static int probe_memfd(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	int fd = (int)sys_call2(SYS_memfd_create, "odfork-probe",
				MEMFD_CLOEXEC | MEMFD_NOEXEC_SEAL | MEMFD_ALLOW_SEALING);
	long mapped, sealed_mapped, sealed;

	if (fd == -EINVAL)
		fd = (int)sys_call2(SYS_memfd_create, "odfork-probe", MEMFD_CLOEXEC | MEMFD_ALLOW_SEALING);
	if (fd < 0)
		return fd;
	mapped = sys_call6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	sealed_mapped = sys_call3(SYS_fcntl, fd, ADD_SEALS, SEAL_WRITE);
	if (mapped < 0 && mapped > -4096) {
		sealed = mapped;
	} else {
		(void)sys_call2(SYS_munmap, mapped, size);
		sealed = sealed_mapped == -EBUSY ? sys_call3(SYS_fcntl, fd, ADD_SEALS, SEAL_WRITE) : -EPROTO;
	}
	sys_close(fd);
	return (int)sealed;
}

/* The page of the stack is present and does not belong to a file. */
static int probe_pagemap(void)
{
	uint64_t entry = 0;
	volatile char here = 1;
	int fd = sys_open("/proc/thread-self/pagemap", PROC_READ, 0);
	long got;

	if (fd < 0)
		return fd;
	got = sys_call4(SYS_pread64, fd, &entry, sizeof entry,
			(uintptr_t)&here / (uintptr_t)sysconf(_SC_PAGESIZE) * sizeof entry);
	sys_close(fd);
	if (got < 0)
		return (int)got;
	return got == sizeof entry && (entry >> 62) != 0 && !(entry >> 61 & 1) ? 0 : -EPROTO;
}

static int probe_pagemap_scan(void)
{
	/* Size, flags, start, end, walk_end, vec, vec_len, max_pages, then masks: an empty range. */
	uint64_t argument[12] = { sizeof argument };
	int fd = sys_open("/proc/thread-self/pagemap", PROC_READ, 0), result;

	if (fd < 0)
		return fd;
	result = (int)sys_call3(SYS_ioctl, fd, PAGEMAP_SCAN_NUMBER, argument);
	sys_close(fd);
	return result < 0 ? result : 0;
}

static int probe_uffd_minor(void)
{
	int fd;

	userfault_begin_own();
	fd = userfault_open(settings_userfault());
	if (fd >= 0)
		fd = sys_close(fd);
	userfault_end_own();
	return fd;
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
	[ODF_PROBE_UFFD_DEVICE] = { "uffd_device", "/dev/userfaultfd makes one (its own, or handed in)",
	  probe_uffd_device },
	[ODF_PROBE_REMAP] = { "remap", "mremap(MREMAP_DONTUNMAP) of a shared mapping", probe_remap },
	[ODF_PROBE_MEMFD] = { "memfd", "memfd_create with seals", probe_memfd },
	[ODF_PROBE_PAGEMAP] = { "pagemap", "/proc/self/pagemap tells private pages", probe_pagemap },
	[ODF_PROBE_PAGEMAP_SCAN] = { "pagemap_scan", "PAGEMAP_SCAN on it", probe_pagemap_scan },
	[ODF_PROBE_UFFD_MINOR] = { "uffd_minor", "userfaultfd for the kernel's faults on pages of a file",
	  probe_uffd_minor },
	[ODF_PROBE_ASYNC_FORK] = { "async_fork", "Async-fork offered by the kernel (memory.async_fork)",
	  kernel_probe_async_fork },
	[ODF_PROBE_ASYNC_FORK_PRCTL] = { "async_prctl", "Async-fork offered by the kernel (kernel.async_fork_enabled)",
					 kernel_probe_async_fork_prctl },
	[ODF_PROBE_AUTOREAP] = { "autoreap", "clone3 makes processes that nobody waits for (CLONE_AUTOREAP)",
				 clone_flags_probe_autoreap },
	[ODF_PROBE_CLONE_NNP] = { "clone_nnp", "clone3 makes processes with no_new_privs (CLONE_NNP)",
				  clone_flags_probe_nnp },
	[ODF_PROBE_AUTOKILL] = { "autokill", "clone3 makes processes that end with their descriptor "
				 "(CLONE_PIDFD_AUTOKILL)", clone_flags_probe_autokill },
};

/* 0: not asked; 1: yes; 2 + errno value: no. One word, so that an answer and its error are stored together. */
static atomic_int answers[ODF_PROBE_COUNT];

static bool known_probe(odf_probe probe)
{
	return (unsigned)probe < ODF_PROBE_COUNT;
}

/* The process may be short of descriptors or memory for a moment. That says nothing about the kernel, so it is not
 * kept. */
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

odf_reason capability_clone_vm_reason(void)
{
	if (capability_known(ODF_PROBE_CLONE_VM) != ODF_ANSWER_NO)
		return ODF_REASON_NONE;
	return capability_error(ODF_PROBE_CLONE_VM) == EPROTO ? ODF_REASON_CLONE_VM_FAKE : ODF_REASON_CLONE_REFUSED;
}

/* A setting of the machine, which may change, so it is read each time. */
static bool strict_overcommit(void)
{
	char mode = '0';
	int fd = sys_open("/proc/sys/vm/overcommit_memory", PROC_READ, 0);

	if (fd >= 0) {
		if (sys_read(fd, &mode, 1) != 1)
			mode = '0';
		sys_close(fd);
	}
	return mode == '2';
}

odf_reason capability_region_reason(void)
{
	if (sizeof(void *) < 8 || sysconf(_SC_PAGESIZE) != 4096)
		return ODF_REASON_REGION_PAGE_SIZE;
	/* Before a probe or a region maps and unmaps anything: that is where such a kernel loses data. */
	if (kernel_is_on() && kernel_doubt() != ODF_REASON_NONE)
		return ODF_REASON_REGION_KERNEL;
	/* A probe that lacked memory or descriptors says nothing about the machine. */
	if (!capability(ODF_PROBE_REMAP) && capability_known(ODF_PROBE_REMAP) == ODF_ANSWER_NO)
		return ODF_REASON_REGION_NO_REMAP;
	if (!capability(ODF_PROBE_MEMFD) && capability_known(ODF_PROBE_MEMFD) == ODF_ANSWER_NO)
		return ODF_REASON_REGION_NO_MEMFD;
	return strict_overcommit() ? ODF_REASON_REGION_OVERCOMMIT : ODF_REASON_NONE;
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
