/* SPDX-License-Identifier: MIT */
#include "full_gain.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "json.h"

#define DEVICE "/dev/userfaultfd"
/* From newer headers. */
#define USER_MODE_ONLY 1
#define MISSING_SHMEM  (1u << 5)
#define MINOR_SHMEM    (1u << 10)

/* Whether the kernel has what is needed, apart from permissions: a userfaultfd for user-mode faults needs no privilege
 * (Linux 5.11), so if that is refused, it is by a filter. 0, or an errno value. */
static int ask_kernel(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = MISSING_SHMEM | MINOR_SHMEM };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY), error;

	if (fd < 0)
		return errno;
	error = ioctl(fd, UFFDIO_API, &api) == 0 ? 0 : EINVAL;
	close(fd);
	return error;
}

/* The group to which a udev rule gave the device. */
static const char *group_of(const struct stat *device)
{
	const struct group *group = device->st_gid == 0 || (device->st_mode & 060) != 060 ? NULL
											  : getgrgid(device->st_gid);

	return group == NULL ? NULL : group->gr_name;
}

static void open_device(struct full_gain *gain)
{
	const struct passwd *user = getpwuid(geteuid());
	struct stat device;
	const char *group;
	char name[40];
	int fd;

	if (stat(DEVICE, &device) != 0 || !S_ISCHR(device.st_mode))
		return;
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	/* refused not by the file mode but by a device cgroup, for example: setfacl would not help */
	if (fd >= 0 || errno != EACCES) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (user != NULL)
		snprintf(name, sizeof name, "%.32s", user->pw_name);
	else
		snprintf(name, sizeof name, "%u", (unsigned)geteuid());
	group = group_of(&device);
	gain->log_in_again = group != NULL && user != NULL;
	if (gain->log_in_again)
		snprintf(gain->by_device, sizeof gain->by_device, "usermod -a -G %.32s %s", group, name);
	else if (access("/usr/bin/setfacl", X_OK) == 0 || access("/bin/setfacl", X_OK) == 0)
		snprintf(gain->by_device, sizeof gain->by_device, "setfacl -m u:%s:rw " DEVICE, name);
	else
		snprintf(gain->by_device, sizeof gain->by_device, "chown %s " DEVICE, name);
}

struct full_gain full_gain_ask(const odf_capabilities *capabilities)
{
	struct full_gain gain = { .closed = false };
	int error;

	/* Nothing is missing, or what is missing is not a permission. */
	if (capabilities->strategy[ODF_STRATEGY_KERNEL] == ODF_REASON_NONE ||
	    capabilities->strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE ||
	    odf_probe_get(ODF_PROBE_UFFD_MINOR, NULL) != ODF_ANSWER_NO ||
	    odf_probe_get(ODF_PROBE_PAGEMAP, NULL) != ODF_ANSWER_YES)
		return gain;
	error = ask_kernel();
	if (error == EINVAL) /* an older kernel */
		return gain;
	open_device(&gain);
	if (error == 0)
		snprintf(gain.by_setting, sizeof gain.by_setting, "sysctl -w vm.unprivileged_userfaultfd=1");
	/* A filter refuses the call; or the kernel lacks it, and then it lacks the device too. */
	gain.closed = error != ENOSYS || gain.by_device[0] != '\0';
	return gain;
}

void full_gain_print(const struct full_gain *gain)
{
	if (!gain->closed)
		return;
	printf("\nclosed here: userfaultfd, "
	       "without which the regions of programs with threads do not settle while they run.\n");
	if (gain->by_device[0] == '\0' && gain->by_setting[0] == '\0') {
		printf("A filter refuses the call: give the container " DEVICE " (--device=" DEVICE
		       "), or hand in a descriptor of it.\n");
		return;
	}
	printf("Root opens it (man 7 odfork, OPERATORS, says how it stays so):\n");
	if (gain->by_device[0] != '\0')
		printf("    %s\n        to this user%s\n", gain->by_device,
		       gain->log_in_again ? ", who then logs in again" : "");
	if (gain->by_setting[0] != '\0')
		printf("    %s\n        to every user\n", gain->by_setting);
}

void full_gain_print_json(const struct full_gain *gain)
{
	printf(",\"full_gain\":{\"closed\":%s,\"by_device\":", gain->closed ? "true" : "false");
	json_print_string(gain->by_device[0] == '\0' ? NULL : gain->by_device);
	printf(",\"by_setting\":");
	json_print_string(gain->by_setting[0] == '\0' ? NULL : gain->by_setting);
	printf("}");
}
