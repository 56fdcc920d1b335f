#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   chicken-bin and libchicken11 5.3.0-1, gprolog 1.4.5.0-3, nim 1.6.10-2 (Debian 12), beside perl
# Expected:  a program that is fed by a pipe sees the end of its input when the caller closes it. The call that makes
#            the pipe (process, exec/5, startProcess) is the language's own, so its descriptors are not for others.
# Behaviour: in CHICKEN, GNU Prolog and Nim the caller's ends of the pipes are left open in every child that is
#            started later, and no option closes them. A sort, a compressor or a mailer that was fed goes on waiting
#            after its input was closed, until the last of the others ends; where the caller waits for it first, and
#            the other is a server, for ever.
# Seen:      end of input seen: perl at once / csi when the second program ended / gprolog when the second program
#            ended / nim when the second program ended
# Needs:     gcc (for Nim).
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download chicken-bin=5.3.0-1 libchicken11=5.3.0-1 gprolog=1.4.5.0-3 nim=1.6.10-2
for f in *.deb; do dpkg -x "$f" .; done
cat > reader <<'R'
#!/bin/sh
cat > /dev/null
date +%s%N > "${0%/*}/ended"
R
chmod 755 reader
cat > t.pl <<'P'
open my $in, '|-', './reader' or die;
exec 'sleep', 2 unless $second = fork;
close $in;
waitpid $second, 0;
P
cat > t.scm <<'S'
(import (chicken process))
(let*-values (((out in pid) (process "./reader" '()))
              ((second) (process-run "/bin/sleep" '("2"))))
  (close-output-port in)
  (process-wait second))
S
cat > t.nim <<'N'
import osproc, streams
let reader = startProcess("./reader")
let second = startProcess("/bin/sleep", args = ["2"])
reader.inputStream.close()
discard second.waitForExit()
N
export HOME="$d" XDG_CONFIG_HOME="$d/.config" LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu:$d/usr/lib"
export CHICKEN_REPOSITORY_PATH="$d/var/lib/chicken/11:$d/usr/lib/x86_64-linux-gnu/chicken/11:$d/usr/lib/chicken/11"
# The settings are in /etc, and read from the home as well.
mkdir -p .config
mv etc/nim .config
usr/bin/nim c --lib:usr/lib/nim/lib --hints:off --warnings:off --verbosity:0 \
    --nimcache:cache -o:nim-program t.nim > /dev/null
ended() {
    rm -f ended
    start=$(date +%s%N)
    "$@" > /dev/null 2>&1 < /dev/null || true
    while [ ! -s ended ]; do sleep 0.1; done
    if [ $(($(cat ended) - start)) -lt 1900000000 ]; then echo 'at once'; else echo 'when the second program ended'; fi
}
gprolog="exec('./reader', In, _, _, _), exec('/bin/sleep 2', _, _, _, Second), close(In), wait(Second, _), halt"
seen="perl $(ended perl t.pl) / csi $(ended usr/bin/csi -n -s t.scm)"
seen="$seen / gprolog $(ended usr/lib/gprolog/bin/gprolog --query-goal "$gprolog") / nim $(ended ./nim-program)"
echo "end of input seen: $seen"
[ "$seen" = "perl at once / csi when the second program ended / gprolog when the second program ended / \
nim when the second program ended" ]
