/* SPDX-License-Identifier: MIT
 *
 * Probes for perf, bpftrace, SystemTap, gdb (USDT): a place in the code, and a note in the file with its address and
 * where its arguments are. While no tracer is attached, each is one instruction that does nothing. A probe whose
 * arguments must be computed first checks for a tracer, by a number that the kernel counts up. Without <sys/sdt.h> they
 * are empty.
 *
 * odfork(7) documents them; names and arguments are part of the interface. None is between clone and exec.
 */
#ifndef ODF_SYS_TRACE_H
#define ODF_SYS_TRACE_H

#include <stdbool.h>

#if HAVE_SDT
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

#define TRACE_COUNTER(name)                                                                                            \
	extern unsigned short odfork_##name##_semaphore __attribute__((section(".probes"), visibility("hidden")))
TRACE_COUNTER(fork);
TRACE_COUNTER(spawn);
TRACE_COUNTER(freeze);
TRACE_COUNTER(settle);
TRACE_COUNTER(adopt);
TRACE_COUNTER(leave);

#define TRACE_IS_WATCHED(name) (__atomic_load_n(&odfork_##name##_semaphore, __ATOMIC_RELAXED) != 0)
#define TRACE_2(name, a, b) STAP_PROBE2(odfork, name, a, b)
#define TRACE_3(name, a, b, c) STAP_PROBE3(odfork, name, a, b, c)
#define TRACE_4(name, a, b, c, d) STAP_PROBE4(odfork, name, a, b, c, d)
#define TRACE_5(name, a, b, c, d, e) STAP_PROBE5(odfork, name, a, b, c, d, e)
#else
#define TRACE_IS_WATCHED(name) false
#define TRACE_2(name, a, b) ((void)(a), (void)(b))
#define TRACE_3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#define TRACE_4(name, a, b, c, d) ((void)(a), (void)(b), (void)(c), (void)(d))
#define TRACE_5(name, a, b, c, d, e) ((void)(a), (void)(b), (void)(c), (void)(d), (void)(e))
#endif
#endif
