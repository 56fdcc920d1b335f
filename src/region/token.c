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

/* The page is never touched: F_SEAL_WRITE fails while a page is in use. It cannot be touched, as the mapping has no
 * rights: the file is empty, and a program that reads all mappings that are listed as readable would get SIGBUS. The
 * seal counts each mapping that could be made writable. */
static int map_token(struct odf_region *region, int slot, int file)
{
	char *page = region_token_page(region, slot);

	return region_map(page, REGION_PAGE, PROT_NONE, MAP_SHARED | MAP_FIXED, file, 0) == NULL ? ENOMEM : 0;
}

/* The address stays reserved. */
static int unmap_token(struct odf_region *region, int slot)
{
	char *page = region_token_page(region, slot);

	if (region_map(page, REGION_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
	    NULL)
		return ENOMEM;
	(void)sys_call3(SYS_madvise, page, REGION_PAGE, MADV_DONTFORK); /* only saves children a mapping */
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
		return ENOMEM; /* a part may be visible, and the token is */
	region->visible = true;
	region->vacant = false;
	return 0;
}

int region_hide(struct odf_region *region)
{
	region->visible = false; /* first, as a child that is made meanwhile must not believe that home is there */
	return region_advise(region, MADV_DONTFORK);
}

/* Maps the token of the next freeze, before the current one is unmapped. A child that a raw clone makes meanwhile may
 * get it: as long as that child lives, the test reports a descendant, which is late, never wrong. */
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

/* Children get the current token again, and not the spare one. `unmapped`: the current one is not mapped. */
static void stay_with_token(struct odf_region *region, bool unmapped)
{
	/* Present descendants have this token, and later ones must have it, too. Also if unmapping failed, as the page
	 * may be unmapped all the same. A shortage, of mappings for example, may be over in a moment. */
	for (unsigned tries = 0; map_token(region, region->token, region->token_file) != 0; tries++) {
		if (!unmapped && region_is_mapped(region_token_page(region, region->token), REGION_PAGE))
			break;
		if (tries == REMAP_TRIES) {
			region->doubt = true; /* invariant 5: later descendants will lack it */
			break;
		}
		region_pause_ms(1);
	}
	/* If the spare cannot be unmapped, children inherit it, and the next test makes another. */
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
		/* It is unmapped: a child that was made since then has the spare only. */
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
	/* Invariant 3: a child that another thread makes by a raw clone before the answer gets nothing; otherwise it
	 * could have home without the token. */
	/* memory that was given up stays visible to children, and its new pages are private */
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
		error = (int)-sealed; /* EBUSY: a process maps it */
	}
	stay_with_token(region, unmapped);
	/* If a part is LIVE, home stays hidden; the next fork freezes that part and shows home. */
	if (!region->left && region->live_length == 0 && region_show(region) != 0)
		region->visible = false; /* a part is still hidden; the next fork shows it, or fails */
	return error;
}
