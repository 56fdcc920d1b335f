/* SPDX-License-Identifier: MIT
 * Also in the trial's processes, which see kernel_trial.c: system calls only. */
#include "../sys/syscall.h"
#include "kernel.h"

int kernel_read_bit(const char *path)
{
	char bit = '0';
	int fd = sys_open(path, O_RDONLY, 0);
	long count;

	if (fd < 0)
		return fd;
	count = sys_read(fd, &bit, 1);
	sys_close(fd);
	return count < 0 ? (int)count : bit;
}

int kernel_write_bit(const char *path, char bit)
{
	int fd = sys_open(path, O_WRONLY, 0);
	long count;

	if (fd < 0)
		return fd;
	count = sys_write(fd, &bit, 1);
	sys_close(fd);
	return count == 1 ? 0 : count < 0 ? (int)count : -EIO;
}
