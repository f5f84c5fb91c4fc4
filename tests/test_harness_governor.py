"""Workers and an account at its limit, or refused: what they pass over, what they start when, what it costs."""

from __future__ import annotations

import contextlib
import fcntl
import math
from pathlib import Path

import pytest

from parallel_loop.harness import changing
from parallel_loop.harness.accounts import governor
from parallel_loop.harness.accounts.account_file import AccountFile
from parallel_loop.harness.accounts.events import Resumed, RunBegun
from parallel_loop.harness.dialects.events import Quota
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.project import Project
from support.accounts import PAID, Stand, some
from support.pausing import add_all, with_clock
from support.queues import Clock
from support.runs import add, happened, make_project
from support.taking import claimed, items_read


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "r", PAID), clock)


def test_a_limit_parks_all_items_on_that_account_and_no_other_and_costs_no_attempt(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    one, two = some(stands, project, 2)
    add_all(project, "a", "b", "c")
    add_all(project, "d", program="ours")
    add_all(project, "e", program="yours")
    add(project, "f")
    first, second = claimed(one), claimed(two)
    for stand, claim in ((one, first), (two, second)):
        record = stand.end(claim, "usage", resets_in=600.0, not_before="2099-01-01T00:00:00.000000Z")
        assert (record.kind, record.outcome, record.counted, record.not_before) == ("released", "limited", False, None)
    assert [one.taken(), two.taken(), one.taken(), two.taken()] == ["e yours", "f shell", None, None]
    assert 599 < one.governor.seconds_until_due < 600
    clock.advance(599)
    assert one.taken() is None
    clock.advance(1)
    assert one.taken() == "a mine"
    assert two.taken() is None, "one after the other, two to five seconds apart"
    assert 1.9 < two.governor.seconds_until_due < 5
    clock.advance(two.governor.seconds_until_due)
    assert two.taken() == "b mine"
    for name in "ab":
        entry = project.queue.entry(name)
        assert entry is not None
        assert entry.counted_attempts == 0
    told = [(event["event"], event["account"], event.get("why")) for event in happened(project, "account-limited")]
    assert told == [("account-limited", "paid", "usage")], "both said the same"
    assert [event["account"] for event in happened(project, "account-open")] == ["paid"]


def test_what_ran_out_is_told_as_a_wait_or_not_at_all(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    add_all(project, "b", program="yours")
    one.end(claimed(one), "usage", retry=100.0)
    one.end(claimed(one), "usage")
    assert one.taken() is None
    clock.advance(101)
    assert one.taken() == "a mine"
    clock.advance(800)
    assert one.taken() == "b yours"


def test_while_nothing_is_known_a_take_costs_one_stat_and_a_claim_one_small_file(
    project: Project, monkeypatch: pytest.MonkeyPatch, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    looks: list[str] = []
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: looks.append(path.name) or real(path, **how))
    claim = claimed(one)
    assert looks.count("accounts.json") == 1
    one.end(claim)
    assert looks.count("accounts.json") == 2
    assert not project.state.accounts_lock.exists()
    assert not project.state.accounts.exists()
    assert one.governor.seconds_until_due == math.inf


def test_while_an_account_is_parked_nothing_is_locked_and_each_item_is_read_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, *(f"m{number}" for number in range(20)))
    one.end(claimed(one), "usage", resets_in=600.0)
    locks: list[object] = []
    monkeypatch.setattr(AccountFile, "locked", lambda _file: locks.append(1) or contextlib.nullcontext())
    read = items_read(monkeypatch)
    assert [one.taken(), one.taken(), one.taken()] == [None, None, None]
    assert (len(read), locks) == (20, [])


def test_when_somebody_is_stopped_while_it_takes_others_take_what_is_of_other_accounts(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch, stands: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(changing, "_PATIENCE_SECONDS", 0.0)
    (one,) = some(stands, project, 1)
    add_all(project, "a", "b")
    add_all(project, "y", program="yours")
    one.end(claimed(one), "usage", resets_in=1.0)
    clock.advance(2)
    with project.state.accounts_lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert [one.taken(), one.taken()] == ["y yours", None]
        assert one.governor.seconds_until_due == 1.0
    assert one.taken() == "a mine"


def test_who_is_refused_waits_for_a_person_and_one_tries(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    one, two = some(stands, project, 2)
    add_all(project, "a", "b", "c")
    assert one.end(claimed(one), "auth").counted is False
    clock.advance(1e6)
    assert (one.taken(), one.governor.seconds_until_due) == (None, math.inf)
    AccountFile(project).change(Resumed("paid"))
    trial = claimed(one)
    assert two.taken() is None
    one.end(trial, "auth")
    clock.advance(1000)
    assert one.taken() is None
    AccountFile(project).change(RunBegun())
    trial = claimed(two)
    two.end(trial)
    clock.advance(5)
    assert one.taken() == "b mine"
    clock.advance(5)
    assert two.taken() == "c mine"
    assert [event["why"] for event in happened(project, "account-refused")] == ["auth", "auth"]


def test_another_configuration_of_the_program_is_tried(
    tmp_path: Path, project: Project, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a", "b")
    one.end(claimed(one), "auth")
    path = project.root / "parallel-loop.yaml"
    path.write_text(path.read_text().replace("argv: [mine]", "argv: [mine], env: {KEY: new}"))
    changed = Project.open(project.root)
    vars(changed)["queue"] = project.queue
    other = Stand(changed, "agent-2")
    stands.callback(other.taker.close)
    assert one.taken() is None
    assert other.taken() == "a mine"
    assert other.taken() is None, "one is enough"


def test_a_trial_that_works_for_two_minutes_shows_that_the_account_is_open(
    project: Project, monkeypatch: pytest.MonkeyPatch, clock: Clock, stands: contextlib.ExitStack
) -> None:
    one, two = some(stands, project, 2)
    add_all(project, "a", "b")
    one.end(claimed(one), "auth")
    AccountFile(project).change(Resumed("paid"))
    claimed(one)
    one.governor.note_lasting()
    clock.advance(5)
    assert two.taken() is None, "it has only begun"
    monkeypatch.setattr(governor, "_LASTING_SECONDS", -1.0)
    one.governor.note_lasting()
    clock.advance(5)
    assert two.taken() == "b mine"


def test_without_auto_nothing_goes_on_until_a_person_says_so(
    tmp_path: Path, clock: Clock, stands: contextlib.ExitStack
) -> None:
    project = with_clock(make_project(tmp_path / "m", PAID.replace("slack", "auto: false, slack")), clock)
    (one,) = some(stands, project, 1)
    add_all(project, "a", "b")
    one.end(claimed(one), "usage", resets_in=10.0)
    clock.advance(86400)
    AccountFile(project).change(RunBegun())
    assert (one.taken(), one.governor.seconds_until_due) == (None, math.inf)
    AccountFile(project).change(Resumed("paid"))
    assert one.taken() == "a mine"


def test_a_quota_that_is_used_up_parks_nothing_as_long_as_work_goes_on(
    project: Project, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a", "b")
    claim, story = claimed(one), Story()
    story.take(Quota(window="weekly", used=1.0, resets_at=9e9))
    one.end(claim, story=story)
    claim = claimed(one)
    one.end(claim, "usage", resets_in=60.0, story=story)
    assert one.account("paid").window == "weekly"
