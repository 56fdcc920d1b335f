# SPDX-License-Identifier: MIT
# gawk: an array of strings; a coprocess, which it forks for, and pipes.
function check(   sum, i)
{
	for (i = 0; i < count; i += 31)
		sum = (sum * 33 + length(data[i])) % 1000000007
	return sum
}
BEGIN {
	mib = "MB" in ENVIRON ? ENVIRON["MB"] : 600
	forks = "FORKS" in ENVIRON ? ENVIRON["FORKS"] : 5
	pause = "PAUSE" in ENVIRON ? ENVIRON["PAUSE"] : 0.1
	count = mib * 7000
	for (i = 0; i < count; i++)
		data[i] = "value " i
	for (turn = 0; turn < forks; turn++) {
		command = "/bin/cat"
		print "sum " check() |& command
		close(command, "to")
		while ((command |& getline line) > 0)
			print "coprocess", line
		print "status", close(command)
		"echo a pipe" | getline line
		close("echo a pipe")
		for (i = turn; i < count; i += 1000)
			data[i] = "changed " turn
		print "parent", turn, line, check(), system("exit " turn)
		system("sleep " pause)
	}
	print "end", check()
}
