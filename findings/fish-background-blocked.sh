#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   fish and fish-common 3.6.0-3.1+deb12u1 (Debian 12)
# Expected:  without job control a shell starts a background command with SIGINT and SIGQUIT ignored (POSIX). A program
#            that has a use for them, a server that ends gracefully by SIGINT say, sets a handler, and is ended by it.
# Behaviour: fish blocks the two signals instead of ignoring them. A handler does not help then: the signal stays
#            pending for good, in that program and in all that it starts. `kill -INT` never ends a server that a
#            script of fish's left in the background.
# Seen:      dash: ignored SIGINT SIGQUIT, blocked none, a handler is called / fish: ignored none, blocked SIGINT
#            SIGQUIT, a handler is not called
# Needs:     the libraries of Debian's fish (libtinfo6, libpcre2-32-0, libstdc++6).
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download fish=3.6.0-3.1+deb12u1 fish-common=3.6.0-3.1+deb12u1 \
    dash=0.5.12-2
for f in *.deb; do dpkg -x "$f" .; done
cat > look <<'L'
#!/usr/bin/perl
sub names {
    my $mask = hex shift;
    join " ", map { $mask >> $_->[0] - 1 & 1 ? $_->[1] : () } [2, "SIGINT"], [3, "SIGQUIT"];
}
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { $set{$1} = names $2 if /^Sig(Ign|Blk):\s*([0-9a-f]+)/ }
$SIG{INT} = sub { $called = 1 };
kill INT => $$;
select undef, undef, undef, 0.2;
print "ignored ", $set{Ign} || "none", ", blocked ", $set{Blk} || "none";
print ", a handler is ", $called ? "" : "not ", "called\n";
L
chmod 755 look
export HOME="$d" XDG_CONFIG_HOME="$d" XDG_DATA_HOME="$d"
seen="dash: $(bin/dash -c './look & wait') / fish: $(usr/bin/fish --no-config -c './look & wait')"
echo "$seen"
[ "$seen" = "dash: ignored SIGINT SIGQUIT, blocked none, a handler is called / \
fish: ignored none, blocked SIGINT SIGQUIT, a handler is not called" ]
