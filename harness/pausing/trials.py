"""Taking items with regard to paused programs: theirs are passed over, but for one trial when it is time.

Guarantees: of all workers one begins a trial; a failed attempt that only says again what the pause is for costs its
item none. While no program is paused, a take costs one `stat` more, and so does an attempt that succeeds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

from ...queue.clock import seconds_until
from ...queue.records import Item, Record
from ...queue.taking import Claim, PassesOver, Taker
from ..configuration.config import Config
from ..configuration.settings import SHELL
from ..configuration.wording import one_line
from ..outcome import NO_ROOM, Evidence, at_no_cost
from ..project import Project
from .likeness import alike, last_line
from .pause_file import PauseFile, configuration_of, key_of
from .pauses import Event, Failed, Failure, State, Succeeded, TrialBegun, TrialOver, Trouble, costs_nothing

_SHOWN_BEGIN, _SHOWN_END = 120, 79  # characters of a long line: what went wrong may stand at its end
_SAYS_NOTHING = frozenset(
    {"interrupted", "limited", "over-limit", "over-budget", NO_ROOM}
)  # of the program; nor does what costs no attempt


Instead = Callable[[str], str | None]


def _no_other(_item_id: str) -> str | None:
    return None


class Trials:
    """One worker's regard for paused programs."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._file = PauseFile(project)
        self._paused: dict[str, Trouble] = {}
        self._keys: dict[str, str] = {}  # of the items that were looked at, by id
        self._keys_under: Config | None = None
        self._trial: str | None = None
        self._leaves: PassesOver | None = None
        self._instead: Instead = _no_other

    def take(self, taker: Taker, leaves: PassesOver | None = None, instead: Instead = _no_other) -> Claim | None:
        """Claim the first item that `taker` can take and whose program is not paused, or due for a trial.

        What `leaves` says yes to is passed over before anything else is asked about it. What program runs an item if
        not its own, `instead` says.
        """
        self._trial = None
        self._paused = self._file.in_force()
        if not self._paused:
            self._keys.clear()
            return taker.take() if leaves is None else taker.take(leaves)
        if self._keys_under is not self._project.config:
            self._keys.clear()
            self._keys_under = self._project.config
        self._leaves, self._instead = leaves, instead
        claim = self._take_untried(taker) or taker.take(self._passes_over)
        self._end_trial(unless_of=None if claim is None else instead(claim.item.id) or self._key(claim.item))
        return claim

    def _take_untried(self, taker: Taker) -> Claim | None:
        """Claim for a trial that is due the first item that has not failed yet in the way that the pause is for.

        The first of all may itself be what is wrong, as one whose prompt is refused; it is first again at each trial.
        """
        now = self._project.queue.now()
        due = {key: pause.tried for key, pause in self._paused.items() if pause.tried and pause.is_due(now)}

        def passes_over(item_id: str, read: Callable[[], Item | None]) -> bool:
            tried = due.get(self._key_of(item_id, read) or "")
            return tried is None or item_id in tried or self._passes_over(item_id, read)

        return taker.take(passes_over) if due else None

    @property
    def seconds_until_due(self) -> float:
        """How long it is until the next trial, as of the last take; one that is overdue needs an item, not time."""
        now = self._project.queue.now()
        waits = [seconds_until(one.until, now) for one in self._paused.values() if one.until and now < one.until]
        return min(waits, default=math.inf)

    def _passes_over(self, item_id: str, read: Callable[[], Item | None]) -> bool:
        if self._leaves is not None and self._leaves(item_id, read):
            return True
        key = self._key_of(item_id, read)
        if key is None:
            return False
        pause = self._paused.get(key)
        if pause is None or key == self._trial:
            return False
        if self._trial is None and pause.is_due(self._project.queue.now()):
            return not self._begin_trial(key)
        return True

    def _key_of(self, item_id: str, read: Callable[[], Item | None]) -> str | None:
        """Return what is paused when this item fails; None when it cannot be read."""
        key = self._instead(item_id) or self._keys.get(item_id)
        if key is None:
            item = read()
            if item is not None:
                key = self._keys[item_id] = self._key(item)
        return key

    def _begin_trial(self, key: str) -> bool:
        """Begin a trial of `key` unless another worker did; False then, and when that cannot be written."""
        try:
            before, after = self._file.change(TrialBegun(key))
        except OSError:
            return False
        self._paused = self._file.in_force()
        if before == after:
            return key not in self._paused
        self._trial = key
        return True

    def _end_trial(self, unless_of: str | None = None) -> None:
        """Tell that the trial says nothing, unless what it is of was taken."""
        key = self._trial
        if key is not None and key != unless_of:
            self._trial = None
            self._change(TrialOver(key))
            self._paused = self._file.in_force()

    def note_lasting(self) -> None:
        """Tell that the program of the attempt in hand has worked for longer than those that fail within seconds."""
        if self._trial is not None:
            self._change(Succeeded(self._trial))
            self._trial = None

    def settle(self, item: Item, record: Record | None, evidence: Evidence) -> Record | None:
        """Note what an attempt at `item` says about its program; return the record that is to end it."""
        if record is None or not record.counted or record.outcome in _SAYS_NOTHING:
            self._end_trial()
            return record
        if record.kind not in {"released", "failed"}:
            key = self._key(item)
            if any(one.key == key for one in self._file.look()):
                self._change(Succeeded(key))
            return record
        failure = self._failure(item, record, evidence)
        before = self._change(Failed(failure, trial=self._trial == failure.key)) or self._file.look()
        return at_no_cost(record) if costs_nothing(before, failure) else record

    def _failure(self, item: Item, record: Record, evidence: Evidence) -> Failure:
        config, run = self._project.config, evidence.run
        key = self._key(item)
        program = SHELL if key.startswith(f"{SHELL} ") else key
        said = record.why or "" if _has_told(evidence) else evidence.output or record.why or ""
        return Failure(
            key=key,
            config=configuration_of(program, config),
            program=program,
            command=_shortened(item.command or "") if program == SHELL else "",
            outcome=record.outcome or "",
            exit_code=run.returncode if run is not None else None,
            end=alike(said, item.id),
            said=_shortened(last_line(said)),
            item=item.id,
            # What prepares an attempt may take minutes; it is the program that fails within seconds.
            seconds=run.seconds if run is not None and not run.ok else evidence.seconds,
        )

    def _key(self, item: Item) -> str:
        return key_of(item, self._project.config)

    def _change(self, event: Event) -> State | None:
        """Return what was known before; None when it cannot be written: then the next attempt says it again."""
        with contextlib.suppress(OSError):
            return self._file.change(event)[0]
        return None


def _has_told(evidence: Evidence) -> bool:
    """Whether the program told of its work, and nothing else was wrong: its output is for machines then."""
    other = evidence.failed_check or evidence.error
    return evidence.story is not None and evidence.story.events > 0 and other is None


def _shortened(text: str) -> str:
    fits = len(text) <= _SHOWN_BEGIN + _SHOWN_END
    return one_line(text if fits else f"{text[:_SHOWN_BEGIN]}…{text[-_SHOWN_END:]}")
