#!/bin/sh
# SPDX-License-Identifier: MIT
# Redis saves under load for a chosen time: see endurance_redis.py. For two hours: ODF_TEST_SECONDS=7200.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs redis-server redis-benchmark
[ "$control" = 1 ] && library=
"$PYTHON" "$here/endurance_redis.py" "${REDIS_SERVER:-redis-server}" "$library" "$odfork"
status=$?
(no_processes_left) || { echo "Bail out! processes are left"; exit 1; }
exit $status
