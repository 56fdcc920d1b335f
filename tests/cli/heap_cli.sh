#!/bin/sh
# SPDX-License-Identifier: MIT
# odfork run --heap, and what --log says about a program: which malloc it has and where that puts its memory, compared
# with what the library then does in it. Each kind of program that cannot be preloaded must run all the same.
set -eu
PATH=/usr/bin:/bin:/usr/sbin:/sbin
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
CC=${ODF_CC:-cc}
unset LD_PRELOAD ODFORK_HEAP ODFORK_LOG ODFORK_STATS ODFORK_UFFD_FD
must_work=${ODF_MUST_WORK:-0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cp "$build/odfork" "$work/"
cp -L "$build/libodfork.so.0" "$work/"
odfork=$work/odfork
cd "$work"
number=0 failures=0

leave_out() { # WHAT WHY
	[ "$must_work" = 1 ] && { echo "Bail out! $1 must work here, but: $2"; exit 1; }
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}

# NAME STATUS PATTERN-OF-OUTPUT PATTERN-OF-ERRORS COMMAND...: a pattern is for grep -E and one line; "" means that there
# is nothing. What the kernel does not execute is given to a shell, whose status is "any".
try() {
	name=$1 wanted=$2 output=$3 errors=$4
	shift 4
	number=$((number + 1)) status=0 word=ok
	timeout -k 1 240 "$@" > out 2> err || status=$?
	[ "$wanted" = any ] || [ "$status" = "$wanted" ] || word="not ok"
	matches "$output" out && matches "$errors" err || word="not ok"
	echo "$word $number - $name"
	[ "$word" = ok ] && return
	failures=$((failures + 1))
	echo "# status $status, expected $wanted; output and errors, expected /$output/ and /$errors/:"
	sed 's/^/#   /' out err
}
matches() { # PATTERN FILE
	if [ -z "$1" ]; then [ ! -s "$2" ]; else grep -qE -- "$1" "$2"; fi
}

# A program that grows to 100 MiB and says what the heap is doing in it; it knows nothing of the library if that is not
# there. An argument is a status to exit with.
cat > grow.c <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "odfork.h"
#ifdef OWN
#include "own.h"
#endif
static odf_heap_info look(void)
{
	odf_heap_info info = ODF_HEAP_INFO_INIT;
	int (*get)(odf_heap_info *);
	*(void **)&get = dlsym(RTLD_DEFAULT, "odf_heap_info_get");
	if (get == NULL) {
		puts("alone");
		fflush(stdout);
		_Exit(0);
	}
	get(&info);
	return info;
}
/* So that the compiler does not see that nobody reads it. */
static void use(void *memory)
{
	static void *volatile last;
	memset(memory, 1, 4096);
	last = memory;
	(void)last;
}
int main(int argc, char **argv)
{
	static const char *const states[] = { "off", "asleep", "awake" }, *const doors[] = { "other", "libc", "", "",
		"in place" };
	struct timespec moment = { 0, 10000000 };
	odf_heap_info info;
	if (argc > 1)
		return atoi(argv[1]);
	for (int i = 0; i < 50 * 256; i++)
		use(malloc(4096));
	/* What libc's malloc has is taken in after the first fork. */
	info = look();
	if (info.state == ODF_HEAP_AWAKE) {
		pid_t pid = fork();
		if (pid == 0)
			_Exit(0);
		waitpid(pid, NULL, 0);
	}
	/* Of another user's it may stay outside, and nothing is expected. */
	int most = geteuid() == 0 ? 4500 : 10;
	for (int i = 0; i < most && info.state == ODF_HEAP_AWAKE && info.inside_bytes < 40u << 20; i++) {
		nanosleep(&moment, NULL);
		info = look();
	}
	printf("%s %s, %s, capacity %zu\n", states[info.state], doors[info.malloc_door],
	       info.inside_bytes >= 40u << 20 ? "inside" : "outside", info.capacity >> 30);
	return 0;
}
END
# An allocator that maps and never frees, with libc's inner name besides, as some have.
cat > own.h <<'END'
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
static char *at, *end;
void *memalign(size_t alignment, size_t size)
{
	size_t whole = (size + alignment + 63) / 64 * 64;
	char *result;
	if (end - at < (long)whole) {
		size_t more = whole > 1 << 20 ? (whole + 4095) / 4096 * 4096 : 1 << 20;
		at = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED)
			return at = end = NULL;
		end = at + more;
	}
	result = (char *)(((size_t)at + 32 + alignment - 1) / alignment * alignment);
	at += whole;
	((size_t *)result)[-1] = size;
	return result;
}
void *malloc(size_t size) { return memalign(32, size + 32); }
void *__libc_malloc(size_t size) { return malloc(size); }
void free(void *pointer) { (void)pointer; }
void *calloc(size_t count, size_t size)
{
	void *result = malloc(count * size);
	return result == NULL ? NULL : memset(result, 0, count * size);
}
void *realloc(void *pointer, size_t size)
{
	void *result = malloc(size);
	if (pointer != NULL && result != NULL)
		memcpy(result, pointer, ((size_t *)pointer)[-1] < size ? ((size_t *)pointer)[-1] : size);
	return result;
}
END
printf '#include "own.h"\n' > own.c
printf 'extern void *malloc(unsigned long); void *uses(void) { return malloc(1); }\n' > uses.c
compile() {
	# shellcheck disable=SC2086
	$CC -O1 -w -I "$source/include" "$@"
}
compile -o plain grow.c
compile -no-pie -fno-pie -o fixed grow.c
compile -DOWN -o own grow.c -rdynamic
compile -shared -fPIC -Wl,-soname,libinner.so -o libinner.so own.c
compile -shared -fPIC -o libouter.so uses.c "-Wl,-rpath,$work" -Wl,--no-as-needed ./libinner.so
compile -o direct grow.c -Wl,--no-as-needed ./libinner.so "-Wl,-rpath,$work"
compile -o nested grow.c -Wl,--no-as-needed ./libouter.so "-Wl,-rpath,$work"
compile -static -o static grow.c 2> /dev/null
compile -static-pie -o static_pie grow.c 2> /dev/null
mimalloc=$(ldconfig -p 2> /dev/null | sed -n 's/.*libmimalloc\.so\.[23] .*=> //p')
jemalloc=$(ldconfig -p 2> /dev/null | sed -n 's/.*libjemalloc\.so\.2 .*=> //p' | head -n 1)
later='once it has grown past [0-9]+ MiB'

# ---- The option ----
try "--heap needs a value" 125 "" "run: no value for --heap, or none that it can have" "$odfork" run --heap -- ./plain 3
for value in nonsense 0 -1 1X 12GG 2T 1.5 1.G .5G 64GB 64gi 1025g 18446744073709551615G ""; do
	try "--heap=$value" 125 "" \
		"^odfork: run: --heap is auto, on, off, or a size of at most 1T, such as .* or 1\.5g, not $value\$" \
		"$odfork" run "--heap=$value" -- ./plain 3
done
for value in auto on off 64G 1T 1073741824 64g 64GiB 1.5G 0.5t 1024GiB; do
	try "--heap=$value reaches the program" 0 "^$value\$" "" "$odfork" run "--heap=$value" -- printenv ODFORK_HEAP
done
try "none without it" 1 "" "" "$odfork" run -- printenv ODFORK_HEAP
try "--heap VALUE" 0 "^on\$" "" "$odfork" run --heap on printenv ODFORK_HEAP
try "what is in the environment stays" 0 "^off\$" "" env ODFORK_HEAP=off "$odfork" run -- printenv ODFORK_HEAP

# ---- libc's malloc ----
# Without userfaultfd what there was before the heap woke stays outside until a fork settles it.
inside=inside
"$odfork" probe | awk '($1 == "uffd_kernel" || $1 == "uffd_device") && $2 == "yes" { may = 1 } END { exit !may }' ||
	inside='(inside|outside)'
"$odfork" probe --json | grep -q '"region":{"available":true' ||
	{ leave_out "the heap" "no regions here"; echo "1..$number"; exit $((failures > 0)); }
for program in plain fixed; do
	try "$program: libc's malloc" 0 "^awake in place, $inside" \
		": \./$program: its malloc is libc's: $later, what that has is in regions where it lies, as other" \
		"$odfork" run --log ./$program
done
try "from the start" 0 "^awake in place, $inside" "from the start, what that has is in regions" "$odfork" run --log \
	--heap=on ./plain
try "a capacity" 0 "^awake .*, capacity 3\$" "$later" "$odfork" run --log --heap=3G ./plain
try "a capacity with a fraction" 0 "^awake .*, capacity 4\$" "" "$odfork" run --heap=3.5GiB ./plain
try "off" 0 "^off libc, outside" "^odfork: run: \./plain: no heap: ODFORK_HEAP=off\$" "$odfork" run --log --heap=off \
	./plain
try "off by the variable" 0 "^off libc, outside" "^odfork: run: \./plain: no heap: ODFORK_HEAP=off\$" env \
	ODFORK_HEAP=off "$odfork" run --log ./plain
try "silent without --log" 0 "^awake" "" "$odfork" run ./plain
# ---- Other allocators ----
try "a malloc of its own" 0 "^awake other, $inside" \
	"its malloc is one of its own \(\./own\): $later, what that maps is in regions where it lies\$" \
	"$odfork" run --log ./own
try "a library's malloc" 0 "^awake other, $inside" \
	"its malloc is one of its own \($work/libinner\.so\): $later, what that maps" "$odfork" run --log ./direct
# The loader looks into the libraries of the program first, libc among them, and then into theirs.
try "a library's library" 0 "^awake in place" "its malloc is libc's" "$odfork" run --log ./nested
if [ -n "$jemalloc" ]; then
	compile -o with_jemalloc grow.c -Wl,--no-as-needed "$jemalloc"
	try "jemalloc" 0 "^awake other, $inside" \
		"its malloc is jemalloc's \(.*/libjemalloc\.so\.2\): $later, what that maps" "$odfork" run --log \
		./with_jemalloc
	try "jemalloc, preloaded" 0 "^awake other, $inside" "its malloc is jemalloc's \(.*/libjemalloc\.so\.2\)" \
		env LD_PRELOAD="$jemalloc" "$odfork" run --log ./plain
else
	leave_out "jemalloc" "libjemalloc.so.2 is not installed"
fi
if [ -n "$mimalloc" ]; then
	compile -o with_mimalloc grow.c -Wl,--no-as-needed "$(echo "$mimalloc" | head -n 1)"
	try "mimalloc" 0 "^awake other, $inside" \
		"its malloc is mimalloc's \(.*/libmimalloc\.so\.[23]\): $later, what that maps is in regions where it" \
		"$odfork" run --log ./with_mimalloc
else
	leave_out "mimalloc" "libmimalloc is not installed"
fi
ln -s libinner.so libtcmalloc.so.4
try "a library of tcmalloc's name" 0 "^awake other" \
	"its malloc is tcmalloc's \(.*\): $later, what that maps is in regions where it lies\$" \
	env LD_PRELOAD="$work/libtcmalloc.so.4" "$odfork" run --log ./plain

printf 'int nothing;' > nothing.c
compile -shared -fPIC -Wl,-soname,libaio.so.1 -o libaio.so.1 nothing.c
compile -o pins grow.c -Wl,--no-as-needed ./libaio.so.1 "-Wl,-rpath,$work"
try "a library that can pin memory" 0 "^awake in place, $inside" "^odfork: run: \./pins: its malloc is libc's" \
	"$odfork" run --log ./pins

# ---- Scripts ----
printf '#!%s/direct\n' "$work" > script
printf '#! \t%s/script ignored \n' "$work" > script_of_script
printf '#!/usr/bin/env direct\n' > by_env
printf '#!/usr/bin/env -S A=1  direct\n' > by_env_split
printf '#!/usr/bin/env -i direct\n' > by_env_option
chmod 755 script script_of_script by_env by_env_split by_env_option
PATH=$work:$PATH
for script in script script_of_script by_env by_env_split; do
	try "$script" 0 "" "^odfork: run: \./$script: its malloc is one of its own \($work/libinner\.so\)" \
		"$odfork" run --log ./$script
done
try "env by itself" 0 "" "^odfork: run: \./by_env: its malloc is libc's" "$odfork" run --log --no-follow ./by_env
try "an option of env" 125 "" "invalid option" "$odfork" run --log ./by_env_option

# ---- What cannot be preloaded runs as it is ----
runs='it runs without libodfork$'
no_loader='statically linked, so there is no loader to preload anything'
try "static" 0 "^alone\$" "^odfork: run: \./static: it is $no_loader; $runs" "$odfork" run --log ./static
try "static, its status" 23 "" "statically linked" "$odfork" run --log ./static 23
try "static, position-independent" 0 "^alone\$" "statically linked, .*; $runs" "$odfork" run --log ./static_pie
try "static, without --log" 0 "^alone\$" "" "$odfork" run ./static
printf 'a Go build ID' > note
objcopy --add-section .note.go.buildid=note static go_static
objcopy --add-section .gopclntab=note plain go_dynamic
try "Go, static" 0 "^alone\$" "it is a Go program, $no_loader; $runs" "$odfork" run --log ./go_static
try "Go, dynamic" 7 "" \
	"it is a Go program, which asks the kernel for memory and processes itself, past every library; $runs" \
	"$odfork" run --log ./go_dynamic 7
printf '#!%s/static\n' "$work" > script_of_static
chmod 755 script_of_static
try "a script of a static program" 0 "" "^odfork: run: \./script_of_static: it is statically linked" "$odfork" run \
	--log ./script_of_static
interpreter=$(readelf -l plain | sed -n 's/.*program interpreter: \(.*\)\]/\1/p')
cp "$interpreter" ld-other.so.1
compile -o other_libc grow.c "-Wl,--dynamic-linker=$work/ld-other.so.1"
try "another C library's loader" 0 "^alone\$" \
	"its loader is not the one that libodfork\.so is for: it has another C library; $runs" \
	"$odfork" run --log ./other_libc
try "a loader by its name" 0 "^awake" '^odfork: [0-9]+ fork: child [0-9]+ by region' "$odfork" run --log \
	"$interpreter" ./plain
cp plain words
printf '\001' | dd of=words bs=1 seek=4 conv=notrunc 2> /dev/null
printf '\003\000' | dd of=words bs=1 seek=18 conv=notrunc 2> /dev/null
head -c 4096 plain > machine
printf '\267\000' | dd of=machine bs=1 seek=18 conv=notrunc 2> /dev/null
head -c 100 plain > short
chmod 755 words machine short
try "another word size" any "" "it is for another word size than libodfork\.so; $runs" "$odfork" run --log ./words
try "another machine" any "" "it is for another machine than libodfork\.so; $runs" "$odfork" run --log ./machine
try "a piece of a program" any "" "short: " "$odfork" run --log ./short

if [ "$(id -u)" = 0 ] && id nobody > /dev/null 2>&1 && grep -q " / .*nosuid" /proc/mounts; then
	leave_out "secure execution" "file systems without it"
elif [ "$(id -u)" = 0 ] && id nobody > /dev/null 2>&1; then
	gains='it gains rights by being executed .*, for which the loader preloads nothing; '$runs
	cp plain set_user
	cp plain set_group
	cp plain capable
	chmod 4755 set_user
	chgrp 0 set_group
	chmod 2755 set_group
	python3 -c 'import os, struct
os.setxattr("capable", "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))'
	printf '#!%s/plain\n' "$work" > script_with_bit
	chmod 4755 script_with_bit
	for program in set_user set_group capable; do
		try "$program" 0 "^alone\$" "$gains" "$odfork" run --log --user=nobody ./$program
		try "$program, of one who has the rights" 0 "^awake" "its malloc is libc's" "$odfork" run --log \
			./$program
	done
	try "a script's bit means nothing" 0 "" "its malloc is libc's" "$odfork" run --log --user=nobody \
		./script_with_bit
	try "no rights are to be gained" 0 "^awake" "its malloc is libc's" setpriv --no-new-privs --reuid=65534 \
		--regid=65534 --clear-groups \
		"$odfork" run --log ./set_user
	mkdir -m 700 closed
	cp odfork libodfork.so.0 closed/
	for log in "" --log; do
		# shellcheck disable=SC2016,SC2086
		try "a library that its user cannot reach ($log)" 0 "^alone\$" \
			"/closed/libodfork\.so\.0: Permission denied; $runs" \
			closed/odfork run $log --user=nobody ./plain
		try "and nothing is handed in" 0 "^none\$" "$runs" closed/odfork run $log --user=nobody sh -c \
			'echo "${ODFORK_UFFD_FD-none}"'
		[ "$(wc -l < err)" = 1 ] ||
			{ echo "not ok - says more than that: $(cat err)"; failures=$((failures + 1)); }
	done
	chmod 711 set_user
	chmod u-s set_user
	try "what cannot be read" 0 "^(awake|off|asleep) " "" "$odfork" run --log --user=nobody ./set_user
	if [ -c /dev/userfaultfd ] && [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 0 ]; then
		try "userfaultfd handed in" 0 "^awake" "its malloc is libc's" "$odfork" run --log --user=nobody ./plain
		! grep -q userfaultfd err ||
			{ echo "not ok - says that userfaultfd may not be used"; failures=$((failures + 1)); }
		try "no userfaultfd" 0 "^awake" \
			"userfaultfd may not be used here: no heap if the program has several threads by then\$" \
			setpriv --reuid=65534 --regid=65534 --clear-groups "$odfork" run --log ./plain
		try "no userfaultfd, from the start" 0 "^awake" \
			"may not be used here: if the program has several threads, only its first fork is fast\$" \
			setpriv --reuid=65534 --regid=65534 --clear-groups "$odfork" run --log --heap=on ./plain
	else
		leave_out "userfaultfd" "no device, or everybody may use it"
	fi
else
	leave_out "secure execution" "needs root"
fi
echo "1..$number"
exit $((failures > 0))
