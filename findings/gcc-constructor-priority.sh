#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   gcc-12 and cpp-12 12.2.0-14+deb12u1 (Debian 12)
# Expected:  gcc(1)'s manual: constructors with a smaller priority run first, those without one last. The attribute
#            of a definition counts whether or not the function was declared before, as other attributes do.
# Behaviour: a constructor that was declared before its definition, without the attribute (as by including one's own
#            header), loses its priority without a warning, with -Wall -Wextra too: it runs after all that have one.
#            A library that has to read its settings first reads them last, by an #include. Clang keeps the priority.
# Seen:      not declared before: .init_array.00101 / declared before: .init_array
# Needs:     nothing else.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download gcc-12=12.2.0-14+deb12u1 cpp-12=12.2.0-14+deb12u1
for f in *.deb; do dpkg -x "$f" .; done
# In which list of the program the constructor comes: the assembler's input says it.
list() {
    printf '%s\n' "$1" '__attribute__((constructor(101))) void first(void) { __asm__ volatile(""); }' > t.c
    usr/bin/x86_64-linux-gnu-gcc-12 -Wall -Wextra -Werror -S -o - t.c | grep -o '\.init_array[.0-9]*' | head -n 1
}
seen="not declared before: $(list '') / declared before: $(list 'void first(void);')"
echo "$seen"
[ "$seen" = "not declared before: .init_array.00101 / declared before: .init_array" ]
