/* SPDX-License-Identifier: MIT
 *
 * The keeper: a process that shares the program's memory. It exists while the program has regions of its own, owns
 * every descriptor that they need, carries out orders, and settles what was frozen. For the files of the keeper and
 * those that run in it.
 *
 * Why a process and not a thread. A thread of the library is a thread of the program. libc would have malloc take
 * locks, so that a fork in a signal handler of a single-threaded program could hang. unshare and setns would fail. A
 * program that stops all its threads would stop this one amid a step, and then wait for memory that only this thread
 * can put back. And the thread would keep the rights that the program gives up. A process that shares the memory
 * (CLONE_VM) has none of these problems. It is a child of the program with exit signal 0, so that wait() does not find
 * it. CLONE_UNTRACED keeps a tracer of the program from tracing it. It has a process group of its own: a signal to the
 * program's group does not reach it.
 *
 * Why a child, and not an orphan that init would reap. If the program itself adopts orphans, as the first process of a
 * container does, each of its waits would find the keeper. Elsewhere a process that knows nothing of it would get a
 * child, and a SIGCHLD each time a keeper ends, and systemd could no longer tell which process a service is. A child
 * shows less: only a wait for any child with __WALL or __WCLONE finds it.
 *
 * Why it lives as long as there is a region, even if it has had no work for a second. Its descriptors hold the file,
 * the token and the userfaultfd. Nothing else may hold them: the program's descriptor table is the program's, and an
 * unprivileged process cannot get a descriptor from a mapping. A new keeper could not settle regions of the old one;
 * and after a change of ids, or in a sandbox, it could not open what it needs, while the old one continues. The price
 * is a sleeping process: 6 wake-ups in 30 s, and no CPU time that the kernel counts (measured). To end it and start it
 * again would cost 60 and 220 us, and each fork after a quiet second would wait for the start, where a fork of 64 MiB
 * in a region takes 190 us (measured in turns, load 22; the creation of a region takes 218 to 290 us with a start, 26
 * to 33 us without). The keeper ends when the last region is destroyed, or when all have been given up and their files
 * are empty.
 *
 * When memory is free after the program's end. The kernel unmaps a file's pages and then frees them, two passes where
 * anonymous memory takes one. So it takes twice as long as without the library, as for any program with that much
 * shared memory. The keeper adds the time until it runs, which is short, as it asks for short turns (confine.c).
 *
 * What runs in it: nothing that takes a lock of libc or allocates by it, and no signal handler but its own. It makes
 * raw system calls, and calls only memory and string functions of libc. Its thread-local block is all zeros; the stack
 * protector's canary and errno are in it.
 */
#ifndef ODF_REGION_KEEPER_H
#define ODF_REGION_KEEPER_H

#include "internal.h"

struct schedule_facts;

#define KEEPER_DESK_SIZE ((sizeof(struct region_desk) + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE)

#define KEEPER_NAME "odfork-keeper"

/* Shared by the program and the keeper. While there is a keeper each member is written by one side only. */
struct keeper_shared {
	/* By the kernel: the id when the process is made, 0 when it has ended. */
	atomic_int id; /* of the process */

	/* By the program. */
	atomic_bool running;
	atomic_uint notices; /* counts events that the keeper should look at; it sleeps on this word */
	atomic_uint forks;   /* counts forks that the keeper should know of */
	atomic_bool unattended; /* the program will not stop the keeper: it ends by itself when it is idle */
	atomic_bool leaves;  /* the keeper is to end as soon as no step is under way */

	/* By the keeper. */
	atomic_bool asleep;  /* until a notice wakes it */
	atomic_bool settles; /* there is a region that it settles, thins or gives up by itself */
	atomic_bool idle;    /* no work is left, and it may end */
	_Atomic(odf_region_settling) settling;
};
extern struct keeper_shared keeper;

/* What the program knows of the keeper's process, to end it (keeper_start.c, keeper_stop.c). */
extern struct keeper_process {
	int program; /* the process that has made it */
	int id; /* of the keeper */
	bool by_main; /* the main thread has made it */
	bool goes_by_itself; /* the kernel reaps it at its end, whichever process is its parent then */
	char *block; /* its stack and thread-local block */
	size_t block_size;
} keeper_process;
/* Waits for the end of a keeper that is about to end by itself, and reaps it. */
void keeper_reap(void);

/* The children that were made last; 0: none. The keeper asks whether they have ended. */
#define KEEPER_CHILDREN 16
extern atomic_int keeper_children[KEEPER_CHILDREN];

/* ---- In the keeper ---- */
extern struct region_settler keeper_settler;
extern uint64_t keeper_pause_most_ns; /* between the steps of the present settle; 0: a thread waits for its end */

/* keeper.c */
int keeper_run(void); /* returns when the keeper is to end */
void keeper_note_whether_it_settles(void);
void keeper_between_steps(const struct region_progress *progress);
bool keeper_is_hurried(uint64_t rest_ns);
void keeper_note_idle_fork(void); /* by a SCHED_IDLE thread: the kernel may leave it and its child waiting for a
                                     processor */
/* The former keeper may have ended within keeper_try (guard.c). */
void keeper_try_forget(void);
/* The signal handler for the keeper's own faults. */
void keeper_fault(int signal, siginfo_t *about, void *context);
void keeper_end(void); /* does not return; it is not declared so, as a sanitizer would add calls before it */

/* keeper_sleep.c */
void keeper_sleep(unsigned notices, uint64_t nanoseconds); /* until a notice that `notices` does not count, or the end
                                                              of the program */
/* Returns the count of notices, and notes how many children have said that they end. Any notice or end after that ends
 * a sleep. */
unsigned keeper_count_notices(void);
void keeper_forget_main(void); /* in a child, which has no keeper */

/* keeper_freezes.c */
bool keeper_has_freezes(void);
void keeper_make_freezes(void);

/* keeper_orders.c */
bool keeper_has_order(void);
void keeper_carry_out_order(void);
void keeper_answer_at_once(void); /* an order about memory, or freezes. Also between the steps of a settle, which may
                                     take long */
void keeper_forget_orders(void);
bool keeper_settles_here(const struct odf_region *region);
bool keeper_thins_here(const struct odf_region *region);

/* keeper_orders.c, by the program. A thread gives an order with the lock of orders held. */
void keeper_lock_orders(void);
bool keeper_try_lock_orders(void);
bool keeper_lock_free_orders(void); /* fails also if the holder is gone (process_lock.h) */
void keeper_unlock_orders(void);
void keeper_expect_answer(enum region_order order, struct odf_region *region);
int keeper_wait_for_answer(void);
/* By the keeper. */
int keeper_reach_all(void); /* extends the views to memory out of their reach; 0, or an errno value: some is still out
                               of reach */
void keeper_answer(int error);
int keeper_adopt(struct odf_region *region);

/* keeper_sleep.c, before the keeper is made: the word that the kernel clears when the main thread ends. */
void keeper_watch(atomic_int *main_word, int main_id);

/* keeper_program.c: what the keeper knows of the program. */
struct program_files {
	int stat, statm, own_statm, load;
};
extern struct program_files program_files; /* -1: not known */
void program_meet(int id);
/* The mounted /proc counts processes in the caller's PID namespace. */
bool program_proc_is_ours(void);
/* It has ended, or executed another program: nobody needs the shared memory any more. */
bool program_is_gone(void);
/* Its main thread is stopped by a signal or a tracer, or the process dumps core: a reader of its memory must not see a
 * step half done. */
bool program_is_stopped(void);
uint64_t program_faults(void); /* UINT64_MAX: not known */
/* Counts the children that are found to have ended, without reaping them. */
unsigned program_ended_children(void);
bool program_has_children(void); /* children that were not found to have ended */
bool program_leaves_a_processor(void); /* a processor that it may use is idle, or that is not known */

/* aging.c: young memory before the first fork */
void keeper_look_at_young(struct odf_region *region, struct schedule_facts *facts);
void keeper_adopt_young(struct odf_region *region); /* until there is none left, or the process forks */

/* keeper_limits.c */
void limits_take(void); /* once it is a process of its own */
/* It has used so much of its CPU time limit that it begins no more work: its regions are to be given up. */
bool limits_are_near(void);

/* keeper_starter.c */
/* The caller's priority is not lower than that of the program's main thread, and both are in the same cgroups. */
bool starter_is_as_main(int program);
void starter_note_refusal(void); /* by a keeper for whose starter that is not so, and which ends */

/* confine.c */
extern unsigned confine_processors; /* how many it may run on */
/* Sets scheduling policy, priority and processors by those of the main thread, whichever thread has started the keeper,
 * and the default timer slack. The memory policy stays as inherited if that was the main thread; otherwise it becomes
 * the default. EBUSY: the keeper would stall other threads (keeper_starter.c). */
int confine_schedule(int program, bool by_main);
/* Before its end, which takes long if there is much memory to free. Async-signal-safe. */
void confine_long_turns(void);
/* For good: no capabilities and no way to get any, and only those system calls that it makes. What the kernel does not
 * offer is left out. `may_lock`: mlockall may lock its memory; the heap's is never locked. `may_execute`: memory that
 * can be read and written may be executable, too. */
void confine_rights(bool may_lock, bool may_execute);

/* ---- schedule.c: when to do what; computed from its arguments only ---- */

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
	uint64_t now, fork_ns; /* time of the last fork */
	uint64_t ask_ns;       /* no test for descendants before this, unless a child has ended */
	uint64_t touched;      /* page faults since the freeze */
	uint64_t behind_ns;    /* 0, or if the last settles were not done before the next fork: the time between
	                          forks */
	bool left, drained;    /* given up; and its file is empty */
	bool lost;             /* it will never be LIVE again */
	bool settled, vacant;
	bool aside_lost;
	bool stopped;          /* the program is stopped and a process may look at its memory; or a SCHED_IDLE child may
	                          be about to end, and a step might wait for it */
	bool settles, thins;   /* the keeper settles it beside the program; or it only gives memory back */
	bool huge;             /* the region is to have large pages */
	bool child_ended;      /* since the last test for descendants */
	bool only_read;        /* nothing was written since the freeze */
	uint64_t young;        /* bytes that a freeze would adopt */
	uint64_t young_floor, young_ns; /* `young` has not been below young_floor since young_ns */
	uint64_t young_look_ns; /* from this look to the next */
	bool young_missed;     /* the last freeze would have adopted some of it, but could not */
	bool busy;             /* no processor is idle for work in the background */
};
struct schedule {
	enum schedule_action action;
	uint64_t then;       /* SCHEDULE_WAIT: when to look again */
	uint64_t pause_most; /* SCHEDULE_SETTLE: longest pause between two steps */
};
#define SCHEDULE_NEVER UINT64_MAX
/* How many of the last times between two forks are kept; 0 or SCHEDULE_NEVER: not known. */
#define SCHEDULE_DISTANCES 3
/* The usual time between forks, by these; SCHEDULE_NEVER: not known. And the expected time until the next fork, `since`
 * after the last one. */
uint64_t schedule_distance(const uint64_t distances[SCHEDULE_DISTANCES]);
uint64_t schedule_until_fork(uint64_t since, const uint64_t distances[SCHEDULE_DISTANCES]);
/* The pause between two steps. */
uint64_t schedule_pause(const struct region_progress *progress, uint64_t most, uint64_t until_fork);
#define SCHEDULE_RELEASED_NS 50000000u /* wait for more memory to be released before a pass gives it back */
#define SCHEDULE_RETRY_NS 100000000u
#define SCHEDULE_ASK_FIRST_NS 200000u
#define SCHEDULE_STOPPED_NS 1000000u
struct schedule schedule_region(const struct schedule_facts *facts);
/* After so many failures in a row a region is given up. */
#define SCHEDULE_FAILURES_MOST 100u
/* For a region whose process has not forked: the time until the next look at its young memory (`changed`: its amount
 * differs from that at the last look); and whether young_floor and young_ns are to be set anew, as they no longer
 * describe the present memory. */
uint64_t schedule_young_look(bool changed, uint64_t young, uint64_t last_ns);
/* The keeper takes young memory in once it is old. */
bool schedule_takes_young(const struct schedule_facts *facts);
bool schedule_young_anew(const struct schedule_facts *facts);
/* The wait before the next slice is drained. `error`: of the last slice; 0 if it was drained. */
uint64_t schedule_drain(int error, uint64_t last_wait_ns);
/* When to test for descendants again after a settle has failed with `error`. */
uint64_t schedule_after(int error, uint64_t now, uint64_t fork_ns);
/* And when to look at the region again, whose next test is at ask_ns: earlier if it has descendants, as a child may
 * end. */
uint64_t schedule_again(int error, uint64_t now, uint64_t fork_ns, uint64_t ask_ns);
/* The wait until the next pass of thinning. */
uint64_t schedule_thin(uint64_t last_wait_ns);
bool schedule_thin_pays(uint64_t faults);
/* When to look for a fork although there is no work. behind_ns: as above. */
uint64_t schedule_look(uint64_t now, uint64_t fork_ns, uint64_t behind_ns);
#define SCHEDULE_FAST_ASLEEP_NS 20000000u /* a keeper that sleeps longer than this is woken by the program */
#endif
