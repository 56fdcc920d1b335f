/* SPDX-License-Identifier: MIT
 * A process for odfork inspect to look at. Its arguments say what it sets up. It prints "ready" and the descriptors or
 * processes that it made, and waits for the end of standard input. */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef AF_ALG
#define AF_ALG 38
#endif

/* Names by which an allocator that is linked into a program is known. */
#ifdef ALLOCATOR_FUNCTION
extern void ALLOCATOR_FUNCTION(void);
void ALLOCATOR_FUNCTION(void)
{
	puts("");
}
#endif

static char *map(size_t size, int flags)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		exit(77);
	return memory;
}

static char *touched(size_t mebibytes, int flags, int advice)
{
	size_t size = mebibytes << 20, huge = (size_t)2 << 20;
	char *memory = map(size + huge, flags);

	munmap(memory, huge - (size_t)memory % huge);
	memory += huge - (size_t)memory % huge;
	if (advice >= 0 && madvise(memory, size, advice) != 0)
		exit(77);
	memset(memory, 1, size);
	return memory;
}

static void sandbox(void)
{
	struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { 1, allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		exit(77);
}

static void limit(int resource, rlim_t value)
{
	if (setrlimit(resource, &(struct rlimit){ value, value }) != 0)
		exit(77);
}

/* COUNT children, one after the other, each for some time; as processes that fork makes, or programs. */
static void make_children(int count, int spawned)
{
	char *argv[] = { (char[]){ "sleep" }, (char[]){ "0.05" }, NULL };

	for (int i = 0; i < count; i++) {
		pid_t pid = -1;
		if (spawned) {
			if (posix_spawn(&pid, "/bin/sleep", NULL, NULL, argv, environ) != 0)
				exit(77);
		} else if ((pid = fork()) == 0) {
			usleep(50000);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			exit(78);
	}
}

static void obey(const char *word, const char *argument)
{
	int number = argument == NULL ? 0 : atoi(argument);

	if (strcmp(word, "private") == 0)
		touched((size_t)number, MAP_PRIVATE, MADV_NOHUGEPAGE);
	else if (strcmp(word, "shared") == 0)
		touched((size_t)number, MAP_SHARED, -1);
	else if (strcmp(word, "huge") == 0)
		touched((size_t)number, MAP_PRIVATE, MADV_HUGEPAGE);
	else if (strcmp(word, "dontfork") == 0)
		madvise(touched((size_t)number, MAP_PRIVATE, MADV_NOHUGEPAGE), (size_t)number << 20, MADV_DONTFORK);
	else if (strcmp(word, "untouched") == 0)
		map((size_t)number << 20, MAP_PRIVATE | MAP_NORESERVE);
	else if (strcmp(word, "pieces") == 0)
		for (char *memory = map((size_t)number * 8192, MAP_PRIVATE); number > 0; memory += 8192, number--) {
			memory[0] = 1;
			mprotect(memory + 4096, 4096, PROT_NONE);
		}
	else if (strcmp(word, "open") == 0 || strcmp(word, "direct") == 0) {
		if (open(argument, O_RDWR | O_CREAT | (word[0] == 'd' ? O_DIRECT : 0), 0600) < 0)
			exit(77);
	} else if (strcmp(word, "userfault") == 0) {
		if (syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY) < 0)
			exit(77);
	} else if (strcmp(word, "alg") == 0) {
		if (socket(AF_ALG, SOCK_SEQPACKET, 0) < 0)
			exit(77);
	} else if (strcmp(word, "sandbox") == 0) {
		sandbox();
	} else if (strcmp(word, "lock") == 0) {
		if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
			exit(77);
	} else if (strcmp(word, "data") == 0) {
		limit(RLIMIT_DATA, (rlim_t)number << 20);
	} else if (strcmp(word, "fsize") == 0) {
		limit(RLIMIT_FSIZE, (rlim_t)number << 20);
	} else if (strcmp(word, "undumpable") == 0) {
		prctl(PR_SET_DUMPABLE, 0);
	} else if (strcmp(word, "hold") == 0) {
		pid_t pid = fork();
		if (pid == 0) { /* not beyond a test that fails */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pause();
			_exit(0);
		}
		printf("%d ", (int)pid);
	} else {
		exit(79);
	}
}

int main(int argc, char **argv)
{
	char line[64];
	int count;

	for (int i = 1; i < argc; i++) {
		char *argument = strchr(argv[i], '=');
		if (argument != NULL)
			*argument++ = '\0';
		obey(argv[i], argument);
	}
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin) != NULL) {
		if (sscanf(line, "forks %d", &count) == 1)
			make_children(count, 0);
		else if (sscanf(line, "spawns %d", &count) == 1)
			make_children(count, 1);
		else if (sscanf(line, "kill %d", &count) == 1 &&
			 (kill(count, SIGKILL) != 0 || waitpid(count, NULL, 0) != count))
			return 80;
		printf("done\n");
		fflush(stdout);
	}
	return 0;
}
