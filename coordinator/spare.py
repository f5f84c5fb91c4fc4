"""Descriptors kept for the moment in which there are no others, so that even then it can be said what is lacking."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_COUNT = 3  # a look at the queue and a new status.json need one at a time; psutil two


class SpareDescriptors:
    """A few descriptors that are used for nothing else."""

    def __init__(self) -> None:
        self._held: list[int] = []

    def __enter__(self) -> SpareDescriptors:
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_up()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._held) < _COUNT:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def _give_up(self) -> None:
        while self._held:
            os.close(self._held.pop())

    @contextlib.contextmanager
    def given_up(self) -> Iterator[None]:
        """Free them for as long as the block runs."""
        self._give_up()
        try:
            yield
        finally:
            self._take()
