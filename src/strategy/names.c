/* SPDX-License-Identifier: MIT
 *
 * Names and texts of enumerators. The names are part of the interface: programs match on them.
 */
#include "odfork.h"

_Static_assert(ODF_STRATEGY_COUNT <= ODF_STRATEGY_ROOM && ODF_KERNEL_CHECK_COUNT <= ODF_KERNEL_CHECK_ROOM,
	       "public arrays have room");
_Static_assert(ODF_STEP_COUNT <= 64, "a set of steps has 64 bits");

static const char *const strategies[ODF_STRATEGY_COUNT] = {
	[ODF_STRATEGY_NONE] = "none",
	[ODF_STRATEGY_KERNEL] = "kernel",
	[ODF_STRATEGY_REGION] = "region",
	[ODF_STRATEGY_FORK] = "fork",
	[ODF_STRATEGY_VFORK] = "vfork",
	[ODF_STRATEGY_POSIX_SPAWN] = "posix_spawn",
	[ODF_STRATEGY_POOL] = "pool",
};

static const char *const steps[ODF_STEP_COUNT] = {
	[ODF_STEP_NONE] = "none",
	[ODF_STEP_REQUEST] = "request",
	[ODF_STEP_PIPES] = "pipes",
	[ODF_STEP_CLONE] = "clone",
	[ODF_STEP_SIGNALS] = "signals",
	[ODF_STEP_CGROUP] = "cgroup",
	[ODF_STEP_OOM_SCORE] = "oom_score",
	[ODF_STEP_NAMESPACE] = "namespace",
	[ODF_STEP_ROOT] = "root",
	[ODF_STEP_SETSID] = "setsid",
	[ODF_STEP_PGROUP] = "pgroup",
	[ODF_STEP_CWD] = "cwd",
	[ODF_STEP_FD] = "fd",
	[ODF_STEP_FOREGROUND] = "foreground",
	[ODF_STEP_CLOSE_OTHERS] = "close_others",
	[ODF_STEP_UMASK] = "umask",
	[ODF_STEP_NICE] = "nice",
	[ODF_STEP_SCHED] = "sched",
	[ODF_STEP_IOPRIO] = "ioprio",
	[ODF_STEP_AFFINITY] = "affinity",
	[ODF_STEP_RLIMIT] = "rlimit",
	[ODF_STEP_GROUPS] = "groups",
	[ODF_STEP_GID] = "gid",
	[ODF_STEP_UID] = "uid",
	[ODF_STEP_CAPABILITIES] = "capabilities",
	[ODF_STEP_PARENT_DEATH] = "parent_death",
	[ODF_STEP_PRE_EXEC] = "pre_exec",
	[ODF_STEP_NO_NEW_PRIVS] = "no_new_privs",
	[ODF_STEP_SECCOMP] = "seccomp",
	[ODF_STEP_EXEC] = "exec",
	[ODF_STEP_PIDFD] = "pidfd",
	[ODF_STEP_UNKNOWN] = "unknown",
};

static const struct {
	const char *name, *text;
} reasons[ODF_REASON_COUNT] = {
	[ODF_REASON_NONE] = { "none", "nothing stands against it" },
	[ODF_REASON_CHOSEN] = { "chosen", "chosen" },
	[ODF_REASON_BETTER_CHOSEN] = { "better_chosen", "a better one was chosen" },
	[ODF_REASON_NOT_ALLOWED] = { "not_allowed", "not among the strategies that were allowed" },
	[ODF_REASON_RETURNS_TWICE] = { "returns_twice", "a fork returns in two processes" },
	[ODF_REASON_ENDS_IN_EXEC] = { "ends_in_exec", "a spawn ends in exec" },
	[ODF_REASON_NOT_BUILT] = { "not_built", "not part of this version" },
	[ODF_REASON_NO_PROC] = { "no_proc", "/proc is not mounted or not readable" },
	[ODF_REASON_KERNEL_NOT_OFFERED] = { "kernel_not_offered",
					    "this kernel has no on-demand fork "
					    "(neither /proc/self/use_odf nor Async-fork)" },
	[ODF_REASON_KERNEL_NOT_WRITABLE] = { "kernel_not_writable", "/proc/self/use_odf may not be written" },
	[ODF_REASON_KERNEL_NOT_VERIFIED] = { "kernel_not_verified",
					     "the kernel offers it and is not shown to keep data safe; "
					     "ask for it by name" },
	[ODF_REASON_KERNEL_BUSY] = { "kernel_busy", "another thread was using the kernel's switch" },
	[ODF_REASON_KERNEL_REFUSED] = { "kernel_refused", "the kernel's switch could not be set" },
	[ODF_REASON_TOO_SMALL] = { "too_small", "the process is too small to gain" },
	[ODF_REASON_NO_REGION] = { "no_region", "no snapshot region in this process" },
	[ODF_REASON_PRE_EXEC] = { "pre_exec", "code of the caller runs before exec" },
	[ODF_REASON_LIBC_NO_OPTION] = { "libc_no_option", "libc's posix_spawn cannot express the request" },
	[ODF_REASON_LIBC_REFUSED] = { "libc_refused", "libc's posix_spawn was refused by the kernel or a sandbox" },
	[ODF_REASON_PID_NAMESPACE] = { "pid_namespace",
				       "the next process begins, or belongs to, another pid namespace" },
	[ODF_REASON_CLONE_REFUSED] = { "clone_refused", "a child that shares memory is refused here" },
	[ODF_REASON_REGION_NO_REMAP] = { "region_no_remap",
					 "this kernel cannot move a shared mapping "
					 "and leave its place mapped (Linux 5.13)" },
	[ODF_REASON_REGION_NO_MEMFD] = { "region_no_memfd", "memfd_create with seals is missing or forbidden" },
	[ODF_REASON_REGION_OVERCOMMIT] = { "region_overcommit",
					   "strict overcommit: the memory of a region cannot be promised" },
	[ODF_REASON_REGION_PAGE_SIZE] = { "region_page_size",
					  "regions are for pages of 4096 bytes and 64-bit processes" },
	[ODF_REASON_REGION_REFUSED] = { "region_refused", "the regions could not be frozen" },
	[ODF_REASON_KERNEL_LOSES_WRITES] = { "kernel_loses_writes",
					     "after an on-demand fork of this kernel, "
					     "one process sees what the other writes" },
	[ODF_REASON_KERNEL_LOSES_NEIGHBORS] = { "kernel_loses_neighbors",
						"after an on-demand fork of this kernel, "
						"MADV_DONTNEED or munmap of a page wipes its neighbors" },
	[ODF_REASON_KERNEL_LOSES_DISCARDS] = { "kernel_loses_discards",
					       "after an on-demand fork of this kernel, "
					       "memory given back by MADV_DONTNEED is not zero" },
	[ODF_REASON_KERNEL_DIES] = { "kernel_dies",
				     "on-demand forks of this kernel end in processes that die or hang" },
	[ODF_REASON_KERNEL_UNSAFE] = { "kernel_unsafe",
				       "the on-demand fork of this kernel is said to lose data (ODFORK_KERNEL)" },
	[ODF_REASON_KERNEL_NO_EFFECT] = { "kernel_no_effect",
					  "the kernel's switch has no effect "
					  "(see odfork_kernel(7) for what a kernel may need)" },
	[ODF_REASON_KERNEL_REGIONS] = { "kernel_regions",
					"the process has snapshot regions, "
					"and the kernel is not shown to keep data safe" },
	[ODF_REASON_KERNEL_CGROUP] = { "kernel_cgroup", "the process has moved to another memory cgroup" },
	[ODF_REASON_REGION_KERNEL] = { "region_kernel",
				       "forks of this process are on demand, by a kernel not shown to keep data safe" },
	[ODF_REASON_HEAP_KERNEL] = { "heap_kernel", "the kernel's on-demand fork is used" },
	[ODF_REASON_HEAP_OFF] = { "heap_off", "the heap was not asked for: not preloaded, or ODFORK_HEAP=off" },
	[ODF_REASON_HEAP_NOT_INTERPOSED] = { "heap_not_interposed",
					     "calls do not come to the library: the static one, or another C library "
					     "in the process (dlmopen)" },
	[ODF_REASON_HEAP_NO_SETTLING] = { "heap_no_settling",
					  "several threads and no userfaultfd for kernel-mode faults, "
					  "or no /proc/self/pagemap: it could not settle" },
	[ODF_REASON_HEAP_NO_ROOM] = { "heap_no_room", "no address space or descriptors for the heap's region" },
	[ODF_REASON_HEAP_PIECES] = { "heap_pieces", "the program's memory is in too many small mappings" },
	[ODF_REASON_HEAP_LOCKED] = { "heap_locked", "the program locks its memory" },
	[ODF_REASON_HEAP_SANDBOX] = { "heap_sandbox",
				      "a seccomp sandbox that the heap cannot live in, or is not known to" },
	[ODF_REASON_HEAP_LIMIT] = { "heap_limit",
				    "a limit of address space, data or file size, "
				    "against which a region counts otherwise, or of processor time" },
	[ODF_REASON_HEAP_PINS] = { "heap_pins",
				   "memory may be pinned: a file is open for direct input, or a ring of io_uring" },
	[ODF_REASON_HEAP_FILE_SYSTEM] = { "heap_file_system",
					  "a file is open of a file system "
					  "that may read past the page tables (FUSE, 9p, SMB...)" },
	[ODF_REASON_HEAP_DEVICE] = { "heap_device",
				     "a device or socket is open that may write to memory past the page tables" },
	[ODF_REASON_HEAP_USERFAULT] = { "heap_userfault", "the program serves page faults itself (userfaultfd)" },
	[ODF_REASON_HEAP_PROCESS] = { "heap_process",
				      "the keeper cannot be started (RLIMIT_NPROC, pids.max, a PID namespace), "
				      "or has made room for a process of the program" },
	[ODF_REASON_HEAP_MERGED] = { "heap_merged",
				     "the kernel is to merge equal pages of the process (KSM), "
				     "which a region's are not" },
	[ODF_REASON_CLONE_FLAG] = { "clone_flag",
				    "needs a flag of clone3 (Linux 7.1) that this kernel lacks or libc does not pass" },
	[ODF_REASON_NO_POOL] = { "no_pool", "no pool was given" },
	[ODF_REASON_CLONE_VM_FAKE] = { "clone_vm_fake", "children do not really share memory here" },
};

static const struct {
	const char *name, *text;
} checks[ODF_KERNEL_CHECK_COUNT] = {
	[ODF_KERNEL_CHECK_EFFECT] = { "effect", "a child's page tables are not copied" },
	[ODF_KERNEL_CHECK_WRITES] = { "writes", "what parent or child writes stays its own" },
	[ODF_KERNEL_CHECK_DISCARD] = { "discard", "a page given back by MADV_DONTNEED reads as zeros" },
	[ODF_KERNEL_CHECK_DISCARD_NEIGHBORS] = { "discard_neighbors", "MADV_DONTNEED leaves all other pages alone" },
	[ODF_KERNEL_CHECK_UNMAP_NEIGHBORS] = { "unmap_neighbors", "munmap leaves all other pages alone" },
	[ODF_KERNEL_CHECK_END] = { "end", "processes end as they should" },
};

static const char *const interfaces[ODF_KERNEL_INTERFACE_COUNT] = {
	[ODF_KERNEL_INTERFACE_NONE] = "none",
	[ODF_KERNEL_INTERFACE_USE_ODF] = "use_odf",
	[ODF_KERNEL_INTERFACE_USE_ODF_HELD] = "use_odf_held",
	[ODF_KERNEL_INTERFACE_USE_ODF_ARMED] = "use_odf_armed",
	[ODF_KERNEL_INTERFACE_ASYNC_FORK] = "async_fork",
	[ODF_KERNEL_INTERFACE_ASYNC_FORK_MODULE] = "async_fork_module",
	[ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL] = "async_fork_prctl",
};

const char *odf_strategy_name(odf_strategy strategy)
{
	return (unsigned)strategy < ODF_STRATEGY_COUNT ? strategies[strategy] : "unknown";
}

const char *odf_step_name(odf_step step)
{
	return (unsigned)step < ODF_STEP_COUNT ? steps[step] : "unknown";
}

const char *odf_reason_name(odf_reason reason)
{
	return (unsigned)reason < ODF_REASON_COUNT ? reasons[reason].name : "unknown";
}

const char *odf_reason_text(odf_reason reason)
{
	return (unsigned)reason < ODF_REASON_COUNT ? reasons[reason].text : "unknown";
}

const char *odf_kernel_check_name(odf_kernel_check check)
{
	return (unsigned)check < ODF_KERNEL_CHECK_COUNT ? checks[check].name : "unknown";
}

const char *odf_kernel_check_text(odf_kernel_check check)
{
	return (unsigned)check < ODF_KERNEL_CHECK_COUNT ? checks[check].text : "unknown";
}

const char *odf_kernel_interface_name(odf_kernel_interface interface)
{
	return (unsigned)interface < ODF_KERNEL_INTERFACE_COUNT ? interfaces[interface] : "unknown";
}
