/* SPDX-License-Identifier: MIT
 *
 * Lists of what is known to be harmless: file systems, character devices, inodes without a file. The library uses them
 * for its own process, the command for others.
 */
#include <string.h>
#include <sys/socket.h>

#include "../sys/proc.h"
#include "pinned.h"

#ifndef AF_RDS
#define AF_RDS 21
#endif
#ifndef AF_ALG
#define AF_ALG 38
#endif

bool pinned_copies(uint32_t file_system)
{
	switch (file_system) {
	case 0xef53:     /* ext2, ext3, ext4 */
	case 0x58465342: /* xfs */
	case 0x9123683e: /* btrfs */
	case 0xca451a4e: /* bcachefs */
	case 0xf2f52010: /* f2fs */
	case 0x01021994: /* tmpfs, memfd */
	case 0x858458f6: /* ramfs */
	case 0x958458f6: /* hugetlbfs */
	case 0x794c7630: /* overlay: as the one below, which cannot be seen, and is nearly always local */
	case 0x61756673: /* aufs, likewise */
	case 0x73717368: /* squashfs */
	case 0xe0f5e1e2: /* erofs */
	case 0x28cd3d45: /* cramfs */
	case 0x7275:     /* romfs */
	case 0x9660:     /* iso9660 */
	case 0x15013346: /* udf */
	case 0x4d44:     /* fat */
	case 0x2011bab0: /* exfat */
	case 0x7366746e: /* ntfs3 */
	case 0x5346544e: /* ntfs */
	case 0x52654973: /* reiserfs */
	case 0x3153464a: /* jfs */
	case 0x3434:     /* nilfs */
	case 0x72b6:     /* jffs2 */
	case 0x24051905: /* ubifs */
	case 0x4244:     /* hfs */
	case 0x482b:     /* hfsplus */
	case 0xf15f:     /* ecryptfs */
	case 0x6969:     /* nfs, without O_DIRECT */
	case 0x01161970: /* gfs2 */
	case 0x7461636f: /* ocfs2 */
	case 0x0187:     /* autofs */
	case 0x9fa0:     /* proc */
	case 0x62656572: /* sysfs */
	case 0x27e0eb:   /* cgroup */
	case 0x63677270: /* cgroup2 */
	case 0x1cd1:     /* devpts */
	case 0x64626720: /* debugfs */
	case 0x74726163: /* tracefs */
	case 0x73636673: /* securityfs */
	case 0xf97cff8c: /* selinux */
	case 0x5a3c69f0: /* apparmor */
	case 0x43415d53: /* smack */
	case 0xcafe4a11: /* bpf */
	case 0x6165676c: /* pstore */
	case 0xde5e81e4: /* efivarfs */
	case 0x62656570: /* configfs */
	case 0x42494e4d: /* binfmt_misc */
	case 0x19800202: /* mqueue */
	case 0x07655821: /* resctrl */
	case 0x6e736673: /* namespaces */
	case 0x50494446: /* pidfs */
	case 0x5345434d: /* memfd_secret */
	case 0x444d4142: /* dma-buf, which cannot be read */
	case 0x50495045: /* pipes */
	case 0x534f434b: /* sockets */
		return true;
	default:
		/* FUSE, 9p, SMB, Lustre, GPFS...: some read into the caller's pages, depending on mount options or the
		 * server. */
		return false;
	}
}

bool pinned_is_plain_device(unsigned major, unsigned minor)
{
	switch (major) {
	case 1: /* null, zero, random... */
	case 2: case 3: case 4: case 5: /* terminals */
	case 136: case 137: case 138: case 139: case 140: case 141: case 142: case 143:
	case 166: case 188: case 204: case 205: case 229: /* and serial lines */
	case 7:             /* virtual consoles */
	case 13:            /* input */
	case 14: case 116:  /* sound */
	case 189:           /* USB */
		return true;
	case 10:
		break;
	default:
		/* Nvidia, infiniband, dri, video4linux; and all whose number is chosen when the driver is loaded: kfd,
		 * vfio, nvme... */
		return false;
	}
	switch (minor) {
	case 130: /* watchdog */
	case 135: /* rtc */
	case 144: /* nvram */
	case 183: /* hwrng */
	case 200: /* net/tun */
	case 223: /* uinput */
	case 228: /* hpet */
	case 234: /* btrfs-control */
	case 235: /* autofs */
	case 236: /* mapper/control */
	case 237: /* loop-control */
	case 239: /* uhid */
	case 242: /* rfkill */
		return true;
	default: /* fuse, whose server reads into pages; vfio, kvm, vhost */
		return false;
	}
}

odf_reason pinned_anonymous(const char *name, enum pinned_way way)
{
	static const char start[] = "anon_inode:";
	static const char *const harmless[] = {
		"[eventpoll]",    "[eventfd",    "[signalfd]",        "[timerfd]", "inotify",
		"[fanotify]",     "[pidfd]",     "[perf_event]",      "bpf-",      "bpf_link",
		"bpf_iter",       "btf",         "seccomp notify",    "[fscontext]", "[landlock-ruleset]"
	};

	if (strncmp(name, start, sizeof start - 1) != 0)
		return ODF_REASON_HEAP_DEVICE;
	name += sizeof start - 1;
	/* A userfaultfd that was received is for the memory of the process that made it. One that is found may be of
	 * this process. */
	if (strncmp(name, "[userfaultfd]", 13) == 0)
		return way == PINNED_FOUND ? ODF_REASON_HEAP_USERFAULT : ODF_REASON_NONE;
	if (strncmp(name, "[io_uring]", 10) == 0)
		return ODF_REASON_HEAP_PINS;
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
		if (strncmp(name, harmless[i], strlen(harmless[i])) == 0)
			return ODF_REASON_NONE;
	return ODF_REASON_HEAP_DEVICE;
}

/* AF_ALG decrypts into the reader's pages; AF_RDS registers memory to which others write. */
odf_reason pinned_domain(int domain)
{
	return domain == AF_ALG || domain == AF_RDS ? ODF_REASON_HEAP_DEVICE : ODF_REASON_NONE;
}

/* ZFS before 2.3 does not read into the caller's pages. Since then it does if a data set asks for that, unless the
 * module's switch is off. */
bool pinned_zfs_copies(void)
{
	char digit = '?';
	int file = proc_open_sysfs("/sys/module/zfs/parameters/zfs_dio_enabled", O_RDONLY);

	if (file == -ENOENT) {
		file = proc_open_sysfs("/sys/module/zfs/parameters", O_RDONLY | O_DIRECTORY);
		if (file >= 0)
			sys_close(file);
		return file >= 0;
	}
	if (file < 0)
		return false;
	if (sys_read(file, &digit, 1) != 1)
		digit = '?';
	sys_close(file);
	return digit == '0';
}

odf_reason pinned_mapping(const char *text)
{
	static const struct {
		const char *name;
		odf_reason reason;
	} names[] = {
		{ "anon_inode:[io_uring]", ODF_REASON_HEAP_PINS },
		{ "/dev/nvidia", ODF_REASON_HEAP_DEVICE },
		{ "/dev/infiniband/", ODF_REASON_HEAP_DEVICE },
		{ "/dev/vfio/", ODF_REASON_HEAP_DEVICE },
		{ "anon_inode:[vfio-device]", ODF_REASON_HEAP_DEVICE },
		{ "/dev/kfd", ODF_REASON_HEAP_DEVICE },
		{ "/dev/dri/", ODF_REASON_HEAP_DEVICE },
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strstr(text, names[i].name) != NULL)
			return names[i].reason;
	return ODF_REASON_NONE;
}
