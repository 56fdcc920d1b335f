#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   swi-prolog-core and swi-prolog-core-packages 9.0.4+dfsg-2 (Debian 12)
# Expected:  a child made with process_create/3 (library(process)) runs until it ends or is killed; any thread may
#            wait for it. The manual ties the option detached(Bool) to the process and its session, not to a thread.
# Behaviour: unless detached(true) is given, the child asks for SIGTERM by prctl(PR_SET_PDEATHSIG). The kernel sends
#            that signal when the *thread* that created the child ends, not the process. A child that a worker thread
#            starts is killed as soon as that worker is done, though the program lives on and waits for it.
# Seen:      from a thread: killed(15) / from a thread, detached(true): exit(0) / from the main thread: exit(0)
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download swi-prolog-core=9.0.4+dfsg-2 swi-prolog-core-packages=9.0.4+dfsg-2 \
    libtcmalloc-minimal4=2.10-1
for f in *.deb; do dpkg -x "$f" .; done
cat > t.pl <<'P'
:- use_module(library(process)).
sleeper(Options, Pid) :- process_create('/bin/sleep', ['1'], [process(Pid)|Options]).
worker(Main, Options) :- sleeper(Options, Pid), sleep(0.3), thread_send_message(Main, pid(Pid)).
from_thread(Options, How) :-
    thread_self(Main), thread_create(worker(Main, Options), T), thread_join(T),
    thread_get_message(pid(Pid)), process_wait(Pid, How).
:- from_thread([], A), from_thread([detached(true)], B), sleeper([], Pid), sleep(0.3), process_wait(Pid, C),
   format("from a thread: ~w / from a thread, detached(true): ~w / from the main thread: ~w~n", [A, B, C]), halt.
P
seen=$(LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu:$d/usr/lib" \
    "$d/usr/bin/swipl" --home="$d/usr/lib/swi-prolog" t.pl < /dev/null)
echo "$seen"
[ "$seen" = "from a thread: killed(15) / from a thread, detached(true): exit(0) / from the main thread: exit(0)" ]
