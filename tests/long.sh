# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Sourced by tests/run.sh --long NAME [ARGUMENT...]: what takes longer than all of the run, or another system. Either
# NAME is a test of the run in its long form, whose variables the caller may have set to something else; arguments go to
# "meson test". Or it is a script, which gets the arguments, and says at its top what else it takes.

long_forms()
{
	cat <<'END'
tests/run.sh --long NAME [ARGUMENT...]

tests of the run, for longer:
  soak        mixed situations, threads with the heap and with regions, samplers beside settles: an hour each
  models      random calls beside plain memory, with fresh seeds: an hour each
  endurance   a million forks and spawns; Redis that saves under load for two hours
  kills       10 000 workers of pools that are killed at random
  reads       10 000 reads by each way to a descriptor
  mutations   each mutant of the library, not an eighth of them (an hour)
  failures    each call that a region makes fails, not each thirteenth (an hour)
  faults      each errno in each call, in each function, at each of four times (hours; ODF_TEST_SCALE=errnos: minutes)
  sandboxes   each call trapped in each way
  programs    programs with ten times the data, and all the languages of bench/runtimes.sh
  fuzz        each fuzzer for an hour, with fresh input

scripts:
  peers [PEER...]                 others' own tests as clients (tests/peers.sh)
  libfuzzer [NAME...]             guided by coverage (tests/fuzz.sh)
  analyze, coverage [--long]      tests/analyze.sh, tests/coverage.sh
  debian RELEASE, package         README's commands in a fresh Debian; its packages, built and checked
  libcs, aarch64                  other versions of glibc, and musl; AArch64 by an emulator
  system MACHINE RELEASE          the kernels of Debian, on x86_64 and aarch64 (tests/system.sh)
END
}

# Sets long_tests, the builds that have them in the order in which they run, and the variables of the tests. Does not
# return from a script.
long_form()
{
	name=${1:-} builds=gcc
	[ $# = 0 ] || shift
	# shellcheck disable=SC2034 # run.sh reads them
	case $name in
	peers | analyze | coverage | debian | libcs | aarch64 | system) exec "tests/$name.sh" "$@" ;;
	libfuzzer) exec tests/fuzz.sh "$@" ;;
	package) exec packaging/deb.sh "$@" ;;
	soak)
		long_tests="soak heap_threads region_threads region_threads_interposed keeper_soak keeper_amid"
		export ODF_TEST_SECONDS="${ODF_TEST_SECONDS:-3600}" ODF_TEST_SAMPLES="${ODF_TEST_SAMPLES:-1000}"
		;;
	models)
		long_tests="heap_model region_model region_model_interposed region_extents"
		export ODF_TEST_SECONDS="${ODF_TEST_SECONDS:-3600}"
		;;
	endurance)
		long_tests="endurance endurance_redis"
		export ODF_ENDURANCE_CALLS="${ODF_ENDURANCE_CALLS:-1000000}"
		export ODF_TEST_SECONDS="${ODF_TEST_SECONDS:-7200}"
		;;
	kills)
		long_tests="pool_soak pool_process_ends pool_spawn"
		export ODF_TEST_KILLS="${ODF_TEST_KILLS:-10000}"
		;;
	reads)
		long_tests=pinned
		export ODF_TEST_READS="${ODF_TEST_READS:-10000}"
		;;
	mutations | failures | sandboxes)
		case $name in
		mutations) long_tests="mutations heap_mutations" ;;
		failures) long_tests=region_injection ;;
		sandboxes) long_tests=sandbox ;;
		esac
		export ODF_TEST_SCALE="${ODF_TEST_SCALE:-1}"
		;;
	faults)
		long_tests=faults
		export ODF_TEST_SCALE="${ODF_TEST_SCALE:-full}"
		;;
	programs)
		long_tests="heap_redis heap_sqlite heap_perl heap_python heap_afl runtimes"
		export ODF_TEST_SCALE="${ODF_TEST_SCALE:-10}" ODF_TEST_ROWS="${ODF_TEST_ROWS:-*}"
		;;
	fuzz)
		builds=sanitize
		long_tests="fuzz fuzz_given fuzz_read"
		export ODF_TEST_SECONDS="${ODF_TEST_SECONDS:-3600}"
		;;
	*)
		long_forms
		[ -z "$name" ] || exit 2
		exit 0
		;;
	esac
}
