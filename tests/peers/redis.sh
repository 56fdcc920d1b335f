# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# Redis's own tests of persistence and replication, on Debian's server. A TEST of run is one of its files.
redis_tests='integration/rdb integration/aof integration/aof-multi-part integration/aof-race unit/aofrw
	integration/replication integration/replication-2 integration/replication-3 integration/replication-4
	integration/replication-psync integration/replication-buffer integration/block-repl integration/psync2
	integration/psync2-reg integration/psync2-pingoff integration/failover integration/shutdown
	integration/dismiss-mem unit/other'

prepare() {
	packages_need redis-server redis-tools tcl procps
	source=$(source_of redis) || return 1
	for program in redis-server redis-cli redis-benchmark redis-check-rdb redis-check-aof; do
		ln -sf "$(command -v $program)" "$source/src/$program" || return 1
	done
	# Its helper takes the first child that pgrep -P names for the one that saves. The library's keeper is one, too,
	# as odfork_keeper(7) says; so it asks for the server's name.
	sed -i 's/pgrep -P $pid/pgrep -P $pid redis/' "$source/tests/support/util.tcl" || return 1
	ln -sfn "$source" source
}

run() {
	which=$1
	shift
	for file in ${*:-$redis_tests}; do
		[ -e "$folder/source/tests/$file.tcl" ] || continue
		echo "-- $file"
		(cd "$folder/source" && under "$which" timeout -k 10 1200 \
			./runtest --clients 1 --no-latency --single "$file" < /dev/null) > said 2>&1
		status=$?
		cat said
		sed -e 's/\x1b\[[0-9;]*m//g' -n -e 's/^\[\(ok\|err\|exception\|ignore\|skip\)\]: \(.*\)$/\1 \2/p' said |
			sed -e 's/ ([0-9]* ms)$//' -e 's/ in tests\/.*//' | tr -s ' \t' '__' |
			sed -e "s|^\([a-z]*\)_\(.*\)|$file:\2	\1|" >> results
		echo "$file	status $status" >> results
	done
}

words_of() { printf '%s\n' "${1%%:*}"; }
