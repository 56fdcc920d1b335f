# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# git's own tests that start processes, map packs and use threads, on Debian's git. The helper program of the tests is
# built from the source. A TEST of run is a file of t/.
git_tests='t0005 t0021 t0061 t0090 t1006 t1050 t1450 t3404 t3701 t5300 t5302 t5310 t5500 t5510 t5526 t5601 t6500
	t7006 t7400 t7406 t7508 t7700 t7810 t7900 t9300'

prepare() {
	packages_need git gcc libc6-dev make zlib1g-dev
	source=$(source_of git) || return 1
	nice make -C "$source" -j "$(nproc)" CFLAGS='-O0 -w' NO_OPENSSL=1 NO_CURL=1 NO_EXPAT=1 NO_GETTEXT=1 NO_TCLTK=1 \
		NO_PYTHON=1 GIT-BUILD-OPTIONS t/helper/test-tool || return 1
	make -C "$source/templates" > /dev/null 2>&1
	ln -sfn "$source" source
}

run() {
	which=$1 here=$PWD
	shift
	for file in ${*:-$git_tests}; do
		for path in "$folder/source/t/$file"-*.sh; do
			echo "-- $path"
			(cd "$folder/source/t" && GIT_TEST_INSTALLED=$(dirname "$(command -v git)") under "$which" \
				timeout -k 10 900 sh "$path" --root="$here/trash" < /dev/null) > said 2>&1
			status=$?
			cat said
			sed -n -e "s/^ok \([0-9]*\) # skip.*/$file:\1	skipped/p" \
				-e "s/^ok \([0-9]*\) .*/$file:\1	right/p" \
				-e "s/^not ok \([0-9]*\) .*# [T]ODO.*/$file:\1	known to be wrong/p" \
				-e "s/^not ok \([0-9]*\) .*/$file:\1	wrong/p" said >> results
			echo "$file	status $status" >> results
		done
	done
	rm -rf trash
}

words_of() { printf '%s\n' "${1%%:*}"; }
