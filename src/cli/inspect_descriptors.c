/* SPDX-License-Identifier: MIT
 * Descriptors of another process through which the kernel may write to memory past its page tables, by the library's
 * own lists (heap/pinned.h). No file system is asked, as that may hang: the list of mounts tells the type of a file's
 * file system.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../heap/pinned.h"
#include "inspect.h"

/* Names in the list of mounts, for file systems that statfs identifies by number. */
static const struct {
	const char *name;
	uint32_t type;
} file_systems[] = {
	{ "ext2", 0xef53 },
	{ "ext3", 0xef53 },
	{ "ext4", 0xef53 },
	{ "xfs", 0x58465342 },
	{ "btrfs", 0x9123683e },
	{ "bcachefs", 0xca451a4e },
	{ "f2fs", 0xf2f52010 },
	{ "tmpfs", 0x01021994 },
	{ "devtmpfs", 0x01021994 },
	{ "rootfs", 0x858458f6 },
	{ "ramfs", 0x858458f6 },
	{ "hugetlbfs", 0x958458f6 },
	{ "overlay", 0x794c7630 },
	{ "aufs", 0x61756673 },
	{ "squashfs", 0x73717368 },
	{ "erofs", 0xe0f5e1e2 },
	{ "cramfs", 0x28cd3d45 },
	{ "romfs", 0x7275 },
	{ "iso9660", 0x9660 },
	{ "udf", 0x15013346 },
	{ "vfat", 0x4d44 },
	{ "msdos", 0x4d44 },
	{ "exfat", 0x2011bab0 },
	{ "ntfs3", 0x7366746e },
	{ "ntfs", 0x5346544e },
	{ "reiserfs", 0x52654973 },
	{ "jfs", 0x3153464a },
	{ "nilfs2", 0x3434 },
	{ "jffs2", 0x72b6 },
	{ "ubifs", 0x24051905 },
	{ "hfs", 0x4244 },
	{ "hfsplus", 0x482b },
	{ "ecryptfs", 0xf15f },
	{ "nfs", 0x6969 },
	{ "nfs4", 0x6969 },
	{ "gfs2", 0x01161970 },
	{ "ocfs2", 0x7461636f },
	{ "autofs", 0x0187 },
	{ "proc", 0x9fa0 },
	{ "sysfs", 0x62656572 },
	{ "cgroup", 0x27e0eb },
	{ "cgroup2", 0x63677270 },
	{ "devpts", 0x1cd1 },
	{ "debugfs", 0x64626720 },
	{ "tracefs", 0x74726163 },
	{ "securityfs", 0x73636673 },
	{ "selinuxfs", 0xf97cff8c },
	{ "smackfs", 0x43415d53 },
	{ "bpf", 0xcafe4a11 },
	{ "pstore", 0x6165676c },
	{ "efivarfs", 0xde5e81e4 },
	{ "configfs", 0x62656570 },
	{ "binfmt_misc", 0x42494e4d },
	{ "mqueue", 0x19800202 },
	{ "resctrl", 0x07655821 },
	{ "nsfs", 0x6e736673 },
	{ "zfs", PINNED_ZFS },
};

#define MOUNTS_MOST 4096
struct mounts {
	size_t count;
	struct {
		int id;
		char type[32];
	} list[MOUNTS_MOST];
};

static void read_mounts(pid_t pid, struct mounts *mounts)
{
	FILE *file = inspect_open(pid, "mountinfo");
	char *line = NULL;
	size_t room = 0;

	mounts->count = 0;
	while (file != NULL && mounts->count < MOUNTS_MOST && getline(&line, &room, file) > 0) {
		const char *type = strstr(line, " - ");
		if (type == NULL)
			continue;
		mounts->list[mounts->count].id = atoi(line);
		snprintf(mounts->list[mounts->count].type, sizeof mounts->list->type, "%.*s",
			 (int)strcspn(type + 3, " \n"), type + 3);
		mounts->count++;
	}
	free(line);
	if (file != NULL)
		fclose(file);
}

/* NULL: the file is in a mount that the process does not see, or there are too many mounts. */
static const char *type_of_mount(const struct mounts *mounts, int id)
{
	for (size_t i = 0; i < mounts->count; i++)
		if (mounts->list[i].id == id)
			return mounts->list[i].type;
	return NULL;
}

static bool is_harmless(const char *type)
{
	for (size_t i = 0; i < sizeof file_systems / sizeof *file_systems; i++)
		if (strcmp(type, file_systems[i].name) == 0)
			return file_systems[i].type == PINNED_ZFS ? pinned_zfs_copies()
								  : pinned_copies(file_systems[i].type);
	return false;
}

struct descriptor {
	int number;
	unsigned flags;
	int mount;
	char link[PATH_MAX];
	char path[64]; /* in /proc, to get its attributes */
};

static bool read_descriptor(pid_t pid, int number, struct descriptor *found)
{
	char name[64], line[256];
	FILE *file;
	ssize_t length;

	*found = (struct descriptor){ .number = number, .mount = -1 };
	snprintf(name, sizeof name, "fdinfo/%d", number);
	file = inspect_open(pid, name);
	if (file == NULL)
		return false;
	while (fgets(line, sizeof line, file) != NULL) {
		if (strncmp(line, "flags:", 6) == 0)
			found->flags = (unsigned)strtoul(line + 6, NULL, 8);
		else if (strncmp(line, "mnt_id:", 7) == 0)
			found->mount = atoi(line + 7);
	}
	fclose(file);
	snprintf(found->path, sizeof found->path, "/proc/%d/fd/%d", (int)pid, number);
	length = readlink(found->path, found->link, sizeof found->link - 1);
	if (length <= 0)
		return false;
	found->link[length] = '\0';
	return true;
}

static bool starts(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static void add(struct inspect_obstacles *obstacles, const struct descriptor *descriptor, odf_reason reason,
		const char *what)
{
	inspect_add_obstacle(obstacles, odf_reason_name(reason), true, "descriptor %d is %s: %.120s",
			     descriptor->number, what, descriptor->link);
}

/* Sockets are identified by an attribute. */
static void look_at_socket(const struct descriptor *descriptor, struct inspect_obstacles *obstacles)
{
	char protocol[32] = "";

	if (getxattr(descriptor->path, "system.sockprotoname", protocol, sizeof protocol - 1) <= 0)
		return;
	if (starts(protocol, "ALG") || starts(protocol, "RDS") || starts(protocol, "XDP"))
		add(obstacles, descriptor, ODF_REASON_HEAP_DEVICE,
		    "a socket by which memory is written past the page tables (AF_ALG, RDS, AF_XDP)");
}

/* False: it is no such device, or that is not known. Files that may be on any file system are not asked. */
static bool look_at_device(const struct descriptor *descriptor, struct inspect_obstacles *obstacles)
{
	struct stat status;

	if (!starts(descriptor->link, "/dev/") || stat(descriptor->path, &status) != 0 || S_ISREG(status.st_mode) ||
	    S_ISDIR(status.st_mode))
		return false;
	if (S_ISBLK(status.st_mode) ||
	    (S_ISCHR(status.st_mode) && !pinned_is_plain_device(major(status.st_rdev), minor(status.st_rdev)) &&
	     strcmp(descriptor->link, "/dev/userfaultfd") != 0))
		add(obstacles, descriptor, ODF_REASON_HEAP_DEVICE,
		    "a device that may write to memory past the page tables");
	return true;
}

static void look_at(const struct descriptor *descriptor, const struct mounts *mounts,
		    struct inspect_obstacles *obstacles)
{
	const char *type, *link = descriptor->link;
	odf_reason reason;

	if (descriptor->flags & O_PATH)
		return;
	if (starts(link, "anon_inode:")) {
		reason = pinned_anonymous(link, PINNED_FOUND);
		if (reason != ODF_REASON_NONE)
			add(obstacles, descriptor, reason,
			    reason == ODF_REASON_HEAP_USERFAULT
				    ? "a userfaultfd"
				    : "one by which memory may be written past the page tables");
		return;
	}
	if (starts(link, "socket:")) {
		look_at_socket(descriptor, obstacles);
		return;
	}
	if (link[0] != '/' || look_at_device(descriptor, obstacles) || (descriptor->flags & O_ACCMODE) == O_WRONLY ||
	    (descriptor->flags & O_DIRECTORY))
		return;
	if (descriptor->flags & O_DIRECT) {
		add(obstacles, descriptor, ODF_REASON_HEAP_PINS, "open for direct input (O_DIRECT)");
		return;
	}
	if (starts(link, "/memfd:") || starts(link, "/dev/zero") || starts(link, "/SYSV") ||
	    starts(link, "/secretmem") || starts(link, "/[aio]"))
		return; /* such files are on mounts that are in no list */
	type = type_of_mount(mounts, descriptor->mount);
	if (type == NULL)
		inspect_add_obstacle(obstacles, "unknown_file_system", false,
				     "descriptor %d is a file of which is not known where it lies, as another "
				     "process's list of mounts has it: %.120s",
				     descriptor->number, link);
	else if (!is_harmless(type))
		inspect_add_obstacle(obstacles, odf_reason_name(ODF_REASON_HEAP_FILE_SYSTEM), true,
				     "descriptor %d is a file of %s, which may read past the page tables: %.120s",
				     descriptor->number, type, link);
}

void inspect_descriptors_look(const struct inspect_process *process, struct inspect_obstacles *obstacles)
{
	static struct mounts mounts;
	static struct descriptor descriptor;
	char path[64];
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)process->pid);
	directory = opendir(path);
	if (directory == NULL)
		return;
	obstacles->descriptors_read = true;
	read_mounts(process->pid, &mounts);
	while ((entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		obstacles->descriptors++;
		if (read_descriptor(process->pid, atoi(entry->d_name), &descriptor))
			look_at(&descriptor, &mounts, obstacles);
	}
	closedir(directory);
}
