# SPDX-License-Identifier: MIT
# small.pl: perl as it is, splitting and joining words and filling hashes, of which little is held at a time: a program
# that allocates much and stays small.
# Turns (turns.h) of N rounds.
use strict;
use warnings;
use Time::HiRes 'time';

$| = 1;
while (my $line = <STDIN>) {
	my ($rounds, $start) = ((split ' ', $line)[1], time);
	for my $round (1 .. $rounds) {
		my %found;
		for my $number (1 .. 200) {
			my @words = split / /, "the quick brown fox $number jumps over the lazy dog $round";
			$found{join '-', reverse @words}++;
			push @{$found{list}{$number % 7}}, "$number:$words[3]";
		}
		my $all = join ',', sort keys %found;
	}
	printf "rate %.1f\n", $rounds / (time - $start);
}
