#!/bin/sh
# SPDX-License-Identifier: MIT
# A JVM that starts programs while its collector and its threads run (HeapJava.java), with several collectors and in
# each of its ways to start a program; and javac. The JVM's memory outside of the Java heap (malloc, direct buffers) is
# in regions. The Java heap is not, as it is mapped at fixed addresses within a reservation: its part of a fork costs as
# much as without the library.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs java
java --list-modules 2>/dev/null | grep -q '^jdk.compiler' || skip "this JVM has no compiler"
plan 4
mib=$((48 * scale))
heap=$((192 * scale))
mkdir classes
# What with() executes is a program.
compiler="java -XX:TieredStopAtLevel=1 -Xmx256m -m jdk.compiler/com.sun.tools.javac.Main"
# shellcheck disable=SC2086
with "$plain" $compiler -d classes "$here/HeapJava.java" >messages 2>&1 || fail "not compiled: $(cat messages)"
with "$plain" java -Xmx${heap}m -cp classes HeapJava $mib >right 2>messages ||
	fail "it failed without the library: $(cat messages)"

compiled()
{
	mkdir compiled
	# shellcheck disable=SC2086
	with "$awake" $compiler -d compiled "$here/HeapJava.java" >messages 2>&1 || fail "not compiled: $(cat messages)"
	diff -r classes compiled || fail "other classes"
	ends_seen java 4
}
check "the compiler compiles the same" compiled

# run HOW OPTION...
run()
{
	how=$1
	shift
	with "$how" java -Xmx${heap}m "$@" -cp classes HeapJava $mib >found 2>complaints ||
		fail "status $?: $(cat complaints)"
	same_as right found
	same_as messages complaints
	# What it grows by is taken in when it is old, or after a fork; by then it may have ended.
	[ "$how" = "$under" ] || ends_seen java $((mib / 4))
}
forked()
{
	run "$under" -Djdk.lang.Process.launchMechanism=FORK -XX:+UseG1GC
	# The first ones may come before what is outside.
	if_it_settles forks_seen --least 10 --mib $((mib / 4))
	run "$awake" -Djdk.lang.Process.launchMechanism=FORK -XX:+UseShenandoahGC
	forks_seen --least 19 --mib $((mib / 4)) --all
}
check "by fork; G1, Shenandoah" forked
spawned()
{
	run "$under" -Djdk.lang.Process.launchMechanism=POSIX_SPAWN -XX:+UseSerialGC
	[ "$control" = 1 ] || [ "$(grep -c '"call":"posix_spawn' stats)" -ge 19 ] || fail "few spawns are recorded"
}
check "by posix_spawn; the serial collector" spawned
vforked() { run "$awake" -Djdk.lang.Process.launchMechanism=VFORK -XX:+UseZGC; }
check "by vfork; ZGC" vforked
finish
