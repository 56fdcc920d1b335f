/* SPDX-License-Identifier: MIT */
#ifndef ODF_SYS_USERFAULT_H
#define ODF_SYS_USERFAULT_H

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

/* What the headers of Linux 5.4 lack. */
#ifndef UFFDIO_WRITEPROTECT
struct uffdio_writeprotect {
	struct uffdio_range range;
	__u64 mode;
};
#define UFFDIO_WRITEPROTECT_MODE_WP ((__u64)1 << 0)
#define UFFDIO_WRITEPROTECT         _IOWR(UFFDIO, 0x06, struct uffdio_writeprotect)
#endif
#ifndef UFFDIO_REGISTER_MODE_MINOR
#define UFFDIO_REGISTER_MODE_MINOR ((__u64)1 << 2)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* A userfaultfd of this address space that serves faults of the kernel's own as well, and for pages of a file that
 * are missing or there (Linux 5.14); close-on-exec, never waits. `device` is a descriptor of /dev/userfaultfd that
 * was handed in, or -1; the system call and the device are tried as well. Or minus an errno value: EPERM, EACCES (not
 * permitted), ENOSYS, EINVAL (an older kernel). Raw system calls only. */
int userfault_open(int device);

/* Whether the device makes one: this descriptor of it or, where that is negative, the one that its name opens. 0, or
 * minus an errno value. */
int userfault_try_device(int device);
#endif
