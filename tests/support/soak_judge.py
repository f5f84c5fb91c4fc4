"""The judge of a soak: orphans while it goes on, and at its end what was lost, done twice or left behind.

It asks the queue only who held which attempt, and the kernel for everything else: which processes there are by their
arguments, and who held a lock. That an attempt is over is known by the death of its worker or by its record.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise

from parallel_loop.harness.identity import Identity, is_alive
from parallel_loop.queue.survey import Survey
from support.landing import landed_items
from support.proc import Seen, mentioning
from support.repository import git
from support.soak_ground import Attempt, Ground

_MEANT_TO_FAIL = {"fails", "hangs"}


@dataclass
class _Over:
    """An attempt that is over: since when, whether by a kill of ours, and who of it was still seen since."""

    since: float
    killed: bool
    apart: bool
    last_seen: float = 0.0


@dataclass
class Judge:
    """Looks on, and remembers what it saw that must not be."""

    ground: Ground
    patience_seconds: float  # an orphan is what lives for longer after its worker
    strict: bool  # whether also a worker that dies together with its coordinator may leave nothing
    violations: list[str] = field(default_factory=list)
    apart: int = 0
    ended_seconds: list[float] = field(default_factory=list)  # from a kill of a worker until its tree was gone
    _owners: dict[Attempt, Identity] = field(default_factory=dict)
    _killed: dict[Identity, tuple[float, bool]] = field(default_factory=dict)  # when, and whether apart
    _over: dict[Attempt, _Over] = field(default_factory=dict)
    _told: set[Attempt] = field(default_factory=set)
    _alive: set[Attempt] = field(default_factory=set)

    def note_kill(self, worker: Identity, *, attended: bool) -> None:
        """Know that a worker was killed just now; not `attended` if nobody is there whose child its program becomes."""
        now, apart = time.monotonic(), not attended and not self.strict
        self._killed[worker] = (now, apart)
        for attempt in self._alive:
            if self._owner(attempt) == worker:
                self._over.setdefault(attempt, _Over(now, killed=True, apart=apart, last_seen=now))

    def look(self) -> None:
        """See who is there that should not be."""
        processes = self.ground.of_programs()
        now = time.monotonic()
        self._alive = alive = {*processes.values(), *self.ground.locked()}
        for attempt in alive:
            over = self._over.get(attempt) or self._when_over(attempt, now)
            if over is not None:
                self._over[attempt] = over
                over.last_seen = now
                if now - over.since > self.patience_seconds and attempt not in self._told:
                    self._told.add(attempt)
                    self._blame(attempt, over, [process for process, of in processes.items() if of == attempt])
        for attempt in set(self._over) - alive:
            over = self._over.pop(attempt)
            if over.killed and not over.apart:
                self.ended_seconds.append(max(0.0, over.last_seen - over.since))

    @property
    def all_is_well(self) -> bool:
        """Whether nobody was seen at the last look whose attempt is over."""
        return not self._over

    def _when_over(self, attempt: Attempt, now: float) -> _Over | None:
        owner = self._owner(attempt)
        if owner is None:
            return None
        if not is_alive(owner):
            when, apart = self._killed.get(owner, (now, False))
            return _Over(when, owner in self._killed, apart)
        entry = self.ground.project.queue.entry(attempt[0])
        assert entry is not None
        ended = entry.attempts > attempt[1] or (entry.last is not None and entry.last.kind != "claimed")
        return _Over(now, killed=False, apart=False) if ended else None

    def _owner(self, attempt: Attempt) -> Identity | None:
        """Return the worker that made the attempt."""
        if attempt not in self._owners:
            entry = self.ground.project.queue.entry(attempt[0])
            claims = [record for record in entry.records if record.kind == "claimed"] if entry else []
            if len(claims) < attempt[1]:
                return None
            claim = claims[attempt[1] - 1]
            assert claim.pid is not None
            assert claim.process_start is not None
            assert claim.boot is not None
            self._owners[attempt] = Identity(claim.pid, claim.process_start, claim.boot)
        return self._owners[attempt]

    def _blame(self, attempt: Attempt, over: _Over, processes: Collection[Seen]) -> None:
        if over.apart:
            self.apart += 1
            return
        item, number = attempt
        how = "its worker was killed" if over.killed else "it was over"
        left = ", ".join(f"{process.pid} (parent {process.parent}, {process.state})" for process in processes)
        late = time.monotonic() - over.since
        self.violations.append(
            f"orphan of {item} ({self.ground.added[item]}), attempt {number}, {late:.2f} s after {how}: "
            f"{left or 'it has no process for long enough to be read'}"
        )

    # --- at the end -----------------------------------------------------------------------------------

    def judge_end(self) -> dict[str, int]:
        """Look at what came of every item when the run has ended by itself; return how many ended how."""
        for pid in mentioning(self.ground.folder):
            self.violations.append(f"process {pid} is left at the end")
        self._judge_journal()
        return self._judge_queue()

    def _judge_journal(self) -> None:
        for line in self.ground.journal.read_text().splitlines():
            what, item, attempt, pid, _ = line.split()
            if what in {"start", "end"}:
                continue
            if self._was_apart(item):
                self.apart += 1
            else:
                self.violations.append(f"{what}: {item} ({self.ground.added[item]}), attempt {attempt}, process {pid}")

    def _was_apart(self, item: str) -> bool:
        """Whether an attempt at the item was left alone: what it left running is met by the next one."""
        entry = self.ground.project.queue.entry(item)
        count = entry.attempts if entry is not None else 0
        owners = [self._owner((item, number)) for number in range(1, count + 1)]
        return any(self._killed.get(owner, (0.0, False))[1] for owner in owners if owner is not None)

    def _judge_queue(self) -> dict[str, int]:
        project = self.ground.project
        survey = Survey(project.queue)
        survey.refresh()
        self.violations += [f"damaged: {damage}" for damage in survey.damage]
        entries = {entry.item.id: entry for entry in survey.all_entries(packed=True)}
        landed = Counter(landed_items(project, "main"))
        for item, kind in self.ground.added.items():
            if item not in entries:
                self.violations.append(f"lost: {item} ({kind})")
                continue
            state, kinds = survey.state(entries[item]), [record.kind for record in entries[item].records]
            if state != ("failed" if kind in _MEANT_TO_FAIL else "done"):
                self.violations.append(f"lost: {item} ({kind}) is {state} at the end")
            if kinds.count("done") > 1 or any(a == b for a, b in pairwise(kinds)):
                self.violations.append(f"recorded twice: {item} ({kind}): {' '.join(kinds)}")
            if landed[item] != (0 if kind in _MEANT_TO_FAIL else 1):
                self.violations.append(f"landed {landed[item]} times: {item} ({kind})")
            elif landed[item] and git(project.root, "show", f"main:{item}.txt").split() != ["1", "2", "3"]:
                self.violations.append(f"landed with the work of two attempts: {item} ({kind})")
        if stray := set(entries) - set(self.ground.added):
            self.violations.append(f"items that nobody added: {sorted(stray)}")
        return dict(Counter(survey.state(entry) for entry in entries.values()))

    def journal_counts(self) -> Counter[str]:
        return Counter(line.split()[0] for line in self.ground.journal.read_text().splitlines())

    def describe_ends(self) -> str:
        """Say how long the trees of killed workers lived on, in ms."""
        found = sorted(1000 * seconds for seconds in self.ended_seconds)
        if not found:
            return "none"
        p99 = found[min(len(found) - 1, round(0.99 * len(found)))]
        return f"p50 {statistics.median(found):.0f}, p99 {p99:.0f}, most {found[-1]:.0f} ms, {len(found)} trees"
