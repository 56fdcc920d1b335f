# SPDX-License-Identifier: MIT
# Completion of odfork(1) for bash. Subcommands and options are those that the command's own help lists.

_odfork_options() { # COMMAND [SUBCOMMAND]: each option, with "=" behind it if it takes a value
	"$1" help ${2:+"$2"} 2> /dev/null | grep -oE -- '--[a-z][a-z-]*=?' | sort -u
}

_odfork_subcommands() { # COMMAND
	"$1" help 2> /dev/null | sed -nE 's/^  odfork ([a-z]+) .*/\1/p' | sort -u
}

_odfork_values() { # SUBCOMMAND OPTION CURRENT
	case $1:$2 in
	run:--strategy) COMPREPLY=($(compgen -W 'auto kernel region fork' -- "$3")) ;;
	run:--heap) COMPREPLY=($(compgen -W 'auto on off' -- "$3")) ;;
	spawn:--allow) COMPREPLY=($(compgen -W 'posix_spawn vfork fork pool' -- "$3")) ;;
	*:--user | *:--uid) COMPREPLY=($(compgen -u -- "$3")) ;;
	*:--gid | *:--groups) COMPREPLY=($(compgen -g -- "$3")) ;;
	*:--stats | *:--plot | *:--seccomp | *:--namespace) COMPREPLY=($(compgen -f -- "$3")) ;;
	*:--cwd | *:--root | *:--cgroup) COMPREPLY=($(compgen -d -- "$3")) ;;
	*:--sigmask | *:--sigdefault | *:--parent-death) COMPREPLY=($(compgen -A signal -- "$3")) ;;
	*) COMPREPLY=() ;;
	esac
}

_odfork_command() { # FROM: the words from there on are another command's
	local root=("${COMP_WORDS[@]:$1}")

	if [ $((COMP_CWORD - $1)) -eq 0 ]; then
		COMPREPLY=($(compgen -c -- "${COMP_WORDS[COMP_CWORD]}"))
	elif declare -F _command_offset > /dev/null; then
		_command_offset "$1"
	else
		COMPREPLY=($(compgen -f -- "${root[COMP_CWORD - $1]}"))
	fi
}

_odfork() {
	local current=${COMP_WORDS[COMP_CWORD]} subcommand=${COMP_WORDS[1]} option= at value options

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W "$(_odfork_subcommands "$1")" -- "$current"))
		[ "${current:0:1}" != - ] || COMPREPLY=($(compgen -W '--help --version' -- "$current"))
		return
	fi
	# A value: readline takes "=" for a word of its own.
	if [ "$current" = = ]; then
		option=${COMP_WORDS[COMP_CWORD - 1]} current=
	elif [ "${COMP_WORDS[COMP_CWORD - 1]}" = = ]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if [ -n "$option" ]; then
		_odfork_values "$subcommand" "$option" "$current"
		return
	fi
	options=$(_odfork_options "$1" "$subcommand")
	if [ "$subcommand" = run ] || [ "$subcommand" = spawn ]; then
		# The first word that is neither an option nor a value begins the command.
		for ((at = 2; at < COMP_CWORD; at++)); do
			case ${COMP_WORDS[at]} in
			--)
				_odfork_command $((at + 1))
				return
				;;
			=) at=$((at + 1)) ;;
			-*)
				value=${COMP_WORDS[at]}=
				[ "${COMP_WORDS[at + 1]-}" = = ] || case $'\n'$options$'\n' in
				*$'\n'"$value"$'\n'*)
					if [ $((at + 1)) -eq "$COMP_CWORD" ]; then
						_odfork_values "$subcommand" "${COMP_WORDS[at]}" "$current"
						return
					fi
					at=$((at + 1))
					;;
				esac
				;;
			*)
				_odfork_command "$at"
				return
				;;
			esac
		done
	fi
	if [ "${current:0:1}" = - ]; then
		COMPREPLY=($(compgen -W "$options" -- "$current"))
		[ "${#COMPREPLY[@]}" != 1 ] || [ "${COMPREPLY[0]%=}" = "${COMPREPLY[0]}" ] ||
			compopt -o nospace 2> /dev/null
		return
	fi
	case $subcommand in
	run | spawn) _odfork_command "$COMP_CWORD" ;;
	inspect) COMPREPLY=($(compgen -W "$(cd /proc && printf '%s\n' [0-9]*)" -- "$current")) ;;
	stats) COMPREPLY=($(compgen -f -- "$current")) ;;
	help) COMPREPLY=($(compgen -W "$(_odfork_subcommands "$1")" -- "$current")) ;;
	esac
}

complete -F _odfork odfork
