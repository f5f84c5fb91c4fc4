"""Recording what a run does to a disk, from the durable steps of `steps.watched`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.power_disk import Change, Directory, Disk, Fact, File
from support.steps import Step


class Recorder:
    """Turns the durable steps of a run below `base` into changes; `base` itself and all now in it are certain.

    `leaves_out` names flushes that are to count as not made, to plant a fault: by the flushed path ("" for a sync) and
    the step.
    """

    def __init__(self, base: Path, leaves_out: Callable[[Path, str], bool] | None = None) -> None:
        self.base = base
        self.changes: list[Change] = []
        self.steps: list[str] = []  # the name of the step that made the change of the same index
        self._disk = Disk()
        self._leaves_out = leaves_out or (lambda _path, _step: False)
        self._numbers = {_identity(base.stat()): 0}
        self._step = "before"
        for path in sorted(base.rglob("*")):
            self._create(path, is_directory=path.is_dir())
        self._change(Change("sync-all"))

    def tell(self, fact: Fact) -> None:
        """Note what the run was told at this moment."""
        self._change(Change("fact", value=fact))

    def after(self, step: Step, result: Any) -> None:
        """Record a step that was made; to be given to `watched`."""
        self._step = step.name
        operation, first = step.operation, step.arguments[0] if step.arguments else ""
        if operation == "sync":
            if not self._leaves_out(Path(), step.name):
                self._change(Change("sync-all"))
        elif operation in {"fsync", "fdatasync"}:
            self._flush(first)
        elif operation in {"write", "pwrite", "ftruncate"}:
            content = Path(f"/proc/self/fd/{first}").read_bytes()
            self._change(Change("content", self._numbers[_identity(os.fstat(first))], value=content))
        elif operation in {"mkdir", "open"}:
            if self._inside(first) and self._disk.find(self._parts(first)) is None:
                self._create(Path(first), is_directory=operation == "mkdir")
        elif operation == "link":
            self._name(step.arguments[1], self._number(first))
        elif operation in {"rename", "replace"}:
            self._move(first, step.arguments[1])
        else:
            assert operation in {"unlink", "rmdir"}, operation
            self._name(first, None)

    def differences(self) -> list[str]:
        """Return where the disk as recorded differs from the real one: a call that was not seen."""
        found = []
        for path in sorted(self.base.rglob("*")):
            node = self._disk.find(self._parts(path))
            if node is None or node.number != self._numbers.get(_identity(path.lstat())):
                found.append(f"{path} is not recorded")
            elif isinstance(node, File) and node.content.now != path.read_bytes():
                found.append(f"{path} has other bytes than recorded")
        names = [
            past for node in self._disk.nodes.values() if isinstance(node, Directory) for past in node.names.items()
        ]
        named = sum(past.now is not None for _, past in names)
        real = sum(1 for _ in self.base.rglob("*"))
        return found if named <= real else [*found, f"{named - real} names are recorded that are not there"]

    def _flush(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if self._inside(path) and not self._leaves_out(path, self._step):
            self._change(Change("sync", self._numbers[_identity(os.fstat(descriptor))]))

    def _move(self, source: Any, target: Any) -> None:
        number, replaced = self._number(source), self._disk.find(self._parts(target))
        if replaced is not None and replaced.number == number:
            return  # two names of one file: rename does nothing
        self._name(target, number)
        self._name(source, None)

    def _create(self, path: Path, *, is_directory: bool) -> None:
        number = len(self._disk.nodes)
        self._numbers[_identity(os.lstat(path))] = number
        self._change(Change("new-directory" if is_directory else "new-file", number))
        if not is_directory and path.stat().st_size:
            self._change(Change("content", number, value=path.read_bytes()))
        self._name(path, number)

    def _name(self, path: Any, number: int | None) -> None:
        *folder, name = self._parts(path)
        directory = self._disk.find(tuple(folder))
        assert isinstance(directory, Directory), path
        self._change(Change("name", directory.number, name, number))

    def _number(self, path: Any) -> int:
        node = self._disk.find(self._parts(path))
        assert node is not None, path
        return node.number

    def _change(self, change: Change) -> None:
        self._disk.make(change)
        self.changes.append(change)
        self.steps.append(self._step)

    def _inside(self, path: Any) -> bool:
        return Path(path).is_relative_to(self.base)

    def _parts(self, path: Any) -> tuple[str, ...]:
        return Path(path).relative_to(self.base).parts


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode)
