/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../sys/structure.h"
#include "capability.h"
#include "kernel.h"

int odf_capabilities_get(odf_capabilities *capabilities)
{
	odf_capabilities found = ODF_CAPABILITIES_INIT;
	struct utsname name;
	int saved = errno, error;

	if (capabilities == NULL)
		return EINVAL;
	error = structure_check_output(capabilities, STRUCTURE_UP_TO(odf_capabilities, reserved));
	if (error != 0)
		return error;
	for (odf_probe probe = 0; probe < ODF_PROBE_COUNT; probe++)
		capability(probe);
	(void)kernel_ask(false); /* a kernel that cannot be tried is not verified */
	found.kernel_interface = kernel_interface();
	found.strategy[ODF_STRATEGY_KERNEL] = kernel_offer_reason();
	if (found.strategy[ODF_STRATEGY_KERNEL] == ODF_REASON_NONE)
		found.strategy[ODF_STRATEGY_KERNEL] = kernel_doubt();
	found.strategy[ODF_STRATEGY_REGION] = capability_region_reason();
	found.strategy[ODF_STRATEGY_VFORK] = capability_clone_vm_reason();
	found.strategy[ODF_STRATEGY_POSIX_SPAWN] = capability_clone_vm_reason();
	found.strategy[ODF_STRATEGY_POOL] = capability_clone_vm_reason();
	found.uffd_kernel_faults = capability_known(ODF_PROBE_UFFD_KERNEL);
	if (found.uffd_kernel_faults != ODF_ANSWER_YES)
		found.uffd_kernel_faults = capability_known(ODF_PROBE_UFFD_DEVICE);
	found.page_size = (size_t)sysconf(_SC_PAGESIZE);
	if (uname(&name) == 0) {
		size_t length = strnlen(name.release, sizeof found.kernel_release - 1);
		memcpy(found.kernel_release, name.release, length);
	}
	structure_write(capabilities, &found, sizeof found);
	errno = saved;
	return 0;
}

const char *odf_version(void)
{
	return ODF_VERSION;
}
