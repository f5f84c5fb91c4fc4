"""A disk that loses power: what may be on it after a cut, given the recorded calls of a run.

The model. A directory is a map from names to files and directories; a file is its bytes.
- The bytes of a file are certain as of its last fsync. Later ones may be there, or a part of them, or zeros, or not.
- A name is certain as of the last fsync of its directory. Each later change of a name may be lost or kept, whatever
  becomes of other names, even of the same directory and rename; only the changes of one name keep their order.
- So a new directory with all in it is certain only when its own name in its parent is. `sync` makes everything certain.
That is weaker than any file system in use: POSIX promises no more. ext4, xfs and btrfs keep the order of all changes
of names (a flush of anything makes all earlier ones certain) and only the bytes may lag behind; what they leave on disk
is among the survivors here, and `survivors` visits those on purpose.

Left out: a disk that lies about flushing, torn sectors inside flushed bytes, damage to what was written long ago,
errors of fsync itself, and modes, owners and times of files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Fact = Any  # what a run was told, for whoever checks


@dataclass(eq=False)
class Past:
    """The states of one name or one file, each with the moment since when; the first is the certain one."""

    states: list[tuple[int, Any]]

    @property
    def now(self) -> Any:
        return self.states[-1][1]

    def make_certain(self) -> None:
        del self.states[:-1]

    def at(self, moment: int) -> Any:
        """Return the state at `moment`, the certain one when that came later."""
        return next((state for since, state in reversed(self.states) if since <= moment), self.states[0][1])


@dataclass(eq=False)
class File:
    number: int
    content: Past = field(default_factory=lambda: Past([(0, b"")]))


@dataclass(eq=False)
class Directory:
    number: int
    names: dict[str, Past] = field(default_factory=dict)


Node = File | Directory
Tree = tuple[tuple[str, int, bytes | None], ...]  # path, number of the node, and bytes of a file; parents come first


@dataclass(frozen=True)
class Change:
    """One effect of a recorded call, by numbers of nodes so that it can be made on a fresh disk."""

    kind: str  # new-file, new-directory, name, content, sync, sync-all, fact
    node: int = 0
    name: str = ""
    value: Any = None


class Disk:
    """Names and bytes with what is certain of each. Node 0 is the directory that the run found there."""

    def __init__(self) -> None:
        self.moment = 0
        self.nodes: dict[int, Node] = {0: Directory(0)}
        self.facts: list[Fact] = []

    def make(self, change: Change) -> None:
        self.moment += 1
        node = self.nodes.get(change.node)
        if change.kind == "new-file":
            self.nodes[change.node] = File(change.node)
        elif change.kind == "new-directory":
            self.nodes[change.node] = Directory(change.node)
        elif change.kind == "fact":
            self.facts.append(change.value)
        elif change.kind == "sync-all":
            for each in self.nodes.values():
                _make_certain(each)
        elif change.kind == "sync":
            assert node is not None
            _make_certain(node)
        elif isinstance(node, File):
            node.content.states.append((self.moment, change.value))
        elif isinstance(node, Directory):
            past = node.names.setdefault(change.name, Past([(0, None)]))
            past.states.append((self.moment, change.value))

    def find(self, parts: tuple[str, ...]) -> Node | None:
        """Return what has that path now."""
        node: Node | None = self.nodes[0]
        for part in parts:
            past = node.names.get(part) if isinstance(node, Directory) else None
            node = None if past is None or past.now is None else self.nodes[past.now]
        return node

    def tree(self, name_of: Callable[[Past], Any], bytes_of: Callable[[Past], bytes]) -> Tree:
        """Return the tree that those two make, as they choose among the states of names and of bytes."""
        found: dict[str, tuple[int, bytes | None]] = {}
        contents: dict[int, bytes] = {}

        def visit(directory: Node, path: str) -> None:
            assert isinstance(directory, Directory)
            for name, past in directory.names.items():
                number = name_of(past)
                node = None if number is None else self.nodes[number]
                if isinstance(node, File):
                    content = contents.setdefault(node.number, bytes_of(node.content))
                    found[f"{path}{name}"] = (node.number, content)
                elif node is not None:
                    found[f"{path}{name}"] = (node.number, None)
                    visit(node, f"{path}{name}/")

        visit(self.nodes[0], "")
        return tuple((path, *found[path]) for path in found)

    def uncertain(self) -> tuple[list[Past], list[Past]]:
        """Return the names and the contents that a cut may change, in the order of their making."""
        directories = [node for node in self.nodes.values() if isinstance(node, Directory)]
        names = [past for directory in directories for past in directory.names.values() if len(past.states) > 1]
        files = [node.content for node in self.nodes.values() if isinstance(node, File)]
        return names, [past for past in files if len(past.states) > 1]


def _make_certain(node: Node) -> None:
    for past in node.names.values() if isinstance(node, Directory) else [node.content]:
        past.make_certain()


def lay_out(tree: Tree, folder: Path) -> None:
    """Make the files and directories of `tree` in the empty `folder`."""
    first: dict[int, str] = {}
    for name, number, content in tree:
        path = f"{folder}/{name}"
        if content is None:
            Path(path).mkdir()
        elif number in first:
            os.link(first[number], path)
        else:
            first[number] = path
            Path(path).write_bytes(content)


def cuts(changes: list[Change]) -> Iterator[tuple[int, Disk]]:
    """Yield the disk as it is after each change; it is the same object that goes on."""
    disk = Disk()
    for index, change in enumerate(changes):
        disk.make(change)
        yield index, disk
