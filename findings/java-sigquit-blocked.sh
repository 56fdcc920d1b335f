#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   openjdk-17-jre-headless 17.0.21.1+2-1~deb12u1 (Debian 12)
# Expected:  a program started by ProcessBuilder has the signal mask that the virtual machine was started with, or an
#            empty one: SIGQUIT ends it, or makes it do what it does at SIGQUIT (servers end gracefully, Go programs
#            tell where they are).
# Behaviour: the virtual machine blocks SIGQUIT in all of its threads but the one that prints thread dumps, and what is
#            started inherits that mask through exec: SIGQUIT stays pending for good in a program that does not
#            unblock it by itself, and in all of that program's children. With -Xrs nothing is blocked.
# Seen:      empty mask given: SigBlk 0000000000000004, alive after SIGQUIT / with -Xrs: SigBlk 0000000000000000, ended
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download openjdk-17-jre-headless=17.0.21.1+2-1~deb12u1
dpkg -x openjdk-17-jre-headless_*.deb .
home=usr/lib/jvm/java-17-openjdk-amd64
# The settings are links to /etc, which the package brings along.
rm -r "$home/conf"
cp -r etc/java-17-openjdk "$home/conf"
cat > Start.java <<'J'
public class Start {
	public static void main(String[] command) throws Exception {
		new ProcessBuilder(command).inheritIO().start().waitFor();
	}
}
J
cat > empty.pl <<'P'
use POSIX;
POSIX::sigprocmask(SIG_SETMASK, POSIX::SigSet->new);
$SIG{QUIT} = 'DEFAULT';
exec @ARGV;
P
# The shell that is started sends itself the signal, then tells whether it is there.
look() {
	perl empty.pl "$home/bin/java" $1 Start.java sh -c '
		echo "SigBlk $(sed -n "s/SigBlk:.//p" /proc/$$/status)," > told
		kill -QUIT $$; echo "alive after SIGQUIT" >> told' || :
	echo $(cat told) | sed 's/,$/, ended/'
}
seen="empty mask given: $(look "") / with -Xrs: $(look -Xrs)"
echo "$seen"
blocked="SigBlk 0000000000000004, alive after SIGQUIT" nothing="SigBlk 0000000000000000, ended"
[ "$seen" = "empty mask given: $blocked / with -Xrs: $nothing" ]
