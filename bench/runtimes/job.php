<?php
// SPDX-License-Identifier: MIT
// PHP: a packed array of integers, a table of strings, objects with arrays. job.php integers|strings|objects
ini_set('memory_limit', '-1');
function setting(string $name, float $other): float
{
	return getenv($name) === false ? $other : (float) getenv($name);
}
[$kind, $mib, $forks, $pause] = [$argv[1], (int) setting('MB', 600), (int) setting('FORKS', 5), setting('PAUSE', 0.1)];
class Node
{
	public int $number;
	public array $list;
}
function make(string $kind, int $i)
{
	if ($kind == 'integers')
		return $i * 3;
	if ($kind == 'strings')
		return str_repeat(chr(65 + $i % 26), 200 + $i % 100);
	$node = new Node;
	$node->number = $i;
	$node->list = [$i, $i + 1];
	return $node;
}
function check(array &$data, string $kind, int $count): int
{
	$sum = 0;
	for ($i = 0; $i < $count; $i += 31) {
		$x = $data[$kind == 'strings' ? "key$i" : $i];
		$value = $kind == 'integers' ? $x :
			($kind == 'strings' ? strlen($x) + ord($x[-1]) : $x->number + $x->list[1]);
		$sum = ($sum * 33 + $value) % 1000000007;
	}
	return $sum;
}
$count = $mib * ['integers' => 50000, 'strings' => 2700, 'objects' => 2300][$kind];
$data = [];
for ($i = 0; $i < $count; $i++)
	$data[$kind == 'strings' ? "key$i" : $i] = make($kind, $i);
for ($round = 0; $round < $forks; $round++) {
	$pid = pcntl_fork();
	if ($pid == 0) {
		for ($i = $round; $i < $count; $i += 2000)
			$data[$kind == 'strings' ? "key$i" : $i] = make($kind, $i + 1);
		echo "child $round ", check($data, $kind, $count), "\n";
		exit($round);
	}
	pcntl_waitpid($pid, $status);
	if ($pid < 0 || pcntl_wexitstatus($status) != $round || !pcntl_wifexited($status))
		die("child ended with $status\n");
	for ($i = $round; $i < $count; $i += 1000)
		$data[$kind == 'strings' ? "key$i" : $i] = make($kind, $i + $round);
	echo "parent $round ", check($data, $kind, $count), "\n";
	usleep((int) ($pause * 1e6));
}
echo "end ", check($data, $kind, $count), "\n";
