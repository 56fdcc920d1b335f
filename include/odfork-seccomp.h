/* SPDX-License-Identifier: MIT
 *
 * For programs that use libseccomp: converts a libseccomp filter into the `seccomp` option of odf_spawn. Header only;
 * the program links with libseccomp (pkg-config libseccomp), libodfork does not. In C it needs libc's GNU declarations
 * (_GNU_SOURCE).
 */
#ifndef ODFORK_SECCOMP_H
#define ODFORK_SECCOMP_H

#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "odfork.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes *program from the filter in `context` (seccomp_init, seccomp_rule_add; not loaded). Returns 0, or an errno
 * value: ENOMEM, EMFILE, EINVAL for a context that gives no program, or an error of libseccomp. The caller frees the
 * instructions with odf_seccomp_program_free and keeps the context. The filter must allow execve, and what the program
 * itself needs. Not async-signal-safe. Since 0.1.0. */
static inline int odf_seccomp_program_make(scmp_filter_ctx context, struct sock_fprog *program)
{
	struct stat status;
	void *code = NULL;
	int fd = memfd_create("odf_seccomp_program", MFD_CLOEXEC), error = 0, result;

	program->len = 0;
	program->filter = NULL;
	if (fd < 0)
		return errno;
	result = seccomp_export_bpf(context, fd);
	if (result < 0)
		error = -result;
	else if (fstat(fd, &status) != 0)
		error = errno;
	else if (status.st_size <= 0 || status.st_size % (off_t)sizeof(struct sock_filter) != 0 ||
		 status.st_size / (off_t)sizeof(struct sock_filter) > BPF_MAXINSNS)
		error = EINVAL;
	if (error == 0) {
		code = malloc((size_t)status.st_size);
		if (code == NULL)
			error = ENOMEM;
		else if (pread(fd, code, (size_t)status.st_size, 0) != (ssize_t)status.st_size)
			error = EIO;
	}
	close(fd);
	if (error != 0) {
		free(code);
		return error;
	}
	program->len = (unsigned short)(status.st_size / (off_t)sizeof(struct sock_filter));
	program->filter = (struct sock_filter *)code;
	return 0;
}

/* Frees the instructions that odf_seccomp_program_make made. Since 0.1.0. */
static inline void odf_seccomp_program_free(struct sock_fprog *program)
{
	free(program->filter);
	program->filter = NULL;
	program->len = 0;
}

#ifdef __cplusplus
}
#endif
#endif
