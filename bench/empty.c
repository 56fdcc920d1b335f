/* SPDX-License-Identifier: MIT
 * An empty library: preloading it costs what any preload costs. */
int bench_empty(void);
int bench_empty(void)
{
	return 0;
}
