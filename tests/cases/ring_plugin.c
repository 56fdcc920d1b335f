/* SPDX-License-Identifier: MIT
 * Twice: as a library that has liburing's function and does nothing (ODF_FAKE_RING), and as one that is linked with
 * it. */
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
