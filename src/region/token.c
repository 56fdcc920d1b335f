/* SPDX-License-Identifier: MIT
 * Invariant 2: the exact test for descendants. By the keeper, under the lock. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>

#include "internal.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif
#ifndef F_SEAL_WRITE
#define F_ADD_SEALS  1033
#define F_SEAL_WRITE 0x0008
#endif

char *region_token_page(const struct odf_region *region, int slot)
{
	return region->tokens - (size_t)(slot + 1) * REGION_PAGE;
}

static int make_file(void)
{
	long file = sys_call2(SYS_memfd_create, "odfork-token", MFD_CLOEXEC | MFD_NOEXEC_SEAL | MFD_ALLOW_SEALING);

	if (file == -EINVAL) /* a kernel before 6.3 does not know the flag */
		file = sys_call2(SYS_memfd_create, "odfork-token", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return (int)file; /* empty: its page is never touched */
}

/* Its page is never touched: a page in use would hold the seal up. Nor can it be: the file is empty, and who reads all
 * that the list of mappings calls readable would be ended by SIGBUS. What counts for the seal is that it could be made
 * writable. */
static int map_token(struct odf_region *region, int slot, int file)
{
	char *page = region_token_page(region, slot);

	return region_map(page, REGION_PAGE, PROT_NONE, MAP_SHARED | MAP_FIXED, file, 0) == NULL ? ENOMEM : 0;
}

/* The place stays taken. */
static int unmap_token(struct odf_region *region, int slot)
{
	char *page = region_token_page(region, slot);

	if (region_map(page, REGION_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
	    NULL)
		return ENOMEM;
	(void)sys_call3(SYS_madvise, page, REGION_PAGE, MADV_DONTFORK); /* one mapping less in children, no more */
	return 0;
}

int region_token_make(struct odf_region *region)
{
	int error, file = make_file();

	if (file < 0)
		return -file;
	error = map_token(region, region->token, file);
	if (error != 0)
		sys_close(file);
	else
		region->token_file = file;
	return error;
}

int region_show(struct odf_region *region)
{
	if (region_advise(region, MADV_DOFORK) != 0)
		return ENOMEM; /* some of it may be visible, and the token is */
	region->visible = true;
	region->vacant = false;
	return 0;
}

int region_hide(struct odf_region *region)
{
	region->visible = false; /* before it is so: a child made in between must not take for there what is not */
	return region_advise(region, MADV_DONTFORK);
}

/* The token of the next freeze, mapped before the current one is given up. A child that got it by a raw clone
 * meanwhile makes it say that there is a descendant as long as that child lives: late, never wrong. */
static int make_spare(struct odf_region *region)
{
	if (region->spare_file < 0) {
		int file = make_file();
		if (file < 0)
			return -file;
		region->spare_file = file;
	}
	return map_token(region, 1 - region->token, region->spare_file);
}

/* A millisecond apart. */
#define REMAP_TRIES 50

/* The current token is children's again, and the spare one is not. `unmapped`: the current one is not mapped. */
static void stay_with_token(struct odf_region *region, bool unmapped)
{
	/* Its descendants are the token's, and those to come must be too. Also where unmapping failed: it may have
	 * been unmapped all the same. What is short now, mappings for one, may be there in a moment. */
	for (unsigned tries = 0; map_token(region, region->token, region->token_file) != 0; tries++) {
		if (!unmapped && region_is_mapped(region_token_page(region, region->token), REGION_PAGE))
			break;
		if (tries == REMAP_TRIES) {
			region->doubt = true; /* invariant 5: they will come without it */
			break;
		}
		region_pause_ms(1);
	}
	/* If the spare cannot be unmapped children inherit it, and another is made for the next question. */
	if (unmap_token(region, 1 - region->token) != 0) {
		sys_close(region->spare_file);
		region->spare_file = -1;
	}
}

int region_token_ask_older(struct odf_region *region)
{
	long sealed;

	if (region->older_file < 0)
		return 0;
	sealed = sys_call3(SYS_fcntl, region->older_file, F_ADD_SEALS, F_SEAL_WRITE);
	if (sealed < 0)
		return (int)-sealed;
	sys_close(region->older_file);
	region->older_file = -1;
	return 0;
}

int region_token_renew(struct odf_region *region)
{
	int error = region->older_file >= 0 ? EBUSY : make_spare(region);

	if (error != 0)
		return error;
	if (unmap_token(region, region->token) != 0) {
		char *page = region_token_page(region, region->token);
		if (region_is_mapped(page, REGION_PAGE)) {
			stay_with_token(region, false);
			return ENOMEM;
		}
		/* It is gone: a child that was made since has the spare one only. */
		region->doubt = region->doubt || !region_reserve_again(page, REGION_PAGE);
	}
	region->older_file = region->token_file;
	region->token_file = region->spare_file;
	region->token = 1 - region->token;
	region->spare_file = -1;
	return 0;
}

int region_token_ask(struct odf_region *region)
{
	int error = region_token_ask_older(region);
	bool unmapped;
	long sealed;

	if (error == 0)
		error = make_spare(region);
	if (error != 0)
		return error;
	/* Invariant 3: a raw clone by another thread between here and the verdict gets nothing; else it could have
	 * home without the token. */
	/* what was given up is as it is for children, and its new pages are nobody else's */
	error = region->left ? 0 : region_hide(region);
	if (error == 0)
		error = unmap_token(region, region->token);
	unmapped = error == 0;
	if (unmapped) {
		sealed = sys_call3(SYS_fcntl, region->token_file, F_ADD_SEALS, F_SEAL_WRITE);
		if (sealed == 0) {
			sys_close(region->token_file);
			region->token_file = region->spare_file;
			region->token = 1 - region->token;
			region->spare_file = -1;
			region->vacant = true;
			return 0;
		}
		error = (int)-sealed; /* EBUSY: somebody maps it */
	}
	stay_with_token(region, unmapped);
	/* Where a part is LIVE it stays hidden, and the next fork, which freezes that, shows it. */
	if (!region->left && region->live_length == 0 && region_show(region) != 0)
		region->visible = false; /* in part at least; the next fork shows it, or fails */
	return error;
}
