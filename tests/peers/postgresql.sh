# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# PostgreSQL's regression tests, on Debian's server. Each run takes the whole parallel schedule, as the tests depend on
# each other.
prepare() {
	packages_need postgresql gcc libc6-dev
	programs=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
	version=$(basename "$(dirname "$programs")")
	source=$(source_of "postgresql-$version") || return 1
	# The headers alone: what else belongs to the package of the server's headers is large.
	installed=$(dpkg-query -W -f '${Version}' "postgresql-$version")
	apt-get download "postgresql-server-dev-$version=$installed" || return 1
	dpkg -x postgresql-server-dev-*.deb headers || return 1
	gcc -shared -fPIC -O1 -w -I"headers/usr/include/postgresql/$version/server" -o regress.so \
		"$source/src/test/regress/regress.c" || return 1
	ln -sfn "$source" source && ln -sfn "$programs" programs && chmod -R a+rX .
}

run() {
	mkdir output && chown postgres . output
	here=$PWD
	programs=$(readlink -f "$folder/programs")
	(cd "$folder/source/src/test/regress" && under "$1" timeout -k 10 3000 \
		setpriv --reuid postgres --regid postgres --init-groups \
		"$programs/../lib/pgxs/src/test/regress/pg_regress" --bindir="$programs" --dlpath="$folder" \
		--inputdir=. --outputdir="$here/output" --temp-instance="$here/instance" --schedule=parallel_schedule \
		--max-connections=8 --no-locale --encoding=UTF8 < /dev/null)
	sed -n -e 's/^ *\(test \)\{0,1\}\([a-z0-9_]*\)  *\.\.\. \([a-zA-Z]*\).*/\2	\3/p' log > results
}

words_of() { :; }
