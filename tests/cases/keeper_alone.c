/* SPDX-License-Identifier: MIT
 *
 * What the kernel grants only to a process that shares its memory with no other process: a program with its heap awake
 * gets it as without the library, and then has all of its memory. And a signal to all other processes, one of which is
 * the keeper.
 */
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../support/keeper_program.h"
#include "../support/namespace_holder.h"

static int other_time(void)
{
	char path[64];
	int file, error;
	pid_t holder = hold_namespace(CLONE_NEWTIME, &error);

	if (error != 0)
		cannot_be_done_here("no time namespaces, or no right to make one");
	snprintf(path, sizeof path, "/proc/%d/ns/time_for_children", holder);
	file = open(path, O_RDONLY | O_CLOEXEC);
	must(file >= 0);
	return file;
}

static void have_a_heap(void)
{
	grow();
	fork_and_write(2);
	must(heap_is_awake() && keeper_of(getpid()) > 0);
}

static void must_have_made_way(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	must(odf_heap_info_get(&info) == 0 && info.state == ODF_HEAP_OFF && info.reason == ODF_REASON_HEAP_PROCESS);
	must(keeper_of(getpid()) == 0);
	for (size_t at = 0; at < SIZE; at += 512)
		must(memory[at] == 2);
	fork_and_write(3);
}

static void joins_a_time_namespace(void)
{
	int file = other_time();

	have_a_heap();
	must(setns(file, CLONE_NEWTIME) == 0);
	must_have_made_way();
}

static void joins_one_by_number(void)
{
	int file = other_time();

	have_a_heap();
	must(syscall(SYS_setns, file, CLONE_NEWTIME) == 0);
	must_have_made_way();
}

static void has_memory_of_its_own(void)
{
	have_a_heap();
	must(unshare(CLONE_VM) == 0);
	must_have_made_way();
}

static void has_its_own_by_number(void)
{
	have_a_heap();
	must(syscall(SYS_unshare, CLONE_VM) == 0);
	must_have_made_way();
}

/* The heap stays if the kernel's answer has another cause. */
static void other_answers_change_nothing(void)
{
	have_a_heap();
	must(setns(-1, CLONE_NEWTIME) == -1 && errno == EBADF);
	must(setns(0, CLONE_NEWTIME) == -1 && errno != EUSERS);
	must(unshare(-1) == -1 && errno == EINVAL);
	must(unshare(CLONE_FILES) == 0);
	must(heap_is_awake());
}

/* Runs `run` as the first process of a PID namespace, which has no other process but its keeper; several times, at
 * different moments after a fork, at some of which the keeper is in a step. `run` executes in a program of its own. */
static void as_init(const char *name, void (*run)(void), int times)
{
	int status;

	if (getenv("ODF_TEST_INIT") != NULL) {
		grow();
		fork_and_write(2);
		must(heap_is_awake());
		run();
		_exit(0);
	}
	for (int i = 1; i <= times; i++) {
		pid_t outer = fork();
		if (outer == 0) {
			pid_t pid;
			if (unshare(CLONE_NEWPID) != 0)
				_exit(77);
			pid = fork();
			if (pid == 0) {
				char number[2] = { (char)('0' + i), '\0' };
				setenv("ODF_TEST_INIT", number, 1);
				execl("/proc/self/exe", "keeper", name, (char *)NULL);
				_exit(127);
			}
			_exit(pid < 0 || status_of(pid) != 0);
		}
		status = status_of(outer);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			cannot_be_done_here("no PID namespace of one's own");
		must(status == 0);
	}
}

static void must_have(char byte)
{
	for (size_t at = 0; at < SIZE; at += 512)
		must(memory[at] == byte);
}

static void stops_all(void)
{
	for (int round = 0; round < 8; round++) {
		pid_t holder = fork();
		must(holder >= 0);
		while (holder == 0)
			pause();
		fork_and_write(3);
		fork_and_write((char)(4 + round));
		must(kill(holder, SIGKILL) == 0 && status_of(holder) == SIGKILL); /* now all can be settled */
		wait_ms(round);
		must(round % 2 != 0 ? kill(-1, SIGSTOP) == 0 : syscall(SYS_kill, -1, SIGSTOP) == 0);
		fill((char)(5 + round)); /* the keeper must not sleep through any of it */
		must_have((char)(5 + round));
	}
}

static void init_stops_all_others(void)
{
	as_init(__func__, stops_all, 1);
}

static void kills_all(void)
{
	fork_and_write(3);
	fork_and_write(4);
	wait_ms(2 * number_of("ODF_TEST_INIT"));
	(void)kill(-1, SIGKILL);
	must_have(4);
	fork_and_write(5);
	must_have(5);
}

static void init_kills_all_others(void)
{
	as_init(__func__, kills_all, 6);
}

static void kills_all_by_number(void)
{
	fork_and_write(3);
	fork_and_write(4);
	wait_ms(2 * number_of("ODF_TEST_INIT"));
	(void)syscall(SYS_kill, -1, SIGKILL);
	must_have(4);
	fork_and_write(5);
	must_have(5);
}

static void init_kills_all_others_by_number(void)
{
	as_init(__func__, kills_all_by_number, 6);
}

static const struct keeper_case cases[] = {
	CASE(joins_a_time_namespace, "on"),
	CASE(joins_one_by_number, "on"),
	CASE(has_memory_of_its_own, "on"),
	CASE(has_its_own_by_number, "on"),
	CASE(other_answers_change_nothing, "on"),
	CASE(init_stops_all_others, "on"),
	CASE(init_kills_all_others, "on"),
	CASE(init_kills_all_others_by_number, "on"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
