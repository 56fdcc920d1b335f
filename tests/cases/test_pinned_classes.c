/* SPDX-License-Identifier: MIT
 *
 * Which devices and file systems count as harmless, also those that this machine does not have: the lists, and names
 * that no list has.
 */
#include <linux/magic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../src/heap/pinned.h"
#include "../support/support.h"

#ifndef AF_RDS
#define AF_RDS 21
#endif
#ifndef AF_XDP
#define AF_XDP 44
#endif

static void file_systems(void **unused)
{
	static const uint32_t copying[] = { EXT4_SUPER_MAGIC,    XFS_SUPER_MAGIC,       BTRFS_SUPER_MAGIC,
					    TMPFS_MAGIC,         OVERLAYFS_SUPER_MAGIC, NFS_SUPER_MAGIC,
					    PROC_SUPER_MAGIC,    SYSFS_MAGIC,           SQUASHFS_MAGIC,
					    CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC,    HUGETLBFS_MAGIC,
					    F2FS_SUPER_MAGIC };
	static const uint32_t other[] = { FUSE_SUPER_MAGIC,
					  V9FS_MAGIC,
					  CIFS_SUPER_MAGIC,
					  SMB2_SUPER_MAGIC,
					  SMB_SUPER_MAGIC,
					  CEPH_SUPER_MAGIC,
					  0x0bd00bd0 /* Lustre */,
					  0x47504653 /* GPFS */,
					  0x2fc12fc1 /* ZFS, asked for its switch */,
					  0x12345678,
					  0 };

	(void)unused;
	for (size_t i = 0; i < sizeof copying / sizeof *copying; i++)
		assert_true(pinned_copies(copying[i]));
	for (size_t i = 0; i < sizeof other / sizeof *other; i++)
		assert_false(pinned_copies(other[i]));
}

static void devices(void **unused)
{
	static const unsigned plain[][2] = {
		{ 1, 3 }, { 1, 5 }, { 1, 9 }, { 5, 0 }, { 5, 2 }, { 136, 7 }, { 13, 64 }, { 116, 0 }, { 10, 200 },
		{ 10, 237 },
	};
	static const unsigned other[][2] = { { 195, 0 } /* nvidia0 */,
					     { 195, 255 } /* nvidiactl */,
					     { 231, 192 } /* uverbs0 */,
					     { 226, 0 } /* dri/card0 */,
					     { 226, 128 } /* dri/renderD128 */,
					     { 10, 196 } /* vfio/vfio */,
					     { 10, 229 } /* fuse */,
					     { 10, 232 } /* kvm */,
					     { 10, 238 } /* vhost-net */,
					     { 10, 126 },
					     { 81, 0 } /* video0 */,
					     { 21, 0 } /* sg0 */,
					     { 240, 0 } /* kfd, nvme... */,
					     { 511, 0 } };

	(void)unused;
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		assert_true(pinned_is_plain_device(plain[i][0], plain[i][1]));
	for (size_t i = 0; i < sizeof other / sizeof *other; i++)
		assert_false(pinned_is_plain_device(other[i][0], other[i][1]));
}

static void inodes_without_a_file(void **unused)
{
	(void)unused;
	assert_int_equal(pinned_anonymous("anon_inode:[eventpoll]", PINNED_FOUND), ODF_REASON_NONE);
	assert_int_equal(pinned_anonymous("anon_inode:[eventfd]", PINNED_RECEIVED), ODF_REASON_NONE);
	assert_int_equal(pinned_anonymous("anon_inode:[pidfd]", PINNED_RECEIVED), ODF_REASON_NONE);
	assert_int_equal(pinned_anonymous("anon_inode:inotify", PINNED_FOUND), ODF_REASON_NONE);
	assert_int_equal(pinned_anonymous("anon_inode:bpf-map", PINNED_FOUND), ODF_REASON_NONE);
	assert_int_equal(pinned_anonymous("anon_inode:bpf_link", PINNED_FOUND), ODF_REASON_NONE);
	assert_int_equal(pinned_anonymous("anon_inode:bpf_iter", PINNED_RECEIVED), ODF_REASON_NONE);
	assert_int_equal(pinned_anonymous("anon_inode:[io_uring]", PINNED_FOUND), ODF_REASON_HEAP_PINS);
	assert_int_equal(pinned_anonymous("anon_inode:[io_uring]", PINNED_RECEIVED), ODF_REASON_HEAP_PINS);
	assert_int_equal(pinned_anonymous("anon_inode:[userfaultfd]", PINNED_FOUND), ODF_REASON_HEAP_USERFAULT);
	/* another process's */
	assert_int_equal(pinned_anonymous("anon_inode:[userfaultfd]", PINNED_RECEIVED), ODF_REASON_NONE);
	assert_int_equal(pinned_anonymous("anon_inode:[vfio-device]", PINNED_RECEIVED), ODF_REASON_HEAP_DEVICE);
	assert_int_equal(pinned_anonymous("anon_inode:kvm-vm", PINNED_FOUND), ODF_REASON_HEAP_DEVICE);
	assert_int_equal(pinned_anonymous("/anything", PINNED_FOUND), ODF_REASON_HEAP_DEVICE);
}

static void sockets(void **unused)
{
	int pair[2];

	(void)unused;
	assert_int_equal(pinned_domain(AF_UNIX), ODF_REASON_NONE);
	assert_int_equal(pinned_domain(AF_INET6), ODF_REASON_NONE);
	assert_int_equal(pinned_domain(AF_XDP), ODF_REASON_NONE); /* its ranges are registered by a call */
	assert_int_equal(pinned_domain(AF_ALG), ODF_REASON_HEAP_DEVICE);
	assert_int_equal(pinned_domain(AF_RDS), ODF_REASON_HEAP_DEVICE);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(pinned_descriptor(pair[0], PINNED_FOUND, 0), ODF_REASON_NONE);
	close(pair[0]);
	assert_int_equal(pinned_descriptor(pair[0], PINNED_FOUND, 0), ODF_REASON_NONE); /* closed */
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_systems),
		cmocka_unit_test(devices),
		cmocka_unit_test(inodes_without_a_file),
		cmocka_unit_test(sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
