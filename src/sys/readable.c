/* SPDX-License-Identifier: MIT */
#include "readable.h"

#include <errno.h>

#include "syscall.h"

#define PAGE 4096u /* the smallest there is; on larger ones some are asked twice */

/* rt_sigprocmask copies the 8 bytes of the new mask before it looks at what is to be done with them, which here is nothing that it knows. So it answers
 * EFAULT or EINVAL, and changes nothing; and no filter leaves it out. */
static bool can_read_word(const char *at)
{
	return sys_call4(SYS_rt_sigprocmask, -1, at, NULL, 8) != -EFAULT;
}

bool sys_is_readable(const void *from, size_t size)
{
	const char *at = from, *last = at + size - 8;

	if (last < at)
		return false;
	for (; at < last; at = last - at > PAGE ? at + PAGE : last)
		if (!can_read_word(at))
			return false;
	return can_read_word(last);
}
