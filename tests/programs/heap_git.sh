#!/bin/sh
# SPDX-License-Identifier: MIT
# git on a repository with files of some MiB and thousands of small ones: commits, clone over a pipe, repack with deltas
# and threads, fsck. All objects, and with one thread all packs, must be the same. In one run the processes with much
# memory (pack-objects, index-pack) wake the heap by growing; in the other the heap is awake in all from the start.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs git
plan 2
export HOME="$temporary/home" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org \
	GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
unset XDG_CONFIG_HOME GIT_DIR GIT_WORK_TREE
mkdir home
git config --global init.defaultBranch main
git config --global gc.auto 0
git config --global maintenance.auto false
git config --global protocol.file.allow always

# Text with few repetitions, of which versions differ by some lines; and small files.
"$PYTHON" - "$scale" <<'END' || fail "cannot write the files"
import os, random, sys
numbers = random.Random(1)
words = ["".join(numbers.choices("abcdefghijklmnop", k=numbers.randrange(3, 12))) for _ in range(5000)]
for number in range(2 * int(float(sys.argv[1]))):
    lines = [" ".join(numbers.choices(words, k=12)) for _ in range(30000)]
    for version in 1, 2, 3:
        os.makedirs(f"version{version}", exist_ok=True)
        for _ in range(300):
            lines[numbers.randrange(len(lines))] = " ".join(numbers.choices(words, k=12))
        with open(f"version{version}/large{number}", "w") as file:
            file.write("\n".join(lines))
for version in 1, 2, 3:
    for number in range(400):
        os.makedirs(f"version{version}/d{number % 20}", exist_ok=True)
        with open(f"version{version}/d{number % 20}/f{number}", "w") as file:
            file.write(" ".join(numbers.choices(words, k=40 + version)))
END

cat >session.sh <<'END'
set -e
git init -q work
seconds=1000000000
for version in 1 2 3; do
	cp -R ../version$version/. work/
	cd work
	GIT_AUTHOR_DATE="$seconds +0000" GIT_COMMITTER_DATE="$seconds +0000"; export GIT_AUTHOR_DATE GIT_COMMITTER_DATE
	git add -A; git commit -q -m "version $version"
	cd ..
	seconds=$((seconds + 60))
done
git -C work log --format='%H %T %s' --shortstat
git -C work diff HEAD~2 HEAD~1 | cksum
git -C work blame -s HEAD -- d1/f1 | cksum
git -C work -c pack.threads=1 repack -q -a -d -f --window=10
ls work/.git/objects/pack | grep pack
git clone -q "file://$PWD/work" copy
diff -r --exclude=.git work copy
git -C copy fsck --full --strict
git -C copy -c pack.threads=3 gc -q --aggressive --prune=now
git -C copy fsck --full
for name in work copy; do
	git -C $name cat-file --batch-all-objects --batch-check | cksum
	git -C $name rev-list --objects --all | cksum
	git -C $name cat-file --batch-all-objects --batch | cksum
done
git -C work archive HEAD | cksum
git -C work bundle create -q ../all.bundle --all
git clone -q all.bundle third
git -C third fsck --full
END

rm -rf here && mkdir here
(cd here && with "$plain" sh ../session.sh) >right 2>messages || fail "it failed without the library: $(cat messages)"

session()
{
	rm -rf here && mkdir here
	(cd here && with "$1" sh ../session.sh) >found 2>complaints || fail "status $?: $(cat complaints)"
	same_as right found
	same_as messages complaints
}
growing()
{
	session "$under" # no git that grows forks: what its malloc has stays as it was
}
check "clone, repack and fsck" growing
from_the_start()
{
	session "$awake"
	ends_seen git 0.1 20
	ends_seen git 8
}
check "the same, awake in every process" from_the_start
finish
