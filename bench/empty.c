/* SPDX-License-Identifier: MIT
 * A library with nothing in it: what any preload costs. */
int bench_empty(void);
int bench_empty(void)
{
	return 0;
}
