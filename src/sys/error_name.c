/* SPDX-License-Identifier: MIT */
#include "error_name.h"

#include <stddef.h>
#include <string.h>

const char *error_name(int error)
{
#if HAVE_STRERRORNAME_NP
	return strerrorname_np(error);
#else
	(void)error;
	return NULL;
#endif
}
