"""Trial merges: which of many branches conflict with each other or with one commit, without a work tree.

One git process merges all pairs. What it writes goes to a folder of objects of its own, which is removed with the
attributes of the commit that the branches are to go onto: a thousand merges leave nothing in the repository.

Guarantees: no ref, index, work tree or object of the repository is changed.

Assumes: one process uses it. git 2.39; an older one has no `merge-tree --stdin`, which is a GitError.

Source of the plumbing: git-merge-tree(1), git-diff-tree(1), "quarantine" in git-receive-pack(1).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from .attributes import Attributes
from .errors import GitError
from .files import remove
from .git import Git
from .worktree import Worktree

_LONGEST_SECONDS = 20.0  # after which a forecast is not worth it

Pair = tuple[str, str]


class TrialMerges:
    """Merges for trial in the repository of a worktree, whose checkout is not looked at."""

    def __init__(self, worktree: Worktree) -> None:
        self._worktree = worktree
        self._git = worktree.git()
        self._folder = worktree.git_dir / "parallel-loop.forecast"
        self._changed: dict[str, tuple[str, ...] | None] = {}  # by commit

    def tips(self, branches: Sequence[str]) -> dict[str, str]:
        """The commits that branches are at; those that do not exist are left out."""
        if not branches:
            return {}
        refs = [f"refs/heads/{branch}" for branch in branches]
        listed = self._git.text("for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", *refs)
        found = {name: commit for commit, _, name in (line.partition(" ") for line in listed.splitlines())}
        return {branch: found[branch] for branch in branches if branch in found}

    def changed(self, onto: str, commits: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The paths in which each commit differs from where it left `onto`, but for commits that share none with it."""
        wanted = dict.fromkeys(commits)
        bases = {commit: self._base(onto, commit) for commit in wanted if commit not in self._changed}
        pairs = [(commit, base) for commit, base in bases.items() if base is not None and base != commit]
        self._changed = {commit: self._changed.get(commit) for commit in wanted}
        self._changed.update({commit: () for commit, base in bases.items() if base == commit})
        if pairs:
            self._changed.update(self._diffs(pairs))
        return {commit: paths for commit, paths in self._changed.items() if paths is not None}

    def _base(self, onto: str, commit: str) -> str | None:
        return self._git.run("merge-base", onto, commit, ok=(0, 1)).text or None

    def _diffs(self, pairs: Sequence[Pair]) -> dict[str, tuple[str, ...]]:
        """The paths in which they differ, by the first of each pair, which git takes for a child of the other."""
        argv = ("diff-tree", "--stdin", "-r", "-z", "--name-only", "--no-renames")
        lines = "".join(f"{commit} {base}\n" for commit, base in pairs)
        found: dict[str, list[str]] = {commit: [] for commit, _ in pairs}
        names: list[str] = []
        for field in self._git.run(*argv, stdin=lines.encode(), timeout_seconds=_LONGEST_SECONDS).fields:
            if field in found:  # a commit's full name begins what is said of it
                names = found[field]
            else:
                names.append(field)
        return {commit: tuple(paths) for commit, paths in found.items()}

    def clashes(self, onto: str, pairs: Sequence[Pair]) -> dict[Pair, tuple[str, ...]]:
        """The pairs of commits that conflict, and in which paths. Raises GitError."""
        if not pairs:
            return {}
        objects = self._folder / "objects"
        remove(self._folder)
        (objects / "pack").mkdir(parents=True)
        try:
            git = Git(Attributes(self._git, self._folder / "attributes").at(onto), git_dir=self._worktree.git_dir)
            merged = git.run(
                *("merge-tree", "--write-tree", "--stdin", "--name-only", "--no-messages"),
                "--allow-unrelated-histories",  # else one such pair would end it for all
                stdin="".join(f"{one} {other}\n" for one, other in pairs).encode(),
                env={
                    "GIT_OBJECT_DIRECTORY": str(objects),
                    "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self._worktree.common_dir / "objects"),
                    "GIT_INDEX_FILE": str(self._worktree.git_dir / "parallel-loop.index.none"),
                },
                timeout_seconds=_LONGEST_SECONDS,
            )
        finally:
            remove(self._folder)
        answers = list(_answers(merged.stdout))
        if len(answers) != len(pairs):
            summary = "fewer answers than questions"
            raise GitError(("merge-tree", "--stdin"), self._worktree.path, merged.returncode, summary)
        return {pair: paths for pair, paths in zip(pairs, answers, strict=True) if paths}


def _answers(out: bytes) -> Iterator[tuple[str, ...]]:
    """Read `merge-tree --stdin`: for each pair whether it is clean, a tree, the paths in conflict, an empty field."""
    fields = [os.fsdecode(field) for field in out.split(b"\0")[:-1]]
    place = 0
    while place < len(fields):
        end = fields.index("", place)
        clean, paths = fields[place] == "1", fields[place + 2 : end]
        yield () if clean else tuple(dict.fromkeys(paths))
        place = end + 1
