#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   coreutils 9.1-1, dumb-init 1.2.5-2, beside tini 0.19.0-1+b3 and busybox 1:1.35.0-4+deb12u1+b1 (Debian 12)
# Expected:  `nohup timeout 1d job` outlives the end of the session: nohup, of the same package as timeout, has SIGHUP
#            ignored in all that is started below. A program that only hands signals on leaves an ignored one ignored.
# Behaviour: timeout catches SIGHUP (and SIGINT, SIGQUIT, SIGALRM) whether it was ignored or not, and for the job they
#            are back at their default: a hang-up ends both. dumb-init does the same with all but real-time
#            signals. The timeout of busybox and tini leave it ignored. `timeout 1d nohup job` is the order that works.
# Seen:      nohup, then after SIGHUP: nothing between runs on / timeout ends / dumb-init ends / busybox timeout runs
#            on / tini runs on
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download coreutils=9.1-1 dumb-init=1.2.5-2 tini=0.19.0-1+b3 \
    busybox=1:1.35.0-4+deb12u1+b1
for f in *.deb; do dpkg -x "$f" .; done
cat > job <<'J'
#!/bin/sh
echo $$ > number
exec sleep 5
J
chmod 755 job
after() {
    rm -f number
    usr/bin/nohup "$@" ./job > /dev/null 2>&1 < /dev/null &
    while [ ! -s number ]; do sleep 0.1; done
    sleep 0.1
    # The hang-up reaches what was started and the job, as that of a terminal would.
    kill -HUP $! "$(cat number)" 2> /dev/null || true
    sleep 0.3
    if kill -KILL "$(cat number)" 2> /dev/null; then echo 'runs on'; else echo 'ends'; fi
}
seen="nothing between $(after env) / timeout $(after usr/bin/timeout 9) / dumb-init $(after usr/bin/dumb-init)"
seen="$seen / busybox timeout $(after bin/busybox timeout 9) / tini $(after usr/bin/tini -s --)"
echo "$seen"
[ "$seen" = "nothing between runs on / timeout ends / dumb-init ends / busybox timeout runs on / tini runs on" ]
