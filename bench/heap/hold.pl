# SPDX-License-Identifier: MIT
# hold.pl MIB: perl with a hash of so much; turns (turns.h) of N calls of system. "Held" is all of system here: perl
# waits in it.
use strict;
use warnings;
use Time::HiRes 'time';

$| = 1;
my ($aim, $count, %held) = ($ARGV[0] << 20, 0);
sub resident { open my $file, '<', '/proc/self/statm' or die; return (split ' ', <$file>)[1] * 4096 }
while (resident() < $aim) {
	for (1 .. 20000) {
		$held{"key $count"} = 'x' x 150;
		$count++;
	}
}
while (my $line = <STDIN>) {
	my $turns = (split ' ', $line)[1];
	my ($start, @times) = (time);
	for (1 .. $turns) {
		my $before = time;
		system('/bin/true') == 0 or die "system: $?";
		push @times, time - $before;
	}
	my $rate = $turns / (time - $start);
	@times = sort { $a <=> $b } @times;
	my $last = int($turns * 0.99) < $turns ? int($turns * 0.99) : $turns - 1;
	printf "rate %.2f held_median_us %.1f held_p99_us %.1f\n", $rate, $times[$turns / 2] * 1e6, $times[$last] * 1e6;
}
