#!/bin/sh
# SPDX-License-Identifier: MIT
# GNU make: parallel builds, failing rules, recursion.
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
needs make "${CC%% *}"
make --version 2>/dev/null | grep -q '^GNU Make' || skip "make is not GNU make"

mkdir -p project/sub
i=1
while [ $i -le 30 ]; do
	printf 'int value%d(void);\nint value%d(void)\n{\n\treturn %d;\n}\n' $i $i $i >project/part$i.c
	i=$((i + 1))
done
{
	i=1
	while [ $i -le 30 ]; do
		echo "int value$i(void);"
		i=$((i + 1))
	done
	printf '#include <stdio.h>\nint main(void)\n{\n\tint sum = 0;\n'
	i=1
	while [ $i -le 30 ]; do
		printf '\tsum += value%d();\n' $i
		i=$((i + 1))
	done
	# shellcheck disable=SC2028
	printf '\tprintf("%%d\\n", sum);\n\treturn 0;\n}\n'
} >project/main.c
cat >project/Makefile <<'END'
CFLAGS = -O0
parts := $(patsubst %.c,%.o,$(wildcard part*.c))
shell_said := $(shell echo from a shell; exit 3)
status := $(.SHELLSTATUS)

all: program checked
	@echo "$(shell_said) $(status)"
	@printf '%s\n' $(shell ls part*.c | wc -l)
program: main.o $(parts)
	$(CC) -o $@ $^
%.o: %.c
	@$(CC) $(CFLAGS) -c -o $@ $<
checked: program
	@./program | tee $@
	@test "`./program`" = 465
recursive:
	+@$(MAKE) -C sub --no-print-directory TOP=up
	@$(MAKE) --no-print-directory -C sub fails; echo "sub-make $$?"
failing: bad1 bad2 good
bad1:
	@echo one; exit 3
bad2:
	@echo two; kill -9 $$$$
good: ; @echo good
ignored:
	-@exit 5
	@echo after ignored
missing: ; @./no-such-program
unknown: ; no-such-program-either
other-shell: SHELL = /bin/bash
other-shell: ; @set -o pipefail; false | true || echo pipefail
no-shell-line: ; ./no-line one two
deleted: ; @echo half >$@; exit 1
.DELETE_ON_ERROR:
clean: ; rm -f *.o program checked
END
# shellcheck disable=SC2016
printf '%s\n' 'all: a b c' '	@echo "$(TOP) level $(MAKELEVEL)"' 'a b c: ; @sleep 0.05; echo $@ >$@' \
	'fails: ; @exit 7' >project/sub/Makefile
printf 'echo "no line: $*"\n' >project/no-line
chmod +x project/no-line

# Lines of parallel jobs come in any order.
# shellcheck disable=SC2317 # called by name
sorted() { sort; }

# make makes its processes with posix_spawn or fork, depending on how it was built.
must_have_children()
{
	[ $(($(records fork) + $(records posix_spawn) + $(records posix_spawnp))) -ge "$1" ] ||
		fail "$name: fewer than $1 records"
}

compare_with_and_without -d project -f sorted -l 120 -v recorded parallel make -j4 CC="$CC"
must_have_children 31
grep -q 465 parallel.plain.stdout || fail "the built program did not print 465"
compare_with_and_without -d project -f sorted -t recursive make -j4 recursive
must_have_children 5
compare_with_and_without -d project -f sorted -e 2 -t keep-going make -j4 -k failing deleted missing unknown
compare_with_and_without -d project -e 2 -t first-error make failing
compare_with_and_without -d project -e 2 missing make missing
must_have_children 1
compare_with_and_without -d project -e 2 unknown make unknown
compare_with_and_without -d project -t ignored make ignored other-shell no-shell-line
compare_with_and_without -d project -e 1 question make -q good
compare_with_and_without -d project dry-run make -n
compare_with_and_without -d project -c -f sorted closed-input make -j2 good ignored
compare_with_and_without -d project -f sorted output-sync make -j4 -Oline good ignored recursive

# The objects of both builds, and that a second make has nothing to do.
for variant in plain recorded; do
	rm -rf again
	cp -Rp project again
	if [ $variant = plain ]; then set --; else set -- env LD_PRELOAD="$preload"; fi
	(cd again && "$@" make -s -j4 CC="$CC" program >/dev/null 2>&1 && "$@" make -q program) ||
		fail "$variant: not made completely"
	(cd again && cksum ./*.o program) >objects.$variant
done
name=objects
must_be_same "what was built" objects.plain objects.recorded

passed "$(make --version | head -n 1)"
