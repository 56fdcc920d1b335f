/* SPDX-License-Identifier: MIT
 *
 * The life of a process of test_heap_model: the steps of one seed after another.
 */
#include "heap_model.h"

struct board *board;

struct process self;
bool ever_forked; /* in this seed or an earlier one of the batch */

/* ---- The program ------------------------------------------------------------------------------------------------- */

enum operation {
	DO_MAP, DO_MAP_OVER, DO_MAP_LIKE_AN_ALLOCATOR, DO_MAP_TOO_MUCH, DO_MAP_BADLY, DO_UNMAP, DO_DROP, DO_MOVE,
	DO_ADVISE, DO_ADVISE_PROCESS, DO_PROTECT, DO_LOCK, DO_SYNCHRONIZE, DO_RESIDENCE, DO_READ, DO_WRITE, DO_WORDS,
	DO_EXECUTE, DO_KERNEL_READ, DO_KERNEL_WRITE, DO_COMPARE, DO_MALLOC, DO_FORK, DO_CHILD, DO_VFORK, DO_SLEEP,
	DO_COUNT
};

static const unsigned char weights[DO_COUNT] = {
	[DO_MAP] = 9, [DO_MAP_OVER] = 9, [DO_MAP_LIKE_AN_ALLOCATOR] = 4, [DO_MAP_TOO_MUCH] = 1, [DO_MAP_BADLY] = 1,
	[DO_UNMAP] = 9, [DO_DROP] = 1, [DO_MOVE] = 14, [DO_ADVISE] = 18, [DO_ADVISE_PROCESS] = 2, [DO_PROTECT] = 8,
	[DO_LOCK] = 3, [DO_SYNCHRONIZE] = 2, [DO_RESIDENCE] = 4, [DO_READ] = 8, [DO_WRITE] = 20, [DO_WORDS] = 12,
	[DO_EXECUTE] = 2, [DO_KERNEL_READ] = 6, [DO_KERNEL_WRITE] = 8, [DO_COMPARE] = 4, [DO_MALLOC] = 10,
	[DO_FORK] = 12, [DO_CHILD] = 7, [DO_VFORK] = 1, [DO_SLEEP] = 5,
};

static enum operation draw_operation(void)
{
	size_t sum = 0, at;
	enum operation operation = DO_MAP;

	for (int i = 0; i < DO_COUNT; i++)
		sum += weights[i];
	for (at = below(sum); at >= weights[operation]; operation++)
		at -= weights[operation];
	return operation;
}

static void take_step(void)
{
	enum operation operation = draw_operation();
	struct arena *a;

	if (free_arena() == self.arenas + WINDOWS && one_in(2))
		operation = DO_MAP; /* nothing is mapped yet */
	switch (operation) {
	case DO_MAP:
		map_new();
		break;
	case DO_MAP_OVER:
		map_over();
		break;
	case DO_MAP_LIKE_AN_ALLOCATOR:
		map_like_an_allocator();
		break;
	case DO_MAP_TOO_MUCH:
		map_too_much();
		break;
	case DO_MAP_BADLY:
		map_badly();
		break;
	case DO_UNMAP:
		unmap();
		break;
	case DO_DROP:
		a = draw_arena();
		if (a != NULL)
			drop_arena(a);
		break;
	case DO_MOVE:
		move();
		break;
	case DO_ADVISE:
		advise();
		break;
	case DO_ADVISE_PROCESS:
		advise_process();
		break;
	case DO_PROTECT:
		protect();
		break;
	case DO_LOCK:
		lock();
		break;
	case DO_SYNCHRONIZE:
		synchronize();
		break;
	case DO_RESIDENCE:
		ask_residence();
		break;
	case DO_READ:
		read_pages();
		break;
	case DO_WRITE:
		write_pages();
		break;
	case DO_WORDS:
		write_words();
		break;
	case DO_EXECUTE:
		add_or_execute();
		break;
	case DO_KERNEL_READ:
		kernel_reads();
		break;
	case DO_KERNEL_WRITE:
		kernel_writes();
		break;
	case DO_COMPARE:
		compare_all();
		break;
	case DO_MALLOC:
		use_malloc();
		break;
	case DO_FORK:
		if (self.depth < MAX_DEPTH && self.forks < self.fork_limit)
			make_child();
		else
			write_pages();
		break;
	case DO_CHILD:
		treat_child();
		break;
	case DO_VFORK:
		make_vfork();
		break;
	default: /* gives background work of the library some time */
		if (board->tested)
			usleep((useconds_t)below(one_in(6) ? 6000 : 600));
	}
}

static bool is_skipped(unsigned step)
{
	uint64_t path = mix_path(self.seed, self.path);

	if (!board->skipping)
		return false;
	for (unsigned i = 0; i < board->skip_count; i++)
		if (board->skips[i].path == path && board->skips[i].step == step)
			return true;
	return false;
}

static void free_everything(void)
{
	say("end");
	end_segment();
	forget_all_holes();
	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++)
		if (a->base != NULL)
			drop_arena(a);
	for (struct block *b = self.blocks; b < self.blocks + MAX_BLOCKS; b++)
		if (b->start != NULL)
			free_block(b);
	end_line();
}

static void begin_step(unsigned step)
{
	self.step = step;
	draw_from_step(step);
	say("@%u ", step);
	if (self.depth > 0 || ever_forked || board->noisy) /* there may be a keeper */
		forget_holes_of_kernel();
}

/* Steps of the data segment have numbers of their own. So the other steps of a seed are what they were before these
 * were added. */
enum { SEGMENT_STEPS = 1000000 };

static void go_one_step(unsigned step, void (*take)(void))
{
	unsigned before;

	if (is_skipped(step))
		return;
	begin_step(step);
	before = entry()->length;
	take();
	check_files();
	board->steps++;
	if (entry()->length != before)
		end_line();
	else
		entry()->length = line_start; /* the step had no effect */
}

/* Returns in the root, which continues with the next seed. Other processes exit. */
static void go_through_program(void)
{
	static const unsigned char most_forks[] = { 7, 4, 3, 2, 1 };
	static char *const arguments[] = { (char *)(uintptr_t) "true", NULL };
	bool root = self.depth == 0;
	unsigned steps, ending;

	alarm(GUARD_SECONDS);
	draw_from_step(~0u);
	steps = root ? 30 + (unsigned)below(one_in(8) ? 200 : 60) : (unsigned)below(one_in(4) ? 50 : 20);
	self.forks = 0;
	self.fork_limit = (unsigned)below(most_forks[self.depth] + 1u);
	self.noisy = board->noisy && board->tested;
	start_noise();
	if (!root)
		forget_holes_of_kernel();
	/* As if its heap had been enabled before: new mappings then lie in regions of this process, and memory for the
	 * library's own data is placed anywhere. */
	if (!root && one_in(2)) {
		forget_all_holes();
		if (odf_heap_enable != NULL && board->tested && !board->off)
			(void)odf_heap_enable(0);
	}
	if (!root && one_in(2)) {
		compare_all();
		end_line();
	}
	for (unsigned step = 1; step <= steps; step++) {
		go_one_step(SEGMENT_STEPS + step, take_segment_step);
		go_one_step(step, take_step);
	}
	begin_step(steps + 1);
	compare_all();
	end_line();
	begin_step(steps + 2);
	ending = (unsigned)below(16);
	while (self.child_count > 0 && (root || ending % 4 != 0)) {
		reap(0);
		end_line();
	}
	if (root || ending % 2 == 0)
		free_everything();
	if (root)
		return;
	entry()->done = true;
	if (ending == 1)
		kill(getpid(), SIGKILL);
	else if (ending == 2)
		exit(5);
	else if (ending == 3)
		execv("/bin/true", arguments);
	_exit((int)ending);
}

void run_program(void)
{
	go_through_program();
	_exit(96);
}

/* ---- One run: this program, executed again ----------------------------------------------------------------------- */

/* Runs the root of a seed, in a process that may have run other seeds before. */
static void run_seed(uint64_t seed)
{
	struct entry *e;
	int status;

	memset(&self, 0, sizeof self);
	self.seed = seed;
	strcpy(self.path, "0");
	self.shared_file = -1;
	self.entry = atomic_fetch_add(&board->used, 1);
	if (self.entry >= MAX_ENTRIES)
		_exit(95);
	e = entry();
	e->doomed = e->done = false;
	e->length = 0;
	memset(e->text + TEXT_SIZE - 64, 0, 64);
	e->seed = seed;
	e->pid = getpid();
	strcpy(e->path, "0");
	line_start = 0;
	for (int i = 0; i < WINDOWS; i++) {
		/* low addresses, where the kernel places nothing by itself */
		self.arenas[i].base = (unsigned char *)(uintptr_t)((32ull + (unsigned)i) << 32);
		self.arenas[i].pages = WINDOW_PAGES;
		self.arenas[i].window = true;
		set_kind(&self.arenas[i], 0, WINDOW_PAGES, HOLE);
	}
	go_through_program();
	if (self.noisy)
		timer_delete(noise);
	/* Reaps the processes that outlived their parents: this process is their subreaper. */
	while (waitpid(-1, &status, 0) > 0 || errno == EINTR)
		;
	if (self.shared_file >= 0)
		close(self.shared_file);
	e->done = true;
}

/* Grows as a program does that has not enabled the heap. */
static void grow(size_t bytes)
{
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *blocks[64];

	if (memory == MAP_FAILED)
		_exit(94);
	for (size_t i = 0; i < bytes; i += PAGE)
		memory[i] = 1;
	for (size_t i = 0; i < 64; i++)
		blocks[i] = memset(malloc(200000), 1, 200000);
	for (size_t i = 0; i < 64; i++)
		free(blocks[i]);
}

/* A file of numbered bytes, half a page shorter than its number of pages. */
static void make_constant_file(void)
{
	int fd = (int)syscall(SYS_memfd_create, "constant", 0);

	if (fd < 0)
		_exit(93);
	for (size_t page = 0; page < FILE_PAGES; page++) {
		memset(buffer, (int)(page % 5 == 0 ? 0 : page + 3), PAGE);
		buffer[17] = 1;
		if (pwrite(fd, buffer, page + 1 == FILE_PAGES ? PAGE / 2 : PAGE, (off_t)page * PAGE) < 0)
			_exit(92);
	}
	board->constant_file = fd;
	constant_inode = inode_of(fd);
}

/* PROCMAP_QUERY of linux/fs.h, which older headers lack. */
#define QUERY 0xc0686611u

/* As Linux before 6.11 answers a query for a mapping, by a filter that the library does not see: otherwise much of what
 * it does would be another thing. */
static void refuse_queries(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, QUERY, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	if (real_call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) != 0 ||
	    real_call(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&program, 0, 0, 0) != 0)
		_exit(89);
}

__attribute__((noreturn)) void run(char **arguments)
{
	struct sigaction at_fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER },
			 at_noise = { .sa_handler = make_noise, .sa_flags = SA_RESTART },
			 to_fork = { .sa_handler = fork_in_handler, .sa_flags = SA_RESTART };
	uint64_t first = strtoull(arguments[1], NULL, 0), step = strtoull(arguments[2], NULL, 0),
		 count = strtoull(arguments[3], NULL, 0);

	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(arguments[0]), 0);
	if (board == MAP_FAILED)
		_exit(91);
	sigaction(SIGSEGV, &at_fault, NULL);
	sigaction(SIGBUS, &at_fault, NULL);
	sigaction(SIGILL, &at_fault, NULL);
	sigaction(SIGUSR1, &at_noise, NULL);
	sigaction(SIGUSR2, &to_fork, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	make_constant_file();
	if (board->grows)
		grow((size_t)48 << 20);
	if (board->late)
		make_old_blocks();
	if (board->no_queries)
		refuse_queries();
	for (uint64_t i = 0; i < count; i++)
		run_seed(first + i * step);
	_exit(0);
}
