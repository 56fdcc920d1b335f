/* SPDX-License-Identifier: MIT
 *
 * The base of the cases of region_cases: the library's system calls, which come here first; the region; and the points
 * at which its keeper is held.
 */
#include "region_cases.h"

__attribute__((noreturn)) void wrong(const char *file, int line, const char *condition)
{
	const char *folder = strrchr(file, '/');

	fprintf(stderr, "%s:%d: %s\n", folder == NULL ? file : folder + 1, line, condition);
	_exit(1);
}

__attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	const char *needed = getenv("ODF_MUST_WORK");

	fprintf(stderr, "skipped: %s\n", reason);
	_exit(needed != NULL && strcmp(needed, "1") == 0 ? 1 : 77);
}

/* ---- The system calls -------------------------------------------------------------------------------------------- */

__thread bool ours; /* in a thread of the program, not in the keeper */

hook_function *volatile hook;

struct halt halt;

static bool is_scan(long number, long b)
{
	return number == SYS_ioctl && b == (long)SCAN;
}

/* Before Linux 6.7 a scan is refused, and the pagemap entries are read in its place. The hook has already seen that
 * scan. */
static __thread bool is_in_place_of_a_scan;

/* Whether the call is a search for private pages to merge: a scan without a limit, or, if home is protected, a read of
 * several pages' entries. */
bool merges(long number, long b, long c)
{
	return is_scan(number, b) ? ((const uint64_t *)(uintptr_t)c)[7] == 0
				  : number == SYS_pread64 && c > 8 && c % 8 == 0 && !is_in_place_of_a_scan;
}

static void halt_here(long number, long b, long c)
{
	enum place here = merges(number, b, c) ? IN_A_STEP : is_scan(number, b) ? BETWEEN_STEPS : NOWHERE;

	if (ours || here == NOWHERE || halt.place != here || atomic_fetch_sub(&halt.countdown, 1) != 1)
		return;
	halt.reached = true;
	sem_post(&halt.arrived);
	while (sem_wait(&halt.resume) != 0)
		;
}

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	struct call call = { number, a, b, c, d, e, f };
	long result;

	halt_here(number, b, c);
	if (hook == NULL || !hook(&call, &result))
		result = real_call(number, a, b, c, d, e, f);
	if (number != SYS_pread64)
		is_in_place_of_a_scan = is_scan(number, b) && result < 0;
	return result;
}

/* ---- The parts of the cases -------------------------------------------------------------------------------------- */

odf_region *region;
char *home;
size_t pages;

void make(size_t count, unsigned flags)
{
	region = odf_region_create(count * PAGE, flags);
	must(region != NULL);
	home = odf_region_base(region);
	pages = count;
}

volatile uint64_t *word(size_t page)
{
	return (volatile uint64_t *)(void *)(home + page * PAGE);
}

/* All pages from `from` to `end` have that generation. 0: discarded, or never written. */
void fill(size_t from, size_t end, uint64_t generation)
{
	for (size_t page = from; page < end; page++)
		*word(page) = generation << 32 | page;
}

bool holds(size_t from, size_t end, uint64_t generation)
{
	for (size_t page = from; page < end; page++)
		if (*word(page) != (generation == 0 ? 0 : generation << 32 | page))
			return false;
	return true;
}

odf_region_info info(void)
{
	odf_region_info found = ODF_REGION_INFO_INIT;

	must(odf_region_info_get(region, &found) == 0);
	return found;
}

void wait_ms(unsigned milliseconds)
{
	struct timespec time = { milliseconds / 1000, (long)(milliseconds % 1000) * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

bool holds_all_1(void)
{
	return holds(0, pages, 1);
}

/* A child in which the predicate holds, at once and when it is told to end. */
struct child child_with(bool (*predicate)(void))
{
	struct child child;
	int ends[2];
	char byte;

	must(pipe2(ends, O_CLOEXEC) == 0);
	child.pid = odf_fork();
	if (child.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		must(predicate());
		(void)!read(ends[0], &byte, 1);
		must(predicate());
		_exit(0);
	}
	close(ends[0]);
	child.go = ends[1];
	return child;
}

int status_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		must(errno == EINTR);
	return status;
}

void end(struct child child)
{
	(void)!write(child.go, "", 1);
	close(child.go);
	must(status_of(child.pid) == 0);
}

void fork_and_end(bool (*predicate)(void))
{
	struct child child = child_with(predicate);

	must(child.pid > 0);
	end(child);
}

void settle(void)
{
	must(odf_region_settle(region) == 0);
	must(info().state == ODF_REGION_LIVE);
}

static void *settle_beside(void *error)
{
	ours = true;
	*(int *)error = odf_region_settle(region);
	sem_post(&halt.arrived);
	return NULL;
}

static pthread_t settler;
static int settler_error;

/* Starts a settle, and returns when the keeper is held. */
void settle_until(enum place place, int countdown)
{
	sem_init(&halt.arrived, 0, 0);
	sem_init(&halt.resume, 0, 0);
	halt.reached = false;
	halt.place = place;
	atomic_store(&halt.countdown, countdown);
	must(pthread_create(&settler, NULL, settle_beside, &settler_error) == 0);
	while (sem_wait(&halt.arrived) != 0)
		;
	if (!halt.reached && odf_probe_get(ODF_PROBE_PAGEMAP_SCAN, NULL) != ODF_ANSWER_YES)
		cannot_be_done_here("no PAGEMAP_SCAN, at which the keeper would stand still");
	must(halt.reached);
}

/* Lets the settle continue, and returns its result. */
int settle_on(void)
{
	halt.place = NOWHERE;
	sem_post(&halt.resume);
	pthread_join(settler, NULL);
	return settler_error;
}

/* By an inline system call, which the library does not see. */
pid_t raw_clone(void)
{
	return (pid_t)real_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
}

/* Whether a child that the library does not see can read the page. */
bool raw_child_reads(size_t page)
{
	pid_t pid = raw_clone();
	int status;

	if (pid == 0) {
		(void)*word(page);
		_exit(0);
	}
	must(pid > 0);
	status = status_of(pid);
	must(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
	return status == 0;
}

void need_userfaultfd(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	must(odf_capabilities_get(&capabilities) == 0);
	if (capabilities.uffd_kernel_faults != ODF_ANSWER_YES ||
	    odf_probe_get(ODF_PROBE_UFFD_MINOR, NULL) != ODF_ANSWER_YES)
		cannot_be_done_here("no userfaultfd for kernel-mode faults");
}

bool is_child(void)
{
	return info().state == ODF_REGION_INHERITED;
}
