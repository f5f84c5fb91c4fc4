"""A fast-forward that was cut short, in a checkout: whose each file is, and back to where it began.

git removes the old file, writes the new one from its beginning to its end, then writes the index, then moves the
branch. So a file that is as the new commit has it, is the beginning of that, or is missing, is git's; every other one
that is not as in the old commit is the user's, and stays as it is.

Guarantees: no file that has anything of the user's own in it is written or removed; afterwards all others are as in the
old commit. A file is looked at where it is: what is behind a symbolic link is never touched.

Assumes: the caller knows that no git of ours is at it any more.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from .files import remove
from .git import Git
from .index import terminated, unusual_entries
from .preview import Change, Preview, changes, is_attributes
from .salvage import commit_tree, keep


class HalfDone:
    """The step of the checkout at `path` from `old` to `new`, of which anything may have been done."""

    def __init__(self, git: Git, git_dir: Path, old: str, new: str) -> None:
        self._git, self._path, self._git_dir = git, git.directory, git_dir
        self._old, self._new = old, new
        self._steps = changes(git, old, new)
        self._index = git_dir / "parallel-loop.index.follow"
        self._env = {"GIT_INDEX_FILE": str(self._index)}

    def has_new_index(self) -> bool:
        """Whether git had written all the files, and the index after them: only the branch is missing then."""
        return bool(self._steps) and set(self._staged()) == set(self._steps)

    def undo(self, tip: str, *, begun: bool) -> None:
        """Bring the checkout back to `old`, as far as `tip`, where the branch is now, still has it so.

        `begun`: git is known to have begun, so a file that is missing is its doing even when nothing else is to be seen
        of it; otherwise it may be the user's. No lock may be on the index.
        """
        for name in changes(self._git, self._old, tip) if tip != self._old else ():
            self._steps.pop(name, None)
        staged, differing = self._staged(), self._differing()
        if staged or differing:
            with Preview(self._git_dir).of(
                self._new, {name: step.new for name, step in self._steps.items()}
            ) as preview:
                names = [name for name in differing if self._steps[name].will_be and not self._steps[name].is_submodule]
                preview.write(names)
                if begun or staged or any(one != "missing" for one in self._gits(differing, preview).values()):
                    # Attributes first: by those of the new commit, what is old may look changed.
                    self._restore([name for name in differing if is_attributes(name)], preview, staged)
                    self._restore(self._differing(), preview, staged)

    def clear(self) -> None:
        """Remove what was needed to look, also that of one who was killed."""
        Preview(self._git_dir).clear()
        for left in (self._index, self._index.with_name(f"{self._index.name}.lock")):
            remove(left)

    def is_all_new(self) -> bool:
        """Whether git had written all the files."""
        differing = self._differing()
        if {name for name, step in self._steps.items() if not step.moves_submodule} != set(differing):
            return False
        with Preview(self._git_dir).of(self._new, {name: step.new for name, step in self._steps.items()}) as preview:
            preview.write(name for name, step in self._steps.items() if step.will_be and not step.is_submodule)
            return set(self._gits(differing, preview).values()) == {"whole"}

    def _gits(self, names: list[str], preview: Preview) -> dict[str, str]:
        found = {name: _compare(self._path, preview.folder, name, self._steps[name]) for name in names}
        return {name: what for name, what in found.items() if what is not None}

    def _restore(self, differing: list[str], preview: Preview, staged: list[str]) -> None:
        found = self._gits(differing, preview)
        partial = [name for name, what in found.items() if what == "partial"]
        if partial:
            self._save(partial)
        for name in found:
            if not self._steps[name].was:
                _remove_added(self._path, name)
        reset = [name for name in staged if name in found or self._steps[name].is_submodule]
        if reset:
            self._git.run("reset", "--quiet", self._old, *_FROM_INPUT, stdin=_pathspecs(reset), ok=(0, 1))
        before = [name for name in found if self._steps[name].was and _is_free(self._path, name)]
        if before:
            argv = ("checkout", "--force", "--quiet", *_FROM_INPUT, self._old)
            self._git.run(*argv, stdin=_pathspecs(before))

    def _staged(self) -> list[str]:
        """The paths that the index has as the new commit has them."""
        argv = ("diff-index", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", self._old)
        fields = iter(self._git.run(*argv).fields)
        entries = {}
        for facts in fields:
            _, mode, _, identity, _ = facts.removeprefix(":").split(" ")
            entries[next(fields)] = (mode, identity)
        return [name for name, step in self._steps.items() if entries.get(name) == step.new]

    def _differing(self) -> list[str]:
        """The files that are not as in the old commit; without those that a sparse checkout leaves out."""
        git, env = self._git, self._env
        git.run("read-tree", self._old, env=env)
        git.run("update-index", "-q", "--refresh", env=env, ok=(0, 1))
        argv = ("diff-files", "-z", "--name-only", "--no-renames", "--ignore-submodules=all")
        changed = set(git.run(*argv, env=env).fields)
        left_out = set(unusual_entries(git).skipped)
        return [
            name
            for name, step in self._steps.items()
            if not step.moves_submodule
            and (name in changed if step.was else _kind(self._path, name) is not None)
            and not (name in left_out and _kind(self._path, name) is None)
        ]

    def _save(self, names: list[str]) -> None:
        """Commit what is half written, in case it is not git that wrote it."""
        git, env = self._git, self._env
        git.run("update-index", "--add", "--remove", "--replace", "-z", "--stdin", stdin=terminated(names), env=env)
        tree = git.run("write-tree", env=env).text
        commit = commit_tree(git, tree, [self._old], "What a fast-forward that was cut short left in the checkout")
        keep(git, f"refs/parallel-loop/salvage/follow/{self._new}", commit, "a fast-forward was cut short")


_FROM_INPUT = ("--pathspec-from-file=-", "--pathspec-file-nul")


def _pathspecs(names: Iterable[str]) -> bytes:
    return terminated([f":(top,literal){name}" for name in sorted(names)])


def _kind(root: Path, name: str) -> int | None:
    """The type of the file that is at this very path, None when there is none or it is behind a link."""
    for parent in list(PurePosixPath(name).parents)[-2::-1]:
        if not _is_folder(root / parent):
            return None
    try:
        return stat.S_IFMT((root / name).lstat().st_mode)
    except OSError:
        return None


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _is_free(root: Path, name: str) -> bool:
    """Whether git can write a file there without removing anything else: with force, it removes whole folders."""
    for parent in list(PurePosixPath(name).parents)[-2::-1]:
        if os.path.lexists(root / parent) and not _is_folder(root / parent):
            return False
    return not any(files or ".git" in below for _, below, files in os.walk(root / name))


def _compare(root: Path, preview: Path, name: str, step: Change) -> str | None:
    """What git has done to a path: "missing", "whole", "partial"; None when what is there is the user's."""
    kind = _kind(root, name)
    if kind is None or (kind == stat.S_IFDIR and step.was and not step.is_submodule):
        # A folder where a file was: git has begun to put files below, each of which is looked at by itself.
        return "missing" if step.was and step.will_be else "whole" if step.was else None
    if step.is_submodule:
        return "whole" if kind == stat.S_IFDIR and not step.was and not any((root / name).iterdir()) else None
    if not step.will_be or kind != _kind(preview, name):
        return None
    if kind == stat.S_IFLNK:
        return "whole" if (root / name).readlink() == (preview / name).readlink() else None
    return _compare_files(root / name, preview / name) if kind == stat.S_IFREG else None


def _compare_files(file: Path, model: Path) -> str | None:
    size, whole = file.stat().st_size, model.stat().st_size
    if size > whole:
        return None
    with file.open("rb") as one, model.open("rb") as other:
        left = size
        while left > 0:
            block = one.read(min(left, 1 << 20))
            if not block or block != other.read(len(block)):
                return None
            left -= len(block)
    return "whole" if size == whole else "partial"


def _remove_added(root: Path, name: str) -> None:
    """Remove what git had added, and the folders that it had made for it."""
    path = root / name
    if _kind(root, name) == stat.S_IFDIR:
        with suppress(OSError):
            path.rmdir()
    elif _kind(root, name) is not None:
        path.unlink()
    for parent in path.relative_to(root).parents:
        if parent == Path():
            break
        try:
            (root / parent).rmdir()
        except OSError:
            break
