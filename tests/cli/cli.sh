#!/bin/sh
# SPDX-License-Identifier: MIT
# odfork run: options, exit statuses, and its messages about programs that cannot be preloaded.
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

expect 125 "$odfork"
expect 125 "$odfork" nonsense
expect 125 "$odfork" run
expect 125 "$odfork" run --
expect 125 "$odfork" run --strategy=vfork -- true
expect 125 "$odfork" run --strategy
expect 125 "$odfork" run --stats= -- true
expect 125 "$odfork" run --nonsense -- true
expect 0 "$odfork" --help
expect 0 "$odfork" --version
expect 0 "$odfork" run --help
expect 0 "$odfork" probe -h
expect 125 "$odfork" run --strategy -- true
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
[ "$(grep -c 'odfork: .* fork: child' err)" -ge 1 ] || fail "a fork logged, but: $(cat err)"
expect 0 "$odfork" run --strategy=kernel --stats "$work/kernel" -- sh -c '(exit 0); exit 0'
[ -e /proc/self/use_odf ] || grep -q '"strategy":"fork".*"reason":"kernel: kernel_not_offered, region: not_allowed"' \
	"$work/kernel" ||
	fail "the kernel strategy by name: $(cat "$work/kernel")"
expect 0 "$odfork" run --strategy=fork --stats "$work/fork" -- sh -c '(exit 0); exit 0'
grep -q '"strategy":"fork".*"reason":"kernel: not_allowed, region: not_allowed"' "$work/fork" ||
	fail "fork by name: $(cat "$work/fork")"

# Help and the version, asked for in any of the usual ways and places.
for asked in "--help" "-h" "help" "help run" "help spawn" "help probe" "run --help" "run -h" \
	"run --log --strategy region -h" "probe --json --help"; do
	# shellcheck disable=SC2086
	expect 0 "$odfork" $asked
	grep -q "^  odfork ${asked#help } \|^  odfork ${asked%% *} \|^  odfork run " "$work/out" ||
		fail "odfork $asked: $(cat "$work/out")"
	[ ! -s "$work/err" ] || fail "odfork $asked: $(cat "$work/err")"
done
for asked in "--version" "-V" "version" "run -V" "run --log --version" "probe -V"; do
	# shellcheck disable=SC2086
	expect 0 "$odfork" $asked
	grep -qx 'odfork [0-9.]*' "$work/out" || fail "odfork $asked: $(cat "$work/out")"
done
expect 0 "$odfork" run -- printf %s --help
[ "$(cat "$work/out")" = --help ] || fail "an option of the command's: $(cat "$work/out")"
expect 125 "$odfork" help nonsense

# The file of records is opened at the start.
expect 125 "$odfork" run --stats="$work/no/such/folder" -- true
grep -qx "odfork: run: cannot write records to $work/no/such/folder: No such file or directory" "$work/err" ||
	fail "--stats: $(cat "$work/err")"
expect 125 "$odfork" run --stats="$work" -- true
mkfifo "$work/fifo"
expect 0 timeout 120 "$odfork" run --stats="$work/fifo" -- true
grep -q "nobody reads $work/fifo" "$work/err" || fail "--stats of a FIFO: $(cat "$work/err")"

# As another user, with the descriptor handed in where there is one.
for user in odfork-no-such-user 4294967295 -1 12345678901 "" nobody1 12x; do
	expect 125 "$odfork" run "--user=$user" -- true
	grep -qx "odfork: run: no such user: $user" "$work/err" || fail "--user=$user: $(cat "$work/err")"
done
for group in odfork-no-such-group 4294967295 ""; do
	expect 125 "$odfork" run "--user=nobody:$group" -- true
	grep -qx "odfork: run: no such group: $group" "$work/err" || fail "--user=nobody:$group: $(cat "$work/err")"
done
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$work"
	is() { # USER UID GID GROUPS
		expect 0 setpriv --groups 3,4 "$odfork" run "--user=$1" -- sh -c \
			'id -u; id -g; id -G; grep ^[UG]id: /proc/self/status'
		[ "$(sed -n 1,3p "$work/out" | tr '\n' ' ')" = "$2 $3 $4 " ] ||
			fail "run --user=$1 is $(cat "$work/out")"
		[ "$(sed -n 's/^[UG]id:\t//p' "$work/out" | tr '\t' '\n' | sort -u | wc -l)" -le 2 ] ||
			fail "run --user=$1 keeps something: $(cat "$work/out")"
	}
	nobody=$(id -u nobody) its=$(id -g nobody)
	is nobody "$nobody" "$its" "$(id -G nobody)"
	is "$nobody" "$nobody" "$its" "$(id -G nobody)"
	is nobody:1 "$nobody" 1 1
	is "$nobody:daemon" "$nobody" "$(id -g daemon)" "$(id -g daemon)"
	is 54321 54321 54321 54321 # nobody's number
	is 54321:1 54321 1 1
	# Where the build lies another user may not be able to come.
	cp "$odfork" "$work/odfork" && cp -L "$build/libodfork.so.0" "$work/" && chmod 755 "$work"
	expect 125 "$work/odfork" run --user=nobody -- "$work/odfork" run --user=0 -- true
	grep -q 'cannot become user 0: Operation not permitted; root may' "$work/err" ||
		fail "--user without the right: $(cat "$work/err")"
	expect 0 "$work/odfork" run --user=nobody -- sh -c \
		'echo "${ODFORK_UFFD_FD-none}"; readlink "/proc/$$/fd/$ODFORK_UFFD_FD" || :'
	if (exec 9<> /dev/userfaultfd) 2> /dev/null; then
		[ "$(sed -n 2p "$work/out")" = /dev/userfaultfd ] ||
			fail "no /dev/userfaultfd handed in: $(cat "$work/out")"
	fi
fi

# With SIGCHLD ignored the command still learns what it asks for, and the program finds SIGCHLD ignored.
expect 0 env --ignore-signal=CHLD "$odfork" run --log -- sed -n 's/^SigIgn:.*\([0-9a-f]\{5\}\)$/\1/p' /proc/self/status
grep -q "its malloc is libc's" "$work/err" || fail "SIGCHLD ignored: $(cat "$work/err")"
[ $((0x$(cat "$work/out") & 0x10000)) -ne 0 ] || fail "the program finds SIGCHLD not ignored: $(cat "$work/out")"

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
