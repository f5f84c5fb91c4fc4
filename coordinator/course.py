"""What came of the queue in one run: for the exit code, and for the line with which the run ends."""

from __future__ import annotations

from ..queue.records import State
from ..queue.survey import Survey

_LEFT: tuple[State, ...] = ("ready", "delayed", "working", "landing", "blocked", "waiting")


class Course:
    """One run, which begins with the queue as `survey` saw it last."""

    def __init__(self, survey: Survey) -> None:
        self._failed_before = failed_items(survey)
        self._done_before = survey.counts()["done"]

    def failed(self, survey: Survey) -> int:
        """Return how many items failed for good in this run, or cannot be read any more."""
        return len(failed_items(survey) - self._failed_before)

    def describe(self, survey: Survey) -> str:
        """Say what was done, what failed, and what is left."""
        counts = survey.counts()
        left = ", ".join(f"{counts[state]} {state}" for state in _LEFT if counts[state])
        return f"{counts['done'] - self._done_before} done, {self.failed(survey)} failed, {left or 'none'} left"


def failed_items(survey: Survey) -> set[str]:
    """Return the ids of the items that have no attempts left, or cannot be read any more."""
    failed = {entry.item.id for entry in survey.entries() if entry.last_is("failed")}
    return failed | {damage.item for damage in survey.damage if damage.item is not None}
