# SPDX-License-Identifier: MIT
# Perl: an array of strings, a hash of references. job.pl array|hash
use strict;
use warnings;
use POSIX ();
my $kind = $ARGV[0];
my ($mib, $forks, $pause) = ($ENV{MB} // 600, $ENV{FORKS} // 5, $ENV{PAUSE} // 0.1);
my $count = $mib * ($kind eq 'array' ? 9500 : 2600);
my (@data, %data);
$| = 1;

sub put {
	my ($i, $n) = @_;
	if ($kind eq 'array') { $data[$i] = "value number $n" }
	else { $data{"key$i"} = [$n, "value of $n"] }
}

sub check {
	my $sum = 0;
	for (my $i = 0; $i < $count; $i += 31) {
		my $value = $kind eq 'array' ? length($data[$i]) + ord(substr $data[$i], -1)
			: $data{"key$i"}[0] + length $data{"key$i"}[1];
		$sum = ($sum * 33 + $value) % 1000000007;
	}
	return $sum;
}
put($_, $_) for 0 .. $count - 1;
for my $round (0 .. $forks - 1) {
	my $pid = fork // die "fork: $!";
	if ($pid == 0) {
		for (my $i = $round; $i < $count; $i += 2000) { put($i, $i + 1) }
		print "child $round ", check(), "\n";
		POSIX::_exit($round);
	}
	waitpid $pid, 0;
	die "child ended with $?" if $? != $round << 8;
	for (my $i = $round; $i < $count; $i += 1000) { put($i, $i + $round) }
	print "parent $round ", check(), ' ', scalar(`echo through a pipe`);
	select undef, undef, undef, $pause;
}
print 'end ', check(), "\n";
