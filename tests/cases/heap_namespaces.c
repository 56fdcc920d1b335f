/* SPDX-License-Identifier: MIT
 *
 * A program that loads a second C library into a namespace of its own (dlmopen), and forks by that library's fork. Its
 * children must have its memory, whether it grew before or grows later. And dlmopen must search where it would search
 * for its caller.
 */
#include <dlfcn.h>

#include "../support/keeper_program.h"

static pid_t (*other_fork)(void);

static void load_another(void)
{
	void *library = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);

	if (library == NULL)
		cannot_be_done_here(dlerror());
	other_fork = (pid_t (*)(void))dlsym(library, "fork");
	must(other_fork != NULL && other_fork != fork);
}

static void its_children_have_all(void)
{
	for (char byte = 1; byte < 4; byte++) {
		pid_t pid;
		fill(byte);
		if (byte == 2)
			fork_and_write(byte);
		pid = other_fork();
		must(pid >= 0);
		if (pid == 0) {
			for (size_t at = 0; at < SIZE; at += 512)
				if (memory[at] != byte)
					_exit(1);
			_exit(0);
		}
		must(status_of(pid) == 0);
	}
}

static void heap_must_be_off(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	must(odf_heap_info_get(&info) == 0 && info.state == ODF_HEAP_OFF);
	must(info.reason == ODF_REASON_HEAP_NOT_INTERPOSED && odf_heap_enable(0) == ENOTSUP);
}

static void loaded_after_growth(void)
{
	grow();
	fork_and_write(2);
	load_another();
	heap_must_be_off();
	its_children_have_all();
}

static void loaded_before_growth(void)
{
	load_another();
	heap_must_be_off();
	map_memory(SIZE);
	its_children_have_all();
}

/* $ORIGIN is this program's directory, not the library's. */
static void found_where_the_caller_is(void)
{
	grow();
	must(dlmopen(LM_ID_BASE, "$ORIGIN/../libodfork.so.0", RTLD_NOW) != NULL);
	must(heap_is_awake());
}

static const struct keeper_case cases[] = {
	CASE(loaded_after_growth, "on"),
	CASE(loaded_before_growth, "on"),
	CASE(found_where_the_caller_is, "on"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
