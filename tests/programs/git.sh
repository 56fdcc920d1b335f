#!/bin/sh
# SPDX-License-Identifier: MIT
# git: everyday work, hooks, clones over a pipe, gc. Dates and authors are fixed, so all object names must be the same
# in both runs.
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
needs git

cat >session.sh <<'END'
set -e
export HOME="$PWD/home" GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 GIT_EDITOR=: GIT_PAGER=cat GIT_MERGE_AUTOEDIT=no
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
unset XDG_CONFIG_HOME GIT_DIR GIT_WORK_TREE
mkdir home
git config --global init.defaultBranch main
git config --global gc.auto 0
git config --global maintenance.auto false
git config --global pack.threads 1
git config --global protocol.file.allow always
git config --global advice.detachedHead false
git config --global alias.outer '!git log --oneline | wc -l'
seconds=1000000000
tick() {
	seconds=$((seconds + 60))
	GIT_AUTHOR_DATE="$seconds +0000" GIT_COMMITTER_DATE="$seconds +0000"
	export GIT_AUTHOR_DATE GIT_COMMITTER_DATE
}
state() {
	git log --all --graph --format='%H %T %an %ad %s' --date=raw
	git ls-tree -r HEAD
	git status --porcelain=v2 --branch
}

git init -q work
cd work
for i in 1 2 3 4 5 6 7 8 9 10; do
	tick; seq $((i * 10)) >numbers; echo $i >"file$i"; git add -A; git commit -q -m "commit $i"
done
git checkout -q -b topic HEAD~4
tick; echo topic >topic; git add topic; git commit -q -m topic
tick; echo more >>topic; git commit -qam more
git checkout -q main
tick; git merge --no-ff -m merged topic
state

git checkout -q -b rebased topic
tick; git rebase main~2
tick; git rebase -x 'echo exec ran; test -f file1' main~3
state

echo conflict >topic; tick; git commit -qam left; git checkout -q main; echo other >topic; tick; git commit -qam right
git merge rebased || echo "conflict: $?"
git merge --abort
git cherry-pick rebased || echo "conflict: $?"
git checkout --theirs -- topic; git add topic; tick; git cherry-pick --continue

echo stashed >topic; tick; git stash -q; git stash list --format='%H %gs' | sed 's/WIP.*//'; cat topic
git stash pop -q; cat topic; git checkout -q -- topic

mkdir -p .git/hooks
printf '%s\n' '#!/bin/sh' 'echo "pre-commit in $(basename "$PWD")"; ! grep -q forbidden file1' >.git/hooks/pre-commit
printf '%s\n' '#!/bin/sh' 'sed -i "1s/^/[hook] /" "$1"' >.git/hooks/commit-msg
printf '%s\n' '#!/bin/sh' 'echo post-commit; git log -1 --format=%s' >.git/hooks/post-commit
chmod +x .git/hooks/*
echo forbidden >>file1; tick; git commit -qam refused || echo "refused: $?"
git checkout -q file1; echo allowed >>file1; tick; git commit -qam allowed
rm .git/hooks/*-commit .git/hooks/commit-msg

tick; git tag -a -m tag v1
git gc -q --prune=now
git fsck --full --strict
git outer | tr -d ' '
git bisect start HEAD HEAD~5 >/dev/null 2>&1; git bisect run sh -c 'test $(wc -l <numbers) -lt 90' >bisect.log
tail -n 3 bisect.log; rm bisect.log; git bisect reset 2>/dev/null
git submodule -q add "file://$PWD/../work/.git" inner; tick; git commit -qam submodule
git submodule foreach -q 'echo in $name; git log -1 --format=%H'
git grep -c 1 -- "file*"
git archive HEAD file1 file2 | tar -tf -
git diff HEAD~1 --stat
GIT_EXTERNAL_DIFF=echo git diff --ext-diff HEAD~2 -- file1 | cut -d' ' -f1
git -c core.pager='sed s/^/paged:/' -p log -2 --format=%s
cd ..

git clone -q "file://$PWD/work" copy
cd copy
state
tick; echo pushed >pushed; git add pushed; git commit -q -m pushed
printf '%s\n' '#!/bin/sh' 'while read -r old new ref; do echo "update $ref $new"; done' >../work/.git/hooks/post-receive
chmod +x ../work/.git/hooks/post-receive
git push -q origin HEAD:refs/heads/pushed
git fetch -q --all --tags; git for-each-ref
git clone -q --depth 2 --no-single-branch "file://$PWD/../work" ../shallow
git -C ../shallow rev-list --all --count
git clone -q --bare . ../bare.git
git -C ../bare.git fsck --full
git -C ../bare.git repack -q -a -d -f
git -C ../bare.git verify-pack ../bare.git/objects/pack/*.idx
git no-such-command || echo "no such command: $?"
git clone "file://$PWD/nowhere" ../nowhere || echo "no such repository: $?"
END
compare_with_and_without -l 120 session sh ../session.sh
must_have_records fork 100
compare_with_and_without -c -l 120 -v recorded closed-input sh ../session.sh
must_have_records fork 100

passed "$(git --version)"
