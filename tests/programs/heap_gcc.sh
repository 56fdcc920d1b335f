#!/bin/sh
# SPDX-License-Identifier: MIT
# Compilers under make -j: the library's own sources, and a C++ program for which the compiler needs 100 MiB. Compiled
# with the heap awake in every process, the objects must be the same, byte by byte.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs make gcc g++
plan 3
[ -f "$ODF_BUILD/config.h" ] || fail "$ODF_BUILD/config.h is missing"

cat >large.cc <<'END'
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <regex>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct tower {
	std::map<int, std::variant<int, std::string, std::vector<double>>> floor;
	tower<N - 1> below;
	int sum() { return N + (int)floor.size() + below.sum(); }
};
template <> struct tower<0> { int sum() { return 0; } };
int main()
{
	tower<20> all;
	std::regex words("(\\w+)\\s+(\\d+)");
	std::smatch found;
	std::string text = "value 42";
	std::unordered_map<std::string, std::function<int(int)>> functions = {
		{ "double", [](int n) { return 2 * n; } } };
	std::mt19937 numbers(1);
	std::vector<int> sorted(1000);
	std::generate(sorted.begin(), sorted.end(), [&] { return (int)(numbers() % 1000); });
	std::sort(sorted.begin(), sorted.end());
	std::regex_search(text, found, words);
	std::cout << all.sum() << ' ' << found[2] << ' ' << functions["double"](21) << ' ' << sorted[500] << '\n';
}
END
{
	echo 'struct item { int number; const char *name; double values[4]; };'
	i=0
	while [ $i -lt $((400 * scale)) ]; do
		echo "static int function$i(const struct item *i, int n) { int s = $i; for (int k = 0; k < n; k++)"
		echo "s = s * 31 + i[k].number + (int)(i[k].values[k & 3] * $i); return s ^ i[n & 1].name[0]; }"
		i=$((i + 1))
	done
	echo 'int (*const functions[])(const struct item *, int) = {'
	i=0
	while [ $i -lt $((400 * scale)) ]; do
		echo "function$i,"
		i=$((i + 1))
	done
	echo '};'
} >large.c
cat >Makefile <<END
sources := \$(wildcard $ODF_SOURCE/src/spawn/[a-p]*.c $ODF_SOURCE/src/strategy/*.c)
objects := \$(notdir \$(sources:.c=.o))
vpath %.c $ODF_SOURCE/src/spawn $ODF_SOURCE/src/strategy
all: objects large.o program
objects: \$(objects)
%.o: %.c
	@gcc -std=gnu11 -O1 -g -pipe -D_GNU_SOURCE -include $ODF_BUILD/config.h -I$ODF_SOURCE/include -c -o \$@ \$<
large.o: ../large.c
	@gcc -O1 -g -c -o \$@ \$<
program: ../large.cc
	@g++ -O0 -g -std=c++17 -o \$@ \$<
END

# build HOW LIST [TARGET]: of sums of what was built, without a target of all
build()
{
	rm -rf here && mkdir here
	(cd here && with "$1" make -s -j3 -f ../Makefile ${3:+"$3"}) >messages 2>&1 ||
		{ cat messages; fail "not built"; }
	[ ! -s messages ] || { cat messages; fail "the compiler says something"; }
	[ $# = 3 ] || [ "$(here/program)" = "210 42 42 $(right_number)" ] || fail "the program prints: $(here/program)"
	(cd here && cksum ./*) >"$2"
}
right_number() { here/program | cut -d' ' -f4; }
plainly()
{
	build "$plain" right
	[ "$(wc -l <right)" -gt 20 ] || fail "only $(wc -l <right) objects"
}
check "without the library" plainly
growing()
{
	build "$under" found
	# Whether what a compiler grows by is taken in depends on how long it lives.
	same_as right found
}
check "the compilers' heaps awake by growth" growing
from_the_start()
{
	build "$awake" found objects # the large ones grow the same way as above
	grep -vE ' [.]/(large.o|program)$' right >right-objects
	same_as right-objects found
	ends_seen 'cc1|cc1plus' 1 20
	ends_seen 'as|ld|ld.bfd|x86_64-linux-gnu-(as|ld.bfd)' 0.1 20
	ends_seen 'make' 0.1
}
check "all processes awake from the start" from_the_start
finish
