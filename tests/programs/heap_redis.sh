#!/bin/sh
# SPDX-License-Identifier: MIT
# Redis with its data in the heap: see heap_redis.py. REDIS_SERVER is another server's program, such as one that can
# defragment, or Valkey's.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs redis-server redis-cli redis-benchmark setpriv
[ "$control" = 1 ] && library=
chmod 755 "$temporary"
"$PYTHON" "$here/heap_redis.py" "${REDIS_SERVER:-redis-server}" "$library" "$odfork"
status=$?
(no_processes_left) || { echo "Bail out! processes are left"; exit 1; }
exit $status
