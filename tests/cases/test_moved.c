/* SPDX-License-Identifier: MIT
 *
 * Memory of the heap that the program has moved, unmapped, mapped over, sealed or named, by calls that the library sees
 * and by system calls that it does not see. Each case asserts what is right without the library. It runs so, and with
 * the library preloaded, heap=auto and heap=on. Each is a process of its own: this program executed again.
 *
 *   test_moved              all, as TAP
 *   test_moved NAME         that case
 *
 * ODF_TEST_SCALE=N multiplies the counted rounds by N. ODF_CASE_SECONDS: how long a case may take (100).
 */
#include "../support/case_seconds.h"
#include "moved.h"

/* ---- By system calls that the library does not see --------------------------------------------------------------- */

static bool has_7_in_the_middle(char *p)
{
	return p[0] == 1 && p[MIB - 1] == 1 && p[MIB] == 7 && p[2 * MIB - 1] == 7 && p[2 * MIB] == 1 &&
	       p[8 * MIB - 1] == 1;
}

static void mapped_over(void)
{
	char *p = map_inside(8 * MIB);

	must(raw(SYS_mmap, p + MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + MIB));
	must(p[MIB] == 0);
	memset(p + MIB, 7, MIB);
	over_forks(has_7_in_the_middle, p);
}

static void mapped_over_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();

	must(raw(SYS_mmap, p + MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + MIB));
	must(p[MIB] == 0);
	memset(p + MIB, 7, MIB);
	must(has_7_in_the_middle(p));
	let_go(child);
	over_forks(has_7_in_the_middle, p);
}

static bool is_shared_with_parent(char *p)
{
	static int turn;

	if (p[0] != 1 || p[3 * MIB] != 1)
		return false;
	p[MIB + PAGE + (size_t)turn++ % 100] = 55; /* in the file, whichever process writes */
	return p[2 * MIB] == 8;
}

/* Another program's file, mapped shared: it must not be made private, nor emptied. */
static void file_mapped_over(void)
{
	char *p = map_inside(8 * MIB), *other;
	int file = (int)syscall(SYS_memfd_create, "file", 0u);

	must(file >= 0 && ftruncate(file, (off_t)(2 * MIB)) == 0);
	must(raw(SYS_mmap, p + MIB, 2 * MIB, RW, MAP_SHARED | MAP_FIXED, file, 0) == (long)(p + MIB));
	memset(p + MIB, 8, 2 * MIB);
	over_forks(is_shared_with_parent, p);
	must(madvise(p, 8 * MIB, MADV_DONTNEED) == 0);
	must(p[0] == 0 && p[MIB] == 8 && p[3 * MIB - 1] == 8 && p[3 * MIB] == 0);
	other = mmap(NULL, 2 * MIB, RW, MAP_SHARED, file, 0);
	must(other != MAP_FAILED && other[0] == 8 && other[2 * MIB - 1] == 8 && other[PAGE] == 55);
}

static bool has_a_gap(char *p)
{
	return p[0] == 1 && !is_mapped(p + MIB) && !is_mapped(p + 2 * MIB - PAGE) && p[2 * MIB] == 1 && p[4 * MIB] == 1;
}

static void unmapped(void)
{
	char *p = map_inside(8 * MIB);

	must(raw(SYS_munmap, p + MIB, MIB, 0, 0, 0, 0) == 0);
	over_forks(has_a_gap, p);
	must(raw(SYS_mmap, p + MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + MIB));
	memset(p + MIB, 7, MIB);
	over_forks(has_7_in_the_middle, p);
	must(munmap(p, 8 * MIB) == 0 && !is_mapped(p + MIB + PAGE * 3));
}

static void unmapped_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();

	must(raw(SYS_munmap, p + MIB, MIB, 0, 0, 0, 0) == 0);
	must(has_a_gap(p));
	let_go(child);
	over_forks(has_a_gap, p);
}

static bool cannot_be_written(char *p)
{
	return p[MIB] == 1 && strstr(line_of(p + MIB), " r--") != NULL && strstr(line_of(p), " rw") != NULL &&
	       strstr(line_of(p + 2 * MIB), " rw") != NULL && p[2 * MIB] == 1;
}

static void rights_taken(void)
{
	char *p = map_inside(8 * MIB);

	must(raw(SYS_mprotect, p + MIB, MIB, PROT_READ, 0, 0, 0) == 0);
	over_forks(cannot_be_written, p);
	must(mprotect(p, 8 * MIB, RW) == 0);
	memset(p, 5, 8 * MIB);
}

static void rights_taken_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();

	must(raw(SYS_mprotect, p + MIB, MIB, PROT_READ, 0, 0, 0) == 0);
	/* The keeper may not make anything executable. */
	must(raw(SYS_mprotect, p + 4 * MIB, MIB, PROT_READ | PROT_EXEC, 0, 0, 0) == 0);
	let_go(child);
	over_forks(cannot_be_written, p);
}

/* A child grows a mapping in place, into a hole that it has made itself. */
static void grown_by_a_child(void)
{
	char *p = map_inside(8 * MIB), *moved;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		must(munmap(p + 4 * MIB, 2 * MIB) == 0);
		must(mremap(p + 3 * MIB, MIB, 2 * MIB, 0) == p + 3 * MIB);
		must(p[3 * MIB] == 1 && p[4 * MIB] == 0 && p[5 * MIB - 1] == 0);
		must(!is_mapped(p + 5 * MIB) && p[6 * MIB] == 1);
		memset(p + 4 * MIB, 7, MIB);
		must(mremap(p + 3 * MIB, 2 * MIB, 4 * MIB, 0) == MAP_FAILED && errno == ENOMEM);
		moved = mremap(p + 3 * MIB, 2 * MIB, 4 * MIB, MREMAP_MAYMOVE);
		must(moved != MAP_FAILED && moved[0] == 1 && moved[MIB] == 7 && moved[2 * MIB] == 0);
		must(!is_mapped(p + 3 * MIB) && !is_mapped(p + 4 * MIB) && p[2 * MIB] == 1);
		_exit(0);
	}
	must(status_of(pid) == 0 && p[4 * MIB] == 1);
}

static bool is_executable(char *p)
{
	return strstr(line_of(p + MIB), " r-x") != NULL && strstr(line_of(p + 2 * MIB - PAGE), " r-x") != NULL &&
	       p[0] == 1 && p[MIB] == 1 && p[2 * MIB - 1] == 1 && p[2 * MIB] == 1;
}

static void made_executable(void)
{
	char *p = map_inside(8 * MIB);

	must(raw(SYS_mprotect, p + MIB, MIB, PROT_READ | PROT_EXEC, 0, 0, 0) == 0);
	over_forks(is_executable, p);
}

/* The keeper finds it, and may not do it itself. */
static void made_executable_while_frozen(void)
{
	char *p = map_inside(8 * MIB);
	pid_t child = hold();

	must(raw(SYS_mprotect, p + MIB, MIB, PROT_READ | PROT_EXEC, 0, 0, 0) == 0);
	let_go(child);
	for (int i = 0; i < 200 && settles() && !is_live(grown); i++)
		wait_ms(10);
	over_forks(is_executable, p);
}

static bool has_7(char *p)
{
	return p[0] == 7 && p[MIB - 1] == 7;
}

/* At a place that the program has given back. */
static void mapped_in_a_hole(void)
{
	char *p = map_inside(MIB), *others[64];

	must(munmap(p, MIB) == 0);
	must(raw(SYS_mmap, p, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)p);
	memset(p, 7, MIB);
	for (int i = 0; i < 64; i++) {
		others[i] = map(MIB / 4);
		must(others[i] + MIB / 4 <= p || others[i] >= p + MIB);
	}
	over_forks(has_7, p);
	must(mprotect(p, MIB, PROT_READ) == 0 && mprotect(p, MIB, RW) == 0 && madvise(p, PAGE, MADV_DONTNEED) == 0 &&
	     p[0] == 0);
	must(munmap(p, MIB) == 0);
	must(mprotect(p, PAGE, PROT_READ) == -1 && errno == ENOMEM);
}

static bool has_7_and_9(char *p)
{
	return has_7_in_the_middle(p) && p[4 * MIB - 1] == 1 && p[4 * MIB] == 9 && p[5 * MIB - 1] == 9 &&
	       p[5 * MIB] == 1;
}

/* If the list of mappings cannot be read. */
static void without_a_descriptor(void)
{
	char *p = map_inside(8 * MIB);
	struct rlimit none = { 3, 3 };

	if (preloaded() && !is_live(p))
		cannot_be_done_here("it is not LIVE");
	must(raw(SYS_mmap, p + MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + MIB));
	memset(p + MIB, 7, MIB);
	child_agrees(has_7_in_the_middle, p);
	/* All except that place: during a step a call that the library does not see may be undone. */
	for (int i = 0; i < 6000 && settles() && !(is_live(p) && is_all_live(p + 2 * MIB, 6 * MIB)); i++)
		wait_ms(10);
	must(raw(SYS_mmap, p + 4 * MIB, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == (long)(p + 4 * MIB));
	memset(p + 4 * MIB, 9, MIB);
	must(setrlimit(RLIMIT_NOFILE, &none) == 0);
	child_agrees(has_7_and_9, p);
	must(has_7_and_9(p));
	child_agrees(has_7_and_9, p);
}

/* ---- By calls that involve the library --------------------------------------------------------------------------- */

static bool segment_is_there(char *p)
{
	return p[0] == 5 && p[MIB - 1] == 5;
}

static void segments(void)
{
	char *p = map_inside(4 * MIB), *q;
	int id = shmget(IPC_PRIVATE, MIB, IPC_CREAT | 0600);
	pid_t pid;

	if (id < 0)
		cannot_be_done_here("no System V shared memory");
	must(shmat(id, p, 0) == (void *)-1 && errno == EINVAL && p[0] == 1);
	must(shmat(id, p + 1, SHM_REMAP) == (void *)-1 && errno == EINVAL);
	must(shmat(id, p, SHM_REMAP) == p);
	q = map(MIB);
	must(munmap(q, MIB) == 0);
	must(syscall(SYS_shmat, id, q, 0) == (long)q);
	must(shmctl(id, IPC_RMID, NULL) == 0);
	memset(q, 5, MIB);
	over_forks(segment_is_there, p);
	over_forks(segment_is_there, q);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		q[100] = 66;
		_exit(0);
	}
	must(status_of(pid) == 0 && p[100] == 66 && p[MIB] == 1);
	must(shmdt(q) == 0 && !(is_mapped(q) && !preloaded()));
	must(shmdt(q) == -1 && errno == EINVAL);
	must(mprotect(q, PAGE, PROT_READ) == -1 && errno == ENOMEM);
	must(mmap(q, MIB, RW, PLAIN | MAP_FIXED, -1, 0) == q && q[0] == 0);
	must(syscall(SYS_shmdt, p) == 0);
	must(mprotect(p, PAGE, PROT_READ) == -1 && errno == ENOMEM && p[MIB] == 1);
}

static bool is_as_filled(char *p)
{
	for (size_t at = 0; at < 2 * MIB; at += PAGE)
		if (p[at] != (char)(at / PAGE))
			return false;
	return true;
}

static void other_parts_of_a_file(void)
{
	char *p = map_inside(2 * MIB), *q;
	int file = (int)syscall(SYS_memfd_create, "file", 0u);

	for (size_t at = 0; at < 2 * MIB; at += PAGE)
		p[at] = (char)(at / PAGE);
	must(remap_file_pages(p, MIB, 0, 5, 0) == -1 && errno == EINVAL);
	must(syscall(SYS_remap_file_pages, p + MIB, PAGE, 0, 0, 0) == -1 && errno == EINVAL);
	must(is_as_filled(p));
	over_forks(is_as_filled, p);
	/* A file that the program has mapped there. */
	must(ftruncate(file, (off_t)(2 * PAGE)) == 0 && pwrite(file, "x", 1, 0) == 1 &&
	     pwrite(file, "y", 1, (off_t)PAGE) == 1);
	q = mmap(p, PAGE, RW, MAP_SHARED | MAP_FIXED, file, 0);
	must(q == p && *q == 'x');
	must(remap_file_pages(q, PAGE, 0, 1, 0) == 0 && *q == 'y');
}

static bool is_sealed_7(char *p)
{
	return p[0] == 1 && p[MIB] == 7 && p[2 * MIB - 1] == 7 && p[2 * MIB] == 1;
}

static void sealed(void)
{
	char *p = map_inside(4 * MIB), *q = map(MIB);

	must(mprotect(q, MIB, PROT_READ) == 0);
	memset(p + MIB, 7, MIB);
	if (syscall(NUMBER_MSEAL, p + MIB, MIB, 0ul) != 0)
		cannot_be_done_here("no mseal");
	must(syscall(NUMBER_MSEAL, q, MIB, 0ul) == 0);
	must(syscall(NUMBER_MSEAL, p, MIB, 1ul) == -1 && errno == EINVAL);
	must(syscall(NUMBER_MSEAL, p + 1, MIB, 0ul) == -1 && errno == EINVAL);
	over_forks(is_sealed_7, p);
	must(munmap(p + MIB, PAGE) == -1 && errno == EPERM);
	must(munmap(p, 4 * MIB) == -1 && errno == EPERM && p[0] == 1);
	must(mprotect(p + MIB, PAGE, PROT_READ) == -1 && errno == EPERM);
	must(mmap(p, 4 * MIB, RW, PLAIN | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EPERM && p[0] == 1);
	must(mremap(p + MIB, MIB, 2 * MIB, MREMAP_MAYMOVE) == MAP_FAILED && errno == EPERM);
	must(madvise(q, MIB, MADV_DONTNEED) == -1 && errno == EPERM && q[0] == 1);
	must(syscall(NUMBER_MSEAL, p, 2 * MIB, 0ul) == 0);
	over_forks(is_sealed_7, p);
	must(munmap(p + 2 * MIB, 2 * MIB) == 0);
}

static bool is_sealed_constant(char *p)
{
	return p[0] == 1 && p[MIB] == 7 && p[2 * MIB - 1] == 7 && p[2 * MIB] == 1 &&
	       strstr(line_of(p + MIB), " r--") != NULL;
}

/* As loaders do with data that is constant from then on. */
static void sealed_past_the_library(void)
{
	char *p = map_inside(4 * MIB);

	memset(p + MIB, 7, MIB);
	must(raw(SYS_mprotect, p + MIB, MIB, PROT_READ, 0, 0, 0) == 0);
	if (raw(NUMBER_MSEAL, p + MIB, MIB, 0, 0, 0, 0) != 0)
		cannot_be_done_here("no mseal");
	over_forks(is_sealed_constant, p);
	must(munmap(p + MIB, PAGE) == -1 && errno == EPERM);
	over_forks(is_sealed_constant, p);
}

static bool has_grown(char *low)
{
	return low[0] == 3 && low[-(long)MIB] == 3;
}

static void grows_downward(void)
{
	char *place = map_inside(4 * MIB), *low;

	must(munmap(place, 4 * MIB) == 0);
	low = place + 4 * MIB - 65536;
	must(mmap(low, 65536, RW, PLAIN | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == low);
	for (char *at = low + 65536 - PAGE; at >= low - MIB; at -= PAGE)
		*(volatile char *)at = 3;
	over_forks(has_grown, low);
	must(munmap(low - MIB, MIB + 65536) == 0);
}

/* ---- All cases --------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "mapped_over", mapped_over },
	{ "mapped_over_while_frozen", mapped_over_while_frozen },
	{ "file_mapped_over", file_mapped_over },
	{ "mapping_refused", mapping_refused },
	{ "unmapped", unmapped },
	{ "unmapped_while_frozen", unmapped_while_frozen },
	{ "rights_taken", rights_taken },
	{ "rights_taken_while_frozen", rights_taken_while_frozen },
	{ "grown_by_a_child", grown_by_a_child },
	{ "made_executable", made_executable },
	{ "made_executable_while_frozen", made_executable_while_frozen },
	{ "moved_away", moved_away },
	{ "moved_away_while_frozen", moved_away_while_frozen },
	{ "moved_away_and_written", moved_away_and_written },
	{ "moved_away_executable", moved_away_executable },
	{ "moved_away_beside_a_thread", moved_away_beside_a_thread },
	{ "moved_away_unmapped_around", moved_away_unmapped_around },
	{ "moved_away_unmapped_itself", moved_away_unmapped_itself },
	{ "moved_away_mapped_over", moved_away_mapped_over },
	{ "moved_away_mapped_into", moved_away_mapped_into },
	{ "moved_away_allocated_into", moved_away_allocated_into },
	{ "moved_away_dropped_around", moved_away_dropped_around },
	{ "moved_away_freed_around", moved_away_freed_around },
	{ "moved_away_moved_around", moved_away_moved_around },
	{ "copied_sparse", copied_sparse },
	{ "copied_sparse_while_frozen", copied_sparse_while_frozen },
	{ "copied_sparse_for_advice", copied_sparse_for_advice },
	{ "copied_larger_than_the_machine", copied_larger_than_the_machine },
	{ "copied_without_a_promise", copied_without_a_promise },
	{ "copied_not_after_all", copied_not_after_all },
	{ "copied_not_from_elsewhere", copied_not_from_elsewhere },
	{ "copied_to_be_executable", copied_to_be_executable },
	{ "copied_for_its_key", copied_for_its_key },
	{ "copied_not_with_a_key", copied_not_with_a_key },
	{ "mapped_in_a_hole", mapped_in_a_hole },
	{ "locked_before", locked_before },
	{ "locked_before_it_grew", locked_before_it_grew },
	{ "locked_before_it_grew_twice", locked_before_it_grew_twice },
	{ "guarded_before", guarded_before },
	{ "grown_after_a_move", grown_after_a_move },
	{ "dropped_with_other_rights", dropped_with_other_rights },
	{ "dropped_with_other_rights_while_frozen", dropped_with_other_rights_while_frozen },
	{ "advised_over_a_gap", advised_over_a_gap },
	{ "mapped_where_another_was", mapped_where_another_was },
	{ "given_where_another_was", given_where_another_was },
	{ "given_from_elsewhere", given_from_elsewhere },
	{ "moved_away_while_hidden", moved_away_while_hidden },
	{ "moved_with_large_pages", moved_with_large_pages },
	{ "moved_by_a_child", moved_by_a_child },
	{ "locked_past", locked_past },
	{ "locked_past_before_a_fork", locked_past_before_a_fork },
	{ "own_unmapped", own_unmapped },
	{ "own_mapped_over", own_mapped_over },
	{ "own_advised", own_advised },
	{ "own_moved_over", own_moved_over },
	{ "own_crowded", own_crowded },
	{ "own_crowded_once", own_crowded_once },
	{ "without_a_descriptor", without_a_descriptor },
	{ "segments", segments },
	{ "other_parts_of_a_file", other_parts_of_a_file },
	{ "sealed", sealed },
	{ "sealed_past_the_library", sealed_past_the_library },
	{ "grows_downward", grows_downward },
	{ "names", names },
	{ "large_pages_asked", large_pages_asked },
	{ "large_pages_collapsed", large_pages_collapsed },
	{ "large_pages_forbidden", large_pages_forbidden },
	{ "large_pages_beside_data", large_pages_beside_data },
	{ "mappings_do_not_pile_up", mappings_do_not_pile_up },
};
#define CASES (sizeof cases / sizeof *cases)

static int run(const char *name, const char *library, const char *heap)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		if (library != NULL) {
			setenv("LD_PRELOAD", library, 1);
			setenv("ODFORK_HEAP", heap, 1);
		}
		setenv("ODF_TEST_RUN", name, 1);
		unsetenv("MALLOC_PERTURB_"); /* memory that malloc has filled with it can get no large pages */
		execl("/proc/self/exe", "test_moved", (char *)NULL);
		_exit(126);
	}
	return status_of(pid);
}

int main(int argc, char **argv)
{
	static const char *const ways[] = { "plain", "auto", "on" };
	const char *name = getenv("ODF_TEST_RUN"), *build = getenv("ODF_BUILD"), *needed = getenv("ODF_MUST_WORK");
	static char library[4096];
	int failed = 0, number = 0;

	for (size_t i = 0; name != NULL && i < CASES; i++)
		if (strcmp(name, cases[i].name) == 0) {
			alarm(case_seconds(100));
			cases[i].run();
			fflush(stdout);
			_exit(0);
		}
	must(build != NULL);
	snprintf(library, sizeof library, "%s/libodfork.so.0", build);
	must(access(library, R_OK) == 0);
	if (argc == 1)
		printf("1..%zu\n", CASES);
	for (size_t i = 0; i < CASES; i++) {
		int status = 0;
		if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
			continue;
		for (size_t way = 0; way < 3 && status == 0; way++) {
			status = run(cases[i].name, way == 0 ? NULL : library, ways[way]);
			if (status != 0 && status != 77 << 8)
				printf("# %s, %s: status %#x\n", cases[i].name, ways[way], status);
		}
		/* A case that cannot run here without the library need not run with it. */
		if (status == 77 << 8 && needed != NULL && strcmp(needed, "1") == 0)
			status = 1;
		failed += status != 0 && status != 77 << 8;
		printf("%s %d - %s%s\n", status == 0 || status == 77 << 8 ? "ok" : "not ok", ++number, cases[i].name,
		       status == 77 << 8 ? " # SKIP not here" : "");
	}
	return failed > 0;
}
