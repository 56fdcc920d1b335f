/* SPDX-License-Identifier: MIT
 *
 * The keeper: a process that shares this one's memory, lives while this one has regions of its own, owns every
 * descriptor that they need, carries out orders, and settles what was frozen. For keeper*.c, schedule.c and confine.c
 * only.
 *
 * Why a process and not a thread. A thread of the library is a thread of the program: libc believes that malloc has
 * to lock, so that a fork in a signal handler of a program of one thread hangs; unshare and setns refuse; who stops
 * all threads of the program stops it amid a step, and then waits for memory that only it can put back; it keeps the
 * rights that the program gives up. A process that shares the memory (CLONE_VM) is none of that. It is a child of the
 * program whose end sends no signal (exit signal 0), so that wait() does not find it; CLONE_UNTRACED keeps it from a
 * tracer of the program. It has a process group of its own: a signal to the program's group does not reach it.
 *
 * Why a child, and not an orphan that init would reap: where the program is itself what orphans go to, as the first
 * process of a container is, every wait would find it; elsewhere a stranger would get a child and a SIGCHLD at each
 * of its ends, and systemd would not know any more which process a service is. What a child shows is less: a wait
 * with __WALL or __WCLONE for any child finds it.
 *
 * Why it lives as long as there is a region, also when nothing has been done for a second: its descriptors are what
 * the file, the token and the userfaultfd are held by. Nothing else may hold them: the program's table is the
 * program's, and a process without privileges cannot get a descriptor from a mapping. A new keeper could settle
 * nothing of the old one's regions; and after a change of ids, or in a sandbox, it could not open what it needs,
 * while the old one goes on. The price of staying is a process that sleeps: 6 wakes in 30 s, and no CPU time that the
 * kernel counts (measured). Ending and starting again would cost 60 and 220 us, the latter held at each fork after a
 * quiet second, where a fork of 64 MiB in a region holds 190 (measured in turns, load 22; the creation of a region
 * with a start and without: 218 to 290, and 26 to 33 us). It ends when the last region does, or was given up and has
 * nothing any more.
 *
 * When memory is free after the program's end: the kernel unmaps a file's pages and then frees them, two passes where
 * anonymous memory takes one, so that it takes twice as long as plain, as it does for any program with so much shared
 * memory. What the keeper adds is that it comes to run: soon, as it asks for short turns (confine.c).
 *
 * What runs in it: no lock and no memory of libc's, and no signal handler but its own. It has a thread-local block
 * that is all zeros, for the canary of the stack protector and for errno, and raw system calls; from libc memcpy,
 * memset and memcmp only.
 */
#ifndef ODF_REGION_KEEPER_H
#define ODF_REGION_KEEPER_H

#include "internal.h"

struct schedule_facts;

#define KEEPER_DESK_SIZE ((sizeof(struct region_desk) + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE)

#define KEEPER_NAME "odfork-keeper"

/* Between the program and it: each member has one who writes it while there is a keeper. */
struct keeper_shared {
	/* The kernel: as it is made, and 0 when it has ended. */
	atomic_int id; /* its process */

	/* The program. */
	atomic_bool running;
	atomic_uint notices; /* counts what the keeper should look at, and may itself; it sleeps on this word */
	atomic_uint forks;   /* counts those that it should know about */
	atomic_bool unattended; /* the program will not see to its end: it ends by itself when it is idle */
	atomic_bool leaves;  /* it is to end, at the next moment at which no step is under way */

	/* The keeper. */
	atomic_bool asleep;  /* until a notice comes */
	atomic_bool settles; /* there is a region that it settles by itself */
	atomic_bool idle;    /* nothing is left to do, and it may end */
	_Atomic(odf_region_settling) settling;
};
extern struct keeper_shared keeper;

/* What the program knows of the process, for its end (keeper_start.c, keeper_stop.c). */
extern struct keeper_process {
	int program; /* has made it */
	int id; /* its own */
	bool by_main; /* its main thread */
	bool goes_by_itself; /* the kernel takes it away at its end, whoever is its parent by then */
	char *block; /* where it runs */
	size_t block_size;
} keeper_process;
/* Of one that ends by itself, and soon: waits for that and takes it away. */
void keeper_reap(void);

/* The children that were made last, 0: none. It asks whether they have ended. */
#define KEEPER_CHILDREN 16
extern atomic_int keeper_children[KEEPER_CHILDREN];

/* ---- In the keeper ---- */
extern struct region_settler keeper_settler;
extern uint64_t keeper_pause_most_ns; /* between the steps of the settle that is under way; 0: somebody waits for it */

/* keeper.c */
int keeper_run(void); /* until it is to end */
void keeper_note_whether_it_settles(void);
void keeper_between_steps(const struct region_progress *progress);
bool keeper_is_hurried(uint64_t rest_ns);
void keeper_note_idle_fork(void); /* by a thread that the kernel may leave waiting for a processor, as it may the
                                     child */
/* The last keeper may have ended amid what it tried. (guard.c) */
void keeper_try_forget(void);
/* The handler of the keeper's faults. */
void keeper_fault(int signal, siginfo_t *about, void *context);
void keeper_end(void); /* does not return; a sanitizer would make calls before a function that says so */

/* keeper_sleep.c */
void keeper_sleep(unsigned notices, uint64_t nanoseconds); /* until a notice comes that is not among those, or the
                                                              program has ended */
/* Of notices, and of the ends that children say. What comes after that ends a sleep. */
unsigned keeper_count_notices(void);
void keeper_forget_main(void); /* in a child, whose keeper it is not */

/* keeper_freezes.c */
bool keeper_has_freezes(void);
void keeper_make_freezes(void);

/* keeper_orders.c */
bool keeper_has_order(void);
void keeper_carry_out_order(void);
void keeper_answer_at_once(void); /* if the order is about memory, or a freeze. Between the steps of a settle too, which
                                     may take long */
void keeper_forget_orders(void);
bool keeper_settles_here(const struct odf_region *region);
bool keeper_thins_here(const struct odf_region *region);

/* keeper_orders.c, by the program: orders are given by who has their lock. */
void keeper_lock_orders(void);
bool keeper_try_lock_orders(void);
bool keeper_lock_free_orders(void); /* if nobody has it, whoever that is */
void keeper_unlock_orders(void);
void keeper_expect_answer(enum region_order order, struct odf_region *region);
int keeper_wait_for_answer(void);
/* And by the keeper. */
int keeper_reach_all(void); /* where memory wants it the views reach there; 0, or an errno value: not everywhere */
void keeper_answer(int error);
int keeper_adopt(struct odf_region *region);

/* keeper_sleep.c, before it is made: the word that the kernel clears when the main thread ends. */
void keeper_watch(atomic_int *main_word, int main_id);

/* keeper_program.c: what the keeper knows of the program. */
struct program_files {
	int stat, statm, own_statm, load;
};
extern struct program_files program_files; /* -1: not known */
void program_meet(int id);
/* The /proc that is mounted here counts processes as the caller's namespace does. */
bool program_proc_is_ours(void);
/* It has ended, or executed another program: nobody needs this memory any more. */
bool program_is_gone(void);
/* Its main thread is stopped, by a signal or a tracer: who reads its memory now is not to meet a step. */
bool program_is_stopped(void);
uint64_t program_faults(void); /* UINT64_MAX: not known */
/* Counts those children of it that are found to have ended. Disturbs nobody. */
unsigned program_ended_children(void);
bool program_has_children(void); /* of those that were not found to have ended */
bool program_leaves_a_processor(void); /* of those that it may use: nobody runs there. Or it cannot be told */

/* aging.c: young memory before the first fork */
void keeper_look_at_young(struct odf_region *region, struct schedule_facts *facts);
void keeper_adopt_young(struct odf_region *region); /* until there is none, or the process forks */

/* keeper_limits.c */
void limits_take(void); /* once it is a process of its own */
/* It has used so much of its processor time that no more work is begun: what it keeps is to be given up. */
bool limits_are_near(void);

/* keeper_starter.c */
/* The caller is neither limited to less of a processor than the program's main thread nor in another cgroup. */
bool starter_is_as_main(int program);
void starter_note_refusal(void); /* by a keeper that is, and ends */

/* confine.c */
extern unsigned confine_processors; /* on how many it may run */
/* Priority, policy, processors and timers are the keeper's own, whoever it was that started it; the memory policy is
 * that of the main thread, if it was that. EBUSY: it would stall others (keeper_starter.c). */
int confine_schedule(int program, bool by_main);
/* For its end, which takes as long as there is memory. Async-signal-safe. */
void confine_long_turns(void);
/* For good: no capabilities, no way to get any, no calls but those that it makes. What the kernel does not offer is
 * left out. `may_lock`: its memory may be locked (mlockall); the heap's never is. `may_execute`: memory that can be
 * read and written may be executable, too. */
void confine_rights(bool may_lock, bool may_execute);

/* ---- schedule.c: when to do what, without a look at anything ---- */

enum schedule_action {
	SCHEDULE_WAIT,
	SCHEDULE_GIVE_UP,
	SCHEDULE_DRAIN,
	SCHEDULE_MEND,
	SCHEDULE_GATHER,
	SCHEDULE_THIN,
	SCHEDULE_SETTLE,
	SCHEDULE_ADOPT,
};
struct schedule_facts {
	uint64_t now, fork_ns; /* the last fork */
	uint64_t ask_ns;       /* not to be asked for descendants before, unless a child has ended */
	uint64_t touched;      /* page faults since the freeze */
	uint64_t behind_ns;    /* the last settles were not done before the next fork, and forks are so far apart; 0:
	                          they were */
	bool left, drained;    /* given up; and its file has nothing any more */
	bool lost;             /* it will never be LIVE again */
	bool settled, vacant;
	bool aside_lost;
	bool stopped;          /* the program, and somebody may look at it; or a child that nobody is to wait for is on
	                          its way to its end */
	bool settles, thins;   /* beside the program; gives back only */
	bool huge;             /* it is to have large pages */
	bool child_ended;      /* one that it was not asked for yet */
	bool only_read;        /* nothing was written since the freeze */
	uint64_t young;        /* bytes that a freeze would adopt */
	uint64_t young_floor, young_ns; /* so many of the former there have been since then */
	uint64_t young_look_ns; /* how long after this look the next one */
	bool busy;             /* no processor is left to work in the background */
};
struct schedule {
	enum schedule_action action;
	uint64_t then;       /* SCHEDULE_WAIT: when to look again */
	uint64_t pause_most; /* SCHEDULE_SETTLE: between two steps */
};
#define SCHEDULE_NEVER UINT64_MAX
/* Of the last forks how far they were from those before; 0 or SCHEDULE_NEVER: not known. */
#define SCHEDULE_DISTANCES 3
/* How far forks are apart, as far as these tell; SCHEDULE_NEVER: not known. And how long it is until the next one, so
 * long after the last. */
uint64_t schedule_distance(const uint64_t distances[SCHEDULE_DISTANCES]);
uint64_t schedule_until_fork(uint64_t since, const uint64_t distances[SCHEDULE_DISTANCES]);
/* Between two steps. */
uint64_t schedule_pause(const struct region_progress *progress, uint64_t most, uint64_t until_fork);
#define SCHEDULE_RELEASED_NS 50000000u /* for more to be released, before what was is given back by itself */
#define SCHEDULE_RETRY_NS 100000000u
#define SCHEDULE_ASK_FIRST_NS 200000u
#define SCHEDULE_STOPPED_NS 1000000u
struct schedule schedule_region(const struct schedule_facts *facts);
/* So often in a row, and the region is given up. */
#define SCHEDULE_FAILURES_MOST 100u
/* Of a region whose process has not forked: the most that it makes sense to wait between two looks at its young memory,
 * and whether what there was since young_ns tells nothing of what there is. */
uint64_t schedule_young_look(bool changed, uint64_t young, uint64_t last_ns);
bool schedule_young_anew(const struct schedule_facts *facts);
/* How long to wait until the next slice is drained: after one that was, or after the error of one that was not. */
uint64_t schedule_drain(int error, uint64_t last_wait_ns);
/* When to ask again after an answer of EBUSY, EAGAIN or another error. */
uint64_t schedule_after(int error, uint64_t now, uint64_t fork_ns);
/* And when to look at the region again, which is to be asked then: sooner where there are descendants, for the end of
 * a child. */
uint64_t schedule_again(int error, uint64_t now, uint64_t fork_ns, uint64_t ask_ns);
/* How long to wait until the next pass of thinning. */
uint64_t schedule_thin(uint64_t last_wait_ns);
bool schedule_thin_pays(uint64_t faults);
/* When to look for a fork although nothing is to be done. behind_ns: as above. */
uint64_t schedule_look(uint64_t now, uint64_t fork_ns, uint64_t behind_ns);
#define SCHEDULE_FAST_ASLEEP_NS 20000000u /* who sleeps longer than this is to be woken */
#endif
