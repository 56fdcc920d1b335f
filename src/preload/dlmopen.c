/* SPDX-License-Identifier: MIT
 *
 * dlmopen. A new namespace has a C library of its own, whose calls, fork among them, are not interposed. So the heap
 * leaves before something is loaded there. In the shared library only.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "syscall.h"

typedef void *dlmopen_function(Lmid_t space, const char *file, int mode);

static void *has_none(Lmid_t space, const char *file, int mode)
{
	(void)space, (void)file, (void)mode;
	return NULL;
}

__attribute__((used)) dlmopen_function *interposed_dlmopen(Lmid_t space);
dlmopen_function *interposed_dlmopen(Lmid_t space)
{
	dlmopen_function *function = (dlmopen_function *)libc_find(LIBC_DLMOPEN);
	int saved = errno;

	if (space != LM_ID_BASE)
		heap_leave(ODF_REASON_HEAP_NOT_INTERPOSED);
	errno = saved;
	return function == NULL ? has_none : function;
}

/* libc's dlmopen takes the caller's search path and $ORIGIN by its return address, so it is jumped to, not called. */
#if PRELOAD_HAS_SYSCALL && defined __x86_64__
__asm__(".text\n"
	".globl dlmopen\n"
	".type dlmopen, @function\n"
	"dlmopen:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	pushq %rdx\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rsi\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rdi\n	.cfi_adjust_cfa_offset 8\n"
	"	call interposed_dlmopen\n"
	"	popq %rdi\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rsi\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rdx\n	.cfi_adjust_cfa_offset -8\n"
	"	jmpq *%rax\n"
	"	.cfi_endproc\n"
	".size dlmopen, .-dlmopen\n");
#elif PRELOAD_HAS_SYSCALL
__asm__(".text\n"
	".globl dlmopen\n"
	".type dlmopen, @function\n"
	"dlmopen:\n"
	"	.cfi_startproc\n"
	"	hint #34\n" /* bti c */
	"	stp x0, x1, [sp, #-48]!\n	.cfi_adjust_cfa_offset 48\n"
	"	str x2, [sp, #16]\n"
	"	stp x29, x30, [sp, #32]\n	.cfi_rel_offset 29, 32\n	.cfi_rel_offset 30, 40\n"
	"	bl interposed_dlmopen\n"
	"	mov x16, x0\n"
	"	ldp x29, x30, [sp, #32]\n	.cfi_restore 29\n	.cfi_restore 30\n"
	"	ldr x2, [sp, #16]\n"
	"	ldp x0, x1, [sp], #48\n	.cfi_adjust_cfa_offset -48\n"
	"	br x16\n"
	"	.cfi_endproc\n"
	".size dlmopen, .-dlmopen\n");
#else
__attribute__((visibility("default"))) void *dlmopen(Lmid_t space, const char *file, int mode)
{
	return interposed_dlmopen(space)(space, file, mode);
}
#endif
