/* SPDX-License-Identifier: MIT */
#ifndef ODF_SYS_USERFAULT_H
#define ODF_SYS_USERFAULT_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <sys/ioctl.h>

/* Missing in the headers of Linux 5.4. */
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

/* A userfaultfd of this address space that serves kernel-mode faults too, and faults on pages of a file, missing or
 * resident (Linux 5.14); close-on-exec, non-blocking. `device` is a descriptor of /dev/userfaultfd that was passed in,
 * or -1; the system call and the device by its name are tried too. Or minus an errno value: EPERM, EACCES (not
 * permitted), ENOSYS, EINVAL (an older kernel). Raw system calls only. */
int userfault_open(int device);

/* The device makes a userfaultfd: by this descriptor or, if that is negative, opened by its name. 0, or minus an errno
 * value. */
int userfault_try_device(int device);

/* The library opens some userfaultfds, and the device, for microseconds only, between these two calls. A look at the
 * descriptors of the process that finds one of them must not take it for the program's. Any thread, async-signal-safe;
 * userfault_try_device makes the calls by itself. */
void userfault_begin_own(void);
void userfault_end_own(void);
/* How many such times have ended; and whether one began before now that had not ended by then. */
unsigned userfault_ended(void);
bool userfault_was_own(unsigned ended);
/* In a child: the threads that had them open are not there. */
void userfault_forget_own(void);
#endif
