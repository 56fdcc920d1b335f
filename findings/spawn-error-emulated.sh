#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   valgrind 1:3.19.0-1, qemu-user-static 1:7.2+dfsg-7+deb12u18+b3, with libc6 2.36 (Debian 12)
# Expected:  posix_spawn of a file that does not exist returns ENOENT (2), as it does in glibc since 2.24: callers take
#            0 for a program that was started. A program that is debugged or emulated takes the same way.
# Behaviour: under Valgrind and under QEMU's user emulation posix_spawn returns 0 for whatever cannot be executed, and
#            there is a child that ends with 127. glibc's child tells its error by memory that it shares with the
#            caller (CLONE_VM with CLONE_VFORK); both turn that into a plain fork, and the error stays in the copy.
#            Code for the failure is never reached in a test under Valgrind, nor on an emulated machine; and a search
#            of several folders by repeated posix_spawn ends at the first one. fork and exec tell the error in all
#            three.
# Seen:      as it is: posix_spawn 2 / valgrind: posix_spawn 0, child 127 / qemu-x86_64: posix_spawn 0, child 127
# Needs:     gcc
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download valgrind=1:3.19.0-1 qemu-user-static=1:7.2+dfsg-7+deb12u18+b3
for f in *.deb; do dpkg -x "$f" .; done
cat > t.c <<'C'
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

extern char **environ;

int main(void)
{
    char *argv[] = {"missing", NULL};
    int status = 0;
    pid_t pid;
    int error = posix_spawn(&pid, "/nowhere/missing", NULL, NULL, argv, environ);
    printf("posix_spawn %d", error);
    if (error == 0 && waitpid(pid, &status, 0) == pid)
        printf(", child %d", WEXITSTATUS(status));
    return 0;
}
C
gcc -o t t.c
gcc -static -o t-static t.c
export VALGRIND_LIB="$d/usr/libexec/valgrind"
seen="as it is: $(./t) / valgrind: $(usr/bin/valgrind.bin --tool=none -q ./t)"
seen="$seen / qemu-x86_64: $(usr/bin/qemu-x86_64-static ./t-static)"
echo "$seen"
[ "$seen" = "as it is: posix_spawn 2 / valgrind: posix_spawn 0, child 127 / \
qemu-x86_64: posix_spawn 0, child 127" ]
