#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   tcl8.6 and libtcl8.6 8.6.13+dfsg-2 (Debian 12)
# Expected:  what a script unsets is given back to the system, or at least to malloc, as far as it lies together: a
#            list of a million strings, the only thing that a script holds, is nearly all of its memory. Python 3.11
#            gives the same list back.
# Behaviour: Tcl's allocator (of a build with threads, as all of Debian's are) takes blocks of up to 16 KiB from
#            malloc in batches, and keeps what is freed in lists of its own by size. The process stays as large as it
#            was at its largest.
# Seen:      tcl: full > 80 MiB, after unset > 80 MiB / python: full > 80 MiB, after del < 40 MiB
# Needs:     python3.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
installed=$(dpkg-query -W -f '${Version}' python3-minimal)
case $installed in 3.11.*) ;; *) echo "python3-minimal is $installed here"; exit 1 ;; esac
apt-get -qq -o APT::Sandbox::User=root download tcl8.6=8.6.13+dfsg-2 libtcl8.6=8.6.13+dfsg-2
for f in *.deb; do dpkg -x "$f" .; done
cat > t.tcl <<'T'
proc mib {} {
    set f [open /proc/self/statm]
    set pages [lindex [read $f] 1]
    close $f
    return [expr {$pages / 256}]
}
set l {}
for {set i 0} {$i < 1000000} {incr i} { lappend l "element number $i of a list" }
puts -nonewline "[mib] "
unset l
puts [mib]
T
cat > t.py <<'P'
def mib():
    with open('/proc/self/statm') as f:
        return int(f.read().split()[1]) // 256
l = ['element number %d of a list' % i for i in range(1000000)]
full = mib()
del l
print(full, mib())
P
tcl=$(LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu" TCL_LIBRARY="$d/usr/share/tcltk/tcl8.6" usr/bin/tclsh8.6 t.tcl)
python=$(/usr/bin/python3 t.py)
echo "tcl, full and after unset, in MiB: $tcl / python, full and after del: $python"
[ "${tcl% *}" -gt 80 ] && [ "${tcl#* }" -gt 80 ] && [ "${python% *}" -gt 80 ] && [ "${python#* }" -lt 40 ]
