#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The kernel's Async-fork: the switch of a memory cgroup, with Tencent's module behind it, and ByteDance's sysctl and
# prctl.
. "$ODF_SOURCE/tests/places/kernel_common.sh"

# ---- Async-fork ------------------------------------------------------------------------------------------------------
group=$work/mount/some/group
mkdir -p "$group"
printf '0\n' > "$group/memory.async_fork"
: > "$group/cgroup.type"
printf '7:cpu,cpuacct:/elsewhere\n4:hugetlb,memory:/outer/some/group\n0::/unified\n' > "$work/cgroup1"
printf '0::/some/group\n' > "$work/cgroup2"
cat > "$work/mountinfo1" <<MOUNTS
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 /outer $work/elsewhere rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /other $work/elsewhere rw,relatime shared:9 master:1 - cgroup cgroup rw,memory
35 31 0:32 /outer $work/mount rw,relatime shared:9 master:1 - cgroup cgroup rw,hugetlb,memory
MOUNTS
printf '35 31 0:32 / %s rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n' "$work/mo\\165nt" > "$work/mountinfo2"
switch_says() { # BYTE NAME
	[ "$(cat "$group/memory.async_fork")" = "$1" ]
	result $? "$2"
}
async() { # VERSION NAME FACTS COMMAND...
	version=$1 name=$2 wanted=$3
	shift 3
	expect "Async-fork, cgroups $version: $name" "$wanted" --file=/proc/self/cgroup="$work/cgroup$version" \
		--file=/proc/self/mountinfo="$work/mountinfo$version" \
		--async="$group/memory.async_fork" -- "$@"
}
for version in 1 2; do
	async $version "found and sound" \
		"interface=async_fork reason=none effect=not_asked writes=passed discard=passed end=passed
			on_demand=1 bit=n" \
		"$facts" verify
	switch_says 0 "and put back"
	# Found by the explicit call only: the cgroup is not at the usual place.
	async $version "not looked for everywhere by itself" "strategy=fork kernel=kernel_not_offered on_demand=0" \
		"$facts" fork 32
	printf '1\n' > "$group/memory.async_fork"
	async $version "on already" "interface=async_fork reason=none on_demand=2" "$facts" verify
	switch_says 1 "and left so"
	printf '0\n' > "$group/memory.async_fork"
done
# If cgroups are mounted at the usual place, the switch is found when the library is loaded, and checked if no other
# process is in the cgroup.
usual() { # NAME FACTS COMMAND...
	name=$1 wanted=$2
	shift 2
	expect "Async-fork, $name" "$wanted" --file=/proc/self/cgroup="$work/usual" \
		--file=/proc/self/mountinfo="$work/usual_mounts" \
		--file=/sys/fs/cgroup/memory/group-of-the-test/memory.async_fork="$group/memory.async_fork" \
		--file=/sys/fs/cgroup/memory/group-of-the-test/cgroup.procs="$work/procs" \
		--async="$group/memory.async_fork" -- "$@"
}
printf '4:memory:/group-of-the-test\n' > "$work/usual"
printf '35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n' > "$work/usual_mounts"
: > "$work/procs"
printf '1\n999999\n' > "$work/procs"
usual "beside others: not by itself" "strategy=fork kernel=kernel_not_verified on_demand=0" "$facts" fork 32
usual "beside others: by name" "strategy=kernel despite=kernel_not_verified on_demand=1 child_keeps=1" "$facts" fork \
	32 kernel
switch_says 0 "and put back after the fork"
ODFORK_KERNEL=safe usual "said to be safe" "strategy=kernel despite=none on_demand=1" "$facts" fork 32
ln -s /nonexistent "$work/nothing"
expect "Async-fork, alone" "strategy=kernel despite=none forks=3 on_demand=2" --file=/proc/self/cgroup="$work/usual" \
	--file=/proc/self/mountinfo="$work/usual_mounts" \
	--file=/sys/fs/cgroup/memory/group-of-the-test/memory.async_fork="$group/memory.async_fork" \
	--file=/sys/fs/cgroup/memory/group-of-the-test/cgroup.procs="$work/own" --async="$group/memory.async_fork" \
	-- /bin/sh -c 'echo $$ > "$0"; exec "$@"' "$work/own" "$facts" fork 32
switch_says 0 "put back as well"
printf '4:memory:/\n' > "$work/usual"
printf '35 31 0:32 / %s rw - cgroup cgroup rw,memory\n' "$group" > "$work/usual_mounts"
usual "the root of a hierarchy, as a container sees its own" "interface=async_fork" "$facts" verify
: > "$group/release_agent"
usual "the root of the machine" "interface=none reason=kernel_not_offered" "$facts" verify
rm "$group/release_agent"
printf '4:memory:/not-below\n' > "$work/usual"
printf '35 31 0:32 /outer %s rw - cgroup cgroup rw,memory\n' "$work/mount" > "$work/usual_mounts"
usual "a cgroup that is not mounted here" "interface=none reason=kernel_not_offered" "$facts" verify
for text in '' ':' '4:memory' '4:memory:' 'x' '0::' "4:memory:/$(printf '%5000s' | tr ' ' a)"; do
	printf '%s\n' "$text" > "$work/usual"
	usual "/proc/self/cgroup is $(printf '%.20s' "$text")" "interface=none" "$facts" verify
done
printf '4:memory:/some/group\n' > "$work/usual"
for text in '' '- cgroup' '35 31 0:32 /' '35 31 0:32 / /mnt rw' '35 31 0:32 / /mnt rw -' \
	'35 31 0:32 / /mnt rw - cgroup' '35 31 0:32 / /mnt rw - cgroup x' '      '; do
	printf '%s\n' "$text" > "$work/usual_mounts"
	usual "/proc/self/mountinfo is $text" "interface=none" "$facts" verify
done

# ---- Async-fork of Tencent's kernels: the same flag, with a module behind it -----------------------------------------
tencent() { # NAME FACTS OPTION... -- COMMAND...
	name=$1 wanted=$2
	shift 2
	expect "Tencent's, $name" "$wanted" --file=/proc/self/cgroup="$work/cgroup2" \
		--file=/proc/self/mountinfo="$work/mountinfo2" --file=/proc/tkernel=/ "$@"
}
for kind in kernel_facts kernel_facts_static; do
	tencent "$kind, without its module" \
		"error=0 interface=async_fork_module reason=kernel_no_effect $unasked forks=0" -- "$tests/$kind" verify
	tencent "$kind, with its module" \
		"error=0 interface=async_fork_module reason=none effect=not_asked writes=passed end=passed
			on_demand=1" \
		--async="$group/memory.async_fork" --file=/sys/module/async_fork=/ -- "$tests/$kind" verify
done
switch_says 0 "and put back"
tencent "without its module, in the capabilities" "interface=async_fork_module kernel=kernel_no_effect" \
	-- "$facts" capabilities
tencent "the remedy" "" -- "$build/odfork" probe --verify
grep -qx "remedy             load the kernel's module: modprobe async-fork" "$work/out"
result $? "is named"
grep -q "kernels have been seen to crash" "$work/err"
result $? "after a warning"
printf '4:memory:/group-of-the-test\n' > "$work/usual"
expect "Tencent's, by name, without its module" "strategy=fork kernel=kernel_no_effect on_demand=0" \
	--file=/proc/self/cgroup="$work/usual" --file=/proc/tkernel=/ \
	--file=/sys/fs/cgroup/memory/group-of-the-test/memory.async_fork="$group/memory.async_fork" \
	-- "$facts" fork 32 kernel
switch_says 0 "and nothing is thrown"

# ---- Async-fork of ByteDance's kernels: a sysctl and a prctl ---------------------------------------------------------
bytes() { # MODE NAME FACTS OPTION... -- COMMAND...
	printf '%s\n' "$1" > "$work/sysctl"
	name="ByteDance's, mode $1: $2" wanted=$3
	shift 3
	expect "$name" "$wanted" --velinux="$work/sysctl" "$@"
}
for kind in kernel_facts kernel_facts_shared kernel_facts_static; do
	bytes 1 "$kind, found and sound" \
		"error=0 interface=async_fork_prctl reason=none effect=not_asked writes=passed discard=passed end=passed
			forks=2 on_demand=1" \
		-- "$tests/$kind" verify
	bytes 1 "$kind, by itself" "strategy=kernel kernel=chosen despite=none child_keeps=1 forks=3 on_demand=2" \
		-- "$tests/$kind" fork 32
done
bytes 1 "too small" "strategy=fork kernel=too_small on_demand=1" -- "$facts" fork 1
bytes 1 "turned off again" "strategy=kernel again=fork again_kernel=not_allowed forks=4 on_demand=2" \
	-- "$facts" again 32
bytes 1 "not tried in a sandbox" "strategy=fork kernel=kernel_not_verified forks=1 on_demand=0" --filtered \
	-- "$facts" fork 32
bytes 1 "in a sandbox, by name" "strategy=kernel despite=kernel_not_verified forks=1 on_demand=1" --filtered \
	-- "$facts" fork 32 kernel
bytes 1 "its children end" "reason=none" --fault=discard -- "$facts" verify
bytes 0 "nothing is behind it" "error=0 interface=async_fork_prctl reason=kernel_no_effect $unasked forks=0" \
	-- "$facts" verify
bytes 0 "not by name either" "strategy=fork kernel=kernel_no_effect on_demand=0" -- "$facts" fork 32 kernel
bytes 0 "the remedy" "" -- "$build/odfork" probe --verify
grep -qx "remedy             allow it to processes: sysctl kernel.async_fork_enabled=1" "$work/out"
result $? "is named"
for how in auto only plain; do
	bytes 2 "always on, and reported, $how" "strategy=kernel kernel=chosen despite=none forks=3 on_demand=3" \
		-- "$facts" fork 1 $how
done
bytes 2 "sound" "interface=async_fork_prctl reason=none" -- "$facts" verify
# The prctl may mean something else on another kernel, so the library makes it only if the file says so. Here it would
# kill.
for text in '' 1 '3\n' '10\n' '-1\n' 'on\n' '1\n1\n' '\n'; do
	printf %b "$text" > "$work/sysctl"
	expect "a sysctl of this name that says '$(echo "$text" | tr '\n' ' ')'" \
		"interface=none reason=kernel_not_offered" --file=/proc/sys/kernel/async_fork_enabled="$work/sysctl" \
		-- "$facts" verify
	expect "not by name either" "strategy=fork kernel=kernel_not_offered" \
		--file=/proc/sys/kernel/async_fork_enabled="$work/sysctl" -- "$facts" fork 32 kernel
done

finish
