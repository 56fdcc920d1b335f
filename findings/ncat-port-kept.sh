#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   ncat 7.93+dfsg1-1 (Debian 12)
# Expected:  a program that `ncat -k -l -e PROGRAM` starts has its streams connected to the client, by pipes of Ncat's.
#            A job that it leaves behind with all three streams elsewhere has nothing to do with the port any more.
# Behaviour: the program, and all that it starts, has Ncat's listening socket and the client's connection open as well.
#            As long as such a job runs, the client waits for the end of an answer that was complete long ago, and
#            when Ncat has ended, the port is still taken: a restarted server cannot bind it, and clients that connect
#            meanwhile are accepted by nobody.
# Seen:      job's sockets: 2 / client: after answer it waits / Ncat ended, job runs: Address already in use / job
#            ended: free
# Needs:     libssl3 and libdbus-1-3 (libraries of ncat and of libpcap).
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download ncat=7.93+dfsg1-1 libpcap0.8=1.10.3-1 liblua5.3-0=5.3.6-2
for f in *.deb; do dpkg -x "$f" .; done
export LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu" LC_ALL=C
cat > program <<'P'
#!/bin/sh
sleep 4 < /dev/null > /dev/null 2>&1 &
sleep 0.2
ls -l "/proc/$!/fd" | grep -c socket: > sockets
echo $! > job
echo answer
P
chmod 755 program
port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
usr/bin/ncat -k -l 127.0.0.1 "$port" -e ./program &
server=$!
sleep 1
cat > client.pl <<'C'
use IO::Socket::INET;
my $s = IO::Socket::INET->new("127.0.0.1:$ARGV[0]") or die;
print "after ", <$s> =~ s/\n//r, " it ";
$SIG{ALRM} = sub { print "waits"; exit };
alarm 1;
print defined <$s> ? "gets more" : "sees the end";
C
client=$(perl client.pl "$port")
kill $server
wait
cat > bind.pl <<'B'
use IO::Socket::INET;
print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:$ARGV[0]", ReuseAddr => 1) ? "free" : $!;
B
seen="job's sockets: $(cat sockets) / client: $client / Ncat ended, job runs: $(perl bind.pl "$port")"
kill "$(cat job)"
sleep 0.2
seen="$seen / job ended: $(perl bind.pl "$port")"
echo "$seen"
[ "$seen" = "job's sockets: 2 / client: after answer it waits / \
Ncat ended, job runs: Address already in use / job ended: free" ]
