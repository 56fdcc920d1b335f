#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   util-linux 2.38.1-5+deb12u3, daemontools 1:0.76-8.1, runit 2.1.2-54, s6 2.11.3.2-1, moreutils 0.67-1
#            (Debian 12)
# Expected:  flock, setlock, chpst -l, s6-setlock and lckdo all run a program with a lock on a file: one that is held by
#            any of them keeps the others out, and s6-setlock is setlock in another suite.
# Behaviour: there are two camps. flock, setlock and chpst take the lock of flock(2), s6-setlock and lckdo that of
#            fcntl(2); neither camp sees the other, and both run at once. They also differ in what children get: the
#            first lock is kept by a job that the program leaves in the background (or by a server that forks
#            itself there), the second ends with the process that was started, whatever it left running.
# Seen:      each line: who of the five gets in while the lock is held / while a child left behind goes on
#            flock: s6-setlock lckdo / s6-setlock lckdo
#            setlock: s6-setlock lckdo / s6-setlock lckdo
#            chpst: s6-setlock lckdo / s6-setlock lckdo
#            s6-setlock: flock setlock chpst / flock setlock chpst s6-setlock lckdo
#            lckdo: flock setlock chpst / flock setlock chpst s6-setlock lckdo
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download util-linux=2.38.1-5+deb12u3 daemontools=1:0.76-8.1 runit=2.1.2-54 \
    s6=2.11.3.2-1 libs6-2.11=2.11.3.2-1 libskarnet2.13=2.13.1.1-1 libexecline2.9=2.9.3.0-1 moreutils=0.67-1
for f in *.deb; do dpkg -x "$f" .; done
export LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu:$d/lib/x86_64-linux-gnu" PATH="$d/usr/bin:$d/usr/sbin:$PATH"
hold() {
    case $1 in
    chpst) chpst -l lock sh -c "$2" ;;
    *) "$1" lock sh -c "$2" ;;
    esac
}
# Tries do not wait: they run the program at once or fail.
in_now() {
    for tool in flock setlock chpst s6-setlock lckdo; do
        case $tool in
        chpst) chpst -L lock true ;;
        lckdo) lckdo lock true ;;
        *) "$tool" -n lock true ;;
        esac 2> /dev/null && printf ' %s' "$tool"
    done
    true
}
seen=$(for tool in flock setlock chpst s6-setlock lckdo; do
    rm -f begun
    hold "$tool" 'echo > begun; sleep 2; :' &
    while [ ! -e begun ]; do sleep 0.1; done
    printf '%s:%s /' "$tool" "$(in_now)"
    wait
    hold "$tool" 'sleep 2 &'
    printf '%s\n' "$(in_now)"
    sleep 2.5
done)
echo "$seen"
[ "$seen" = "flock: s6-setlock lckdo / s6-setlock lckdo
setlock: s6-setlock lckdo / s6-setlock lckdo
chpst: s6-setlock lckdo / s6-setlock lckdo
s6-setlock: flock setlock chpst / flock setlock chpst s6-setlock lckdo
lckdo: flock setlock chpst / flock setlock chpst s6-setlock lckdo" ]
