/* SPDX-License-Identifier: MIT
 *
 * RUNS ON A COPY OF MEMORY THAT MAY BE IN ANY STATE: no libc, no lock, no allocation; raw system calls only.
 *
 * There are two processes. The first sets the switch, which some kernels cannot clear, and which ends with the process
 * here; then it forks the second. Each discards, unmaps and writes pages, and both compare what they see. The trial
 * does only what is known to leave no trace in the kernel log: no mprotect, MADV_FREE or mincore after the fork, no
 * smaps or pagemap (6.0.6 with on-demand fork corrupts its page tables in them).
 *
 * Every page table maps the trial's own memory only and has one purpose, as such a kernel damages whole tables.
 */
#include "kernel_trial.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../sys/proc.h"
#include "kernel.h"

#define PAGE     ((size_t)4096)
#define TABLE    ((size_t)2 << 20) /* memory that one page table maps */
#define VICTIM   208u              /* the page of a table that is discarded, unmapped or written; inside a filled run */
#define OTHER    212u              /* another page near it */

/* From <linux/prctl.h> and newer headers. */
#define SET_PARENT_DEATH_SIGNAL 1
#define NO_HUGE_PAGES           15

/* The first two have a mapping of one page inside them, which divides the table. The others are parts of one mapping,
 * as a kernel may treat a table with several mappings differently. */
enum purpose {
	CHILD_UNMAPS_OWN, PARENT_UNMAPS_OWN, CHILD_WRITES, CHILD_DISCARDS, CHILD_UNMAPS, PARENT_DISCARDS, PARENT_UNMAPS,
	DENSE_TABLES,
};

/* Tables with one page each. VmPTE shows by them whether a fork copies tables. Their number is twice the difference
 * that counts, and that is far above the few tables that differ in any case. */
enum { SPARSE_TABLES = 32, FEWER_TABLES = 16 };

struct trial {
	char *area; /* DENSE_TABLES, then SPARSE_TABLES */
	struct kernel_trial_result result;
};

/* The child's first message. */
struct message {
	unsigned failed;
	int error;
	size_t tables;
};

static volatile uint64_t *word(const struct trial *trial, unsigned table, unsigned page)
{
	return (volatile uint64_t *)(void *)(trial->area + table * TABLE + page * PAGE);
}

static uint64_t signature(unsigned table, unsigned page)
{
	return 0x6f64666f726b0000u + table * 512 + page;
}

/* A run of pages around VICTIM and OTHER, and every 16th page of the table. */
static bool is_filled(unsigned page)
{
	return page % 16 == 0 || page == 511 || (page >= VICTIM - 8 && page < OTHER + 8);
}

static void fill(const struct trial *trial, unsigned table)
{
	for (unsigned page = 0; page < TABLE / PAGE; page++)
		if (is_filled(page))
			*word(trial, table, page) = signature(table, page);
}

/* All filled pages but `except` have their contents. */
static bool intact(const struct trial *trial, unsigned table, unsigned except)
{
	for (unsigned page = 0; page < TABLE / PAGE; page++)
		if (is_filled(page) && page != except && *word(trial, table, page) != signature(table, page))
			return false;
	return true;
}

#define NO_PAGE 512u

static unsigned unless(bool passes, odf_kernel_check check)
{
	return passes ? 0 : 1u << check;
}

/* ---- /proc ---- */

/* Bytes of page tables of this process: VmPTE of /proc/self/status; 0 if it cannot be read. */
static size_t page_tables(void)
{
	static const char name[] = "\nVmPTE:";
	char text[512];
	size_t matched = 0, kilobytes = 0;
	bool found = false, done = false;
	int fd = sys_open("/proc/self/status", PROC_READ, 0);
	long count;

	if (fd < 0)
		return 0;
	while (!done && (count = sys_read(fd, text, sizeof text)) > 0) {
		for (long i = 0; i < count && !done; i++) {
			if (!found) {
				matched = text[i] == name[matched] ? matched + 1 : text[i] == name[0];
				found = matched == sizeof name - 1;
			} else if (text[i] >= '0' && text[i] <= '9') {
				kilobytes = kilobytes * 10 + (size_t)(text[i] - '0');
			} else {
				done = text[i] == 'k' || text[i] == '\n';
			}
		}
	}
	sys_close(fd);
	return kilobytes * 1024;
}

/* ---- What either process does ---- */

/* Discards one page of a table and checks the others. Minus an errno value if the discard fails. */
static int discard(const struct trial *trial, unsigned table, unsigned *failed)
{
	int error = (int)sys_call3(SYS_madvise, word(trial, table, VICTIM), PAGE, MADV_DONTNEED);

	if (error < 0)
		return error;
	*failed |= unless(*word(trial, table, VICTIM) == 0, ODF_KERNEL_CHECK_DISCARD);
	*failed |= unless(intact(trial, table, VICTIM), ODF_KERNEL_CHECK_DISCARD_NEIGHBORS);
	return 0;
}

static int unmap(const struct trial *trial, unsigned table, unsigned *failed)
{
	int error = (int)sys_call2(SYS_munmap, word(trial, table, VICTIM), PAGE);

	if (error < 0)
		return error;
	*failed |= unless(intact(trial, table, VICTIM), ODF_KERNEL_CHECK_UNMAP_NEIGHBORS);
	return 0;
}

/* Has the kernel kill this process when its parent ends. False: the parent has ended already. */
static bool go_with(int parent)
{
	(void)sys_call2(SYS_prctl, SET_PARENT_DEATH_SIGNAL, SIGKILL);
	return sys_call0(SYS_getppid) == parent;
}

static __attribute__((noreturn)) void end(int status)
{
	for (;;)
		(void)sys_call1(SYS_exit_group, status);
}

static bool receive(int fd, void *bytes, size_t size)
{
	return sys_read(fd, bytes, size) == (long)size;
}

/* ---- The second process ---- */

static __attribute__((noreturn)) void run_child(const struct trial *trial, int say, int hear, int parent)
{
	struct message message = { 0, 0, 0 };
	unsigned failed = 0;
	char go = 0;

	if (!go_with(parent))
		end(1);
	message.tables = page_tables();
	*word(trial, CHILD_WRITES, VICTIM) = 1;
	message.error = discard(trial, CHILD_DISCARDS, &message.failed);
	if (message.error == 0)
		message.error = unmap(trial, CHILD_UNMAPS, &message.failed);
	if (message.error == 0)
		message.error = unmap(trial, CHILD_UNMAPS_OWN, &message.failed);
	if (sys_write(say, &message, sizeof message) != sizeof message)
		end(1);
	/* What the first process has done meanwhile must not show here. */
	if (!receive(hear, &go, 1))
		end(1);
	failed |= unless(intact(trial, CHILD_WRITES, VICTIM), ODF_KERNEL_CHECK_WRITES);
	failed |= unless(intact(trial, PARENT_DISCARDS, NO_PAGE), ODF_KERNEL_CHECK_DISCARD_NEIGHBORS);
	failed |= unless(intact(trial, PARENT_UNMAPS, NO_PAGE), ODF_KERNEL_CHECK_UNMAP_NEIGHBORS);
	failed |= unless(intact(trial, PARENT_UNMAPS_OWN, NO_PAGE), ODF_KERNEL_CHECK_UNMAP_NEIGHBORS);
	if (sys_write(say, &failed, sizeof failed) != sizeof failed)
		end(1);
	end(0);
}

/* ---- The first process ---- */

static int prepare(struct trial *trial)
{
	const size_t size = (DENSE_TABLES + SPARSE_TABLES) * TABLE;
	struct {
		uint64_t soft, hard;
	} core;
	long area = sys_call6(SYS_mmap, 0, (long)(size + TABLE), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area < 0 && area > -4096)
		return (int)area;
	trial->area = (char *)(((uintptr_t)area + TABLE - 1) / TABLE * TABLE);
	/* A huge page has no page table to share. The call fails if the kernel has no huge pages, which is fine. */
	(void)sys_call3(SYS_madvise, trial->area, size, NO_HUGE_PAGES);
	for (unsigned table = 0; table < DENSE_TABLES; table++)
		fill(trial, table);
	for (unsigned table = DENSE_TABLES; table < DENSE_TABLES + SPARSE_TABLES; table++)
		*word(trial, table, 0) = signature(table, 0);
	/* A limit of one byte: no core dump, neither to a file nor to a program. */
	if (sys_call4(SYS_prlimit64, 0, 4 /* RLIMIT_CORE */, NULL, &core) == 0) {
		core.soft = core.hard < 1 ? core.hard : 1;
		(void)sys_call4(SYS_prlimit64, 0, 4, &core, NULL);
	}
	/* A mapping of one page for each process, which it unmaps. */
	area = sys_call3(SYS_mprotect, word(trial, CHILD_UNMAPS_OWN, VICTIM), PAGE, PROT_READ);
	return area < 0 ? (int)area
			: (int)sys_call3(SYS_mprotect, word(trial, PARENT_UNMAPS_OWN, VICTIM), PAGE, PROT_READ);
}

/* Sets the switch, and says which interface it is. Of the two interfaces behind one file, one keeps what is written and
 * reads 1 at once. The other is armed by the write and reads 0 until a fork: it is disarmed, and nothing is forked, as
 * forks on demand have crashed that kernel. *put_back: the switch was off. */
static int throw(struct kernel_trial_result *result, const char *path, bool *put_back)
{
	int bit = kernel_read_bit(path), error;

	*put_back = false;
	if (bit < 0)
		return bit;
	if (kernel_is_async(result->interface)) {
		*put_back = !kernel_bit_is_on(result->interface, bit);
		return *put_back ? kernel_throw(result->interface, path, true) : 0;
	}
	error = kernel_throw(result->interface, path, true);
	bit = error == 0 ? kernel_read_bit(path) : error;
	if (bit < 0)
		return bit;
	result->interface = bit == '1' ? ODF_KERNEL_INTERFACE_USE_ODF_HELD : ODF_KERNEL_INTERFACE_USE_ODF_ARMED;
	return bit == '1' ? 0 : kernel_throw(result->interface, path, false);
}

static void judge_tables(struct kernel_trial_result *result, size_t child_tables)
{
	result->child_tables = child_tables;
	if (result->tables == 0 || child_tables == 0 || kernel_is_async(result->interface))
		return; /* unknown, or meaningless: the child of Async-fork copies its tables itself */
	if (child_tables + FEWER_TABLES * PAGE <= result->tables)
		result->passed |= 1u << ODF_KERNEL_CHECK_EFFECT;
	else
		result->failed |= 1u << ODF_KERNEL_CHECK_EFFECT;
}

/* The first process's part, with the child at the other end of the pipes. False: the child, or the kernel under it,
 * failed. */
static bool compare(struct trial *trial, int hear, int say)
{
	struct kernel_trial_result *result = &trial->result;
	struct message message;
	unsigned failed = 0;
	char go = 1;

	if (!receive(hear, &message, sizeof message))
		return false;
	judge_tables(result, message.tables);
	result->failed |= message.failed;
	result->failed |= unless(intact(trial, CHILD_WRITES, NO_PAGE), ODF_KERNEL_CHECK_WRITES);
	result->failed |= unless(intact(trial, CHILD_DISCARDS, NO_PAGE), ODF_KERNEL_CHECK_DISCARD_NEIGHBORS);
	result->failed |= unless(intact(trial, CHILD_UNMAPS, NO_PAGE), ODF_KERNEL_CHECK_UNMAP_NEIGHBORS);
	result->failed |= unless(intact(trial, CHILD_UNMAPS_OWN, NO_PAGE), ODF_KERNEL_CHECK_UNMAP_NEIGHBORS);
	*word(trial, CHILD_WRITES, OTHER) = 2;
	result->error = -message.error;
	if (result->error == 0)
		result->error = -discard(trial, PARENT_DISCARDS, &result->failed);
	if (result->error == 0)
		result->error = -unmap(trial, PARENT_UNMAPS, &result->failed);
	if (result->error == 0)
		result->error = -unmap(trial, PARENT_UNMAPS_OWN, &result->failed);
	if (sys_write(say, &go, 1) != 1 || !receive(hear, &failed, sizeof failed))
		return false;
	result->failed |= failed;
	return true;
}

static void try_fork(struct trial *trial, const char *path)
{
	struct kernel_trial_result *result = &trial->result;
	int up[2], down[2], status = 0;
	bool put_back, compared;
	long self = sys_call0(SYS_getpid), pid;

	result->error = -(int)sys_call2(SYS_pipe2, up, O_CLOEXEC);
	if (result->error == 0)
		result->error = -(int)sys_call2(SYS_pipe2, down, O_CLOEXEC);
	if (result->error != 0)
		return;
	result->tables = page_tables();
	result->refused = -throw(result, path, &put_back);
	if (result->refused != 0) {
		if (put_back)
			(void)kernel_throw(result->interface, path, false);
		return;
	}
	if (result->interface == ODF_KERNEL_INTERFACE_USE_ODF_ARMED)
		return; /* known without a fork */
	pid = sys_call6(SYS_clone, 0, 0, 0, 0, 0, 0); /* no exit signal; waited for with __WCLONE */
	if (pid == 0) {
		sys_close(up[0]);
		sys_close(down[1]);
		run_child(trial, up[1], down[0], (int)self);
	}
	if (put_back)
		(void)kernel_throw(result->interface, path, false);
	if (pid < 0) {
		result->error = (int)-pid;
		return;
	}
	sys_close(up[1]);
	sys_close(down[0]);
	compared = compare(trial, up[0], down[1]);
	sys_close(up[0]);
	sys_close(down[1]); /* ends a child that waits for more */
	while (sys_call4(SYS_wait4, pid, &status, __WCLONE, NULL) == -EINTR)
		;
	if (!compared || status != 0) {
		result->failed |= 1u << ODF_KERNEL_CHECK_END;
		return;
	}
	result->passed |= ((1u << ODF_KERNEL_CHECK_COUNT) - 1) & ~(1u << ODF_KERNEL_CHECK_EFFECT) & ~result->failed;
}

void kernel_trial(odf_kernel_interface interface, const char *path, int report, int parent)
{
	struct trial trial = { .result = { .interface = interface } };

	if (!go_with(parent))
		end(1);
	trial.result.error = -prepare(&trial);
	if (trial.result.error == 0)
		try_fork(&trial, path);
	/* The switch ends with this process. */
	(void)sys_write(report, &trial.result, sizeof trial.result); /* a failed write has no reader */
	end(0);
}
