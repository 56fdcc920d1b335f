#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/inspect.sh [GIB...]: what odfork inspect says that a fork of Redis and of CPython costs, against forks of
# theirs (bench/inspect.py); by default of 1 and 4 GiB. Needs as much memory, and a quiet machine: what is said are
# times of the processor.
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
bench_prepare redis-server
[ $# -gt 0 ] || set -- 1 4
echo "$machine"
exec /usr/bin/python3 bench/inspect.py build-demo/odfork "$@"
