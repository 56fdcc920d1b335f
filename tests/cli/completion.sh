#!/bin/bash
# SPDX-License-Identifier: MIT
# The subcommands of odfork and their options are the same in its help, in the page, in what the completions offer,
# and in what the command takes.
set -eu
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
must_work=${ODF_MUST_WORK:-0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "$*"; exit 1; }
PATH=$build:$PATH
page=$source/man/odfork.1

same() { # WHAT LEFT RIGHT
	diff -u "$2" "$3" || fail "$1: $2 and $3 differ"
	[ -s "$2" ] || fail "$1: none in $2"
}
# Of its page: the sections; of a section: what is set as an option at the head of a paragraph.
in_page() { # [SUBCOMMAND]
	if [ $# = 0 ]; then
		sed -n 's/^\.SS odfork \([a-z]*\)$/\1/p' "$page" | sort -u
	else
		sed -n "/^\\.SS odfork $1\$/,/^\\.S[SH]/p" "$page" | grep -A 2 '^\.TP$' | grep -v '^\(\.TP\|--\)$' |
			grep '^\.[A-Z]' | sed 's/\\-/-/g' |
			grep -oE -- '--[a-z][a-z-]*' | sort -u
	fi
}
in_synopsis() {
	sed -n 's/^\.SY odfork\\~\([a-z]*\)$/\1/p' "$page" | grep -vx -e help -e version | sort -u
}
in_help() { # [SUBCOMMAND]
	if [ $# = 0 ]; then
		odfork --help | sed -nE 's/^  odfork ([a-z]+) .*/\1/p' | grep -vx -e help -e version | sort -u
	else
		odfork help "$1" | grep -oE -- '--[a-z][a-z-]*' | sort -u
	fi
}
# shellcheck disable=SC2034,SC2154 # of the completion
in_bash() { # WORD...
	bash --norc -c '
		. "$1"
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_odfork odfork "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
		[ ${#COMPREPLY[@]} = 0 ] || printf "%s\n" "${COMPREPLY[@]}"' bash "$source/completions/odfork.bash" "$@"
}
in_zsh() { # WORD...
	# shellcheck disable=SC2016
	zsh -f -c '
		compadd() { while [[ ${1-} == -* && $1 != -- ]]; do [[ $1 == -a ]] &&
			{ print -rl -- ${(P)2}; return }; [[ $1 == -S ]] && shift; shift; done
			[[ ${1-} == -- ]] && shift; (( $# == 0 )) || print -rl -- "$@" }
		compset() { }; _pids() { print PIDS }; _files() { print FILES }; _users() { print USERS }
		_command_names() { print COMMANDS }; _normal() { print "NORMAL $words" }
		file=$1; shift
		words=("$@") CURRENT=$#
		source $file' zsh "$source/completions/_odfork" "$@"
}

in_help > help
in_page > page
in_synopsis > synopsis
in_bash odfork "" | grep -vx -e help -e version > bash
same subcommands help page
same subcommands help synopsis
same subcommands help bash
zsh=$(command -v zsh || :)
[ -n "$zsh" ] || [ "$must_work" = 0 ] || fail "no zsh"
if [ -n "$zsh" ]; then
	in_zsh odfork "" | grep -vx -e help -e version > zsh
	same subcommands help zsh
fi
while read -r subcommand; do
	in_help "$subcommand" > "help_$subcommand"
	in_page "$subcommand" > "page_$subcommand"
	in_bash odfork "$subcommand" -- | sed 's/=$//' | sort -u > "bash_$subcommand"
	same "$subcommand" "help_$subcommand" "page_$subcommand"
	same "$subcommand" "help_$subcommand" "bash_$subcommand"
	if [ -n "$zsh" ]; then
		in_zsh odfork "$subcommand" -- | sed 's/=$//' | sort -u > "zsh_$subcommand"
		same "$subcommand" "help_$subcommand" "zsh_$subcommand"
	fi
	# The command takes each: of one that it does not know it says so, of another only that a value is missing or
	# what is wrong with it.
	while read -r option; do
		timeout 120 odfork "$subcommand" "$option=?" --help > out 2> err < /dev/null || :
		timeout 120 odfork "$subcommand" "$option" --help >> out 2>> err < /dev/null || :
		if grep -q "no such option" err; then
			fail "odfork $subcommand does not take $option: $(cat err)"
		fi
	done < "help_$subcommand"
	timeout 120 odfork "$subcommand" --no-such-option x > out 2> err < /dev/null &&
		fail "odfork $subcommand --no-such-option"
	grep -q "odfork: $subcommand: no such option" err || fail "odfork $subcommand --no-such-option: $(cat err)"
	odfork "$subcommand" --help | sed -n 's/^  odfork \([a-z]*\) .*/\1/p' > of
	[ "$(sort -u of)" = "$subcommand" ] || fail "odfork $subcommand --help is about $(cat of)"
done < help

# Values, processes, files, and the command that is run.
[ "$(in_bash odfork run --strategy = re)" = region ] || fail "--strategy=re: $(in_bash odfork run --strategy = re)"
[ "$(in_bash odfork run --strategy re)" = region ] || fail "--strategy re"
[ "$(in_bash odfork run --heap = | tr '\n' ' ')" = "auto on off " ] || fail "--heap="
in_bash odfork inspect "$$" | grep -qx $$ || fail "processes"
touch "records_of_mine"
[ "$(in_bash odfork stats rec)" = records_of_mine ] || fail "files"
in_bash odfork run --log -- printen | grep -qx printenv || fail "commands after --"
in_bash odfork run --strategy fork printen | grep -qx printenv || fail "commands after a value"
in_bash odfork run --log printen | grep -qx printenv || fail "commands after an option"
[ "$(in_bash odfork run --log cat rec)" = records_of_mine ] ||
	fail "words of the command: $(in_bash odfork run --log cat rec)"
[ "$(in_bash odfork spawn cat --)" = "" ] || fail "options of the command's: $(in_bash odfork spawn cat --)"
in_bash odfork help "sp" | grep -qx spawn || fail "help"
if [ -n "$zsh" ]; then
	[ "$(in_zsh odfork run --strategy=re | tr '\n' ' ')" = "auto kernel region fork " ] || fail "zsh: --strategy="
	[ "$(in_zsh odfork inspect "")" = PIDS ] && [ "$(in_zsh odfork stats "")" = FILES ] &&
		[ "$(in_zsh odfork run --user=x)" = USERS ] || fail "zsh: kinds"
	[ "$(in_zsh odfork run --log x)" = COMMANDS ] && [ "$(in_zsh odfork run -- cat x)" = "NORMAL cat x" ] ||
		fail "zsh: the command"
fi
