# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# stress-ng's stressors of processes, signals, virtual memory and mappings, each for two seconds, with what it verifies.
# Left out are those that take all of the machine's memory or processes (bigheap, forkheavy, oom-pipe, stack).
stressors='fork vfork vforkmany clone daemon exec zombie kill pidfd session sigabrt sigchld sigfd sigio signal
	sigpending sigq sigrt sigsegv sigsuspend sigtrap switch pthread pipe context
	vm vm-addr vm-rw vm-segv vm-splice brk malloc madvise memfd mincore mlock mlockmany mmap mmapaddr mmapfixed
	mmapfork mmaphuge mmapmany mprotect mremap msync msyncmany munmap pageswap physpage pkey remap rmap shm
	shm-sysv stackmmap sysinval userfaultfd mergesort'

prepare() {
	packages_need stress-ng
}

run() {
	which=$1
	shift
	for stressor in ${*:-$stressors}; do
		echo "-- $stressor"
		under "$which" timeout -k 10 60 stress-ng --temp-path "$PWD" --timeout 2 --verify --oomable \
			--vm-bytes 48M --malloc-bytes 48M --mmap-bytes 48M --mremap-bytes 16M \
			"--$stressor" 1 < /dev/null
		echo "$stressor	status $?" >> results
	done
}
