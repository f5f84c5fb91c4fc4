"""What is left to do in a queue, with regard to paused programs: whose pause matters, and whether all of it is paused.

A drain does not wait for work of paused programs alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..harness.pausing.pause_file import PauseFile, key_of, what
from ..harness.pausing.pauses import Trouble
from ..harness.project import Project
from ..queue.atomic import Unreadable
from ..queue.survey import Survey


class PausedWork:
    """Knows of each item that it was asked about what would be paused; items are never edited."""

    def __init__(self, project: Project, survey: Survey) -> None:
        self._project = project
        self._survey = survey
        self._file = PauseFile(project)
        self._keys: dict[str, str | None] = {}

    @property
    def is_there(self) -> bool:
        """Whether any program is paused, so that ready items may rightly wait."""
        return bool(self._file.in_force())

    def needed(self) -> list[Trouble]:
        """Return the pauses in force of what some item is yet to be done with; of another nobody has to hear."""
        found = self._file.in_force()
        unneeded = set(found)
        for item_id in self._unfinished() if found else ():
            unneeded.discard(self._key(item_id) or "")
            if not unneeded:
                break
        return [pause for key, pause in found.items() if key not in unneeded]

    def _unfinished(self) -> Iterator[str]:
        yield from self._survey.takable()
        for entry in self._survey.entries():
            if self._survey.state(entry) in {"working", "blocked", "waiting"}:
                yield entry.item.id

    def why_stuck(self) -> str | None:
        """Say what all that is left waits for, when it is paused programs, none of them on trial or due for one.

        The survey is refreshed before it is believed: an item that looked ready may have been taken.
        """
        paused = self._paused()
        if not paused or not self._is_left(paused):
            return None
        self._survey.refresh()
        paused = self._paused()
        if not paused or not self._is_left(paused):
            return None
        names = ", ".join(sorted({what(pause) for pause in paused.values()}))
        return f"all that is left waits for what is paused: {names}; see `parallel-loop status`"

    def _paused(self) -> dict[str, Trouble]:
        now = self._project.queue.now()
        found = self._file.in_force()
        return {} if any(one.trial or one.is_due(now) for one in found.values()) else found

    def _is_left(self, paused: dict[str, Trouble]) -> bool:
        """Whether something is left, and all of that is paused."""
        counts = self._survey.counts()
        if counts["working"] or counts["landing"] or not (counts["ready"] or counts["delayed"]):
            return False
        return all(self._key(item_id) in paused for item_id in self._survey.takable())

    def _key(self, item_id: str) -> str | None:
        if item_id not in self._keys:
            try:
                item = self._project.queue.chain.read_named_item(item_id)
            except Unreadable:
                item = None
            self._keys[item_id] = None if item is None else key_of(item, self._project.config)
        return self._keys[item_id]
