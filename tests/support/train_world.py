"""A world for the train in which nothing takes time: branches that merge, are bad, or fail once, and count their runs.

The train is the real one; repository, checks and queue are models of what it asks of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, cast

from msgspec import Struct

from parallel_loop.coordinator.checking import Verdict
from parallel_loop.coordinator.landing_records import Waiting
from parallel_loop.coordinator.train import RedBase, Train, Unsettled
from parallel_loop.harness.configuration.config import Config
from parallel_loop.queue.records import Entry, Item, Record
from parallel_loop.worktrees.landing import Candidate, Conflict, Joined, Tip

TIME = "2026-01-01T00:00:00.000000Z"


class State(Struct):
    """What the train asks of the state directory."""

    told: list[tuple[str, Any]] = []

    def record_event(self, event: str, **details: Any) -> bool:
        self.told.append((event, details.get("item")))
        return True


class World:
    """`passes` says of the names of the branches in a tree whether its checks pass, this time."""

    def __init__(self, passes: Callable[[Set[str]], bool], conflicts: Callable[[Set[str], str], bool]) -> None:
        self._passes, self._conflicts = passes, conflicts
        self.config, self.state = Config(), State()
        self.tips: list[tuple[str, ...]] = [()]
        self.runs = 0
        self.green: set[frozenset[str]] = set()
        self.landed_items: list[str] = []
        self.sent_back: dict[str, str] = {}
        self._commits: dict[str, tuple[str, ...]] = {"": ()}
        train = Train(*cast("tuple[Any, Any, Any, Any, Any]", (self, self, self, self, self)))
        self.train = train

    # --- the landing branch ---------------------------------------------------------------------------

    def look(self) -> Tip:
        commit = ",".join(self.tips[-1])
        return Tip(commit, self._tree_of(commit))

    def _tree_of(self, commit: str) -> str:
        return ",".join(sorted(self._commits[commit]))

    def landed(self) -> dict[str, str]:
        return {}

    def join(self, onto: str, source: str, _message: str, _style: str, *, facts: bool) -> Joined | Conflict:
        before = self._commits[onto]
        if self._conflicts(set(before), source):
            return Conflict((source,), "conflict", "facts" if facts else "")
        after = (*before, source)
        commit = ",".join(after)
        self._commits[commit] = after
        return Joined(commit, self._tree_of(commit), source)

    def is_landed(self, commit: str) -> bool:
        return commit in self.tips[-1]

    @contextlib.contextmanager
    def held(self, onto: str, stack: Sequence[Joined], _message: str, *, hold: bool) -> Iterator[Candidate]:
        assert not hold, "the model has no checks configured"
        yield Candidate(stack[-1].commit, stack[-1].tree, onto)

    def advance(
        self, candidate: Candidate, *, heirs: Sequence[str], landed: Mapping[str, str], recorded: Sequence[str]
    ) -> bool:
        assert candidate.onto == self.look().commit
        assert not landed.keys() & set(recorded)
        assert len(heirs) == len(landed)
        self.tips.append(self._commits[candidate.commit])
        return True

    def base(self, _commit: str, _other: str) -> str:
        return ""

    def landed_between(self, *_: object) -> list[str]:
        return []

    def flush(self) -> None:
        pass

    # --- checks and queue -----------------------------------------------------------------------------

    def check(self, commit: str, _tree: str, _name: str, _is_wanted: object = None) -> Verdict:
        content = frozenset(self._commits[commit])
        if content in self.green:
            return Verdict()
        self.runs += 1
        if self._passes(content):
            self.green.add(content)
            return Verdict()
        return Verdict(failed="red")

    def check_twice(self, commit: str, tree: str, name: str) -> Verdict:
        first = self.check(commit, tree, name)
        return first if first.passed else self.check(commit, tree, name)

    def is_wanted(self, waiting: Waiting) -> bool:
        return waiting.item.id not in self.sent_back and waiting.item.id not in self.landed_items

    def land(self, waiting: Waiting, _commit: str, *, note: str | None = None) -> None:
        assert self.is_wanted(waiting), note
        self.landed_items.append(waiting.item.id)

    def send_back(self, entry: Entry, _handed: Record, outcome: str, _why: str, _output: str = "") -> None:
        self.sent_back[entry.item.id] = outcome

    # --- what happens ---------------------------------------------------------------------------------

    def drain(self, names: Sequence[str], size: int | None = None) -> int:
        """Land `names` in batches of `size`, or as the train wants it, until nothing is left; return the rounds."""
        waiting = [_waiting(name) for name in names]
        for count in range(1, 2 * len(names) + 2):
            left = [one for one in waiting if self.is_wanted(one)]
            if not left:
                return count - 1
            with contextlib.suppress(Unsettled, RedBase):
                self.train.land(left[: size or self.train.size])
        raise AssertionError(f"it does not end: {left}")


def _waiting(name: str) -> Waiting:
    item = Item(id=name, title=name, added_at=TIME, command="true")
    claimed = Record(kind="claimed", at=TIME, agent="agent-1")
    handed = Record(kind="landing", at=TIME, agent="agent-1", commit=name, branch=name)
    return Waiting(Entry(item, (claimed, handed)), handed, f"{name}/2")
