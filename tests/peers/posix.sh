# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# The Open POSIX suite of the Linux Test Project, in the tree where it was built: processes, signals, threads, memory,
# queues and semaphores. Four at a time, as most of them wait.
posix_interfaces='fork kill killpg mlock mlockall mmap munlock munlockall munmap mq_* pthread_atfork pthread_cancel
	pthread_cleanup_* pthread_cond_* pthread_create pthread_detach pthread_exit pthread_getspecific pthread_join
	pthread_key_* pthread_kill pthread_mutex_* pthread_once pthread_rwlock_* pthread_self pthread_sigmask raise
	sem_* shm_* sig* aio_* lio_listio alarm timer_* nanosleep'

prepare() {
	[ -n "${LTPROOT:-}" ] && [ -d "$LTPROOT/testcases/open_posix_testsuite/conformance/interfaces" ] || {
		echo "LTPROOT names no built tree"
		return 1
	}
}

run() {
	which=$1
	shift
	suite=$LTPROOT/testcases/open_posix_testsuite/conformance/interfaces
	# shellcheck disable=SC2086 # patterns
	[ $# -gt 0 ] || set -- $(cd "$suite" && for call in $posix_interfaces; do echo $call/*.run-test; done)
	[ "$which" = plain ] || [ "$which" = plain-again ] || export WITH_LIBRARY="$library" WITH_HEAP="$which"
	# shellcheck disable=SC2016
	printf '%s\n' "$@" | xargs -P 4 -I '{}' sh -c '[ -x "$0/{}" ] || exit 0
		place=$(mktemp -d) && cd "$place" || exit 0
		if [ -n "${WITH_LIBRARY:-}" ]; then
			export LD_PRELOAD="$WITH_LIBRARY" ODFORK_HEAP="$WITH_HEAP"
			timeout -k 10 120 "$0/{}" < /dev/null > /dev/null 2>&1
		else
			timeout -k 10 120 "$0/{}" < /dev/null > /dev/null 2>&1
		fi
		printf "%s\t%s\n" "{}" "status $?"
		rm -rf "$place"' "$suite" > results
	unset WITH_LIBRARY WITH_HEAP
}
