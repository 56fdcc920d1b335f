/* SPDX-License-Identifier: MIT
 *
 * A FUSE file system with one file, f, whose reads bypass the page cache (direct_io), as on network and object-store
 * mounts. Each byte follows from its offset (direct_fs.h).
 *
 *   direct_fs MOUNT-POINT DESCRIPTOR     writes a byte to the descriptor once it is mounted; ends with the mount
 *
 * 77: this machine has no FUSE, or not for this user.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "direct_fs.h"

#define BIGGEST (1u << 20)

static int device;

static void answer(const struct fuse_in_header *request, int error, const void *data, size_t size)
{
	static char buffer[sizeof(struct fuse_out_header) + BIGGEST];
	struct fuse_out_header header = { (uint32_t)(sizeof header + size), -error, request->unique };

	memcpy(buffer, &header, sizeof header);
	if (size > 0)
		memcpy(buffer + sizeof header, data, size);
	if (write(device, buffer, sizeof header + size) < 0 && errno != ENOENT)
		exit(1);
}

static struct fuse_attr attributes_of(uint64_t node)
{
	struct fuse_attr attributes = {
		.ino = node, .nlink = 1, .mode = S_IFREG | 0644, .size = DIRECT_BLOCKS * DIRECT_BLOCK, .blksize = 4096,
	};

	if (node == FUSE_ROOT_ID)
		attributes.mode = S_IFDIR | 0755;
	return attributes;
}

static void read_for(const struct fuse_in_header *request, const struct fuse_read_in *wanted)
{
	static unsigned char data[BIGGEST];
	size_t end = DIRECT_BLOCKS * DIRECT_BLOCK, size = wanted->size < sizeof data ? wanted->size : sizeof data;

	if (wanted->offset >= end)
		size = 0;
	else if (size > end - wanted->offset)
		size = end - wanted->offset;
	for (size_t i = 0; i < size; i++)
		data[i] = direct_byte(wanted->offset + i);
	answer(request, 0, data, size);
}

static void serve(const struct fuse_in_header *request, const void *rest)
{
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_readahead = 65536,
		.max_write = 65536,
	};
	struct fuse_entry_out entry = { .nodeid = 2, .attr = attributes_of(2) };
	struct fuse_attr_out attributes = { .attr = attributes_of(request->nodeid) };
	struct fuse_open_out opened = { .open_flags = FOPEN_DIRECT_IO };
	struct fuse_statfs_out system = { .st = { .bsize = 4096, .namelen = 255, .frsize = 4096 } };

	switch (request->opcode) {
	case FUSE_INIT:
		answer(request, 0, &init, sizeof init);
		break;
	case FUSE_LOOKUP:
		answer(request, strcmp(rest, "f") == 0 ? 0 : ENOENT, &entry, strcmp(rest, "f") == 0 ? sizeof entry : 0);
		break;
	case FUSE_GETATTR:
		answer(request, 0, &attributes, sizeof attributes);
		break;
	case FUSE_OPEN:
		answer(request, 0, &opened, sizeof opened);
		break;
	case FUSE_READ:
		read_for(request, rest);
		break;
	case FUSE_STATFS:
		answer(request, 0, &system, sizeof system);
		break;
	case FUSE_RELEASE:
		answer(request, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		answer(request, ENOSYS, NULL, 0);
		break;
	}
}

int main(int argc, char **argv)
{
	static _Alignas(16) char request[BIGGEST + 65536];
	char options[128];
	ssize_t size;

	if (argc != 3)
		return 2;
	device = open("/dev/fuse", O_RDWR);
	if (device < 0)
		return 77;
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u", device, geteuid(), getegid());
	if (mount("direct_fs", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) != 0)
		return 77;
	if (write(atoi(argv[2]), "m", 1) != 1)
		return 1;
	while ((size = read(device, request, sizeof request)) >= 0 || errno == EINTR || errno == ENOENT)
		if (size >= (ssize_t)sizeof(struct fuse_in_header))
			serve((const struct fuse_in_header *)(const void *)request,
			      request + sizeof(struct fuse_in_header));
	return errno == ENODEV ? 0 : 1;
}
