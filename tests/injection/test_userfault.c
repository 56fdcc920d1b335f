/* SPDX-License-Identifier: MIT
 *
 * By which way the library gets a userfaultfd. An emulated kernel opens and closes each of the three ways, and a
 * handshake must follow; each may fail with any error. No failure ends the search, and no descriptor stays open.
 */
#include <fcntl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <sys/ioctl.h>

#include "../../src/sys/syscall.h"
#include "../../src/sys/userfault.h"
#include "../support/support.h"

enum { HANDED_IN = 40, NAMED, BY_HANDED_IN, BY_CALL, BY_NAME };

static struct kernel {
	int handed_in, call, name, make; /* minus an errno value: closed; make: the device's ioctl, for NAMED */
	int disagrees[BY_NAME + 1];      /* the same for the handshake of each userfaultfd */
	bool open[BY_NAME + 1];
} kernel;

static long opens(int fd, int error)
{
	if (error == 0) {
		assert_false(kernel.open[fd]);
		kernel.open[fd] = true;
	}
	return error == 0 ? fd : error;
}

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	(void)d, (void)e, (void)f;
	switch (number) {
	case SYS_userfaultfd:
		assert_int_equal(a, O_CLOEXEC | O_NONBLOCK);
		return opens(BY_CALL, kernel.call);
	case SYS_openat:
		assert_string_equal((const char *)b, "/dev/userfaultfd");
		assert_true(c & O_CLOEXEC);
		return opens(NAMED, kernel.name);
	case SYS_close:
		assert_true(kernel.open[a]);
		kernel.open[a] = false;
		return 0;
	case SYS_ioctl:
		if ((unsigned long)b == UFFDIO_API) {
			assert_true(kernel.open[a]);
			return kernel.disagrees[a];
		}
		assert_int_equal(c, O_CLOEXEC | O_NONBLOCK);
		return a == HANDED_IN ? opens(BY_HANDED_IN, kernel.handed_in) : opens(BY_NAME, kernel.make);
	default:
		fail_msg("system call %ld", number);
		return -ENOSYS;
	}
}

static int expect_only(int result)
{
	for (int fd = NAMED; fd <= BY_NAME; fd++)
		assert_int_equal(kernel.open[fd], fd == result);
	return result;
}

/* Each way is open, closed when tried, or unusable after it was opened. */
static void all_ways(void **unused)
{
	static const int errors[] = { -EACCES, -EPERM, -ENOENT, -ENXIO, -ENODEV, -ENOTTY, -ENOSYS, -EINVAL, -EMFILE };

	(void)unused;
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		for (int way = 0; way < 27; way++) {
			int first = way % 3, second = way / 3 % 3, third = way / 9, error = errors[i];
			kernel = (struct kernel){
				.handed_in = first == 1 ? error : 0,
				.call = second == 1 ? error : 0,
				.name = third == 1 ? error : 0,
				.disagrees = { [BY_HANDED_IN] = first == 2 ? error : 0,
					       [BY_CALL] = second == 2 ? error : 0,
					       [BY_NAME] = third == 2 ? error : 0 },
			};
			assert_int_equal(expect_only(userfault_open(HANDED_IN)), first == 0    ? BY_HANDED_IN
										 : second == 0 ? BY_CALL
										 : third == 0  ? BY_NAME
											       : error);
		}
}

static void nothing_handed_in(void **unused)
{
	(void)unused;
	kernel = (struct kernel){ .name = -EACCES };
	assert_int_equal(expect_only(userfault_open(-1)), BY_CALL);
	kernel = (struct kernel){ .call = -EPERM };
	assert_int_equal(expect_only(userfault_open(-1)), BY_NAME);
	kernel = (struct kernel){ .call = -EPERM, .make = -ENOTTY }; /* another device has that name */
	assert_int_equal(expect_only(userfault_open(-1)), -ENOTTY);
}

/* The probe: a device that can be opened but makes no userfaultfd does not count. */
static void the_device_by_effect(void **unused)
{
	(void)unused;
	kernel = (struct kernel){ 0 };
	assert_int_equal(userfault_try_device(-1), 0);
	expect_only(0);
	assert_int_equal(userfault_try_device(HANDED_IN), 0);
	expect_only(0);
	kernel = (struct kernel){ .make = -ENOTTY, .handed_in = -EACCES };
	assert_int_equal(userfault_try_device(-1), -ENOTTY);
	assert_int_equal(userfault_try_device(HANDED_IN), -EACCES);
	expect_only(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_ways),
		cmocka_unit_test(nothing_handed_in),
		cmocka_unit_test(the_device_by_effect),
	};

	return cmocka_run_group_tests_name("userfault", tests, NULL, NULL);
}
