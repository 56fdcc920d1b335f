#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   octave 7.3.0-2 (Debian 12), with all that it depends on and the machine lacks
# Expected:  popen2 gives the number of the process that it starts, and kill(PID, SIG.TERM) ends it, as it ends one
#            started by system(). A program begins with the signal mask of its caller.
# Behaviour: what popen2 and exec start has SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGXCPU,
#            SIGXFSZ and SIGVTALRM blocked, for good and for all below it: Octave blocks them in all its threads but
#            one. Neither kill nor ^C nor a limit of CPU time ends such a program; a writer whose reader is gone
#            is not ended by SIGPIPE. What system() starts has none blocked.
# Seen:      system: blocked none / popen2: blocked 1 2 3 13 14 15 17 24 25 26, after SIGTERM it runs
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
mkdir -p debs/partial
apt-get -qq -o APT::Sandbox::User=root download octave=7.3.0-2 octave-common=7.3.0-2
apt-get -qq -y -d -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o Dir::Cache::Archives="$d/debs" \
    install --no-install-recommends octave=7.3.0-2 > /dev/null
mv octave*.deb debs
for f in debs/*.deb; do dpkg -x "$f" .; done
cat > look <<'L'
#!/usr/bin/perl
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { $blocked = hex $1 if /^SigBlk:\s*([0-9a-f]+)/ }
print 'blocked ', join(' ', grep { $blocked >> $_ - 1 & 1 } 1 .. 64) || 'none', "\n";
L
chmod 755 look
cat > t.m <<'M'
[in, out, pid] = popen2("./look");
waitpid(pid);
printf("popen2: %s", fgets(out));
[in, out, pid] = popen2("sleep", {"2"});
pause(0.3);
kill(pid, SIG.TERM);
pause(0.3);
printf(", after SIGTERM it %s", ifelse_(waitpid(pid, WNOHANG)));
M
sed -i 's/ifelse_(waitpid(pid, WNOHANG))/{"ended", "runs"}{1 + (waitpid(pid, WNOHANG) == 0)}/' t.m
lib="$d/usr/lib/x86_64-linux-gnu"
libs="$lib/octave/7.3.0:$lib:$lib/blas:$lib/lapack:$lib/pulseaudio:$d/usr/lib:$d/lib/x86_64-linux-gnu"
octave() {
    OCTAVE_HOME="$d/usr" OCTAVE_EXEC_HOME="$d/usr" HOME="$d" LC_ALL=C \
        LD_LIBRARY_PATH="$libs" "$d/usr/bin/octave-cli" \
        --no-init-file --no-site-file --no-history --quiet "$@" < /dev/null
}
seen="system: $(octave --eval 'system("./look");') / $(octave t.m | tr -d '\n')"
echo "$seen"
[ "$seen" = "system: blocked none / popen2: blocked 1 2 3 13 14 15 17 24 25 26, after SIGTERM it runs" ]
