/* SPDX-License-Identifier: MIT
 *
 * Cases of test_moved: memory that leaves a region by copying, since the kernel cannot move part of a file mapping into
 * anonymous memory. The memory has few written pages, or is larger than the machine's, or the kernel refuses a call on
 * the way.
 */
#include "moved.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/sysinfo.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#define MREMAP_ANYWHERE_ELSE (MREMAP_MAYMOVE | MREMAP_DONTUNMAP)

/* ---- Memory that was never written is not read ---- */

#define SPARSE  ((size_t)1 << 30)
#define WRITTEN (64 * MIB) /* one page is written in each */
/* For 16384 of them the memory would have to be read page by page, in pieces of 64 KiB. */
#define FAULTS_MOST 10000

static long faults(void)
{
	struct rusage usage;

	must(getrusage(RUSAGE_SELF, &usage) == 0);
	return usage.ru_minflt;
}

static char *write_sparsely(char *p, size_t size)
{
	for (size_t at = 0; at < size; at += WRITTEN)
		p[at + 5] = (char)(at / WRITTEN + 1);
	return p;
}

static void must_be_sparse(const char *p, size_t size)
{
	for (size_t at = 0; at < size; at += WRITTEN)
		must(p[at + 5] == (char)(at / WRITTEN + 1) && p[at + WRITTEN / 2] == 0);
}

/* In a region from the start, as with map_inside. */
static char *map_sparse(size_t size, int flags)
{
	char *p;

	grown = map(32 * MIB);
	if (settles() || !preloaded())
		must(status_of(end_at_once()) == 0);
	p = mmap(NULL, size, RW, PLAIN | flags, -1, 0);
	/* As soon as the rest is. */
	for (int i = 0; p != MAP_FAILED && i < (is_inside(p) ? 30000 : 3000) && settles() && !is_live(p); i++) {
		must(munmap(p, size) == 0);
		wait_ms(1);
		p = mmap(NULL, size, RW, PLAIN | flags, -1, 0);
	}
	if (p == MAP_FAILED)
		cannot_be_done_here("there is no such mapping");
	write_sparsely(p, size);
	if (preloaded() && !is_inside(p))
		cannot_be_done_here("no regions");
	must(status_of(end_at_once()) == 0);
	for (int i = 0; i < 12000 && settles() && !(is_live(p) && is_live(p + size - PAGE)); i++)
		wait_ms(5);
	if (settles() && !is_live(p))
		cannot_be_done_here("it does not settle");
	return p;
}

/* By any program: a page that is not present may then be swapped out, and all pages are read. */
static bool something_is_swapped(void)
{
	struct sysinfo machine;

	must(sysinfo(&machine) == 0);
	return machine.freeswap != machine.totalswap;
}

static void move_sparse(char *p)
{
	char *place = mmap(NULL, SPARSE, PROT_NONE, PLAIN | MAP_NORESERVE, -1, 0);
	long before = faults();

	must(place != MAP_FAILED && mremap(p, SPARSE, SPARSE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
	must(faults() - before < FAULTS_MOST || something_is_swapped());
	must_be_sparse(place, SPARSE);
	must(status_of(end_at_once()) == 0);
	must_be_sparse(place, SPARSE);
	must(!is_mapped(p) || preloaded());
}

void copied_sparse(void)
{
	move_sparse(map_sparse(SPARSE, 0));
}

void copied_sparse_while_frozen(void)
{
	char *p = map_sparse(SPARSE, 0);
	pid_t child = hold();

	p[SPARSE / 2 + 5]++;
	p[SPARSE / 2 + 5]--;
	move_sparse(p);
	let_go(child);
}

/* By advice that only anonymous memory supports. */
void copied_sparse_for_advice(void)
{
	char *p = map_sparse(SPARSE, 0);
	long before = faults();

	must(madvise(p, SPARSE, MADV_WIPEONFORK) == 0);
	must(faults() - before < FAULTS_MOST || something_is_swapped());
	must_be_sparse(p, SPARSE);
}

/* ---- More memory than the machine has ---- */

static size_t part_of_machine(size_t tenths)
{
	struct sysinfo machine;

	must(sysinfo(&machine) == 0);
	return (machine.totalram + machine.totalswap) * machine.mem_unit / 10 * tenths / (64 * MIB) * (64 * MIB);
}

static int overcommit(void)
{
	FILE *file = fopen("/proc/sys/vm/overcommit_memory", "re");
	int mode = -1;

	if (file != NULL && fscanf(file, "%d", &mode) != 1)
		mode = -1;
	if (file != NULL)
		fclose(file);
	return mode;
}

/* The kernel refuses a single request for more than the machine has. For a mapping that grows it counts only the part
 * that is added. */
void copied_larger_than_the_machine(void)
{
	size_t size = part_of_machine(6), more = part_of_machine(11);
	char *p, *q;

	if (overcommit() != 0 || size > (size_t)64 << 30)
		cannot_be_done_here("another policy of overcommit, or a large machine");
	p = map_sparse(size, 0);
	q = mremap(p, size, more, MREMAP_MAYMOVE);
	must(q != MAP_FAILED);
	must_be_sparse(q, size);
	must(q[more - 1] == 0);
	p = mmap(NULL, 64 * MIB, RW, PLAIN, -1, 0);
	must(p != MAP_FAILED && mremap(p, 64 * MIB, 64 * MIB + more, MREMAP_MAYMOVE) == MAP_FAILED && errno == ENOMEM);
	must_be_sparse(q, size);
}

/* The memory is not accounted, so it can be larger. */
void copied_without_a_promise(void)
{
	size_t size = part_of_machine(12), more = part_of_machine(13);
	char *p, *q;

	if (overcommit() == 2 || size > (size_t)64 << 30)
		cannot_be_done_here("another policy of overcommit, or a large machine");
	p = map_sparse(size, MAP_NORESERVE);
	q = mremap(p, size, more, MREMAP_MAYMOVE);
	must(q != MAP_FAILED);
	must_be_sparse(q, size);
	must(q[more - 1] == 0);
}

/* ---- Calls that the kernel refuses on the way ---- */

enum test { EQUAL, OTHER, HAS_BITS };
struct condition {
	unsigned argument; /* index among the system call's arguments */
	enum test test;
	uint64_t value;
};

/* System calls with this number that meet all the conditions are not made, and return this error. */
static void refuse(long number, const struct condition *conditions, size_t count, unsigned error)
{
	struct sock_filter code[64];
	struct sock_fprog program = { 0, code };
	unsigned short at = 0, permits[32];
	unsigned permitted = 0;

	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	permits[permitted++] = at;
	code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1);
	for (size_t i = 0; i < count; i++) {
		const struct condition *condition = &conditions[i];
		unsigned low = (unsigned)offsetof(struct seccomp_data, args) + 8 * condition->argument;
		/* Little-endian; the values differ in the low half. */
		code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low);
		permits[permitted++] = at;
		if (condition->test == HAS_BITS)
			code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K,
								  (uint32_t)condition->value, 0, 1);
		else if (condition->test == EQUAL)
			code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
								  (uint32_t)condition->value, 0, 1);
		else
			code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
								  (uint32_t)condition->value, 1, 0);
	}
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	for (unsigned i = 0; i < permitted; i++) {
		struct sock_filter *jump = &code[permits[i]];
		unsigned char far = (unsigned char)(at - 1 - permits[i] - 1);
		if (jump->jt == 1)
			jump->jt = far;
		else
			jump->jf = far;
	}
	program.len = at;
	must(raw(SYS_prctl, (void *)PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) == 0);
	if (raw(SYS_seccomp, (void *)SECCOMP_SET_MODE_FILTER, 0, (long)&program, 0, 0, 0) != 0)
		cannot_be_done_here("no filters");
}

static bool cannot_be_read(const char *p)
{
	return strstr(line_of(p), " ---p ") != NULL;
}

#define LENGTH_OF_MAPPING (3 * MIB + 5 * PAGE)
#define LENGTH_OF_RIGHTS  (2 * MIB + 7 * PAGE)

static bool are_guards(char *p)
{
	return cannot_be_read(p + MIB) && cannot_be_read(p + MIB + LENGTH_OF_MAPPING - PAGE) &&
	       cannot_be_read(p + 8 * MIB) && cannot_be_read(p + 8 * MIB + LENGTH_OF_RIGHTS - PAGE) && p[0] == 1 &&
	       p[6 * MIB] == 1 && p[12 * MIB] == 1;
}

/* What could not be read before must not be readable after a call that has failed. */
void copied_not_after_all(void)
{
	char *p = map_inside(16 * MIB), *first = p + MIB, *second = p + 8 * MIB;
	const struct condition mapping[] = { { 1, EQUAL, LENGTH_OF_MAPPING } };
	const struct condition rights[] = { { 1, EQUAL, LENGTH_OF_RIGHTS }, { 0, OTHER, (uintptr_t)second } };
	bool inside;

	must(mprotect(first, LENGTH_OF_MAPPING, PROT_NONE) == 0 && mprotect(second, LENGTH_OF_RIGHTS, PROT_NONE) == 0);
	must(are_guards(p));
	inside = preloaded() && is_inside(first) && is_inside(second);
	refuse(SYS_mmap, mapping, 1, ENOMEM);
	refuse(SYS_mprotect, rights, 2, ENOMEM);
	if (inside) {
		must(mremap(first, LENGTH_OF_MAPPING, LENGTH_OF_MAPPING, MREMAP_ANYWHERE_ELSE, NULL) ==
			     MAP_FAILED &&
		     errno == ENOMEM);
		must(are_guards(p));
	}
	must((madvise(first, LENGTH_OF_MAPPING, MADV_WIPEONFORK) == -1 && errno == ENOMEM) == inside);
	must(are_guards(p));
	must((madvise(second, LENGTH_OF_RIGHTS, MADV_WIPEONFORK) == -1 && errno == ENOMEM) == inside);
	must(are_guards(p));
	must(mprotect(first, LENGTH_OF_MAPPING, PROT_READ) == 0 && first[0] == 1);
	must(mprotect(second, MIB, PROT_READ) == 0 && second[0] == 1);
}

/* Memory that the program itself has moved out of the region: a fork has to turn it into ordinary memory. */
void copied_not_from_elsewhere(void)
{
	char *p = map_inside(16 * MIB), *place = mmap(NULL, LENGTH_OF_RIGHTS, PROT_NONE, PLAIN, -1, 0);
	const struct condition rights[] = { { 1, EQUAL, LENGTH_OF_RIGHTS }, { 0, OTHER, (uintptr_t)place } };
	pid_t pid;

	must(place != MAP_FAILED);
	must(raw(SYS_mremap, p + MIB, LENGTH_OF_RIGHTS, LENGTH_OF_RIGHTS, MREMAP_MAYMOVE | MREMAP_FIXED, (long)place,
		 0) == (long)place);
	must(raw(SYS_mprotect, place, LENGTH_OF_RIGHTS, PROT_NONE, 0, 0, 0) == 0);
	refuse(SYS_mprotect, rights, 2, ENOMEM);
	pid = fork();
	must(pid >= 0 || preloaded());
	if (pid == 0)
		_exit(cannot_be_read(place) && p[0] == 1 ? 0 : 1);
	must(pid < 0 || status_of(pid) == 0);
	must(cannot_be_read(place) && cannot_be_read(place + LENGTH_OF_RIGHTS - PAGE));
	must(raw(SYS_mprotect, place, PAGE, PROT_READ, 0, 0, 0) == 0 && place[0] == 1);
}

/* ---- Where the kernel treats files differently from other memory ---- */

#ifdef __x86_64__
static const unsigned char says_42[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
#else
static const unsigned char says_42[] = { 0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6 };
#endif

static int call(char *code)
{
	int (*function)(void);

	__builtin___clear_cache(code, code + sizeof says_42);
	memcpy(&function, &code, sizeof function);
	return function();
}

static bool say_42(char *p)
{
	return call(p + MIB) == 42 && call(p + 4 * MIB) == 42 && p[MIB + 100] == 1 && p[5 * MIB - 1] == 1 && p[0] == 1;
}

/* Like a security module that permits a program to make its own memory executable, but not memory that a file backs. */
void copied_to_be_executable(void)
{
	char *p = map_inside(8 * MIB), *code = p + MIB, *writable = p + 4 * MIB;
	const struct condition at_code[] = { { 0, EQUAL, (uintptr_t)code }, { 2, HAS_BITS, PROT_EXEC } };
	const struct condition at_writable[] = { { 0, EQUAL, (uintptr_t)writable }, { 2, HAS_BITS, PROT_EXEC } };

	memcpy(code, says_42, sizeof says_42);
	memcpy(writable, says_42, sizeof says_42);
	if (preloaded()) {
		refuse(SYS_mprotect, at_code, 2, EACCES);
		refuse(SYS_mprotect, at_writable, 2, EPERM);
	}
	must(mprotect(code, MIB, PROT_READ | PROT_EXEC) == 0 && strstr(line_of(code), " r-x") != NULL);
	must(mprotect(writable, MIB, RW | PROT_EXEC) == 0 && strstr(line_of(writable), " rwx") != NULL);
	writable[200] = 7;
	over_forks(say_42, p);
	must(mprotect(code, MIB, RW) == 0);
	code[0]++;
}

/* ---- Protection keys. The machine need not have them: the call is not made --------------------------------------- */

static bool is_as_written(char *p)
{
	return p[0] == 1 && p[MIB] == 3 && p[2 * MIB - 1] == 3 && p[2 * MIB] == 1;
}

/* Later calls could neither read memory with a key nor give the key to a copy. So such memory leaves the region. */
void copied_for_its_key(void)
{
	char *p = map_inside(8 * MIB);
	const struct condition key[] = { { 3, EQUAL, 1 } };

	memset(p + MIB, 3, MIB);
	refuse(SYS_pkey_mprotect, key, 1, 0);
	must(syscall(SYS_pkey_mprotect, p + MIB, MIB, RW, 1) == 0);
	must(!is_inside(p + MIB) && !is_inside(p + 2 * MIB - PAGE));
	over_forks(is_as_written, p);
}

static void *sleep_for_ever(void *unused)
{
	(void)unused;
	for (;;)
		(void)pause();
	return NULL;
}

/* If another thread may write to it, it stays where it is, and is not copied. */
void copied_not_with_a_key(void)
{
	char *p = map_inside(8 * MIB), *keyed = p + MIB, *constant = p + 4 * MIB;
	const struct condition key[] = { { 3, EQUAL, 1 } };
	pthread_t thread;

	memset(keyed, 3, MIB);
	must(pthread_create(&thread, NULL, sleep_for_ever, NULL) == 0);
	refuse(SYS_pkey_mprotect, key, 1, 0);
	must(syscall(SYS_pkey_mprotect, keyed, MIB, RW, 1) == 0);
	must(syscall(SYS_pkey_mprotect, constant, MIB, PROT_READ, 1) == 0);
	if (preloaded()) {
		must(mremap(keyed, MIB, MIB, MREMAP_ANYWHERE_ELSE, NULL) == MAP_FAILED && errno == ENOMEM);
		must(madvise(keyed, MIB, MADV_WIPEONFORK) == -1 && errno == ENOMEM);
		must(madvise(keyed, MIB, MADV_DONTNEED) == -1 && errno == ENOMEM);
	}
	must(is_as_written(p));
	if (syscall(NUMBER_MSEAL, constant, MIB, 0ul) == 0 && preloaded())
		must(is_inside(constant) && constant[0] == 1);
	over_forks(is_as_written, p);
}
