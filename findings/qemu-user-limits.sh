#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   qemu-user-static 1:7.2+dfsg-7+deb12u18+b3 (Debian 12)
# Expected:  setrlimit and prlimit of an emulated program set the limit for it and for what it starts, or fail.
# Behaviour: QEMU's user emulation drops limits of address space, data and stack and says that they are set; they read
#            back as they were, and a child has none of them. What a supervisor, a build or a test on an emulated
#            machine limits in that way is not limited. Other limits (descriptors, core files) hold.
# Seen:      as it is: as 1 GiB set, child 1048576; data 1 GiB set, child 1048576; stack 1 MiB set, child 1024;
#            descriptors 100 set, child 100
#            qemu-x86_64: as 1 GiB set, child unlimited; data 1 GiB set, child unlimited; stack 1 MiB set, child 8192;
#            descriptors 100 set, child 100
# Needs:     gcc; a start with no lower limits than these, the script sets that of the stack to 8 MiB.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download qemu-user-static=1:7.2+dfsg-7+deb12u18+b3
dpkg -x qemu-user-static_*.deb .
cat > t.c <<'C'
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void limited(int what, const char *name, rlim_t to, const char *option)
{
    if (fork() == 0) {
        struct rlimit limit;
        getrlimit(what, &limit);
        limit.rlim_cur = to;
        printf("%s %s, child ", name, setrlimit(what, &limit) == 0 ? "set" : "refused");
        fflush(stdout);
        execl("/bin/sh", "sh", "-c", option, NULL);
        _exit(1);
    }
    wait(NULL);
}

int main(void)
{
    limited(RLIMIT_AS, "as 1 GiB", 1 << 30, "printf '%s; ' $(ulimit -Sv)");
    limited(RLIMIT_DATA, "data 1 GiB", 1 << 30, "printf '%s; ' $(ulimit -Sd)");
    limited(RLIMIT_STACK, "stack 1 MiB", 1 << 20, "printf '%s; ' $(ulimit -Ss)");
    limited(RLIMIT_NOFILE, "descriptors 100", 100, "printf %s $(ulimit -Sn)");
    return 0;
}
C
gcc -static -o t t.c
seen=$(
    # shellcheck disable=SC3045 # every shell of Debian's has it
    ulimit -Ss 8192
    echo "as it is: $(./t)"
    echo "qemu-x86_64: $(usr/bin/qemu-x86_64-static ./t)"
)
echo "$seen"
[ "$seen" = "as it is: as 1 GiB set, child 1048576; data 1 GiB set, child 1048576; stack 1 MiB set, child 1024; \
descriptors 100 set, child 100
qemu-x86_64: as 1 GiB set, child unlimited; data 1 GiB set, child unlimited; stack 1 MiB set, child 8192; \
descriptors 100 set, child 100" ]
