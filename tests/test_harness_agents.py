"""Attempts by a program that tells what it does: a real process that plays a script as Claude Code does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.coordinator.snapshot import Attention
from parallel_loop.harness import outcome
from parallel_loop.harness.resuming import session_in
from parallel_loop.queue.healing import heal
from parallel_loop.queue.records import Record
from parallel_loop.queue.requests import Refused, approve
from support.actors import actor, script
from support.cli import call
from support.harness import Workshop, end_worker, make_workshop, spare_others
from support.repository import git
from support.waiting import eventually

CONFIG = f"""
program: actor
retry: {{attempts: 3, first: 0s}}
health: {{no_progress: 60s}}
after_limit: {{slack: 0s, jitter: 0s}}
programs:
  actor: {actor(resume_in="same", silent="1s", stop="0s")}
  frugal: {actor(silent="1s", stop="5s", stop_signal="INT")}
"""
WRITE = {"run": "echo one >> notes; git add notes; git commit -qm notes"}


@pytest.fixture
def shop(tmp_path: Path, actor_home: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    spare_others(monkeypatch)
    monkeypatch.setattr(outcome, "_BREATH_SECONDS", 0.01)
    return make_workshop(tmp_path / "repo", CONFIG)


def play(shop: Workshop, item_id: str, *steps: dict[str, Any], attempts: int = 1) -> Record:
    return shop.work(item_id, prompt=script(*steps), attempts=attempts)


def prompts(session: str | None) -> list[str]:
    state = json.loads(Path(os.environ["ACTOR_HOME"], f"{session}.json").read_text())
    return list(state["prompts"])


def test_what_it_told_is_on_record(shop: Workshop) -> None:
    done = play(shop, "one", {"say": "I begin."}, WRITE, {"cost": 0.25})
    assert (done.kind, done.outcome, done.program) == ("landing", "done", "actor")
    assert done.usage is not None
    assert (done.usage.input, done.usage.cached, done.usage.output, done.usage.usd) == (100, 50, 10, 0.25)
    events = shop.project.state.agent("agent-1").events_file("one", 1)
    assert done.session is not None
    assert session_in(events) == done.session
    assert [json.loads(line)["event"] for line in events.read_text().splitlines()][-2:] == ["result", "over"]


def test_who_ends_without_a_change_is_quoted(shop: Workshop) -> None:
    done = play(shop, "one", {"say": "Which of the two logins\n\ndo you mean?"})
    assert (done.kind, done.outcome) == ("done", "done")
    assert done.why == "nothing to land: the program changed nothing; it said: Which of the two logins do you mean?"


@pytest.mark.parametrize(
    ("step", "outcome", "counted"),
    [
        ({"fail": "usage", "reset_in": 3600}, "limited", False),
        ({"fail": "rate_limit", "status": 429}, "rate-limited", False),
        ({"fail": "overloaded", "status": 529}, "overloaded", False),
        ({"fail": "authentication", "status": 401}, "auth-failed", False),
        ({"fail": "internal", "status": 500}, "server-error", True),
        ({"announce": 7200}, "rate-limited", False),
        ({"exit": 0}, "no-result", True),
        ({"exit": 1}, "no-result", True),
        ({"run": "echo same", "times": 6}, "looping", True),
        ({"run": "echo $$; exit 1", "times": 4}, "looping", True),
    ],
    ids=str,
)
def test_what_it_tells_decides_what_the_attempt_came_to(
    shop: Workshop, step: dict[str, Any], outcome: str, counted: bool
) -> None:
    record = play(shop, "one", WRITE, step, {"hang": 60})
    assert (record.kind, record.outcome, record.counted) == ("released", outcome, counted), record.why
    assert record.session is not None
    assert record.commit is not None, "what it had done is kept"


def test_silence_is_not_waited_out(shop: Workshop) -> None:
    record = play(shop, "one", WRITE, {"hang": 60})
    assert (record.outcome, record.seconds is not None and record.seconds < 30) == ("stalled", True)
    assert "(silent)" in (record.why or "")


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        ((WRITE, {"cost": 0.25}, {"hang": 60}), "stalled"),
        (({"cost": 0.25}, {"announce": 7200}, {"hang": 60}), "rate-limited"),
    ],
    ids=["silent", "waits"],
)
def test_who_says_at_its_end_what_it_has_cost_is_asked_to_end_so(
    shop: Workshop, steps: tuple[dict[str, Any], ...], outcome: str
) -> None:
    """Claude Code tells dollars in its result alone, and prints none after SIGTERM."""
    record = shop.work("one", prompt=script(*steps), program="frugal")
    assert (record.outcome, record.usage and record.usage.usd) == (outcome, 0.25)


def test_what_it_was_not_allowed_is_asked(shop: Workshop) -> None:
    record = play(shop, "one", WRITE, {"deny": "Bash", "wanted": "rm -rf build"})
    assert (record.kind, record.outcome) == ("waiting", "denied")
    assert "Bash" in (record.why or "")
    (need,) = attention_of(shop)
    assert need.next == "parallel-loop answer one TEXT"
    assert (need.why or "").endswith("; or `diff` shows, and `approve` lands, what it did without that")
    approve(shop.project.queue, "one")
    assert (shop.last("one").kind, shop.last("one").commit) == ("landing", record.commit)


def test_who_was_denied_and_did_nothing_can_only_be_answered(shop: Workshop) -> None:
    record = play(shop, "one", {"deny": "Bash", "wanted": "rm -rf build"})
    assert (record.kind, record.outcome, record.commit) == ("waiting", "denied", None)
    (need,) = attention_of(shop)
    assert "approve" not in (need.why or "")
    with pytest.raises(Refused, match="waits for an answer"):
        approve(shop.project.queue, "one")


def attention_of(shop: Workshop) -> tuple[Attention, ...]:
    return tuple(one for one in current_snapshot(shop.project).attention if one.item is not None)


def test_a_session_goes_on_with_its_own_work_and_all_of_it_lands(shop: Workshop) -> None:
    limited = play(shop, "one", WRITE, {"fail": "usage", "reset_in": 0}, {"run": "cat notes; echo two >> notes"})
    git(shop.root, "commit", "-q", "--allow-empty", "-m", "meanwhile")
    done = shop.work_when_due("one")
    assert (done.kind, done.session) == ("landing", limited.session)
    assert done.commit is not None
    assert git(shop.root, "show", f"{done.commit}:notes") == "one\ntwo"
    assert git(shop.root, "log", "--format=%s", f"main..{done.commit}").splitlines() == ["Do one", "notes"]
    first, again = prompts(done.session)
    assert first.startswith("Do it.")
    assert again.startswith("Go on with what you were doing: ")
    assert "SCRIPT" not in again


def test_a_killed_worker_loses_neither_the_session_nor_what_was_not_committed(shop: Workshop) -> None:
    steps = {"run": "echo x > left"}, {"hang": 60}, {"run": "test -e left && echo y > right"}
    shop.add("one", prompt=script(*steps))
    worker = shop.start()
    worktree = shop.project.worktrees / "agent-1"
    eventually(lambda: (worktree / "left").exists() and session_in(events_of(shop)))
    worker.kill()
    worker.communicate()
    session = session_in(events_of(shop))
    eventually(lambda: heal(shop.project.queue, shop.project.retry))
    assert (shop.last("one").outcome, shop.last("one").session) == ("died", None)
    back, other = shop.worker(), shop.worker("agent-2")
    try:
        assert not other.work_once(), "it waits for the place where the session is, which has a worker again"
        eventually(back.work_once)
    finally:
        back.close()
        other.close()
    done = shop.last("one")
    assert (done.kind, done.session) == ("landing", session)
    assert git(shop.root, "show", f"{done.commit}:left") == "x"
    assert git(shop.root, "show", f"{done.commit}:right") == "y"


@pytest.mark.parametrize("is_back", [False, True])
def test_a_session_goes_on_elsewhere_only_with_what_it_did(
    tmp_path: Path, actor_home: Path, monkeypatch: pytest.MonkeyPatch, is_back: bool
) -> None:
    """The place where its worker was killed may be filled again only after another agent has taken the item."""
    spare_others(monkeypatch)
    shop = make_workshop(tmp_path / "free", f"program: actor\nprograms: {{actor: {actor(stop='0s')}}}\n")
    go_on = tmp_path / "go-on"
    steps = {"run": "echo x > left"}, {"run": f"test -e {go_on} || sleep 60"}, {"run": "echo y > right"}
    shop.add("one", prompt=script(*steps))
    worker = shop.start()
    eventually(lambda: (shop.project.worktrees / "agent-1" / "left").exists() and session_in(events_of(shop)))
    worker.kill()
    worker.communicate()
    go_on.touch()
    session = session_in(events_of(shop))
    eventually(lambda: heal(shop.project.queue, shop.project.retry))
    if is_back:
        shop.worker().close()
    done = shop.work_when_due("one", "agent-2")
    assert (done.kind, done.session == session) == ("landing", is_back)
    assert git(shop.root, "show", f"{done.commit}:left") == "x"
    assert git(shop.root, "show", f"{done.commit}:right") == "y"


def events_of(shop: Workshop) -> Path:
    return shop.project.state.agent("agent-1").events_file("one", 1)


def test_a_person_interrupts_and_is_heard_in_the_same_session(shop: Workshop) -> None:
    shop.add("one", prompt=script(WRITE, {"announce": 30}, {"hang": 60}, {"say": "I see."}))
    worker = shop.start()
    eventually((shop.project.worktrees / "agent-1" / "notes").exists)
    assert call(shop.root, "interrupt", "one", "Use", "SQLite.").code == 0
    eventually(lambda: shop.kind("one")() == "landing")
    end_worker(worker)
    interrupted, done = (one for one in shop.entry("one").records if one.kind != "claimed")
    assert (interrupted.outcome, interrupted.counted, interrupted.text) == ("interrupted", False, "Use SQLite.")
    assert done.session == interrupted.session
    assert prompts(done.session)[1] == "Go on with what you were doing: a person interrupted it: Use SQLite."
    assert not shop.project.state.agent("agent-1").interrupt.exists()
    assert call(shop.root, "interrupt", "one").code == 1
    assert call(shop.root, "interrupt", "agent-1").code == 1


def test_an_interruption_of_what_ran_before_is_forgotten(shop: Workshop) -> None:
    agent = shop.project.state.agent("agent-1")
    agent.create()
    agent.interrupt.write_text("use another file\n")
    assert play(shop, "one", WRITE).kind == "landing"
    assert not agent.interrupt.exists()


def test_what_a_program_puts_in_place_of_the_interrupt_file_is_no_word_of_a_person(shop: Workshop) -> None:
    place = shop.project.state.agent("agent-1").interrupt
    for index, put in enumerate(("mkdir {0}; touch {0}/x", "rm -r {0}; mkfifo {0}", "rm {0}; ln -s /dev/zero {0}")):
        record = play(shop, f"item-{index}", {"run": put.format(place)}, {"hang": 0.6}, WRITE)
        assert record.kind == "landing"


@pytest.mark.parametrize("where", ["parallel-loop/salvage", "nowhere"])
def test_a_session_goes_on_from_the_record_when_its_salvage_was_rewritten(shop: Workshop, where: str) -> None:
    play(shop, "one", WRITE, {"fail": "usage", "reset_in": 0}, {"run": "cat notes; echo two >> notes"})
    tree = git(shop.root, "rev-parse", "HEAD^{tree}")
    unrelated = git(shop.root, "commit-tree", "-m", "of another history", tree)
    git(shop.root, "update-ref", f"refs/{where}/one/1", unrelated)
    git(shop.root, "branch", "-q", "-D", "parallel-loop/item/one/1")
    done = shop.work_when_due("one")
    assert git(shop.root, "show", f"{done.commit}:notes") == "one\ntwo"


def test_who_goes_round_in_circles_gets_one_more_chance_in_its_session(shop: Workshop) -> None:
    loop = {"run": "echo same", "times": 6}
    first = play(shop, "one", loop, {"hang": 60}, loop, {"hang": 60}, WRITE)
    second = shop.work_when_due("one")
    third = shop.work_when_due("one")
    assert [first.outcome, second.outcome] == ["looping", "looping"]
    assert first.session == second.session != third.session
    assert "take another way" in prompts(first.session)[1]


def test_a_session_that_is_gone_is_begun_anew(shop: Workshop) -> None:
    """Gemini CLI keeps none that met a limit before its first answer: that is no fault of the item."""
    limited = play(shop, "one", WRITE, {"fail": "usage", "reset_in": 0})
    for file in Path(os.environ["ACTOR_HOME"]).iterdir():
        file.unlink()
    lost = shop.work_when_due("one")
    assert (lost.session, lost.kind, lost.counted) == (None, "released", False)
    assert shop.work_when_due("one").session not in {None, limited.session}


def test_another_place_begins_anew_when_the_session_is_bound_to_its_directory(shop: Workshop) -> None:
    limited = play(shop, "one", WRITE, {"fail": "usage", "reset_in": 0})
    shop.project.state.agent("agent-1").heartbeat.unlink()  # as of a worker that has ended: nobody waits for it
    assert shop.work_when_due("one", "agent-2").session != limited.session


@pytest.mark.parametrize("dialect", ["", "dialect: text, "])
@pytest.mark.parametrize("way", ["silent", "interrupted"])
def test_a_session_that_we_named_is_gone_on_with_though_nobody_tells_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, dialect: str
) -> None:
    spare_others(monkeypatch)
    begin = tmp_path / "begin"
    begin.write_text("#!/bin/sh\necho $1 >> ../begun; echo 1 > notes; exec sleep 60\n")
    go_on = tmp_path / "go-on"
    go_on.write_text("#!/bin/sh\n(echo $1; cat) > ../heard\n")
    for path in (begin, go_on):
        path.chmod(0o755)
    program = f'argv: [{begin}, "{{session}}"], resume: [{go_on}, "{{session}}"], session: chosen, stop: 0s'
    silent = "1s" if way == "silent" else "60s"
    config = f"program: mine\nretry: {{first: 0s}}\nprograms: {{mine: {{{dialect}{program}, silent: {silent}}}}}\n"
    shop = make_workshop(tmp_path / "repo", config)
    shop.add("one", prompt="Do it.")
    worker = shop.start()
    if way == "interrupted":
        eventually((shop.project.worktrees / "agent-1" / "notes").exists)
        assert call(shop.root, "interrupt", "one", "Use", "SQLite.").code == 0
    eventually(lambda: shop.kind("one")() == "landing")
    end_worker(worker)
    first, done = (one for one in shop.entry("one").records if one.kind != "claimed")
    (session,) = (shop.project.worktrees / "begun").read_text().split()
    assert (first.session, done.session) == (session, session)
    heard, _, words = (shop.project.worktrees / "heard").read_text().partition("\n")
    assert heard == session
    assert ("Use SQLite." if way == "interrupted" else "for 1.0 s it ") in words
    if way == "silent":
        assert (first.outcome, "(silent)" in (first.why or "")) == ("stalled", True)


def test_what_never_began_has_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spare_others(monkeypatch)
    config = 'program: mine\nprograms: {mine: {argv: [./gone, "{session}"], session: chosen}}\n'
    record = make_workshop(tmp_path / "repo", config).work("one", prompt="Do it.")
    assert (record.outcome, record.session) == ("not-started", None)
