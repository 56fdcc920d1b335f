#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   uwsgi-core 2.0.21-5.1 (Debian 12)
# Expected:  the commands of hooks (exec-asap, exec-pre-app and so on) can be ended by SIGTERM, as those
#            of attach-daemon can.
# Behaviour: they have SIGHUP and SIGTERM ignored, which uWSGI itself ignores while it starts, and so has all that they
#            start. A helper that a hook leaves in the background does not end when the system or a supervisor sends
#            SIGTERM, but when it is killed; a hook that takes long does not end by it either.
# Seen:      exec-asap: ignored SIGHUP SIGTERM / exec-pre-app: ignored SIGHUP SIGTERM / attach-daemon: ignored neither
# Needs:     the libraries of Debian's uwsgi-core (libpcre3, libyaml-0-2, libyajl2, libxml2, libssl3).
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download uwsgi-core=2.0.21-5.1
dpkg -x uwsgi-core_*.deb .
cat > look <<'L'
#!/usr/bin/perl
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { $ignored = hex $1 if /^SigIgn:\s*([0-9a-f]+)/ }
open my $seen, '>', "$ARGV[0]/new" or die;
print $seen join(' ', map { $ignored >> $_->[0] - 1 & 1 ? $_->[1] : () } [1, 'SIGHUP'], [15, 'SIGTERM']), "\n";
close $seen;
rename "$ARGV[0]/new", "$ARGV[0]/seen";
L
chmod 755 look
hook() {
    rm -f seen
    perl -e '$SIG{HUP} = $SIG{TERM} = "DEFAULT"; exec @ARGV' setsid usr/bin/uwsgi-core \
        --master --socket "$d/socket" "--$1" "$d/look $d" > log 2>&1 < /dev/null &
    tries=0
    while [ ! -e seen ] && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
    kill -KILL "-$!" 2> /dev/null || true
    wait
    echo "$1: ignored $(sed 's,^$,neither,' seen)"
}
seen="$(hook exec-asap) / $(hook exec-pre-app) / $(hook attach-daemon)"
echo "$seen"
[ "$seen" = "exec-asap: ignored SIGHUP SIGTERM / exec-pre-app: ignored SIGHUP SIGTERM / \
attach-daemon: ignored neither" ]
