"""What git would write for the files of a commit, written beside the checkout: a dry run that filters take part in.

Guarantees: the checkout, its index and its branch are not touched; attributes are those of the commit, as they are when
git checks it out, not those of the files that are there now.

Assumes: one process at a time for each git directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .files import remove
from .git import Git
from .index import terminated
from .locks import hold

LINK = "160000"  # the mode of a submodule
_NONE = "000000"
_PATIENCE_SECONDS = 60.0
_CONFIGURATION = ("core.splitIndex=false", "core.sparseCheckout=false", "index.sparse=false")
_UNFILTERED = {"unspecified", "unset"}


@dataclass(frozen=True)
class Change:
    """One path of a step: mode and id in both commits; the mode is 000000 where it is not there."""

    old: tuple[str, str]
    new: tuple[str, str]

    @property
    def was(self) -> bool:
        """Whether the old commit has it."""
        return self.old[0] != _NONE

    @property
    def will_be(self) -> bool:
        """Whether the new commit has it."""
        return self.new[0] != _NONE

    @property
    def is_submodule(self) -> bool:
        """Whether it is the commit of a submodule, before or after."""
        return LINK in {self.old[0], self.new[0]}

    @property
    def moves_submodule(self) -> bool:
        """Whether it is the commit of a submodule, before and after: git touches no file then."""
        return self.old[0] == self.new[0] == LINK


def changes(git: Git, old: str, new: str) -> dict[str, Change]:
    """What differs between two commits, by path."""
    fields = iter(git.run("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", old, new).fields)
    found = {}
    for facts in fields:
        old_mode, new_mode, old_id, new_id, _ = facts.removeprefix(":").split(" ")
        found[next(fields)] = Change((old_mode, old_id), (new_mode, new_id))
    return found


def lease_of_repairs(git_dir: Path) -> Path:
    """The lock that every git holds which looks at a step before or after it: it may outlive who started it."""
    return git_dir / "parallel-loop.repair.lease"


def wait_until_free(lease: Path) -> None:
    """Wait until no git of somebody who was killed is at it any more. Raises LockTimeout."""
    with hold(lease, timeout_seconds=_PATIENCE_SECONDS):
        pass


class Preview:
    """A folder in `git_dir`, with an index of its own."""

    def __init__(self, git_dir: Path) -> None:
        self.folder = git_dir / "parallel-loop.preview"
        self._index = git_dir / "parallel-loop.preview.index"
        self._lease = lease_of_repairs(git_dir)
        self._git = Git(self.folder, git_dir=git_dir, configuration=_CONFIGURATION, lease=self._lease)
        self._env = {"GIT_INDEX_FILE": str(self._index)}

    @contextmanager
    def of(self, commit: str, entries: Mapping[str, tuple[str, str]]) -> Iterator[Preview]:
        """Have an index of `entries` (mode and id by path) and of the attributes of `commit`. Raises GitError."""
        self.clear()
        self.folder.mkdir()
        try:
            listed = self._git.run("ls-tree", "-r", "-z", commit).fields
            lines = [line for line in listed if is_attributes(line.partition("\t")[2])]
            lines += [f"{mode} {identity}\t{name}" for name, (mode, identity) in entries.items() if mode != LINK]
            self._git.run("update-index", "-z", "--index-info", stdin=terminated(lines), env=self._env)
            yield self
        finally:
            self.clear()

    def filtered(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that a filter writes."""
        asked = self._git.run("check-attr", "-z", "--stdin", "filter", stdin=terminated(list(names)), env=self._env)
        fields = asked.fields
        return [name for name, value in zip(fields[::3], fields[2::3], strict=True) if value not in _UNFILTERED]

    def write(self, names: Iterable[str]) -> None:
        """Write these files, as git would. Raises GitError when it cannot."""
        argv = ("checkout-index", "--force", "--quiet", "-z", "--stdin")
        self._git.run(*argv, stdin=terminated(list(names)), env=self._env)

    def clear(self) -> None:
        """Remove it, and what one has left that was killed, once its git has ended. Raises LockTimeout."""
        wait_until_free(self._lease)
        remove(self.folder)
        for left in (self._index, self._index.with_name(f"{self._index.name}.lock")):
            left.unlink(missing_ok=True)


def is_attributes(name: str) -> bool:
    """Whether git takes attributes from the file."""
    return name.rpartition("/")[2] == ".gitattributes"


def uses_filters(git: Git) -> bool:
    """Whether any filter is configured that could write files."""
    pattern = r"^filter\..*\.(smudge|process|required)$"
    return git.run("config", "--get-regexp", "--name-only", pattern, ok=(0, 1)).returncode == 0
