"""Filled systems to be measured, made and removed by processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from systems import System, make_payload

FORK = multiprocessing.get_context("fork")


class Store:
    """Filled systems below one folder. Those that are one file are filled once for each depth and copied then."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._originals: dict[tuple[str, int], Path] = {}

    @contextmanager
    def filled(self, system: System, depth: int) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._root))
        try:
            if system.copied:
                copy = os.link if system.linked else shutil.copy2
                shutil.copytree(self._original(system, depth), folder, dirs_exist_ok=True, copy_function=copy)
            else:
                self._fill(system, folder, depth)
            yield folder
        finally:
            shutil.rmtree(folder)

    def _original(self, system: System, depth: int) -> Path:
        key = (system.name, depth)
        if key not in self._originals:
            self._originals[key] = Path(tempfile.mkdtemp(dir=self._root))
            self._fill(system, self._originals[key], depth)
        return self._originals[key]

    def _fill(self, system: System, folder: Path, depth: int) -> None:
        in_child(system.fill, folder, [make_payload(number) for number in range(depth)])


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own, so that nothing stays open or allocated here."""
    ours, theirs = FORK.Pipe(duplex=False)

    def run() -> None:
        theirs.send(function(*arguments))

    process = FORK.Process(target=run)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise SystemExit(f"{function}{arguments[:1]} failed") from None
    finally:
        process.join()
