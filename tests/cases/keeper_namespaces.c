/* SPDX-License-Identifier: MIT
 *
 * A program with a keeper enters namespaces of every kind as one without, and its memory still settles. It has a keeper
 * only if its cgroup has room for one more process.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../support/cgroup.h"
#include "../support/keeper_program.h"
#include "../support/namespace_holder.h"

/* ---- Each kind, as without the library --------------------------------------------------------------------------- */

static const struct kind {
	int flag;
	const char *file;
} kinds[] = {
	{ CLONE_NEWNS, "mnt" },       { CLONE_NEWUTS, "uts" }, { CLONE_NEWIPC, "ipc" },
	{ CLONE_NEWNET, "net" },      { CLONE_NEWPID, "pid" }, { CLONE_NEWTIME, "time_for_children" },
	{ CLONE_NEWCGROUP, "cgroup" }, { CLONE_NEWUSER, "user" },
};

enum way { UNSHARE, SETNS, UNSHARE_BY_NUMBER, SETNS_BY_NUMBER, WAYS };

static int enter(const struct kind *kind, enum way way, int file)
{
	int result = way == UNSHARE	       ? unshare(kind->flag)
		     : way == SETNS	       ? setns(file, kind->flag)
		     : way == UNSHARE_BY_NUMBER ? (int)syscall(SYS_unshare, kind->flag)
						: (int)syscall(SYS_setns, file, kind->flag);

	return result == 0 ? 0 : errno;
}

static void fork_once(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	must(pid > 0 && status_of(pid) == 0);
}

/* The kernel's answer to a process that enters the namespace, with a keeper or without. */
static int answer(const struct kind *kind, enum way way, int file, bool with_keeper)
{
	int found[2], result;
	pid_t pid;

	must(pipe2(found, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		if (with_keeper) {
			must(odf_heap_enable(0) == 0);
			fork_once();
			must(keeper_of(getpid()) != 0);
		}
		result = enter(kind, way, file);
		/* Only a process that shares its memory with no other may enter a time namespace. */
		must(!with_keeper || heap_is_awake() || kind->flag == CLONE_NEWTIME);
		if (kind->flag != CLONE_NEWPID) /* after CLONE_NEWPID the next child would be a first process */
			fork_once();
		must(write(found[1], &result, sizeof result) == sizeof result);
		_exit(0);
	}
	must(status_of(pid) == 0 && read(found[0], &result, sizeof result) == sizeof result);
	close(found[0]);
	close(found[1]);
	return result;
}

static void every_kind_as_plain(void)
{
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		char path[64];
		int file, error;
		pid_t holder = hold_namespace(kinds[i].flag, &error); /* it may not be permitted */
		snprintf(path, sizeof path, "/proc/%d/ns/%s", holder, kinds[i].file);
		file = open(path, O_RDONLY | O_CLOEXEC); /* the kernel may not have that kind */
		for (enum way way = 0; way < WAYS; way++) {
			int plain = answer(&kinds[i], way, file, false), ours = answer(&kinds[i], way, file, true);
			if (plain != ours)
				fprintf(stderr, "%s, way %d: %d, and with a keeper %d\n", kinds[i].file, way, plain,
					ours);
			must(plain == ours);
		}
		if (file >= 0)
			close(file);
		kill(holder, SIGKILL);
		must(WIFSIGNALED(status_of(holder)));
	}
}

static void settles_after_others(void)
{
	int network = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC),
	    mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	odf_region_info info = ODF_REGION_INFO_INIT;
	odf_region *region;

	grow();
	fork_and_write(2);
	region = odf_region_create(4 * MIB, 0);
	must(region != NULL && odf_region_info_get(region, &info) == 0);
	if (setns(network, CLONE_NEWNET) != 0 && errno == EPERM)
		cannot_be_done_here("no right to enter a namespace");
	must(setns(mounts, CLONE_NEWNS) == 0);
	must(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP) == 0);
	must(unshare(CLONE_FS | CLONE_FILES) == 0 && unshare(CLONE_NEWUSER) == 0);
	if (info.settling == ODF_REGION_SETTLES_ALWAYS)
		must_settle(region, 1);
	fork_and_write(3);
	must(heap_is_awake() && keeper_of(getpid()) != 0);
}

/* The first child after unshare(CLONE_NEWPID) is the first process of the namespace. */
static void next_child_is_init(void)
{
	pid_t pid;

	must(!heap_is_awake());
	if (unshare(CLONE_NEWPID) != 0)
		cannot_be_done_here("no right to make a PID namespace");
	must(odf_heap_enable(0) == ENOTSUP);
	pid = fork();
	if (pid == 0)
		_exit(getpid() == 1 ? 0 : 1);
	must(status_of(pid) == 0);
}

/* ---- A cgroup for few processes ---------------------------------------------------------------------------------- */

static char folder[CGROUP_PATH];

static void must_be_off_for_room(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	must(odf_heap_info_get(&info) == 0 && info.state == ODF_HEAP_OFF && info.reason == ODF_REASON_HEAP_PROCESS);
	must(keeper_of(getpid()) == 0);
}

static void have_room_for_none(void)
{
	must(odf_heap_enable(0) == ENOTSUP);
	must_be_off_for_room();
}

/* The limit is set when the keeper exists. */
static void lose_room(void)
{
	must(odf_heap_enable(0) == 0);
	grow();
	must(cgroup_write(folder, "pids.max", "2"));
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();
		must(pid >= 0);
		if (pid == 0)
			_exit(memory[SIZE - 1] == 1 ? 0 : 1);
		must(status_of(pid) == 0);
	}
	must_be_off_for_room();
	must(memory[0] == 1 && memory[SIZE - 1] == 1);
}

static void in_a_cgroup_of(const char *most, void (*run)(void))
{
	pid_t pid;

	if (!cgroup_make(folder, "pids", "pids.max", "pids.max", most))
		cannot_be_done_here("no cgroup can be made");
	pid = fork();
	if (pid == 0) {
		must(cgroup_enter(folder, getpid()));
		run();
		_exit(0);
	}
	must(status_of(pid) == 0);
	must(cgroup_remove(folder));
}

static void pids_max_from_the_start(void)
{
	in_a_cgroup_of("1", have_room_for_none);
}

static void pids_max_later(void)
{
	in_a_cgroup_of("100", lose_room);
}

static const struct keeper_case cases[] = {
	CASE(every_kind_as_plain, "auto"),     CASE(settles_after_others, "on"), CASE(next_child_is_init, "auto"),
	CASE(pids_max_from_the_start, "auto"), CASE(pids_max_later, "auto"),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
