/* SPDX-License-Identifier: MIT
 *
 * Cases of test_moved: the kernel refuses a mapping over memory of a region. The memory must be as before.
 */
#include "moved.h"

static void must_be_refused(char *place, int protection, int flags, int file, off_t offset, int error)
{
	errno = 0;
	must(mmap(place, MIB, protection, flags | MAP_FIXED, file, offset) == MAP_FAILED && errno == error);
}

static bool is_whole(char *p)
{
	for (size_t at = 0; at < 8 * MIB; at += PAGE)
		if (p[at] != 1)
			return false;
	return true;
}

void mapping_refused(void)
{
	char *p = map_inside(8 * MIB);
	char name[] = "/tmp/odfork-refused-XXXXXX";
	int file = mkstemp(name), readable;

	must(file >= 0);
	readable = open(name, O_RDONLY | O_CLOEXEC);
	must(readable >= 0 && unlink(name) == 0 && ftruncate(file, (off_t)MIB) == 0);
	for (int round = 0; round < 4; round++) {
		pid_t child;
		must_be_refused(p + MIB, RW, MAP_SHARED, readable, 0, EACCES);
		must_be_refused(p + 2 * MIB, RW, MAP_PRIVATE, 1000000, 0, EBADF);
		must_be_refused(p + 3 * MIB, RW, MAP_SHARED, file, 1, EINVAL);
		must_be_refused(p + 4 * MIB, RW, MAP_SHARED_VALIDATE | 0x200, file, 0, EOPNOTSUPP);
		must(is_whole(p));
		child = fork(); /* its writes are its own */
		must(child >= 0);
		if (child == 0) {
			bool right = is_whole(p);
			memset(p, 9, 8 * MIB);
			_exit(right ? 0 : 1);
		}
		must(status_of(child) == 0);
		must(is_whole(p));
		for (int i = 0; i < 200 && settles() && !is_all_live(p, 8 * MIB); i++)
			wait_ms(5);
	}
	must(close(file) == 0 && close(readable) == 0);
}
