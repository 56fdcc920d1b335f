#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   libc6 2.36 (the installed one), musl-dev 1.2.3-1 (Debian 12)
# Expected:  posix_spawnp searches for a name without a slash as execvp does (posix_spawnp(3)); so
#            an executable text file without "#!" runs by /bin/sh in both, as POSIX asks of execvp. A C library is
#            expected to agree with itself, and two C libraries on execvp.
# Behaviour: three answers. glibc: execvp runs the file by /bin/sh, posix_spawnp refuses it with ENOEXEC (8). musl:
#            both refuse it with ENOEXEC. A program that moves from fork and execvp to posix_spawnp, or from glibc to
#            musl, no longer starts scripts that were left without a first line.
# Seen:      glibc: execvp status 7, posix_spawnp error 8 / musl: execvp error 8, posix_spawnp error 8
# Needs:     gcc and the headers of the C library.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
installed=$(dpkg-query -W -f '${Version}' libc6)
case $installed in 2.36-*) ;; *) echo "libc6 is $installed here"; exit 1 ;; esac
apt-get -qq -o APT::Sandbox::User=root download musl-dev=1.2.3-1
dpkg -x musl-dev_*.deb .
cat > t.c <<'C'
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(void)
{
    char *argv[] = {"script", NULL};
    int status = 0;
    pid_t pid = fork();
    if (pid < 0)
        return 1;
    if (pid == 0) {
        execvp(argv[0], argv);
        _exit(100 + errno);
    }
    waitpid(pid, &status, 0);
    status = WEXITSTATUS(status);
    printf(status > 100 ? "execvp error %d, " : "execvp status %d, ", status > 100 ? status - 100 : status);
    int error = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
    if (error == 0)
        waitpid(pid, &status, 0);
    printf(error ? "posix_spawnp error %d" : "posix_spawnp status %d", error ? error : WEXITSTATUS(status));
    return 0;
}
C
echo 'exit 7' > script
chmod 755 script
gcc -D_GNU_SOURCE -w -o glibc t.c
m=usr/lib/x86_64-linux-musl
gcc -D_GNU_SOURCE -w -static -nostdinc -isystem usr/include/x86_64-linux-musl \
    -isystem "$(gcc -print-file-name=include)" -nostdlib -o musl \
    $m/crt1.o $m/crti.o t.c $m/libc.a "$(gcc -print-libgcc-file-name)" $m/crtn.o
seen="glibc: $(PATH=.:$PATH ./glibc) / musl: $(PATH=.:$PATH ./musl)"
echo "$seen"
[ "$seen" = "glibc: execvp status 7, posix_spawnp error 8 / musl: execvp error 8, posix_spawnp error 8" ]
