/* SPDX-License-Identifier: MIT
 *
 * Three lists, each of what is known to be harmless: file systems, character devices, inodes without a file. A regular
 * file is looked at by three system calls on the first of its mount and by one on all others.
 */
#include "pinned.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "../record/settings.h"
#include "internal.h"

#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000u /* Linux 6.8 */
#endif
#ifndef AF_RDS
#define AF_RDS 21
#endif
#ifndef AF_ALG
#define AF_ALG 38
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

#define ANONYMOUS 0x09041934u
#define ZFS       0x2fc12fc1u

/* Descriptors that are looked at when the heap wakes. With more it stays asleep. */
#define DESCRIPTORS_MOST 65536

/* ---- Classes ---- */

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
	case 0x794c7630: /* overlay: as what is below, which cannot be seen, and is local nearly always */
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
		/* FUSE, 9p, SMB, Lustre, GPFS...: some read to the caller's pages, as mount options or the server say. */
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
		/* Nvidia, infiniband, dri, video4linux; and all whose number was chosen when the driver was loaded: kfd, vfio, nvme... */
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
	default: /* fuse, whose server reads to pages; vfio, kvm, vhost */
		return false;
	}
}

odf_reason pinned_anonymous(const char *name, enum pinned_way way)
{
	static const char start[] = "anon_inode:";
	static const char *const harmless[] = { "[eventpoll]", "[eventfd", "[signalfd]", "[timerfd]", "inotify", "[fanotify]",
		"[pidfd]", "[perf_event]", "bpf-", "btf", "seccomp notify", "[fscontext]", "[landlock-ruleset]" };

	if (strncmp(name, start, sizeof start - 1) != 0)
		return ODF_REASON_HEAP_DEVICE;
	name += sizeof start - 1;
	/* One that was received is about the memory of him who made it; one that is found may have been made by this
	 * process. */
	if (strncmp(name, "[userfaultfd]", 13) == 0)
		return way == PINNED_FOUND ? ODF_REASON_HEAP_USERFAULT : ODF_REASON_NONE;
	if (strncmp(name, "[io_uring]", 10) == 0)
		return ODF_REASON_HEAP_PINS;
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
		if (strncmp(name, harmless[i], strlen(harmless[i])) == 0)
			return ODF_REASON_NONE;
	return ODF_REASON_HEAP_DEVICE;
}

/* Decrypts to the reader's pages; registers memory that others write to. */
odf_reason pinned_domain(int domain)
{
	return domain == AF_ALG || domain == AF_RDS ? ODF_REASON_HEAP_DEVICE : ODF_REASON_NONE;
}

/* ---- One descriptor ---- */

/* Before its version 2.3 it did not read to the caller's pages; since, a data set may say so, unless the module's
 * switch is off. */
static bool zfs_copies(void)
{
	char digit = '?';
	int file = sys_open("/sys/module/zfs/parameters/zfs_dio_enabled", O_RDONLY, 0);

	if (file == -ENOENT)
		return sys_call4(SYS_faccessat, AT_FDCWD, "/sys/module/zfs/parameters", 0, 0) == 0;
	if (file < 0)
		return false;
	if (sys_read(file, &digit, 1) != 1)
		digit = '?';
	sys_close(file);
	return digit == '0';
}

/* Mounts whose files are known to be harmless, by numbers that the kernel gives once (Linux 6.8). Older kernels give
 * numbers of mounts and devices again, so that nothing is remembered there. */
#define KNOWN_MOUNTS 16
static _Atomic(uint64_t) known_mounts[KNOWN_MOUNTS];
static atomic_uint next_mount;

static bool is_known_mount(uint64_t mount)
{
	for (int i = 0; i < KNOWN_MOUNTS; i++)
		if (atomic_load_explicit(&known_mounts[i], memory_order_relaxed) == mount)
			return true;
	return false;
}

struct appearance {
	mode_t mode;
	unsigned major, minor; /* of a device */
	uint64_t mount;        /* 0: not known */
};

/* 0 or minus an errno value. */
static long look_at(int descriptor, struct appearance *appearance)
{
	struct statx found;
	struct stat old;
	long error = sys_call5(SYS_statx, descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
			       STATX_TYPE | STATX_MNT_ID_UNIQUE, &found);

	if (error == 0) {
		*appearance = (struct appearance){ found.stx_mode, found.stx_rdev_major, found.stx_rdev_minor, 0 };
		if (found.stx_mask & STATX_MNT_ID_UNIQUE)
			appearance->mount = found.stx_mnt_id;
		return 0;
	}
	if (error == -EBADF || fstat(descriptor, &old) != 0) /* refused by a filter that does not know it, perhaps */
		return error;
	*appearance = (struct appearance){ old.st_mode, major(old.st_rdev), minor(old.st_rdev), 0 };
	return 0;
}

static odf_reason look_at_anonymous(int descriptor, enum pinned_way way)
{
	char path[32] = "/proc/self/fd/", name[64], digits[12];
	size_t length = strlen(path), count = 0;
	long got;

	for (int rest = descriptor; count == 0 || rest > 0; rest /= 10)
		digits[count++] = (char)('0' + rest % 10);
	while (count > 0)
		path[length++] = digits[--count];
	path[length] = '\0';
	got = sys_call4(SYS_readlinkat, AT_FDCWD, path, name, sizeof name - 1);
	if (got == -ENOENT) /* closed meanwhile, or there is no /proc */
		return sys_call2(SYS_fcntl, descriptor, F_GETFD) < 0 ? ODF_REASON_NONE : ODF_REASON_HEAP_DEVICE;
	if (got < 0)
		return ODF_REASON_HEAP_DEVICE;
	name[got] = '\0';
	return pinned_anonymous(name, way);
}

static odf_reason look_at_file(int descriptor, const struct appearance *appearance, enum pinned_way way)
{
	struct statfs system;
	uint32_t type;

	if (appearance->mount != 0 && is_known_mount(appearance->mount))
		return ODF_REASON_NONE;
	if (sys_call2(SYS_fstatfs, descriptor, &system) < 0)
		return sys_call2(SYS_fcntl, descriptor, F_GETFD) < 0 ? ODF_REASON_NONE : ODF_REASON_HEAP_FILE_SYSTEM;
	type = (uint32_t)system.f_type;
	if (type == ANONYMOUS)
		return look_at_anonymous(descriptor, way);
	if (!pinned_copies(type) && !(type == ZFS && zfs_copies()))
		return ODF_REASON_HEAP_FILE_SYSTEM;
	if (appearance->mount != 0 && type != ZFS)
		atomic_store_explicit(&known_mounts[atomic_fetch_add(&next_mount, 1) % KNOWN_MOUNTS], appearance->mount,
				      memory_order_relaxed);
	return ODF_REASON_NONE;
}

/* Of a socket that was not made here by a call that was seen. */
static odf_reason look_at_socket(int descriptor)
{
	int domain = 0;
	char protocol[16] = "";
	socklen_t size = sizeof domain;

	if (sys_call5(SYS_getsockopt, descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
		return ODF_REASON_NONE; /* closed; from Linux 2.6.32 on */
	if (pinned_domain(domain) != ODF_REASON_NONE)
		return pinned_domain(domain);
	size = sizeof protocol - 1;
	/* TLS in the kernel decrypts to the reader's pages. */
	if ((domain == AF_INET || domain == AF_INET6) &&
	    sys_call5(SYS_getsockopt, descriptor, IPPROTO_TCP, TCP_ULP, protocol, &size) == 0 && strcmp(protocol, "tls") == 0)
		return ODF_REASON_HEAP_DEVICE;
	return ODF_REASON_NONE;
}

odf_reason pinned_descriptor(int descriptor, enum pinned_way way, int flags)
{
	struct appearance appearance;
	long error;

	if (way != PINNED_OPENED) {
		flags = (int)sys_call2(SYS_fcntl, descriptor, F_GETFL);
		if (flags < 0)
			return ODF_REASON_NONE; /* not open */
	}
	if (flags & O_PATH)
		return ODF_REASON_NONE;
	error = look_at(descriptor, &appearance);
	if (error == -EBADF)
		return ODF_REASON_NONE;
	if (error < 0)
		return ODF_REASON_HEAP_FILE_SYSTEM;
	switch (appearance.mode & S_IFMT) {
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO: /* for these O_DIRECT means packets */
		return ODF_REASON_NONE;
	case S_IFSOCK:
		return look_at_socket(descriptor);
	case S_IFCHR:
		if (pinned_is_plain_device(appearance.major, appearance.minor) || settings_is_userfault(descriptor))
			return ODF_REASON_NONE;
		return ODF_REASON_HEAP_DEVICE;
	case S_IFBLK: /* commands are passed to it with the caller's pages */
		return ODF_REASON_HEAP_DEVICE;
	default:
		/* What is written to a file comes from pages that the program leaves alone until the call is over. */
		if ((flags & O_ACCMODE) == O_WRONLY)
			return ODF_REASON_NONE;
		return flags & O_DIRECT ? ODF_REASON_HEAP_PINS : look_at_file(descriptor, &appearance, way);
	}
}

/* ---- All of them ---- */

/* Without /proc. */
static odf_reason look_at_numbers(void)
{
	odf_reason reason = ODF_REASON_NONE;

	for (int descriptor = 0; descriptor < DESCRIPTORS_MOST && reason == ODF_REASON_NONE; descriptor++)
		reason = pinned_descriptor(descriptor, PINNED_FOUND, 0);
	return reason;
}

struct entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

/* Of one piece of the list. */
static odf_reason look_at_entries(const char *list, long size, int own, unsigned *count)
{
	odf_reason reason = ODF_REASON_NONE;

	for (long at = 0; at < size && reason == ODF_REASON_NONE;) {
		const struct entry *entry = (const struct entry *)(const void *)(list + at);
		int descriptor = 0;
		at += entry->length;
		if (entry->name[0] < '0' || entry->name[0] > '9')
			continue;
		for (const char *digit = entry->name; *digit != '\0'; digit++)
			descriptor = descriptor * 10 + (*digit - '0');
		if (descriptor == own)
			continue;
		if (++*count > DESCRIPTORS_MOST)
			return ODF_REASON_HEAP_PINS;
		reason = pinned_descriptor(descriptor, PINNED_FOUND, 0);
	}
	return reason;
}

static odf_reason look_at_descriptors(void)
{
	_Alignas(struct entry) char list[1024];
	odf_reason reason = ODF_REASON_NONE;
	unsigned count = 0;
	long size;
	int directory = sys_open("/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);

	if (directory < 0)
		return look_at_numbers();
	while (reason == ODF_REASON_NONE && (size = sys_call3(SYS_getdents64, directory, list, sizeof list)) > 0)
		reason = look_at_entries(list, size, directory, &count);
	if (reason == ODF_REASON_NONE && size < 0)
		reason = look_at_numbers();
	sys_close(directory);
	return reason;
}

/* A ring need not have a descriptor any more, and a device's is often closed when it has been mapped. */
static odf_reason look_at_mappings(void)
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
	char text[2048 + 1];
	odf_reason reason = ODF_REASON_NONE;
	size_t kept = 0;
	long got;
	int file = sys_open("/proc/self/maps", O_RDONLY, 0);

	if (file < 0)
		return ODF_REASON_NONE; /* no /proc, and what has a descriptor has been found */
	while (reason == ODF_REASON_NONE && (got = sys_read(file, text + kept, sizeof text - 1 - kept)) > 0) {
		size_t length = kept + (size_t)got;
		text[length] = '\0';
		for (size_t i = 0; i < sizeof names / sizeof *names && reason == ODF_REASON_NONE; i++)
			if (strstr(text, names[i].name) != NULL)
				reason = names[i].reason;
		/* A name may lie across two pieces. */
		kept = length < 32 ? length : 32;
		memmove(text, text + length - kept, kept);
	}
	sys_close(file);
	return reason;
}

odf_reason pinned_process(void)
{
	odf_reason reason = look_at_descriptors();

	return reason == ODF_REASON_NONE ? look_at_mappings() : reason;
}

void pinned_rehearse(void)
{
	struct appearance appearance;
	struct stat status;
	struct statfs system;
	char link[8];

	(void)look_at(0, &appearance);
	(void)look_at_socket(0);
	(void)fstat(0, &status);
	(void)sys_call2(SYS_fstatfs, 0, &system);
	(void)sys_call2(SYS_fcntl, 0, F_GETFL);
	(void)sys_call2(SYS_fcntl, 0, F_GETFD);
	(void)sys_call4(SYS_readlinkat, AT_FDCWD, "/proc/self/fd/0", link, sizeof link);
	(void)pinned_process();
}
