/* SPDX-License-Identifier: MIT */
#ifndef ODF_SYS_USERFAULT_H
#define ODF_SYS_USERFAULT_H

/* A userfaultfd of this address space that serves faults of the kernel's own as well, and for pages of a file that
 * are missing or there (Linux 5.14); close-on-exec, never waits. `device` is a descriptor of /dev/userfaultfd that
 * was handed in, or -1; the system call and the device are tried as well. Or minus an errno value: EPERM, EACCES (not
 * permitted), ENOSYS, EINVAL (an older kernel). Raw system calls only. */
int userfault_open(int device);

/* Whether the device makes one: this descriptor of it or, where that is negative, the one that its name opens. 0, or
 * minus an errno value. */
int userfault_try_device(int device);
#endif
