"""Hints: names that tell where to look, so that nobody has to read every chain.

A hint to a ready item is a line in a bucket. Any other is a further name of the item's own file: a hard link is
several times cheaper than an empty file, and there is none for an item that does not exist. A hint may be missing or
out of date; whoever acts on one looks at the chain first, and `heal` makes the missing ones. That is why nothing here
is flushed to disk and no failure here loses an item.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from . import atomic
from .atomic import StrPath, own_names
from .hint import SEPARATOR, Hint, file_time
from .layout import Layout
from .offering import Offering

_MOST_TRIES = 20  # somebody would have to remove the folder between two calls every single time


class Hints:
    """Makes, moves and lists the hints of one queue."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._offering: Offering | None = None

    @contextlib.contextmanager
    def many(self) -> Iterator[None]:
        """Write all that is offered meanwhile together, at the end."""
        offering = self._offering = Offering(self._layout)
        try:
            yield
        finally:
            self._offering = None
            offering.write()  # also what was offered before an error

    def offer(self, hint: Hint) -> None:
        """Put the item among the ready ones."""
        if self._offering is not None:
            self._offering.add(hint)
            return
        offering = Offering(self._layout)
        offering.add(hint)
        offering.write()

    def delay(self, hint: Hint, not_before: str) -> None:
        """Put the item among those that become ready at `not_before`."""
        self._name(hint.id, f"{self._layout.delayed}/{file_time(not_before)}{SEPARATOR}{hint.name}")

    def promote_due(self, now: str) -> tuple[set[int], str | None]:
        """Offer all delayed items that are due.

        Returns their priorities, and when the next one is due (as `file_time`), if any.
        """
        limit = file_time(now)
        promoted: set[int] = set()
        for name in own_names(self._layout.delayed):
            due, _, rest = name.partition(SEPARATOR)
            hint = Hint.parse(rest)
            if hint is None:
                continue
            if due > limit:
                return promoted, due
            with contextlib.suppress(OSError):  # it stays delayed until there is a place for it
                self.offer(hint)
                remove(self._layout.delayed / name)
                promoted.add(hint.priority)
        return promoted, None

    def mark_landing(self, item_id: str, number: int, at: str) -> None:
        """Note that a branch waits for landing, in the order of handing over."""
        self._name(item_id, f"{self._layout.landing}/{SEPARATOR.join((file_time(at), item_id, str(number)))}")

    def unmark_landing(self, item_id: str) -> None:
        for name in own_names(self._layout.landing):
            if name.split(SEPARATOR)[1:2] == [item_id]:
                remove(self._layout.landing / name)

    def landing(self) -> list[str]:
        """Return the ids of items that wait for landing, first come first."""
        parts = (name.split(SEPARATOR) for name in own_names(self._layout.landing))
        return list(dict.fromkeys(part[1] for part in parts if len(part) == 3))

    def mark_dependent(self, dependency: str, item_id: str) -> None:
        folder = self._layout.after / dependency
        for _ in range(_MOST_TRIES):
            _make_folder(folder)
            try:
                self._name(item_id, f"{folder}/{item_id}")
            except FileNotFoundError:  # tidying removed the folder
                continue
            return

    def dependents(self, dependency: str) -> list[str]:
        folder = f"{self._layout.dependents}/{dependency}"
        return own_names(folder) if atomic.exists(folder) else []  # mostly nobody waits, which is quicker to ask

    def _name(self, item_id: str, path: str) -> None:
        """Make the hint; none of an item that was done and packed meanwhile."""
        try:
            atomic.link_once(self._layout.item(item_id), path)
        except FileNotFoundError:
            if os.path.lexists(self._layout.item(item_id)):
                raise


def _make_folder(folder: Path) -> None:
    """Make the folder where it is missing. It may be gone again at once: whoever empties one removes it."""
    with contextlib.suppress(FileExistsError):  # pathlib looks again whether it is a folder, and it was one
        folder.mkdir(parents=True, exist_ok=True)


def remove(path: StrPath) -> None:
    try:  # noqa: SIM105 (twice as quick as suppress)
        os.unlink(path)  # noqa: PTH108 (text, see Layout)
    except (FileNotFoundError, IsADirectoryError):  # a directory is none of ours
        pass
