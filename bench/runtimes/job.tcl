# SPDX-License-Identifier: MIT
# Tcl: a list of strings and an array. Forks by exec, and by TclX.
package require Tclx
foreach {name default} {MB 600 FORKS 5 PAUSE 0.1} {
	set $name [expr {[info exists env($name)] ? $env($name) : $default}]
}
fconfigure stdout -buffering none
set count [expr {$MB * 5000}]
set data {}
for {set i 0} {$i < $count} {incr i} { lappend data "value $i of the list" }
for {set i 0} {$i < $count / 10} {incr i} { set names($i) "element $i" }
proc check {} {
	global data names count
	set sum 0
	for {set i 0} {$i < $count} {incr i 31} {
		set sum [expr {($sum * 33 + [string length [lindex $data $i]]) % 1000000007}]
	}
	for {set i 0} {$i < $count / 10} {incr i 7} { incr sum [string length $names($i)] }
	return $sum
}
for {set round 0} {$round < $FORKS} {incr round} {
	set pid [fork]
	if {$pid == 0} {
		for {set i $round} {$i < $count} {incr i 2000} { lset data $i "a child's $i" }
		puts "child $round [check]"
		kill KILL [pid]
	}
	set ended [lrange [wait $pid] 1 end]
	if {$ended ne "SIG SIGKILL"} { error "the child ended with $ended" }
	for {set i $round} {$i < $count} {incr i 1000} { lset data $i "changed $i in $round" }
	puts "parent $round [check] [exec echo by exec]"
	after [expr {int($PAUSE * 1000)}]
}
puts "end [check]"
