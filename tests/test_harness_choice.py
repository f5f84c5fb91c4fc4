"""Which item a worker takes next, while others are in work that touch the same paths."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from parallel_loop.harness.overlaps import choice
from parallel_loop.harness.overlaps.choice import LONGEST_SECONDS, Choice, Touching
from parallel_loop.harness.overlaps.forecast import BranchInWork, Forecast
from parallel_loop.harness.overlaps.named import Names
from parallel_loop.harness.pausing.trials import Trials
from parallel_loop.harness.project import Project
from parallel_loop.harness.rereading import Watched
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Claim, Taker
from parallel_loop.worktrees.git import Git
from support.pausing import MINE, add_all, pause, with_clock
from support.queues import Clock
from support.runs import happened, make_project
from support.taking import asked_of, items_read


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "r", MINE, {"src/a.py": "", "docs/b.md": ""}), clock)


class Chooser:
    """A worker as far as taking goes. The landing branch does not exist: names are those of HEAD."""

    def __init__(self, project: Project, name: str = "agent-1") -> None:
        self.project = project
        self.taker = Taker(project.queue, Owner(name, os.getpid()), project.wip)
        self.choice = Choice(project, Trials(project), Names(Git(project.root), "HEAD"))
        self.claims: dict[str, Claim] = {}

    def taken(self) -> str | None:
        """Take one and hold it."""
        claim = self.choice.take(self.taker)
        if claim is None:
            return None
        self.claims[claim.item.id] = claim
        return claim.item.id

    def end(self, item_id: str, kind: str = "done", **fields: object) -> None:
        record = Record(**({"kind": kind, "at": self.project.queue.now(), "outcome": "done"} | fields))
        assert self.taker.end(self.claims.pop(item_id), record)


def touching(project: Project) -> Touching:
    return Watched(project.state.touching, Touching).look()


def forecast(project: Project, **fields: object) -> None:
    Watched(project.state.forecast, Forecast).write(Forecast(**fields))


def test_what_declares_the_same_paths_is_not_started_together_while_others_are_ready(project: Project) -> None:
    add_all(project, "one", "two", paths=("src/*",))
    add_all(project, "three", paths=("src/a.py",))
    add_all(project, "four", paths=("docs/",))
    add_all(project, "five")
    one, other, third = (Chooser(project, f"agent-{number}") for number in (1, 2, 3))
    assert [one.taken(), other.taken(), third.taken()] == ["one", "four", "five"]
    assert touching(project).in_work == {"one": ("src/*",), "four": ("docs/",)}
    one.end("one", "landing")
    assert other.taken() == "two"  # nobody is idle for it: nothing else is ready
    assert one.taken() == "three"
    assert [event["item"] for event in happened(project, "passed-over")] == ["two", "three"]
    assert touching(project).passed_over == {}


def test_what_has_landed_or_was_given_back_is_not_in_work(project: Project) -> None:
    add_all(project, "one", paths=("src/*",))
    add_all(project, "two", "three", paths=("src/a.py",))
    add_all(project, "four")
    one, other = Chooser(project), Chooser(project, "agent-2")
    assert (one.taken(), other.taken()) == ("one", "four")
    one.end("one")
    assert other.taken() == "two"
    assert touching(project).in_work == {"two": ("src/a.py",)}


def test_a_prompt_names_paths_too(project: Project) -> None:
    add_all(project, "one", prompt="Mend src/a.py.")
    add_all(project, "two", prompt="Tests for `src`")
    add_all(project, "three", prompt="Mend docs/b.md; do not look into src.")
    one, other = Chooser(project), Chooser(project, "agent-2")
    assert (one.taken(), other.taken()) == ("one", "three")


def test_what_branches_have_changed_so_far_counts(project: Project) -> None:
    add_all(project, "one", "again", "other")
    chooser = Chooser(project)
    assert chooser.taken() == "one"
    branch = BranchInWork(item="one", attempt=1, branch="b", commit="c", paths=("app/[id]/x.ts",))
    forecast(project, branches=(branch,), earlier={"again": ("app/[id]/x.ts", "y")})
    assert chooser.taken() == "other"
    assert chooser.taken() == "again"


def test_urgency_comes_first(project: Project) -> None:
    add_all(project, "one", "two", paths=("src",), priority=1)
    add_all(project, "later", priority=2)
    chooser = Chooser(project)
    assert [chooser.taken(), chooser.taken(), chooser.taken()] == ["one", "two", "later"]


def test_nothing_is_passed_over_for_more_than_half_an_hour_by_all_workers_together(
    project: Project, clock: Clock
) -> None:
    add_all(project, "long", "late", paths=("src",))
    add_all(project, *(f"other{number:02}" for number in range(9)))
    one, other = Chooser(project), Chooser(project, "agent-2")
    assert one.taken() == "long"
    assert other.taken() == "other00"
    clock.advance(LONGEST_SECONDS - 1)
    assert one.taken() == "other01"
    clock.advance(1)
    fresh = Chooser(project, "agent-3")  # what the others knew is not lost with them
    assert fresh.taken() == "late"
    assert touching(project).passed_over == {}


def test_a_clock_that_was_put_back_keeps_nobody_waiting(project: Project, clock: Clock) -> None:
    add_all(project, "long", "late", paths=("src",))
    add_all(project, "a", "b")
    chooser = Chooser(project)
    assert (chooser.taken(), chooser.taken()) == ("long", "a")
    clock.advance(-7200)
    assert chooser.taken() == "late"


def test_where_nothing_can_be_written_work_goes_on_and_nobody_starves(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_all(project, "long", "late", paths=("src",))
    add_all(project, "a", "b", "c")
    chooser = Chooser(project)
    assert chooser.taken() == "long"

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(Watched, "write", full)
    assert chooser.taken() == "a"
    clock.advance(LONGEST_SECONDS)
    assert chooser.taken() == "late"


def test_of_what_was_passed_over_and_is_not_ready_any_more_nothing_is_kept(project: Project, clock: Clock) -> None:
    add_all(project, "long", "late", paths=("src",))
    add_all(project, "a", "b")
    chooser = Chooser(project)
    assert (chooser.taken(), chooser.taken()) == ("long", "a")
    entry = project.queue.entry("late")
    assert entry is not None
    assert project.queue.append(entry, Record(kind="cancelled", at=project.queue.now()))
    clock.advance(LONGEST_SECONDS)
    assert chooser.taken() == "b"
    assert touching(project).passed_over == {}


def test_only_so_many_are_looked_at(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_MOST_LOOKED_AT", 5)
    add_all(project, "one", *(f"like{number}" for number in range(8)), paths=("src",))
    add_all(project, "other")
    chooser = Chooser(project)
    read = items_read(monkeypatch)
    assert (chooser.taken(), chooser.taken()) == ("one", "like0")
    assert len(set(read)) == 6
    assert chooser.taken() == "like1"


def test_while_nothing_is_known_no_item_is_read_and_nothing_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_all(project, "one", "two")
    chooser = Chooser(project)
    asked = asked_of(chooser.taker, monkeypatch)
    assert (chooser.taken(), chooser.taken(), chooser.taken()) == ("one", "two", None)
    assert asked == []
    assert not project.state.touching.exists()


def test_workers_take_one_after_the_other_so_no_two_begin_what_overlaps(project: Project) -> None:
    for number in range(5):
        add_all(project, f"x{number}a", f"x{number}b", f"x{number}c", paths=(f"src/{number}",))
    taken: list[str] = []
    start = threading.Barrier(5)

    def work(chooser: Chooser) -> None:
        start.wait()
        taken.append(chooser.taken() or "")

    choosers = [Chooser(project, f"agent-{number}") for number in range(5)]
    threads = [threading.Thread(target=work, args=(chooser,)) for chooser in choosers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name[:2] for name in taken) == ["x0", "x1", "x2", "x3", "x4"]


def test_a_worker_that_was_stopped_while_it_took_holds_nobody_up(project: Project) -> None:
    add_all(project, "one")
    with project.state.taking_lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert Chooser(project).taken() == "one"


def test_a_paused_program_is_not_tried_with_what_overlaps(project: Project, clock: Clock) -> None:
    pause(project).taker.close()
    add_all(project, "yours", "yours-too", program="yours", paths=("src",))
    add_all(project, "mine", paths=("docs",))
    add_all(project, "plain", program="yours")
    chooser = Chooser(project)
    assert [chooser.taken(), chooser.taken()] == ["yours", "plain"]
    clock.advance(60)
    assert chooser.taken() == "mine"  # its trial
    assert chooser.taken() == "yours-too"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"in_work": 3}', b"\xff", b'{"in_work": {"x": ["src"]}}'])
def test_a_file_of_somebody_elses_making_hinders_nobody(project: Project, content: bytes) -> None:
    project.state.touching.write_bytes(content)
    project.state.forecast.write_bytes(content)
    add_all(project, "one", "two", paths=("src",))
    chooser = Chooser(project)
    assert [chooser.taken(), chooser.taken(), chooser.taken()] == ["one", "two", None]
