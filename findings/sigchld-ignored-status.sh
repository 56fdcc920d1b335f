#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   python3.11-minimal 3.11.2-6+deb12u9, git 1:2.39.5-0+deb12u3, mawk 1.3.4.20200120-3.1, perl-base
#            5.36.0-7+deb12u4 (Debian 12)
# Expected:  a program may be started with SIGCHLD ignored (execve(2) keeps that; some daemons and container inits
#            leave it so). What runs commands and depends on their statuses should set it to its default first, as
#            shells and make do, or say that it has no status.
# Behaviour: with SIGCHLD ignored, waitpid(2) gives ECHILD instead of the status. Python's subprocess takes that for
#            success: subprocess.call(["false"]) gives 0 and check_call raises nothing, silently (its documentation
#            does not name the case). git takes a shell alias that worked for a fatal error (128), mawk's system()
#            gives -1 for one that worked. Perl's system() and sh give the true status.
# Seen:      sh: false 1 true 0 / perl: false 1 true 0 / python: false 0 true 0 / git: false 128 true 128 / mawk:
#            false 255 true 255
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download python3.11-minimal=3.11.2-6+deb12u9 \
    libpython3.11-minimal=3.11.2-6+deb12u9 libpython3.11-stdlib=3.11.2-6+deb12u9 libexpat1 \
    git=1:2.39.5-0+deb12u3 libpcre2-8-0 \
    mawk=1.3.4.20200120-3.1 perl-base=5.36.0-7+deb12u4
for f in *.deb; do dpkg -x "$f" .; done
export HOME="$d" LD_LIBRARY_PATH="$d/lib/x86_64-linux-gnu:$d/usr/lib/x86_64-linux-gnu"
export GIT_EXEC_PATH="$d/usr/lib/git-core"
unset PYTHONHOME PYTHONPATH || true
# try PROGRAM ... gives the two statuses of PROGRAM ... for the commands false and true, put in place of @.
try() {
    for command in false true; do
        status=0
        perl -e '$SIG{CHLD} = "IGNORE"; my $c = shift; s/@/$c/ for @ARGV; exec @ARGV' $command "$@" > /dev/null 2>&1 ||
            status=$?
        printf ' %s %s' $command $status
    done
}
seen="sh:$(try sh -c '@; exit $?') / perl:$(try usr/bin/perl -e 'exit(system("@") >> 8)')"
seen="$seen / python:$(try usr/bin/python3.11 -c 'import subprocess, sys; sys.exit(subprocess.call(["@"]))')"
seen="$seen / git:$(try usr/bin/git -c alias.x='!@' x) / mawk:$(try usr/bin/mawk 'BEGIN { exit system("@") }')"
echo "$seen"
[ "$seen" = "sh: false 1 true 0 / perl: false 1 true 0 / python: false 0 true 0 / git: false 128 true 128 / \
mawk: false 255 true 255" ]
