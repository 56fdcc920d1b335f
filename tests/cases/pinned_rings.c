/* SPDX-License-Identifier: MIT
 *
 * More of test_pinned.c: rings, asynchronous input, pages in a pipe, and the program's own userfaultfd.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "direct_fs.h"
#include "pinned.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(UFFDIO, 0)
#endif

#define MIB  ((size_t)1 << 20)
#define PAGE ((size_t)4096)

static const char *file_path(void)
{
	return getenv("ODF_TEST_FILE");
}

/* ---- io_uring --------------------------------------------------------------------------------------------------- */

static struct {
	int file;
	unsigned char *queue;
	struct io_uring_sqe *entries;
	struct io_uring_params parameters;
	unsigned char *registered;
	pthread_mutex_t lock;
} ring = { .lock = PTHREAD_MUTEX_INITIALIZER };

static unsigned *word(unsigned offset)
{
	return (unsigned *)(void *)(ring.queue + offset);
}

static void make_ring(void)
{
	size_t size;

	ring.file = (int)syscall(SYS_io_uring_setup, 8, &ring.parameters);
	if (ring.file < 0)
		cannot_be_done_here("no io_uring");
	must(ring.parameters.features & IORING_FEAT_SINGLE_MMAP);
	size = ring.parameters.cq_off.cqes + ring.parameters.cq_entries * sizeof(struct io_uring_cqe);
	if (size < ring.parameters.sq_off.array + ring.parameters.sq_entries * sizeof(unsigned))
		size = ring.parameters.sq_off.array + ring.parameters.sq_entries * sizeof(unsigned);
	ring.queue = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.file,
			  (off_t)IORING_OFF_SQ_RING);
	must(ring.queue != MAP_FAILED);
	ring.entries = mmap(NULL, ring.parameters.sq_entries * sizeof *ring.entries, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, ring.file, (off_t)IORING_OFF_SQES);
	must(ring.entries != MAP_FAILED);
}

/* From the page cache to registered pages. */
static ssize_t read_fixed(int file, void *buffer, size_t offset)
{
	unsigned tail, head, mask;
	struct io_uring_cqe done;

	if ((unsigned char *)buffer < ring.registered || (unsigned char *)buffer >= ring.registered + 4 * DIRECT_BLOCK)
		return plain_read(file, buffer, offset);
	pthread_mutex_lock(&ring.lock);
	tail = *word(ring.parameters.sq_off.tail);
	mask = *word(ring.parameters.sq_off.ring_mask);
	memset(&ring.entries[tail & mask], 0, sizeof *ring.entries);
	ring.entries[tail & mask] = (struct io_uring_sqe){
		.opcode = IORING_OP_READ_FIXED,
		.fd = file,
		.off = offset,
		.addr = (uintptr_t)buffer,
		.len = DIRECT_BLOCK,
	};
	word(ring.parameters.sq_off.array)[tail & mask] = tail & mask;
	__atomic_store_n(word(ring.parameters.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	must(syscall(SYS_io_uring_enter, ring.file, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	head = *word(ring.parameters.cq_off.head);
	must(__atomic_load_n(word(ring.parameters.cq_off.tail), __ATOMIC_ACQUIRE) != head);
	mask = *word(ring.parameters.cq_off.ring_mask);
	memcpy(&done, ring.queue + ring.parameters.cq_off.cqes + (head & mask) * sizeof done, sizeof done);
	__atomic_store_n(word(ring.parameters.cq_off.head), head + 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&ring.lock);
	return done.res;
}

static void uring(void)
{
	struct iovec all;

	wake();
	make_ring();
	must_have_left(ODF_REASON_HEAP_PINS);
	ring.registered = wake_buffers;
	all = (struct iovec){ ring.registered, 4 * DIRECT_BLOCK };
	must(syscall(SYS_io_uring_register, ring.file, IORING_REGISTER_BUFFERS, &all, 1) == 0);
	read_under_forks(open(file_path(), O_RDONLY), read_fixed);
}

static void must_not_wake(odf_reason reason)
{
	memset(map(32 * MIB), 1, 32 * MIB);
	must_have_left(reason);
}

static void uring_before(void)
{
	make_ring();
	close(ring.file);
	must_not_wake(ODF_REASON_HEAP_PINS);
}

static void uring_refused(void)
{
	struct io_uring_params odd = { .flags = ~0u };

	wake();
	must(syscall(SYS_io_uring_setup, 8, &odd) == -1 && errno == EINVAL);
	must(syscall(SYS_io_uring_setup, 8, (void *)8) == -1 && errno == EFAULT);
}

/* liburing is a library whose system calls are not seen. Here a library that is loaded later is linked with it. */
static void liburing_of_a_plugin(void)
{
	char path[3100];
	int (*use)(void);
	void *plugin;

	wake();
	snprintf(path, sizeof path, "%s/tests/libring_plugin.so", getenv("ODF_BUILD"));
	plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	must(plugin != NULL);
	*(void **)&use = dlsym(plugin, "use_ring");
	must(use != NULL && info().state == ODF_HEAP_AWAKE);
	must(use() == 7);
	must_have_left(ODF_REASON_HEAP_PINS);
}

static void liburing_that_is_not_there(void)
{
	int (*init)(unsigned, void *, unsigned);

	wake();
	*(void **)&init = dlsym(RTLD_DEFAULT, "io_uring_queue_init");
	must(init != NULL && init(8, NULL, 0) == -ENOSYS);
	must(info().state == ODF_HEAP_AWAKE);
}

/* ---- Asynchronous input ----------------------------------------------------------------------------------------- */

static aio_context_t context;

static ssize_t read_by_aio(int file, void *buffer, size_t offset)
{
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)file,
		.aio_buf = (uintptr_t)buffer,
		.aio_nbytes = DIRECT_BLOCK,
		.aio_offset = (int64_t)offset,
	};
	struct iocb *list[1] = { &request };
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct io_event event;

	pthread_mutex_lock(&lock);
	must(syscall(SYS_io_submit, context, 1, list) == 1);
	must(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1);
	pthread_mutex_unlock(&lock);
	return event.res;
}

static void aio(void)
{
	int file;

	wake();
	must(syscall(SYS_io_setup, 8, &context) == 0);
	must(info().state == ODF_HEAP_AWAKE); /* the context alone does not matter, only the files */
	file = open(file_path(), O_RDONLY | O_DIRECT);
	must_have_left(ODF_REASON_HEAP_PINS);
	read_under_forks(file, read_by_aio);
}

/* ---- Pages that are read later ----------------------------------------------------------------------------------- */

/* A pipe holds the pages themselves; reads from it return their contents, as long as the program does not change
 * them. */
static void spliced(void)
{
	unsigned char *memory, *got = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int pipes[2];

	wake();
	memory = map(MIB);
	must(is_inside(memory) && pipe(pipes) == 0);
	for (int round = 0; round < 60; round++) {
		struct iovec pages = { memory + (size_t)(round % 8) * 16 * PAGE, 8 * PAGE };
		pid_t pid;
		memset(pages.iov_base, round, 8 * PAGE);
		must(vmsplice(pipes[1], &pages, 1, 0) == (ssize_t)(8 * PAGE));
		for (int forks = 0; forks < 2; forks++) {
			pid = fork();
			must(pid >= 0);
			if (pid == 0)
				_exit(0);
			must(waitpid(pid, NULL, 0) == pid);
			usleep(2000);
		}
		must(read(pipes[0], got, 8 * PAGE) == (ssize_t)(8 * PAGE));
		for (size_t at = 0; at < 8 * PAGE; at += 512)
			must(got[at] == (unsigned char)round);
	}
	must(info().state == ODF_HEAP_AWAKE);
}

/* ---- The program's own userfaultfd ------------------------------------------------------------------------------ */

#define SERVED_PAGES ((size_t)2048)

static int fault;
static unsigned char *served;
static atomic_int faults;

static void begin_serving(int file, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	if (file < 0)
		cannot_be_done_here("no userfaultfd");
	must(ioctl(file, UFFDIO_API, &api) == 0);
	fault = file;
}

static void register_served(uint64_t mode)
{
	struct uffdio_register wanted = { .range = { (uintptr_t)served, SERVED_PAGES * PAGE }, .mode = mode };

	must(ioctl(fault, UFFDIO_REGISTER, &wanted) == 0);
}

static void *serve(void *unused)
{
	static _Alignas(4096) unsigned char page[4096];
	struct uffd_msg message;

	while (read(fault, &message, sizeof message) == sizeof message) {
		uint64_t at = message.arg.pagefault.address / PAGE * PAGE;
		must(message.event == UFFD_EVENT_PAGEFAULT);
		faults++;
		if (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
			struct uffdio_writeprotect free_again = { .range = { at, PAGE }, .mode = 0 };
			must(ioctl(fault, UFFDIO_WRITEPROTECT, &free_again) == 0);
		} else {
			struct uffdio_copy copy = { .dst = at, .src = (uintptr_t)page, .len = PAGE };
			memset(page, (int)('A' + (at - (uintptr_t)served) / PAGE % 26), PAGE);
			must(ioctl(fault, UFFDIO_COPY, &copy) == 0);
		}
	}
	return unused;
}

static void must_be_served(size_t from, size_t count)
{
	for (size_t page = from; page < from + count; page++)
		must(served[page * PAGE + 9] == 'A' + page % 26);
}

static void fork_and_wait(void)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0)
		_exit(0);
	must(waitpid(pid, &status, 0) == pid && status == 0);
}

static void pages_are_served(void)
{
	int before;

	alarm(300);
	must_be_served(0, 10);
	for (size_t round = 1; round < 8; round++) {
		fork_and_wait();
		must_be_served(round * 100, 10);
		usleep(50000);
		must_be_served(round * 100 + 10, 10);
		must_be_served(0, 10);
	}
	before = faults;
	must(madvise(served, 4 * PAGE, MADV_DONTNEED) == 0);
	must_be_served(0, 4);
	must(faults == before + 4);
}

static void own_pages(int file, int forks_before)
{
	pthread_t server;

	begin_serving(file, 0);
	must_have_left(ODF_REASON_HEAP_USERFAULT);
	for (int i = 0; i < forks_before; i++)
		fork_and_wait();
	register_served(UFFDIO_REGISTER_MODE_MISSING);
	must(pthread_create(&server, NULL, serve, NULL) == 0);
	pages_are_served();
}

static void wake_with_served(void)
{
	wake();
	served = map(SERVED_PAGES * PAGE);
	must(is_inside(served));
}

static void userfault(void)
{
	wake_with_served();
	own_pages((int)syscall(SYS_userfaultfd, O_CLOEXEC), 0);
}

static void userfault_after_forks(void)
{
	wake_with_served();
	fork_and_wait();
	own_pages((int)syscall(SYS_userfaultfd, O_CLOEXEC), 2);
}

static void userfault_by_device(void)
{
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	if (device < 0)
		cannot_be_done_here("no /dev/userfaultfd");
	wake_with_served();
	must(open("/dev/userfaultfd", O_RDWR) >= 0 && info().state == ODF_HEAP_AWAKE);
	own_pages(ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC), 0);
}

static void userfault_before(void)
{
	if (syscall(SYS_userfaultfd, O_CLOEXEC) < 0)
		cannot_be_done_here("no userfaultfd");
	must_not_wake(ODF_REASON_HEAP_USERFAULT);
}

/* The kernel answers an invalid pointer. */
static void userfault_of_nothing(void)
{
	wake_with_served();
	begin_serving((int)syscall(SYS_userfaultfd, O_CLOEXEC), 0);
	must(ioctl(fault, UFFDIO_REGISTER, (void *)8) == -1 && errno == EFAULT);
	must(syscall(SYS_ioctl, fault, UFFDIO_REGISTER, (void *)8) == -1 && errno == EFAULT);
}

/* A child's own userfaultfd, for memory that it has inherited. */
static void userfault_of_a_child(void)
{
	pid_t pid;
	int status;

	wake_with_served();
	fork_and_wait();
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		pthread_t server;
		begin_serving((int)syscall(SYS_userfaultfd, O_CLOEXEC), 0);
		register_served(UFFDIO_REGISTER_MODE_MISSING);
		must(pthread_create(&server, NULL, serve, NULL) == 0);
		pages_are_served();
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	if (WEXITSTATUS(status) == ODF_NOT_HERE)
		_exit(ODF_NOT_HERE);
	must(WEXITSTATUS(status) == 0 && info().state == ODF_HEAP_AWAKE);
}

/* Another process has the descriptor, registers memory of this process, and serves its faults. */
static void userfault_from_outside(void)
{
	pid_t pid;
	int ready[2], status;

	wake_with_served();
	fork_and_wait();
	begin_serving((int)syscall(SYS_userfaultfd, 0), 0);
	must(pipe(ready) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		register_served(UFFDIO_REGISTER_MODE_MISSING);
		must(write(ready[1], "r", 1) == 1);
		serve(NULL);
		_exit(0);
	}
	must(read(ready[0], &status, 1) == 1);
	alarm(300);
	must_be_served(0, 10);
	for (size_t round = 1; round < 8; round++) {
		fork_and_wait();
		must_be_served(round * 100, 10);
		usleep(20000);
		must_be_served(round * 100 + 10, 10);
		must_be_served(0, 10);
	}
	kill(pid, SIGKILL);
	must(waitpid(pid, &status, 0) == pid);
}

#define WRITERS 4

static void *write_pages(void *number_pointer)
{
	size_t number = *(const size_t *)number_pointer;

	for (size_t page = number; page < SERVED_PAGES; page += WRITERS) {
		must(served[page * PAGE + 1] == 7);
		served[page * PAGE] = (unsigned char)(number + 1);
	}
	return NULL;
}

/* Each page that is written after it was protected is counted once, in memory with contents, while children are
 * made. */
static void write_protection(void)
{
	static size_t numbers[WRITERS] = { 0, 1, 2, 3 };
	pthread_t server, writers[WRITERS];

	wake_with_served();
	memset(served, 7, SERVED_PAGES * PAGE);
	fork_and_wait();
	begin_serving((int)syscall(SYS_userfaultfd, O_CLOEXEC), 0);
	register_served(UFFDIO_REGISTER_MODE_WP);
	must(pthread_create(&server, NULL, serve, NULL) == 0);
	alarm(300);
	for (int round = 1; round <= 2; round++) {
		struct uffdio_writeprotect protect = {
			.range = { (uintptr_t)served, SERVED_PAGES * PAGE }, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
		};
		must(ioctl(fault, UFFDIO_WRITEPROTECT, &protect) == 0);
		fork_and_wait();
		for (size_t i = 0; i < WRITERS; i++)
			must(pthread_create(&writers[i], NULL, write_pages, &numbers[i]) == 0);
		fork_and_wait();
		for (size_t i = 0; i < WRITERS; i++)
			must(pthread_join(writers[i], NULL) == 0);
		must(faults == round * (int)SERVED_PAGES);
	}
	for (size_t page = 0; page < SERVED_PAGES; page++)
		must(served[page * PAGE] == page % WRITERS + 1 && served[page * PAGE + 4095] == 7);
}

const struct pinned_case pinned_more_cases[] = {
	{ "uring", uring },
	{ "uring_before", uring_before },
	{ "uring_refused", uring_refused },
	{ "liburing_of_a_plugin", liburing_of_a_plugin },
	{ "liburing_that_is_not_there", liburing_that_is_not_there },
	{ "aio", aio },
	{ "spliced", spliced },
	{ "userfault", userfault },
	{ "userfault_after_forks", userfault_after_forks },
	{ "userfault_by_device", userfault_by_device },
	{ "userfault_before", userfault_before },
	{ "userfault_of_nothing", userfault_of_nothing },
	{ "userfault_of_a_child", userfault_of_a_child },
	{ "userfault_from_outside", userfault_from_outside },
	{ "write_protection", write_protection },
};
const size_t pinned_more_count = sizeof pinned_more_cases / sizeof *pinned_more_cases;
