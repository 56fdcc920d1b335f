#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   ninja-build 1.11.1-2~deb12u1 (Debian 12)
# Expected:  by Ninja's manual a job of the pool named console works on Ninja's own standard streams, and differs from
#            others by that only. A rule that starts a server in the background with all three streams at
#            /dev/null is done when its command is done, in this pool as in others.
# Behaviour: jobs of the console pool, and only these, also inherit the writing end of a pipe of Ninja's (descriptor 4
#            here, not close-on-exec), and Ninja takes its closing for the end of the job. The background process
#            keeps it open unknowingly: Ninja waits until the server ends.
# Seen:      usual pool: extra descriptors 0, 0 s / console pool: extra descriptors 1, 2 s
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download ninja-build=1.11.1-2~deb12u1
dpkg -x ninja-build_*.deb .
cat > job <<'J'
#!/bin/sh
# List the descriptors, then leave a background process that lives 2 seconds, and end.
ls -l /proc/self/fd > "$1.fds"
sleep 2 < /dev/null > /dev/null 2>&1 &
: > "$1"
J
chmod 755 job
printf '%s\n' 'rule usual' '  command = ./job $out' 'rule console' '  command = ./job $out' '  pool = console' \
    'build a: usual' 'build b: console' > build.ninja
try() {
    start=$(date +%s%N)
    usr/bin/ninja "$1" > /dev/null
    ms=$(( ($(date +%s%N) - start) / 1000000 ))
    if [ $ms -ge 1900 ]; then s=2; else s=0; fi
    echo "extra descriptors $(grep -c ' [3-9] -> pipe:' "$1.fds" || true), $s s"
}
# Descriptors that this script was itself given are closed first.
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
seen="usual pool: $(try a) / console pool: $(try b)"
echo "$seen"
[ "$seen" = "usual pool: extra descriptors 0, 0 s / console pool: extra descriptors 1, 2 s" ]
