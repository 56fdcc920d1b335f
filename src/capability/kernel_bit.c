/* SPDX-License-Identifier: MIT
 * Also runs in the processes of a trial (kernel_trial.c): system calls only. */
#include "../sys/proc.h"
#include "kernel.h"

/* Only of ByteDance's kernels: issued only if their sysctl was read just before. */
#define ENABLE_ASYNC_FORK 0x4000

int kernel_read_bit(const char *path)
{
	char bit = '0';
	int fd = sys_open(path, PROC_READ, 0);
	long count;

	if (fd < 0)
		return fd;
	count = sys_read(fd, &bit, 1);
	sys_close(fd);
	return count < 0 ? (int)count : bit;
}

bool kernel_bit_is_on(odf_kernel_interface interface, int bit)
{
	return bit == (interface == ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL ? '2' : '1');
}

static int write_bit(const char *path, char bit)
{
	int fd = sys_open(path, PROC_WRITE, 0);
	long count;

	if (fd < 0)
		return fd;
	count = sys_write(fd, &bit, 1);
	sys_close(fd);
	return count == 1 ? 0 : count < 0 ? (int)count : -EIO;
}

int kernel_throw(odf_kernel_interface interface, const char *path, bool on)
{
	if (interface != ODF_KERNEL_INTERFACE_ASYNC_FORK_PRCTL)
		return write_bit(path, on ? '1' : '0');
	switch (kernel_read_bit(path)) {
	case '1':
		return (int)sys_call5(SYS_prctl, ENABLE_ASYNC_FORK, on, 0, 0, 0);
	case '2':
		return on ? 0 : -EPERM;
	default:
		return -ENOTSUP;
	}
}
