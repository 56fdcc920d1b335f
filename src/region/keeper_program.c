/* SPDX-License-Identifier: MIT
 *
 * What the keeper knows of the program. The keeper is no thread of the program, so the kernel does not count the
 * program's page faults and children as the keeper's: it has to ask. It opens files of /proc before it gives up the
 * right to open files; they stay readable whatever user ids the program takes later.
 *
 * How it learns of the program's end. The kernel sends it the parent-death signal when the thread that started it ends,
 * and again for each thread that becomes its parent after that, until none is left; the handler asks for the parent's
 * id. A program that has changed its user ids by then may not send that signal. So the keeper also sleeps on the word
 * that the kernel clears when the main thread ends or executes, and looks from time to time. A program that executes
 * another one stays the parent, but has other memory, which shows by its size. A program whose main thread has ended
 * has a size of 0, and exists as long as another thread does.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "../sys/proc.h"
#include "../sys/text.h"
#include "keeper.h"

struct program_files program_files = { -1, -1, -1, -1 };
atomic_int keeper_children[KEEPER_CHILDREN];
static int program;

static int open_of(int id, const char *name)
{
	char path[64];
	struct text text = text_start(path, sizeof path);

	text_add(&text, "/proc/");
	text_add_unsigned(&text, (uint64_t)id);
	text_add(&text, name);
	return proc_open(path, O_RDONLY);
}

/* The mounted /proc may count processes in another PID namespace. */
bool program_proc_is_ours(void)
{
	char own[24] = "", shown[24] = "";
	struct text text = text_start(own, sizeof own);
	long got = sys_call4(SYS_readlinkat, AT_FDCWD, "/proc/self", shown, sizeof shown - 1);

	text_add_unsigned(&text, (uint64_t)sys_call0(SYS_getpid));
	return got > 0 && strcmp(own, shown) == 0;
}

/* The program opens this file in its first fork. That takes 6 us less if the kernel knows the names already. */
static void prepare_list(int id)
{
	char path[80];
	struct text text = text_start(path, sizeof path);
	int file;

	text_add(&text, "/proc/");
	text_add_unsigned(&text, (uint64_t)id);
	text_add(&text, "/task/");
	text_add_unsigned(&text, (uint64_t)id);
	text_add(&text, "/maps");
	file = proc_open(path, O_RDONLY);
	if (file >= 0)
		sys_close(file);
}

void program_meet(int id)
{
	program = id;
	if (!program_proc_is_ours())
		return;
	prepare_list(id);
	program_files.stat = open_of(id, "/stat");
	program_files.statm = open_of(id, "/statm");
	program_files.own_statm = open_of((int)sys_call0(SYS_getpid), "/statm");
	program_files.load = sys_open("/proc/loadavg", PROC_READ, 0);
}

static long read_again(int file, char *text, size_t size)
{
	long got = file < 0 ? -EBADF : sys_call4(SYS_pread64, file, text, size - 1, 0);

	text[got > 0 ? got : 0] = '\0';
	return got;
}

/* The first number of statm: the size of the main thread's memory. 0 if that thread has ended. Other threads may
 * continue; when the last one ends, the keeper gets another parent. */
static uint64_t memory_size(int file)
{
	char text[128];
	uint64_t size = 0;

	if (read_again(file, text, sizeof text) <= 0)
		return 0;
	for (const char *at = text; *at >= '0' && *at <= '9'; at++)
		size = size * 10 + (uint64_t)(*at - '0');
	return size;
}

/* Two sizes that are read at two moments may differ although the memory is the same, so each of many tries must show a
 * difference. */
static bool has_other_memory(void)
{
	if (program_files.statm < 0 || program_files.own_statm < 0)
		return false;
	for (unsigned tries = 0; tries < 20; tries++) {
		uint64_t before = memory_size(program_files.statm), own = memory_size(program_files.own_statm);
		if (before == 0 || before == own || memory_size(program_files.statm) == own)
			return false;
	}
	return true;
}

bool program_is_gone(void)
{
	return sys_call0(SYS_getppid) != program || has_other_memory();
}

/* Returns the end of the program's name, which may contain any characters. */
static const char *read_stat(char *text, size_t size)
{
	return read_again(program_files.stat, text, size) <= 0 ? NULL : strrchr(text, ')');
}

/* A field of that line, from its fourth on, numbered as in proc(5). False: it is missing. */
enum { FLAGS = 9, MINOR_FAULTS };
static bool number_at(const char *at, int wanted, uint64_t *number)
{
	for (int field = 2; field < wanted && at != NULL; field++) /* `at` is the end of the second, the name */
		at = strchr(at + 1, ' ');
	if (at == NULL)
		return false;
	*number = 0;
	for (at++; *at >= '0' && *at <= '9'; at++)
		*number = *number * 10 + (uint64_t)(*at - '0');
	return true;
}

/* Flags of the kernel: the process is writing a core dump, by this thread or by another. */
#define PF_DUMPCORE     0x200u
#define PF_POSTCOREDUMP 0x8u

bool program_is_stopped(void)
{
	char text[512];
	const char *at = read_stat(text, sizeof text);
	uint64_t flags;

	if (at == NULL || at[1] != ' ' || at[2] == 'Z')
		return false;
	return at[2] == 't' || at[2] == 'T' ||
	       (number_at(at, FLAGS, &flags) && (flags & (PF_DUMPCORE | PF_POSTCOREDUMP)));
}

uint64_t program_faults(void)
{
	char text[512];
	uint64_t faults;
	const char *at = read_stat(text, sizeof text);

	return at != NULL && number_at(at, MINOR_FAULTS, &faults) ? faults : UINT64_MAX;
}

static bool has_ended(int id)
{
	struct pollfd ended = { .events = POLLIN };
	struct timespec now = { 0, 0 };
	int file = (int)sys_call2(SYS_pidfd_open, id, 0);
	bool found;

	if (file < 0)
		return file == -ESRCH;
	ended.fd = file;
	found = sys_call5(SYS_ppoll, &ended, 1, &now, NULL, 0) > 0;
	sys_close(file);
	return found;
}

unsigned program_ended_children(void)
{
	static unsigned ends;

	for (size_t i = 0; i < KEEPER_CHILDREN; i++) {
		int id = atomic_load_explicit(&keeper_children[i], memory_order_relaxed);
		if (id == 0 || !has_ended(id))
			continue;
		ends++;
		(void)atomic_compare_exchange_strong(&keeper_children[i], &id, 0);
	}
	return ends;
}

bool program_has_children(void)
{
	for (size_t i = 0; i < KEEPER_CHILDREN; i++)
		if (atomic_load_explicit(&keeper_children[i], memory_order_relaxed) != 0)
			return true;
	return false;
}

/* The fourth number of loadavg counts the runnable threads of the whole machine, the caller included: "0.20 0.18 0.12
 * 1/80 11206". */
bool program_leaves_a_processor(void)
{
	char text[128];
	unsigned running = 0;
	const char *at = text;

	if (read_again(program_files.load, text, sizeof text) <= 0)
		return true;
	for (int spaces = 0; spaces < 3 && *at != '\0'; at++)
		spaces += *at == ' ';
	for (; *at >= '0' && *at <= '9'; at++)
		running = running * 10 + (unsigned)(*at - '0');
	return running <= confine_processors;
}
