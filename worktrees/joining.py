"""One branch put on top of a commit: merged, squashed or replayed, without a checkout.

Guarantees: no branch moves and no file of a checkout changes, but for the landing worktree's when git is to try a
resolution that the user recorded (rerere). What git can resolve by its own means is resolved, in this order: a merge,
with the attributes of the commit it goes onto (`merge=union`) wherever the content of a file is merged; the branch's
commits replayed one by one; rerere. What cannot is a `Conflict` that says where, and what both sides did there.

Source of the plumbing: git-merge-tree(1), git-commit-tree(1).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from .attributes import Attributes
from .environment import Identity
from .errors import GitError
from .git import Git, Result
from .salvage import commit_tree
from .worktree import Worktree

Style = Literal["merge", "squash", "rebase"]

_TREE = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64})\0")
_CONTENT_MERGE = b"\0Auto-merging\0"  # a message of `merge-tree -z`, which has its kind between NULs
_UNRELATED = "it shares no commit with the landing branch"
_MOST_NAMED = 10  # paths in one line
_MOST_PATHS = 5  # of which both sides are told
_MOST_COMMITS = 5  # of one side, for one path
_MOST_LINES = 60  # of a file with conflict markers
_MARKER = re.compile(r"^(<{7}|={7}|>{7})")
_AROUND = 3  # lines around a conflict
_LONGEST_LINE = 300


@dataclass(frozen=True)
class Joined:
    """A branch on top of another commit: `commit` holds both, `tree` is its content, `source` was the branch's tip."""

    commit: str
    tree: str
    source: str


@dataclass(frozen=True)
class Conflict:
    """Why a commit cannot be joined: the paths, what git says about them, and the facts for whoever resolves it."""

    paths: tuple[str, ...]
    summary: str
    facts: str = ""
    tree: str | None = None  # what git could merge, the rest with conflict markers: never to be committed

    def describe(self) -> str:
        """Say in one line what it cannot be merged with, and where."""
        if not self.paths:
            return self.summary
        names = ", ".join(self.paths[:_MOST_NAMED]) + (" and more" if len(self.paths) > _MOST_NAMED else "")
        return f"it conflicts with what landed meanwhile, in {names}"


class Joiner:
    """Joins branches in the landing worktree's repository, as `identity`."""

    def __init__(self, worktree: Worktree, identity: Identity, check_out: Callable[[str], None]) -> None:
        self._worktree = worktree
        self._git = worktree.git(identity)
        self._check_out = check_out
        self._attributes = Attributes(worktree.git(), worktree.git_dir / "parallel-loop.attributes")

    def join(
        self, onto: str, source: str, message: str, style: Style = "merge", *, facts: bool = True
    ) -> Joined | Conflict:
        """Put `source` on top of `onto` (full names of commits) under `message`.

        `rebase` replays the branch's commits, each with the trailers of `message`; a branch that cannot be replayed (it
        has merges of its own) is squashed. `facts`: collect those of a conflict. Raises GitError.
        """
        if style == "rebase":
            replayed = self._replay(onto, source, _trailers(message))
            if replayed is not None:
                return Joined(replayed, self._tree_of(replayed), source)
        tree = self._merge_tree(onto, source)
        if isinstance(tree, Conflict):
            resolved = self._resolve(onto, source) if tree.paths else None
            if resolved is None:
                return self._with_facts(tree, onto, source) if facts else tree
            tree = resolved
        parents = [onto] if style != "merge" else [onto, source]
        return Joined(commit_tree(self._git, tree, parents, message), tree, source)

    def _resolve(self, onto: str, source: str) -> str | None:
        """Return the tree in which git's other means end a conflict, None when they do not."""
        replayed = self._replay(onto, source, "")
        return self._tree_of(replayed) if replayed is not None else self._by_rerere(onto, source)

    def _tree_of(self, commit: str) -> str:
        return self._git.text("rev-parse", f"{commit}^{{tree}}")

    # --- merging --------------------------------------------------------------------------------------

    def _merge_tree(self, onto: str, source: str, attributes: str | None = None) -> str | Conflict:
        """Return the tree of both, merged with the attributes of `onto`, or of the commit `attributes`."""
        merged = self._run_merge_tree(onto, source, attributes or onto)
        found = _TREE.match(merged.stdout)
        if merged.returncode == 128 and "unrelated histories" in merged.stderr:
            return Conflict((), _UNRELATED)
        if found is None or merged.returncode == 128:  # 1 is also "not something we can merge"
            raise GitError(("merge-tree", onto, source), self._git.directory, merged.returncode, merged.stderr)
        return _conflict(merged.stdout) if merged.returncode == 1 else found[1].decode()

    def _run_merge_tree(self, onto: str, source: str, attributes: str) -> Result:
        """Merge, and once more with the right attributes if they have a say and were others.

        Attributes say how the content of a file is merged that both sides changed. Most branches have no such file, and
        to find out whether the attributes changed takes as long as the merge.
        """
        merged = self._merge_with_attributes_of_before(onto, source)
        has_content_merges = merged.returncode == 1 or _CONTENT_MERGE in merged.stdout
        if has_content_merges and self._attributes.fill(attributes):
            merged = self._merge_with_attributes_of_before(onto, source)
        return merged

    def _merge_with_attributes_of_before(self, onto: str, source: str) -> Result:
        git = Git(self._attributes.folder, git_dir=self._worktree.git_dir, lease=self._worktree.lease)
        argv = ("merge-tree", "--write-tree", "--messages", "--name-only", "-z", onto, source)
        # The landing worktree's own index belongs to another commit, whose attributes must not count.
        no_index = {"GIT_INDEX_FILE": str(self._worktree.git_dir / "parallel-loop.index.none")}
        return git.run(*argv, ok=(0, 1, 128), env=no_index)

    # --- replaying ------------------------------------------------------------------------------------

    def _replay(self, onto: str, source: str, trailers: str) -> str | None:
        """Return the tip of the branch's own commits made anew on top of `onto`; None when one of them conflicts.

        Each keeps its author, date and message; what `onto` has already, as the same patch, is left out. None, too,
        when the branch has merges of its own.
        """
        if self._git.text("rev-list", "--min-parents=2", "--count", f"{onto}..{source}") != "0":
            return None
        options = ("--reverse", "--topo-order", "--cherry-pick", "--right-only")
        tip, tree = onto, self._tree_of(onto)
        for commit in self._git.text("rev-list", *options, f"{onto}...{source}").split():
            # A commit with the content of `tip` and the parent of `commit`: what both have changed since that parent.
            aside = commit_tree(self._git, tree, [f"{commit}^"], "replay")
            merged = self._merge_tree(aside, commit, attributes=onto)
            if isinstance(merged, Conflict):
                return None
            if merged != tree:
                tip, tree = self._commit_again(commit, merged, tip, trailers), merged
        return tip if tip != onto else None

    def _commit_again(self, commit: str, tree: str, parent: str, trailers: str) -> str:
        asked = self._git.run(
            "log", "-1", "--format=%an%x00%ae%x00%ad%x00%B", "--date=raw", "--no-show-signature", commit
        )
        name, email, date, message = os.fsdecode(asked.stdout).split("\0", 3)
        text = f"{message.rstrip()}\n"
        if trailers:
            options = [f"--trailer={line}" for line in trailers.splitlines()]
            argv = ("interpret-trailers", "--if-exists=addIfDifferent", *options)
            text = os.fsdecode(self._git.run(*argv, stdin=os.fsencode(text)).stdout)
        author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_AUTHOR_DATE": date}
        return commit_tree(self._git, tree, [parent], text, author=author)

    # --- what the user resolved before ----------------------------------------------------------------

    def _by_rerere(self, onto: str, source: str) -> str | None:
        """Return the tree in which resolutions that the user recorded end every conflict, None when they do not."""
        if not (self._worktree.common_dir / "rr-cache").is_dir():
            return None
        self._check_out(onto)
        git = self._worktree.git(
            configuration=("rerere.enabled=true", "rerere.autoUpdate=true", "user.useConfigOnly=false")
        )
        git.run("merge", "--no-commit", "--no-ff", "--no-stat", "--quiet", source, ok=(0, 1, 128))
        unmerged = git.run("ls-files", "--unmerged", "-z").fields
        tree = None if unmerged else git.run("write-tree").text
        self._check_out(onto)
        return tree

    # --- conflicts ------------------------------------------------------------------------------------

    def _with_facts(self, conflict: Conflict, onto: str, source: str) -> Conflict:
        """Add, for each path, what both sides committed there, and the lines in conflict."""
        base = self._git.run("merge-base", onto, source, ok=(0, 1)).text
        if not base or conflict.tree is None:
            return conflict
        parts = []
        for path in conflict.paths[:_MOST_PATHS]:
            parts.append(f"{path}:")
            for side, tip in (("what landed meanwhile", onto), ("the branch", source)):
                parts.append(f"  {side}:")
                parts += [f"    {line}" for line in self._commits(base, tip, path)]
            parts += [f"  | {line}" for line in self._lines_in_conflict(conflict.tree, path)]
        if len(conflict.paths) > _MOST_PATHS:
            parts.append(f"and {len(conflict.paths) - _MOST_PATHS} more files")
        return replace(conflict, facts="\n".join(parts))

    def _commits(self, base: str, tip: str, path: str) -> list[str]:
        options = (f"--max-count={_MOST_COMMITS}", "--no-merges", "--no-show-signature", "--format=%h %s (%an)")
        return self._git.run("log", *options, f"{base}..{tip}", "--", f":(top,literal){path}").text.splitlines()

    def _lines_in_conflict(self, tree: str, path: str) -> list[str]:
        """The parts of the file that hold conflict markers, as git has written them; none for a file that is gone."""
        blob = self._git.run("cat-file", "blob", f"{tree}:{path}", ok=(0, 128))
        if blob.returncode != 0 or b"\0" in blob.stdout[:8000]:
            return []
        lines = blob.stdout.decode("utf-8", "replace").splitlines()
        marked = [number for number, line in enumerate(lines) if _MARKER.match(line)]
        if not marked:
            return []
        shown = lines[max(0, marked[0] - _AROUND) : marked[-1] + _AROUND + 1]
        more = [f"({len(shown) - _MOST_LINES} more lines)"] if len(shown) > _MOST_LINES else []
        return [line[:_LONGEST_LINE] for line in shown[:_MOST_LINES]] + more


def _trailers(message: str) -> str:
    """The last paragraph of a message of ours."""
    return message.strip().rpartition("\n\n")[2]


def _conflict(out: bytes) -> Conflict:
    """Read `merge-tree -z`: tree, the paths, an empty field, then messages (count, paths, kind, text)."""
    fields = [os.fsdecode(field) for field in out.split(b"\0")]
    end = fields.index("", 1)
    messages, at = [], end + 1
    while at < len(fields) and fields[at].isdigit():
        at += int(fields[at]) + 1
        kind, text = fields[at], fields[at + 1]
        if kind.startswith("CONFLICT"):
            messages.append(text.strip())
        at += 2
    paths = tuple(dict.fromkeys(fields[1:end]))
    return Conflict(paths, "\n".join(messages) or "conflict in " + ", ".join(paths), tree=fields[0])
