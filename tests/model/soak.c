/* SPDX-License-Identifier: MIT
 *
 * Mixed situations: a program does to its memory, and to itself, what it is permitted to do, in random order, beside
 * threads that allocate. It forks, and every child compares all memory with what it must be. Each round is a process of
 * its own under the preloaded library. The heap wakes by itself or is awake from the start, and the process is root or
 * an ordinary user. The seed determines what a round does.
 *
 *   soak                        rounds for ODF_TEST_SECONDS (8), from seed ODF_TEST_SEED (1) on
 *   soak round SEED             one round; the caller sets LD_PRELOAD and ODFORK_HEAP
 */
#include "odfork.h"
#include "soak.h"

struct situation {
	const char *name;
	void (*function)(unsigned *random);
};

static const struct situation situations[] = {
	{ "plain", plain },
	{ "plain", plain },
	{ "foreign", foreign_in_the_middle },
	{ "shared memory", shared_memory },
	{ "sealed", sealed },
	{ "advised", advised },
	{ "locked", locked },
	{ "moved", moved },
	{ "own userfaultfd", own_userfault },
	{ "direct input", open_direct },
	{ "out of a fork", leave_a_fork },
	{ "cancelled", cancel_a_forker },
	{ "descriptors closed", close_all },
};

static const struct situation endings[] = {
	{ "none", plain },
	{ "ids dropped", drop_ids },
	{ "limited", limit_memory },
	{ "sandbox", enter_sandbox },
};

/* If the heap was requested from the start it must be awake while there is only one thread, for any user. */
static void must_be_awake(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;
	const char *heap = getenv("ODFORK_HEAP");
	int (*get)(odf_heap_info *);

	if (heap == NULL || strcmp(heap, "on") != 0)
		return;
	*(void **)&get = dlsym(RTLD_DEFAULT, "odf_heap_info_get");
	REQUIRE(get != NULL && get(&info) == 0 && info.state == ODF_HEAP_AWAKE);
}

static int run_round(void)
{
	unsigned random = (unsigned)seed * 2654435761u + 1;
	unsigned steps = 6 + random_below(&random, 12);

	/* The loader only prints a message for a library that it cannot open; the round would then test nothing. */
	REQUIRE(getenv("LD_PRELOAD") == NULL || dlsym(RTLD_DEFAULT, "odf_heap_info_get") != NULL);
	must_be_awake();
	(void)signal(SIGUSR1, jump);
	keep(map(24 * MIB), 24 * MIB, 200)->first_only = true;
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].random = random + i;
		REQUIRE(pthread_mutex_init(&workers[i].lock, NULL) == 0);
		REQUIRE(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
	}
	for (unsigned step = 0; step < steps; step++) {
		bool last = step + 1 == steps;
		unsigned which = last ? random_below(&random, sizeof endings / sizeof *endings)
				      : random_below(&random, sizeof situations / sizeof *situations);
		doing = last ? endings[which].name : situations[which].name;
		if (special_count + 4 < SPECIALS)
			(last ? endings[which] : situations[which]).function(&random);
		for (unsigned forks = 1 + random_below(&random, 4); forks > 0; forks--) {
			fork_and_compare(&random);
			read_direct(&random);
			touch_served();
			if (random_below(&random, 3) == 0)
				usleep(random_below(&random, 20000)); /* time to settle */
			fill(&specials[random_below(&random, special_count)]);
		}
		lock_all(true);
		REQUIRE(compare_all() == 0);
		lock_all(false);
	}
	for (unsigned forks = 0; forks < 5; forks++) {
		fork_and_compare(&random);
		usleep(2000);
	}
	return 0;
}

/* ---- The rounds ---- */

static unsigned long number_from(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text != NULL && *text != '\0' ? strtoul(text, NULL, 10) : otherwise;
}

/* Copies a file so that every user can read and execute it: the build may lie in a home directory that is closed to
 * others. */
static bool copy_for_everybody(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	static char piece[65536];
	ssize_t size = -1;
	bool done;

	while (in >= 0 && out >= 0 && (size = read(in, piece, sizeof piece)) > 0)
		if (write(out, piece, (size_t)size) != size)
			size = -1;
	done = size == 0 && fchmod(out, 0755) == 0;
	if (in >= 0)
		close(in);
	return out >= 0 && close(out) == 0 && done;
}

static int start_round(const char *self, const char *library, unsigned long number)
{
	bool on = number % 2, ordinary = number % 4 >= 2 && geteuid() == 0;
	char text[32];
	int status;
	pid_t child = fork();

	if (child == 0) {
		snprintf(text, sizeof text, "%lu", number);
		setenv("LD_PRELOAD", library, 1);
		setenv("ODFORK_HEAP", on ? "on" : "auto", 1);
		if (ordinary && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(3);
		execl(self, self, "round", text, (char *)NULL);
		_exit(4);
	}
	for (unsigned tenths = 0; child > 0 && tenths < 1200; tenths++) {
		if (waitpid(child, &status, WNOHANG) == child)
			return status;
		usleep(100000);
	}
	if (child > 0) {
		dprintf(2, "seed %lu: hangs\n", number);
		kill(child, SIGABRT);
		(void)waitpid(child, &status, 0);
	}
	return -1;
}

int main(int count, char **arguments)
{
	unsigned long seconds = number_from("ODF_TEST_SECONDS", 8), first = number_from("ODF_TEST_SEED", 1), rounds = 0,
		      failed = 0;
	static char directory[] = "/tmp/odfork-soak-XXXXXX";
	char self[64], library[64], built[1024];
	time_t end = time(NULL) + (time_t)seconds;

	if (count > 2 && strcmp(arguments[1], "round") == 0) {
		seed = strtoul(arguments[2], NULL, 10);
		return run_round();
	}
	if (getenv("ODF_BUILD") == NULL || mkdtemp(directory) == NULL || chmod(directory, 0755) != 0)
		return 99;
	snprintf(built, sizeof built, "%s/libodfork.so.0", getenv("ODF_BUILD"));
	snprintf(library, sizeof library, "%s/libodfork.so.0", directory);
	snprintf(self, sizeof self, "%s/soak", directory);
	printf("1..1\n");
	if (!copy_for_everybody(built, library) || !copy_for_everybody("/proc/self/exe", self))
		end = 0; /* no round has run; reported below */
	for (; time(NULL) < end; rounds++) {
		int status = start_round(self, library, first + rounds);
		if (status != 0) {
			printf("# seed %lu: status %#x\n", first + rounds, status);
			failed++;
		}
	}
	(void)unlink(library);
	(void)unlink(self);
	(void)rmdir(directory);
	printf("%s 1 - %lu rounds, %lu failed\n", failed == 0 && rounds > 0 ? "ok" : "not ok", rounds, failed);
	return failed != 0;
}
