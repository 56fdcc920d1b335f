#!/bin/sh
# SPDX-License-Identifier: MIT
# perl: what perlfunc, perlipc and perlfork document about fork, wait, pipes to "-" and to commands, system, signals.
#
# Debian does not package perl's own tests (no package has t/op/fork.t), so these are programs of ours, each with its
# expected output.
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
needs perl
perl -MTest::More -MIPC::Open3 -e 1 2>/dev/null || skip "perl is there without its modules"

cat >forks.pl <<'END'
use strict;
use warnings;
use Config;
use Errno qw(ECHILD ENOENT EINTR);
use Fcntl;
use IPC::Open2;
use IPC::Open3;
use POSIX ();
use Symbol 'gensym';
use Test::More;
$| = 1;
Test::More->builder->no_ending(0);

sub child(&) {
	my $code = shift;
	my $pid = fork;
	defined $pid or die "fork: $!";
	return $pid if $pid;
	$code->();
	POSIX::_exit(99)
}

# fork: two processes, pids, values of their own
{
	my $parent = $$;
	my ($value, %hash) = ('parent', a => 1);
	pipe my $read, my $write or die;
	my $pid = child {
		close $read;
		$value = 'child';
		$hash{a} = 2;
		print $write "$value $hash{a} ", getppid == $parent, ' ', $$ != $parent, ' ', $$, "\n";
		close $write;
		POSIX::_exit(7)
	};
	close $write;
	is(<$read>, "child 2 1 1 $pid\n", 'the child has its own pid and values');
	is(waitpid($pid, 0), $pid, 'waitpid gives the pid');
	is($? >> 8, 7, 'exit status');
	is("$value $hash{a} $$", "parent 1 $parent", 'the parent is as it was');
	$! = 0;
	is(waitpid($pid, 0), -1, 'no such child any more');
	ok($!{ECHILD}, 'ECHILD');
	is(wait, -1, 'wait without children');
}
# all statuses, many children at a time
{
	my %status = map { my $n = $_; (child { POSIX::_exit($n) }, $n) } 0 .. 63;
	is(scalar(keys %status), 64, '64 children, 64 pids');
	while ((my $pid = wait) > 0) { delete $status{$pid} if $? == $status{$pid} << 8 }
	is_deeply(\%status, {}, 'wait found each with its status');
}
# ended by signals
for my $signal (qw(TERM KILL USR1 PIPE)) {
	my $pid = child { $SIG{PIPE} = 'DEFAULT'; kill $signal, $$; sleep 10 };
	waitpid $pid, 0;
	is($? & 127, POSIX->can("SIG$signal")->(), "ended by SIG$signal");
}
# WNOHANG, kill 0, handlers in the child, SIGCHLD
{
	pipe my $read, my $write or die;
	my $pid = child { close $write; sysread $read, my $byte, 1; POSIX::_exit(3) };
	close $read;
	is(waitpid($pid, POSIX::WNOHANG()), 0, 'WNOHANG: still running');
	is(kill(0, $pid), 1, 'kill 0');
	close $write;
	is(waitpid($pid, 0), $pid, 'ended when its pipe was closed');
	is(kill(0, $pid), 0, 'gone');

	my $got = 0;
	local $SIG{CHLD} = sub { $got++ };
	$pid = child { POSIX::_exit(0) };
	select undef, undef, undef, 0.01 until $got;
	is(waitpid($pid, 0), $pid, 'child of the SIGCHLD');
	is($got, 1, 'one SIGCHLD');
	local $SIG{CHLD} = 'IGNORE';
	$pid = child { POSIX::_exit(0) };
	is(waitpid($pid, 0), -1, 'ignored children leave nothing');
	local $SIG{CHLD} = 'DEFAULT';

	local $SIG{USR1} = sub { POSIX::_exit(11) };
	$pid = child { kill USR1 => $$; sleep 10 };
	waitpid $pid, 0;
	is($? >> 8, 11, 'handlers are inherited');
	local $SIG{ALRM} = sub { die "alarm\n" };
	$pid = child { sleep 10 };
	eval { alarm 1; waitpid $pid, 0; alarm 0 };
	is($@, "alarm\n", 'waitpid interrupted by a handler that dies');
	kill KILL => $pid;
	is(waitpid($pid, 0), $pid, 'and the child is still ours');
	$pid = child { alarm 0; POSIX::_exit(alarm(5) ? 1 : 0) };
	waitpid $pid, 0;
	is($?, 0, 'no alarm is inherited');
}
# perlipc: open to "-"
{
	my $pid = open(my $from, '-|') // die "fork: $!";
	if (!$pid) { print "line $_\n" for 1 .. 3; exit 4 }
	is(join('', <$from>), "line 1\nline 2\nline 3\n", 'open "-|": what the child printed');
	ok(!close $from, 'close tells of the status');
	is($? >> 8, 4, 'which is right');
	pipe my $read, my $write or die;
	$pid = open(my $to, '|-') // die "fork: $!";
	if (!$pid) {
		close $read;
		my @lines = <STDIN>;
		print $write scalar(@lines), " $lines[-1]";
		close $write;
		POSIX::_exit(5)
	}
	close $write;
	print $to "a\nb\nc\n";
	ok(!close $to, 'close of "|-" waits');
	is($? >> 8, 5, 'status');
	is(<$read>, "3 c\n", 'open "|-": what the child read');
	# safe pipe opens, perlipc: the child executes
	$pid = open(my $kid, '-|') // die;
	if (!$pid) { exec('/bin/echo', 'safe', '$pipe;', '`open`') or die }
	is(<$kid>, "safe \$pipe; `open`\n", 'exec in the child of an open');
	close $kid;
}
# open to commands, by shell and by list
{
	open my $fh, '-|', 'printf', '%s|', 'a b', 'c' or die;
	is(<$fh>, 'a b|c|', 'list open');
	ok(close($fh), 'closed');
	open $fh, 'echo $((1 + 2)); exit 6 |' or die;
	is(<$fh>, "3\n", 'shell open');
	ok(!close($fh), 'status');
	is($? >> 8, 6, 'which is right');
	open $fh, '|-', 'cat >out; exit 2' or die; print $fh "to a pipe\n"; close $fh; is($? >> 8, 2, 'writing end');
	is(`cat out`, "to a pipe\n", 'arrived');
	{
		no warnings 'exec';
		$! = 0;
		ok(!open($fh, '-|', './no-such-program', 'x'), 'list open of nothing fails');
		ok($!{ENOENT}, 'ENOENT arrives through the pipe from the child');
		is(wait, -1, 'and no child is left');
	}
	local $SIG{PIPE} = 'IGNORE';
	open $fh, '|-', 'true' or die; select undef, undef, undef, 0.5;
	{ my $old = select $fh; $| = 1; select $old }
	ok(!(print $fh 'x' x 100), 'EPIPE');
	{ no warnings; close $fh }
}
# system, backticks, exec
{
	is(system('true'), 0, 'system');
	is(system('exit 3;'), 3 << 8, 'system by a shell');
	is(system('sh', '-c', 'exit $1', 'name', 9), 9 << 8, 'system by list');
	is(system('sh', '-c', 'kill -9 $$') & 127, 9, 'system: killed');
	{
		no warnings 'exec';
		$! = 0;
		is(system('./no-such-program'), -1, 'system of nothing');
		ok($!{ENOENT}, 'ENOENT')
	}
	is(system({ 'sh' } 'another name', '-c', 'test "$0" = "another name"'), 0, 'system with another name');
	is(`echo one; echo two; exit 5`, "one\ntwo\n", 'backticks');
	is($? >> 8, 5, 'status');
	is(scalar(my @lines = `seq 1000`), 1000, 'lines');
	is(length(`head -c 1000000 /dev/zero`), 1000000, 'a megabyte');
	{ no warnings 'exec'; ok(!defined(my $nothing = `./no-such-program`), 'backticks of nothing') }
	is(`echo \$PPID` + 0, $$, 'child of this process');
	local $ENV{VALUE} = 'of the parent';
	is(`echo \$VALUE`, "of the parent\n", 'environment');
	my $old = $SIG{INT} // 'DEFAULT';
	is(system('trap - INT; kill -s INT $$; exit 1') & 127, 2, 'system and SIGINT');
	is($SIG{INT} // 'DEFAULT', $old, 'handler as before');
	my $pid = child { exec 'sh', '-c', 'exit 8' };
	waitpid $pid, 0;
	is($? >> 8, 8, 'exec in a child');
	$pid = child { no warnings; exec './no-such-program'; POSIX::_exit($!{ENOENT} ? 21 : 22) };
	waitpid $pid, 0;
	is($? >> 8, 21, 'exec that fails returns');
}
# buffers and file positions
{
	open my $out, '>', 'buffer' or die;
	print $out "before\n";
	my $pid = child { print $out "child\n"; close $out; POSIX::_exit(0) };
	waitpid $pid, 0;
	print $out "after\n";
	close $out;
	open my $in, '<', 'buffer' or die;
	is(join('', <$in>), "before\nchild\nafter\n", 'buffers are flushed before a fork');
	open $in, '<', 'buffer' or die;
	$pid = child { sysseek $in, 7, 0; POSIX::_exit(0) };
	waitpid $pid, 0;
	sysread $in, my $word, 5;
	is($word, 'child', 'the offset is shared');
	$pid = child { chdir '/'; umask 0; %ENV = (); close $in; POSIX::_exit(0) };
	waitpid $pid, 0;
	ok(-e 'buffer' && exists $ENV{PATH} && defined fileno $in, 'directory, environment, descriptors are not');
}
# END blocks, die, local, nested forks, fork in odd places (what t/op/fork.t asks)
{
	my @programs = (
		['END { print "end $$\n" eq "" } END { print "end\n" } if (my $p = fork) { waitpid $p, 0 } exit 0',
		 "end\nend\n", 0],
		['$p = fork; if (!$p) { die "child dies\n" } waitpid $p, 0; print $? >> 8, "\n"; exit 3', "255\n", 3],
		['eval { if (!(my $p = fork)) { eval { die "x\n" }; print "child $@"; exit } else { ' .
		 'waitpid $p, 0; die "y\n" } }; print "parent $@"',
		 "child x\nparent y\n", 0],
		['for (1 .. 3) { my $p = fork; if ($p) { ' .
		 'waitpid $p, 0; print "$_ waited\n"; last } print "$_ down\n" }',
		 "1 down\n2 down\n3 down\n3 waited\n2 waited\n1 waited\n", 0],
		['print map { my $p = fork; if (!$p) { exit $_ } waitpid $p, 0; ($? >> 8) . "\n" } 1 .. 4',
		 "1\n2\n3\n4\n", 0],
		['my @a = sort { my $p = fork; if (!$p) { exit($a <=> $b) } ' .
		 'waitpid $p, 0; $a <=> $b } 3, 1, 2; print "@a\n"',
		 "1 2 3\n", 0],
		['local $x = 1; { local $x = 2; if (!(my $p = fork)) { print "child $x\n"; exit } else { ' .
		 'waitpid $p, 0 } } print "parent $x\n"',
		 "child 2\nparent 1\n", 0],
		['package O; sub DESTROY { print "destroyed by ", $_[0][0] == $$ ? "maker" : "child", "\n" } ' .
		 'package main; { my $o = bless [$$], "O"; my $p = fork; exit if !$p; waitpid $p, 0 }',
		 "destroyed by child\ndestroyed by maker\n", 0],
		['$SIG{__DIE__} = sub { print "hook: @_" }; if (my $p = fork) { ' .
		 'waitpid $p, 0; print "status ", $? >> 8, "\n" } else { $! = 0; $? = 0; die "in child\n" }',
		 "hook: in child\nstatus 255\n", 0],
		['BEGIN { my $p = fork; exit 0 if defined $p && !$p; waitpid $p, 0 } print "compiled\n"',
		 "compiled\n", 0],
		['sub f { my $n = shift; return 1 if !$n; my $p = fork; if (!$p) { exit f($n - 1) + 1 } ' .
		 'waitpid $p, 0; $? >> 8 } print f(10), "\n"',
		 "11\n", 0],
		['srand 1; my $a = rand; pipe R, W; if (!fork) { printf W "%.9f\n", rand; exit } ' .
		 'wait; print <R> == sprintf("%.9f", rand) ? "same\n" : "other\n"',
		 "same\n", 0],
		['if (my $p = fork) { print "p\n" if waitpid($p, 0) == $p } ' .
		 'else { exec $^X, "-e", q{print "executed\n"} }',
		 "executed\np\n", 0],
		['print "unflushed "; $p = fork; if (!$p) { print "child " ; exit } waitpid $p, 0; print "parent\n"',
		 "unflushed child parent\n", 0],
		['use POSIX; $p = fork; if (!$p) { setsid; exit(getpgrp == $$ ? 0 : 1) } ' .
		 'waitpid $p, 0; print "session $?\n"',
		 "session 0\n", 0],
		['$p = fork; if (!$p) { $0 = "renamed"; open F, "/proc/$$/comm"; print <F>; exit } waitpid $p, 0',
		 "renamed\n", 0],
	);
	for (@programs) {
		my ($program, $right, $status) = @$_;
		my $pid = open3(my $in, my $out, my $err = gensym, $^X, '-e', $program);
		close $in;
		my $said = join '', <$out>;
		my $errors = join '', <$err>;
		waitpid $pid, 0;
		is($said, $right, $program);
		is($? >> 8, $status, 'its status') or diag $errors;
	}
}
# IPC::Open2, IPC::Open3
{
	my $pid = open2(my $out, my $in, 'tr a-z A-Z');
	print $in "through tr\n"; close $in;
	is(<$out>, "THROUGH TR\n", 'open2');
	is(waitpid($pid, 0), $pid, 'its child');
	$pid = open3($in, $out, my $err = gensym, 'cat; echo wrong >&2; exit 13');
	print $in "in\n"; close $in;
	is(join('', <$out>, <$err>), "in\nwrong\n", 'open3');
	waitpid $pid, 0;
	is($? >> 8, 13, 'status');
	ok(!eval { open3($in, $out, undef, './no-such-program'); 1 }, 'open3 of nothing dies');
	like($@, qr/open3: exec of .* failed: No such file/, 'and says why');
}
# threads
SKIP: {
	skip 'no threads', 3 unless $Config{useithreads};
	require threads;
	my @threads = map {
		my $n = $_;
		threads->create(sub {
			my $pid = fork;
			if (!$pid) { POSIX::_exit($n) }
			waitpid $pid, 0;
			$? >> 8
		})
	} 1 .. 8;
	is(join(' ', map { $_->join } @threads), '1 2 3 4 5 6 7 8', 'fork in threads');
	is(threads->create(sub { `echo in a thread` })->join, "in a thread\n", 'backticks in a thread');
	my $pid = child { my $t = threads->create(sub { 5 }); POSIX::_exit($t->join) };
	waitpid $pid, 0;
	is($? >> 8, 5, 'a thread in a child');
}
done_testing;
END
compare_with_and_without forks perl ../forks.pl
must_have_records fork 150
compare_with_and_without -c -v recorded closed-input perl ../forks.pl

passed "perl $(perl -e 'print $^V'), $(grep -c ^ok forks.plain.stdout) checks"
