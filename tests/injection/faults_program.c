/* SPDX-License-Identifier: MIT
 *
 * For the programs under faults.c: the memory that they share with it, and the checks that all of them make
 * (faults_program.h).
 */
#include "faults_program.h"

struct faults *faults;

enum round at_round;

bool cold;

void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *format, ...)
{
	va_list arguments;
	char text[sizeof faults->text];

	atomic_store(&faults->armed, FAULTS_NONE);
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (!atomic_exchange(&faults->told, true))
		memcpy(faults->text, text, sizeof text);
	real_call(SYS_exit_group, 1, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}

/* ---- Calls ---- */

int function_of(const char *name)
{
	int count = atomic_load(&faults->functions_count);

	for (int i = 0; i < count; i++)
		if (strcmp(faults->functions[i], name) == 0)
			return i;
	if (count == FAULTS_FUNCTIONS)
		wrong("too many functions");
	snprintf(faults->functions[count], sizeof faults->functions[count], "%s", name);
	atomic_store(&faults->functions_count, count + 1);
	return count;
}

void arm(const char *function, enum faults_armed how)
{
	if (at_round != FAILING)
		return;
	atomic_store(&faults->function, function_of(function));
	atomic_store(&faults->armed, how);
}

void disarm(void)
{
	atomic_store(&faults->armed, FAULTS_NONE);
}

/* Whether an errno value is as documented: that of the failed call, or one that the function is known for. */
bool is_expected(int error, ...)
{
	va_list others;
	int other;

	if (error == 0)
		return true;
	if (at_round != FAILING && !(cold && error == ENOTSUP))
		return false; /* nothing failed */
	if (error == faults->error && atomic_load(&faults->failures) > 0)
		return true;
	va_start(others, error);
	while ((other = va_arg(others, int)) != 0 && other != error)
		;
	va_end(others);
	return other != 0 && (atomic_load(&faults->failures) > 0 || at_round != FAILING);
}

/* By calls that neither the library nor libc sees. */
int reap(pid_t pid)
{
	int status = -1;

	if (real_call(SYS_wait4, pid, (long)&status, 0, 0, 0, 0) != pid)
		wrong("process %d cannot be waited for", pid);
	return status;
}

void leave(int status)
{
	real_call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

void pause_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

	real_call(SYS_nanosleep, (long)&time, 0, 0, 0, 0, 0);
}

/* ---- The state that is compared ---- */

enum { PIECES = 16 }; /* the program's own memory may be in this many mappings, while it is adopted or after that
                         failed */

struct state {
	int descriptors, threads, mappings, others; /* mappings that belong to no region */
	uint64_t mask;
	size_t allocated;
	bool children;
};

static int lines_of(const char *path, const char *beginning)
{
	FILE *file = fopen(path, "re");
	char line[1024];
	int count = 0;

	MUST(file != NULL);
	while (fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, beginning, strlen(beginning)) == 0)
			count = *beginning == '\0' ? count + 1 : atoi(line + strlen(beginning));
	fclose(file);
	return count;
}

static int mappings_of_others(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[1024];
	int count = 0;

	MUST(file != NULL);
	while (fgets(line, sizeof line, file) != NULL)
		count += strstr(line, "odfork-") == NULL;
	fclose(file);
	return count;
}

static struct state state_take(void)
{
	struct state now = { 0 };

	for (int fd = 0; fd < 1100; fd++)
		now.descriptors += real_call(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0) >= 0;
	now.threads = lines_of("/proc/self/status", "Threads:");
	now.mappings = lines_of("/proc/self/maps", "");
	now.others = mappings_of_others();
	real_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)&now.mask, 8, 0, 0);
	now.children = real_call(SYS_wait4, -1, 0, WNOHANG, 0, 0, 0) != -ECHILD;
	now.allocated = mallinfo2().uordblks;
	return now;
}

static int note_ranges(struct dl_phdr_info *object, size_t size, void *unused)
{
	bool library = strstr(object->dlpi_name, "libodfork.so") != NULL,
	     libc = strstr(object->dlpi_name, "libc.so.6") != NULL;

	(void)size, (void)unused;
	for (int i = 0; (library || libc) && i < object->dlpi_phnum; i++) {
		uintptr_t from = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
		if (object->dlpi_phdr[i].p_type != PT_LOAD || !(object->dlpi_phdr[i].p_flags & PF_X))
			continue;
		atomic_store(library ? &faults->library : &faults->libc, from);
		atomic_store(library ? &faults->library_end : &faults->libc_end, from + object->dlpi_phdr[i].p_memsz);
	}
	return 0;
}

int run_scenario(const struct scenario *known, size_t count, const char *name)
{
	struct state before = { 0 }, after;
	const struct scenario *scenario = NULL;
	const char *cold_name = strstr(name, "-cold");

	/* By raw calls: the library would see others, and would remember the memory. */
	faults =
	    (struct faults *)real_call(SYS_mmap, 0, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, FAULTS_FD, 0);
	if ((long)faults < 0 && (long)faults > -4096)
		return 3;
	real_call(SYS_close, FAULTS_FD, 0, 0, 0, 0, 0);
	dl_iterate_phdr(note_ranges, NULL);
	MUST(faults->library != 0 && faults->libc != 0);
	cold = cold_name != NULL;
	for (size_t i = 0; i < count; i++)
		if (strncmp(known[i].name, name, cold ? (size_t)(cold_name - name) : strlen(name) + 1) == 0)
			scenario = &known[i];
	MUST(scenario != NULL);
	if (!cold) {
		at_round = WARM_UP;
		scenario->run();
		before = state_take();
	}
	at_round = FAILING;
	scenario->run();
	disarm();
	at_round = AFTER;
	scenario->run();
	if (cold) {
		scenario->run();
		before = state_take();
		scenario->run();
	}
	after = state_take();
	if (after.descriptors != before.descriptors || after.threads != before.threads ||
	    after.children != before.children || after.mask != before.mask)
		wrong("left behind: descriptors %d, were %d; threads %d, were %d; mask %llx, was %llx; children %d",
		      after.descriptors, before.descriptors, after.threads, before.threads,
		      (unsigned long long)after.mask, (unsigned long long)before.mask, after.children);
	/* When a move failed, the mapping at its target can belong to anyone. */
	if (faults->number != SYS_mremap &&
	    ((scenario->may_map ? after.others > before.others + PIECES : after.mappings > before.mappings) ||
	     after.allocated > before.allocated))
		wrong("left behind: mappings %d, were %d, of others %d, were %d; of malloc %zu, were %zu",
		      after.mappings, before.mappings, after.others, before.others, after.allocated, before.allocated);
	return 0;
}
