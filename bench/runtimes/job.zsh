# SPDX-License-Identifier: MIT
# zsh: an array and an associative array; subshells, substitutions and pipelines.
mib=${MB:-600} forks=${FORKS:-5}
integer count=$((mib * 6000)) turn i
data=("${(@f)$(seq -f 'value number %.0f of the array' $count)}")
typeset -A names
for ((i = 1; i <= count; i += 50)); do names[key$i]="element $i of the names"; done
check() {
	integer sum=0 i
	for ((i = 1; i <= count; i += 50021)); do ((sum = (sum * 33 + ${#data[i]} + i) % 1000003)); done
	echo "$sum ${#data} ${#names} ${names[key1]}"
}
change() { integer i; for ((i = $1 + 1; i <= count; i += $2)); do data[i]="changed $1"; done; names[key1]="changed $1" }
for ((turn = 0; turn < forks; turn++)); do
	(change $turn 400000; echo "child $turn $(check)"; exit $turn) || [[ $? == $turn ]] || exit 1
	echo "substitution $(check)"
	echo pipeline | while read -r line; do echo "$line $(check)"; done
	change $turn 200000
	echo "parent $turn"
	sleep ${PAUSE:-0.1}
done
echo "end $(check)"
