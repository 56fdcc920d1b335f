#!/bin/sh
# SPDX-License-Identifier: MIT
# node with threads, in each way of child_process and as a cluster: see heap_node.js. Memory outside of V8's heap
# (buffers, large strings, allocations of native code) is in regions. V8's heap is not, as it is reserved with PROT_NONE
# first; and V8 keeps it from children anyway.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs node
# The kernel may write to memory for an io_uring past the page tables, so a program that has one gets no heap. This
# variable keeps the libuv of Node.js 20, as built upstream, from creating one; the libuv of Debian 13 (1.50) creates
# one for each loop all the same.
export UV_USE_IO_URING=0
makes_rings=$(node -e 'const { readdirSync, readlinkSync } = require("fs"), folder = "/proc/self/fd/";
	const open = (name) => { try { return readlinkSync(folder + name); } catch { return ""; } };
	console.log(readdirSync(folder).some((name) => open(name).includes("io_uring")))')
plan 2
mib=$((24 * scale))
with "$plain" node --expose-gc "$here/heap_node.js" $mib >right 2>messages ||
	fail "it failed without the library: $(cat right messages)"

# as_without HOW [if_it_settles]: then what malloc has is taken in after the first fork, and not in processes that never
# fork.
as_without()
{
	with "$1" node --expose-gc "$here/heap_node.js" $mib >found 2>complaints ||
		fail "status $?: $(cat found complaints)"
	same_as right found
	same_as messages complaints
	if [ "$makes_rings" = true ]; then
		echo "# this node makes rings of io_uring: no heap, and the records say why"
		[ "$control" = 1 ] || grep -q '"call":"fork".*region: heap_pins' "$temporary/stats" ||
			fail "no fork is told to be without a heap for the rings"
		return
	fi
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
