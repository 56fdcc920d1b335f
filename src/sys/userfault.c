/* SPDX-License-Identifier: MIT */
#include "userfault.h"

#include <linux/types.h>
#include <stdatomic.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "syscall.h"

/* From newer headers. */
#define IOC_NEW       _IO(0xAA, 0x00)
#define MISSING_SHMEM (1u << 5)
#define MINOR_SHMEM   (1u << 10)
#define WP_SHMEM      (1u << 12)
#define WP_MISSING    (1u << 13)

static atomic_uint begun, ended;

void userfault_begin_own(void)
{
	atomic_fetch_add(&begun, 1);
}

void userfault_end_own(void)
{
	atomic_fetch_add(&ended, 1);
}

unsigned userfault_ended(void)
{
	return atomic_load(&ended);
}

bool userfault_was_own(unsigned before)
{
	return atomic_load(&begun) != before;
}

void userfault_forget_own(void)
{
	atomic_store(&ended, atomic_load(&begun));
}

static int from_device(int device)
{
	return (int)sys_call3(SYS_ioctl, device, IOC_NEW, O_CLOEXEC | O_NONBLOCK);
}

static int from_name(void)
{
	int device = sys_open("/dev/userfaultfd", O_RDWR | O_NONBLOCK | O_NOCTTY, 0), fd;

	if (device < 0)
		return device;
	fd = from_device(device);
	sys_close(device);
	return fd;
}

/* A userfaultfd is of use only if the kernel agrees to the features that are asked for. */
static int agreed(int fd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = MISSING_SHMEM | MINOR_SHMEM | WP_SHMEM | WP_MISSING };
	int error;

	if (fd < 0)
		return fd;
	error = (int)sys_call3(SYS_ioctl, fd, UFFDIO_API, &api);
	if (error == -EINVAL) { /* not all of them: without the optional ones */
		api = (struct uffdio_api){ .api = UFFD_API, .features = MISSING_SHMEM | MINOR_SHMEM };
		error = (int)sys_call3(SYS_ioctl, fd, UFFDIO_API, &api);
	}
	if (error >= 0)
		return fd;
	sys_close(fd);
	return error;
}

/* Each way may be refused for its own reason: the device by its mode or a security module, the call by a sysctl or a
 * filter. So any error leads to the next way. */
int userfault_open(int device)
{
	int fd = agreed(device >= 0 ? from_device(device) : -EBADF);

	if (fd < 0)
		fd = agreed((int)sys_call1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
	if (fd < 0)
		fd = agreed(from_name());
	return fd;
}

int userfault_try_device(int device)
{
	int fd;

	userfault_begin_own();
	fd = device >= 0 ? from_device(device) : from_name();
	if (fd >= 0)
		fd = sys_close(fd);
	userfault_end_own();
	return fd;
}
