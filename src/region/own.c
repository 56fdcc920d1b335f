/* SPDX-License-Identifier: MIT
 *
 * The mappings that a region keeps for itself, without which neither this process nor its children can continue. They
 * lie apart from the program's. Under the lock; async-signal-safe.
 */
#include "bits.h"
#include "keeper.h"

struct look {
	char *at, *end;
	char *from, *to; /* the lowest so far */
	bool found;
};

static void look_at(struct look *look, const void *start, size_t size)
{
	char *from = (char *)(uintptr_t)start, *to = from + (size + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE;

	if (from == NULL || size == 0 || from >= look->end || to <= look->at || (look->found && from >= look->from))
		return;
	look->from = from;
	look->to = to;
	look->found = true;
}

/* Views outside of home. None is found if the kernel's list of mappings is not available. */
static void look_for_views(struct look *look, const struct odf_region *region)
{
	struct region_mapping mapping;
	struct region_maps maps;

	if (region->view_inode == 0 || region_maps_begin(&maps) != 0)
		return;
	for (char *at = look->at; at < look->end && region_maps_find(&maps, at, &mapping) == 0; at = mapping.end) {
		if (mapping.start >= look->end || (look->found && mapping.start >= look->from))
			break;
		if (region_is_view(region, &mapping) &&
		    (mapping.end <= region->home || mapping.start >= region->home + region->length))
			look_at(look, mapping.start, (size_t)(mapping.end - mapping.start));
	}
	region_maps_end(&maps);
}

bool region_own_in(const odf_region *region, char *at, char *end, bool views, char **from, char **to)
{
	struct look look = { .at = at, .end = end };
	const void *extents;
	size_t size;

	look_at(&look, region, sizeof *region);
	look_at(&look, region->discarded, bits_size(region->length));
	look_at(&look, region->reservation, region->reservation_size);
	extents = region_extents_where(region, &size);
	look_at(&look, extents, size);
	for (size_t i = 0; i < REGION_OUTGROWN; i++)
		look_at(&look, region->outgrown[i].start, region->outgrown[i].size);
	if (!region->inherited) { /* a child has none of these */
		look_at(&look, region->own_pages, bits_size(region->length));
		look_at(&look, keeper_process.block, keeper_process.block_size);
		look_at(&look, keeper_settler.desk, KEEPER_DESK_SIZE);
	}
	for (const struct odf_region *spare = region_spares(); spare != NULL; spare = spare->next)
		look_at(&look, spare, sizeof *spare);
	if (views)
		look_for_views(&look, region);
	*from = look.from;
	*to = look.to;
	return look.found;
}
