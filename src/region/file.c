/* SPDX-License-Identifier: MIT
 *
 * The file behind a region. If the kernel gives ordinary memory large pages unasked (transparent huge pages: always), a
 * memfd would fall behind, as a separate setting decides about its pages. A tmpfs that is mounted nowhere can be told
 * to use large pages. It takes CAP_SYS_ADMIN, which a process has in a user namespace of its own: a child that shares
 * the descriptor table makes the namespace, the tmpfs and the files in it, and ends. If that is forbidden, a memfd is
 * used. The keeper gives up the right to do any of this, and to open a file a second time, so it makes some empty files
 * in advance, which take a microsecond or two each.
 */
#include <errno.h>
#include <linux/memfd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <string.h>

#include "../sys/clone.h"
#include "../sys/next_process.h"
#include "../sys/proc.h"
#include "../sys/text.h"
#include "internal.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

/* The same numbers on every architecture, Linux 5.2. */
#define NUMBER_FSOPEN   430
#define NUMBER_FSCONFIG 431
#define NUMBER_FSMOUNT  432
#define CLOSE_ON_EXEC   1
#define SET_STRING      1
#define CREATE          6

bool region_large_pages_wanted(void)
{
	char text[64] = "";
	int fd;

	/* Disabled by the program or by an ancestor; since Linux 6.18 possibly only where madvise does not ask for
	 * them. */
	if (sys_call5(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0)
		return false;
	fd = sys_open("/sys/kernel/mm/transparent_hugepage/enabled", PROC_READ, 0);
	if (fd < 0)
		return false;
	if (sys_read(fd, text, sizeof text - 1) < 0)
		text[0] = '\0';
	sys_close(fd);
	return strstr(text, "[always]") != NULL;
}

static ODF_UNINSTRUMENTED int open_in(int mount)
{
	static const char name[] = "odfork-region";
	int file = (int)sys_call4(SYS_openat, mount, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (file >= 0)
		(void)sys_call3(SYS_unlinkat, mount, name, 0); /* if this fails, it still goes away with the file
		                                                  system */
	return file;
}

/* Makes `count` files with large pages. Returns how many it could make. */
static ODF_UNINSTRUMENTED int make_large(int *files, int count)
{
	int context = (int)sys_call2(NUMBER_FSOPEN, "tmpfs", CLOSE_ON_EXEC), mount = -1, made = 0;

	if (context < 0)
		return 0;
	/* A size of 0: no limit of its own, like a memfd. */
	if (sys_call5(NUMBER_FSCONFIG, context, SET_STRING, "huge", "always", 0) == 0 &&
	    sys_call5(NUMBER_FSCONFIG, context, SET_STRING, "size", "0", 0) == 0 &&
	    sys_call5(NUMBER_FSCONFIG, context, CREATE, NULL, NULL, 0) == 0)
		mount = (int)sys_call3(NUMBER_FSMOUNT, context, CLOSE_ON_EXEC, 0);
	sys_close(context);
	if (mount < 0)
		return 0;
	while (made < count && (files[made] = open_in(mount)) >= 0)
		made++;
	sys_close(mount);
	return made;
}

/* ---- In a user namespace. The child runs on the parent's memory until it ends: system calls only ---- */

struct in_namespace {
	/* They map the caller's ids to the same ids: an id that is not mapped cannot own a file. */
	char users[48], groups[48];
	size_t users_length, groups_length;
	int *files;
	int count, made;
};

static ODF_UNINSTRUMENTED bool put(const char *path, const char *text, size_t length)
{
	int fd = proc_open(path, O_WRONLY);
	bool done;

	if (fd < 0)
		return false;
	done = sys_write(fd, text, length) == (long)length;
	sys_close(fd);
	return done;
}

static ODF_UNINSTRUMENTED int namespace_child(void *argument)
{
	struct in_namespace *there = argument;

	/* An unprivileged process may map its group only after setgroups is denied: to drop a group could be a way past
	 * the rights of a file. */
	if (put("/proc/self/setgroups", "deny", 4) && put("/proc/self/uid_map", there->users, there->users_length) &&
	    put("/proc/self/gid_map", there->groups, there->groups_length))
		there->made = make_large(there->files, there->count);
	return 0;
}

static size_t map_one_id(char *line, size_t size, uint64_t id)
{
	struct text text = text_start(line, size);

	text_add_unsigned(&text, id);
	text_add(&text, " ");
	text_add_unsigned(&text, id);
	text_add(&text, " 1");
	return strlen(line);
}

static int make_large_in_namespace(int *files, int count)
{
	static const size_t stack_size = 16384;
	struct in_namespace there = { .files = files, .count = count };
	struct clone_request request = {
		/* With a mount namespace of its own, as it would have no right to mount in the old one. */
		.flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWUSER | CLONE_NEWNS,
		.stack_size = stack_size,
		.function = namespace_child,
		.argument = &there,
	};
	uint64_t all = ~0ull, mask;
	long pid;

	if (next_process() == NEXT_PROCESS_FIRST || next_process() == NEXT_PROCESS_UNKNOWN)
		return 0; /* that child would be the first process of a PID namespace, which would end with it */
	there.users_length = map_one_id(there.users, sizeof there.users, (uint64_t)sys_call0(SYS_geteuid));
	there.groups_length = map_one_id(there.groups, sizeof there.groups, (uint64_t)sys_call0(SYS_getegid));
	request.stack =
		region_map(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (request.stack == NULL)
		return 0;
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask); /* the child must not run a signal handler on our memory */
	pid = clone_child(&request);
	if (pid > 0) {
		int status;
		while (sys_call4(SYS_wait4, pid, &status, __WCLONE, NULL) == -EINTR)
			;
	}
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	region_unmap(request.stack, stack_size);
	return there.made;
}

static int make_memfd(void)
{
	long file = sys_call2(SYS_memfd_create, "odfork-region", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	if (file == -EINVAL) /* a kernel before 6.3 does not know the flag */
		file = sys_call2(SYS_memfd_create, "odfork-region", MFD_CLOEXEC);
	return (int)file;
}

/* How a tmpfs can be made: by this process, with CAP_SYS_ADMIN; otherwise in a user namespace; not at all under a
 * seccomp filter, which may kill for such calls. */
enum maker { MAKER_NONE, MAKER_NAMESPACE, MAKER_PROCESS };

static enum maker find_maker(void)
{
	enum { SYS_ADMIN = 21, FROM_THE_END = SYS_ADMIN / 4 };
	static const char rights[] = "\nCapEff:\t", sandbox[] = "\nSeccomp:\t0\n";
	char text[4096] = "", digit;
	const char *line, *end;
	int fd = sys_open("/proc/thread-self/status", PROC_READ, 0);

	if (fd < 0)
		return MAKER_NONE;
	if (sys_read(fd, text, sizeof text - 1) < 0)
		text[0] = '\0';
	/* proc_look makes a call that a filter could punish: only if the text says that there is none. */
	if (strstr(text, sandbox) == NULL || proc_look(fd) != 0)
		text[0] = '\0';
	sys_close(fd);
	line = strstr(text, rights);
	end = line == NULL ? NULL : strchr(line + sizeof rights - 1, '\n');
	if (end == NULL || end - line < (long)sizeof rights + FROM_THE_END)
		return MAKER_NONE;
	digit = end[-1 - FROM_THE_END];
	digit = (char)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
	return ((digit >> SYS_ADMIN % 4) & 1) != 0 ? MAKER_PROCESS : MAKER_NAMESPACE;
}

static bool is_same_file(int a, int b)
{
	struct stat first, second;

	return sys_call2(SYS_fstat, a, &first) == 0 && sys_call2(SYS_fstat, b, &second) == 0 &&
	       first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* Opens the same file a second time. Memory is written to it, and what the path leads to need not be ours
 * (sys/proc.h). */
static int open_again(int file)
{
	char path[48];
	struct text text = text_start(path, sizeof path);
	int second;

	text_add(&text, "/proc/thread-self/fd/");
	text_add_unsigned(&text, (uint64_t)file);
	second = sys_open(path, O_RDWR | O_NONBLOCK | O_NOCTTY, 0);
	if (second >= 0 && !is_same_file(file, second)) {
		sys_close(second);
		return -ENOENT;
	}
	return second;
}

static atomic_bool large; /* those of the heap's regions are */
static atomic_bool some_large;

bool region_has_large_pages(void)
{
	return atomic_load_explicit(&large, memory_order_relaxed);
}

bool region_files_are_large(void)
{
	return atomic_load_explicit(&some_large, memory_order_relaxed);
}

/* ---- The stock ---- */

static struct {
	int count;
	bool large;
	int files[REGION_FILES_IN_STOCK], seconds[REGION_FILES_IN_STOCK];
} stock;

void region_files_forget(void)
{
	stock.count = 0;
}

void region_files_make(void)
{
	enum maker maker = region_large_pages_wanted() ? find_maker() : MAKER_NONE;
	int made = 0;

	if (maker == MAKER_PROCESS)
		made = make_large(stock.files, REGION_FILES_IN_STOCK);
	if (made == 0 && maker != MAKER_NONE) /* root in a container has the capability, but may not do this with it */
		made = make_large_in_namespace(stock.files, REGION_FILES_IN_STOCK);
	stock.large = made > 0;
	while (!stock.large && made < REGION_FILES_IN_STOCK && (stock.files[made] = make_memfd()) >= 0)
		made++;
	stock.count = made;
	for (int i = 0; i < made; i++)
		stock.seconds[i] = open_again(stock.files[i]);
}

int region_file_take(size_t size, bool heaps, int *second)
{
	bool stocked = stock.count > 0;
	int file;
	long result;

	*second = -1;
	if (stocked) {
		file = stock.files[--stock.count];
		*second = stock.seconds[stock.count];
	} else {
		file = make_memfd();
	}
	if (file < 0)
		return file;
	if (stocked && stock.large)
		atomic_store_explicit(&some_large, true, memory_order_relaxed);
	if (heaps)
		atomic_store_explicit(&large, stocked && stock.large, memory_order_relaxed);
	/* The keeper ignores SIGXFSZ: RLIMIT_FSIZE is here its own limit, not the program's. */
	result = sys_call2(SYS_ftruncate, file, size);
	if (result < 0) {
		sys_close(file);
		if (*second >= 0)
			sys_close(*second);
		*second = -1;
		return (int)result;
	}
	return file;
}
