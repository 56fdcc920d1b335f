# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# The Linux Test Project's tests of system calls for processes, signals and memory, in the tree where it was built. As a
# test's body runs in a forked child, each child's heap is awake as well where ODFORK_HEAP=on.
ltp_calls='alarm brk clone clone3 execl execle execlp execv execve execveat execvp exit exit_group fork getitimer
	getpgid getpgrp getpid getppid getrlimit getsid kill madvise memfd_create mincore mlock mlock2 mlockall
	mmap mprotect mremap mseal msync munlock munlockall munmap pause pidfd_open pidfd_send_signal
	pidfd_getfd prctl process_madvise process_vm_readv process_vm_writev remap_file_pages rt_sigaction
	rt_sigprocmask rt_sigqueueinfo rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sbrk setitimer setpgid
	setpgrp setrlimit setsid sigaction sigaltstack sighold signal signalfd signalfd4 sigpending sigprocmask
	sigrelse sigsuspend sigtimedwait sigwait sigwaitinfo tgkill tkill userfaultfd vfork vhangup wait wait4
	waitid waitpid'

prepare() {
	[ -d "${LTPROOT:-none}/testcases/kernel/syscalls" ] || { echo "LTPROOT names no built tree"; return 1; }
	packages_need gcc libc6-dev
	cc -shared -fPIC -O1 -o wake_children.so "$tests/peers/wake_children.c"
}

run() {
	which=$1
	shift
	[ "$which" != on ] || library="$library:$folder/wake_children.so"
	[ $# -gt 0 ] || for call in $ltp_calls; do
		for path in "$LTPROOT/testcases/kernel/syscalls/$call"/*; do
			[ -f "$path" ] && [ -x "$path" ] || continue
			case ${path##*/} in
			*.* | *_child* | *helper*) ;;
			*) set -- "$@" "$call/${path##*/}" ;;
			esac
		done
	done
	for name in "$@"; do
		echo "-- $name"
		path=$LTPROOT/testcases/kernel/syscalls/$name
		mkdir temporary && chmod 1777 temporary
		# Parts of tests that stress the machine are bounded by the time that they take.
		(cd temporary && TMPDIR=$PWD PATH=$PATH:${path%/*} LTP_RUNTIME_MUL=0.1 LTP_COLORIZE_OUTPUT=n \
			under "$which" timeout -k 10 120 "$path" < /dev/null) > said 2>&1
		status=$?
		cat said
		rm -rf temporary
		passed=$(grep -c TPASS: said) failed=$(grep -c TFAIL: said) broken=$(grep -c TBROK: said)
		echo "$name	$passed passed, $failed failed, $broken broken, status $status" >> results
	done
}
