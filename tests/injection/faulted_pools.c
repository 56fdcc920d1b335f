/* SPDX-License-Identifier: MIT
 *
 * Scenarios of faulted: pools, and the tasks of one.
 */
#include "faulted.h"

static int task(const void *input, size_t length, odf_output *output)
{
	int error, before = atomic_load(&faults->function);
	void *room;

	/* A call is under test if the program waits for this. */
	if (atomic_load(&faults->armed) != FAULTS_NONE)
		atomic_store(&faults->function, function_of("odf_output_write"));
	error = odf_output_write(output, input, length);
	if (error == 0)
		error = odf_output_write(output, data, sizeof data);
	if (atomic_load(&faults->armed) != FAULTS_NONE)
		atomic_store(&faults->function, function_of("odf_output_room"));
	room = odf_output_room(output, 200000);
	if (error == 0 && room == NULL)
		error = errno;
	if (room != NULL)
		memset(room, 'r', 200000);
	atomic_store(&faults->function, before);
	return error;
}

static int linger(const void *input, size_t length, odf_output *output)
{
	(void)input, (void)length, (void)output;
	pause_ms(500); /* a failed kill is an emulated failure; the process then ends by itself */
	return 0;
}

/* Checks the answer of a task. */
static void check_answer(int error, odf_task *one, const char *output, size_t length)
{
	odf_task_info info = ODF_TASK_INFO_INIT;
	int known;

	EXPECT(error, ECHILD, ENOMEM, EAGAIN, EIO, ETIMEDOUT);
	if (error != 0)
		return;
	CALL(known, odf_task_info_get, (one, &info));
	MUST(known == 0 && info.error == 0);
	EXPECT(info.result, ENOMEM);
	if (info.result == 0)
		MUST(length == 5 + sizeof data + 200000 && memcmp(output, "input", 5) == 0 &&
		     memcmp(output + 5, data, sizeof data) == 0 && output[5 + sizeof data] == 'r' &&
		     output[length - 1] == 'r');
}

void pools(void)
{
	static const uint64_t kinds[] = { 0, ODF_TASK_FRESH, ODF_TASK_FORK };
	odf_pool_options options = ODF_POOL_OPTIONS_INIT;
	odf_spawn_options spawn = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_pool_info pool_info = ODF_POOL_INFO_INIT;
	odf_launch *launch = NULL;
	odf_pool *pool;
	odf_task *one, *finished;
	int error, descriptor;
	pid_t pid = -7;
	void *output;
	size_t length;

	fill(data, sizeof data, 9);
	options.workers_max = 1;
	CALL(pool, odf_pool_create, (&options));
	if (pool == NULL) {
		EXPECT(errno, ENOMEM, EAGAIN);
		return;
	}
	spawn.allow = ODF_ALLOW(ODF_STRATEGY_POOL);
	set_options(&spawn);
	spawn.flags &=
	    ~(ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_USER_GROUPS | ODF_SPAWN_OOM_SCORE_ADJ | ODF_SPAWN_AMBIENT);
	spawn.root = NULL;
	CALL(error, odf_pool_spawn, (pool, &pid, "true", true_argv, NULL, &spawn, &report));
	EXPECT(error, ENOMEM, EAGAIN, ENOTSUP);
	check_spawn(error, pid, &report);
	spawn.flags |= ODF_SPAWN_NO_WAIT;
	spawn.launch = &launch;
	pid = -7;
	CALL(error, odf_pool_spawn, (pool, &pid, "true", true_argv, NULL, &spawn, &report));
	EXPECT(error, ENOMEM, EAGAIN, ENOTSUP);
	MUST(error == 0 || (pid == -7 && launch == NULL));
	if (error == 0 && launch != NULL) {
		int status;
		CALL(error, odf_launch_wait, (launch, -1, &report));
		EXPECT(error);
		status = reap(pid);
		MUST(error == 0 ? status == 0 : status == 127 << 8);
		CALL_VOID(odf_launch_free, (launch));
	} else if (error == 0) {
		MUST(reap(pid) == 0);
	}
	for (size_t i = 0; i < 3; i++) {
		odf_task_options task_options = ODF_TASK_OPTIONS_INIT;
		task_options.flags = kinds[i];
		task_options.time_ms = task_options.cpu_ms = 60000;
		if (i == 0)
			CALL(error, odf_pool_submit, (pool, task, "input", 5, &one));
		else
			CALL(error, odf_pool_submit_with, (pool, task, "input", 5, &task_options, &one));
		EXPECT(error, ENOMEM, EAGAIN);
		MUST((error == 0) == (one != NULL));
		if (error != 0)
			continue;
		output = NULL;
		CALL(error, odf_task_wait,
		     (one, &output, &length,
		      faults->number == SYS_kill ? 1000 : 10000)); /* the only worker cannot be replaced */
		check_answer(error, one, output, length);
		CALL_VOID(odf_task_free, (one));
	}
	CALL(descriptor, odf_pool_descriptor, (pool));
	if (descriptor < 0)
		EXPECT(errno, ENOMEM);
	one = NULL;
	CALL(error, odf_pool_submit, (pool, task, "input", 5, &one));
	EXPECT(error, ENOMEM, EAGAIN);
	if (error == 0) {
		finished = NULL;
		CALL(error, odf_pool_finished, (pool, &finished, faults->number == SYS_kill ? 1000 : 10000));
		EXPECT(error, ENOMEM, faults->number == SYS_kill ? ETIMEDOUT : ENOMEM);
		MUST(error != 0 || finished == one);
		odf_task_free(one);
	}
	CALL(error, odf_pool_info_get, (pool, &pool_info));
	MUST(error == 0);
	CALL(error, odf_pool_submit, (pool, linger, "", 0, &one));
	EXPECT(error, ENOMEM, EAGAIN);
	if (error == 0) {
		CALL(error, odf_task_cancel, (one));
		EXPECT(error == EALREADY ? 0 : error);
		CALL(error, odf_task_wait, (one, NULL, NULL, 2000));
		/* A worker that cannot be killed: its end is awaited. */
		EXPECT(error == ECANCELED ? 0 : error, ECHILD, ENOMEM, EAGAIN, EIO,
		       faults->number == SYS_kill ? ETIMEDOUT : EIO);
		odf_task_free(one);
	}
	CALL(error, odf_pool_destroy, (pool));
	MUST(error == 0);
	MUST(holds(data, sizeof data, 9));
}
