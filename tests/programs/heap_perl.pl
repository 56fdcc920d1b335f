# SPDX-License-Identifier: MIT
# heap_perl.pl MIB: a hash of that size, and perl's ways to make processes. What is printed must be the same whatever
# the memory is in.
use strict;
use warnings;
use Digest::MD5 'md5_hex';
use IPC::Open3;
use POSIX ();
$| = 1;

my $count = int($ARGV[0] * 1048576 / 720);
my %hash;

sub value { my $n = shift; return "value $n " . md5_hex($n) x (1 + $n % 6) }
# One in 50, or one in $_[0], and what they are together.
sub check
{
	my $step = shift // 50;
	for (my $n = 0; $n < $count; $n += $step) {
		my $found = $hash{"key $n"};
		die "key $n is wrong in $$"
			unless defined $found && $found->[0] eq value($n) && $found->[1] == $n && $found->[2]{n} == $n;
	}
	return scalar keys %hash;
}
sub spoil
{
	my $first = shift;
	for (my $n = $first; $n < $count; $n += 37) {
		$hash{"key $n"} = $n % 2 ? "spoilt" : ["x" x ($n % 3000)];
		delete $hash{"key $n"} if $n % 5 == 0;
	}
}
sub child
{
	my $code = shift;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	eval { $code->(); 1 } or do { print STDERR $@; POSIX::_exit(1) };
	POSIX::_exit(0)
}
sub ended { waitpid($_[0], 0) == $_[0] or die "waitpid: $!"; return $? }

$hash{"key $_"} = [value($_), $_, { n => $_ }] for 0 .. $count - 1;
printf "%d keys\n", check(1);

# fork
print "status ", ended(child(sub { check(); spoil($_) })), "\n" for 1 .. 4;
my @many = map { my $n = $_; child(sub { check(); spoil($n) }) } 1 .. 3;
my %kept;
for (my $n = 3; $n < $count; $n += 101) { $kept{$n} = $hash{"key $n"}; $hash{"key $n"} = "the parent's" }
my $inner = child(sub {
	die "not the parent's" unless $hash{"key 3"} eq "the parent's";
	$hash{"key 3"} = "the child's";
	my $status = ended(child(sub { die "not the child's" unless $hash{"key 3"} eq "the child's"; %hash = () }));
	die "status $status" if $status || $hash{"key 3"} ne "the child's";
	# Grows, and forks then.
	my %own = map { $_ => "own $_" x 20 } 1 .. 60000;
	$status = ended(child(sub {
		die "own" unless keys %own == 60000 && $own{77} eq "own 77" x 20;
		delete $own{$_} for 1 .. 1000
	}));
	die "status $status" if $status || $own{500} ne "own 500" x 20;
});
print "status ", ended($_), "\n" for @many, $inner;
$hash{"key $_"} = $kept{$_} for keys %kept;

# system, backticks, pipes
print "system ", system("exit 3;") >> 8, " ", system("true"), " ", system("sh", "-c", 'kill -9 $$'), " ",
	system("./no-such-program"), "\n";
print "backticks ", `echo one; exit 4`, $? >> 8, " ", join(",", map { chomp; $_ } `printf 'a\\nb\\nc\\n'`), "\n";
for my $n (1 .. 20) { my $back = `echo $n \$((n * n)) | cat`; die $back unless $back =~ /^$n / }
open my $from, '-|', 'seq 1000 | tail -n 1' or die; print "from a pipe ", <$from>; close $from;
open my $sorted, '|-', 'sort -rn | head -n 2' or die; print $sorted "$_\n" for 1 .. 5000; close $sorted;
my $pid = open(my $own, '-|') // die;
if (!$pid) {
	print md5_hex(join '', map { $hash{"key $_"}[0] } 0 .. 5000), "\n";
	spoil(0);
	POSIX::_exit(9) unless close STDOUT;
	POSIX::_exit(6)
}
print "a child of open says ", <$own>; close $own; print "status ", $? >> 8, "\n";
print "and it is ", md5_hex(join '', map { $hash{"key $_"}[0] } 0 .. 5000), "\n";
my $both = open3(my $in, my $out, undef, 'cat; echo err >&2; exit 7');
print $in "through cat\n"; close $in; print sort <$out>;
waitpid $both, 0; print $? >> 8, "\n";

# Sorted, rewritten, given back, with children in between.
my @keys = sort { $hash{$a}[0] cmp $hash{$b}[0] } keys %hash;
print "sorted ", md5_hex(join "\n", @keys), " ", ended(child(sub { check(); @keys = reverse @keys; spoil(1) })), "\n";
for my $round (1 .. 4) {
	for (my $n = $round; $n < $count; $n += 30) { $hash{"key $n"}[3] = "x" x ($n * $round % 500); }
	my $status = ended(child(sub {
		for (my $n = $round; $n < $count; $n += 30) {
			die "round $round" unless length $hash{"key $n"}[3] == $n * $round % 500
		}
	}));
	die "round $round: $status" if $status;
	delete $hash{"key $_"}[3] for 0 .. $count - 1;
	$#{$hash{"key $_"}} = 2 for 0 .. $count - 1;
}
my $got = 0;
$SIG{ALRM} = sub { $got += ended(child(sub { check(500) })) == 0 };
for (1 .. 3) { alarm 0; kill ALRM => $$; select undef, undef, undef, 0.01 }
print "in a handler $got\n";
%hash = ();
print "empty ", ended(child(sub { die if %hash })), "\n";
$hash{"key $_"} = [value($_), $_, { n => $_ }] for 0 .. $count - 1;
printf "%d keys again, %s\n", check(1), ended(child(sub { check(); spoil(3) }));
