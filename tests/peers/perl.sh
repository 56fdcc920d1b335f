# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# Perl's own tests, with Debian's perl: the core's, and those of its modules for processes, signals, threads and memory.
# A TEST is a file; its result the number that were right, and which were not.
prepare() {
	packages_need perl perl-modules-5.36\|perl-modules-5.40
	source=$(source_of perl) || return 1
	# What the tests take from the source's lib is what the perl that is there has.
	mv "$source/lib" "$source/lib.tests" && mkdir "$source/lib" || return 1
	for place in $(perl -e 'print join "\n", reverse grep { m{^/usr/(share|lib/[^/]*)/perl(-base$|/)} } @INC'); do
		cp -a "$place/." "$source/lib/" || return 1
	done
	ln -sf /usr/bin/perl "$source/perl" && ln -sf /usr/bin/perl "$source/t/perl" && ln -sfn "$source" source
}

run() {
	which=$1 libraries=$PWD/lib
	shift
	cp -a "$folder/source/t" "$folder/source/lib" . && ln -s /usr/bin/perl perl && cd t || return 1
	for module in ext/POSIX ext/IPC-Open3 dist/threads dist/threads-shared dist/Thread-Queue dist/Storable \
		cpan/IPC-SysV; do
		[ -d "$folder/source/$module/t" ] || continue
		mkdir -p "../$module" && cp -a "$folder/source/$module/t" "../$module/"
	done
	[ $# -gt 0 ] || set -- base/*.t cmd/*.t io/*.t op/*.t re/*.t mro/*.t ../ext/*/t/*.t ../dist/*/t/*.t \
		../cpan/*/t/*.t
	for file in "$@"; do
		# The core's run in t, a module's in its own folder.
		at=. name=$file
		case $file in ../*) at=${file%/t/*} name=t/${file##*/} ;; esac
		(cd "$at" && under "$which" timeout -k 10 120 /usr/bin/perl -I"$libraries" "$name" < /dev/null) \
			> ../said 2> ../complaints
		status=$?
		right=$(grep -c '^ok' ../said) wrong=$(sed -n 's/^not ok \([0-9]*\).*/\1/p' ../said | paste -s -d ,)
		echo "$file	$right right, wrong: ${wrong:-none}, status $status" >> ../results
	done
	cd .. && rm -rf t lib ext dist cpan
}
