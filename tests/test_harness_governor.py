"""Workers and accounts: what they pass over, what they start when, what it costs."""

from __future__ import annotations

import contextlib
import fcntl
import math
import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallel_loop.harness import changing
from parallel_loop.harness.accounts import account, governor, standing
from parallel_loop.harness.accounts.account import Begun, Limited, Resumed, RunBegun
from parallel_loop.harness.accounts.account_file import AccountFile
from parallel_loop.harness.accounts.standing import State
from parallel_loop.harness.dialects.events import Quota, Step
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.heart import Heart
from parallel_loop.harness.project import Project
from parallel_loop.queue.clock import later
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Claim
from support.accounts import Stand
from support.pausing import add_all, with_clock
from support.queues import Clock
from support.runs import add, happened, make_project

CONFIG = """
programs: {mine: {argv: [mine], account: paid}, ours: {argv: [ours], account: paid}, yours: {argv: [yours]}}
roles: {narrow: {wip: 1}, builder: {program: mine, fallback: yours}}
after_limit: {slack: 0s, jitter: 0s}
"""
SESSIONS = 'programs: {mine: {argv: [m], resume: [m, "{session}"], session: told, resume_in: same, dialect: claude}}\n'


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "r", CONFIG), clock)


@pytest.fixture
def stands() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def some(stands: contextlib.ExitStack, project: Project, count: int) -> list[Stand]:
    made = [Stand(project, f"agent-{number}") for number in range(1, count + 1)]
    for stand in made:
        stands.callback(stand.taker.close)
    return made


def claimed(stand: Stand) -> Claim:
    claim = stand.take()
    assert claim is not None
    return claim


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
    asked: list[Path] = []
    chain = type(project.queue.chain)
    real = chain.read_named_item
    monkeypatch.setattr(chain, "read_named_item", lambda self, name: asked.append(name) or real(self, name))
    assert [one.taken(), one.taken(), one.taken()] == [None, None, None]
    assert (len(asked), locks) == (20, [])


def test_a_busy_service_lets_half_as_many_work_at_once_and_no_more(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    crew = some(stands, project, 6)
    add_all(project, *"abcdefgh")
    claims = [claimed(stand) for stand in crew[:4]]
    record = crew[0].end(claims[0], "overload")
    assert (record.counted, record.not_before) == (False, None)
    crew[1].end(claims[1], "rate")
    assert crew[0].account("paid").cap == 2
    assert crew[4].taken() is None
    clock.advance(13)
    assert crew[4].taken() is None, "two of the four work still"
    crew[2].end(claims[2])
    assert crew[4].taken() == "a mine"
    clock.advance(5)
    assert crew[5].taken() is None
    crew[3].end(claims[3], "network", counted=True)
    assert crew[5].taken() == "b mine"
    assert crew[0].taken() is None


def test_a_claim_of_a_dead_worker_counts_until_it_is_taken_back(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    two = Stand(project, "agent-2")
    add_all(project, *"abc")
    claim, held = claimed(one), claimed(two)
    one.end(claim, "rate")
    clock.advance(13)
    assert one.account("paid").cap == 1
    two.taker.close()
    assert one.taken() is None
    assert project.queue.append(held.entry, Record(kind="released", at=project.queue.now(), outcome="died"))
    assert one.taken() == "a mine"


def test_a_cap_holds_for_processes_that_take_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "SPACING_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(account, "_FIRST_BACK_OFF_SECONDS", 0.0)
    project = make_project(tmp_path / "r", CONFIG)
    add_all(project, *(f"i{number}" for number in range(8)))
    first = Stand(project, "agent-9")
    others = [Stand(project, f"agent-{number}") for number in (7, 8)]
    claims = [claimed(stand) for stand in others]
    first.end(claimed(first), "rate")
    assert first.account("paid").cap == 1
    for stand, claim in zip(others, claims, strict=True):
        stand.end(claim, "rate")
    context = multiprocessing.get_context("fork")
    crowd = [context.Process(target=_hold_and_count, args=(project.root, f"agent-{n}", 2)) for n in range(1, 5)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join(30)
        assert process.exitcode == 0
    for stand in (first, *others):
        stand.taker.close()


def _hold_and_count(root: Path, name: str, left: int) -> None:
    """Take and end as many; while one is held, nobody else must hold one: each makes the same file, exclusively."""
    stand = Stand(Project.open(root), name)
    held = root.parent / "held"
    while left:
        claim = stand.take()
        if claim is None:
            continue
        os.close(os.open(held, os.O_CREAT | os.O_EXCL))
        held.unlink()
        left -= 1
        stand.end(claim, "other", counted=False)
    stand.taker.close()


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
    assert two.taken() is None
    monkeypatch.setattr(governor, "_LASTING_SECONDS", -1.0)
    one.governor.note_lasting()
    clock.advance(5)
    assert two.taken() == "b mine"


def test_without_auto_nothing_goes_on_until_a_person_says_so(
    tmp_path: Path, clock: Clock, stands: contextlib.ExitStack
) -> None:
    project = with_clock(make_project(tmp_path / "m", CONFIG.replace("slack", "auto: false, slack")), clock)
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


def test_a_failure_that_says_nothing_of_the_account_opens_it_only_if_the_model_answered(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, *"abcd")
    one.end(claimed(one), "rate")
    clock.advance(15)
    one.end(claimed(one), "other", counted=True, not_before="2099-01-01T00:00:00.000000Z")
    assert one.account("paid").waits == 1
    clock.advance(15)
    story = Story()
    story.take(Step())
    one.end(claimed(one), "other", story=story, counted=True)
    assert one.account("paid").waits == 0


# --- fallback -----------------------------------------------------------------------------------------


def test_a_role_falls_back_while_its_account_is_parked_and_only_then(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    one, two = some(stands, project, 2)
    add_all(project, "a", "b", "c", program=None, role="builder")
    add_all(project, "named", role="builder")
    first = claimed(one)
    assert first.item.program is None
    one.end(first, "usage", resets_in=600.0)
    claim = claimed(two)
    assert (claim.item.id, claim.item.program) == ("a", "yours")
    entry = project.queue.entry("a")
    assert entry is not None
    assert entry.item.program is None, "the item stays as it is"
    two.end(claim, "usage", resets_in=60.0)
    assert two.taken() is None, "both are at their limits, and `named` keeps to its program"
    clock.advance(60)
    assert two.taken() == "a yours"
    clock.advance(540)
    assert one.taken() == "b mine"


def test_a_busy_service_is_waited_for(project: Project, stands: contextlib.ExitStack) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a", program=None, role="builder")
    one.end(claimed(one), "overload")
    assert one.taken() is None


def test_a_fallback_that_is_paused_is_no_way_out(project: Project, stands: contextlib.ExitStack) -> None:
    one, two = some(stands, project, 2)
    add_all(project, "x", "y", "z", program="yours", priority=0)
    for _ in range(3):
        late = "2099-01-01T00:00:00.000000Z"
        one.end(claimed(one), "other", seconds=1.0, counted=True, not_before=late)
    assert [event["program"] for event in happened(project, "program-paused")] == ["yours"]
    add_all(project, "a", "b", program=None, role="builder")
    add_all(project, "c")
    claim = claimed(one)
    assert claim.item.id == "a", "a program of its own that is not paused"
    one.end(claim, "usage", resets_in=600.0)
    assert two.taken() is None


def test_an_own_program_that_is_paused_is_no_reason_against_the_fallback(
    project: Project, stands: contextlib.ExitStack
) -> None:
    one, two = some(stands, project, 2)
    add_all(project, "x", "y", "z", priority=0)
    add_all(project, "w", program="ours", priority=1)
    for _ in range(3):
        late = "2099-01-01T00:00:00.000000Z"
        one.end(claimed(one), "other", seconds=1.0, counted=True, not_before=late)
    assert [event["program"] for event in happened(project, "program-paused")] == ["mine"]
    add_all(project, "a", program=None, role="builder")
    one.end(claimed(one), "usage", resets_in=600.0)
    assert two.taken() == "a yours"


# --- sessions -----------------------------------------------------------------------------------------


@pytest.fixture
def with_sessions(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "s", SESSIONS + "after_limit: {slack: 0s, jitter: 0s}\n"), clock)


def alive(project: Project, name: str) -> None:
    Heart(project.state.agent(name), 5.0).tell("idle")


def test_a_session_waits_a_minute_for_its_agent_which_takes_it_first(
    with_sessions: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    project = with_sessions
    one, two = some(stands, project, 2)
    alive(project, "agent-1")
    add_all(project, "b")
    one.end(claimed(one), "usage", resets_in=600.0, session="s-1")
    add_all(project, "a", priority=0)
    clock.advance(600)
    assert two.taken() == "a mine"
    assert two.taken() is None
    clock.advance(5)
    assert two.taken() is None, "b is that of agent-1"
    assert 50 < two.governor.seconds_until_due < 56
    add_all(project, "c", priority=0)
    assert one.taken() == "b mine", "first, however urgent another is"
    clock.advance(5)
    assert two.taken() == "c mine"
    assert AccountFile(project).look().kept == ()


def test_a_session_whose_agent_is_busy_for_a_minute_or_gone_is_begun_anew(
    with_sessions: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    project = with_sessions
    one, two = some(stands, project, 2)
    alive(project, "agent-1")
    add_all(project, "a", "b")
    one.end(claimed(one), "network", session="s-1", counted=True)
    assert two.taken() == "b mine"
    assert two.taken() is None
    clock.advance(60)
    assert two.taken() == "a mine"
    add_all(project, "c")
    claim = claimed(one)
    one.end(claim, "network", session="s-2", counted=True)
    assert two.taken() is None
    project.state.agent("agent-1").heartbeat.unlink()
    assert two.taken() == "c mine"


# --- the file -----------------------------------------------------------------------------------------


def test_changes_wake_who_waits_and_what_cannot_be_read_is_empty(project: Project) -> None:
    file = AccountFile(project)
    file.change(Limited("paid", project.queue.now(), "x", later(project.queue.now(), 60.0)))
    heard = project.queue.bell.heard()
    file.change(Resumed("paid"))
    assert project.queue.bell.heard() != heard
    project.state.accounts.write_bytes(b"\xff")
    assert file.look() == State()
    file.change(Begun("paid"))
    assert file.look() == State()


@pytest.mark.parametrize(
    "content",
    [
        b'{"accounts": [{"name": "\xff", "at": "2026-01-01T00:00:00.000000Z"}]}',
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"accounts": [{"name": "mine", "at": "x", "standing": "limited"}]}',
        b'{"accounts": [{"name": "mine", "at": "2026-13-99T00:00:00.000000Z", "standing": "limited"}]}',
        b'{"kept": [{"item": "a", "agent": "agent-2", "account": "mine", "at": "soon"}]}',
        b'{"accounts": "none", "version": 9}',
    ],
    ids=["bytes", "deep", "no time", "no such month", "session", "shape"],
)
def test_a_file_that_a_program_wrote_stops_nobody(
    project: Project, stands: contextlib.ExitStack, content: bytes
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    project.state.accounts.write_bytes(content)
    one.end(claimed(one), "usage", resets_in=60.0)
    assert len(AccountFile(project).look().accounts) == 1


@pytest.mark.parametrize("put", ["mkdir {0} && touch {0}/x", "mkfifo {0}", "ln -s /dev/zero {0}", "ln -s nowhere {0}"])
def test_what_a_program_puts_in_place_of_file_or_lock_is_moved_aside(
    project: Project, stands: contextlib.ExitStack, put: str
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    for path in (project.state.accounts, project.state.accounts_lock):
        path.unlink(missing_ok=True)
        subprocess.run(["/bin/sh", "-c", put.format(path)], check=True)
    record = one.end(claimed(one), "usage", resets_in=60.0, not_before="2026-01-01T00:00:05.000000Z")
    assert record.not_before is None, "the account says when"
    assert one.take() is None


@pytest.mark.parametrize("after_limit", ["", "\nafter_limit: {window: '01:00-02:00'}\n"])
def test_a_limit_until_the_last_of_all_days_is_waited_for(
    tmp_path: Path, stands: contextlib.ExitStack, after_limit: str
) -> None:
    project = make_project(tmp_path / "last", SESSIONS + after_limit)
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    known = b'{"name": "mine", "at": "2026-01-01T00:00:00.000000Z", "standing": "limited", "until": "%s"}'
    project.state.accounts.write_bytes(b'{"accounts": [' + known % b"9999-12-31T23:59:59.999999Z" + b"]}")
    assert one.take() is None


def test_what_cannot_be_written_stops_no_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    claim = claimed(one)
    monkeypatch.setattr(changing, "_PATIENCE_SECONDS", 0.0)
    with project.state.accounts_lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        record = one.end(claim, "usage", resets_in=60.0, not_before="2026-01-01T00:00:05.000000Z")
    assert record.not_before is not None, "then it waits a moment by itself"
