#!/bin/sh
# SPDX-License-Identifier: MIT
# The library's environment variables: ODFORK_FOLLOW, ODFORK_STATS, ODFORK_LOG; wrong values; standard error that is
# closed or is another file; set-user-id programs.
# shellcheck disable=SC2015,SC2016 # A && B || fail is meant so; what is in single quotes is for an executed shell
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
needs "${CC%% *}"
[ -z "${LD_PRELOAD:-}" ] || skip "LD_PRELOAD is in use"

# A program that does what its arguments say: fork; chdir DIRECTORY; close NUMBER; open FILE; write NUMBER TEXT; maps;
# secure; limit DESCRIPTORS; spawn PROGRAM...; exec PROGRAM...
cat >doer.c <<'END'
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int mapped(const char *name)
{
	static char line[10000];
	FILE *maps = fopen("/proc/self/maps", "r");
	int found = 0;

	while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
		found |= strstr(line, name) != NULL;
	if (maps != NULL)
		fclose(maps);
	return found;
}

static int wait_for(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 999;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "fork") == 0) {
			pid_t pid = fork();
			if (pid == 0)
				_exit(7);
			printf("fork %d\n", wait_for(pid));
		} else if (strcmp(argv[i], "chdir") == 0) {
			printf("chdir %d\n", chdir(argv[++i]));
		} else if (strcmp(argv[i], "close") == 0) {
			printf("close %d\n", close(atoi(argv[++i])));
		} else if (strcmp(argv[i], "open") == 0) {
			printf("open %d\n", open(argv[++i], O_WRONLY | O_CREAT | O_APPEND, 0666));
		} else if (strcmp(argv[i], "write") == 0) {
			size_t length = strlen(argv[i + 2]);
			printf("write %d\n", write(atoi(argv[i + 1]), argv[i + 2], length) == (ssize_t)length);
			i += 2;
		} else if (strcmp(argv[i], "maps") == 0) {
			printf("libodfork %d, other %d\n", mapped("/libodfork.so"), mapped("/libharmless.so"));
		} else if (strcmp(argv[i], "limit") == 0) {
			rlim_t value = (rlim_t)atoi(argv[++i]);
			struct rlimit limit = { value, value };
			printf("limit %d\n", setrlimit(RLIMIT_NOFILE, &limit));
		} else if (strcmp(argv[i], "secure") == 0) {
			printf("secure %lu\n", getauxval(AT_SECURE));
		} else if (strcmp(argv[i], "spawn") == 0) {
			pid_t pid;
			fflush(stdout);
			if (posix_spawnp(&pid, argv[i + 1], NULL, NULL, argv + i + 1, environ) != 0)
				return 99;
			printf("spawn %d\n", wait_for(pid));
			break;
		} else if (strcmp(argv[i], "exec") == 0) {
			fflush(stdout);
			execvp(argv[i + 1], argv + i + 1);
			return 98;
		} else {
			return 97;
		}
	}
	return fflush(stdout) == 0 ? 0 : 96;
}
END
compile doer doer.c
echo 'int harmless;' >harmless.c
compile libharmless.so harmless.c -shared -fPIC
mkdir libraries directory
cp -P "$ODF_BUILD"/libodfork.so* libraries/ 2>/dev/null
rm -rf libraries/*.p
harmless=$temporary/libharmless.so

# must_say WHAT RIGHT: compares the files out and err with what they must have.
must_say()
{
	printf '%s' "${2:+$2
}" >right
	name=$1
	must_be_same "output" right out
	[ ! -s err ] || fail "$1: on standard error: $(cat err)"
}

# lines FILE COUNT
lines()
{
	found=0
	[ ! -f "$1" ] || found=$(wc -l <"$1")
	[ "$found" -eq "$2" ] || fail "${name:-}: $found records in $1, not $2: $(cat "$1")"
	rm -f "$1"
}

# ---- Who is followed ----

"$odfork" run --stats records -- ./doer fork maps exec ./doer fork maps spawn ./doer fork maps >out 2>err
must_say "followed" 'fork 7
libodfork 1, other 0
fork 7
libodfork 1, other 0
fork 7
libodfork 1, other 0
spawn 0'
must_have_records posix_spawnp 1 records
lines records 4

for way in "$odfork run --no-follow --stats records --" \
	"env LD_PRELOAD=$library ODFORK_FOLLOW=0 ODFORK_STATS=$temporary/records"; do
	$way ./doer fork maps exec ./doer fork maps spawn ./doer fork maps >out 2>err
	must_say "not followed past exec" 'fork 7
libodfork 1, other 0
fork 7
libodfork 0, other 0
fork 7
libodfork 0, other 0
spawn 0'
	lines records 1
	$way ./doer fork maps spawn ./doer fork maps >out 2>err
	must_say "not followed past spawn" 'fork 7
libodfork 1, other 0
fork 7
libodfork 0, other 0
spawn 0'
	must_have_records posix_spawnp 1 records
	lines records 2
	$way sh -c '(:); (./doer fork maps; env | grep "^LD_PRELOAD"); echo $?; (exit 3) | cat' >out 2>err
	must_say "not followed past a shell" 'fork 7
libodfork 0, other 0
1'
	grep -q '"call":"fork"' records || fail "the shell itself was not preloaded"
	rm records
done

# Our entries, as glibc's loader alone understands them.
for_all_loaders()
{
	printf '%s\n' "$1" | sed -E 's#(^|[ :])(/[^ :]*/libodfork\.so\.0)#\1/$LIB/../../../../../../../..\2#g' |
		sed -E "s#(^|[ :])(libodfork\\.so\\.0)#\\1/\$LIB/../../../../../../../..$temporary/libraries/\\2#g"
}

# The value of LD_PRELOAD that an executed program finds: follow VALUE, then with ODFORK_FOLLOW=0 RIGHT ("unset" for
# none).
executed_finds()
{
	name="LD_PRELOAD=$1"
	LD_PRELOAD=$1 ODFORK_STATS=$temporary/records LD_LIBRARY_PATH=$temporary/libraries ./doer fork exec sh -c \
		'echo "${LD_PRELOAD-unset}"' \
		>out 2>err || fail "$name: status $?"
	must_say "$name, followed" "fork 7
$(for_all_loaders "$1")"
	must_have_records fork 1 records
	rm records
	LD_PRELOAD=$1 ODFORK_FOLLOW=0 ODFORK_STATS=$temporary/records LD_LIBRARY_PATH=$temporary/libraries \
		./doer fork maps exec sh -c 'echo "${LD_PRELOAD-unset}"; ./doer fork maps' >out 2>err ||
		fail "$name: status $?"
	case $1 in
	*harmless*) other=1 ;;
	*) other=0 ;;
	esac
	must_say "$name, not followed" "fork 7
libodfork 1, other $other
$2
fork 7
libodfork 0, other $other"
	lines records 1
}
executed_finds "$library" unset
executed_finds "$library:$harmless" "$harmless"
executed_finds "$harmless:$library" "$harmless"
executed_finds "$library $harmless" "$harmless"
executed_finds "$harmless $library" "$harmless"
executed_finds " $harmless : $library :" "$harmless"
executed_finds "$library:$harmless:$library" "$harmless"
executed_finds "$library:$library" unset
executed_finds "libodfork.so.0" unset
executed_finds "$harmless:libodfork.so.0" "$harmless"
executed_finds "$temporary/libraries/libodfork.so.0" unset
executed_finds "$harmless:$temporary/./libharmless.so:$library" "$harmless:$temporary/./libharmless.so"

# Nothing else in the environment is touched.
env ODFORK_FOLLOW=0 LD_PRELOAD="$library" env | sort | grep -v '^_=' >with
env ODFORK_FOLLOW=0 env | sort | grep -v '^_=' >without
name=environment
must_be_same "environment" without with
env -i A=1 LD_PRELOAD="$library" B=2 ODFORK_FOLLOW=0 C=3 "$(command -v env)" >out
printf 'A=1\nB=2\nODFORK_FOLLOW=0\nC=3\n' >right
must_be_same "environment" right out
LD_PRELOAD=$harmless "$odfork" run -- ./doer maps exec sh -c 'echo "$LD_PRELOAD"' >out 2>err
must_say "run, with LD_PRELOAD" "libodfork 1, other 1
$(for_all_loaders "$harmless:$library")"
LD_PRELOAD=$harmless "$odfork" run --no-follow -- ./doer maps exec sh -c 'echo "$LD_PRELOAD"' >out 2>err
must_say "run --no-follow, with LD_PRELOAD" "libodfork 1, other 1
$harmless"

# ---- ODFORK_STATS ----

export LD_PRELOAD="$library"
ODFORK_STATS=relative ./doer chdir directory fork chdir / fork >out 2>err
must_say "relative path" 'chdir 0
fork 7
chdir 0
fork 7'
lines relative 2
[ -z "$(ls directory)" ] || fail "relative path: a file in the directory that the program changed to"
unset LD_PRELOAD
(cd directory && "$odfork" run --stats=relative -- ../doer chdir / exec "$temporary/doer" fork >../out 2>../err)
must_say "run, relative path" 'chdir 0
fork 7'
lines directory/relative 1
export LD_PRELOAD="$library"

ODFORK_STATS=$temporary/nowhere/records ./doer fork fork fork >out 2>err
mv err complaint
: >err
must_say "no such directory" 'fork 7
fork 7
fork 7'
printf 'odfork: records are lost, cannot write %s: ENOENT (2), there is no such folder\n' "$temporary/nowhere/records" \
	>right
must_be_same "message" right complaint
for bad in "$temporary/directory" "$temporary/doer/records"; do
	ODFORK_STATS=$bad ./doer fork fork >out 2>err
	[ "$(wc -l <err)" -eq 1 ] && grep -q "^odfork: .* $bad: E" err || fail "stats in $bad: $(cat err)"
done
ODFORK_STATS=/dev/full ./doer fork fork >out 2>err
[ "$(wc -l <err)" -eq 1 ] && grep -q '^odfork: .* /dev/full: ENOSPC (28), the disk is full$' err ||
	fail "stats in /dev/full: $(cat err)"
ODFORK_STATS=$temporary/records ./doer limit 3 fork fork >out 2>err
[ "$(wc -l <err)" -eq 1 ] && grep -q '^odfork: .*/records: EMFILE (24), no descriptor is free: raise RLIMIT_NOFILE$' \
	err || fail "no descriptor left: $(cat err)"
: >err
must_say "no descriptor left" 'limit 0
fork 7
fork 7'
rm -f records

# ---- Values that are wrong ----

ODFORK_STRATEGY=bogus ODFORK_LOG=2 ODFORK_FOLLOW=maybe ODFORK_STATS='' ODFORK_UNKNOWN=1 ./doer fork fork exec sh -c \
	'exit 9' >out 2>err
status=$?
[ $status -eq 9 ] || fail "wrong values: status $status"
sort err | uniq -c | sed 's/^ *//' >complaint
printf '2 odfork: %s\n' 'value not understood, ignored: ODFORK_FOLLOW=maybe' \
	'value not understood, ignored: ODFORK_LOG=2' \
	'value not understood, ignored: ODFORK_STATS=' 'value not understood, ignored: ODFORK_STRATEGY=bogus' \
	'variable not known, ignored: ODFORK_UNKNOWN=1' >right # twice: doer and the shell that it becomes
name="wrong values"
must_be_same "messages" right complaint
: >err
must_say "wrong values" 'fork 7
fork 7'
long=$(head -c 5000 /dev/zero | tr '\0' x)
env ODFORK_STRATEGY="$long" "ODFORK_$long=1" ODFORK_STATS="$temporary/$long" ODFORK_LOG= ./doer fork >out 2>err
[ "$(grep -c '^odfork: ' err)" -eq 4 ] && [ "$(wc -l <err)" -eq 4 ] || fail "long values: $(cut -c 1-100 err)"
for strategy in auto fork kernel region; do
	ODFORK_STRATEGY=$strategy ./doer fork >out 2>err
	must_say "strategy $strategy" 'fork 7'
done

# ---- ODFORK_LOG and standard error ----

ODFORK_LOG=1 ./doer fork spawn true >out 2>err
[ "$(wc -l <err)" -eq 2 ] || fail "log: not two lines: $(cat err)"
sed -E -e 's/[0-9]+\.[0-9] us/N us/' -e 's/[0-9]+/N/g' -e 's/\(.*/(/' err >log
printf 'odfork: N %s: child N by %s, held N us (\n' fork fork 'posix_spawnp true' posix_spawn >right
name=log
must_be_same "log" right log
ODFORK_LOG=0 ./doer fork >out 2>err
must_say "log off" 'fork 7'
ODFORK_LOG=1 ./doer fork >out 2>/dev/full || fail "log to a full device: status $?"

for variables in "ODFORK_LOG=1" "ODFORK_LOG=1 ODFORK_STATS=$temporary/nowhere/records" \
	"ODFORK_LOG=1 ODFORK_STATS=$temporary/records"; do
	name="standard error closed, $variables"
	# shellcheck disable=SC2086
	env $variables ./doer fork spawn true >out 2>&- || fail "$name: status $?"
	printf 'fork 7\nspawn 0\n' >right
	must_be_same output right out
	name="standard error closed, number reused, $variables"
	rm -f data
	# shellcheck disable=SC2086
	env $variables ./doer fork open data fork write 2 'the data' fork spawn true >out 2>&- ||
		fail "$name: status $?"
	printf 'fork 7\nopen 2\nfork 7\nwrite 1\nfork 7\nspawn 0\n' >right
	must_be_same output right out
	printf 'the data' >right
	must_be_same "data file" right data
	name="standard error closed by the program, number reused, $variables"
	rm -f data
	# shellcheck disable=SC2086
	env $variables ./doer close 2 open data fork write 2 'the data' fork >out 2>err || fail "$name: status $?"
	printf 'close 0\nopen 2\nfork 7\nwrite 1\nfork 7\n' >right
	must_be_same output right out
	printf 'the data' >right
	must_be_same "data file" right data
done
rm -f records

# ---- Set-user-id ----

# as_nobody UID COMMAND...: no program that is everywhere does this.
cat >as_nobody.c <<'END'
#include <grp.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int id = atoi(argv[1]);

	(void)argc;
	if (setgroups(0, NULL) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0)
		return 125;
	execv(argv[2], argv + 2);
	return 126;
}
END
unset LD_PRELOAD
set_user_id()
{
	compile as_nobody as_nobody.c
	# A name of its own besides, so that it is no entry of LD_PRELOAD that loads it: the loader refuses those, and
	# the library's own refusal is to be seen.
	compile linked doer.c -Wl,--no-as-needed "$temporary/libraries/libodfork.so.0" -Wl,-rpath,"$temporary/libraries"
	cp linked linked-set-user-id && cp doer doer-set-user-id
	mkdir open
	chmod 1777 open
	chmod 755 libraries linked doer as_nobody
	chmod 711 "$temporary"
	chown 1 linked-set-user-id doer-set-user-id && chmod 4755 linked-set-user-id doer-set-user-id || {
		leave_out_for_user "set-user-id programs: no user 1 here"
		return
	}
	set -- env ODFORK_STATS="$temporary/open/records" ODFORK_LOG=1 ODFORK_STRATEGY=bogus ODFORK_UNKNOWN=1 \
		./as_nobody 65534
	"$@" "$temporary/linked" fork secure maps >out 2>err
	status=$?
	if [ $status -ne 0 ]; then
		leave_out_for_user "set-user-id programs: user 65534 cannot run programs in $temporary"
		return
	fi
	[ "$(wc -l <err)" -eq 3 ] || fail "linked: not three lines on standard error: $(cat err)"
	: >err
	must_say "linked" 'fork 7
secure 0
libodfork 1, other 0'
	lines open/records 1
	"$@" "$temporary/linked-set-user-id" fork secure maps spawn true >out 2>err || fail "set-user-id: status $?"
	if grep -q 'secure 0' out; then
		leave_out_for_user "set-user-id programs: $temporary does not allow them"
		return
	fi
	must_say "set-user-id, linked" 'fork 7
secure 1
libodfork 1, other 0
spawn 0'
	lines open/records 0
	env LD_PRELOAD="$temporary/libraries/libodfork.so.0" ODFORK_STATS="$temporary/open/records" ./as_nobody 65534 \
		"$temporary/doer-set-user-id" fork secure maps >out 2>err || fail "set-user-id, preloaded: status $?"
	grep -v "^ERROR: ld.so: object '$temporary/libraries/libodfork.so.0' from LD_PRELOAD cannot be preloaded" err \
		>other-errors
	mv other-errors err
	must_say "set-user-id, preloaded" 'fork 7
secure 1
libodfork 0, other 0'
	grep -q '"call":"fork"' open/records 2>/dev/null && fail "set-user-id, preloaded: it was recorded"
	rm -f open/records
	cp "$odfork" command
	chmod 755 command
	cp -P libraries/libodfork.so* .
	./as_nobody 65534 "$temporary/command" run --log -- "$temporary/doer-set-user-id" fork secure maps >out 2>err ||
		fail "run: status $?"
	grep -q 'set-user-id' err ||
		fail "run --log does not say that a set-user-id program runs without libodfork: $(cat err)"
	: >err
	must_say "set-user-id, run" 'fork 7
secure 1
libodfork 0, other 0'
}
if [ "$(id -u)" = 0 ]; then
	set_user_id
else
	leave_out_for_user "set-user-id programs: needs root"
fi

passed "environment and standard error"
