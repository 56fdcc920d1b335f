#!/bin/sh
# SPDX-License-Identifier: MIT
# odfork run: options, exit statuses, what it says of programs that cannot be preloaded.
set -eu
PATH=/usr/bin:/bin # the caller's may have directories that are closed to us, which changes errors
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }
odfork=$build/odfork

status_of() {
	set +e
	"$@" > "$work/out" 2> "$work/err"
	status=$?
	set -e
}
expect() { # STATUS COMMAND...
	wanted=$1
	shift
	status_of "$@"
	[ "$status" = "$wanted" ] || fail "$*: status $status, expected $wanted: $(cat "$work/err")"
}

expect 2 "$odfork"
expect 2 "$odfork" nonsense
expect 2 "$odfork" run
expect 2 "$odfork" run --
expect 2 "$odfork" run --strategy=vfork -- true
expect 2 "$odfork" run --strategy
expect 2 "$odfork" run --stats= -- true
expect 2 "$odfork" run --nonsense -- true
expect 0 "$odfork" --help
expect 0 "$odfork" --version
expect 0 "$odfork" run --help
expect 0 "$odfork" probe -h
expect 2 "$odfork" run --strategy -- true
expect 0 "$odfork" run true
expect 1 "$odfork" run -- false
expect 42 "$odfork" run -- sh -c 'exit 42'
expect 127 "$odfork" run -- odfork-no-such-program
expect 126 "$odfork" run -- /etc/passwd
expect 137 sh -c "'$odfork' run -- sh -c 'kill -9 \$\$'"

# A subshell is a fork.
cd "$work"
expect 0 "$odfork" run --stats=relative --log -- sh -c 'cd /; (exit 0); (exit 0)'
[ "$(grep -c '"call":"fork"' relative)" = 2 ] || fail "two forks, but: $(cat relative)"
[ "$(grep -c 'odfork: .* fork: child' err)" = 2 ] || fail "two forks logged, but: $(cat err)"
expect 0 "$odfork" run --strategy=kernel --stats "$work/kernel" -- sh -c '(exit 0); exit 0'
[ -e /proc/self/use_odf ] || grep -q '"strategy":"fork".*"reason":"kernel: kernel_not_offered, region: not_allowed"' "$work/kernel" ||
	fail "the kernel strategy by name: $(cat "$work/kernel")"
expect 0 "$odfork" run --strategy=fork --stats "$work/fork" -- sh -c '(exit 0); exit 0'
grep -q '"strategy":"fork".*"reason":"kernel: not_allowed, region: not_allowed"' "$work/fork" || fail "fork by name: $(cat "$work/fork")"

# As another user, with the descriptor handed in where there is one.
expect 1 "$odfork" run --user=odfork-no-such-user -- true
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$work"
	expect 0 "$odfork" run --user=nobody -- id -un
	[ "$(cat "$work/out")" = nobody ] || fail "run --user=nobody is $(cat "$work/out")"
	expect 0 "$odfork" run --user=nobody -- sh -c 'echo "${ODFORK_UFFD_FD-none}"; readlink "/proc/$$/fd/$ODFORK_UFFD_FD" || :'
	if (exec 9<> /dev/userfaultfd) 2> /dev/null; then
		[ "$(sed -n 2p "$work/out")" = /dev/userfaultfd ] || fail "no /dev/userfaultfd handed in: $(cat "$work/out")"
	fi
fi

# Other preloaded libraries stay, in front.
expect 0 env LD_PRELOAD=libm.so.6 "$odfork" run -- sh -c 'echo "$LD_PRELOAD"'
case $(cat "$work/out") in
libm.so.6:*libodfork.so.0) ;;
*) fail "LD_PRELOAD became $(cat "$work/out")" ;;
esac
expect 0 env LD_PRELOAD=libm.so.6 "$odfork" run --no-follow -- sh -c 'echo "$LD_PRELOAD"'
[ "$(cat "$work/out")" = libm.so.6 ] || fail "with --no-follow LD_PRELOAD is $(cat "$work/out")"

# A static program runs, and is said to be one.
expect 23 "$odfork" run --log -- "$build/tests/exits"
grep -q 'statically linked' "$work/err" || fail "nothing said of a static program: $(cat "$work/err")"
expect 23 "$odfork" run -- "$build/tests/exits"
[ ! -s "$work/err" ] || fail "not quiet without --log: $(cat "$work/err")"
