/* SPDX-License-Identifier: MIT */
#include "userfault.h"

#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "syscall.h"

/* From newer headers. */
#define IOC_NEW       _IO(0xAA, 0x00)
#define MISSING_SHMEM (1u << 5)
#define MINOR_SHMEM   (1u << 10)

static int from_device(int device)
{
	return (int)sys_call3(SYS_ioctl, device, IOC_NEW, O_CLOEXEC | O_NONBLOCK);
}

static int open_any(int device)
{
	int fd = device >= 0 ? from_device(device) : -EBADF, opened;

	if (fd >= 0)
		return fd;
	fd = (int)sys_call1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		return fd;
	opened = sys_open("/dev/userfaultfd", O_RDWR, 0);
	if (opened >= 0) {
		fd = from_device(opened);
		sys_close(opened);
	}
	return fd;
}

int userfault_open(int device)
{
	struct uffdio_api api = { .api = UFFD_API, .features = MISSING_SHMEM | MINOR_SHMEM };
	int fd = open_any(device), error;

	if (fd < 0)
		return fd;
	error = (int)sys_call3(SYS_ioctl, fd, UFFDIO_API, &api);
	if (error < 0) {
		sys_close(fd);
		return error;
	}
	return fd;
}
