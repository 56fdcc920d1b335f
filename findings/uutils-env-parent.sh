#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   rust-coreutils 0.0.17-2, beside coreutils 9.1-1 (Debian 12)
# Expected:  env and stdbuf become the program that they are given (exec): `exec env NAME=VALUE server` in a start
#            script has the number that the supervisor knows, and the supervisor's SIGTERM reaches the server.
# Behaviour: those of the coreutils in Rust start the program as a child, wait, and hand no signal on. SIGTERM ends
#            env and leaves the program running, with its parent gone and its ports and locks held; a supervisor
#            starts a second one beside it. nice and nohup of the same package become the program.
# Seen:      GNU after SIGTERM: env ends, stdbuf ends, nice ends, nohup ends / Rust after SIGTERM: env runs on, stdbuf
#            runs on, nice ends, nohup ends
# Needs:     libselinux1 and libpcre2-8-0 (libraries of coreutils).
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download coreutils=9.1-1 rust-coreutils=0.0.17-2
for f in *.deb; do dpkg -x "$f" .; done
cat > server <<'S'
#!/bin/sh
echo $$ > "$1"
exec sleep 5
S
chmod 755 server
after() {
    tool=$1
    shift
    rm -f number
    "$@" ./server number > /dev/null 2>&1 < /dev/null &
    while [ ! -s number ]; do sleep 0.1; done
    sleep 0.1
    kill -TERM $!
    wait
    if kill -KILL "$(cat number)" 2> /dev/null; then echo "$tool runs on"; else echo "$tool ends"; fi
}
all() {
    echo "$(after env "$1/env" A=1), $(after stdbuf "$1/stdbuf" -oL), \
$(after nice "$1/nice"), $(after nohup "$1/nohup")"
}
mkdir gnu
for tool in env stdbuf nice nohup; do ln -s "$(find "$d/bin" "$d/usr/bin" -name $tool)" gnu; done
seen="GNU after SIGTERM: $(all gnu) / Rust after SIGTERM: $(all usr/lib/cargo/bin/coreutils)"
echo "$seen"
[ "$seen" = "GNU after SIGTERM: env ends, stdbuf ends, nice ends, nohup ends / \
Rust after SIGTERM: env runs on, stdbuf runs on, nice ends, nohup ends" ]
