/* SPDX-License-Identifier: MIT
 * Creates, settles and destroys regions, and reports about them. Not async-signal-safe, except for region_make_bare and
 * region_make_in_place. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "../capability/capability.h"
#include "../sys/process_lock.h"
#include "../sys/structure.h"
#include "bits.h"
#include "internal.h"

/* Serialises the creation and the destruction of regions: the first region starts the keeper, the last one ends it. */
static struct process_lock making;

static size_t round_up(size_t size, size_t unit)
{
	return (size + unit - 1) / unit * unit;
}

/* The greatest length of a region in place. Its places lie within about ten times its length. */
#define IN_PLACE_MOST ((size_t)8 << 40)

/* In a region in place only the place of the tokens is reserved; its other places are addresses where nothing is mapped
 * (folded.c). */
static int reserve_in_place(struct odf_region *region, char *hint)
{
	size_t size = 2 * REGION_PAGE, room = 10 * region->length + 24 * REGION_PUD;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
	char *base = hint, *area = NULL;

	for (unsigned tries = 0; base != NULL && area == NULL && tries < 8; tries++, base += room) {
		base = (char *)round_up((uintptr_t)base, REGION_PUD);
		area = region_map(base + REGION_TABLE, size, PROT_NONE, flags, -1, 0);
		if (area != NULL)
			break;
	}
	if (area == NULL) { /* anywhere */
		base = region_map(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (base == NULL)
			return ENOMEM;
		(void)region_unmap(base, room);
		base = (char *)round_up((uintptr_t)base, REGION_PUD);
		area = region_map(base + REGION_TABLE, size, PROT_NONE, flags, -1, 0);
		if (area == NULL)
			return ENOMEM;
	}
	if (sys_call3(SYS_madvise, area, size, MADV_DONTFORK) < 0) {
		(void)region_unmap(area, size);
		return ENOMEM;
	}
	(void)sys_call3(SYS_madvise, area, size, MADV_DONTDUMP);
	region->reservation = area;
	region->reservation_size = size;
	region->tokens = area + size;
	region->aside = base + REGION_PUD;
	region->scratch = region->aside + region->length;
	region->staging = region->scratch + region->work_size;
	region->beside = region->staging + region->work_size;
	return 0;
}

/* Reserves all address space in one piece. Home, or aside in a region in place, is aligned to `unit`, the largest move
 * that the length allows. */
static int reserve(struct odf_region *region, size_t unit, void *hint)
{
	size_t total = REGION_TABLE + 2 * region->length + 2 * region->work_size;
	char *area, *end;

	if (region->in_place)
		return region->length <= IN_PLACE_MOST ? reserve_in_place(region, hint) : ENOMEM;
	area = region_map(hint, total + unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == NULL)
		return ENOMEM;
	region->tokens = (char *)round_up((uintptr_t)area + REGION_TABLE, unit);
	region->reservation = region->tokens - REGION_TABLE;
	region->reservation_size = total;
	end = area + total + unit;
	if ((region->reservation > area && region_unmap(area, (size_t)(region->reservation - area)) != 0) ||
	    (region->reservation + total < end &&
	     region_unmap(region->reservation + total, (size_t)(end - region->reservation) - total) != 0) ||
	    sys_call3(SYS_madvise, region->reservation, total, MADV_DONTFORK) < 0) {
		(void)region_unmap(area, total + unit);
		return ENOMEM;
	}
	(void)sys_call3(SYS_madvise, region->reservation, total, MADV_DONTDUMP);
	region->home = region->tokens;
	region->aside = region->tokens + region->length;
	region->scratch = region->aside + region->length;
	region->staging = region->scratch + region->work_size;
	if (hint != NULL) /* the caller wants the region here: its other mappings are to lie beside it */
		region->beside = region->reservation + total;
	return 0;
}

/* Unmaps only what is certainly the region's. In a child that is what children inherit: home, and the token below
 * it. */
static void unmap_all(struct odf_region *region)
{
	region_ends_forget(region);
	if (!region->absent && !region->in_place) {
		(void)region_unmap(region->home, region->length); /* first: no child may have home without its token */
		(void)region_unmap(region_token_page(region, region->token), REGION_PAGE);
	}
	if (!region->inherited) {
		region_older_release(region);
		if (region->in_place)
			(void)region_unmap(region_token_page(region, region->token), REGION_PAGE);
		(void)region_unmap(region_token_page(region, 1 - region->token), REGION_PAGE);
		if (region->reservation_size > 2 * REGION_PAGE)
			(void)region_unmap(region->reservation, REGION_TABLE - 2 * REGION_PAGE);
		region_aside_drop(region);
		if (region->scratch != NULL && !region->in_place)
			(void)region_unmap(region->scratch, 2 * region->work_size);
		region_template_drop(region);
		if (region->source != NULL)
			region_source_drop(region);
	}
	region_extents_unmap(region);
	(void)region_unmap(region->discarded, bits_size(region->length));
	(void)region_unmap(region, round_up(sizeof *region, REGION_PAGE));
}

/* The structures of buried regions, a page each, for the next regions. They stay mapped, as an interrupted thread may
 * still hold the address of one. */
static struct odf_region *spare;

struct odf_region *region_bury(struct odf_region *region)
{
	static struct odf_region buried = { .inherited = true, .absent = true };

	region_extents_unmap(region);
	(void)region_unmap(region->discarded, bits_size(region->length));
	region->discarded = NULL;
	region->next = spare;
	spare = region;
	return &buried;
}

const struct odf_region *region_spares(void)
{
	return spare;
}

static struct odf_region *take_spare(void)
{
	struct odf_region *region = spare;

	if (region != NULL)
		spare = region->next;
	return region;
}

static void set_length(struct odf_region *region, size_t length)
{
	region->length = region->live_length = length;
	region->work_size = length < REGION_PUD ? length : REGION_PUD;
}

enum make { MAKE_MEMORY, MAKE_BARE, MAKE_IN_PLACE };

/* A place for the region's own data, below `hint` and so near the region's other places: a gap that the program has
 * made among its own mappings must stay a gap. */
static void *apart(char *hint, unsigned number)
{
	return hint == NULL ? NULL : hint - (number + 1) * (REGION_PUD / 4);
}

_Static_assert(sizeof(struct odf_region) <= REGION_PAGE, "the list of extents lies on the next page");

static char *place_of_own(char *hint, enum make kind)
{
	static char *slots; /* a child's own regions take the next ones */
	static size_t used;

	if (hint == NULL || kind != MAKE_IN_PLACE)
		return apart(hint, 0);
	if (slots == NULL)
		slots = apart(hint, 0);
	return used < REGION_TABLE / REGION_SLOT ? slots + used++ * REGION_SLOT : apart(hint, 0);
}

static char *place_of_extents(char *hint, enum make kind, char *own)
{
	return kind == MAKE_IN_PLACE && own != NULL ? own + REGION_PAGE : apart(hint, 1);
}

static struct region_extents *make_extents(const struct odf_region *region, void *hint)
{
	struct region_extent all = { .length = region->length,
				     .kind = region->in_place ? REGION_FOREIGN : REGION_HOLE };

	return region_extents_make(hint, region->in_place ? REGION_EXTENTS_FIRST : REGION_EXTENTS, all);
}

/* `start`: home of a region in place. */
static struct odf_region *make(size_t capacity, unsigned flags, size_t unit, enum make kind, int rights, char *start,
			       void *hint, int *error)
{
	char *own = place_of_own(hint, kind);
	bool bare = kind != MAKE_MEMORY;
	struct odf_region *region = bare ? take_spare() : NULL;

	*error = ENOMEM;
	if (region == NULL)
		region = region_map_own(own, round_up(sizeof *region, REGION_PAGE));
	if (region == NULL)
		return NULL;
	*region = (struct odf_region){
		.capacity = round_up(capacity, REGION_PAGE),
		.flags = flags,
		.rights = rights,
		.maker = (int)sys_call0(SYS_getpid),
		.step_most = REGION_PUD,
		.in_place = kind == MAKE_IN_PLACE,
		.home = start,
		.file = -1,
		.second_file = -1,
		.token_file = -1,
		.spare_file = -1,
		.older_file = -1,
	};
	set_length(region, round_up(capacity, unit));
	atomic_init(&region->reach, region->length);
	if (reserve(region, unit, hint) != 0) {
		region_unmap(region, round_up(sizeof *region, REGION_PAGE));
		return NULL;
	}
	if (bare)
		region->extents = make_extents(region, place_of_extents(hint, kind, own));
	region->discarded = region_map_own(apart(hint, 2), bits_size(region->length));
	if (region->discarded == NULL || (bare && region->extents == NULL)) {
		region_extents_unmap(region);
		if (region->discarded != NULL)
			region_unmap(region->discarded, bits_size(region->length));
		region_unmap(region->reservation, region->reservation_size);
		region_unmap(region, round_up(sizeof *region, REGION_PAGE));
		return NULL;
	}
	/* They are of no use in a core dump. */
	(void)sys_call3(SYS_madvise, region->discarded, bits_size(region->length), MADV_DONTDUMP);
	/* Counted before it can be LIVE, so that a fork that comes in between runs its hooks. */
	*error = region_count(region);
	if (*error == 0) {
		*error = region_keeper_start(region);
		if (*error == 0)
			return region;
		region_uncount(region);
	}
	unmap_all(region);
	return NULL;
}

odf_region *odf_region_create(size_t capacity, unsigned flags)
{
	struct odf_region *region = NULL;
	int saved = errno, error = 0, cancel;

	/* Up to five times the capacity is mapped: more than 32 TiB does not fit into 47 bits. */
	if (capacity == 0 || (flags & ~(ODF_REGION_MANUAL | ODF_REGION_HUGE)) != 0)
		error = EINVAL;
	else if (capacity > (size_t)1 << 45)
		error = ENOMEM;
	else if (capability_region_reason() != ODF_REASON_NONE)
		error = ENOTSUP;
	if (error == 0) {
		region_meet_child();
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
		process_lock_wait(&making);
		/* A move of a whole GiB costs the same as one of 2 MiB. So the length is in whole GiB, if the limits on
		 * address space allow it. */
		if (capacity >= REGION_WHOLE_PUDS)
			region = make(capacity, flags, REGION_PUD, MAKE_MEMORY, PROT_READ | PROT_WRITE, NULL, NULL,
				      &error);
		if (region == NULL && capacity < REGION_PUD && (error == 0 || error == ENOMEM))
			region = make(capacity, flags, REGION_TABLE, MAKE_MEMORY, PROT_READ | PROT_WRITE, NULL, NULL,
				      &error);
		if (region == NULL && region_list == NULL)
			region_keeper_stop();
		process_lock_release(&making);
		pthread_setcancelstate(cancel, NULL);
	}
	errno = error == 0 ? saved : error;
	return region;
}

odf_region *region_make_bare(size_t capacity, unsigned flags, void *hint, int *error)
{
	struct odf_region *region = NULL;

	region_meet_child();
	*error = EBUSY;
	if (!process_lock_try(&making)) /* the caller may be in a signal handler, or hold a lock of its own: it must not
	                                   wait */
		return NULL;
	region = make(round_up(capacity, REGION_PUD), flags, REGION_PUD, MAKE_BARE, PROT_READ | PROT_WRITE, NULL, hint,
		      error);
	process_lock_release(&making);
	return region;
}

odf_region *region_make_in_place(void *start, size_t capacity, int rights, void *beside, int *error)
{
	struct odf_region *region = NULL;

	region_meet_child();
	*error = EBUSY;
	if (!process_lock_try(&making))
		return NULL;
	region = make(capacity, 0, REGION_PUD, MAKE_IN_PLACE, rights, start, beside, error);
	process_lock_release(&making);
	return region;
}

void *odf_region_base(const odf_region *region)
{
	return region->home;
}

size_t odf_region_capacity(const odf_region *region)
{
	return region->capacity;
}

int odf_region_destroy(odf_region *region)
{
	int saved = errno, cancel;

	if (region == NULL)
		return EINVAL;
	region_meet_child();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	process_lock_wait(&making);
	if (!region->inherited) {
		if (region_order(REGION_RELEASE, region, NULL) != 0)
			region_forget_one(region); /* there is no keeper any more */
		region_uncount(region);
		if (region_list == NULL) /* regions that were given up need the keeper as well */
			region_keeper_stop();
	}
	unmap_all(region);
	process_lock_release(&making);
	pthread_setcancelstate(cancel, NULL);
	errno = saved;
	return 0;
}

int odf_region_settle(odf_region *region)
{
	uint64_t all = ~0ull, mask;
	int saved = errno, error;

	if (region == NULL)
		return EINVAL;
	region_meet_child();
	/* If the program keeps its other threads off the region, only a signal handler could still touch it. */
	(void)sys_sigprocmask(SIG_BLOCK, &all, &mask);
	error = region->inherited ? 0 : region_order(REGION_SETTLE, region, NULL);
	(void)sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	errno = saved;
	return error == ESRCH ? ENOTSUP : error; /* it was given up, and the keeper has ended */
}

/* Bytes to look at under the lock at a time: a fork may wait for it. */
#define LOOK ((size_t)64 << 20)

/* Bytes of the process's own pages in home; 0 if that is not known. Under the lock, as a step of a settle marks pages
 * that are not there (hold.c). */
static size_t private_bytes(const struct odf_region *region, const struct region_piece pieces[2], int count)
{
	int pagemap = count > 0 ? region_pagemap_open() : -1;
	struct region_run runs[64];
	size_t bytes = 0;

	if (pagemap < 0)
		return 0;
	for (int i = 0; i < count; i++) {
		char *at = region->home + pieces[i].from, *end = at + pieces[i].length;
		while (at < end) {
			char *stop = (size_t)(end - at) < LOOK ? end : at + LOOK;
			uint64_t mask;
			long found;
			region_lock(&mask);
			found = region_private(pagemap, at, stop, true, 0, runs, 64, &at);
			region_unlock(&mask);
			if (found < 0)
				break;
			for (long run = 0; run < found; run++)
				bytes += (size_t)(runs[run].end - runs[run].start);
		}
	}
	sys_close(pagemap);
	return bytes;
}

/* LIVE bytes of the capacity, which may end within the last table. */
static size_t live_bytes(const struct odf_region *region)
{
	struct region_piece pieces[2];
	size_t bytes = 0;
	int count = region->inherited || region->left
			    ? 0
			    : region_pieces(region, region->live_from, region->live_length, pieces);

	for (int i = 0; i < count; i++)
		if (pieces[i].from < region->capacity)
			bytes += pieces[i].from + pieces[i].length < region->capacity
					 ? pieces[i].length
					 : region->capacity - pieces[i].from;
	return bytes;
}

int odf_region_info_get(const odf_region *constant, odf_region_info *info)
{
	odf_region *region = (odf_region *)(uintptr_t)constant; /* only the locks and the list of regions change */
	odf_region_info found = ODF_REGION_INFO_INIT;
	int saved = errno, error, frozen;
	struct region_piece pieces[2];
	uint64_t mask, resident = 0;
	bool doubt;

	if (region == NULL || info == NULL)
		return EINVAL;
	error = structure_check_output(info, STRUCTURE_UP_TO(odf_region_info, last_freeze_ns));
	if (error != 0)
		return error;
	region_meet_child();
	region_lock(&mask);
	found = region->counters;
	found.size = sizeof found;
	found.state = region->absent                           ? ODF_REGION_ABSENT
		      : region->left                           ? ODF_REGION_GIVEN_UP
		      : region->inherited                      ? ODF_REGION_INHERITED
		      : region->live_length == region->length  ? ODF_REGION_LIVE
		      : region->vacant && !region->visible     ? ODF_REGION_SETTLING
							       : ODF_REGION_FROZEN;
	found.live_bytes = live_bytes(region);
	/* The part that is not LIVE: in a child, all of it. */
	frozen = region->inherited || region->left ? region_pieces(region, 0, region->length, pieces)
				   : region_pieces(region, (region->live_from + region->live_length) % region->length,
						   region->length - region->live_length, pieces);
	doubt = region->doubt || region->left;
	region_unlock(&mask);
	found.capacity = region->capacity;
	found.settling = region_keeper_settling();
	if (doubt || region->inherited)
		found.settling = ODF_REGION_SETTLES_NEVER;
	else if (found.settling != ODF_REGION_SETTLES_NEVER && (region->flags & ODF_REGION_MANUAL))
		found.settling = ODF_REGION_SETTLES_BY_CALL;
	if (!region->absent)
		found.private_bytes = private_bytes(region, pieces, frozen);
	if (!region->inherited && region_order(REGION_RESIDENT, region, &resident) == 0)
		found.resident_bytes = (size_t)resident;
	structure_write(info, &found, sizeof found);
	errno = saved;
	return 0;
}

bool region_is_inherited(const struct odf_region *region)
{
	return region->inherited;
}

bool region_is_absent(const struct odf_region *region)
{
	return region->absent;
}

uint64_t region_resident(odf_region *region)
{
	uint64_t bytes = 0;

	region_meet_child();
	if (region->inherited)
		return 0;
	return region_order(REGION_RESIDENT, region, &bytes) == 0 ? bytes : 0;
}
