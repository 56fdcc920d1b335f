/* SPDX-License-Identifier: MIT
 *
 * The mapping calls of test_heap_model: the ways to make each call, and the arguments drawn for them.
 */
#include "heap_model.h"

static unsigned draw_via(void)
{
	return (unsigned)below(8);
}

/* In half of the seeds some calls bypass the library. Left out are effects that the library cannot correct after such a
 * call: advice, results that depend on where one of the kernel's mappings ends, and old pages that should read as zeros
 * but are a file's. */
static bool is_unseen(unsigned via)
{
	return via >= 6 && board->past_the_library;
}

void *call_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	unsigned via = draw_via();

	errno = NO_ERROR;
	if (is_unseen(via))
		return (void *)raw(SYS_mmap, address, length, prot, flags, fd, offset);
	if (via == 0)
		return (void *)syscall(SYS_mmap, address, length, prot, flags, fd, offset);
	if (via == 1)
		return mmap64(address, length, prot, flags, fd, offset);
	return mmap(address, length, prot, flags, fd, offset);
}

int call_munmap(void *address, size_t length)
{
	unsigned via = draw_via();

	errno = NO_ERROR;
	if (is_unseen(via))
		return (int)raw(SYS_munmap, address, length, 0, 0, 0, 0);
	return via == 0 ? (int)syscall(SYS_munmap, address, length) : munmap(address, length);
}

bool moved_unseen; /* by the last call */

void *call_mremap(void *address, size_t length, size_t new_length, int flags, void *new_address)
{
	unsigned via = draw_via();

	errno = NO_ERROR;
	moved_unseen = is_unseen(via) && length == new_length && !(flags & MREMAP_DONTUNMAP);
	if (moved_unseen)
		return (void *)raw(SYS_mremap, address, length, (long)new_length, flags, (long)new_address, 0);
	if (via == 0)
		return (void *)syscall(SYS_mremap, address, length, new_length, flags, new_address);
	return mremap(address, length, new_length, flags, new_address);
}

int call_madvise(void *address, size_t length, int advice)
{
	errno = NO_ERROR;
	return draw_via() == 0 ? (int)syscall(SYS_madvise, address, length, advice) : madvise(address, length, advice);
}

int call_mprotect(void *address, size_t length, int prot)
{
	unsigned via = draw_via();

	errno = NO_ERROR;
	if (is_unseen(via))
		return (int)raw(SYS_mprotect, address, length, prot, 0, 0, 0);
	return via == 0 ? (int)syscall(SYS_mprotect, address, length, prot) : mprotect(address, length, prot);
}

int constant_file(void)
{
	return board->constant_file;
}

uint64_t constant_inode;

uint64_t inode_of(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 ? (uint64_t)status.st_ino : 0;
}

/* Descriptors that the process must not close stay open, on the same file. Checked after each step, as few steps use
 * them. */
void check_files(void)
{
	if (inode_of(constant_file()) != constant_inode)
		say(" LOST a descriptor");
	if (self.shared_file >= 0 && inode_of(self.shared_file) != self.shared_inode)
		say(" LOST its own descriptor");
}

static int shared_file(void)
{
	static unsigned char bytes[PAGE];

	if (self.shared_file >= 0)
		return self.shared_file;
	self.shared_file = (int)syscall(SYS_memfd_create, "shared", MFD_CLOEXEC);
	if (self.shared_file < 0)
		broken("memfd_create");
	if (ftruncate(self.shared_file, SHARED_PAGES * PAGE) != 0)
		broken("ftruncate");
	for (unsigned i = 0; i < SHARED_PAGES; i += 3) {
		memset(bytes, (int)(i + 1), sizeof bytes);
		if (pwrite(self.shared_file, bytes, sizeof bytes, (off_t)i * PAGE) != sizeof bytes)
			broken("pwrite");
	}
	self.shared_inode = inode_of(self.shared_file);
	return self.shared_file;
}

const char *prot_name(int prot)
{
	static const char *const names[] = { "none", "r", "w", "rw", "x", "rx", "wx", "rwx" };

	return names[prot & 7];
}

int draw_prot(void)
{
	static const uint8_t usual[] = {
		PROT_NONE, PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
	};

	return one_in(4) ? (int)below(8) : usual[below(sizeof usual)];
}

struct manner draw_manner(size_t count)
{
	struct manner m = {
		.kind = ANONYMOUS, .prot = PROT_READ | PROT_WRITE, .flags = MAP_PRIVATE | MAP_ANONYMOUS, .fd = -1,
	};

	if (one_in(4))
		m.prot = draw_prot();
	if (one_in(4))
		m.flags |= MAP_NORESERVE;
	if (one_in(16))
		m.flags |= MAP_STACK;
	switch (below(24)) {
	case 0:
	case 1:
		m.kind = FILE_PRIVATE;
		m.flags = MAP_PRIVATE;
		m.fd = constant_file();
		m.offset = (off_t)below(FILE_PAGES) * PAGE;
		break;
	case 2:
		m.kind = SHARED;
		m.flags = MAP_SHARED;
		m.fd = shared_file();
		m.offset = (off_t)below(SHARED_PAGES) * PAGE;
		break;
	case 3:
		m.kind = SHARED;
		m.flags = MAP_SHARED | MAP_ANONYMOUS;
		break;
	case 4:
		if (count <= 64)
			m.flags |= MAP_LOCKED;
		break;
	case 5:
		m.offset = (off_t)below(3) * PAGE; /* ignored */
		break;
	default:
		break;
	}
	if (one_in(10) && count <= 600)
		m.flags |= MAP_POPULATE;
	if ((m.flags & (MAP_POPULATE | MAP_LOCKED)) != 0 && m.prot != PROT_NONE)
		m.touched = (m.prot & PROT_WRITE) != 0 ? WRITTEN : MAYBE_TOUCHED;
	return m;
}

void say_manner(const struct manner *m)
{
	say(", %s, %s%s%s%s%s", prot_name(m->prot),
	    m->kind == ANONYMOUS      ? "private"
	    : m->kind == FILE_PRIVATE ? "private file"
	    : m->fd >= 0              ? "shared file"
				      : "shared",
	    (m->flags & MAP_NORESERVE) != 0 ? " noreserve" : "", (m->flags & MAP_STACK) != 0 ? " stack" : "",
	    (m->flags & MAP_POPULATE) != 0 ? " populate" : "", (m->flags & MAP_LOCKED) != 0 ? " locked" : "");
	if (m->offset != 0)
		say(" at %lld", (long long)m->offset / PAGE);
	say(")");
}

/* Whether the heap has the address; only counted. */
bool is_in_region(const void *address)
{
	static char text[256 * 1024];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t count;

	if (fd < 0)
		return false;
	while (used < sizeof text - 1 && (count = read(fd, text + used, sizeof text - 1 - used)) > 0)
		used += (size_t)count;
	close(fd);
	text[used] = '\0';
	for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
		char *rest;
		uintptr_t from, to;
		line += *line == '\n';
		from = strtoull(line, &rest, 16);
		if (*rest != '-')
			return false;
		to = strtoull(rest + 1, &rest, 16);
		if ((uintptr_t)address >= from && (uintptr_t)address < to) {
			char *end = strchr(rest, '\n');
			if (end != NULL)
				*end = '\0';
			return strstr(rest, "odfork-region") != NULL;
		}
	}
	return false;
}
