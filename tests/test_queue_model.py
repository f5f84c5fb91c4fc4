"""The real queue against a model of it in memory that knows the rules and nothing of files."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parallel_loop.queue import offering, requests
from parallel_loop.queue.adding import InvalidItem
from parallel_loop.queue.clock import later
from parallel_loop.queue.healing import heal, take_back_from_the_dead
from parallel_loop.queue.records import Entry
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.taking import Claim, Taker
from support.queue_checker import read_chains
from support.queues import START, Clock, an_item, make_queue, make_taker, record

POLICY = RetryPolicy(attempts=2, first_seconds=10.0)
WIP = {"narrow": 1, "wide": 2}
TAKERS = 3
HINT_FOLDERS = ("ready", "delayed", "after", "landing")


@dataclass
class Modelled:
    """An item as the model knows it."""

    name: str
    order: tuple[int, int]
    after: tuple[str, ...]
    role: str | None
    kinds: list[str] = field(default_factory=list)
    attempts: int = 0
    failures: int = 0
    due: str = START
    for_review: bool = False
    taker: int | None = None  # who holds it; None also for the claims of the dead

    def move(self, kind: str) -> None:
        self.kinds.append(kind)
        self.due = START
        if kind == "claimed":
            self.attempts += 1
        elif kind == "retried":
            self.failures = 0


class QueueAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.bucket_size, offering.BUCKET_SIZE = offering.BUCKET_SIZE, 2
        self.root = Path(tempfile.mkdtemp(prefix="model-"))
        self.clock = Clock()
        self.queue = make_queue(self.root / "queue", self.clock)
        self.survey = Survey(self.queue)
        self.items: dict[str, Modelled] = {}
        self.takers: list[Taker] = []
        self.held: list[tuple[int, Taker, Claim]] = []
        self.seen: list[Entry] = []

    @initialize()
    def start_takers(self) -> None:
        self.takers = [make_taker(self.queue, f"agent-{index}", WIP) for index in range(TAKERS)]

    def teardown(self) -> None:
        for taker in self.takers:
            taker.close()
        shutil.rmtree(self.root)
        offering.BUCKET_SIZE = self.bucket_size

    # --- what the rules of the design say -------------------------------------------------------------

    def state(self, item: Modelled) -> str:
        last = item.kinds[-1] if item.kinds else None
        if last not in {None, "released", "answered", "retried"}:
            return "working" if last == "claimed" else str(last)
        if any(self.state(self.items[name]) != "done" for name in item.after):
            return "blocked"
        return "delayed" if item.due > self.now() else "ready"

    def now(self) -> str:
        return later(START, self.clock._seconds)

    def places_taken(self, role: str) -> int:
        """A living worker keeps its place until it lets go, a dead one until its claim was taken back."""
        dead = [item for item in self.items.values() if item.kinds[-1:] == ["claimed"] and item.taker is None]
        living = [self.items[claim.item.id] for _, _, claim in self.held]
        return sum(item.role == role for item in dead + living)

    def next_to_take(self) -> Modelled | None:
        ready = [item for item in self.items.values() if self.state(item) == "ready"]
        free = [item for item in ready if item.role not in WIP or self.places_taken(item.role) < WIP[item.role]]
        return min(free, key=lambda item: item.order, default=None)

    def fail(self, item: Modelled) -> None:
        item.failures += 1
        if item.failures >= POLICY.attempts:
            item.move("failed")
        else:
            item.move("released")
            item.due = later(self.now(), 10.0 * 2 ** (item.failures - 1))

    def bury(self) -> None:
        for item in self.items.values():
            if item.kinds[-1:] == ["claimed"] and item.taker is None:
                self.fail(item)

    # --- rules ------------------------------------------------------------------------------------------

    @rule(data=st.data(), count=st.integers(1, 3))
    def add(self, data: st.DataObject, count: int) -> None:
        names = sorted(self.items)
        after = st.lists(st.sampled_from(names), max_size=2, unique=True) if names else st.just([])
        new = []
        for _ in range(count):
            name = f"item-{len(self.items)}"
            priority = data.draw(st.sampled_from([0, 5, 9]))
            role = data.draw(st.sampled_from([None, None, "narrow", "wide"]))
            waits_for = tuple(data.draw(after))
            following = f"item-{len(self.items) + 1}"  # in a list an item may also wait for one that stands below it
            neighbour = data.draw(st.sampled_from(["none", "before", "below"]))
            if new and neighbour == "before" and new[-1].id not in waits_for and name not in new[-1].after:
                waits_for += (new[-1].id,)
            elif len(new) + 1 < count and neighbour == "below":
                waits_for += (following,)
            new.append(an_item(name, priority=priority, role=role, after=waits_for))
            self.items[name] = Modelled(name, (priority, len(self.items)), waits_for, role)
        self.queue.add(new)

    @precondition(lambda self: self.items)
    @rule(data=st.data(), problem=st.sampled_from(["circle", "twice", "missing"]))
    def add_what_does_not_fit(self, data: st.DataObject, problem: str) -> None:
        """An import is refused whole."""
        old = data.draw(st.sampled_from(sorted(self.items)))
        bad = {
            "circle": [an_item("bad-1", after=("bad-2",)), an_item("bad-2", after=("bad-1",))],
            "twice": [an_item("bad-1"), an_item(old)],
            "missing": [an_item("bad-1"), an_item("bad-2", after=("nowhere",))],
        }[problem]
        with pytest.raises(InvalidItem):
            self.queue.add(bad)

    @rule(who=st.integers(0, TAKERS - 1), seconds=st.sampled_from([0.01, 0.01, 6.0, 30.0]))
    def take(self, who: int, seconds: float) -> None:
        self.clock.advance(seconds)
        expected = self.next_to_take()
        claim = self.takers[who].take()
        assert (claim.item.id if claim else None) == (expected.name if expected else None)
        if claim is not None and expected is not None:
            expected.move("claimed")
            expected.taker = who
            assert claim.attempt == expected.attempts
            self.held.append((who, self.takers[who], claim))

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        kind=st.sampled_from(
            ["done", "done", "fail", "fail", "fail", "released", "waiting", "review", "landing", "cancelled"]
        ),
    )
    def end(self, data: st.DataObject, kind: str) -> None:
        self.end_one(data, kind)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), kind=st.sampled_from(["waiting", "review"]))
    def hand_to_a_person(self, data: st.DataObject, kind: str) -> None:
        item = self.end_one(data, kind)
        self.ask(item, data.draw(st.sampled_from(["approve", "approve", "answer", "retry"])))

    def end_one(self, data: st.DataObject, kind: str) -> Modelled:
        place = data.draw(st.integers(0, len(self.held) - 1))
        _, taker, claim = self.held.pop(place)
        item = self.items[claim.item.id]
        valid = len(item.kinds) == len(claim.entry.records)
        assert taker.holds(claim) == valid
        if kind == "fail":
            ending = POLICY.after_failure(claim.entry, record(self.queue, "failed"))
            due = ending.not_before or START
        else:
            fields = {"kind": "waiting", "outcome": kind} if kind == "review" else {"kind": kind}
            ending, due = record(self.queue, counted=False, **fields), START
        assert taker.end(claim, ending) == valid
        if valid and kind == "fail":
            self.fail(item)
            item.due = due
        elif valid:
            item.move("waiting" if kind == "review" else kind)
            item.for_review = kind == "review"
        return item

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """A worker lets go of a claim that is not its own any more; of one that is, it never does."""
        lost = [held for held in self.held if len(self.items[held[2].item.id].kinds) > len(held[2].entry.records)]
        if lost:
            held = data.draw(st.sampled_from(lost))
            assert not held[1].holds(held[2])
            held[1].forget(held[2])
            self.held.remove(held)

    @rule(who=st.integers(0, TAKERS - 1), seconds=st.sampled_from([0.01, 30.0]), promoted=st.booleans())
    def look(self, who: int, seconds: float, promoted: bool) -> None:
        """Others may find out that delayed items are due, and a look ahead takes nothing."""
        self.clock.advance(seconds)
        if promoted:
            self.queue.promote_due()
        ready = [item for item in self.items.values() if self.state(item) == "ready"]
        hint = self.takers[who].peek()
        assert hint is not None or not ready

    @rule(who=st.integers(0, TAKERS - 1))
    def kill(self, who: int) -> None:
        self.takers[who].close()
        self.takers[who] = make_taker(self.queue, f"agent-{who}", WIP)
        for item in self.items.values():
            if item.taker == who:
                item.taker = None
        self.held = [entry for entry in self.held if entry[0] != who]

    @rule(data=st.data(), way=st.sampled_from(["take back", "heal", "lose hints and heal"]))
    def recover(self, data: st.DataObject, way: str) -> None:
        if way == "lose hints and heal":
            for path in self.hint_paths():
                if data.draw(st.booleans()):
                    path.unlink()
        before = {name: len(item.kinds) for name, item in self.items.items()}
        how = take_back_from_the_dead if way == "take back" else heal
        taken_back = how(self.queue, POLICY)
        self.bury()
        moved = {name for name, item in self.items.items() if len(item.kinds) != before[name]}
        assert sorted(entry.item.id for entry in taken_back) == sorted(moved)
        for name in moved:  # the due time depends on the moment of the record
            self.items[name].due = self.queue.entry(name).last.not_before or START

    def hint_paths(self) -> list[Path]:
        root = self.queue.layout.root
        paths = [path for folder in HINT_FOLDERS for path in sorted((root / folder).rglob("*~*"))]
        return paths + sorted((root / "after").glob("*/*"))

    @precondition(lambda self: self.items)
    @rule(data=st.data(), kind=st.sampled_from(["cancelled", "retried", "retried", "answered", "done", "released"]))
    def command(self, data: st.DataObject, kind: str) -> None:
        """What people and the lander do, on the item as it is now or as they saw it before."""
        allowed = {
            "cancelled": {"ready", "blocked", "delayed", "working", "waiting", "landing", "failed"},
            "retried": {"failed", "cancelled"},
            "answered": {"waiting"},
            "done": {"landing"},
            "released": {"landing"},
        }[kind]
        item = self.items[data.draw(st.sampled_from(sorted(self.items) + [claim.item.id for _, _, claim in self.held]))]
        entry = self.queue.entry(item.name)
        if self.state(item) in allowed:
            assert self.queue.append(entry, record(self.queue, kind))
            item.move(kind)
            item.failures += kind == "released"  # a landing that came to nothing
            self.seen.append(entry)

    @precondition(lambda self: self.items)
    @rule(data=st.data(), request=st.sampled_from(["cancel", "retry", "answer", "approve", "approve"]))
    def request(self, data: st.DataObject, request: str) -> None:
        """What people ask for is done exactly when the item's state allows it."""
        waiting = [item.name for item in self.items.values() if self.state(item) == "waiting"]
        item = self.items[data.draw(st.sampled_from(waiting or sorted(self.items)))]
        self.ask(item, request)

    def ask(self, item: Modelled, request: str) -> None:
        last = item.kinds[-1] if item.kinds else ""
        allowed, kind = {
            "cancel": (last not in {"done", "cancelled"}, "cancelled"),
            "retry": (last in {"failed", "cancelled", "released"}, "retried"),
            "answer": (last == "waiting", "answered"),
            "approve": (last == "waiting" and item.for_review, "landing"),
        }[request]
        ask = getattr(requests, request)
        arguments = (self.queue, item.name, *(["go on"] if request == "answer" else []))
        if allowed:
            ask(*arguments)
            item.move(kind)
        else:
            with pytest.raises(requests.Refused):
                ask(*arguments)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def late_command(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.seen))
        assert not self.queue.append(entry, record(self.queue, "cancelled"))

    # --- agreement --------------------------------------------------------------------------------------

    @invariant()
    def states_agree(self) -> None:
        self.clock.advance(0.01)
        self.survey.refresh()
        expected = {name: self.state(item) for name, item in self.items.items()}
        assert {entry.item.id: self.survey.state(entry) for entry in self.survey.all_entries()} == expected
        assert {name: self.queue.state(self.queue.entry(name)) for name in expected} == expected

    @invariant()
    def chains_agree(self) -> None:
        found = {name: [link["kind"] for link in chain] for name, chain in read_chains(self.queue.layout.root).items()}
        assert found == {name: item.kinds for name, item in self.items.items()}


QueueAgainstModel.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.pytestmark = [pytest.mark.timeout(400)]  # a failure is worth being made small
