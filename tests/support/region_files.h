/* SPDX-License-Identifier: MIT
 *
 * The files of regions, by what processes map and have open: which there are, and what is in them, shown by a process
 * or not. Needs the right to follow /proc/PID/map_files, which root has.
 */
#ifndef TESTS_REGION_FILES_H
#define TESTS_REGION_FILES_H

#include <dirent.h>

#include "preloaded.h"

#define REGION_FILES 128

struct region_files {
	struct {
		dev_t device;
		ino_t inode;
		size_t bytes;
	} file[REGION_FILES];
	size_t count;
};

static inline bool region_files_have(const struct region_files *files, dev_t device, ino_t inode)
{
	for (size_t i = 0; i < files->count; i++)
		if (files->file[i].device == device && files->file[i].inode == inode)
			return true;
	return false;
}

/* Adds what the links of /proc/PID/FOLDER lead to, each file once; if `among` is given, of those only. What has just
 * gone, and what may not be looked at, is left out. */
static inline void region_files_add(struct region_files *files, const char *process, const char *folder,
				    const struct region_files *among)
{
	char path[320], name[128];
	struct dirent *entry;
	struct stat status;
	DIR *links;

	snprintf(path, sizeof path, "/proc/%.16s/%.16s", process, folder);
	links = opendir(path);
	while (links != NULL && (entry = readdir(links)) != NULL) {
		ssize_t length;
		snprintf(path, sizeof path, "/proc/%.16s/%.16s/%s", process, folder, entry->d_name);
		length = readlink(path, name, sizeof name - 1);
		name[length < 0 ? 0 : length] = '\0';
		if (strstr(name, "odfork-region") == NULL || stat(path, &status) != 0 ||
		    region_files_have(files, status.st_dev, status.st_ino) || files->count == REGION_FILES ||
		    (among != NULL && !region_files_have(among, status.st_dev, status.st_ino)))
			continue;
		files->file[files->count].device = status.st_dev;
		files->file[files->count].inode = status.st_ino;
		files->file[files->count++].bytes = (size_t)status.st_blocks * 512;
	}
	if (links != NULL)
		closedir(links);
}

/* Those of `among` that any process still maps or has open, its keeper included. */
static inline struct region_files region_files_held(const struct region_files *among)
{
	struct region_files held = { .count = 0 };
	DIR *processes = opendir("/proc");
	struct dirent *entry;

	while (processes != NULL && (entry = readdir(processes)) != NULL) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		region_files_add(&held, entry->d_name, "map_files", among);
		region_files_add(&held, entry->d_name, "fd", among);
	}
	if (processes != NULL)
		closedir(processes);
	return held;
}

static inline size_t region_files_bytes(const struct region_files *files)
{
	size_t bytes = 0;

	for (size_t i = 0; i < files->count; i++)
		bytes += files->file[i].bytes;
	return bytes;
}

/* Nobody holds any of `among`: at once, but for a keeper that is just ending. */
static inline bool region_files_are_gone(const struct region_files *among)
{
	for (int tries = 0; tries < 2000; tries++) {
		if (region_files_held(among).count == 0)
			return true;
		wait_ms(10);
	}
	return false;
}

/* What the files that this process maps have. */
static inline size_t region_bytes_mapped(void)
{
	struct region_files files = { .count = 0 };

	region_files_add(&files, "self", "map_files", NULL);
	return region_files_bytes(&files);
}

/* What this process takes, with what is in a file and no process shows; in KiB. */
static inline long held_kib(void)
{
	long filed = (long)(region_bytes_mapped() / 1024);

	return kib("RssAnon:") + (filed > 0 ? filed : kib("RssShmem:"));
}
#endif
