"""What attempts may cost, in US dollars as their programs tell them: an attempt, an item, a run.

Guarantees: what a person has been asked about (an item with nothing left waits) goes on with as much again, and never
without. The sum of a run survives the coordinator: it is forgotten only when one begins after another has ended.

Assumes: a program that never tells dollars costs none; `doctor` says so. An attempt that is being made is not in the
sum of the run yet.
"""

from __future__ import annotations

import contextlib
from pathlib import PurePath
from typing import NamedTuple

import msgspec

from ..queue import atomic
from ..queue.records import Entry, Record, Usage
from ..queue.requests import OVER_BUDGET
from .changing import Changed
from .configuration.settings import SHELL, Config
from .programs import program_of
from .project import Project
from .spending import spent
from .state import read_record

_LEAST_USD = 0.005  # with less than half a cent nothing can be begun
_TELL_DOLLARS = {"claude", "opencode", "trajectory"}  # dialects, of those that know the prices


class Cap(NamedTuple):
    """What one attempt may cost, by which key, and what its session had used before it."""

    usd: float
    key: str
    before: Usage | None = None

    @property
    def is_nothing(self) -> bool:
        return self.usd < _LEAST_USD


class Costs(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the attempts of a run have cost, by program."""

    usd: dict[str, float] = {}

    @property
    def sum(self) -> float:
        """All of them; less than nothing is what nobody of ours writes."""
        return sum(max(0.0, usd) for usd in self.usd.values())

    def with_more(self, program: str, usd: float) -> Costs:
        return Costs({**self.usd, program: max(0.0, self.usd.get(program, 0.0)) + usd})


def tells_dollars(program: str, config: Config) -> bool:
    """Whether the program says what it costs, as far as its dialect tells; of those that print text, aider does."""
    if program == SHELL:
        return False
    adapter = config.adapter(program)
    is_aider = PurePath((adapter.argv or ("",))[0]).name == "aider"
    return adapter.dialect in _TELL_DOLLARS or (adapter.dialect == "text" and is_aider)


def cap_of(entry: Entry, project: Project) -> Cap | None:
    """Return what the next attempt at the item may cost, or the one that has just begun; None for no matter what."""
    config, program = project.config, program_of(entry.item, project.config)
    if program == SHELL:
        return None
    budget = config.budget
    own = config.adapter(program).budget
    caps = [] if own is None else [Cap(own, f"programs.{program}.budget")]
    if budget.attempt_usd is not None:
        caps.append(Cap(budget.attempt_usd, "budget.attempt"))
    if budget.item_usd is not None:
        caps.append(Cap(budget.item_usd - used_usd(entry, project), "budget.item"))
    return min(caps, default=None)


def used_usd(entry: Entry, project: Project) -> float:
    """Return what the attempts at the item have cost since a person last let it go on."""
    first = _fresh_since(entry)
    attempts = spent(entry, project.state, project.config)
    return sum(one.usage.usd or 0.0 for one in attempts if one.claim >= first)


def _fresh_since(entry: Entry) -> int:
    """Return the index of the first record that counts."""
    first, held = 0, None
    for index, record in enumerate(entry.records):
        if record.kind == "waiting":
            held = record.outcome
        elif record.kind == "retried" or (record.kind == "answered" and held == OVER_BUDGET):
            first = index
    return first


def held_for_budget(record: Record, entry: Entry, project: Project) -> Record:
    """Return the record that ends an attempt at `entry`'s item; it is to wait for a person when nothing is left.

    An attempt that says nothing of the item leaves it takable: the next one finds out.
    """
    most = project.config.budget.item_usd
    if most is None or record.kind not in {"released", "failed"} or not record.counted:
        return record
    used = used_usd(msgspec.structs.replace(entry, records=(*entry.records, record)), project)
    if used <= most - _LEAST_USD:
        return record
    cost, limit = apart(used, most)
    why = f"{record.why}; it has cost {cost}, and an item may cost {limit} (budget.item)"
    if record.outcome != OVER_BUDGET:
        why = f"{record.outcome}: {why}"
    why = f"{why}; an answer or a retry lets it go on with as much again"
    return msgspec.structs.replace(record, kind="waiting", outcome=OVER_BUDGET, why=why, not_before=None)


def apart(cost: float, most: float) -> tuple[str, str]:
    """Return both as people write them, with as many digits as make the two differ, where they do."""
    digits = next((digits for digits in range(2, 7) if f"{cost:.{digits}f}" != f"{most:.{digits}f}"), 2)
    return f"${cost:.{digits}f}", f"${most:.{digits}f}"


class RunBudget:
    """What the run has cost, in a file that the workers share."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._file = Changed(project.state.costs, project.state.costs_lock, Costs)

    def add(self, program: str, usage: Usage | None) -> None:
        """Count what an attempt used. What cannot be written is not counted: no reason to stop the work."""
        if usage is None or not usage.usd:
            return
        used = usage.usd
        with contextlib.suppress(OSError):
            before, after = self._file.change(lambda known: known.with_more(program, used))
            most = self._project.config.budget.run_usd
            if most is not None and before.sum < most <= after.sum:
                self._project.state.record_event("run-over-budget", why=self.why)

    def add_what_was_lost(self, entry: Entry) -> None:
        """Count the attempt before the one that begins, when its worker was killed and could not."""
        before = list(spent(entry, self._project.state, self._project.config))[-1:]
        for one in before:
            if one.end.outcome == "died":  # who was cancelled counted it
                self.add(one.program, one.usage)

    def begin(self) -> None:
        """Forget what an earlier run has cost, unless it was killed and this one goes on with it. Raises OSError."""
        last = read_record(self._project.state.status, _Status)
        if last is None or last.coordinator.state == "stopped":
            atomic.clear_the_way(self._project.state.costs)
            self._project.state.costs.unlink(missing_ok=True)

    @property
    def spent_usd(self) -> float:
        return self._file.look().sum

    @property
    def told_usd(self) -> float | None:
        """What the run has cost, None while no program has told anything; in figures that people can read."""
        return round(self.spent_usd, 6) or None

    @property
    def is_spent(self) -> bool:
        most = self._project.config.budget.run_usd
        return most is not None and self.spent_usd >= most - _LEAST_USD

    @property
    def why(self) -> str:
        cost, most = apart(self.spent_usd, self._project.config.budget.run_usd or 0.0)
        return f"this run has cost {cost}, and a run may cost {most} (budget.run)"

    def barred(self) -> list[str]:
        """Return the programs of which nothing is to be begun any more in this run: those that tell what they cost."""
        if not self.is_spent:
            return []
        config, told = self._project.config, self._file.look().usd
        return [name for name in config.known_programs() if told.get(name) or tells_dollars(name, config)]


class _Coordinator(msgspec.Struct, frozen=True):
    state: str = "stopped"


class _Status(msgspec.Struct, frozen=True):
    """Of the last snapshot, whether the run has ended that it was of; coordinator/snapshot.py has the whole."""

    coordinator: _Coordinator = _Coordinator()
