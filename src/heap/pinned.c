/* SPDX-License-Identifier: MIT
 *
 * Looks at this process's descriptors, by the lists of pinned_classes.c. A regular file takes one system call, two if
 * its flags are not known, and one more if it is the first of its mount. /proc is read for the calling thread
 * (/proc/thread-self), as a main thread that has ended has no lists there.
 */
#include "pinned.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>

#include "../record/settings.h"
#include "../sys/proc.h"
#include "../sys/text.h"
#include "../sys/userfault.h"
#include "internal.h"

/* Older headers lack these, and musl's before 1.2.5 all of statx. */
#ifndef AT_STATX_DONT_SYNC
#define AT_STATX_DONT_SYNC 0x4000
#endif
#ifndef STATX_TYPE
#define STATX_TYPE 1u
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000u /* Linux 6.8 */
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

#define ANONYMOUS 0x09041934u

/* The most descriptors that are looked at when the heap wakes. With more it does not wake. */
#define DESCRIPTORS_MOST 65536
#define BRIEF_DESCRIPTORS 32u
#define BRIEF_MAPPINGS ((size_t)32 << 10) /* bytes of the list */

/* ---- One descriptor ---- */

/* Mounts whose files are known to be harmless, by ids that the kernel never gives twice (Linux 6.8). Older kernels
 * reuse ids of mounts and devices, so nothing is remembered there. */
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

/* The kernel's struct statx, as of Linux 5.8. libc's may have no id of the mount. */
struct statx_answer {
	uint32_t mask, block_size;
	uint64_t attributes;
	uint32_t links, user, group;
	uint16_t mode, spare_16;
	uint64_t inode, size, blocks, attributes_mask, times[8];
	uint32_t major, minor, of_major, of_minor; /* of the device that it is, and of the one that it is on */
	uint64_t mount, spare[13];
};
_Static_assert(sizeof(struct statx_answer) == 256 && offsetof(struct statx_answer, mount) == 144, "<linux/stat.h>");

struct appearance {
	mode_t mode;
	unsigned major, minor; /* of a device */
	uint64_t mount;        /* 0: not known */
};

/* 0 or minus an errno value. */
static long look_at(int descriptor, struct appearance *appearance)
{
	struct statx_answer found;
	struct stat old;
	long error = sys_call5(SYS_statx, descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
			       STATX_TYPE | STATX_MNT_ID_UNIQUE, &found);

	if (error == 0) {
		*appearance = (struct appearance){ found.mode, found.major, found.minor, 0 };
		if (found.mask & STATX_MNT_ID_UNIQUE)
			appearance->mount = found.mount;
		return 0;
	}
	if (error == -EBADF || fstat(descriptor, &old) != 0) /* a filter may refuse statx */
		return error;
	*appearance = (struct appearance){ old.st_mode, major(old.st_rdev), minor(old.st_rdev), 0 };
	return 0;
}

static odf_reason look_at_anonymous(int descriptor, enum pinned_way way)
{
	char path[40], name[64];
	struct text text = text_start(path, sizeof path);
	long got;
	int link;

	text_add(&text, "/proc/thread-self/fd/");
	text_add_unsigned(&text, (uint64_t)descriptor);
	link = proc_open(path, O_PATH | O_NOFOLLOW);
	if (link == -EMFILE || link == -ENFILE) /* no descriptor is left to find out whether /proc is procfs */
		got = sys_call4(SYS_readlinkat, AT_FDCWD, path, name, sizeof name - 1);
	else
		got = link < 0 ? link : sys_call4(SYS_readlinkat, link, "", name, sizeof name - 1);
	if (link >= 0)
		sys_close(link);
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
	if (!pinned_copies(type) && !(type == PINNED_ZFS && pinned_zfs_copies()))
		return ODF_REASON_HEAP_FILE_SYSTEM;
	if (appearance->mount != 0 && type != PINNED_ZFS)
		atomic_store_explicit(&known_mounts[atomic_fetch_add(&next_mount, 1) % KNOWN_MOUNTS], appearance->mount,
				      memory_order_relaxed);
	return ODF_REASON_NONE;
}

/* For a socket that no interposed call of this process has made. */
static odf_reason look_at_socket(int descriptor)
{
	int domain = 0;
	char protocol[16] = "";
	socklen_t size = sizeof domain;

	if (sys_call5(SYS_getsockopt, descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
		return ODF_REASON_NONE; /* closed: SO_DOMAIN is in Linux since 2.6.32 */
	if (pinned_domain(domain) != ODF_REASON_NONE)
		return pinned_domain(domain);
	size = sizeof protocol - 1;
	/* TLS in the kernel decrypts into the reader's pages. */
	if ((domain == AF_INET || domain == AF_INET6) &&
	    sys_call5(SYS_getsockopt, descriptor, IPPROTO_TCP, TCP_ULP, protocol, &size) == 0 &&
	    strcmp(protocol, "tls") == 0)
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
	case S_IFIFO: /* for a pipe O_DIRECT means packet mode */
		return ODF_REASON_NONE;
	case S_IFSOCK:
		return look_at_socket(descriptor);
	case S_IFCHR:
		if (pinned_is_plain_device(appearance.major, appearance.minor) || settings_is_userfault(descriptor))
			return ODF_REASON_NONE;
		return ODF_REASON_HEAP_DEVICE;
	case S_IFBLK: /* commands to it carry the caller's pages */
		return ODF_REASON_HEAP_DEVICE;
	default:
		/* A write reads from pages that the program leaves alone until the call returns. */
		if ((flags & O_ACCMODE) == O_WRONLY)
			return ODF_REASON_NONE;
		return flags & O_DIRECT ? ODF_REASON_HEAP_PINS : look_at_file(descriptor, &appearance, way);
	}
}

/* ---- All of them ---- */

/* For a process without /proc. */
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

/* Looks at one piece of the directory's entries. */
static odf_reason look_at_entries(const char *list, long size, int own, unsigned most, unsigned *count)
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
		if (++*count > most)
			return ODF_REASON_HEAP_PINS;
		reason = pinned_descriptor(descriptor, PINNED_FOUND, 0);
	}
	return reason;
}

static odf_reason look_at_descriptors(unsigned most)
{
	_Alignas(struct entry) char list[1024];
	odf_reason reason = ODF_REASON_NONE;
	unsigned count = 0;
	long size;
	int directory = proc_open("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY);

	if (directory < 0)
		return most < DESCRIPTORS_MOST ? ODF_REASON_HEAP_PINS : look_at_numbers();
	while (reason == ODF_REASON_NONE && (size = sys_call3(SYS_getdents64, directory, list, sizeof list)) > 0)
		reason = look_at_entries(list, size, directory, most, &count);
	if (reason == ODF_REASON_NONE && size < 0)
		reason = look_at_numbers();
	sys_close(directory);
	return reason;
}

/* A ring may have no descriptor any more, and a device's is often closed once it is mapped. */
static odf_reason look_at_mappings(size_t most)
{
	char text[2048 + 1];
	odf_reason reason = ODF_REASON_NONE;
	size_t kept = 0;
	long got;
	int file = proc_open("/proc/thread-self/maps", O_RDONLY);

	if (file < 0)
		return ODF_REASON_NONE; /* no /proc; what has a descriptor has been found */
	while (reason == ODF_REASON_NONE && (got = sys_read(file, text + kept, sizeof text - 1 - kept)) > 0) {
		size_t length = kept + (size_t)got;
		text[length] = '\0';
		reason = pinned_mapping(text);
		if (reason == ODF_REASON_NONE && (most -= (size_t)got < most ? (size_t)got : most) == 0)
			reason = ODF_REASON_HEAP_PINS;
		/* A name may extend over two pieces. */
		kept = length < 32 ? length : 32;
		memmove(text, text + length - kept, kept);
	}
	sys_close(file);
	return reason;
}

/* Another thread of the library may have a userfaultfd, or the device, open at this moment, which is not the program's.
 * Then it looks again, a limited number of times, as a thread may be interrupted there. */
#define LOOKS_MOST 200
#define LOOK_AGAIN_NS 1000000

static odf_reason look_at_process(unsigned descriptors, size_t mappings)
{
	odf_reason reason;

	for (unsigned looks = 1;; looks++) {
		struct timespec moment = { 0, LOOK_AGAIN_NS };
		unsigned ended = userfault_ended();
		reason = look_at_descriptors(descriptors);
		if ((reason != ODF_REASON_HEAP_USERFAULT && reason != ODF_REASON_HEAP_DEVICE) || looks == LOOKS_MOST ||
		    !userfault_was_own(ended))
			break;
		(void)sys_call2(SYS_nanosleep, &moment, NULL);
	}
	return reason == ODF_REASON_NONE ? look_at_mappings(mappings) : reason;
}

odf_reason pinned_process(void)
{
	return look_at_process(DESCRIPTORS_MOST, SIZE_MAX);
}

odf_reason pinned_process_briefly(void)
{
	return look_at_process(BRIEF_DESCRIPTORS, BRIEF_MAPPINGS);
}

void pinned_rehearse(void)
{
	struct appearance appearance;
	struct stat status;
	struct statfs system;

	(void)look_at(0, &appearance);
	(void)look_at_socket(0);
	(void)fstat(0, &status);
	(void)sys_call2(SYS_fstatfs, 0, &system);
	(void)sys_call2(SYS_fcntl, 0, F_GETFL);
	(void)sys_call2(SYS_fcntl, 0, F_GETFD);
	(void)sys_call2(SYS_fcntl, 0, F_GETPIPE_SZ); /* lend.c */
	(void)look_at_anonymous(0, PINNED_FOUND);
	(void)pinned_process();
}
