/* SPDX-License-Identifier: MIT
 *
 * The heap as a program sees it: what odf_heap_info_get returns with each way to load the library, what wakes the heap,
 * the malloc family compared with libc's own, and what the heap must not do. Each case is a process of its own: this
 * program is executed again with the library loaded as the case needs it. The case "plain" runs without the library;
 * with the library it must print the same.
 *
 *   test_heap              all, as TAP
 *   test_heap NAME         that case
 */
#include "../support/case_seconds.h"
#include "heap_cases.h"

/* ---- All cases --------------------------------------------------------------------------------------------------- */

#define SIZES " (it is auto, on, off, or a size of at most 1T, such as 64G, 64GiB or 1.5g)\n"

static const struct {
	const char *name;
	void (*run)(void);
	enum way way;
	const char *heap;   /* ODFORK_HEAP; NULL: not set */
	const char *like;   /* the case whose output this one's must equal */
	const char *says;   /* expected on standard error */
	bool early;
} cases[] = {
	{ "semantics_plain", semantics_plain, PLAIN },
	{ "mappings_plain", tell_mappings, PLAIN },
	{ "asleep", is_asleep, PRELOADED },
	{ "asleep_auto", is_asleep, PRELOADED, "auto" },
	{ "asleep_nonsense", is_asleep, PRELOADED, "nonsense",
	  .says = "odfork: value not understood, ignored: ODFORK_HEAP=nonsense" SIZES },
	{ "asleep_bad_size", is_asleep, PRELOADED, "12Q",
	  .says = "odfork: value not understood, ignored: ODFORK_HEAP=12Q" SIZES },
	{ "asleep_too_much", is_asleep, PRELOADED, "2T",
	  .says = "odfork: value not understood, ignored: ODFORK_HEAP=2T" SIZES },
	{ "off", is_off, PRELOADED, "off" },
	{ "counts", counts, PRELOADED },
	{ "on", is_on, PRELOADED, "on" },
	{ "size", is_two_gib, PRELOADED, "2G" },
	{ "size_rounded_up", is_two_gib, PRELOADED, "1025M" },
	{ "linked", linked_enables, LINKED },
	{ "linked_auto", linked_enables, LINKED, "auto" },
	{ "linked_on", is_on, LINKED, "on" },
	{ "linked_off", is_off, LINKED, "off" },
	{ "static", is_not_interposed, STATIC },
	{ "static_on", is_not_interposed, STATIC, "on" },
	{ "wakes_by_small_requests", wakes_by_small_requests, PRELOADED },
	{ "wakes_by_large_requests", wakes_by_large_requests, PRELOADED },
	{ "wakes_by_cleared_requests", wakes_by_cleared_requests, PRELOADED },
	{ "wakes_by_growing_requests", wakes_by_growing_requests, PRELOADED },
	{ "wakes_by_mappings", wakes_by_mappings, PRELOADED },
	{ "reservations_do_not_wake", reservations_do_not_wake, PRELOADED },
	{ "semantics_asleep", semantics_asleep, PRELOADED, .like = "semantics_plain" },
	{ "semantics_off", semantics_asleep, PRELOADED, "off", .like = "semantics_plain" },
	{ "semantics_awake", semantics_awake, PRELOADED, "on", .like = "semantics_plain" },
	{ "errno_is_left_alone", errno_is_left_alone, PRELOADED },
	{ "across_waking", across_waking, PRELOADED },
	{ "children_wake_for_themselves", children_wake_for_themselves, PRELOADED },
	{ "children_wake_by_requests", children_wake_by_requests, PRELOADED },
	{ "children_of_malloc", children_of_malloc, PRELOADED },
	{ "children_beside_threads", children_beside_threads, PRELOADED },
	{ "children_past_libc", children_past_libc, PRELOADED },
	{ "no_thread_is_made", no_thread_is_made, PRELOADED },
	{ "guests_do_not_wake_it", guests_do_not_wake_it, PRELOADED },
	{ "no_descriptor_in_the_way", no_descriptor_in_the_way, PRELOADED },
	{ "locked_memory_retires_it", locked_memory_retires_it, PRELOADED },
	{ "advice_by_descriptor", advice_by_descriptor, PRELOADED },
	{ "mappings_asleep", tell_mappings, PRELOADED, "off", .like = "mappings_plain" },
	{ "mappings", tell_mappings, PRELOADED, "on", .like = "mappings_plain" },
	{ "constructor_forks", constructor_forks, PRELOADED, "on", .early = true },
	{ "constructor_forks_after_growth", constructor_forks, PRELOADED, .early = true },
	{ "exit_handler_forks", exit_handler_forks, PRELOADED },
	{ "forks_while_others_request_awake", forks_while_others_request, PRELOADED, "on" },
	{ "forks_while_others_request", forks_while_others_request, PRELOADED },
};
#define CASES (sizeof cases / sizeof *cases)

static char directory[] = "/tmp/odfork-heap-XXXXXX", built[3000];

static char *path_of(const char *name, const char *extension)
{
	static char paths[4][4096];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, 4096, "%s/%s%s", directory, name, extension);
	return path;
}

/* Executes this program as the case needs it. */
static __attribute__((noreturn)) void become(size_t which)
{
	static const char *const programs[] = { "test_heap", "test_heap", "test_heap_linked", "test_heap_static" };
	char program[3100], library[3100];
	int out = open(path_of(cases[which].name, ".out"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
	int error = open(path_of(cases[which].name, ".err"), O_CREAT | O_TRUNC | O_WRONLY, 0600);

	must(out >= 0 && error >= 0 && dup2(out, 1) == 1 && dup2(error, 2) == 2);
	close(out);
	close(error);
	snprintf(program, sizeof program, "%s/tests/%s", built, programs[cases[which].way]);
	snprintf(library, sizeof library, "%s/libodfork.so.0", built);
	unsetenv("ODFORK_HEAP");
	unsetenv("LD_PRELOAD");
	setenv("ODF_TEST_RUN", cases[which].name, 1);
	if (cases[which].heap != NULL)
		setenv("ODFORK_HEAP", cases[which].heap, 1);
	if (cases[which].way == PRELOADED)
		setenv("LD_PRELOAD", library, 1);
	if (cases[which].early)
		setenv("ODF_TEST_EARLY", "1", 1);
	execl(program, program, (char *)NULL);
	wrong(__FILE__, __LINE__, program);
}

static bool is_same(const char *one, const char *other)
{
	char *first = strdup(slurp(one));
	bool same = strcmp(first, slurp(other)) == 0;

	free(first);
	return same;
}

/* Returns the exit status; 77: skipped. */
static int run(size_t which)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		become(which);
	status = status_of(pid);
	if (status != 0 && status != 77 << 8) {
		printf("# %s: %s", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "failed",
		       slurp(path_of(cases[which].name, ".err")));
		return 1;
	}
	if (status == 0 && strcmp(slurp(path_of(cases[which].name, ".err")),
				  cases[which].says == NULL ? "" : cases[which].says) != 0) {
		printf("# it says: %s", slurp(path_of(cases[which].name, ".err")));
		return 1;
	}
	if (status == 0 && cases[which].like != NULL &&
	    !is_same(path_of(cases[which].name, ".out"), path_of(cases[which].like, ".out"))) {
		char command[9000];
		fflush(stdout);
		snprintf(command, sizeof command, "diff %s %s | sed 's/^/# /'", path_of(cases[which].like, ".out"),
			 path_of(cases[which].name, ".out"));
		(void)!system(command);
		return 1;
	}
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	const char *name = getenv("ODF_TEST_RUN"), *build = getenv("ODF_BUILD");
	int failed = 0, number = 0;
	char *end;

	for (size_t i = 0; name != NULL && i < CASES; i++)
		if (strcmp(name, cases[i].name) == 0) {
			odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
			int (*get)(odf_capabilities *) = NULL;
			alarm(case_seconds(60));
			*(void **)&get = dlsym(RTLD_DEFAULT, "odf_capabilities_get");
			if (get != NULL && get(&capabilities) == 0 &&
			    capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE &&
			    capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NO_REGION)
				cannot_be_done_here("no regions");
			cases[i].run();
			_exit(0);
		}
	must(realpath("/proc/self/exe", built) != NULL && (end = strrchr(built, '/')) != NULL);
	*end = '\0';
	if (build != NULL)
		snprintf(built, sizeof built, "%s", build);
	else
		*strrchr(built, '/') = '\0';
	must(mkdtemp(directory) != NULL);
	if (argc == 1)
		printf("1..%zu\n", CASES);
	for (size_t i = 0; i < CASES; i++) {
		int result;
		if (argc > 1 && cases[i].way != PLAIN && strcmp(argv[1], cases[i].name) != 0)
			continue;
		result = run(i);
		failed += result != 0 && result != 77;
		printf("%s %d - %s%s\n", result == 0 || result == 77 ? "ok" : "not ok", ++number, cases[i].name,
		       result == 77 ? " # SKIP not here" : "");
	}
	snprintf(built, sizeof built, "rm -rf %s", directory);
	(void)!system(built);
	return failed > 0;
}
