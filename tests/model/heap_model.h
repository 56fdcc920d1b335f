/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_heap_model share: what a run leaves for the test to compare, what a process knows of its
 * memory, and the functions and variables that one file defines and others use.
 */
#ifndef TESTS_HEAP_MODEL_H
#define TESTS_HEAP_MODEL_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/real_call.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum {
	PAGE = 4096,
	WINDOWS = 2,
	MAX_ARENAS = 10,
	MAX_PAGES = 16384 + 64,
	WINDOW_PAGES = 600,
	MAX_BLOCKS = 24,
	MAX_SEGMENTS = 3,
	MAX_CHILDREN = 6,
	MAX_DEPTH = 4,
	MAX_ENTRIES = 512,
	MAX_SKIPS = 4096,
	PATH_SIZE = 48,
	TEXT_SIZE = 96 * 1024,
	FILE_PAGES = 40,   /* of the constant file, whose size is half a page less */
	SHARED_PAGES = 64, /* of the file that belongs to one process */
	BUFFER = 15 * PAGE,
	CLONE_STACK = 256 * 1024,
	GUARD_SECONDS = 180 /* generous, to tell a hang from a failure on a busy machine */
};

/* ---- What a run leaves for the test to compare ------------------------------------------------------------------- */

/* One process and its log, a line for each step. */
struct entry {
	atomic_int pid;
	uint64_t seed;
	atomic_bool doomed; /* its parent may kill it at any moment */
	atomic_bool done;
	atomic_uint length; /* of the text; whole lines once the process has ended */
	char path[PATH_SIZE];
	char text[TEXT_SIZE];
};

struct skip {
	uint64_t path; /* mixed with the seed */
	unsigned step;
};

/* Shared by the test and all processes of one of its two runs. */
struct board {
	bool tested, trace, grows, noisy, off, late, past_the_library, no_queries;
	char without[256];
	int constant_file;
	atomic_uint used, skipping;
	atomic_ulong steps, processes, calls, faults, eligible, placed, kills;
	unsigned skip_count;
	struct skip skips[MAX_SKIPS]; /* sorted */
	struct entry entries[MAX_ENTRIES];
};

/* ---- What a process knows ---------------------------------------------------------------------------------------- */

enum kind { UNKNOWN, HOLE, ANONYMOUS, FILE_PRIVATE, SHARED };
enum touched { NEVER_TOUCHED, MAYBE_TOUCHED, WRITTEN };

enum page_flag {
	UNDEFINED = 1,   /* freed: contents either old or zero */
	NOT_FORKED = 2,  /* MADV_DONTFORK */
	FOREIGN = 4,     /* shared with a running parent, which may change its contents */
	HUGE = 8,        /* whether a page is resident is up to the kernel */
	GUARDED = 16,
	LOCKED = 32,
	UNSEEN = 64 /* moved by a call that the library did not see: may still be a region's, and several mappings */
};

struct page {
	uint8_t kind, prot, flags, touched;
	uint32_t piece; /* pages with the same number were mapped together and treated alike since: they are one
	                   mapping */
};

/* An address range that the program has a number for. A window is an arena at addresses where nothing is ever placed
 * without MAP_FIXED or a hint, so its holes stay holes. In other arenas a hole becomes UNKNOWN when another mapping may
 * have filled it: one of the heap's, or, if the kernel chose the arena's address, one of the library's own. */
struct arena {
	unsigned char *base; /* NULL: none */
	size_t pages;
	bool window, hinted;
};

struct block {
	unsigned char *start; /* NULL: none */
	size_t size, stride;
	uint64_t tag;
};

/* A part of the data segment, from the start of a page on. */
struct segment {
	unsigned char *base;
	size_t size, libcs; /* to the program break, and to where libc believes it to be */
};

struct child {
	pid_t pid;
	unsigned entry;
};

struct process {
	uint64_t seed, random;
	char path[PATH_SIZE];
	unsigned entry, depth, step, forks, fork_limit;
	uint32_t piece;
	int shared_file; /* -1: none yet */
	uint64_t shared_inode;
	struct arena arenas[MAX_ARENAS];
	struct block blocks[MAX_BLOCKS];
	struct segment segments[MAX_SEGMENTS];
	unsigned segment_count;
	bool segment_open; /* nothing else has moved the break since the last segment began */
	struct child children[MAX_CHILDREN];
	unsigned child_count;
	bool noisy;
};

/* The value of errno before a call, which may only change it on failure. */
enum { NO_ERROR = 0 };

enum { TOKEN = 16 };

/* A system call in the program's own code: the library does not see it. */
static inline long raw(long number, const void *a, size_t b, long c, long d, long e, long f)
{
	long result = real_call(number, (long)a, (long)b, c, d, e, f);

	if (result < 0 && result >= -4095) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

/* How memory is mapped. */
struct manner {
	enum kind kind;
	int prot, flags, fd;
	off_t offset;
	enum touched touched;
};

/* Present if the library is preloaded. */
int odf_heap_enable(size_t capacity) __attribute__((weak));

struct side {
	struct board *board;
	int fd;
	pid_t pid;
	int status;
	bool hung;
};

struct difference {
	bool found;
	uint64_t seed;
	char path[PATH_SIZE];
	unsigned at; /* offset in the text at which the line begins */
	char what[256];
};

/* How the library is loaded. The seed decides. */
/* MODE_LATE: linked, and enabled by the program at some step. MODE_ASLEEP: the same, but preloaded. */
enum mode { MODE_ON, MODE_AUTO, MODE_OFF, MODE_LATE, MODE_ASLEEP };

enum { BATCH = 8 };

extern struct process self; /* heap_model_program.c */
#include "../support/draw.h"

/* heap_model_say.c */
uint64_t mix_path(uint64_t seed, const char *path);
void draw_from_step(unsigned step);
size_t less(size_t a, size_t b);
struct entry *entry(void);
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
extern unsigned line_start;
void end_line(void);
__attribute__((noreturn, format(printf, 1, 2))) void broken(const char *format, ...);
bool is_left_out(const char *what);
const char *error_name(int error);
void say_result(long result);
int number_of(const struct arena *a);
void on_fault(int signal, siginfo_t *info, void *context);
__attribute__((noinline)) bool can_read(const unsigned char *from, unsigned char *to, size_t length);
__attribute__((noinline)) bool can_fill(unsigned char *to, unsigned char byte, size_t length);
__attribute__((noinline)) bool can_add(unsigned char *to, uint64_t value, uint64_t *was);
__attribute__((noinline)) bool can_execute(unsigned char *code);
void fault_token(char *token, const void *address, bool hole);
void row_begin(void);
void row_add(const char *token);
void row_end(void);

/* heap_model_pages.c */
struct page *page_at(const struct arena *a, size_t page);
unsigned char *address_of(const struct arena *a, size_t page);
bool is_mapped(const struct page *p);
bool is_hole(const struct arena *a, size_t page);
void set_kind(struct arena *a, size_t page, size_t count, enum kind kind);
void set_mapped(struct arena *a, size_t page, size_t count, enum kind kind, int prot, unsigned flags,
		enum touched touched);
void cut_pieces(struct arena *a, size_t page, size_t count);
bool is_mapped_throughout(const struct arena *a, size_t page, size_t count);
struct arena *free_arena(void);
struct arena *begin_arena(void *base, size_t count);
bool all_are(const struct arena *a, size_t page, size_t count, enum kind kind);
void end_if_unknown(struct arena *a);
void forget_holes(size_t count);
void forget_holes_of_kernel(void);
void *next_hint(size_t count);
void forget_holes_of_windows(const unsigned char *from, const unsigned char *end);
struct arena *draw_arena(void);
bool draw_range(const struct arena *a, size_t *first, size_t *count);
bool draw_place(struct arena **arena, size_t *page, size_t *count);
void clip_to_piece(const struct arena *a, size_t page, size_t *count);
size_t clip_flags(const struct arena *a, size_t page, size_t count, unsigned flags);
size_t draw_length(size_t count);

/* heap_model_calls.c */
void *call_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset);
int call_munmap(void *address, size_t length);
extern bool moved_unseen;
void *call_mremap(void *address, size_t length, size_t new_length, int flags, void *new_address);
int call_madvise(void *address, size_t length, int advice);
int call_mprotect(void *address, size_t length, int prot);
int constant_file(void);
extern uint64_t constant_inode;
uint64_t inode_of(int fd);
void check_files(void);
const char *prot_name(int prot);
int draw_prot(void);
struct manner draw_manner(size_t count);
void say_manner(const struct manner *m);
bool is_in_region(const void *address);

/* heap_model_map.c */
void map_new(void);
void map_over(void);
void map_like_an_allocator(void);
void map_too_much(void);
void map_badly(void);
void unmap(void);
void drop_arena(struct arena *a);

/* heap_model_move.c */
void move(void);

/* heap_model_advise.c */
void advise(void);
void advise_process(void);
void protect(void);
void lock(void);
void synchronize(void);
void ask_residence(void);

/* heap_model_bytes.c */
extern unsigned char buffer[BUFFER + PAGE];
void token_of_bytes(char *token, const unsigned char *bytes, size_t length);
void read_pages(void);
void compare_all(void);
void write_pages(void);
void write_words(void);
void add_or_execute(void);
void kernel_reads(void);
void kernel_writes(void);

/* heap_model_blocks.c */
void forget_all_holes(void);
void check_block(struct block *b);
void free_block(struct block *b);
void use_malloc(void);

/* heap_model_segment.c */
void end_segment(void);
void make_old_blocks(void);
void compare_segments(void);
void take_segment_step(void);

/* heap_model_children.c */
void fork_in_handler(int signal);
void reap(unsigned index);
void make_child(void);
void treat_child(void);
void make_vfork(void);
extern timer_t noise;
void make_noise(int signal);
void start_noise(void);

/* heap_model_program.c */
extern struct board *board;
extern bool ever_forked;
void run_program(void) __attribute__((noreturn));
__attribute__((noreturn)) void run(char **arguments);

/* heap_model_sides.c */
extern char library[4096];
void make_side(struct side *side, bool tested);
const struct entry *counterpart(const struct board *b, const struct entry *of);
size_t line_length(const char *text, size_t at, size_t length);
extern const char *const mode_names[];
enum mode mode_of(uint64_t seed);
bool noisy_of(uint64_t seed);
bool goes_past(uint64_t seed);
bool has_no_queries(uint64_t seed);
struct difference run_both(struct side *heap, struct side *plain, uint64_t first, uint64_t count);

/* heap_model_reduce.c */
void show_difference(const struct side *heap, const struct side *plain, const struct difference *d, size_t before);
void investigate(struct side *heap, struct side *plain, const struct difference *first);
#endif
