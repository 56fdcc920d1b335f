#!/bin/sh
# SPDX-License-Identifier: MIT
# Compares the exported symbols with the version script and the header; checks what the static library defines, and what
# runs between clone and exec.
set -eu
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The map's symbols, each with its node.
awk '/^ODFORK_[0-9.]+ \{/ { node = $1 } /^\t\todf_[a-z_0-9]+;/ { gsub(/[;\t]/, ""); print $1 "@@" node }' \
	"$build/libodfork.map" | sort > "$work/map"
nm -D --defined-only "$build/libodfork.so" | awk '$2 != "A" { print $3 }' | sort > "$work/exported"
grep '^odf_' "$work/exported" > "$work/exported_odf"
diff -u "$work/map" "$work/exported_odf" || { echo "exports and version script differ"; exit 1; }

# Everything else that is exported is interposed, and nothing more.
grep -v '^odf_' "$work/exported" | sed 's/@.*//' | sort -u > "$work/interposed"
printf '%s\n' _Exit _Fork _exit clone daemon execl execle execlp execv execve execveat execvp execvpe fexecve fork \
	forkpty posix_spawn posix_spawnp syscall \
	brk sbrk madvise mincore mlock mlock2 mlockall mmap mmap64 mprotect mremap msync munlock munmap pkey_mprotect \
	posix_madvise process_madvise \
	mseal remap_file_pages shmat shmdt \
	__open64_2 __open_2 __openat64_2 __openat_2 creat creat64 fcntl fcntl64 open open64 openat openat64 openat2 \
	open_by_handle_at prctl prlimit prlimit64 \
	setrlimit setrlimit64 recvmsg recvmmsg pidfd_getfd socket setsockopt ioctl \
	vmsplice send sendto sendmsg sendmmsg setns unshare kill dlmopen fopen fopen64 freopen freopen64 \
	tmpfile tmpfile64 \
	mkstemp mkstemp64 mkstemps mkstemps64 mkostemp mkostemp64 mkostemps mkostemps64 \
	io_uring_queue_init io_uring_queue_init_params io_uring_queue_init_mem io_uring_queue_init_try_nosqarr \
	io_uring_queue_mmap io_uring_setup \
	popen pthread_attr_setstack pthread_barrier_init pthread_cond_init pthread_create pthread_mutex_init \
	pthread_rwlock_init sem_init system thrd_create wait3 wait4 waitid waitpid > "$work/expected"
sort -o "$work/expected" "$work/expected"
diff -u "$work/expected" "$work/interposed" || { echo "unexpected interposed symbols"; exit 1; }
# The manual names them; of those for large files and for fortified programs, the plain one.
sed 's/^__\(.*\)_2$/\1/; s/64$//' "$work/expected" | sort -u | while read -r name; do
	grep -qwF "$name" "$source/man/odfork.7" || { echo "odfork.7 does not say that $name is interposed"; exit 1; }
done

# The header declares exactly the functions of the map.
"${ODF_CC:-cc}" -E -P -I "$source/include" -x c "$source/include/odfork.h" | tr '\n' ' ' |
	grep -o '\bodf_[a-z_0-9]* *(' |
	tr -d ' (' | sort -u > "$work/declared"
sed 's/@@.*//' "$work/map" | sort > "$work/map_names"
diff -u "$work/declared" "$work/map_names" || { echo "header and version script differ"; exit 1; }

# The changelog knows the release that the map's newest node is of.
node=$(sed -n 's/^ODFORK_\([0-9.]*\) {.*/\1/p' "$build/libodfork.map" | tail -n 1)
grep -qE "^## ($node|Unreleased)" "$source/CHANGELOG.md" || { echo "no $node in CHANGELOG.md"; exit 1; }

# The shared library: bound at load, a soname, libc only.
readelf -d "$build/libodfork.so" > "$work/dynamic"
grep -q 'SONAME.*libodfork.so.0' "$work/dynamic" || { echo "wrong soname"; exit 1; }
grep -qE 'BIND_NOW|FLAGS.*NOW' "$work/dynamic" || { echo "not bound at load"; exit 1; }
if [ "${ODF_SANITIZED:-0}" = 0 ]; then
	needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$work/dynamic" |
		grep -vE '^(libc|libpthread|libdl|ld-linux.*)\.so' || true)
	[ -z "$needed" ] || { echo "needs more than libc: $needed"; exit 1; }
fi

# The static library defines what the header declares, and no other name that could meet the program's; it interposes
# nothing.
nm -g --defined-only "$build/libodfork.a" | awk 'NF == 3 { print $3 }' | sort > "$work/static"
diff -u "$work/map_names" "$work/static" || { echo "globals of the static library differ from the header"; exit 1; }

# Code between clone and exec calls nothing outside itself.
between=$build/libbetween_clone_and_exec.a
nm --defined-only "$between" | awk 'NF == 3 { print $3 }' | sort -u > "$work/defined"
for name in child_run make_sharing engine_conclude clone3_child text_add; do
	grep -qx $name "$work/defined" || { echo "$name is not built as code between clone and exec"; exit 1; }
done
nm -u "$between" | awk 'NF == 2 { print $2 }' | sort -u | grep -vx _GLOBAL_OFFSET_TABLE_ > "$work/undefined" || true
if comm -13 "$work/defined" "$work/undefined" | grep .; then
	echo "code between clone and exec needs the above"
	exit 1
fi
