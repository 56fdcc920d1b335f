#!/bin/sh
# SPDX-License-Identifier: MIT
# bash and dash: a thousand commands of every kind that forks, and job control.
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
needs bash dash

cat >commands.sh <<'END'
function_status() { return "$1"; }
count=0
trap 'count=$((count + 1))' USR1
i=0
while [ $i -lt "${1:-1000}" ]; do
	case $((i % 20)) in
	0) /bin/echo external $i ;;
	1) printf '%s\n' c a b $i | sort | tr a-z A-Z | tail -n 2 ;;
	2) value=$(echo $i; exit 3); echo "substitution $value $?" ;;
	3) (exit $((i % 256))); echo "subshell $?" ;;
	4) (exit $((i % 7))) & wait $!; echo "background $?" ;;
	5) cat <<HERE | sed 's/^/here: /'
line $i $(echo nested "$(expr $i + 1)")
HERE
	;;
	6) kill -s USR1 $$; echo "trap $count" ;;
	7) (trap 'echo leaving $i' EXIT; exit 4); echo "exit trap $?" ;;
	8) (kill -s TERM "$(exec sh -c 'echo $PPID')"); echo "killed $?" ;;
	9) false | true; echo "pipeline $?"; true | (exit 9); echo "pipeline $?" ;;
	10) ./no-such-program-$i; echo "missing $?" ;;
	11) ./not-executable; echo "not executable $?" ;;
	12) ./no-interpreter $i; echo "no #! line $?" ;;
	13) for j in 1 2 3; do (echo $j >background.$j; exit $j) & done; wait
	    cat background.1 background.2 background.3
	    rm background.* ;;
	14) { sleep 0; echo first; } >ordered & wait; echo second >>ordered; cat ordered ;;
	15) echo "parent unchanged $i" >kept; (value=changed; cd /; : >/dev/null); echo "$value" "$(cat kept)" ;;
	16) seq $i | while read -r line; do last=$line; [ "$line" -lt 500 ] || break; done; echo "last ${last-unset}" ;;
	17) sh -c 'exit 17'; echo "shell $?"; sh -c 'kill -9 $$'; echo "shell $?" ;;
	18) exec 3>descriptor; (echo to three $i >&3); exec 3>&-; cat descriptor ;;
	19) function_status $(($(echo 5) + 1)) || echo "or $?"; ! (exit 0) || echo never; (:) && echo and ;;
	esac
	i=$((i + 1))
done
# A signal while a child is waited for; a reader that ends early; many writers into one pipe.
trap 'echo interrupted' USR2
(sleep 0.1; kill -s USR2 $$) & sleep 0.3; wait
yes | head -n 3
{ i=0; while [ $i -lt 50 ]; do echo $i & i=$((i + 1)); done; wait; } | sort -n | cksum
trap 'echo bye $?' EXIT
exit 42
END
# shellcheck disable=SC2317 # called by name
no_pids() { sed -E 's/(line [0-9]+:) +[0-9]+ /\1 PID /'; }

mkdir start
echo 'echo should not run' >start/not-executable
echo 'echo arguments "$@"; exit 12' >start/no-interpreter
chmod +x start/no-interpreter

for shell in dash bash; do
	compare_with_and_without -d start -e 42 -f no_pids $shell-1000 $shell ../commands.sh
	must_have_records fork 500
	compare_with_and_without -d start -e 42 -f no_pids -i commands.sh -v recorded $shell-stdin $shell -s 100
	must_have_records fork 50
	compare_with_and_without -d start -e 42 -f no_pids -c -v recorded $shell-no-stdin $shell ../commands.sh 100
	must_have_records fork 50
done

cat >bashisms.sh <<'END'
set -o pipefail
for i in {1..50}; do
	(exit $i) | true | (exit 3) | true; echo "${PIPESTATUS[@]} $?"
	mapfile -t lines < <(seq $i; exit 1); echo ${#lines[@]}
	diff <(echo $i) <(echo $((i + i % 2))) >/dev/null; echo "process substitution $?"
	coproc cat; echo $i >&"${COPROC[1]}"; read -r back <&"${COPROC[0]}"; echo "coprocess $back"
	eval "exec ${COPROC[1]}>&-"; wait $COPROC_PID 2>/dev/null
	(echo $((BASH_SUBSHELL)) $([ $BASHPID != $$ ] && echo own pid))
	tee >(cat >/dev/null) <<<"word $i"
	{ sleep 0.0$((i % 3)); exit $i; } & wait -n; echo "wait -n $?"
done
children=0
trap 'children=$((children + 1))' CHLD
for i in 1 2 3 4 5; do /bin/true; done
trap - CHLD
echo children $children
ulimit -u 2>/dev/null >&2
time -p :
END
# shellcheck disable=SC2317 # called by name
no_times() { sed -E 's/^(real|user|sys) [0-9.]+$/\1/'; }
compare_with_and_without -f no_times bash-only bash ../bashisms.sh
must_have_records fork 300

# Job control. In a job's process /proc/self/stat tells: field 5 is the process group, 8 the terminal's foreground
# group.
cat >jobs.sh <<'END'
set -m
field() { read -r -a stat <"/proc/${2:-self}/stat"; echo "${stat[$1 - 1]}"; }
own_group=$(field 5)
sleep 60 & job=$!
[ "$(field 5 $job)" = $job ] && echo "a job leads its group"
[ "$own_group" != $job ] && echo "not ours"
jobs -r
kill -STOP %1; until [ "$(field 3 $job)" = T ]; do :; done
sleep 0.1; jobs -s
bg %1; until [ "$(field 3 $job)" = S ]; do :; done
jobs
kill %1; wait %1; echo "ended $?"
(sleep 1; exit 5) & fg %% >/dev/null; echo "foreground $?"
(exit 6) | (exit 7) & wait %%; echo "pipeline job $?"
bash -c 'kill -STOP $$; exit 8'; echo "stopped $?"
fg >/dev/null; echo "continued $?"
sleep 60 | sleep 60 & group=$(jobs -p %%); kill -- -$group; wait
echo "group killed $?" # on a line of its own: bash tells of a job that ended before the wait when the line is done
if [ -t 0 ]; then
	bash -c 'read -r -a s </proc/$$/stat; [ ${s[4]} = ${s[7]} ] && echo has the terminal'
	(exec bash -c 'read -r -a s </proc/$$/stat; [ ${s[4]} != ${s[7]} ] && echo has not the terminal') & wait
fi
END
compare_with_and_without -f no_pids job-control bash ../jobs.sh
must_have_records fork 10
if command -v script >/dev/null 2>&1; then
	compare_with_and_without -f no_pids terminal script -qec 'bash ../jobs.sh' /dev/null
	must_have_records fork 10
	grep -q 'has the terminal' terminal.plain.stdout || fail "terminal: bash had none"
	compare_with_and_without -f no_pids dash-jobs script -qec \
		'dash -m -c "sleep 1 & jobs; fg; (exit 3) & wait %1; echo \$?"' /dev/null
	must_have_records fork 1
else
	leave_out "script is not installed"
fi

passed "bash and dash"
