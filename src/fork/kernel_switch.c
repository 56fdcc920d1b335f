/* SPDX-License-Identifier: MIT
 * Async-signal-safe: system calls and one atomic flag. */
#include "kernel_switch.h"

#include "../sys/process_lock.h"
#include "../sys/syscall.h"

static struct process_lock busy;

/* '0', '1', or minus an errno value. */
static int read_bit(const char *path)
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

static int write_bit(const char *path, char bit)
{
	int fd = sys_open(path, O_WRONLY, 0);
	long count;

	if (fd < 0)
		return fd;
	count = sys_write(fd, &bit, 1);
	sys_close(fd);
	return count == 1 ? 0 : count < 0 ? (int)count : -EIO;
}

odf_reason kernel_switch_set(struct kernel_switch *state, const char *path)
{
	int bit;

	*state = (struct kernel_switch){ .path = path };
	if (!process_lock_try(&busy))
		return ODF_REASON_KERNEL_BUSY;
	bit = read_bit(path);
	state->was_set = bit == '1';
	if (bit < 0 || (!state->was_set && write_bit(path, '1') != 0)) {
		process_lock_release(&busy);
		state->was_set = true; /* nothing to put back */
		return ODF_REASON_KERNEL_REFUSED;
	}
	state->ours = true;
	return ODF_REASON_NONE;
}

void kernel_switch_put_back(const struct kernel_switch *state, bool in_child)
{
	/* A failure leaves on-demand fork on, which stays correct for later forks of this process as far as it is at all, and
	 * there is nobody to report it to: the fork itself has succeeded. */
	if (!state->was_set && (state->ours || in_child))
		(void)write_bit(state->path, '0');
	if (state->ours)
		process_lock_release(&busy);
}
