#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   perl-base 5.36.0-7+deb12u4; compared with ruby3.1 3.1.7+really3.1.2-0+deb12u1 (both Debian 12)
# Expected:  an assignment to $0 changes what ps shows as the arguments (perlvar). /proc/PID/environ is the environment
#            that the program was started with (proc(5)), and stays it, as for Ruby after the same assignment.
# Behaviour: Perl takes the strings of the environment for room too, and blanks what it does not use: after `$0 = "x"`
#            /proc/PID/environ holds no variable any more, though %ENV and all children have them. What finds its
#            processes by a mark in the environment (Jenkins' BUILD_ID, `ps e`, `pgrep` with grep on environ,
#            supervisors that clean up) does not find such a process.
# Seen:      perl: mark 1 before, 0 after, child has it / ruby: mark 1 before, 1 after, child has it
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download perl-base=5.36.0-7+deb12u4 \
    ruby3.1=3.1.7+really3.1.2-0+deb12u1 libruby3.1=3.1.7+really3.1.2-0+deb12u1
for f in *.deb; do dpkg -x "$f" .; done
export MARK=build-4711 LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu"
cat > look.pl <<'P'
sub mark { open my $f, '<', '/proc/self/environ' or die; local $/; scalar(() = <$f> =~ /build-4711/g) }
my $before = mark();
$0 = 'x';
my $after = mark();
print "mark $before before, $after after, child ", `echo \$MARK` =~ /4711/ ? 'has it' : 'has it not';
P
cat > look.rb <<'R'
mark = -> { File.binread('/proc/self/environ').scan('build-4711').size }
before = mark.call
$0 = 'x'
after = mark.call
print "mark #{before} before, #{after} after, child ", `echo $MARK` =~ /4711/ ? 'has it' : 'has it not'
R
seen="perl: $(usr/bin/perl look.pl) / ruby: $(usr/bin/ruby3.1 --disable-gems look.rb)"
echo "$seen"
[ "$seen" = "perl: mark 1 before, 0 after, child has it / ruby: mark 1 before, 1 after, child has it" ]
