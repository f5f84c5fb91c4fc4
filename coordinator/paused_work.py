"""What is left to do in a queue, with regard to paused programs and accounts that need a person: whose pause matters,
and whether all that is left waits for such.

A drain does not wait for work of those alone; it does for accounts that open by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..harness.accounts import events
from ..harness.accounts.account_file import AccountFile, account_of, fallback_of, policy_of
from ..harness.accounts.standing import Account, needs_person
from ..harness.pausing import pauses
from ..harness.pausing.pause_file import PauseFile, is_for_money, key_of, what, why
from ..harness.pausing.pauses import Trouble
from ..harness.programs import program_of
from ..harness.project import Project
from ..queue.atomic import Unreadable
from ..queue.records import Item
from ..queue.survey import Survey


def tell_that_a_run_begins(project: Project) -> None:
    """Let it begin with a trial of each program that is paused, and of each account that is refused. Raises OSError."""
    PauseFile(project).change(pauses.RunBegun())
    accounts = AccountFile(project)
    if accounts.look().accounts:
        accounts.change(events.RunBegun())


class Way(NamedTuple):
    """One way in which an item can be worked on: what would be paused, and whose account it needs."""

    key: str
    account: str | None


class PausedWork:
    """Knows of each item that it was asked about in which ways it can be worked on; items are never edited."""

    def __init__(self, project: Project, survey: Survey) -> None:
        self._project = project
        self._survey = survey
        self._file = PauseFile(project)
        self._accounts = AccountFile(project)
        self._ways: dict[str, tuple[Way, ...]] = {}

    @property
    def is_there(self) -> bool:
        """Whether any program is paused or something is known of an account, so that ready items may rightly wait."""
        return bool(self._file.in_force() or self._accounts.look().accounts)

    def needed(self) -> list[Trouble]:
        """Return the pauses in force of what some item is yet to be done with; of another nobody has to hear.

        That the run has cost what it may is one of them, of however many programs.
        """
        found = self._file.in_force()
        unneeded = set(found)
        for item_id in self._unfinished() if found else ():
            unneeded.difference_update(way.key for way in self._ways_of(item_id))
            if not unneeded:
                break
        needed = [pause for key, pause in found.items() if key not in unneeded]
        return [*list(filter(is_for_money, needed))[:1], *(one for one in needed if not is_for_money(one))]

    def shut(self) -> list[Account]:
        """Return the accounts that need a person, of those with which something is yet to be done."""
        found = self._shut()
        unneeded = set(found)
        for item_id in self._unfinished() if found else ():
            unneeded.difference_update(way.account or "" for way in self._ways_of(item_id))
            if not unneeded:
                break
        return [one for name, one in found.items() if name not in unneeded]

    def _unfinished(self) -> Iterator[str]:
        yield from self._survey.takable()
        for entry in self._survey.entries():
            if self._survey.state(entry) in {"working", "blocked", "waiting"}:
                yield entry.item.id

    def why_stuck(self) -> str | None:
        """Say what all that is left waits for, when it is paused programs, none of them on trial or due for one, or
        accounts that need a person.

        The survey is refreshed before it is believed: an item that looked ready may have been taken.
        """
        if not self._is_stuck():
            return None
        self._survey.refresh()
        if not self._is_stuck():
            return None
        names = {_named(pause) for pause in self._paused().values()} | {f"the account {name}" for name in self._shut()}
        return f"all that is left waits for what is paused: {', '.join(sorted(names))}; see `parallel-loop status`"

    def _paused(self) -> dict[str, Trouble]:
        now = self._project.queue.now()
        found = self._file.in_force()
        return {} if any(one.trial or one.is_due(now) for one in found.values()) else found

    def _shut(self) -> dict[str, Account]:
        policy = policy_of(self._project.config)
        return {one.name: one for one in self._accounts.look().accounts if needs_person(one, policy)}

    def _is_stuck(self) -> bool:
        """Whether something is left, and nothing of that can go on by itself."""
        paused, shut = self._paused(), self._shut()
        counts = self._survey.counts()
        if not (paused or shut) or counts["working"] or counts["landing"]:
            return False
        if not (counts["ready"] or counts["delayed"]):
            return False
        for item_id in self._survey.takable():
            ways = self._ways_of(item_id)
            if not ways or any(way.key not in paused and way.account not in shut for way in ways):
                return False
        return True

    def _ways_of(self, item_id: str) -> tuple[Way, ...]:
        if item_id not in self._ways:
            try:
                item = self._project.queue.chain.read_named_item(item_id)
            except Unreadable:
                item = None
            self._ways[item_id] = () if item is None else tuple(self._ways_to(item))
        return self._ways[item_id]

    def _ways_to(self, item: Item) -> Iterator[Way]:
        config = self._project.config
        yield Way(key_of(item, config), account_of(program_of(item, config), config))
        other = fallback_of(item, config)
        if other is not None:
            yield Way(other, account_of(other, config))


def _named(pause: Trouble) -> str:
    return f"{what(pause)}, as {why(pause)}" if is_for_money(pause) else what(pause)
