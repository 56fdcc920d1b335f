#!/bin/sh
# SPDX-License-Identifier: MIT
# node, with threads, by each way of child_process and as a cluster: see heap_node.js. What it has outside the collector's heap (buffers, large strings, what
# native code allocates) is in regions. The collector's heap is not, as it is reserved without rights first, and V8 keeps it from children anyway.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs node
# Newer ones use io_uring, whose memory the kernel may write to behind page tables: then there is no heap.
export UV_USE_IO_URING=0
plan 2
mib=$((24 * scale))
with "$plain" node --expose-gc "$here/heap_node.js" $mib >right 2>messages || fail "it failed without the library: $(cat right messages)"

# as_without HOW [if_it_settles]: then what malloc has is taken in after the first fork, and not in processes that never
# fork.
as_without()
{
	with "$1" node --expose-gc "$here/heap_node.js" $mib >found 2>complaints || fail "status $?: $(cat found complaints)"
	same_as right found
	same_as messages complaints
	if [ -n "$2" ]; then
		if_it_settles forks_seen --least 1 --mib $((mib / 2))
		return
	fi
	forks_seen --least 35 --mib $((mib / 2)) --all
	# Itself; and with as much the fork and those of the cluster, of which one is killed.
	ends_seen node $((mib / 2))
	ends_seen node $((mib / 8)) 4
}
check "buffers of $mib MiB" as_without "$under" if_it_settles
check "awake from the start" as_without "$awake" ""
finish
