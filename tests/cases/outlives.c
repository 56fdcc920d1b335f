/* SPDX-License-Identifier: MIT
 *
 * A child that outlives the process whose memory it inherited, as a daemon does. What it has written or given back is
 * held once and not twice, also in files that no process shows, and its forks still work. A process that shares memory
 * with another one continues to share it. After the last process has ended, nothing is left.
 */
#include <pthread.h>
#include <sys/syscall.h>

#include "../support/preloaded.h"
#include "../support/real_call.h"
#include "../support/region_files.h"

#define ALL  (48 * MIB)
#define PAGE ((size_t)4096)
#define HOLE (16 * MIB) /* never touched */

static char *memory;

/* views() counts the views of region files in `inherited`, the files that it was told to learn, without those in
 * `of_others`, the files of processes that continue. */
#define FILES 64
struct files {
	unsigned long inode[FILES];
	int count;
};
static struct files inherited, of_others;

/* The same files, where they can be looked at. */
static struct region_files left_behind, others;

/* What this process maps is left to its children, but for what others have. */
static void note_files(void)
{
	struct region_files all = { .count = 0 };

	region_files_add(&all, "self", "map_files", NULL);
	for (size_t i = 0; i < all.count; i++)
		if (!region_files_have(&others, all.file[i].device, all.file[i].inode) &&
		    !region_files_have(&left_behind, all.file[i].device, all.file[i].inode)) {
			must(left_behind.count < REGION_FILES);
			left_behind.file[left_behind.count++] = all.file[i];
		}
}

static bool has(const struct files *files, unsigned long inode)
{
	for (int i = 0; i < files->count; i++)
		if (files->inode[i] == inode)
			return true;
	return false;
}

static int views(struct files *learned)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int count = 0;

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long inode, minor;
		/* Files with large pages are on a file system of their own process, with small inode numbers. */
		if (strstr(line, "odfork-region") == NULL ||
		    sscanf(line, "%*s %*s %*s %*x:%lx %lu", &minor, &inode) != 2)
			continue;
		inode |= minor << 40;
		if (learned != NULL && !has(learned, inode)) {
			must(learned->count < FILES);
			learned->inode[learned->count++] = inode;
		}
		count += has(&inherited, inode) && !has(&of_others, inode);
	}
	fclose(maps);
	return count;
}

static bool is_all(const char *start, size_t length, char value)
{
	for (size_t at = 0; at < length; at += PAGE)
		if (start[at] != value || start[at + PAGE - 1] != value)
			return false;
	return true;
}

static bool is_all_live(void)
{
	return is_live(memory) && is_live(memory + ALL / 2) && is_live(memory + ALL - PAGE);
}

/* Writes all of it in the region's file, so that no page is private to this process. */
static void load(void)
{
	memory = mmap(NULL, ALL + HOLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	memset(memory, 5, ALL);
	for (int round = 0; round < 2; round++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		must(status_of(pid) == 0);
	}
	for (int tries = 0; tries < 6000 && getenv("ODFORK_HEAP") != NULL && started_as == 0 && !is_all_live(); tries++)
		wait_ms(5);
	must(getenv("ODFORK_HEAP") == NULL || started_as != 0 || is_all_live());
}

/* System calls that a program makes anyway. */
static void live_on(void)
{
	for (int i = 0; i < 20; i++) {
		char *some = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(some != MAP_FAILED && madvise(memory + ALL, PAGE, MADV_DONTNEED) == 0 &&
		     munmap(some, 4 * PAGE) == 0);
		wait_ms(20);
	}
}

/* The interval between the library's checks depends on how long the last one took. */
static void live_on_until_parted(void)
{
	live_on();
	for (int tries = 0; tries < 100 && getenv("ODFORK_HEAP") != NULL && views(NULL) != 0; tries++)
		live_on();
}

static void fork_once(char value, size_t from)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(is_all(memory + from, ALL - from, value) ? 0 : 1);
	must(pid > 0 && status_of(pid) == 0);
}

/* The process continues as its own child, after its end. */
static void be_orphaned(void)
{
	pid_t parent = getpid(), pid = fork();

	must(pid >= 0);
	if (pid > 0)
		_exit(0);
	while (getppid() == parent)
		wait_ms(1);
}

static int end; /* to report success there */

/* The case continues in a child whose parent has ended; a process that waits for it here learns its exit status. */
static void be_left(void)
{
	int ends[2];
	char byte;
	pid_t pid;

	must(pipe(ends) == 0);
	(void)views(&of_others); /* this process continues */
	region_files_add(&others, "self", "map_files", NULL);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		close(ends[0]);
		load();
		note_files();
		be_orphaned();
		end = ends[1];
		(void)views(&inherited);
		return;
	}
	close(ends[1]);
	must(status_of(pid) == 0);
	must(read(ends[0], &left_behind, sizeof left_behind) == (ssize_t)sizeof left_behind);
	must(read(ends[0], &byte, 1) == 0 && region_files_are_gone(&left_behind));
	_exit(0);
}

static void be_done(void)
{
	must(write(end, &left_behind, sizeof left_behind) == (ssize_t)sizeof left_behind);
	_exit(0);
}

/* It has no part of those files any more, and nobody else has. */
static void must_have_parted(void)
{
	must(views(NULL) == 0 && region_files_are_gone(&left_behind));
}

/* Everything is rewritten. */
static void rewritten(char *words[CASE_WORDS])
{
	(void)words;
	be_left();
	must(is_all(memory, ALL, 5));
	memset(memory, 6, ALL);
	fork_once(6, 0);
	live_on_until_parted();
	must(is_all(memory, ALL, 6) && memory[ALL + HOLE - 1] == 0);
	if (getenv("ODFORK_HEAP") != NULL) {
		char rights[5];
		bool inside;
		must(mapping_of(memory + ALL / 2, rights, &inside) && strcmp(rights, "rw-p") == 0);
	}
	if (getenv("ODFORK_HEAP") != NULL)
		must_have_parted();
	must(kib("RssAnon:") + kib("RssShmem:") < (long)(ALL / 1024) + 24 * 1024);
	must(held_kib() < (long)(ALL / 1024) + 24 * 1024);
	for (int round = 0; round < 3; round++) {
		memset(memory, 7 + round, ALL);
		fork_once((char)(7 + round), 0);
	}
	be_done();
}

/* Most is given back, in each way, and some is only read. */
static void given_back(char *words[CASE_WORDS])
{
	size_t kept = ALL / 16;

	be_left();
	must(mprotect(memory, kept / 2, PROT_READ) == 0 && mprotect(memory + kept / 2, PAGE, PROT_NONE) == 0);
	if (strcmp(words[0], "munmap") == 0) {
		must(munmap(memory + kept, ALL - kept) == 0);
	} else if (strcmp(words[0], "over") == 0) {
		must(mmap(memory + kept, ALL - kept, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			  -1, 0) == memory + kept);
	} else {
		must(madvise(memory + kept, ALL - kept, MADV_DONTNEED) == 0);
		must(is_all(memory + kept, ALL - kept, 0));
	}
	live_on_until_parted();
	if (getenv("ODFORK_HEAP") != NULL) {
		char rights[5];
		bool inside;
		must(mapping_of(memory, rights, &inside) && strcmp(rights, "r--p") == 0 && !inside);
		must(mapping_of(memory + kept / 2, rights, &inside) && strcmp(rights, "---p") == 0 && !inside);
		must_have_parted();
	}
	must(is_all(memory, kept / 2, 5) && is_all(memory + kept / 2 + PAGE, kept / 2 - PAGE, 5));
	must(mprotect(memory + kept / 2, PAGE, PROT_READ) == 0 && is_all(memory + kept / 2, PAGE, 5));
	must(kib("RssAnon:") + kib("RssShmem:") < (long)(ALL / 1024) / 2);
	must(held_kib() < (long)(ALL / 1024) / 2);
	must(mprotect(memory, kept, PROT_READ | PROT_WRITE) == 0);
	for (int round = 0; round < 2; round++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(is_all(memory, kept, 5) ? 0 : 1);
		must(pid > 0 && status_of(pid) == 0);
	}
	be_done();
}

/* Two children outlive their parent: neither may take for itself what the other still reads. */
static void shared(char *words[CASE_WORDS])
{
	int ends[2], go[2];
	pid_t pid;
	char byte;

	(void)words;
	be_left();
	must(pipe(ends) == 0 && pipe(go) == 0 && is_all(memory, ALL, 5));
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		must(is_all(memory, ALL, 5) && write(ends[1], "", 1) == 1);
		close(go[1]);
		must(read(go[0], &byte, 1) == 0 && is_all(memory, ALL, 5));
		_exit(0);
	}
	must(read(ends[0], &byte, 1) == 1);
	memset(memory, 6, ALL / 4 * 3);
	live_on();
	must(is_all(memory, ALL / 4 * 3, 6) && is_all(memory + ALL / 4 * 3, ALL / 4, 5));
	must(kib("RssAnon:") < (long)(ALL / 1024) * 3 / 4 + 8192 || getenv("ODFORK_HEAP") == NULL);
	close(go[1]);
	must(status_of(pid) == 0);
	memset(memory, 7, ALL);
	live_on();
	fork_once(7, 0);
	be_done();
}

/* While its maker lives the child is a child like any other, and both keep their contents. */
static void maker_lives(char *words[CASE_WORDS])
{
	pid_t pid;

	(void)words;
	load();
	pid = fork();
	if (pid == 0) {
		memset(memory, 6, ALL / 4 * 3);
		live_on();
		fork_once(5, ALL / 4 * 3);
		must(is_all(memory, ALL / 4 * 3, 6) && is_all(memory + ALL / 4 * 3, ALL / 4, 5));
		if (getenv("ODFORK_HEAP") != NULL && started_as == 0)
			must(is_inside(memory + ALL - PAGE));
		_exit(0);
	}
	memset(memory + ALL / 2, 8, ALL / 2);
	must(pid > 0 && status_of(pid) == 0);
	must(is_all(memory, ALL / 2, 5) && is_all(memory + ALL / 2, ALL / 2, 8));
}

/* Part of what it inherited was moved by a call that the library did not see: that part is the child's, and stays. */
static void moved_away(char *words[CASE_WORDS])
{
	char *moved;

	(void)words;
	be_left();
	memset(memory, 3, ALL / 4 * 3);
	moved = (char *)real_call(SYS_mremap, (long)(memory + MIB), MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED,
				  0x200000000000, 0);
	must(moved == (char *)0x200000000000);
	memset(memory + 2 * MIB, 4, ALL - 2 * MIB);
	live_on_until_parted();
	fork_once(4, 2 * MIB);
	must(is_all(moved, MIB, 3) && is_all(memory, MIB, 3) && is_all(memory + 2 * MIB, ALL - 2 * MIB, 4));
	must_have_parted();
	must(held_kib() < (long)(ALL / 1024) + 24 * 1024);
	memset(moved, 8, MIB);
	fork_once(4, 2 * MIB);
	must(is_all(moved, MIB, 8));
	be_done();
}

#define GENERATIONS 40
#define KEPT        (20 * MIB)

/* A server that replaces itself by forking: each generation leaves nothing behind, and is large enough for a heap. */
static void generations(char *words[CASE_WORDS])
{
	(void)words;
	be_left();
	must(munmap(memory + KEPT, ALL - KEPT) == 0);
	for (int generation = 0; generation < GENERATIONS; generation++) {
		memset(memory, generation, KEPT);
		for (int tries = 0; tries < 2; tries++) {
			char *some = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			must(some != MAP_FAILED);
			pid_t pid = fork();
			if (pid == 0)
				_exit(0);
			must(pid > 0 && status_of(pid) == 0 && munmap(some, 16 * MIB) == 0);
		}
		note_files();
		be_orphaned();
		must(is_all(memory, KEPT, (char)generation));
	}
	memset(memory, 1, KEPT);
	live_on_until_parted();
	must(is_all(memory, KEPT, 1));
	must_have_parted();
	must(kib("RssAnon:") + kib("RssShmem:") < (long)(2 * KEPT / 1024));
	must(held_kib() < (long)(2 * KEPT / 1024));
	if (getenv("ODFORK_HEAP") != NULL) { /* the heap can wake after that many generations, too */
		char *some = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(some != MAP_FAILED);
		must(info().reason != ODF_REASON_HEAP_NO_ROOM);
	}
	be_done();
}

static int thread_ends[2];

static void *wait_in_thread(void *unused)
{
	char byte;

	(void)unused;
	must(read(thread_ends[0], &byte, 1) == 1);
	return NULL;
}

/* What other threads write meanwhile could be lost: as long as there are any the file stays, with what it had, and then
 * it goes. */
static void threads(char *words[CASE_WORDS])
{
	pthread_t thread;

	(void)words;
	be_left();
	must(pipe(thread_ends) == 0 && pthread_create(&thread, NULL, wait_in_thread, NULL) == 0);
	memset(memory, 6, ALL);
	live_on();
	fork_once(6, 0);
	must(held_kib() < (long)(2 * ALL / 1024) + 24 * 1024);
	must(write(thread_ends[1], "", 1) == 1 && pthread_join(thread, NULL) == 0);
	live_on_until_parted();
	must(is_all(memory, ALL, 6) && memory[ALL + HOLE - 1] == 0);
	if (getenv("ODFORK_HEAP") != NULL)
		must_have_parted();
	must(held_kib() < (long)(ALL / 1024) + 24 * 1024);
	be_done();
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = {
		{ "rewritten", rewritten },     { "given_back", given_back },   { "shared", shared },
		{ "maker_lives", maker_lives }, { "generations", generations }, { "moved_away", moved_away },
		{ "threads", threads },
	};
	static const char *const runs[][4] = {
		{ "rewritten", NULL },       { "given_back", "munmap" }, { "given_back", "over" },
		{ "given_back", "madvise" }, { "shared", NULL },         { "maker_lives", NULL },
		{ "generations", NULL },     { "moved_away", NULL },      { "threads", NULL },
	};

	if (argc > 1)
		run_case(cases, sizeof cases / sizeof *cases, argc, argv);
	for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
		tell_with_each_heap("outlives", runs[i]);
	return end_of_cases();
}
