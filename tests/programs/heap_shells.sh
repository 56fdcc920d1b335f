#!/bin/sh
# SPDX-License-Identifier: MIT
# bash with large arrays: subshells, pipelines, traps and coprocesses each fork a process with all of that memory. And
# the commands of shells.sh, with the heap awake from the start in bash, dash and each program that they execute.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs bash dash
plan 2

cat >large.sh <<'END'
set -o pipefail
count=$1
mapfile -t lines <lines
more=("${lines[@]}")
declare -A names
for ((i = 0; i < count; i += 10)); do names[key$i]=${lines[i]}; done
check() {
	local i
	for ((i = $1; i < count; i += 997)); do
		[[ ${lines[i]} == "line $((i + 1)) of a large array, which is long enough to count" ]] ||
			{ echo "element $i is wrong: ${lines[i]}"; return 1; }
		[[ ${more[i]} == "${lines[i]}" ]] || { echo "element $i of more is wrong: ${more[i]}"; return 1; }
	done
	for ((i = 0; i < count; i += 9970)); do
		[[ ${names[key$i]} == "${lines[i]}" ]] || { echo "name $i is wrong"; return 1; }
	done
}
spoil() {
	local i
	for ((i = $1; i < count; i += 501)); do
		lines[i]=spoilt more[i]=
		unset "names[key$i]" "lines[i + 1]"
	done
}
echo ${#lines[@]} ${#names[@]}
for i in 1 2; do
	(check $i && spoil $i; exit $((i + 4))); echo "subshell $?"
	check 0 | cat && (check 1; spoil 1; (check 2 >/dev/null; echo "inner $?"; exit 3); echo "after $?") | tail -n 2
	value=$(spoil $i; echo "${lines[i]} ${lines[i + 501]}"; exit $i); echo "substitution $value $?"
	{ check 2; spoil 2; exit $i; } & lines[7]="the parent's"; wait $!; echo "background $?"
	lines[7]="line 8 of a large array, which is long enough to count"
	coproc { while read -r n; do echo "${lines[n]}"; done; }
	echo $((i * 1000)) >&"${COPROC[1]}"; read -r back <&"${COPROC[0]}"; echo "coprocess: $back"
	eval "exec ${COPROC[1]}>&-"; wait $COPROC_PID 2>/dev/null
	mapfile -t part < <(printf '%s\n' "${lines[@]:i * 100:50}" | sort -r); echo "${#part[@]} ${part[0]}"
	(trap 'check 5 && echo leaving' EXIT; exit 2); echo "exit trap $?"
done
trap 'check 3 && (spoil 3; echo in a trap); got=1' USR1
got=0; kill -s USR1 $$; echo "trap $got"
(kill -s KILL $BASHPID); echo "killed $?"
printf '%s\n' "${lines[@]}" | cksum
rm -f counted; printf '%s\n' "${lines[@]}" | tee >(wc -l >counted) | sort | tail -n 1
until [ -s counted ]; do sleep 0.1; done; cat counted
for ((i = 0; i < 40; i++)); do (exit $i) | (exit 0) | (exit $i); echo -n "${PIPESTATUS[*]};"; done; echo
unset lines; (echo "unset ${#lines[@]} ${#names[@]}")
mapfile -t lines <lines; check 0 && (check 0 && echo again)
exit 9
END
count=$((350000 * scale))
seq -f 'line %.0f of a large array, which is long enough to count' "$count" >lines

large()
{
	with "$plain" bash large.sh $count >right 2>messages
	[ $? -eq 9 ] || fail "it failed without the library: $(cat right messages)"
	with "$1" bash large.sh $count >found 2>complaints
	[ $? -eq 9 ] || fail "status is not 9: $(cat found complaints)"
	same_as right found
	# With process numbers in what bash says of one that was killed.
	sed 's/line [0-9]*: *[0-9]* /PID /' messages >messages.same
	sed 's/line [0-9]*: *[0-9]* /PID /' complaints >complaints.same
	same_as messages.same complaints.same
	# All but those before the arrays are filled, and without them.
	forks_seen --least 130 --mib "$2"
	ends_seen bash "$2"
}
check "bash with $count lines" large "$under" $((20 * scale))

all_awake()
{
	sed -n "/^cat >commands.sh <<'END'/,/^END/p" "$here/shells.sh" | sed '1d;$d' >commands.sh
	[ -s commands.sh ] || fail "shells.sh has no commands.sh any more"
	for shell in bash dash; do
		for how in "$plain" "$awake"; do
			rm -rf start && mkdir start
			echo 'echo should not run' >start/not-executable
			# shellcheck disable=SC2016
			echo 'echo arguments "$@"; exit 12' >start/no-interpreter
			chmod +x start/no-interpreter
			cd start || exit 1
			with "$how" $shell ../commands.sh 120 >../out 2>&1
			[ $? -eq 42 ] || fail "$shell: status is not 42: $(tail -n 5 ../out)"
			cd .. || exit 1
			sed -E 's/(line [0-9]+:) +[0-9]+ /\1 PID /' out \
				>"out.$([ "$how" = "$plain" ] && echo plain || echo awake)"
		done
		same_as out.plain out.awake
		# Each process makes a region of its own; dash ends without a word.
		forks_seen --least 30 --mib 0 --all
		[ $shell = dash ] || ends_seen $shell 0.1 10
	done
}
check "all that shells do, awake in every process" all_awake
finish
