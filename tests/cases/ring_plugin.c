/* SPDX-License-Identifier: MIT
 *
 * Built twice: as a library with liburing's function, which does nothing (ODF_FAKE_RING), and as a library that is
 * linked with it.
 */
int io_uring_queue_init(unsigned entries, void *ring, unsigned flags);

#ifdef ODF_FAKE_RING
int io_uring_queue_init(unsigned entries, void *ring, unsigned flags)
{
	return ring == (void *)0 && flags == 0 ? (int)entries - 1 : -1;
}
#else
int use_ring(void);
int use_ring(void)
{
	return io_uring_queue_init(8, (void *)0, 0);
}
#endif
