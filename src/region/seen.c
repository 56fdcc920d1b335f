/* SPDX-License-Identifier: MIT
 * The fields of regions that another process may read (sys/seen.h). */
#include "../sys/seen.h"

#include "internal.h"

static const char version[] = ODF_VERSION;

SEEN_THE_VALUE(version, "version", version);
SEEN_THE_VALUE(regions, "regions", region_list);
SEEN_THE_MEMBER(next, "next", struct odf_region, next);
SEEN_THE_MEMBER(home, "home", struct odf_region, home);
SEEN_THE_MEMBER(length, "length", struct odf_region, length);
SEEN_THE_MEMBER(inherited, "inherited", struct odf_region, inherited);
SEEN_THE_MEMBER(visible, "frozen", struct odf_region, visible);
SEEN_THE_MEMBER(left, "given_up", struct odf_region, left);
SEEN_THE_MEMBER(left_reason, "given_up_reason", struct odf_region, left_reason);
SEEN_THE_MEMBER(live_length, "live_length", struct odf_region, live_length);
SEEN_THE_MEMBER(frozen_ns, "frozen_ns", struct odf_region, frozen_ns);
SEEN_THE_MEMBER(settled_ns, "settled_ns", struct odf_region, settled_ns);
SEEN_THE_MEMBER(freezes, "freezes", struct odf_region, counters.freezes);
SEEN_THE_MEMBER(settles, "settles", struct odf_region, counters.settles);
SEEN_THE_MEMBER(last_freeze, "last_freeze_ns", struct odf_region, counters.last_freeze_ns);
SEEN_THE_MEMBER(longest_pause, "longest_pause_ns", struct odf_region, counters.longest_pause_ns);
