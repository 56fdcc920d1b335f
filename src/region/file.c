/* SPDX-License-Identifier: MIT
 *
 * The file behind a region. Where the machine gives ordinary memory large pages unasked (transparent huge pages: always), a memfd would fall behind it, as
 * the kernel decides about its pages by a setting of their own. A file system of the same kind that nobody else sees can be told to have them; it takes
 * CAP_SYS_ADMIN, so who has not gets the memfd.
 */
#include <errno.h>
#include <linux/memfd.h>
#include <string.h>

#include "internal.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

/* The same numbers on every architecture, Linux 5.2. */
#define NUMBER_FSOPEN   430
#define NUMBER_FSCONFIG 431
#define NUMBER_FSMOUNT  432
#define CLOSE_ON_EXEC   1
#define SET_STRING      1
#define CREATE          6

bool region_large_pages_wanted(void)
{
	char text[64] = "";
	int fd = sys_open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY, 0);

	if (fd < 0)
		return false;
	if (sys_read(fd, text, sizeof text - 1) < 0)
		text[0] = '\0';
	sys_close(fd);
	return strstr(text, "[always]") != NULL;
}

static int open_in(int mount)
{
	static const char name[] = "odfork-region";
	int file = (int)sys_call4(SYS_openat, mount, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (file >= 0)
		(void)sys_call3(SYS_unlinkat, mount, name, 0); /* it goes with the file system in any case */
	return file;
}

static int make_large(void)
{
	int context = (int)sys_call2(NUMBER_FSOPEN, "tmpfs", CLOSE_ON_EXEC), mount = -1, file = -1;

	if (context < 0)
		return context;
	/* No limit of its own, as a memfd has none. */
	if (sys_call5(NUMBER_FSCONFIG, context, SET_STRING, "huge", "always", 0) == 0 &&
	    sys_call5(NUMBER_FSCONFIG, context, SET_STRING, "size", "0", 0) == 0 && sys_call5(NUMBER_FSCONFIG, context, CREATE, NULL, NULL, 0) == 0)
		mount = (int)sys_call3(NUMBER_FSMOUNT, context, CLOSE_ON_EXEC, 0);
	sys_close(context);
	if (mount < 0)
		return -EPERM;
	file = open_in(mount);
	sys_close(mount);
	return file;
}

static int make_memfd(void)
{
	long file = sys_call2(SYS_memfd_create, "odfork-region", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	if (file == -EINVAL) /* a kernel before 6.3 does not know the flag */
		file = sys_call2(SYS_memfd_create, "odfork-region", MFD_CLOEXEC);
	return (int)file;
}

/* With CAP_SYS_ADMIN, and in no sandbox: a filter may kill for system calls that make file systems. */
static bool may_make_large(void)
{
	enum { SYS_ADMIN = 21, FROM_THE_END = SYS_ADMIN / 4 };
	static const char rights[] = "\nCapEff:\t", sandbox[] = "\nSeccomp:\t0\n";
	char text[4096] = "", digit;
	const char *line, *end;
	int fd = sys_open("/proc/self/status", O_RDONLY, 0);

	if (fd < 0)
		return false;
	if (sys_read(fd, text, sizeof text - 1) < 0)
		text[0] = '\0';
	sys_close(fd);
	line = strstr(text, rights);
	end = line == NULL ? NULL : strchr(line + sizeof rights - 1, '\n');
	if (end == NULL || end - line < (long)sizeof rights + FROM_THE_END || strstr(text, sandbox) == NULL)
		return false;
	digit = end[-1 - FROM_THE_END];
	return (((digit <= '9' ? digit - '0' : digit - 'a' + 10) >> SYS_ADMIN % 4) & 1) != 0;
}

int region_file_make(size_t size)
{
	int file = region_large_pages_wanted() && may_make_large() ? make_large() : -1;
	long result;

	if (file < 0)
		file = make_memfd();
	if (file < 0)
		return file;
	result = sys_call2(SYS_ftruncate, file, size);
	if (result < 0) {
		sys_close(file);
		return (int)result;
	}
	return file;
}
