/* SPDX-License-Identifier: MIT
 *
 * For tests that decide about each system call of the library (ODF_INJECT_FAILURES) and pass the others on: the call
 * itself. x86-64.
 */
#ifndef ODF_TESTS_REAL_CALL_H
#define ODF_TESTS_REAL_CALL_H

static __attribute__((noinline, unused)) long real_call(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#endif
