/* SPDX-License-Identifier: MIT */
#include "readable.h"

#include <errno.h>
#include <stdint.h>

#include "syscall.h"

#define PAGE 4096u /* the smallest page size; larger pages may be asked for twice */

/* rt_sigprocmask copies the 8 bytes of the new mask before it checks what to do with them, and here that is invalid. So
 * it answers EFAULT or EINVAL and changes nothing, and every filter permits it. It reads nothing at address 0, so the
 * word asked about is never the first of a page. */
static bool can_read_page(uintptr_t at)
{
	return sys_call4(SYS_rt_sigprocmask, -1, (at | 8) / 8 * 8, NULL, 8) != -EFAULT;
}

bool sys_is_readable(const void *from, size_t size)
{
	uintptr_t start = (uintptr_t)from, end = start + size;

	if (end < start)
		return false;
	for (uintptr_t at = start; at < end; at = at / PAGE * PAGE + PAGE)
		if (!can_read_page(at))
			return false;
	return true;
}

bool sys_is_readable_string(const char *text)
{
	for (;; text++) {
		if (!can_read_page((uintptr_t)text))
			return false;
		for (; (uintptr_t)text % PAGE != PAGE - 1; text++)
			if (*text == '\0')
				return true;
		if (*text == '\0')
			return true;
	}
}
